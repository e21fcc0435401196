"""Runs esm-embed on giant inputs, generated on the fly, and checks its memory and its output.

    python benches/giants.py --binary target/release/esm-embed [--scale 1] [CASE...]

Each case has an expected exit status, message and output, and a memory limit of 128 MiB. Exit status 1
if a case is not as expected. At scale 1, a line has 10 GB and there are 5 million records. Needs only
Python's standard library, and 4 GB in the folder for temporary files for the output of 5 million
records.
"""

import argparse
import gzip
import os
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

MODEL = Path(__file__).resolve().parent.parent / "fixtures" / "esm2_hd16"
MAX_MEMORY = 128 << 20
LETTERS = "ACDEFGHIKLMNPQRSTVWY"
COLUMNS = "row\tid\tlength\tresidue_offset\tflags\tdescription\n"


def blocks(byte, count):
    """`count` times a byte, a megabyte at a time."""
    block = byte * (1 << 20)
    for _ in range(count >> 20):
        yield block
    yield block[: count & ((1 << 20) - 1)]


def line(scale):
    yield b">a\nMKT\n>giant\n"
    yield from blocks(b"A", int(10e9 * scale))
    yield b"\n>b\nMKV\n"


def header(scale):
    yield b">a\nMKT\n>"
    yield from blocks(b"h", int(10e9 * scale))
    yield b"\nMKL\n>b\nMKV\n"


def blank(scale):
    yield b">a\nMKT\n"
    yield from blocks(b"\n", int(1e9 * scale))
    yield b">b\nMKV\n"


def bomb(scale):
    """gzip members of 100 MB each, compressed 1000:1."""
    packer = zlib.compressobj(wbits=31)
    member = b"".join(packer.compress(block) for block in blocks(b"A", 100_000_000))
    member += packer.flush()
    yield gzip.compress(b">a\nMKT\n>giant\n")
    for _ in range(int(100 * scale)):
        yield member
    yield gzip.compress(b"\n>b\nMKV\n")


def headers(scale):
    """Identifiers of a megabyte, all different."""
    name = b"x" * 1_000_000
    for i in range(int(2000 * scale)):
        yield b">%06d%s\nMKT%s\n" % (i, name, LETTERS[i % 20].encode())


def residues(scale):
    for first in range(0, int(5e6 * scale), 1000):
        yield "".join(f">r{i}\n{LETTERS[i % 20]}\n" for i in range(first, first + 1000)).encode()


def run(binary, out, text, options):
    """Exit status, standard error, peak memory, bytes fed and seconds of a run on `text`."""
    command = [binary, "run", "-", "--model", str(MODEL), "--out", str(out), "--progress", "none"]
    begin = time.monotonic()
    with tempfile.TemporaryFile() as messages:
        process = subprocess.Popen([*command, *options], stdin=subprocess.PIPE, stderr=messages)
        fed = 0
        try:
            for block in text:
                process.stdin.write(block)
                fed += len(block)
            process.stdin.flush()
        except BrokenPipeError:
            pass
        try:
            process.stdin.close()
        except BrokenPipeError:
            pass
        # ru_maxrss includes the memory of this script before exec, which is less.
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        messages.seek(0)
        said = messages.read().decode()
    return process.returncode, said, usage.ru_maxrss << 10, fed, time.monotonic() - begin


def rows(path):
    """Rows and columns of a matrix, after its header and the size of the file are compared."""
    with open(path, "rb") as file:
        head = file.read(128)
    assert head[:6] == b"\x93NUMPY" and struct.unpack("<H", head[8:10]) == (118,), head
    shape = eval(head[10:].decode(), {"__builtins__": {}})["shape"]
    assert path.stat().st_size == 128 + 4 * shape[0] * shape[1], path
    return shape


def two_records(out):
    assert (out / "index.tsv").read_text() == COLUMNS + "0\ta\t3\t0\t\t\n1\tb\t3\t3\t\t\n"
    assert rows(out / "mean.layer2.npy") == (2, 32)
    assert rows(out / "residues.layer2.npy") == (6, 32)


