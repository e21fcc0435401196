"""Checks that settings do not change a byte: embeds a whole proteome under several.

    python benches/same_bytes.py proteome.fasta --model DIR --work same-bytes-work

Embeds the FASTA file once per setting (threads, tokens of a batch, one sequence per pass, CPU path)
and once with its records in reverse order. The files of all settings must have the same SHA-256, and each
record of the reversed run must have the same rows, bit for bit. Prints a Markdown table; exit status 1
if anything differs. Needs NumPy. compare_binaries.py compares two builds instead.
"""

import argparse
import csv
import datetime
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

SETTINGS = [
    "--threads 1",
    "--threads 2 --max-tokens 256",
    "--threads 3 --max-tokens 5000",
    "--threads 2 --deterministic",
    "--cpu-path avx2",
]


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def reverse(fasta, target):
    """Writes the records of a plain FASTA file, last first; returns their number."""
    records = []
    for line in Path(fasta).read_bytes().splitlines():
        if line.startswith(b">"):
            records.append([])
        if records:
            records[-1].append(line.strip())
    lines = (line for record in reversed(records) for line in record)
    target.write_bytes(b"".join(line + b"\n" for line in lines))
    return len(records)


def index(folder):
    with open(folder / "index.tsv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, dialect="excel-tab"))


def reversed_equal(straight, backward, names):
    """Whether each record has the same rows in both folders, bit for bit."""
    rows = index(straight)
    others = list(reversed(index(backward)))
    if [row["id"] for row in rows] != [row["id"] for row in others]:
        return False
    for name in names:
        a, b = (np.load(folder / name, mmap_mode="r") for folder in (straight, backward))
        for x, y in zip(rows, others):
            if name.startswith("residues"):
                part, other = (
                    slice(int(r["residue_offset"]), int(r["residue_offset"]) + int(r["length"]))
                    for r in (x, y)
                )
            else:
                part, other = int(x["row"]), int(y["row"])
            if a[part].tobytes() != b[other].tobytes():
                return False
    return True


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("fasta", type=Path)
    parser.add_argument("--model", required=True, help="as for esm-embed run")
    parser.add_argument("--binary", type=Path, default=Path("target/release/esm-embed"))
    parser.add_argument("--dtype", default="f32", help="[%(default)s]")
    parser.add_argument("--work", type=Path, default=Path("same-bytes-work"))
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)

    def embed(fasta, options, name):
        out = args.work / name
        subprocess.run(
            [args.binary, "run", fasta, "--model", args.model, "--dtype", args.dtype,
             "--pool", "mean,bos,max", "--out", out, "--force", "-q", *options.split()],
            check=True,
        )
        return out

    first = embed(args.fasta, SETTINGS[0], "first")
    report = json.loads((first / "run.json").read_text())
    names = sorted(path.name for path in first.glob("*.npy"))
    wanted = {name: digest(first / name) for name in [*names, "index.tsv"]}
    print(f"| setting | {' | '.join(names)} |")
    print("|---|" + "---|" * len(names))
    print(f"| `{SETTINGS[0]}` | " + " | ".join(f"`{wanted[n][:12]}…`" for n in names) + " |")
    same = True
    for options in SETTINGS[1:]:
        out = embed(args.fasta, options, "other")
        found = {name: digest(out / name) for name in wanted}
        same &= found == wanted
        cells = ["same" if found[n] == wanted[n] else "**different**" for n in names]
        print(f"| `{options}` | {' | '.join(cells)} |", flush=True)
    flipped = args.work / "reversed.fasta"
    count = reverse(args.fasta, flipped)
    out = embed(flipped, "--threads 2", "other")
    equal = reversed_equal(first, out, names)
    same &= equal
    word = "same rows" if equal else "**different**"
    print(f"| `--threads 2`, records reversed | {' | '.join([word] * len(names))} |")
    processor = next(
        (line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
         if line.startswith("model name")), "?")
    print(f"\n{datetime.date.today()}; {count} records, {report['counts']['residues']} residues; "
          f"{args.dtype}; {processor}.")
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
