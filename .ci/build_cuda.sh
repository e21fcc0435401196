#!/usr/bin/env bash
# Builds the crate with `--features cuda` on a machine with neither card nor toolkit: nvcc and the
# headers come from PyPI, and the CUDA libraries, which are only linked by name, from stubs that
# are made here. With a toolkit of your own none of this is needed: see the README, "On GPUs".
#
#     .ci/build_cuda.sh                              cargo build --features cuda
#     .ci/build_cuda.sh build --release --target-dir target/cuda
#                                                    what a release has, beside the CPU build
#     .ci/build_cuda.sh clippy --all-targets         cargo clippy --features cuda --all-targets
#     .ci/build_cuda.sh --env                        only prints the variables, for eval
#     .ci/build_cuda.sh --kernels                    only compiles the kernels of this crate
#
# From an empty target, `build --release` takes about 18 minutes of one core, of which Candle's own
# kernels are the larger part and this crate's a minute.
#
# TOOLKIT: folder for nvcc and stubs (target/cuda-toolkit). CUDA_COMPUTE_CAP: what Candle's own
# kernels are made for (80; newer cards get them by way of PTX). The kernels of this crate are made
# for every card that it runs on, whatever this says.
set -euo pipefail
cd "$(dirname "$0")/.."

TOOLKIT=$(realpath -m "${TOOLKIT:-target/cuda-toolkit}")
PACKAGES=(
    nvidia-cuda-nvcc==13.0.88
    nvidia-cuda-crt==13.0.88
    nvidia-nvvm==13.0.88
    nvidia-cuda-runtime==13.0.96
    nvidia-cuda-cccl==13.0.85
)
# Name to link by, soname to load by, and the part of cudarc that lists what is called in it.
LIBRARIES=(
    "cuda libcuda.so.1 driver"
    "cublas libcublas.so.13 cublas"
    "cublasLt libcublasLt.so.13 cublaslt"
    "curand libcurand.so.10 curand"
    "nvrtc libnvrtc.so.13 nvrtc"
)

say() { printf '==> [%4d s] %s\n' "$SECONDS" "$*" >&2; }

if ! [ -x "$TOOLKIT/home/bin/nvcc" ]; then
    say "Toolkit: ${PACKAGES[*]}"
    mkdir -p "$TOOLKIT"
    python3 -m venv "$TOOLKIT/venv"
    "$TOOLKIT/venv/bin/pip" install --quiet "${PACKAGES[@]}" >&2
    ln -sfn "$(echo "$TOOLKIT"/venv/lib/python3*/site-packages/nvidia/cu13)" "$TOOLKIT/home"
    # What the linker looks for; the wheel has the name with the version only.
    ln -sf libcudart.so.13 "$TOOLKIT/home/lib/libcudart.so"
fi

stubs="$TOOLKIT/stubs"
if ! [ -e "$stubs/complete" ]; then
    say "Stubs: libraries of the right names with the right functions, which do nothing"
    mkdir -p "$stubs"
    sources=$(cargo metadata --locked --format-version 1 --features cuda |
        python3 -c '
import json, os, sys
packages = json.load(sys.stdin)["packages"]
print(next(os.path.dirname(p["manifest_path"]) for p in packages if p["name"] == "cudarc"))')
    for library in "${LIBRARIES[@]}"; do
        read -r name soname part <<<"$library"
        grep -ohE '^ +fn (cu|nvrtc)[A-Za-z0-9_]+' "$sources/src/$part/sys/mod.rs" |
            awk '{ print $2 }' | sort -u | sed 's/.*/int &(void) { return 1; }/' >"$stubs/$name.c"
        cc -shared -fPIC -Wl,-soname,"$soname" -o "$stubs/lib$name.so" "$stubs/$name.c"
    done
    touch "$stubs/complete"
fi

export CUDA_HOME="$TOOLKIT/home" CUDA_COMPUTE_CAP="${CUDA_COMPUTE_CAP:-80}"
export PATH="$CUDA_HOME/bin:$PATH" LIBRARY_PATH="$stubs:$CUDA_HOME/lib"
if [ "${1:-}" = --env ]; then
    printf 'export %s=%q\n' CUDA_HOME "$CUDA_HOME" CUDA_COMPUTE_CAP "$CUDA_COMPUTE_CAP" \
        PATH "$PATH" LIBRARY_PATH "$LIBRARY_PATH"
    exit
fi
say "$(nvcc --version | sed -n 4p)"
if [ "${1:-}" = --kernels ]; then
    say "kernels of this crate, as its build script compiles them"
    out="$TOOLKIT/kernels"
    mkdir -p "$out"
    rustc --edition 2024 -o "$out/build" build.rs
    said=$(OUT_DIR=$out CARGO_FEATURE_CUDA=1 "$out/build")
    if grep '^cargo::error=' <<<"$said"; then exit 1; fi
    ls -l "$out"/*.fatbin
    say "done"
    exit
fi
command=${1:-build}
shift || true
say "cargo $command --features cuda $*"
cargo "$command" --locked --features cuda "$@"
say "done"
