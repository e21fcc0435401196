#!/usr/bin/env bash
# Makes a release: target/release-files/esm-embed-VERSION-ARCH-linux.tar.gz with `esm-embed`, LICENSE and
# README.md.
#
#     .ci/release.sh                 builds and packs
#     .ci/release.sh --program FILE  packs an existing program
#
# CARGO_TARGET_DIR: where to build (target). SOURCE_DATE_EPOCH: date of the packed files (that of the
# commit). The same program and date give the same bytes.
set -euo pipefail
name=$0
usage() {
    echo "$name: $1: usage: $name [--program FILE]" >&2
    exit 2
}

program=
while [ $# -gt 0 ]; do
    case $1 in
    --program)
        [ -f "${2:-}" ] || usage "$1 needs a file"
        program=$(realpath "$2")
        shift
        ;;
    *) usage "unknown argument $1" ;;
    esac
    shift
done
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
cd "$(dirname "$0")/.."
[ -n "${CARGO_TARGET_DIR:-}" ] || target=$PWD/target

say() { printf '==> [%4d s] %s\n' "$SECONDS" "$*" >&2; }
fail() {
    echo "$name: $*" >&2
    exit 1
}

if [ -z "$program" ]; then
    say "Build"
    cargo build --locked --release --target-dir "$target"
    program=$target/release/esm-embed
fi

# CUDA's libraries are opened at run time, so that the program runs without them.
needed=$(readelf --dynamic --wide "$program") || fail "$program: not an ELF program"
if grep -E 'NEEDED.*\[lib(cu|nv)' <<<"$needed"; then fail "$program: linked against CUDA libraries"; fi
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
said=$("$program" --version)
[ "$said" = "esm-embed $version" ] || fail "$program: this is $said, expected esm-embed $version"

release=esm-embed-$version-$(uname -m)-linux
out=$target/release-files
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
say "$release, commit $(git describe --always --dirty)"
mkdir -p "$out" "$scratch/$release"
strip -o "$scratch/$release/esm-embed" "$program"
cp LICENSE README.md "$scratch/$release/"
chmod 644 "$scratch/$release"/*
chmod 755 "$scratch/$release" "$scratch/$release/esm-embed"
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
