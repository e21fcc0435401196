#!/bin/bash
# Embeds FASTA files in a SLURM job array, one task per shard, and merges the shards when all of them
# are done. On the login node:
#
#   esm-embed template slurm > embed.sh
#   esm-embed fetch 650M                # compute nodes often have no network
#   SHARDS=16 bash embed.sh emb proteins.fasta --model 650M --residues none
#
# The first argument is the output folder. The others are passed to `esm-embed run`: FASTA files and
# options, except --out, --shard, --resume and --force. The shards are written to emb.shards/, which
# you can remove after the merge.
#
# A task that is preempted or near its time limit saves its work, queues itself again and resumes.
# If you submit the same command again, it does only what is left.
#
# The lines below set the resources of a task. The environment variables SBATCH_PARTITION,
# SBATCH_ACCOUNT, SBATCH_TIMELIMIT, ... override them.
#SBATCH --job-name=esm-embed
#SBATCH --cpus-per-task=8
#SBATCH --mem=16G
#SBATCH --time=04:00:00
# For one GPU per task, remove one # from the next line and request fewer CPUs:
##SBATCH --gres=gpu:1
#SBATCH --requeue
#SBATCH --open-mode=append
# The program stops within 10 seconds; the rest of the 120 is for slow file systems.
#SBATCH --signal=USR1@120

# Number of shards. `esm-embed run ... --dry-run` estimates the time for the whole input.
SHARDS=${SHARDS:-8}
# Maximum number of shards that run at the same time.
AT_ONCE=${AT_ONCE:-$SHARDS}
# The program, and the folder for the logs.
ESM_EMBED=${ESM_EMBED:-esm-embed}
LOGS=${LOGS:-.}
# A task that has been restarted this many times is not queued again.
MAX_RESTARTS=${MAX_RESTARTS:-100}

set -u
if [ $# -lt 2 ]; then
    echo "usage: [SHARDS=N] bash $0 OUT FASTA... [options of esm-embed run]" >&2
    exit 2
fi
out=${1%/}
shift

# The folder of a shard. Its name includes the number of shards, so that arrays of different sizes do
# not share folders.
shard_folder() {
    printf '%s.shards/%d-of-%d' "$out" "$1" "$SHARDS"
}

submit() {
    export SHARDS ESM_EMBED MAX_RESTARTS
    mkdir -p "$out.shards" "$LOGS" || exit 1
    local array merge
    array=$(sbatch --parsable --export=ALL,ESM_EMBED_STEP=shard --array="1-$SHARDS%$AT_ONCE" \
        --output="$LOGS/%x-%A_%a.log" "$0" "$out" "$@") || exit 1
    # The job number may be followed by the name of the cluster.
    array=${array%%;*}
    merge=$(sbatch --parsable --export=ALL,ESM_EMBED_STEP=merge --dependency="afterok:$array" \
        --kill-on-invalid-dep=yes --job-name=esm-embed-merge --cpus-per-task=2 --gres=none \
        --output="$LOGS/%x-%j.log" "$0" "$out" "$@") || exit 1
    echo "shards: job $array, merge: job ${merge%%;*}"
}

embed_shard() {
    # With a handler, this shell outlives the signal that stops the program.
    trap : TERM USR1
    # srun does not inherit the number of CPUs from sbatch.
    export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}
    srun --ntasks=1 "$ESM_EMBED" run "$@" --shard "$SLURM_ARRAY_TASK_ID/$SHARDS" \
        --out "$(shard_folder "$SLURM_ARRAY_TASK_ID")" --resume &
    local code
    # A signal ends `wait` early, so wait until the program has stopped.
    wait $!
    code=$?
    while kill -0 $! 2>/dev/null; do
        wait $!
        code=$?
    done
    case $code in
    3) # Done. Records were skipped, as requested; skipped.tsv lists them.
        exit 0 ;;
    138) queue_again "stopped before the time limit" ;;
    143) queue_again "preempted" ;;
    esac
    exit "$code"
}

# A script that ends in the grace period of a preemption counts as failed, so it has to queue itself
# again. A job that is no longer running was cancelled, and stays cancelled.
queue_again() {
    # Not SLURM_JOB_ID: in one of the tasks, that is the number of the whole array.
    local state task=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID
    state=$(squeue --noheader --jobs="$task" --format=%T)
    if [ "$state" != RUNNING ] || [ "${SLURM_RESTART_COUNT:-0}" -ge "$MAX_RESTARTS" ]; then
        echo "$1; not queued again (state $state, restarts ${SLURM_RESTART_COUNT:-0})"
        return
    fi
    echo "$1; queued again"
    # SLURM ends this script when it handles the request.
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
    # --force replaces what an interrupted merge left behind.
    exec "$ESM_EMBED" merge "${folders[@]}" --out "$out" --force
}

case ${ESM_EMBED_STEP:-submit} in
submit) submit "$@" ;;
shard) embed_shard "$@" ;;
merge) merge_shards ;;
esac
