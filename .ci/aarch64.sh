#!/usr/bin/env bash
# Tests the program for aarch64 without an aarch64 machine. Cross-builds it on Debian 12 (x86-64) and
# runs under emulation: the tests of the operations, of the committed digests (tests/run/bits.sha256,
# short records), of the numbers and of the bits, and whole runs, whose files must be those of x86-64,
# byte for byte, and are compared with fair-esm's values. Finally it inspects the machine code of the
# kernels' inner loops. Emulation says nothing about speed.
#
#     .ci/aarch64.sh [--install]
#
# Needs cargo, Python 3 and these packages; --install installs them, as root:
#
#     dpkg --add-architecture arm64 && apt-get update
#     apt-get install --no-install-recommends rustc-web libstd-rust-web-dev:arm64 \
#         gcc-aarch64-linux-gnu g++-aarch64-linux-gnu libc6-dev-arm64-cross libc6:arm64 \
#         libgcc-s1:arm64 qemu-user
#
# The emulated program loads its libraries from libc6:arm64, not from /usr/aarch64-linux-gnu: with
# `-L` it would take the loader from one and the library from the other, of two versions, and hang.
#
# RUSTC: the compiler (/usr/bin/rustc, Debian's). A compiler of rustup works as well, after
# `rustup target add aarch64-unknown-linux-gnu` and without the first two packages.
# HOST_PROGRAM: esm-embed for this machine; it is built if this is not set.
# CARGO_TARGET_DIR: where to build (target/aarch64).
set -euo pipefail
cd "$(dirname "$0")/.."

PACKAGES=(
    rustc-web libstd-rust-web-dev:arm64 gcc-aarch64-linux-gnu g++-aarch64-linux-gnu
    libc6-dev-arm64-cross libc6:arm64 libgcc-s1:arm64 qemu-user
)
TARGET=aarch64-unknown-linux-gnu
# A command that takes longer hangs.
EMULATOR=(timeout -s KILL 7200 qemu-aarch64)

say() { printf '\n==> [%4d s] %s\n' "$SECONDS" "$*"; }

if [ "${1:-}" = --install ]; then
    say "Packages: ${PACKAGES[*]}"
    dpkg --add-architecture arm64
    apt-get update
    apt-get install -y --no-install-recommends "${PACKAGES[@]}"
fi

export RUSTC="${RUSTC:-/usr/bin/rustc}" CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target/aarch64}"
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="${EMULATOR[*]}"
export CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc
export CXX_aarch64_unknown_linux_gnu=aarch64-linux-gnu-g++
export CARGO_PROFILE_RELEASE_DEBUG=0
for tool in "$RUSTC" cargo aarch64-linux-gnu-gcc aarch64-linux-gnu-objdump qemu-aarch64 python3; do
    command -v "$tool" >/dev/null || { echo "$tool is missing: see the comment at the top of $0" >&2; exit 1; }
done
# The crate is compiled as in a release. Its dependencies are compiled quickly, except for kernels in
# assembly that have to be inlined.
quick=(
    --config 'profile.release.package."*".opt-level=0'
    --config 'profile.release.package.gemm.opt-level=3'
    --config 'profile.release.package.gemm-f16.opt-level=3'
)
emulated() { "${EMULATOR[@]}" "$@"; }

say "Build: $("$RUSTC" --version), $TARGET"
cargo test --release --locked "${quick[@]}" --target $TARGET --no-run --lib \
    --test run

say "Tests: operations, committed bits, parity, same bits, $(qemu-aarch64 --version | head -n 1)"
cargo test --release --locked "${quick[@]}" --target $TARGET --lib -- ops:: fingerprint::
cargo test --release --locked "${quick[@]}" --target $TARGET --test run -- committed_bits::short
cargo test --release --locked "${quick[@]}" --target $TARGET --test run -- \
    parity:: same_bits::

program="$CARGO_TARGET_DIR/$TARGET/release/esm-embed"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
say "Smoke run: fixtures/demo.fasta"
emulated "$program" --version
emulated "$program" run fixtures/demo.fasta --model fixtures/esm2_hd16 --out "$scratch/demo"
python3 .ci/check_output.py "$scratch/demo"

if [ -z "${HOST_PROGRAM:-}" ]; then
    say "Build: this machine's program"
    cargo build --release --locked "${quick[@]}"
    HOST_PROGRAM="$CARGO_TARGET_DIR/release/esm-embed"
fi
say "Comparison: the built-in check"
emulated "$program" doctor --bits | tee "$scratch/bits"
"$HOST_PROGRAM" doctor --bits | diff "$scratch/bits" -
# Only short sequences: attention over 1,500 tokens takes minutes under emulation.
awk '/^>/ { n++ } n <= 6' fixtures/reference/sequences.fasta >"$scratch/short.fasta"
for model in esm2_hd16 esm2_hd64; do
    for dtype in f32 f16 bf16; do
        say "Comparison: fixtures/$model, $dtype"
        run=(
            run "$scratch/short.fasta" --model "fixtures/$model" --layer 0,1,2 --dtype "$dtype"
            --quiet --progress none
        )
        emulated "$program" "${run[@]}" --out "$scratch/$model.$dtype"
        emulated "$program" "${run[@]}" --out "$scratch/$model.$dtype.again" --deterministic --threads 3
        "$HOST_PROGRAM" "${run[@]}" --out "$scratch/$model.$dtype.host"
        # Every file, run.json included.
        for other in again host; do
            diff -r "$scratch/$model.$dtype" "$scratch/$model.$dtype.$other"
        done
    done
    python3 .ci/aarch64_compare.py "$scratch/$model.f32" "fixtures/reference/$model.safetensors"
done

say "Inner loops of the kernels"
aarch64-linux-gnu-objdump -d -C --no-show-raw-insn "$program" | python3 .ci/aarch64_loops.py
say "done"
