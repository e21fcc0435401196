#!/usr/bin/env bash
# Builds the Python wheel for Linux with glibc 2.17 (manylinux2014), installs it into a fresh virtual
# environment with a fresh home, and runs `esm-embed demo` and the tests in tests/python there.
#
#     .ci/wheel.sh [--wheel FILE]    tests an existing wheel instead of building one
#
# TARGET: x86_64-unknown-linux-gnu, or aarch64-unknown-linux-gnu (after `rustup target add`), which is
# built and checked but does not run here. PYTHON: the interpreter (python3). CARGO_TARGET_DIR: where to
# build (target). Needs cargo, binutils and PyPI; ten minutes on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."
MATURIN=1.16.0
ZIG=0.17.1
SIZE=20000000

target=${TARGET:-x86_64-unknown-linux-gnu}
python=$(command -v "${PYTHON:-python3}")
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
say() { printf '==> [%4d s] %s\n' "$SECONDS" "$*" >&2; }

if [ "${1:-}" = --wheel ]; then
    wheel=$(realpath "$2")
else
    say "Tools: maturin $MATURIN, zig $ZIG"
    "$python" -m venv "$scratch/tools"
    "$scratch/tools/bin/pip" install --quiet "maturin==$MATURIN" "ziglang==$ZIG"
    say "Build: $target"
    PATH="$scratch/tools/bin:$PATH" maturin build --release --locked --zig --compatibility manylinux2014 \
        --target "$target" --manifest-path src/python/Cargo.toml --out "$CARGO_TARGET_DIR/wheels"
    wheel=$(ls -t "$CARGO_TARGET_DIR"/wheels/esm_embed-*"${target%%-*}".whl | head -n 1)
fi

say "Check: $wheel"
"$python" -m zipfile -e "$wheel" "$scratch/files"
.ci/floor.sh "$scratch"/files/esm_embed/_native*.so
bytes=$(stat --format %s "$wheel")
[ "$bytes" -lt "$SIZE" ] || { echo "$0: $wheel has $bytes bytes, more than $SIZE" >&2; exit 1; }
[ "${target%%-*}" = "$(uname -m)" ] || { say "not run: $target"; exit 0; }

say "Install into a fresh environment and home"
mkdir "$scratch/home"
fresh() { env -i HOME="$scratch/home" PATH="$scratch/venv/bin:/usr/bin:/bin" "$@"; }
"$python" -m venv "$scratch/venv"
"$scratch/venv/bin/pip" install --quiet "$wheel" pandas
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
[ "$(fresh esm-embed --version)" = "esm-embed $version" ]
[ "$(fresh python -c 'import esm_embed; print(esm_embed.__version__)')" = "$version" ]

say "Demo"
(cd "$scratch" && fresh esm-embed demo && fresh python -c '
from esm_embed import open_folder
frame = open_folder("emb-demo").to_pandas()
assert frame.shape == (8, 32), frame.shape
print(frame.iloc[:3, :4])
')
say "Tests"
fresh python -m unittest discover -s tests/python
say "$wheel: $bytes bytes"
