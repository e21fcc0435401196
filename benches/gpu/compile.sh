#!/usr/bin/env bash
# Compiles the kernel launcher of the tests and the kernel benchmark.
#
#     benches/gpu/compile.sh NVCC CUBLAS FOLDER
#
# CUBLAS: a folder with include/cublasLt.h and lib/libcublasLt.so.*. ARCHITECTURE: that of the GPU
# (sm_90). LIBRARIES: additional linker options.
set -euo pipefail
cd "$(dirname "$0")/../.."
nvcc=$1 cublas=$2 folder=$3
options=(-O3 -std=c++17 -arch="${ARCHITECTURE:-sm_90}" ${LIBRARIES:-})
library=$(ls "$cublas"/lib/libcublasLt.so.* | head -n 1)
"$nvcc" "${options[@]}" -o "$folder/card" tests/cuda/kernels/card.cu
"$nvcc" "${options[@]}" -Isrc/cuda/kernels -I "$cublas/include" -o "$folder/kernels" \
    benches/gpu/kernels.cu -L "$cublas/lib" "-l:$(basename "$library")"
