#!/usr/bin/env bash
# Makes a release: target/release-files/esm-embed-VERSION-ARCH-linux.tar.gz with `esm-embed`, the
# CUDA build `esm-embed-cuda` that it starts where there is a card, LICENSE and README.md.
#
#     .ci/release.sh                        builds and packs both
#     .ci/release.sh --no-cuda              leaves the CUDA build out
#     .ci/release.sh --cpu FILE --cuda FILE packs programs that are there, either or both
#
# The CUDA build comes from the toolkit in CUDA_HOME, or, where that is not set, from
# .ci/build_cuda.sh, which needs none. It has a target folder of its own, so that neither build
# replaces the other.
#
# CARGO_TARGET_DIR: where to build (target). CUDA_COMPUTE_CAP: see build_cuda.sh (80, whatever card
# this machine has). SOURCE_DATE_EPOCH: the date of the packed files (that of the commit); the same
# programs and date give the same bytes.
set -euo pipefail
name=$0
usage() {
    echo "$name: $1: usage: $name [--no-cuda] [--cpu FILE] [--cuda FILE]" >&2
    exit 2
}

cpu=
cuda=
with_cuda=yes
while [ $# -gt 0 ]; do
    case $1 in
    --no-cuda) with_cuda=no ;;
    --cpu | --cuda)
        [ -f "${2:-}" ] || usage "$1 needs a file"
        if [ "$1" = --cpu ]; then cpu=$(realpath "$2"); else cuda=$(realpath "$2"); fi
        shift
        ;;
    *) usage "$1 is not known" ;;
    esac
    shift
done
[ "$with_cuda" = yes ] || [ -z "$cuda" ] || usage "--no-cuda and --cuda exclude each other"
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
cd "$(dirname "$0")/.."
[ -n "${CARGO_TARGET_DIR:-}" ] || target=$PWD/target

say() { printf '==> [%4d s] %s\n' "$SECONDS" "$*" >&2; }
fail() {
    echo "$name: $*" >&2
    exit 1
}

if [ -z "$cpu" ]; then
    say "CPU build"
    cargo build --locked --release --target-dir "$target"
    cpu=$target/release/esm-embed
fi
if [ "$with_cuda" = yes ] && [ -z "$cuda" ]; then
    if [ -n "${CUDA_HOME:-}" ]; then
        say "CUDA build, toolkit $CUDA_HOME"
        PATH=$CUDA_HOME/bin:$PATH CUDA_COMPUTE_CAP=${CUDA_COMPUTE_CAP:-80} \
            cargo build --locked --release --features cuda --target-dir "$target/cuda"
    else
        say "CUDA build, toolkit from PyPI"
        .ci/build_cuda.sh build --release --target-dir "$target/cuda"
    fi
    cuda=$target/cuda/release/esm-embed
fi

# The two have one name where they are built. Only the CUDA build asks for the driver by name.
asks_for_driver() {
    local sections
    sections=$(readelf --dynamic --wide "$1") || fail "$1 is not a program"
    grep -q 'NEEDED.*\[libcuda\.so\.1\]' <<<"$sections"
}
if asks_for_driver "$cpu"; then fail "$cpu is a CUDA build"; fi
if [ "$with_cuda" = yes ] && ! asks_for_driver "$cuda"; then fail "$cuda is not a CUDA build"; fi
# `esm-embed` starts no CUDA build of another version. Without a driver that one cannot be asked.
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
said=$("$cpu" --version)
[ "$said" = "esm-embed $version" ] || fail "$cpu is $said, not esm-embed $version"
[ "$with_cuda" = no ] || grep --text --quiet --fixed-strings "esm-embed $version" "$cuda" ||
    fail "$cuda is not of version $version"

release=esm-embed-$version-$(uname -m)-linux
out=$target/release-files
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
say "$release, commit $(git describe --always --dirty)"
mkdir -p "$out" "$scratch/$release"
strip -o "$scratch/$release/esm-embed" "$cpu"
[ "$with_cuda" = no ] || strip -o "$scratch/$release/esm-embed-cuda" "$cuda"
cp LICENSE README.md "$scratch/$release/"
chmod 644 "$scratch/$release"/*
chmod 755 "$scratch/$release" "$scratch/$release"/esm-embed*
tar --create --directory "$scratch" --format ustar --sort name --owner 0 --group 0 --numeric-owner \
    --mtime "@${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}" "$release" |
    gzip -9 --no-name >"$out/$release.tar.gz.partial"
mv "$out/$release.tar.gz.partial" "$out/$release.tar.gz"

printf '%12s  %-64s  %s\n' bytes SHA-256 file
for file in "$scratch/$release"/* "$out/$release.tar.gz"; do
    bytes=$(stat --format %s "$file")
    digest=$(sha256sum <"$file")
    printf '%12d  %s  %s\n' "$bytes" "${digest%% *}" "${file##*/}"
done
say "$out/$release.tar.gz"
