#!/usr/bin/env bash
# Builds and packs what benches/gpu/check.sh needs on a machine with a GPU: the program, the test program
# of the GPU engine, and, if nvcc is available, the kernel launcher.
#
#     benches/gpu/pack.sh [FOLDER]       FOLDER: gpu-pack (ignored by git)
#
# Everything is stripped and compressed, about 7 MB. NVCC names the compiler (nvcc on PATH); without
# one, check.sh compiles the launcher on the machine with the GPU.
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
    strip -o "$pack/.stripped" "$1"
    xz -T0 -6 --stdout "$pack/.stripped" >"$pack/$2.xz"
    rm "$pack/.stripped"
}
add target/release/esm-embed esm-embed
add "$(find_test cuda)" cuda-test
if command -v "$nvcc" >/dev/null; then
    benches/gpu/compile.sh "$nvcc" "$pack"
    add "$pack/card" card
    rm "$pack/card"
fi
ls -l "$pack"
