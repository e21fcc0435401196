#!/usr/bin/env bash
# What the CUDA build does on a card, in one command and under nine minutes: numbers and bits first,
# then speed beside other tools, interleaved. Writes OUT/gpu_check.json and OUT/gpu_check.md.
#
#     benches/gpu_check.sh BINARY [OUT] [option of gpu_check.py]...
#
# BINARY is the CUDA build (`esm-embed-cuda`, or an `esm-embed` beside it). Needs Python 3.10 with
# torch, transformers, safetensors and NumPy, a card, 32 GB of memory-backed storage in /dev/shm
# (WORK names another folder, in which one of its own is made; where there is less, it is disk, and
# the output says so), and no network: the models are random, of the real shapes, and made here.
# CUDA's libraries are taken from those of torch where the system has none.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
if [ $# -eq 0 ]; then
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&2
    exit 2
fi
binary=$(realpath "$1")
out=${2:-gpu-check}
shift $(($# < 2 ? $# : 2))
python=${PYTHON:-python3}
seconds=${SECONDS_AT_MOST:-530}

# The folders of the CUDA libraries that pip installs beside torch.
libraries=$("$python" -c '
import glob, os, sysconfig
site = sysconfig.get_paths()["purelib"]
print(":".join(sorted(glob.glob(os.path.join(site, "nvidia", "*", "lib")))))')
export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$libraries"

# What the speed stage writes at most, in GB.
needed=32
room() { df --output=avail -BG "$1" | tail -n 1 | tr -dc 0-9; }
base=${WORK:-/dev/shm}
if [ -z "${WORK:-}" ] && [ "$(room /dev/shm)" -lt "$needed" ]; then
    echo "/dev/shm has less than $needed GB: writing to ${TMPDIR:-/tmp}" >&2
    base=${TMPDIR:-/tmp}
fi
mkdir -p "$out" "$base"
work=$(mktemp -d "$base/esm-embed-gpu-check.XXXXXX")
trap 'rm -rf "$work"' EXIT
storage="$(df --output=fstype "$work" | tail -n 1)"
export HF_HUB_OFFLINE=1
"$binary" doctor | tee "$out/doctor.txt"
timeout --signal INT --kill-after 20 "$seconds" \
    "$python" "$here/gpu_check.py" --binary "$binary" --out "$out" --work "$work" \
    --seconds "$seconds" --storage "$storage" "$@"
