#!/usr/bin/env bash
# Checks and measures the GPU engine on a machine with a GPU, in one command of up to ten minutes.
#
#     benches/gpu/check.sh PACK OUT [STAGE]...
#
# PACK: the folder from benches/gpu/pack.sh. OUT: receives report.tar.gz (all logs and JSON) and
# summary.md, both written after every stage. Stages, in order, each with a time limit:
#
#     machine    GPU, driver, libraries, processor, `doctor`
#     first      five records, f16
#     kernels    each kernel against f64 (tests/cuda/kernels)
#     fixtures   all fixtures and dtypes against fair-esm; the same bits in any batch (tests/cuda/embedder.rs)
#     check      numbers and bits at 8M and 650M
#     parts      GB/s of row kernels, TFLOP/s of attention, algorithms of the products
#     speed      650M and 8M in comparison with other tools, interleaved
#     timeline   kernels of a 650M batch, by ncu
#     more       speed of 150M and 3B, as time permits
#     cpu        the CPU engine at 8M and 150M with 1, 2, 4, 8 and 16 threads
#
# A failure of `first`, `kernels`, `fixtures` or `check` is repeated with CUDA_LAUNCH_BLOCKING=1 and
# under compute-sanitizer, and ends the command. Missing tools are skipped. Needs Python 3
# with torch, transformers, safetensors and NumPy for `check`, `speed`, `timeline`, `more` and `cpu`.
# SECONDS_AT_MOST (540) limits all stages together. Nothing is downloaded.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source_folder=$(cd "$here/../.." && pwd)
if [ $# -lt 2 ]; then
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&2
    exit 2
fi
pack=$(realpath -e "$1") && mkdir -p "$2" && out=$(realpath "$2") || exit 2
shift 2
all="machine first kernels fixtures check parts speed timeline more cpu"
stages=${*:-$all}
python=${PYTHON:-python3}
most=${SECONDS_AT_MOST:-540}
work=$(mktemp -d "${TMPDIR:-/tmp}/gpu-check.XXXXXX")
shm=$(mktemp -d "${SHM:-/dev/shm}/gpu-check.XXXXXX")
trap 'rm -rf "$work" "$shm"' EXIT
report=$work/report
bin=$work/bin
mkdir -p "$report" "$bin"
export PYTHONUNBUFFERED=1 CARGO_MANIFEST_DIR=$source_folder
export HF_HOME=$shm/cache HF_HUB_OFFLINE=1
unset HF_HUB_CACHE HUGGINGFACE_HUB_CACHE

unpack() {
    [ -f "$pack/$1.xz" ] || return 1
    "$python" -c '
import lzma, shutil, sys
with lzma.open(sys.argv[1]) as packed, open(sys.argv[2], "wb") as file:
    shutil.copyfileobj(packed, file)' "$pack/$1.xz" "$bin/$1" && chmod +x "$bin/$1"
}
for program in esm-embed cuda-test; do unpack "$program" || exit 2; done
for program in card kernels; do unpack "$program"; done
program=$bin/esm-embed
# The libraries that pip installed with torch, for the benchmark and for compiling here.
site=$("$python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
libraries=$(ls -d "$site"/nvidia/*/lib 2>/dev/null | paste -sd:)
if ! [ -x "$bin/kernels" ] && command -v nvcc >/dev/null; then
    "$here/compile.sh" nvcc "$(dirname "$(ls -d "$site"/nvidia/cu13/lib)")" "$bin" \
        >"$report/compile.txt" 2>&1
fi

# Seconds left in total.
left() { echo $((most - SECONDS)); }
# stage NAME LIMIT COMMAND...: runs a command, saves its output and records how it ended.
stage() {
    local name=$1 limit=$2 begin=$SECONDS status
    shift 2
    if [ "$(left)" -lt 10 ]; then
        echo "| $name | not run: no time left | |" >>"$work/rows"
        return 0
    fi
    [ "$limit" -le "$(left)" ] || limit=$(left)
    echo "==> [$SECONDS s] $name, up to $limit s"
    timeout --kill-after 10 "$limit" "$@" >"$report/$name.txt" 2>&1
    status=$?
    printf '{"stage": "%s", "status": %d, "seconds": %d}\n' "$name" "$status" \
        $((SECONDS - begin)) >>"$report/stages.jsonl"
    case $status in
    0) echo "| $name | passed | $((SECONDS - begin)) |" >>"$work/rows" ;;
    124 | 137) echo "| $name | cut at its time limit | $((SECONDS - begin)) |" >>"$work/rows" ;;
    *) echo "| $name | **failed**, status $status | $((SECONDS - begin)) |" >>"$work/rows" ;;
    esac
    [ "$status" -eq 0 ] || tail -n 15 "$report/$name.txt"
    publish
    return "$status"
}
# Writes summary and archive of the stages so far.
publish() {
    {
        sed -n 1p "$report/machine.txt" 2>/dev/null
        printf '\n| stage | result | seconds |\n|---|---|---|\n'
        cat "$work/rows"
        for table in "$report"/check/gpu_check.md "$report"/cpu.txt; do
            [ -f "$table" ] && echo && cat "$table"
        done
    } >"$out/.summary.md"
    mv "$out/.summary.md" "$out/summary.md"
    tar -C "$work" -czf "$out/.report.tar.gz" report && mv "$out/.report.tar.gz" "$out/report.tar.gz"
}
# Diagnoses a failure on a GPU: repeats a command with one launch at a time, then under the memory and
# race checkers.
diagnose() {
    local name=$1
    shift
    stage "$name-blocking" 60 env CUDA_LAUNCH_BLOCKING=1 "$@"
    if command -v compute-sanitizer >/dev/null; then
        stage "$name-memcheck" 90 compute-sanitizer --tool memcheck "$@"
        stage "$name-racecheck" 90 compute-sanitizer --tool racecheck "$@"
    fi
    echo "ended after the failure of $name: see $out/report.tar.gz"
    exit 1
}

machine() {
    nvidia-smi --query-gpu=name,driver_version,memory.total,compute_cap --format=csv,noheader
    nvidia-smi
    lscpu | grep -E 'Model name|^CPU\(s\)|NUMA'
    lscpu | grep -oE 'amx[a-z0-9_]*|avx512f|avx512_vnni|avx512_fp16' | sort -u | paste -sd' '
    free -g
    df -h "$shm" "$work"
    ldconfig -p | grep -E 'libcuda\.so|libcublasLt'
    "$python" -c 'import torch, transformers
print("torch", torch.__version__, "transformers", transformers.__version__)'
    "$program" doctor
}
first() {
    printf '>r1\nMKTAYIAKQR\n>r2\nACDEFGHIKLMNPQRSTVWY\n>r3\nM\n>r4\nMKV\n>r5\nGGGSGGGS\n' >"$work/five.fasta"
    "$program" run "$work/five.fasta" --model "$source_folder/fixtures/esm2_hd16" --dtype f16 \
        --device cuda --out "$work/first" --force --progress none -v
}
gpu_check() {
    "$python" "$here/check.py" --binary "$program" --out "$report/check" --work "$shm/check" \
        --storage "$(df --output=fstype "$shm" | tail -n 1)" --seconds "$@"
}
parts() { LD_LIBRARY_PATH=${LD_LIBRARY_PATH:-}:$libraries "$bin/kernels" rows attention chain own products; }
timeline() {
    command -v ncu >/dev/null || { echo "ncu is missing: skipped"; return 0; }
    "$python" "$here/inputs.py" "$shm/check/650M" "$work/batch.fasta" 32000
    local run=("$program" run "$work/batch.fasta" --model "$shm/check/650M" --dtype f16 --out-dtype f16
        --device cuda --out "$work/timeline" --force --progress none)
    "${run[@]}" && ncu --clock-control none --metrics gpu__time_duration.sum,dram__bytes.sum --csv \
        --page raw --print-units base "${run[@]}" >"$report/ncu.csv" &&
        "$python" "$here/timeline.py" "$report/ncu.csv"
}
export -f machine first gpu_check parts timeline
export program python here report work shm bin libraries source_folder pack

for name in $stages; do
    case $name in
    machine) stage machine 40 bash -c machine ;;
    first) stage first 60 bash -c first || diagnose first bash -c first ;;
    kernels)
        test=(env ESM_EMBED_KERNEL_LAUNCHER="$bin/card" "$bin/cuda-test" kernels:: --test-threads 8
            --skip kernels::forward)
        if [ -x "$bin/card" ]; then
            stage kernels 60 "${test[@]}" || diagnose kernels "${test[@]}"
        else
            echo "| kernels | not run: no launcher and no nvcc | |" >>"$work/rows"
        fi
        ;;
    fixtures)
        test=(env ESM_EMBED_TEST_GPU=1 "$bin/cuda-test" embedder:: --nocapture --test-threads 1)
        stage fixtures 90 "${test[@]}" || diagnose fixtures "${test[@]}"
        ;;
    check)
        stage check 150 bash -c 'gpu_check 150 --sizes 8M,650M --only numbers,bits' ||
            diagnose check env ESM_EMBED_TEST_GPU=1 "$bin/cuda-test" embedder:: --nocapture --test-threads 1
        ;;
    parts) [ -x "$bin/kernels" ] && stage parts 60 bash -c parts ;;
    speed) stage speed 260 bash -c 'gpu_check 250 --sizes 650M,8M --only speed --dtypes f16' ;;
    timeline) stage timeline 60 bash -c timeline ;;
    more) stage more 260 bash -c 'gpu_check 250 --sizes 150M,3B --only speed --dtypes f16' ;;
    cpu) stage cpu 90 bash -c '"$python" "$here/cpu.py" --binary "$program" --work "$shm/check"' ;;
    *) echo "unknown stage: $name" >&2 && exit 2 ;;
    esac
done
publish
cat "$out/summary.md"
! grep -q 'failed' "$work/rows"
