#!/usr/bin/env bash
# What esm-embed does on a GPU, in one command and under nine minutes: numbers and bits first, then speed beside other tools, interleaved. Writes OUT/gpu_check.json and OUT/gpu_check.md.
#
#     benches/gpu_check.sh BINARY [OUT] [option of gpu_check.py]...
#
# There is more to do than fits: what is left out is named. Three commands with the same OUT, each
# as long, do all of it and make one table:
#
#     benches/gpu_check.sh BINARY OUT --only numbers,bits
#     benches/gpu_check.sh BINARY OUT --only speed --sizes 650M,8M
#     benches/gpu_check.sh BINARY OUT --only speed --sizes 150M,3B
#
# BINARY is `esm-embed` as `cargo build --release` makes it, or the same packed as `esm-embed.xz`. Needs
# Python 3.10 with torch, transformers, safetensors and NumPy, a card,
# and 40 GB of memory-backed storage in /dev/shm (WORK names another folder, in which one of its own
# is made; where there is less, it is disk, and the output says so). Needs no network: the models
# are random, of the real shapes, and made here. cuBLASLt is that of torch where LD_LIBRARY_PATH has
# none. SECONDS_AT_MOST, 530, is for all of it, and 20 more until what hangs is
# killed.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
if [ $# -eq 0 ]; then
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&2
    exit 2
fi
binary=$(realpath -e "$1")
out=$(realpath -m "${2:-gpu-check}")
shift $(($# < 2 ? $# : 2))
python=${PYTHON:-python3}
seconds=${SECONDS_AT_MOST:-530}

# The folders of the CUDA libraries that pip installs beside torch.
libraries=$("$python" -c '
import glob, os, sysconfig
site = sysconfig.get_paths()["purelib"]
print(":".join(sorted(glob.glob(os.path.join(site, "nvidia", "*", "lib")))))')
export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$libraries"

# What is there at most at a time, in GB: the models, and the rows of the speed of 8M.
needed=40
room() { df --output=avail -BG "$1" | tail -n 1 | tr -dc 0-9; }
base=${WORK:-/dev/shm}
if [ -z "${WORK:-}" ] && [ "$(room /dev/shm)" -lt "$needed" ]; then
    echo "/dev/shm has less than $needed GB: writing to ${TMPDIR:-/tmp}" >&2
    base=${TMPDIR:-/tmp}
fi
mkdir -p "$out" "$base"
work=$(mktemp -d "$base/esm-embed-gpu-check.XXXXXX")
# Programs, and what torch compiles: often nothing may be executed in /dev/shm.
programs=$(mktemp -d "${TMPDIR:-/tmp}/esm-embed-gpu-check.XXXXXX")
trap 'rm -rf "$work" "$programs"' EXIT
storage="$(df --output=fstype "$work" | tail -n 1)"
if [ "${binary%.xz}" != "$binary" ]; then
    packed=$binary
    binary=$programs/$(basename "$packed" .xz)
    "$python" -c '
import lzma, shutil, sys
with lzma.open(sys.argv[1]) as packed, open(sys.argv[2], "wb") as binary:
    shutil.copyfileobj(packed, binary)' "$packed" "$binary"
    chmod +x "$binary"
fi
# No cache of the home folder: what is measured and tested is the same wherever it runs.
unset HF_HUB_CACHE HUGGINGFACE_HUB_CACHE
export HF_HOME="$work/cache" HF_HUB_OFFLINE=1
export TORCHINDUCTOR_CACHE_DIR="$programs/inductor" TRITON_CACHE_DIR="$programs/triton"
left=$((seconds - SECONDS))
timeout --signal INT --kill-after 20 "$left" \
    "$python" "$here/gpu_check.py" --binary "$binary" --out "$out" --work "$work" \
    --seconds "$left" --storage "$storage" "$@"
