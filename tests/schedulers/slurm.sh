#!/usr/bin/env bash
# What `esm-embed template slurm` prints, run by a real SLURM: an array of four shards of which one
# is preempted and comes back, one meets its time limit and comes back, and the merge job, held
# against a plain run.
#
#   tests/schedulers/slurm.sh [ESM_EMBED]        as root; needs Debian's slurm-wlm and munge
#
# ESM_EMBED is the program to test, target/release/esm-embed if it is not given. Takes about four
# minutes: SLURM counts time limits in minutes, and a shard has to take longer than one. KEEP=1
# leaves everything for a look at it.
set -euo pipefail
cd "$(dirname "$0")/../.."

program=$(realpath "${1:-target/release/esm-embed}")
model=$PWD/fixtures/esm2_hd64
cluster=$PWD/tests/schedulers/slurm_cluster.sh
work=$(mktemp -d)
echo "$work"
SLURM_CONF=$("$cluster" up "$work/cluster")
export SLURM_CONF
finish() {
    "$cluster" down "$work/cluster"
    [ -n "${KEEP:-}" ] || rm -rf "$work"
}
trap finish EXIT
cd "$work"

say() {
    printf '[%4d s] %s\n' "$SECONDS" "$*"
}

fail() {
    say "FAILED: $*"
    squeue --all --array || true
    tail -n 20 ./*.log || true
    exit 1
}

# Waits until `condition` holds, which is a command.
until_holds() {
    local limit=$1
    shift
    local end=$((SECONDS + limit))
    until "$@" 2>/dev/null; do
        [ "$SECONDS" -lt "$end" ] || fail "not within $limit s: $*"
        sleep 0.3
    done
}

# One line for each field that is asked of a job, such as its state.
field() {
    scontrol --oneliner show job "$1" | tr ' ' '\n' | sed -n "s/^$2=//p" | head -n 1
}

is_state() {
    [ "$(field "$1" JobState)" = "$2" ]
}

has_restarts() {
    [ "$(field "$1" Restarts)" -ge "$2" ]
}

# The task that came back, if there is one.
find_preempted() {
    for i in 1 2 3 4; do
        if has_restarts "${array}_$i" 1; then
            preempted=$i
            return 0
        fi
    done
    return 1
}

# A job that was requeued waits for two minutes unless it is released by hand. For a moment after it has
# ended the node would refuse it, which counts as failed.
declare -A waits_since
begin_soon() {
    if ! is_state "$1" PENDING; then
        unset "waits_since[$1]"
        return
    fi
    : "${waits_since[$1]:=$SECONDS}"
    if [ $((SECONDS - waits_since[$1])) -ge 5 ]; then
        scontrol update JobId="$1" StartTime=now 2>/dev/null || true
    fi
}

is_over() {
    for i in 1 2 3 4; do
        begin_soon "${array}_$i"
    done
    is_state "$merge" COMPLETED
}

# So many random residues; long sequences, for which the small model takes its time, and some of
# them again.
random_fasta() {
    python3 - "$1" <<'END'
import random
import sys

random.seed(7)
left, record = int(sys.argv[1]), 0
while left > 0:
    length = min(left, random.randrange(30, 6000))
    sequence = "".join(random.choices("ACDEFGHIKLMNPQRSTVWY", k=length))
    print(f">r{record} random\n{sequence}")
    if record % 10 == 0:
        print(f">again{record}\n{sequence}")
    record += 1
    left -= length
END
}

options=(in.fasta --model "$model" --pool mean,max)
random_fasta 40000 >in.fasta
before=$(date +%s%N)
"$program" run "${options[@]}" --threads 1 --out first --quiet
milliseconds=$((($(date +%s%N) - before) / 1000000))
# So many that each of four tasks takes SECONDS_EACH, on four processors or on fewer.
cores=$(nproc)
residues=$((40000 * ${SECONDS_EACH:-75} * (cores < 4 ? cores : 4) * 1000 / milliseconds))
random_fasta "$residues" >in.fasta
say "plain run over $residues residues"
"$program" run "${options[@]}" --out plain --quiet
say "submit"
"$program" template slurm >embed.sh
# The lines at the top of the template are for real work; here a task has a minute.
export SBATCH_PARTITION=low SBATCH_TIMELIMIT=1 SBATCH_MEM_PER_NODE=200
sed -i -e 's/^#SBATCH --cpus-per-task=8$/#SBATCH --cpus-per-task=1/' \
    -e 's/^#SBATCH --signal=USR1@120$/#SBATCH --signal=USR1@10/' embed.sh
submitted=$(SHARDS=4 LOGS=. ESM_EMBED=$program bash embed.sh emb "${options[@]}" 2>/dev/null)
say "$submitted"
array=$(sed -E 's/^shards: job ([0-9]+), .*/\1/' <<<"$submitted")
merge=$(sed -E 's/.*merge: job ([0-9]+)$/\1/' <<<"$submitted")

until_holds 60 test -e emb.shards/2-of-4/.partial/index.tsv
say "a job of the partition high takes the place of a task"
urgent=$(sbatch --parsable --partition=high --cpus-per-task=1 --mem=200 --time=1 \
    --output=/dev/null --wrap='sleep 3')
until_holds 60 is_state "$urgent" COMPLETED
preempted=
until_holds 60 find_preempted
grep -q '^preempted; queued again$' "esm-embed-${array}_$preempted.log" || fail "its log is silent"
say "task $preempted was preempted and waits"

until_holds 400 is_over
say "merged"
limited=$({ grep -l '^stopped before the time limit; queued again$' esm-embed-*_?.log || true; } | wc -l)
say "$limited of 4 tasks met their time limit and were queued again"
[ "$limited" -ge "${LEAST_LIMITED:-1}" ] || fail "no task met its time limit: ask for more with SECONDS_EACH"
if LC_ALL=C grep -nP '[\x00-\x08\x0b-\x1f\x7f]' ./*.log; then
    fail "control characters in a log"
fi
(cd plain && find . -type f -print0 | sort -z | xargs -0 sha256sum) >plain.sha256
(cd emb && find . -type f -print0 | sort -z | xargs -0 sha256sum) >emb.sha256
cat emb.sha256
diff plain.sha256 emb.sha256 || fail "the merged output is not that of the plain run"
"$program" inspect emb --check >/dev/null || fail "the merged output is not sound"
say "the merged output is that of the plain run, byte for byte"
