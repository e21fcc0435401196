"""What contacts and attention maps cost a run: time and memory, beside the same run without them.

    pip install -r benches/requirements.txt
    python benches/map_products.py --binary target/release/esm-embed --work peers-work

Random models of the published shapes, whose contact regression has a weight for every head (in the
published ones most are zero, and zeros are skipped), one thread, whole processes. Runs with and without
take turns, round after round.

- time: one protein of 500 residues with and without contacts; also without what a run of one residue
  takes, which is mostly loading.
- contacts: peak memory at 1,000 and 2,000 residues, with and without.
- attentions: peak memory at 1,000 residues with the maps of the last layer and of all layers.

Exits with 1 if a limit is exceeded: contacts at 500 residues take more than 1.35 times the run without
them (650M only), more than 60 or 150 MB beyond it at 1,000 or 2,000 residues, or all layers of attentions
more than 8 MB beyond one layer.
"""

import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

from compare_speed import processor
from peer_products import LETTERS
from peer_tools import WORKER, measured

COST = 1.35
MB = 1e6
# Residues, and MB beyond the run without contacts.
LIMITS = {1000: 60, 2000: 150}
# MB of all layers of attentions beyond one layer.
ATTENTIONS_LIMIT = 8


class Runs:
    """Runs of one model."""

    def __init__(self, args, size):
        self.args = args
        self.size = size
        folder = args.work / size
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, WORKER, "prepare-weights", "--folder", folder, "--shape", size],
                       check=True, stdout=subprocess.DEVNULL)
        self.model = (folder / "safetensors").resolve()

    def run(self, residues, *options):
        """Seconds of the clock and peak bytes of a process."""
        fasta, out = self.args.work / f"{residues}.fasta", self.args.work / "out"
        text = "".join(random.Random(residues).choices(LETTERS, k=residues))
        fasta.write_text(f">protein\n{text}\n")
        shutil.rmtree(out, ignore_errors=True)
        found = measured([
            str(self.args.binary), "run", str(fasta), "--model", str(self.model), "--out", str(out),
            "--device", "cpu", "--threads", "1", "--long", "full", "--residues", "none", "-q", "--progress", "none",
            *options,
        ])
        shutil.rmtree(out)
        return found[self.args.clock], found["peak"]


def time(runs, residues, rounds):
    """Whether the cost of contacts is within the limit; prints it."""
    plain, contacts, one = [], [], []
    for _ in range(rounds):
        one.append(runs.run(1)[0])
        plain.append(runs.run(residues)[0])
        contacts.append(runs.run(residues, "--include", "contacts")[0])
    whole = [c / p for c, p in zip(contacts, plain)]
    passes = [(c - o) / (p - o) for c, p, o in zip(contacts, plain, one)]
    ratio = statistics.median(passes)
    print(
        f"| {runs.size} | time, {residues} residues | {statistics.median(plain):.2f} s "
        f"| {statistics.median(contacts):.2f} s | {statistics.median(whole):.2f}; "
        f"{ratio:.2f} ({min(passes):.2f}–{max(passes):.2f}) without the "
        f"{statistics.median(one):.2f} s of one residue |", flush=True,
    )
    return runs.size != "650M" or ratio <= COST


def memory(runs, residues, what, plain, with_maps, limit):
    """Whether the memory beyond a plain run is within the limit; prints it."""
    least, most = (runs.run(residues, *options)[1] / MB for options in (plain, with_maps))
    print(
        f"| {runs.size} | memory, {residues} residues, {what} | {least:.0f} MB | {most:.0f} MB "
        f"| {most - least:+.0f} MB (limit {limit}) |", flush=True,
    )
    return most - least <= limit


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--binary", type=Path, default=Path("target/release/esm-embed"))
    parser.add_argument("--work", type=Path, default=Path("peers-work"))
    parser.add_argument("--size", default="650M", help="[%(default)s]")
    parser.add_argument("--residues", type=int, default=500, help="of the timed protein [%(default)s]")
    parser.add_argument("--rounds", type=int, default=5, help="[%(default)s]")
    parser.add_argument("--what", default="time,contacts,attentions", help="[%(default)s]")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall",
                        help="cpu: processor time, for a busy machine")
    args = parser.parse_args()
    args.binary = args.binary.resolve()
    runs = Runs(args, args.size)
    what = args.what.split(",")
    print(f"{processor()}, load {os.getloadavg()[0]:.1f}, {args.rounds} rounds of time ({args.clock})")
    print("| ESM-2 | | without, or one layer | with, or all layers | with / without |")
    print("|---|---|---|---|---|")
    kept = []
    if "time" in what:
        kept.append(time(runs, args.residues, args.rounds))
    if "contacts" in what:
        include = ("--include", "contacts")
        for residues, limit in LIMITS.items():
            kept.append(memory(runs, residues, "contacts", (), include, limit))
    if "attentions" in what:
        every = ("--include", "attentions", "--out-dtype", "f16", "--attention-layers")
        one, every = ((*every, layers) for layers in ("-1", "all"))
        kept.append(memory(runs, 1000, "attentions", one, every, ATTENTIONS_LIMIT))
    sys.exit(0 if all(kept) else "a limit is exceeded")


if __name__ == "__main__":
    main()
