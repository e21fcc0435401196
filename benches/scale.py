"""Measures esm-embed on many records: plans, the start of tasks, and growth with the number of records.

    python benches/scale.py plan   --binary target/release/esm-embed --records 20000000
    python benches/scale.py start  --binary target/release/esm-embed --records 1000000
    python benches/scale.py growth --binary target/release/esm-embed --records 100000,1000000,10000000
    python benches/scale.py status --binary target/release/esm-embed --records 1000000
    python benches/scale.py merge  --binary target/release/esm-embed --records 1000000
    python benches/scale.py known  --binary target/release/esm-embed --records 1000000

`plan` makes a synthetic FASTA of natural lengths (350 bytes a record), plans it for `--shards` tasks and
prints the time, the peak memory, and the bytes of the index for each record; `--peptides` makes records of
34 bytes instead, so that more of them fit on a disk. `start` compares the time from
the start of a task to its first finished batch, and the bytes that it reads until then, with a plan and with
`--shard` alone, on the same input. `growth` embeds short peptides in one process and prints the time, the
time of all processors and the bytes written for each record. `status` and `merge` make the folders of
`--shards` finished shards without computing, and look at them, link them, and merge them with a copy.
`known` embeds peptides of which nine in ten are in an older output, with and without `--known`. All of them
use a tiny model of the fixtures, so that little of the time is computing. With `--before OLD`, another
binary is measured in the same run.

Files are made below `--dir` (default: a temporary folder) and removed; 20 million records need about 12 GB.
Needs NumPy. Exit status 1 if a target is missed: see TARGETS.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT / "fixtures" / "esm2_hd16"
LETTERS = np.frombuffer(b"ACDEFGHIKLMNPQRSTVWY", np.uint8)
# Seconds and bytes for the plan of 20 million records, seconds to the first batch of a task, bytes of the
# index for each record, and how much more a record may cost in a large run than in one of the first size.
TARGETS = {"plan": 300, "memory": 2 << 30, "start": 2, "index": 40, "growth": 1.15,
           "status": 1, "link": 10}
SECTIONS = {}


def section(run):
    SECTIONS[run.__name__] = run
    return run


def lines_of_residues(count, seed):
    """A text of `count` lines of 60 residues: records are parts of it."""
    residues = np.random.default_rng(seed).choice(LETTERS, (count, 60))
    return np.hstack([residues, np.full((count, 1), ord("\n"), np.uint8)]).tobytes()


def natural_lengths(count, rng):
    """Lengths like those of UniRef50: mean 280, a long tail."""
    lengths = np.exp(rng.normal(5.35, 0.75, count)).astype(np.int64)
    return np.clip(lengths, 16, 35_000)


def make_fasta(path, records, seed=23):
    """Records of natural lengths; about one in a hundred repeats a sequence."""
    rng = np.random.default_rng(seed)
    lines = 400_000
    text = lines_of_residues(lines + 600, seed)
    with open(path, "wb", buffering=1 << 22) as out:
        for first in range(0, records, 200_000):
            some = min(200_000, records - first)
            lengths = natural_lengths(some, rng)
            starts = rng.integers(0, lines, some) * 61
            ends = starts + lengths + lengths // 60
            parts = []
            for i, (start, end) in enumerate(zip(starts.tolist(), ends.tolist())):
                parts.append(b">UniRef50_A0A%09d Uncharacterized protein n=1 Tax=root TaxID=1\n"
                             % (first + i))
                parts.append(text[start:end])
                parts.append(b"\n")
            out.write(b"".join(parts))


def make_peptides(path, records, seed=7):
    """Different sequences of 8 to 30 residues."""
    rng = np.random.default_rng(seed)
    with open(path, "wb", buffering=1 << 22) as out:
        for first in range(0, records, 200_000):
            some = min(200_000, records - first)
            lengths = rng.integers(8, 31, some).tolist()
            residues = rng.choice(LETTERS, (some, 30)).tobytes()
            out.write(b"".join(b">pep%09d\n%b\n" % (first + i, residues[30 * i:30 * i + length])
                               for i, length in enumerate(lengths)))


class Measured(NamedTuple):
    """Seconds, those of all processors together, peak bytes of memory, and bytes written."""

    seconds: float
    processor: float
    memory: int
    written: int


def measured(command, **more):
    """Runs a command."""
    begin = time.monotonic()
    process = subprocess.Popen(command, **more)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - begin
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(f"failed: {' '.join(map(str, command))}")
    return Measured(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, usage.ru_oublock * 512)


def read_so_far(pid):
    """Bytes that a process has read, from the page cache or from the disk."""
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["rchar"])


def until_first_batch(command, out):
    """Seconds from the start of a run to its first finished batch, which the journal shows, and the bytes
    read until then; the run is stopped."""
    shutil.rmtree(out, ignore_errors=True)
    journal = out / ".partial" / "journal"
    begin = time.monotonic()
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        read = 0
        while process.poll() is None:
            read = read_so_far(process.pid)
            if journal.exists() and journal.stat().st_size > 0:
                return time.monotonic() - begin, read
            time.sleep(0.005)
        if (out / "run.json").exists():
            return time.monotonic() - begin, read
    finally:
        process.kill()
        process.wait()
    raise SystemExit(f"no batch: {' '.join(map(str, command))}")


def two_cores(command):
    return ["taskset", "-c", "0,1", *map(str, command)]


def check(name, value, target, unit):
    is_met = value <= target
    print(f"{name:40} {value:12,.2f} {unit:8} (target {target:,.2f}) {'ok' if is_met else 'MISSED'}")
    return is_met


@section
def plan(args, home):
    fasta = home / "in.fasta"
    (make_peptides if args.peptides else make_fasta)(fasta, args.count)
    print(f"{args.count:,} records, {fasta.stat().st_size / 1e9:.2f} GB, {args.shards} shards")
    command = [args.binary, "plan", fasta, "--shards", args.shards, "--out", home / "plan", "-q"]
    run = measured(two_cores(command))
    index = (home / "plan" / "index").stat().st_size / args.count
    rows = (home / "plan" / "shards.tsv").read_text().splitlines()[1:]
    costs = [int(row.split("\t")[6]) for row in rows]
    print(f"{'cost of a shard, most / least':40} {max(costs) / max(min(costs), 1):12.6f}")
    print(f"{'reading':40} {fasta.stat().st_size / run.seconds / 1e6:12,.1f} MB/s")
    met = [
        check("plan", run.seconds, TARGETS["plan"] * args.count / 20_000_000, "s"),
        check("memory", run.memory / (1 << 30), TARGETS["memory"] / (1 << 30), "GiB"),
        check("index", index, TARGETS["index"], "B/record"),
    ]
    return all(met) & start_of(args, home, fasta)


@section
def start(args, home):
    fasta = home / "in.fasta"
    make_fasta(fasta, args.count)
    subprocess.run([args.binary, "plan", fasta, "--shards", str(args.shards), "--out", home / "plan",
                    "-q"], check=True)
    return start_of(args, home, fasta)


def start_of(args, home, fasta):
    """The start of the first, the middle and the last task of a plan, and of one without a plan."""
    options = ["--model", MODEL, "--residues", "none", "--threads", "2"]
    met = True
    for number in sorted({1, (args.shards + 1) // 2, args.shards}):
        shard = ["--shard", f"{number}/{args.shards}", "--out", home / "shard"]
        seconds, read = until_first_batch(
            two_cores([args.binary, "run", "--plan", home / "plan", *shard, *options]), home / "shard")
        print(f"{f'task {number}, bytes read':40} {read / 1e6:12,.1f} MB")
        met &= check(f"task {number}, first batch", seconds, TARGETS["start"], "s")
    if args.count <= 2_000_000:
        for name, binary in [("this", args.binary), ("before", args.before)]:
            if binary:
                seconds, read = until_first_batch(
                    two_cores([binary, "run", fasta, *shard, *options]), home / "shard")
                print(f"{f'without a plan ({name}), first batch':40} {seconds:12,.2f} s, "
                      f"{read / 1e6:,.1f} MB read")
    return met


@section
def growth(args, home):
    met = True
    for name, binary in [("before", args.before), ("this", args.binary)]:
        if not binary:
            continue
        first = None
        for count in args.records:
            fasta = home / "peptides.fasta"
            make_peptides(fasta, count)
            command = [binary, "run", fasta, "--model", MODEL, "--residues", "none", "--threads", "2",
                       "--out", home / "emb", "--force", "-q"]
            run = measured(two_cores(command))
            size = sum(f.stat().st_size for f in (home / "emb").rglob("*") if f.is_file())
            micros = [seconds / count * 1e6 for seconds in (run.seconds, run.processor)]
            print(f"{name}: {count:>11,} records {run.seconds:9.2f} s {micros[0]:8.2f} µs/record "
                  f"(processors: {micros[1]:.2f}) {run.written / count:8.1f} B written/record "
                  f"({size / count:.1f} B/record kept) {run.memory / 1e6:8.1f} MB", flush=True)
            per_record = (*micros, run.written / count)
            first = first or per_record
            if name == "this" and per_record != first:
                for what, now, before in zip(("time", "processor time", "bytes"), per_record, first):
                    met &= check(f"  {what} against the first", now / before, TARGETS["growth"], "")
            shutil.rmtree(home / "emb")
    return met


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def make_shards(args, home):
    """Folders of finished shards, as runs write them: records dealt out in turn, and rows of zeros."""
    fasta = home / "one.fasta"
    fasta.write_text(">a\nMKT\n")
    subprocess.run([args.binary, "run", fasta, "--model", MODEL, "--residues", "none", "--shard", "1/1",
                    "--out", home / "one", "-q"], check=True)
    template = json.loads((home / "one" / "run.json").read_text())
    rng = np.random.default_rng(3)
    dim = template["layout"]["dim"]
    for shard in range(args.shards):
        ordinals = range(shard, args.count, args.shards)
        count, length = len(ordinals), 280
        folder = home / "shards" / f"{shard + 1:05}"
        folder.mkdir(parents=True)
        (folder / "index.tsv").write_text(
            "row\tid\tlength\tresidue_offset\tflags\tdescription\n"
            + "".join(f"{row}\tUniRef50_A0A{ordinal:09}\t{length}\t{row * length}\t\tUncharacterized protein n=1\n"
                      for row, ordinal in enumerate(ordinals)))
        keys = rng.bytes(16 * count).hex()
        (folder / "shard.tsv").write_text(
            "record\tsequence\tmasks\n"
            + "".join(f"{ordinal}\t{keys[32 * row:32 * row + 32]}\t0\n" for row, ordinal in enumerate(ordinals)))
        header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({count}, {dim}), }}"
        (folder / "mean.layer2.npy").write_bytes(
            b"\x93NUMPY\x01\x00\x76\x00" + header.ljust(117).encode() + b"\n" + bytes(4 * count * dim))
        run = dict(template, shard={"number": shard + 1, "of": args.shards, "input_records": args.count})
        run["counts"] = dict(template["counts"], records=count, residues=count * length, unique_sequences=count)
        run["arrays"] = [dict(template["arrays"][0], shape=[count, dim])]
        files = []
        for name in ("index.tsv", "shard.tsv", "mean.layer2.npy"):
            path = folder / name
            entry = {"name": name, "bytes": path.stat().st_size, "sha256": sha256(path)}
            if name.endswith(".npy"):
                entry |= {"shape": [count, dim], "dtype": "f32"}
            files.append(entry)
        run["files"] = files
        (folder / "run.json").write_text(json.dumps(run))
    return sorted((home / "shards").iterdir())


@section
def status(args, home):
    make_shards(args, home)
    command = [args.binary, "status", home / "shards"]
    seconds = min(measured(two_cores(command), stdout=subprocess.DEVNULL).seconds for _ in range(3))
    return check(f"status of {args.shards:,} shards", seconds, TARGETS["status"], "s")


@section
def merge(args, home):
    shards = make_shards(args, home)
    print(f"{args.count:,} records in {args.shards:,} shards")
    command = [args.binary, "merge", "--link", *shards, "--out", home / "linked", "-q"]
    run = measured(two_cores(command))
    print(f"{'merge --link':40} {run.processor:12,.2f} s of processors, {run.written / 1e6:,.1f} MB written, "
          f"{run.memory / 1e6:,.1f} MB of memory")
    met = check("merge --link", run.seconds, TARGETS["link"], "s")
    command = [args.binary, "merge", *shards, "--out", home / "copied", "-q"]
    run = measured(two_cores(command))
    print(f"{'merge':40} {run.seconds:12,.2f} s ({run.processor:,.2f} of processors), "
          f"{run.written / 1e6:,.1f} MB written, {run.memory / 1e6:,.1f} MB of memory")
    for name in ("index.tsv", "ids.npy"):
        met &= (home / "linked" / name).read_bytes() == (home / "copied" / name).read_bytes()
    return met


@section
def known(args, home):
    new = home / "new.fasta"
    make_peptides(new, args.count)
    old = home / "old.fasta"
    with open(new) as source, open(old, "w") as out:
        out.writelines(line for _, line in zip(range(2 * (args.count * 9 // 10)), source))
    options = ["--model", MODEL, "--threads", "2", "-q"]
    subprocess.run([args.binary, "run", old, *options, "--shard", "1/1", "--out", home / "old"], check=True)
    for name, more in [("computed", []), ("with --known", ["--known", home / "old"])]:
        out = home / name.split()[0]
        run = measured(two_cores([args.binary, "run", new, *options, *more, "--out", out]))
        print(f"{name:40} {run.seconds:12,.2f} s ({run.processor:,.2f} of processors), "
              f"{run.memory / 1e6:,.1f} MB of memory")
    counts = json.loads((home / "with" / "run.json").read_text())["counts"]
    print(f"{counts['known']:,} of {counts['unique_sequences']:,} sequences copied")
    names = [path.name for path in (home / "computed").glob("*.npy")]
    return all((home / "computed" / name).read_bytes() == (home / "with" / name).read_bytes() for name in names)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("section", choices=SECTIONS)
    parser.add_argument("--binary", type=Path, default=ROOT / "target" / "release" / "esm-embed")
    parser.add_argument("--before", type=Path)
    parser.add_argument("--records", default="1000000")
    parser.add_argument("--shards", type=int, default=1000)
    parser.add_argument("--peptides", action="store_true")
    parser.add_argument("--dir", type=Path)
    args = parser.parse_args()
    args.records = [int(count) for count in args.records.split(",")]
    args.count = args.records[0]
    args.binary = args.binary.resolve()
    with tempfile.TemporaryDirectory(dir=args.dir) as home:
        return 0 if SECTIONS[args.section](args, Path(home)) else 1


if __name__ == "__main__":
    sys.exit(main())
