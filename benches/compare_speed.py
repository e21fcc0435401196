"""Compares the speed of two builds of esm-embed, or of two settings, on one core.

    python3 benches/compare_speed.py OLD NEW --case MODEL FASTA [--case ...] [--options OPTIONS ...]

Embeds each FASTA file with its model under each of the options, with the two builds in turns, round
after round, as whole processes with one thread. Prints the medians of the user time, the median of
the ratios (new / old) with the smallest and the largest, and the processor. User time counts what
the process computes and not what it waits for, so that the machine need not be idle. Options that a
build refuses are left out. 'A | B' gives A to OLD and B to NEW, which may be the same file:

    python3 benches/compare_speed.py NEW NEW --case 8M proteome.fasta \\
        --options='--cpu-path avx2 | --cpu-path avx2 --dtype f16'

Needs only Python's standard library.
"""

import argparse
import itertools
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

OPTIONS = ["--cpu-path avx512", "--cpu-path avx2", "--dtype f16 --cpu-path avx512vnni"]


def processor():
    """The name of the processor, with its family and model."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    found = {key.strip(): value.strip() for key, value in pairs}
    name = found.get("model name", platform.machine())
    return f"{name} (family {found.get('cpu family', '?')}, model {found.get('model', '?')})"


def user_seconds(binary, model, fasta, options, out):
    """User time of a run; None if it was refused."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = subprocess.run(
        [binary, "run", fasta, "--model", model, "--out", out, "--force", "--device", "cpu",
         "--threads", "1", "--residues", "none", "--quiet", "--progress", "none",
         *options.split()],
        capture_output=True,
    )
    if done.returncode not in (0, 3):
        return None
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument(
        "--case", nargs=2, action="append", required=True, metavar=("MODEL", "FASTA")
    )
    parser.add_argument("--options", action="append", help=f"{OPTIONS}")
    parser.add_argument("--rounds", type=int, default=7, help="[%(default)s]")
    args = parser.parse_args()
    print(f"{processor()}, load {os.getloadavg()[0]:.1f}, {args.rounds} rounds")
    print(" old, s   new, s   new / old (smallest to largest)")
    measured = 0
    with tempfile.TemporaryDirectory() as work:
        out = Path(work) / "out"
        for (model, fasta), options in itertools.product(args.case, args.options or OPTIONS):
            of_old, _, of_new = options.partition("|")
            builds = [(args.old.resolve(), of_old), (args.new.resolve(), of_new or of_old)]
            what = f"{Path(model).name} {options}"
            if any(user_seconds(b, model, fasta, o, out) is None for b, o in builds):
                print(f"refused: {what}")
                continue
            seconds = [[], []]
            for number in range(args.rounds):
                # Each build goes first in every other round.
                for i in [0, 1] if number % 2 == 0 else [1, 0]:
                    binary, chosen = builds[i]
                    seconds[i].append(user_seconds(binary, model, fasta, chosen, out))
            ratios = [new / old for old, new in zip(*seconds)]
            old, new = map(statistics.median, seconds)
            print(
                f"{old:7.2f}  {new:7.2f}   {statistics.median(ratios):.3f} "
                f"({min(ratios):.3f} to {max(ratios):.3f})   {what}",
                flush=True,
            )
            measured += 1
    sys.exit(0 if measured else "nothing was measured")


if __name__ == "__main__":
    main()
