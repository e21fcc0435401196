#!/usr/bin/env bash
# Runs the tests of the CUDA engine on a machine without a card, on a stand-in for the driver and
# its libraries whose card is the host: tests/stand_in. The kernels are those of the crate, compiled
# for the host; everything in Rust is what runs on a card.
#
#     .ci/stand_in.sh                      builds everything, and runs the tests that need a card
#     .ci/stand_in.sh FILTER…              the same for the tests of these names
#     .ci/stand_in.sh --env                only makes the stand-in; prints the variables, for eval
#
# The first run also compiles Candle's kernels, which no test here uses: 20 minutes of a core and
# more. TOOLKIT: see build_cuda.sh. What the pretend machine is like: the top of
# tests/stand_in/machine.h.
set -euo pipefail
cd "$(dirname "$0")/.."

eval "$(.ci/build_cuda.sh --env)"
stubs=${LIBRARY_PATH%%:*}
out=${CARGO_TARGET_DIR:-target}/stand-in
sources=tests/stand_in
kernels=src/cuda/kernels
mkdir -p "$out/generated"
flags=(-std=c++17 -O2 -march=native -fPIC -Wall -Wextra -Werror)
flags+=(-I"$CUDA_HOME/include" -I"$out/generated" -I"$sources")

# What cargo links by name at build time and what is loaded by soname at run time have to be told
# apart: stubs for the one, the stand-in for the other.
library() { # SONAME NAME-OF-STUB OBJECT…
    local soname=$1 stub=$2
    shift 2
    # Everything that is not provided ends the process with its name.
    sed -E 's/^int ([A-Za-z0-9_]+)\(.*/__attribute__((weak)) void \1(void) { stand_in_unknown("\1"); }/' \
        "$stubs/$stub.c" >"$out/generated/$stub.unknown.c"
    sed -i '1i void stand_in_unknown(const char *);' "$out/generated/$stub.unknown.c"
    cc -c -O1 -fPIC -o "$out/$stub.unknown.o" "$out/generated/$stub.unknown.c"
    local driver=()
    [ "$stub" = cuda ] || driver=("$out/libcuda.so.1")
    c++ -shared -Wl,-soname,"$soname" -Wl,-rpath,'$ORIGIN' -Wl,-z,defs -o "$out/$soname" "$@" \
        "$out/$stub.unknown.o" "${driver[@]}"
}

newest=$(find "$sources" "$kernels" .ci/stand_in.sh -newer "$out/complete" 2>/dev/null || true)
if [ -n "$newest" ] || ! [ -e "$out/complete" ]; then
    printf '==> stand-in: %s\n' "$out" >&2
    : >"$out/generated/kernels_included.h"
    : >"$out/generated/kernels_listed.h"
    for file in "$kernels"/*.cu; do
        printf '#include "%s"\n' "$PWD/$file" >>"$out/generated/kernels_included.h"
        c++ -std=c++17 -E -P -x c++ '-DKERNEL(threads)=A_KERNEL threads void' "$file" |
            grep -oE 'A_KERNEL [0-9]+ void [A-Za-z0-9_]+' |
            awk '{ print "ENTRY(" $4 ", " $2 ")" }' >>"$out/generated/kernels_listed.h"
    done
    objects=()
    for name in machine device stream memory module; do
        c++ "${flags[@]}" -c -o "$out/$name.o" "$sources/$name.cpp"
        objects+=("$out/$name.o")
    done
    # Fibers leave their stacks by longjmp, which the fortified one refuses. An address that a card
    # could not read from, and a number out of range, end the process.
    c++ "${flags[@]}" -O3 -Wno-unknown-pragmas -Wno-unused-function -Wno-unused-parameter -U_FORTIFY_SOURCE \
        -fsanitize=alignment,signed-integer-overflow -fsanitize-undefined-trap-on-error \
        -c -o "$out/kernels.o" "$sources/kernels.cpp"
    library libcuda.so.1 cuda "${objects[@]}" "$out/kernels.o"
    c++ "${flags[@]}" -O3 -c -o "$out/blaslt.o" "$sources/blaslt.cpp"
    c++ "${flags[@]}" -c -o "$out/blas.o" "$sources/blas.cpp"
    c++ "${flags[@]}" -c -o "$out/rand.o" "$sources/rand.cpp"
    library libcublasLt.so.13 cublasLt "$out/blaslt.o"
    library libcublas.so.13 cublas "$out/blas.o"
    library libcurand.so.10 curand "$out/rand.o"
    library libnvrtc.so.13 nvrtc
    c++ "${flags[@]}" -o "$out/check" "$sources/check.cpp" "$out/libcuda.so.1"
    STAND_IN_CARDS=2 LD_LIBRARY_PATH=$out "$out/check" >&2
    touch "$out/complete"
fi

libraries=$(realpath "$out"):$CUDA_HOME/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
if [ "${1:-}" = --env ]; then
    printf 'export LD_LIBRARY_PATH=%q\n' "$libraries"
    exit
fi
# Tests of a card, of runs with cards, and those that need machines which have to be pretended.
LD_LIBRARY_PATH=$libraries .ci/build_cuda.sh test --features stand-in --test cuda --test cuda_runs \
    -- "$@"
