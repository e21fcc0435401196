"""Compares contacts and scores of variants in speed and memory with fair-esm and transformers.

    pip install -r benches/requirements.txt
    python benches/contacts_and_scores.py --binary target/release/esm-embed --work peers-work

For each model size, on one thread: contacts of some random proteins, and the masked marginals of all
letters at every position of one (as many passes as it has residues). First checks that all tools find the
same numbers, then runs them in turn, round after round. esm-embed is timed as a whole process (start,
load, compute, write, sync); the others have the model and the sequences in memory, compute one sequence
or one masked copy at a time and write nothing. fair-esm and transformers compute contacts with their
`predict_contacts`. Every head has a weight in the random regression; in the published ones few do, which
esm-embed makes use of.

Prints a Markdown table of medians. If two tools disagree, nothing is timed and the exit status is 1.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np

from peer_products import LETTERS
from peer_tools import WORKER, NotRun, Peer, measured
from peers import machine, note

# Proteins of the contacts and their residues; residues of the scored protein.
CONTACTS = {"8M": (24, 300), "35M": (12, 300), "150M": (4, 300), "650M": (2, 500)}
SCORES = {"8M": 286, "35M": 286, "150M": 286, "650M": 100}
# Largest difference between two tools: of a probability, and of a score.
TOLERANCES = {"contacts": 1e-4, "scores": 5e-4}


class Ours:
    """One process for each run."""

    name = "esm-embed"
    versions = {}

    def __init__(self, what, args, folder, fasta):
        self.what, self.out = what, folder / f"{what}.out"
        line = {
            "contacts": ["run", "--include", "contacts", "--pool", "none", "--residues", "none", "--out"],
            "scores": ["score", "--method", "masked-marginals", "--landscape"],
        }[what]
        self.command = [
            str(args.binary), line[0], str(fasta), *line[1:], str(self.out), "--model",
            str(folder / "safetensors"), "--device", "cpu", "--threads", "1", "-q",
        ]

    def run(self, save=None):
        shutil.rmtree(self.out, ignore_errors=True)
        found = measured(self.command)
        if save:
            folder = self.out / ("contacts/000000" if self.what == "contacts" else "safetensors")
            arrays = [np.load(file) for file in sorted(folder.glob("*.npy"))]
            np.savez(save, values=np.concatenate([array.ravel() for array in arrays]))
        return found

    def stop(self):
        shutil.rmtree(self.out, ignore_errors=True)


def proteins(count, residues):
    """Random proteins whose names sort in their order."""
    rng = random.Random(residues)
    sequences = ["".join(rng.choices(LETTERS, k=residues)) for _ in range(count)]
    return "".join(f">p{i:03}\n{text}\n" for i, text in enumerate(sequences))


def agree(tools, what, folder):
    """The largest difference between esm-embed and another tool. Exits if it is too large."""
    file, reference, worst = folder / "found.npz", None, 0.0
    for tool in tools:
        tool.run(save=file)
        with np.load(file) as saved:
            values = saved["values"].astype(np.float64)
        file.unlink()
        if reference is None:
            reference = values
            continue
        if values.shape != reference.shape:
            sys.exit(f"{tool.name}: {values.shape}, but esm-embed has {reference.shape}")
        worst = max(worst, float(np.abs(values - reference).max()))
        if not worst <= TOLERANCES[what]:
            sys.exit(f"{tool.name} and esm-embed disagree about {what} by {worst:.1e}")
    return worst


def race(what, shape, args):
    """Runs all tools on one model: the rows of the table, and a line about it."""
    folder = args.work / shape
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, WORKER, "prepare-weights", "--folder", folder, "--shape", shape],
                   check=True, stdout=subprocess.DEVNULL)
    count, residues = CONTACTS[shape] if what == "contacts" else (1, SCORES[shape])
    residues = args.residues or residues
    fasta = folder / f"{what}.fasta"
    fasta.write_text(proteins(count, residues))
    tools = [Ours(what, args, folder, fasta)]
    try:
        for name in ("fair-esm", "transformers"):
            peer = Peer(name, f"{name}-{what}", [None])
            tools.append(peer)
            peer.start(args, folder, shape, fasta, 1)
        note(f"{shape}, {what}: comparing the numbers")
        worst = agree(tools, what, folder)
        runs = {tool.name: [] for tool in tools}
        for number in range(args.rounds):
            for tool in tools:
                runs[tool.name].append(tool.run())
            note(f"{shape}, {what}: round {number + 1} of {args.rounds}: " + ", ".join(
                f"{name} {all[-1][args.clock]:.1f} s" for name, all in runs.items()))
    except NotRun as reason:
        sys.exit(f"{shape}, {what}: {reason}")
    finally:
        for tool in tools:
            tool.stop()
    ours = [run[args.clock] for run in runs["esm-embed"]]
    rows = []
    for name, all in runs.items():
        seconds = [run[args.clock] for run in all]
        ratios = [theirs / mine for theirs, mine in zip(seconds, ours)]
        rows.append({
            "shape": shape, "what": what, "tool": name, "seconds": statistics.median(seconds),
            "ratio": [statistics.median(ratios), min(ratios), max(ratios)],
            "peak": max(run["peak"] for run in all), "rounds": all,
        })
    passes = f"{count} proteins" if what == "contacts" else f"{residues} passes over one protein"
    about = f"- {shape}, {what}: {passes} of {residues} residues; largest difference {worst:.1e}."
    return rows, about, {k: v for tool in tools for k, v in tool.versions.items()}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--binary", type=Path, default=Path("target/release/esm-embed"))
    parser.add_argument("--work", type=Path, default=Path("peers-work"))
    parser.add_argument("--sizes", default="8M,150M", help="[%(default)s]")
    parser.add_argument("--what", default="contacts,scores", help="[%(default)s]")
    parser.add_argument("--rounds", type=int, default=5, help="[%(default)s]")
    parser.add_argument("--residues", type=int, help="of each protein, instead of the usual numbers")
    parser.add_argument("--json", type=Path, help="also write every run to this file")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall",
                        help="cpu: processor time, for a busy machine")
    parser.add_argument("--verbose", action="store_true", help="show the messages of the peers")
    args = parser.parse_args()
    args.binary, args.work = args.binary.resolve(), args.work.resolve()
    args.threads = 1
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-1:])
    described, rows, lines, versions = machine(args), [], [], {}
    for shape in args.sizes.split(","):
        for what in args.what.split(","):
            found, about, of = race(what, shape, args)
            rows += found
            lines.append(about)
            versions.update(of)
    print("| ESM-2 | | tool | seconds | esm-embed is × as fast (min–max) | peak memory |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        ratio = "**{:.2f}** ({:.2f}–{:.2f})".format(*row["ratio"])
        cells = [row["shape"], row["what"], row["tool"], f"{row['seconds']:.1f}",
                 "" if row["tool"] == "esm-embed" else ratio, f"{row['peak'] / 2**30:.2f} GiB"]
        print(f"| {' | '.join(cells)} |")
    print("\n" + "\n".join(lines))
    print(
        f"\n{described['date']}; {described['processor']} (family/model {described['family_model']}; "
        f"{', '.join(described['instructions'])}), one thread; f32, random weights; medians of "
        f"{args.rounds} interleaved rounds" + (", processor time" if args.clock == "cpu" else "")
        + f". {described['esm_embed']}; Python {described['python']}; "
        + ", ".join(f"{k} {v}" for k, v in sorted(versions.items())) + "."
    )
    if args.json:
        args.json.write_text(json.dumps({"machine": described, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
