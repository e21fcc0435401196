#!/usr/bin/env bash
# Checks that programs and libraries run on every Linux since 2012: no symbol of a glibc above 2.17, and
# only libraries that every system has.
#
#     .ci/floor.sh FILE...
set -euo pipefail
FLOOR=2.17
ALLOWED='^(libc\.so\.6|libm\.so\.6|libgcc_s\.so\.1|libpthread\.so\.0|libdl\.so\.2|librt\.so\.1|ld-linux-.*)$'

[ $# -gt 0 ] || { echo "usage: $0 FILE..." >&2; exit 2; }
for file in "$@"; do
    symbols=$(objdump -T "$file") || { echo "$0: $file: not an ELF file" >&2; exit 1; }
    versions=$(grep -o 'GLIBC_[0-9.]*' <<<"$symbols" | sort -u -V)
    highest=$(tail -n 1 <<<"$versions")
    if [ "$(printf '%s\n' "GLIBC_$FLOOR" "$highest" | sort -V | tail -n 1)" != "GLIBC_$FLOOR" ]; then
        echo "$0: $file: needs $highest, above GLIBC_$FLOOR:" >&2
        grep -F "($highest)" <<<"$symbols" >&2
        exit 1
    fi
    needed=$(readelf --dynamic --wide "$file" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')
    if others=$(grep -vE "$ALLOWED" <<<"$needed"); then
        echo "$0: $file: needs libraries that not every system has: $others" >&2
        exit 1
    fi
    printf '%s: up to %s; %s; %s bytes\n' "$file" "$highest" "$(tr '\n' ' ' <<<"$needed")" "$(stat --format %s "$file")"
done
