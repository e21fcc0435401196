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
#     own        the same without cuBLASLt, with the program's own matrix products
#     check      numbers and bits at 8M and 650M
#     parts      `doctor --gpu`: algorithms of the products, GB/s of row kernels, TFLOP/s of attention
#     speed      650M and 8M in comparison with other tools, interleaved
#     timeline   kernels of a 650M batch, by ncu
#     more       speed of 150M and 3B, as time permits
#     cpu        the CPU engine at 8M and 150M with 1, 2, 4, 8 and 16 threads
#
# A failure of `first`, `kernels`, `fixtures`, `own` or `check` is repeated with CUDA_LAUNCH_BLOCKING=1 and
# under compute-sanitizer, and ends the command. Missing tools are skipped, and so are `check`, `speed`,
# `timeline`, `more` and `cpu` if Python (PYTHON, python3) lacks torch, transformers, safetensors or
# NumPy. SECONDS_AT_MOST (540) limits all stages together. Nothing is downloaded.
#
# REHEARSAL=1 runs every stage with tiny models and few tests, on the stand-in for the driver
# (tests/cuda/check_script.rs).
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source_folder=$(cd "$here/../.." && pwd)
if [ $# -lt 2 ]; then
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&2
    exit 2
fi
pack=$(realpath -e "$1") && mkdir -p "$2" && out=$(realpath "$2") || exit 2
shift 2
all="machine first kernels fixtures own check parts speed timeline more cpu"
stages=${*:-$all}
for name in $stages; do
    case " $all " in
    *" $name "*) ;;
    *) echo "unknown stage: $name" >&2 && exit 2 ;;
    esac
done
python=${PYTHON:-python3}
most=${SECONDS_AT_MOST:-540}
rehearsal=${REHEARSAL:-}
work=$(mktemp -d "${TMPDIR:-/tmp}/gpu-check.XXXXXX") || exit 2
shm=$(mktemp -d "${SHM:-/dev/shm}/gpu-check.XXXXXX") || exit 2
trap 'rm -rf "$work" "$shm"' EXIT
report=$work/report
bin=$work/bin
mkdir -p "$report" "$bin"
: >"$work/rows"
export PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 CARGO_MANIFEST_DIR=$source_folder
export HF_HOME=$shm/cache HF_HUB_OFFLINE=1
unset HF_HUB_CACHE HUGGINGFACE_HUB_CACHE

# Puts a program of the pack, compressed or not, into the folder of programs.
unpack() {
    if [ -f "$pack/$1" ]; then
        ln -s "$pack/$1" "$bin/$1"
        return
    fi
    [ -f "$pack/$1.xz" ] || return 1
    "$python" -c '
import lzma, shutil, sys
with lzma.open(sys.argv[1]) as packed, open(sys.argv[2], "wb") as file:
    shutil.copyfileobj(packed, file)' "$pack/$1.xz" "$bin/$1" && chmod +x "$bin/$1"
}
for program in esm-embed cuda-test; do
    unpack "$program" || { echo "$pack has no $program" >&2 && exit 2; }
done
program=$bin/esm-embed
if ! unpack card && command -v nvcc >/dev/null; then
    ARCHITECTURE=native "$here/compile.sh" nvcc "$bin" >"$report/compile.txt" 2>&1
fi

# Seconds left in total.
left() { echo $((most - SECONDS)); }
# within LIMIT: seconds that a command of a stage with this limit has, so that it can end by itself.
within() {
    local seconds=$1
    [ "$seconds" -le "$(left)" ] || seconds=$(left)
    echo $((seconds - 8))
}
# skip NAME WHY: records a stage that is not run.
skip() {
    echo "==> [$SECONDS s] $1: not run: $2"
    echo "| $1 | not run: $2 | |" >>"$work/rows"
    publish
}
# stage NAME LIMIT COMMAND...: runs a command, saves its output and records how it ended.
stage() {
    local name=$1 limit=$2 begin=$SECONDS status
    shift 2
    if [ "$(left)" -lt 10 ]; then
        skip "$name" "no time left"
        return 0
    fi
    [ "$limit" -le "$(left)" ] || limit=$(left)
    echo "==> [$SECONDS s] $name, up to $limit s"
    # An interrupted command saves what it has.
    timeout --signal INT --kill-after 10 "$limit" "$@" >"$report/$name.txt" 2>&1
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
    local name=$1 tool
    shift
    stage "$name-blocking" 60 env CUDA_LAUNCH_BLOCKING=1 "$@"
    for tool in memcheck racecheck; do
        if command -v compute-sanitizer >/dev/null; then
            stage "$name-$tool" 90 compute-sanitizer --tool "$tool" --target-processes all \
                --error-exitcode 99 "$@"
        else
            skip "$name-$tool" "compute-sanitizer is missing"
        fi
    done
    echo "ended after the failure of $name: see $out/report.tar.gz"
    exit 1
}

