"""Measures the CPU engine by number of threads: cpu.py --binary esm-embed --work DIR

Embeds random proteins of natural lengths with random 8M and 150M models, as whole processes that write
only means, and prints tokens per second for each number of threads up to the number of cores.
"""

import argparse
import os
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

from inputs import natural, random_model, write_fasta

# Tokens for one thread; n threads get n times as many, up to four times.
TOKENS = {"8M": 20_000, "150M": 2_000}
if os.environ.get("REHEARSAL"):
    TOKENS = dict.fromkeys(TOKENS, 500)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="folder of the models, which are made if missing")
    parser.add_argument("--threads", default="1,2,4,8,16")
    args = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    args.work.mkdir(parents=True, exist_ok=True)
    print("| ESM-2 | dtype | threads | tokens/s | × one thread |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        fasta = Path(scratch) / "proteins.fasta"
        for size, tokens in TOKENS.items():
            model = args.work / size
            if not model.exists():
                random_model(size, model, "cpu")
            one = None
            for threads in map(int, args.threads.split(",")):
                if threads > cores:
                    continue
                records = natural(np.random.default_rng(7), tokens * min(threads, 4) * 2)
                write_fasta(fasta, records)
                count = sum(len(sequence) + 2 for _, sequence in records)
                begin = time.monotonic()
                subprocess.run(
                    [args.binary, "run", fasta, "--model", model, "--device", "cpu", "--threads",
                     str(threads), "--residues", "none", "--out", Path(scratch) / "out", "--force",
                     "-q", "--progress", "none"], check=True)
                rate = count / (time.monotonic() - begin)
                one = one or rate
                print(f"| {size} | f32 | {threads} | {rate:,.0f} | {rate / one:.1f} |", flush=True)


if __name__ == "__main__":
    main()
