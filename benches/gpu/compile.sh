#!/usr/bin/env bash
# Compiles the kernel launcher of the tests: compile.sh NVCC FOLDER
#
# ARCHITECTURE: that of the GPU (sm_90). LIBRARIES: additional linker options.
set -euo pipefail
cd "$(dirname "$0")/../.."
"$1" -O3 -std=c++17 -arch="${ARCHITECTURE:-sm_90}" ${LIBRARIES:-} -o "$2/card" tests/cuda/kernels/card.cu
