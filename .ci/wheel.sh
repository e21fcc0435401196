#!/usr/bin/env bash
# Builds the Python wheel for Linux with glibc 2.17 (manylinux2014), installs it into a fresh virtual
# environment with a fresh home, and runs `esm-embed demo` and the tests in tests/python there.
#
#     .ci/wheel.sh [--wheel FILE]    tests an existing wheel instead of building one
#
# TARGET: x86_64-unknown-linux-gnu, or aarch64-unknown-linux-gnu (after `rustup target add`). The wheel for
# aarch64 runs in qemu-aarch64 (Debian's qemu-user) with Debian's Python and libraries for arm64, which are
# downloaded (after `dpkg --add-architecture arm64 && apt-get update`): the demo, the digests of the bits,
# and the calls of the README. Without them it is built and checked, and has not run.
# PYTHON: the interpreter (python3). CARGO_TARGET_DIR: where to build (target). Needs cargo, binutils and
# PyPI; ten minutes on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."
MATURIN=1.16.0
ZIG=0.17.1
SIZE=20000000

target=${TARGET:-x86_64-unknown-linux-gnu}
arch=${target%%-*}
python=$(command -v "${PYTHON:-python3}")
export CARGO_TARGET_DIR=$(realpath -m "${CARGO_TARGET_DIR:-target}")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
say() { printf '==> [%4d s] %s\n' "$SECONDS" "$*" >&2; }
fail() {
    echo "$0: $*" >&2
    exit 1
}

if [ "${1:-}" = --wheel ]; then
    [ -f "${2:-}" ] || fail "--wheel needs a file"
    wheel=$(realpath "$2")
else
    say "Tools: maturin $MATURIN, zig $ZIG"
    tools=$CARGO_TARGET_DIR/wheel-tools
    "$python" -m venv "$tools"
    "$tools/bin/pip" install --quiet "maturin==$MATURIN" "ziglang==$ZIG"
    say "Build: $target"
    # maturin packs what is called LICENSE.
    .ci/licences.py "$target" esm-embed-python >src/python/LICENSE-THIRDPARTY.txt
    PATH="$tools/bin:$PATH" maturin build --release --locked --zig --compatibility manylinux2014 \
        --target "$target" --manifest-path src/python/Cargo.toml --out "$CARGO_TARGET_DIR/wheels"
    wheel=$(ls -t "$CARGO_TARGET_DIR"/wheels/esm_embed-*"$arch".whl | head -n 1)
fi

say "Check: $wheel"
"$python" -m zipfile -e "$wheel" "$scratch/files"
.ci/floor.sh "$scratch"/files/esm_embed/_native*.so
readelf --file-header "$scratch"/files/esm_embed/_native*.so | grep -qi "machine:.*${arch/_/-}" ||
    fail "$wheel is not for $arch"
for notice in LICENSE LICENSE-THIRDPARTY.txt; do
    [ -s "$(echo "$scratch"/files/esm_embed-*.dist-info/licenses/$notice)" ] || fail "$wheel has no $notice"
done
bytes=$(stat --format %s "$wheel")
[ "$bytes" -lt "$SIZE" ] || fail "$wheel has $bytes bytes, more than $SIZE"
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)

# What the README shows, on the demo: the same bits in memory and in files.
calls='
import numpy as np
from esm_embed import Embedder, __version__, open_folder
emb = open_folder("emb-demo")
assert emb.means.shape == (8, 32) and emb["peptide_4"].shape == (32,), emb
model = Embedder("'$PWD'/fixtures/esm2_hd16_f16", device="cpu")
found = [(record.id, record.mean) for record in model.stream("'$PWD'/fixtures/demo.fasta")]
assert [id for id, _ in found] == list(emb.ids)
np.testing.assert_array_equal(np.stack([mean for _, mean in found]), emb.means)
assert model.embed(["MKTV", "AG"]).shape == (2, 32) and model.contacts("MKTV").shape == (4, 4)
print(f"esm_embed {__version__}: the bits of the demo")
'

# Debian's Python and NumPy's wheel for another processor, in $scratch/root; false if they cannot be downloaded.
foreign_python() {
    local minimal packages debian=arm64
    [ "$arch" = aarch64 ] && qemu-aarch64 --version >/dev/null 2>&1 || return 1
    minimal=$(apt-cache depends python3-minimal 2>/dev/null | grep -o -m 1 'python3\.[0-9]*-minimal') || return 1
    foreign=${minimal%-minimal}
    packages=("$minimal" "lib$minimal" "lib$foreign-stdlib" libc6 libgcc-s1 zlib1g libexpat1 libbz2-1.0 liblzma5
        libffi8 libuuid1 libstdc++6)
    mkdir -p "$scratch/debs" "$scratch/root"
    (cd "$scratch/debs" && apt-get download --quiet "${packages[@]/%/:$debian}" >&2) || return 1
    for deb in "$scratch"/debs/*.deb; do dpkg-deb --extract "$deb" "$scratch/root"; done
    "$python" -m pip download --quiet --no-deps --only-binary :all: --dest "$scratch/numpy" \
        --platform manylinux2014_aarch64 --platform manylinux_2_27_aarch64 --platform manylinux_2_28_aarch64 \
        --python-version "${foreign#python}" numpy || return 1
    "$python" -m zipfile -e "$scratch"/numpy/*.whl "$scratch/files"
}

if [ "$arch" != "$(uname -m)" ]; then
    if ! foreign_python; then
        say "NOT RUN: $wheel, because there is no qemu-$arch or no Python for it"
        exit 0
    fi
    emulated() {
        env -i HOME="$scratch/home" PYTHONPATH="$scratch/files" \
            qemu-aarch64 -L "$scratch/root" "$scratch/root/usr/bin/$foreign" "$@"
    }
    mkdir "$scratch/home"
    cd "$scratch"
    say "Demo in $(qemu-aarch64 --version | head -n 1), $(emulated --version)"
    [ "$(emulated -m esm_embed --version)" = "esm-embed $version" ] || fail "$wheel is of another version"
    emulated -m esm_embed demo
    say "Bits"
    bits=$(emulated -m esm_embed doctor --bits)
    grep -q 'as on every CPU  *yes' <<<"$bits" || fail "other bits than on every CPU: $bits"
    say "Calls, and tests that start no other process"
    emulated -c "$calls"
    emulated -m unittest discover -s "$OLDPWD/tests/python" -k Arrays
    say "$wheel: $bytes bytes"
    exit 0
fi

say "Install into a fresh environment and home"
mkdir "$scratch/home"
fresh() { env -i HOME="$scratch/home" PATH="$scratch/venv/bin:/usr/bin:/bin" "$@"; }
"$python" -m venv "$scratch/venv"
"$scratch/venv/bin/pip" install --quiet "$wheel" pandas
[ "$(fresh esm-embed --version)" = "esm-embed $version" ] || fail "$wheel is of another version"

say "Demo"
(cd "$scratch" && fresh esm-embed demo && fresh python -c "$calls" && fresh python -c '
from esm_embed import open_folder
frame = open_folder("emb-demo").to_pandas()
assert frame.shape == (8, 32), frame.shape
print(frame.iloc[:3, :4])
')
say "Tests"
fresh python -m unittest discover -s tests/python
say "$wheel: $bytes bytes"
