"""Compares the outputs of two builds of esm-embed, byte by byte.

    python3 benches/compare_binaries.py OLD NEW

Embeds generated sequences with the models of fixtures/ under many options (layers, pools, packed
and separate residue files, windows, types, CPU paths, threads) and compares every .npy file, and
the columns row, id, length and residue_offset of index.tsv. Prints one line for each difference,
and for each build one SHA-256 of all outputs. Exit status 1 if anything differs. CPU paths that the
processor lacks are left out, so hashes are comparable only on the same kind of processor. Needs only
Python's standard library.
"""

import argparse
import csv
import hashlib
import itertools
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
MODELS = [
    "esm2_hd16", "esm2_hd24", "esm2_hd32", "esm2_hd64", "esm2_hd128", "esm1b", "esm1v",
    "esm2_hd16_f16", "esm2_hd16_bf16", "esm2_hd16_te", "esm2_hd16_bin_sharded", "esm2_hd16_v5",
    "fair_esm/esm2_hd24.pt", "fair_esm/esm1b.pt",
]
OPTIONS = [
    "--layer all --pool mean,bos,max",
    "--layer all --pool mean,bos,max --residues files",
    "--dtype f16",
    "--dtype bf16 --layer 1",
    "--out-dtype f16 --residues packed",
    "--long window:64:16 --layer 2 --pool mean,max",
    "--deterministic --threads 1",
    "--threads 2 --max-tokens 256 --residues none",
    "--threads 2 --max-tokens 64",
]
PATHS = ["portable", "avx2", "avx512", "avx512vnni"]
# Options that are tried on every CPU path.
ON_PATH = ["--dtype f16", "--dtype bf16", "--layer all --pool mean"]
LENGTHS = [1, 2, 3, 7, 15, 16, 17, 31, 63, 64, 65, 127, 128, 200, 333, 511, 700, 1022]
COLUMNS = ["row", "id", "length", "residue_offset"]


def sequences():
    """A FASTA file of every length, with duplicates, lower case and letters outside the alphabet."""
    rng = random.Random(5)
    letters = "LAGVSERTIDPKQNFYMHWCXBUZO"
    records = [
        f">r{i} some text\n{''.join(rng.choice(letters) for _ in range(length))}\n"
        for i, length in enumerate(LENGTHS + rng.choices(LENGTHS, k=20))
    ]
    copy = ">copy_1\nMKTAYIAKQR\n>copy_2\nMKTAYIAKQR\n"
    return "".join(records) + copy + ">lower\nmktayiakqr*\n>unknown\nMKJJAY\n"


def digests(folder):
    """SHA-256 of each array, and of the columns of the index."""
    found = {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*.npy")
    }
    with open(folder / "index.tsv", encoding="utf-8", newline="") as file:
        rows = [[row[c] for c in COLUMNS] for row in csv.DictReader(file, dialect="excel-tab")]
    found["index.tsv"] = hashlib.sha256(repr(rows).encode()).hexdigest()
    return found


def embed(binary, fasta, model, options, out):
    """Digests of a run; None if the run failed, with the last line that it printed."""
    shutil.rmtree(out, ignore_errors=True)
    done = subprocess.run(
        [binary, "run", fasta, "--model", FIXTURES / model, "--out", out, "--device", "cpu",
         "--progress", "none", "--quiet", *options.split()],
        capture_output=True, text=True,
    )
    if done.returncode:
        return None, (done.stderr.strip().splitlines() or ["?"])[-1]
    return digests(out), ""


def available_paths(binaries, fasta, out):
    """The CPU paths that both builds can run on this processor."""
    return [
        path for path in PATHS
        if all(embed(b, fasta, MODELS[0], f"--cpu-path {path} {ON_PATH[0]}", out)[0]
               for b in binaries)
    ]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--models", default=",".join(MODELS), help="[%(default)s]")
    args = parser.parse_args()
    binaries = [args.old.resolve(), args.new.resolve()]
    totals = [hashlib.sha256(), hashlib.sha256()]
    compared = different = 0
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        fasta, one = work / "sequences.fasta", work / "one.fasta"
        fasta.write_text(sequences())
        one.write_text(">one\nMKTAYIAKQR\n")
        paths = available_paths(binaries, one, work / "out")
        print(f"CPU paths: {', '.join(paths)}", flush=True)
        options_on_paths = [
            f"--cpu-path {path} {on}" for path in paths for on in ON_PATH
            # 16-bit fixed point, only.
            if path != "avx512vnni" or on == "--dtype f16"
        ]
        for model, options in itertools.product(
            args.models.split(","), [*OPTIONS, *options_on_paths]
        ):
            runs = [embed(b, fasta, model, options, work / "out") for b in binaries]
            for total, (found, error) in zip(totals, runs):
                total.update(repr((model, options, sorted((found or {}).items()))).encode())
            (old, old_error), (new, new_error) = runs
            if old is None or new is None:
                different += 1
                print(f"FAILED {model} {options}: {old_error or 'ran'} | {new_error or 'ran'}")
                continue
            compared += len(old)
            for name in sorted(old.keys() | new.keys()):
                if old.get(name) != new.get(name):
                    different += 1
                    print(f"DIFFERS {model} {options}: {name}", flush=True)
    print(f"{compared} files compared, {different} differ")
    for binary, total in zip(binaries, totals):
        print(f"{total.hexdigest()}  {binary}")
    sys.exit(1 if different or not compared else 0)


if __name__ == "__main__":
    main()