machine() {
    if command -v nvidia-smi >/dev/null; then
        nvidia-smi --query-gpu=name,driver_version,memory.total,compute_cap --format=csv,noheader
        nvidia-smi
    fi
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
# Runs tests by their names. That there are none is a failure.
tests() {
    "$bin/cuda-test" "$@" 2>&1 | tee "$work/tests.txt"
    [ "${PIPESTATUS[0]}" -eq 0 ] || return 1
    grep -qE '^test result: ok\. [1-9][0-9]* passed' "$work/tests.txt" && return
    echo "no test has such a name: $*"
    return 1
}
kernels() {
    export ESM_EMBED_KERNEL_LAUNCHER=$bin/card
    # The forward pass is that of the next stage.
    tests "kernels::${rehearsal:+rows::gelu}" --test-threads 8 --skip kernels::forward
}
fixtures() {
    # A rehearsal says that the libraries are those of the stand-in, on which long sequences are slow.
    if [ "$rehearsal" ]; then export STAND_IN_HERE=1; else export ESM_EMBED_TEST_GPU=1; fi
    tests "embedder::${rehearsal:+gpu_bits}" --nocapture --test-threads 1
}
own() {
    # A library that lacks the functions of cuBLASLt and is found first takes it away.
    local version none=$work/no-cublaslt
    mkdir -p "$none"
    for version in 12 13; do
        ln -sf "$(ldconfig -p | awk '/libm\.so\.6 / { print $NF; exit }')" "$none/libcublasLt.so.$version"
    done
    export LD_LIBRARY_PATH=$none${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
    if [ "$rehearsal" ]; then export STAND_IN_PRODUCTS=even; fi
    first && grep -q '"96 x 32": "esm-embed"' "$work/first/run.json" || return
    [ "$rehearsal" ] || fixtures
}
# gpu_check SECONDS OPTION...
gpu_check() {
    "$python" "$here/check.py" --binary "$program" --out "$report/check" --work "$shm/check" \
        --storage "$(df --output=fstype "$shm" | tail -n 1)" --seconds "$@" \
        ${rehearsal:+--seconds 9999 --bits 12 --scale 0.0002}
}
parts() { "$program" doctor --json --gpu"${rehearsal:+=8M}"; }
timeline() {
    local tokens=${rehearsal:+300}
    "$python" "$here/inputs.py" "$shm/check/650M" "$work/batch.fasta" "${tokens:-32000}" || return
    local run=("$program" run "$work/batch.fasta" --model "$shm/check/650M" --dtype f16 --out-dtype f16
        --device cuda --out "$work/timeline" --force --progress none)
    "${run[@]}" && ncu --clock-control none --metrics gpu__time_duration.sum,dram__bytes.sum --csv \
        --page raw --print-units base "${run[@]}" >"$report/ncu.csv" &&
        "$python" "$here/timeline.py" "$report/ncu.csv"
}
cpu() { "$python" "$here/cpu.py" --binary "$program" --work "$shm/check"; }
export -f machine first tests kernels fixtures own gpu_check parts timeline cpu
export program python here report work shm bin source_folder rehearsal

has_python=yes
"$python" -c 'import numpy, safetensors, torch, transformers' 2>/dev/null || has_python=
for name in $stages; do
    case $name in
    check | speed | timeline | more | cpu)
        [ "$has_python" ] || { skip "$name" "Python lacks packages" && continue; } ;;
    esac
    case $name in
    machine) stage machine 40 bash -c machine ;;
    first) stage first 60 bash -c first || diagnose first bash -c first ;;
    kernels)
        if [ -x "$bin/card" ]; then
            stage kernels 60 bash -c kernels || diagnose kernels bash -c kernels
        else
            skip kernels "no launcher and no nvcc"
        fi
        ;;
    fixtures) stage fixtures 90 bash -c fixtures || diagnose fixtures bash -c fixtures ;;
    own) stage own 90 bash -c own || diagnose own bash -c own ;;
    check)
        stage check 150 bash -c "gpu_check $(within 150) --sizes 8M,650M --only numbers,bits" ||
            diagnose check bash -c fixtures
        ;;
    parts) stage parts 60 bash -c parts ;;
    speed) stage speed 260 bash -c "gpu_check $(within 260) --sizes 650M,8M --only speed --dtypes f16" ;;
    timeline)
        if command -v ncu >/dev/null; then
            stage timeline 60 bash -c timeline
        else
            skip timeline "ncu is missing"
        fi
        ;;
    more) stage more 260 bash -c "gpu_check $(within 260) --sizes 150M,3B --only speed --dtypes f16" ;;
    cpu) stage cpu 90 bash -c cpu ;;
    esac
done
publish
cat "$out/summary.md"
! grep -q 'failed' "$work/rows"
