#!/usr/bin/env bash
# Builds and packs what benches/gpu/check.sh needs on a machine with a GPU: the program, the test program
# of the GPU engine, and, if nvcc is available, the kernel launcher and benchmark.
#
#     benches/gpu/pack.sh [FOLDER]       FOLDER: gpu-pack (ignored by git)
#
# Everything is stripped and compressed, about 20 MB. NVCC names the compiler (nvcc on PATH); without
# one, check.sh compiles the launcher and the benchmark on the machine with the GPU.
set -euo pipefail
cd "$(dirname "$0")/../.."
pack=${1:-gpu-pack}
nvcc=${NVCC:-nvcc}
mkdir -p "$pack"

cargo build --locked --release
built=$(cargo test --locked --no-run --message-format json --test cuda)
find_test() {
    python3 -c '
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("executable") and message["target"]["name"] == sys.argv[1] and message["profile"]["test"]:
        print(message["executable"])' "$1" <<<"$built"
}
add() {
    strip -o "$pack/$2" "$1"
    xz -T0 -6 --force "$pack/$2"
}
add target/release/esm-embed esm-embed
add "$(find_test cuda)" cuda-test
if command -v "$nvcc" >/dev/null && [ -n "${CUBLAS:-}" ]; then
    benches/gpu/compile.sh "$nvcc" "$CUBLAS" "$pack"
    add "$pack/card" card
    add "$pack/kernels" kernels
    rm -f "$pack/card" "$pack/kernels"
fi
ls -l "$pack"
