#!/bin/bash
# Embeds FASTA files in an array of SLURM jobs, one for each shard, and joins the shards when all of
# them are done. On the login node:
#
#   esm-embed template slurm > embed.sh
#   esm-embed fetch 650M                # compute nodes often have no network
#   SHARDS=16 bash embed.sh emb proteins.fasta --model 650M --residues none
#
# The first word is the folder to write, the others are what `esm-embed run` takes: FASTA files and
# options, but for --out, --shard, --resume and --force. Shards are written to emb.shards/ and stay
# there until you remove them.
#
# Nothing is lost: a task that is preempted or comes near its time limit stops, queues itself again
# and goes on where it was. Submitting the same again does only what is not done.
#
# What a task gets is set here, or as SLURM has it by SBATCH_PARTITION, SBATCH_ACCOUNT,
# SBATCH_TIMELIMIT, ... in the environment, which win over these lines.
#SBATCH --job-name=esm-embed
#SBATCH --cpus-per-task=8
#SBATCH --mem=16G
#SBATCH --time=04:00:00
# One GPU for each task; remove one # and ask for few CPUs:
##SBATCH --gres=gpu:1
#SBATCH --requeue
#SBATCH --open-mode=append
# The program stops within 10 seconds; the rest is for a slow file system.
#SBATCH --signal=USR1@120

# Parts of the input. `esm-embed run ... --dry-run` estimates the time of the whole.
SHARDS=${SHARDS:-8}
# Shards that run at the same time, at most.
AT_ONCE=${AT_ONCE:-$SHARDS}
# The program, and where messages go.
ESM_EMBED=${ESM_EMBED:-esm-embed}
LOGS=${LOGS:-.}
# A task that stops this often before it is done is not queued again.
MOST_RESTARTS=${MOST_RESTARTS:-100}

set -u
if [ $# -lt 2 ]; then
    echo "usage: [SHARDS=N] bash $0 OUT FASTA... [options of esm-embed run]" >&2
    exit 2
fi
out=${1%/}
shift

# The folder of a shard; its name tells how many there are, so that arrays of another size do not
# mix.
shard_folder() {
    printf '%s.shards/%d-of-%d' "$out" "$1" "$SHARDS"
}

submit() {
    export SHARDS ESM_EMBED MOST_RESTARTS
    mkdir -p "$out.shards" "$LOGS" || exit 1
    local array merge
    array=$(sbatch --parsable --export=ALL,ESM_EMBED_STEP=shard --array="1-$SHARDS%$AT_ONCE" \
        --output="$LOGS/%x-%A_%a.log" "$0" "$out" "$@") || exit 1
    # A cluster's name may follow the number.
    array=${array%%;*}
    merge=$(sbatch --parsable --export=ALL,ESM_EMBED_STEP=merge --dependency="afterok:$array" \
        --kill-on-invalid-dep=yes --job-name=esm-embed-merge --cpus-per-task=2 --gres=none \
        --output="$LOGS/%x-%j.log" "$0" "$out" "$@") || exit 1
    echo "shards: job $array, merge: job ${merge%%;*}"
}

embed_shard() {
    # With a handler of its own the shell outlives the signal that stops the program.
    trap : TERM USR1
    # srun does not take these from sbatch by itself.
    export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}
    srun --ntasks=1 "$ESM_EMBED" run "$@" --shard "$SLURM_ARRAY_TASK_ID/$SHARDS" \
        --out "$(shard_folder "$SLURM_ARRAY_TASK_ID")" --resume &
    local code
    # A signal ends `wait` early; the program is waited for until it has stopped.
    wait $!
    code=$?
    while kill -0 $! 2>/dev/null; do
        wait $!
        code=$?
    done
    case $code in
    3) # Done, but records were skipped, as was asked for; skipped.tsv lists them.
        exit 0 ;;
    138) queue_again "stopped before the time limit" ;;
    143) queue_again "preempted" ;;
    esac
    exit "$code"
}

# A script that ends in the time of grace before a preemption counts as failed, so it asks for its
# return. A job that is not running any more was cancelled, and stays so.
queue_again() {
    # Not SLURM_JOB_ID: one of the tasks has the number of the whole array there.
    local state task=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID
    state=$(squeue --noheader --jobs="$task" --format=%T)
    if [ "$state" != RUNNING ] || [ "${SLURM_RESTART_COUNT:-0}" -ge "$MOST_RESTARTS" ]; then
        echo "$1; not queued again (state $state, restarts ${SLURM_RESTART_COUNT:-0})"
        return
    fi
    echo "$1; queued again"
    # SLURM ends this script when it has heard.
    scontrol requeue "$task" && sleep 60
}

merge_shards() {
    local folders=() i
    for ((i = 1; i <= SHARDS; i++)); do
        folders+=("$(shard_folder "$i")")
    done
    if [ -e "$out/run.json" ]; then
        echo "$out is complete"
        exit 0
    fi
    # What a merge that was stopped has left is of no use.
    exec "$ESM_EMBED" merge "${folders[@]}" --out "$out" --force
}

case ${ESM_EMBED_STEP:-submit} in
submit) submit "$@" ;;
shard) embed_shard "$@" ;;
merge) merge_shards ;;
esac
