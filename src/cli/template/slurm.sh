#!/bin/bash
# Embeds FASTA files in a SLURM job array: one job plans, one task embeds each shard, and a last job shows
# how the tasks ended and merges the shards if all of them are done. On the login node:
#
#   esm-embed template slurm > embed.sh
#   esm-embed fetch 650M                # compute nodes often have no network
#   SHARDS=16 bash embed.sh emb proteins.fasta --model 650M --residues none
#
# The first argument is the output folder, then FASTA files, then options of `esm-embed run`, except
# --out, --plan, --shard, --resume and --force. The plan and the shards are written to emb.shards/, which
# you can remove after the merge. If the FASTA files change, remove it before you submit again.
#
# A task that is preempted or near its time limit saves its work, queues itself again and resumes; one
# that SLURM starts again while its predecessor still saves its work waits for it. If you submit the same
# command again, it does only what is left. Meanwhile, and afterwards:
#
#   esm-embed status --plan emb.shards/plan-of-16
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
# Seconds between two looks at a shard that another task holds.
WAIT=${WAIT:-30}

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

plan=$out.shards/plan-of-$SHARDS

submit() {
    export SHARDS ESM_EMBED MAX_RESTARTS WAIT
    mkdir -p "$out.shards" "$LOGS" || exit 1
    local planning array merge
    planning=$(sbatch --parsable --export=ALL,ESM_EMBED_STEP=plan --job-name=esm-embed-plan \
        --cpus-per-task=2 --gres=none --output="$LOGS/%x-%j.log" "$0" "$out" "$@") || exit 1
    # The job number may be followed by the name of the cluster.
    planning=${planning%%;*}
    array=$(sbatch --parsable --export=ALL,ESM_EMBED_STEP=shard --array="1-$SHARDS%$AT_ONCE" \
        --dependency="afterok:$planning" --kill-on-invalid-dep=yes \
        --output="$LOGS/%x-%A_%a.log" "$0" "$out" "$@") || exit 1
    array=${array%%;*}
    # Also after tasks that failed: it says which ones.
    merge=$(sbatch --parsable --export=ALL,ESM_EMBED_STEP=merge --dependency="afterany:$array" \
        --job-name=esm-embed-merge --cpus-per-task=2 --gres=none \
        --output="$LOGS/%x-%j.log" "$0" "$out" "$@") || exit 1
    echo "shards: job $array, merge: job ${merge%%;*}"
    echo "status: $ESM_EMBED status --plan $plan" >&2
}

# The FASTA files, and the options that say how records are treated, which are those of the plan, too.
plan_shards() {
    if [ -e "$plan/plan.json" ]; then
        echo "$plan is complete"
        exit 0
    fi
    local words=()
    while [ $# -gt 0 ] && [[ $1 != -* ]]; do
        words+=("$1")
        shift
    done
    while [ $# -gt 0 ]; do
        case $1 in
        -m | --model | --revision | --long | --gaps | --unknown | --on-invalid | --on-duplicate-id)
            words+=("$1" "${2-}")
            shift
            ;;
        -m?* | --model=* | --revision=* | --long=* | --gaps=* | --unknown=* | --on-invalid=* | \
            --on-duplicate-id=*) words+=("$1") ;;
        esac
        shift
    done
    exec "$ESM_EMBED" plan "${words[@]}" --shards "$SHARDS" --out "$plan" --rewrite
}

# Whether another task writes into the folder of this shard.
is_held() {
    "$ESM_EMBED" status "$1" 2>/dev/null | head -n 1 | grep -q '  running  '
}

embed_shard() {
    # With a handler, this shell outlives the signal that stops the program.
    trap : TERM USR1
    # srun does not inherit the number of CPUs from sbatch.
    export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}
    local code folder
    folder=$(shard_folder "$SLURM_ARRAY_TASK_ID")
    while is_held "$folder"; do
        echo "$folder: another task holds it; waiting"
        sleep "$WAIT"
    done
    srun --ntasks=1 "$ESM_EMBED" run "$@" --plan "$plan" --shard "$SLURM_ARRAY_TASK_ID/$SHARDS" \
        --out "$folder" --resume &
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
    local state attempt task=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID
    # Where thousands of tasks ask at once, some get no answer. This one was running a moment ago.
    state=$(squeue --noheader --jobs="$task" --format=%T) || state=RUNNING
    if [ "$state" != RUNNING ] || [ "${SLURM_RESTART_COUNT:-0}" -ge "$MAX_RESTARTS" ]; then
        echo "$1; not queued again (state $state, restarts ${SLURM_RESTART_COUNT:-0})"
        return
    fi
    echo "$1; queued again"
    for attempt in 1 2 3 4 5; do
        # SLURM ends this script when it handles the request.
        scontrol requeue "$task" && sleep 60
        sleep $((attempt + RANDOM % 5))
    done
}

merge_shards() {
    local folders=() i
    "$ESM_EMBED" status --plan "$plan"
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
plan) plan_shards "$@" ;;
shard) embed_shard "$@" ;;
merge) merge_shards ;;
esac
