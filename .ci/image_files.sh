#!/usr/bin/env bash
# Shows that the source files that the recipes of images copy suffice to build the program: checks the
# crate in a folder that holds nothing else.
#
#     .ci/image_files.sh
set -euo pipefail
cd "$(dirname "$0")/.."

copied=$(mktemp -d)
trap 'rm -rf "$copied"' EXIT
templates=src/cli/template

# "COPY Cargo.toml Cargo.lock ./" and "COPY src src", up to the second FROM.
docker=$(awk '/^FROM/ && ++stage == 2 {exit} /^COPY/ {for (i = 2; i < NF; i++) print $i}' "$templates/Dockerfile" | sort)
# "    src /source/src" in the first section of files.
apptainer=$(awk '$2 ~ "^/source/" {print $1}' "$templates/apptainer.def" | sort)
if [ "$docker" != "$apptainer" ] || [ -z "$docker" ]; then
    printf 'the recipes copy different files:\n%s\nand\n%s\n' "$docker" "$apptainer"
    exit 1
fi
for file in $docker; do
    cp -r "$file" "$copied/"
done
# The dependencies are those of this folder, compiled.
target=${CARGO_TARGET_DIR:-$PWD/target}
cd "$copied"
CARGO_TARGET_DIR=$target cargo check --locked --offline --bin esm-embed
echo "what the recipes copy suffices: $(tr '\n' ' ' <<<"$docker")"
