#!/usr/bin/env bash
# Makes a release: target/release-files/esm-embed-VERSION-ARCH-linux.tar.gz with `esm-embed`, LICENSE,
# README.md, the licences of what is compiled in (THIRDPARTY.txt), completions and manual pages.
#
#     .ci/release.sh                 builds for glibc 2.17 with zig, and packs
#     .ci/release.sh --program FILE  packs an existing program
#
# TARGET: x86_64-unknown-linux-gnu, or aarch64-unknown-linux-gnu (after `rustup target add`), which runs in
# qemu-aarch64 (Debian's qemu-user and libc6:arm64). Without them it is packed without ever having run, and
# HOST_PROGRAM, a program for this machine, writes its completions and manual pages.
# CARGO_TARGET_DIR: where to build (target). SOURCE_DATE_EPOCH: date of the packed files (that of the
# commit). The same program and date give the same bytes.
set -euo pipefail
name=$0
usage() {
    echo "$name: $1: usage: $name [--program FILE]" >&2
    exit 2
}

ZIGBUILD=0.24.1
ZIG=0.17.1
# Bytes of the stripped program.
SIZE=30000000
triple=${TARGET:-x86_64-unknown-linux-gnu}
arch=${triple%%-*}

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
    say "Build: $triple, glibc 2.17, zig $ZIG"
    tools=$target/zig-tools
    python3 -m venv "$tools"
    "$tools/bin/pip" install --quiet "cargo-zigbuild==$ZIGBUILD" "ziglang==$ZIG"
    PATH="$tools/bin:$PATH" cargo-zigbuild zigbuild --locked --release --target "$triple.2.17" \
        --target-dir "$target"
    program=$target/$triple/release/esm-embed
fi

# CUDA's libraries are opened at run time, so that the program runs without them.
needed=$(readelf --dynamic --wide "$program") || fail "$program: not an ELF program"
if grep -E 'NEEDED.*\[lib(cu|nv)' <<<"$needed"; then fail "$program: linked against CUDA libraries"; fi
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
runs=("$program")
if [ "$arch" != "$(uname -m)" ]; then
    if "qemu-$arch" "$program" --version >/dev/null 2>&1; then
        runs=("qemu-$arch" "$program")
    else
        say "NOT RUN: $program, because there is no qemu-$arch or no C library for it"
        runs=("${HOST_PROGRAM:?is not set: it writes the manual pages}")
    fi
fi
said=$("${runs[@]}" --version)
[ "$said" = "esm-embed $version" ] || fail "${runs[*]}: this is $said, expected esm-embed $version"
say "Bits: ${runs[*]} doctor --bits"
bits=$("${runs[@]}" doctor --bits)
grep -q 'as on every CPU  *yes' <<<"$bits" || fail "${runs[*]}: other bits than on every CPU: $bits"

release=esm-embed-$version-$arch-linux
out=$target/release-files
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
say "$release, commit $(git describe --always --dirty)"
mkdir -p "$out" "$scratch/$release"
cp "$program" "$scratch/$release/esm-embed"
# Released programs are stripped by cargo; others are if they are of this machine.
[ "$arch" != "$(uname -m)" ] || strip "$scratch/$release/esm-embed"
.ci/floor.sh "$scratch/$release/esm-embed"
bytes=$(stat --format %s "$scratch/$release/esm-embed")
[ "$bytes" -le "$SIZE" ] || fail "$program has $bytes bytes, more than $SIZE"
cp LICENSE README.md "$scratch/$release/"
.ci/licences.py "$triple" >"$scratch/$release/THIRDPARTY.txt"
mkdir "$scratch/$release/completions"
for shell in bash elvish fish powershell zsh; do
    "${runs[@]}" completions "$shell" >"$scratch/$release/completions/esm-embed.$shell"
done
"${runs[@]}" man "$scratch/$release/man/man1" >/dev/null
chmod -R u=rwX,go=rX "$scratch/$release"
chmod 755 "$scratch/$release/esm-embed"
tar --create --directory "$scratch" --format ustar --sort name --owner 0 --group 0 --numeric-owner \
    --mtime "@${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}" "$release" |
    gzip -9 --no-name >"$out/$release.tar.gz.partial"
mv "$out/$release.tar.gz.partial" "$out/$release.tar.gz"

printf '%12s  %-64s  %s\n' bytes SHA-256 file
for file in "$scratch/$release"/* "$out/$release.tar.gz"; do
    [ -f "$file" ] || continue
    bytes=$(stat --format %s "$file")
    digest=$(sha256sum <"$file")
    printf '%12d  %s  %s\n' "$bytes" "${digest%% *}" "${file##*/}"
done
say "$out/$release.tar.gz"
