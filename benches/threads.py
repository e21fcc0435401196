"""Compares the speed of several threads with that of one.

    python benches/threads.py proteome.fasta --model DIR --threads 2

Runs `esm-embed run` on the FASTA file with one thread and with N, alternating, and prints tokens per
second of each round and the median of the ratios. --pin binds each run to its first cores, one per
thread. The load average shows how idle the machine was.
"""

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("fasta", type=Path)
    parser.add_argument("--model", required=True, help="as for esm-embed run")
    parser.add_argument("--binary", type=Path, default=Path("target/release/esm-embed"))
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="[%(default)s]")
    parser.add_argument("--rounds", type=int, default=5, help="[%(default)s]")
    parser.add_argument("--pin", action="store_true")
    args = parser.parse_args()
    records = args.fasta.read_text().split(">")[1:]
    tokens = sum(len("".join(r.split("\n")[1:]).strip()) + 2 for r in records)
    cores = sorted(os.sched_getaffinity(0))
    seconds = {1: [], args.threads: []}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(args.rounds):
            for threads in seconds:
                pin = (lambda n=threads: os.sched_setaffinity(0, cores[:n])) if args.pin else None
                start = time.monotonic()
                subprocess.run(
                    [args.binary, "run", args.fasta, "--model", args.model, "--threads",
                     str(threads), "--out", Path(folder) / "out", "--force", "-q"],
                    check=True, preexec_fn=pin,
                )
                seconds[threads].append(time.monotonic() - start)
            print(f"round {number + 1}: " + ", ".join(
                f"threads {n}: {tokens / s[-1]:.0f} tokens/s" for n, s in seconds.items())
                + f", load average {os.getloadavg()[0]:.1f}", flush=True)
    ratios = [a / b for a, b in zip(seconds[1], seconds[args.threads])]
    print(f"{args.threads} threads: {statistics.median(ratios):.2f} × one thread "
          f"({min(ratios):.2f}–{max(ratios):.2f}); {len(records)} records, {tokens} tokens")


if __name__ == "__main__":
    main()
