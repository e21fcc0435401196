#!/usr/bin/env bash
# Runs every fuzz target in turn for SECONDS each (600), starting from parts of the fixtures and from
# corpus/, which keeps interesting inputs. Fails on the first finding, which stays in artifacts/.
#
#     tests/fuzz/run.sh [SECONDS [TARGET...]]
set -euo pipefail
cd "$(dirname "$0")"

seconds=${1:-600}
shift $(($# > 0))
if (($# > 0)); then targets=("$@"); else targets=(fasta config safetensors torch journal bodies); fi
declare -A longest=([fasta]=16384 [config]=8192 [safetensors]=16384 [torch]=16384 [journal]=4096 [bodies]=4096)

# Every input is written to files: in memory, if there is a file system in memory.
scratch=$(mktemp -d --tmpdir="$([ -w /dev/shm ] && echo /dev/shm || echo "${TMPDIR:-/tmp}")")
trap 'rm -rf "$scratch"' EXIT
export TMPDIR=$scratch

cargo +nightly fuzz build --fuzz-dir .
built=target/$(rustc +nightly -vV | sed -n 's/^host: //p')/release
"$built/esm-embed-fuzz" "$scratch/seeds"
for target in "${targets[@]}"; do
    echo "==> $target, $seconds seconds"
    mkdir -p "corpus/$target" "artifacts/$target"
    "$built/$target" "corpus/$target" "$scratch/seeds/$target" \
        -artifact_prefix="artifacts/$target/" -dict="dictionaries/$target.dict" \
        -max_len="${longest[$target]}" -max_total_time="$seconds" \
        -timeout=10 -rss_limit_mb=1024 -malloc_limit_mb=160 -print_final_stats=1
done
