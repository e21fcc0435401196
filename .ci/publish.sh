#!/usr/bin/env bash
# Publishes the crate to crates.io, once everything is filled in that only a publisher knows.
#
#     .ci/publish.sh [--check]    --check lists what is missing, and publishes nothing
set -euo pipefail
cd "$(dirname "$0")/.."

missing=0
lacks() {
    echo "$0: $*" >&2
    missing=1
}
for field in repository homepage; do
    grep -qE "^$field = \"https://[^\"]+\"$" Cargo.toml ||
        lacks "Cargo.toml: $field is missing; add $field = \"https://…\", the address of this repository"
done
grep -qE '^Repository = "https://[^"]+"$' src/python/pyproject.toml ||
    lacks 'src/python/pyproject.toml: the address is missing; add a table [project.urls] with Repository = "https://…"'
grep -qE 'repository-code: "?https://' README.md ||
    lacks "README.md: its CITATION.cff has no address; add repository-code: https://…"
recipe=.ci/bioconda/meta.yaml
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
grep -qxF "{% set version = \"$version\" %}" "$recipe" ||
    lacks "$recipe: the version is not $version, that of Cargo.toml"
grep -qxF "version = \"$version\"" src/python/Cargo.toml ||
    lacks "src/python/Cargo.toml: the version is not $version, that of Cargo.toml"
grep -qE "[^-]version: $version[,[:space:]]" README.md ||
    lacks "README.md: the version in its CITATION.cff is not $version, that of Cargo.toml"
[ "${1:-}" != --check ] || exit "$missing"
[ "$missing" = 0 ] || exit 1

cargo publish --locked
# The recipe is for the crate that is published now: its checksum is known only from here on.
if ! grep -qE '^\{% set sha256 = "[0-9a-f]{64}" %\}$' "$recipe"; then
    echo "$recipe: set sha256 to that of the published crate before the recipe is submitted to bioconda:" >&2
    sha256sum "${CARGO_TARGET_DIR:-target}/package/esm-embed-$version.crate" >&2
fi