def one_skipped(reason):
    def check(out, scale):
        two_records(out)
        table = (out / "skipped.tsv").read_text().splitlines()
        assert len(table) == 2, table
        file, line, record, name, why = table[1].split("\t")
        assert (file, line, record) == ("-", "3", "2"), table
        assert name in ("giant", "h" * 1024) and why.startswith(reason), table

    return check


def nothing(out, scale):
    assert not (out / "run.json").exists()


def blank_lines(out, scale):
    two_records(out)


def long_identifiers(out, scale):
    count = 0
    with open(out / "index.tsv") as table:
        assert next(table) == COLUMNS
        for count, line in enumerate(table, 1):
            row, name, length, offset, *_ = line.split("\t")
            assert (int(row), name[:6], len(name)) == (count - 1, f"{count - 1:06}", 1_000_006)
            assert (length, int(offset)) == ("4", 4 * (count - 1))
    assert count == int(2000 * scale)


def one_residue_each(out, scale):
    count = int(5e6 * scale)
    with open(out / "index.tsv") as table:
        assert next(table) == COLUMNS
        for i, line in enumerate(table):
            same = f"duplicate_of={i % 20}" if i >= 20 else ""
            assert line == f"{i}\tr{i}\t1\t{i}\t{same}\t\n", line
    assert i == count - 1, i
    assert rows(out / "mean.layer2.npy") == (count, 32)
    assert rows(out / "residues.layer2.npy") == (count, 32)
    for name in ["mean.layer2.npy", "residues.layer2.npy"]:
        with open(out / name, "rb") as file:
            file.seek(128)
            first = file.read(20 * 128)
            assert len({first[i : i + 128] for i in range(0, 20 * 128, 128)}) == 20
            while block := file.read(20 * 128):
                assert block == first[: len(block)]


TOO_LONG = "the sequence has more than 16,777,216 characters"
HEADER = "the header has more than 16,777,216 bytes"
SKIP = ["--on-invalid", "skip"]
# Input, options, exit status, part of standard error, check of the output.
CASES = {
    "line": (line, [], 1, f"<stdin>, line 4, record 2 (`giant`): {TOO_LONG}", nothing),
    "line-skipped": (line, SKIP, 3, "1 record was skipped and is listed in skipped.tsv", one_skipped(TOO_LONG)),
    "header": (header, [], 1, f": {HEADER}", nothing),
    "header-skipped": (header, SKIP, 3, "1 record was skipped and is listed in skipped.tsv", one_skipped(HEADER)),
    "blank-lines": (blank, [], 0, "2 records", blank_lines),
    "bomb": (bomb, [], 1, f"<stdin>, line 4, record 2 (`giant`): {TOO_LONG}", nothing),
    "bomb-skipped": (bomb, SKIP, 3, "1 record was skipped and is listed in skipped.tsv", one_skipped(TOO_LONG)),
    "long-identifiers": (headers, [], 0, "records (20 distinct", long_identifiers),
    "one-residue": (residues, [], 0, "records (20 distinct", one_residue_each),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--binary", default="target/release/esm-embed")
    parser.add_argument("--scale", type=float, default=1)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    args = parser.parse_args()
    print("| input | bytes fed | exit status | peak memory | time |")
    print("|---|---|---|---|---|")
    ok = True
    for name in args.cases or CASES:
        make, options, due, message, check = CASES[name]
        with tempfile.TemporaryDirectory() as work:
            out = Path(work) / "emb"
            options = ["--threads", "1", *options]
            code, said, memory, fed, seconds = run(args.binary, out, make(args.scale), options)
            print(
                f"| {name} | {fed / 1e6:,.0f} MB | {code} | {memory / (1 << 20):.0f} MiB "
                f"| {seconds:.0f} s |",
                flush=True,
            )
            if code != due or message not in said or memory > MAX_MEMORY:
                ok = False
                print(f"UNEXPECTED: want status {due}, {message!r}, at most 128 MiB; got:\n{said:.2000}")
                continue
            check(out, args.scale)
    sys.exit(0 if ok else 1)


if __name__ == "__main__":
    main()
