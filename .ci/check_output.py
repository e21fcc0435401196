"""Checks the output of the README's first command.

    python3 .ci/check_output.py emb

Exit status 1 and one line per fault if something is wrong. Needs only Python's standard library. The
expected numbers are those of fair-esm 2.0.0 for the sequences of fixtures/demo.fasta (J read as <unk>,
letters in upper case) with
fixtures/fair_esm/esm2_hd16.pt, which holds the weights of fixtures/esm2_hd16: f32, one sequence
at a time, torch 2.11.0 with one thread, layer 2, mean over residues summed in f64.
"""

import array
import ast
import hashlib
import json
import math
import sys
from pathlib import Path

TOLERANCE = 2e-5
DIM = 32
COLUMNS = ["row", "id", "length", "residue_offset", "flags", "description"]
# id, length, flags
RECORDS = [
    ("demo|P1|A", 76, ""),
    ("demo|P2|B", 142, ""),
    ("sample/3", 58, ""),
    ("peptide_4", 12, ""),
    ("copy_of_1", 76, "duplicate_of=0"),
    ("soft_masked_6", 200, "lower=30"),
    ("ambiguous_7", 46, "unknown=1"),
    ("masked_8", 32, "masks=1"),
]
# row: the first four features of mean.layer2.npy
MEANS = {
    0: [0.9443725943565369, -0.14555716514587402, 1.0537588596343994, -0.4421304166316986],
    3: [0.7497717142105103, -1.181968331336975, 0.07788433134555817, -0.3243404030799866],
    6: [1.0162248611450195, -0.5273120403289795, 0.6632853150367737, -0.4991557002067566],
    7: [0.8156365156173706, -0.5497386455535889, 0.44600269198417664, -0.43115487694740295],
}
# row: the first four features of the first and of the last residue
RESIDUES = {
    1: (
        [0.8574320077896118, -0.1503610461950302, 0.9985411763191223, -0.9841828346252441],
        [0.46636462211608887, 1.63827645778656, 1.5796958208084106, -1.8030999898910522],
    ),
    6: (
        [2.1136438846588135, -0.9185227751731873, 2.0406627655029297, 0.08198827505111694],
        [1.0996382236480713, 0.7690539956092834, 0.48985353112220764, -2.409060478210449],
    ),
    7: (
        [-0.01633879914879799, 0.7505787014961243, 0.6760382652282715, -0.5539823174476624],
        [0.8772867321968079, 0.3547740876674652, 0.9513784646987915, -1.8163621425628662],
    ),
}

faults = []


def check(holds, what):
    if not holds:
        faults.append(what)


def matrix(path, rows):
    """The rows of a .npy file of the NumPy format 1.0."""
    data = path.read_bytes()
    check(data[:8] == b"\x93NUMPY\x01\x00", f"{path.name}: starts with {data[:8]!r}")
    start = 10 + int.from_bytes(data[8:10], "little")
    check(start % 64 == 0, f"{path.name}: numbers start at byte {start}, not at a multiple of 64")
    header = ast.literal_eval(data[10:start].decode("latin-1"))
    expected = {"descr": "<f4", "fortran_order": False, "shape": (rows, DIM)}
    check(header == expected, f"{path.name}: header {header}, expected {expected}")
    check(
        len(data) == start + 4 * rows * DIM,
        f"{path.name}: {len(data)} bytes, expected {start + 4 * rows * DIM}",
    )
    values = array.array("f")
    values.frombytes(data[start : start + 4 * rows * DIM])
    if sys.byteorder == "big":
        values.byteswap()
    check(all(map(math.isfinite, values)), f"{path.name}: holds NaN or infinity")
    return [values[i : i + DIM] for i in range(0, len(values), DIM)]


def check_index(path):
    """Checks index.tsv; returns the residue offset of each record."""
    lines = path.read_text(encoding="utf-8").split("\n")
    check(lines.pop() == "", "index.tsv: the last line does not end with a newline")
    check(lines[0].split("\t") == COLUMNS, f"index.tsv: columns {lines[0]!r}")
    check(len(lines) == len(RECORDS) + 1, f"index.tsv: {len(lines)} lines")
    offsets, offset = [], 0
    for row, ((name, length, flags), line) in enumerate(zip(RECORDS, lines[1:])):
        expected = [str(row), name, str(length), str(offset), flags]
        check(line.split("\t")[:5] == expected, f"index.tsv: {line!r}, expected {expected}")
        offsets.append(offset)
        offset += length
    return offsets


def check_manifest(folder):
    """Checks the counts in run.json, and the size and checksum of every file."""
    manifest = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    check(manifest["format_version"] == 1, f"run.json: format {manifest['format_version']}")
    residues = sum(length for _, length, _ in RECORDS)
    for key, expected in {"records": len(RECORDS), "residues": residues, "skipped": 0}.items():
        found = manifest["counts"][key]
        check(found == expected, f"run.json: {key} {found}, expected {expected}")
    listed = {file["name"]: file for file in manifest["files"]}
    present = {path.name for path in folder.iterdir()} - {"run.json"}
    check(set(listed) == present, f"run.json lists {sorted(listed)}, found {sorted(present)}")
    for name in sorted(set(listed) & present):
        data = (folder / name).read_bytes()
        check(len(data) == listed[name]["bytes"], f"{name}: size differs from run.json")
        digest = hashlib.sha256(data).hexdigest()
        check(digest == listed[name]["sha256"], f"{name}: sha256 differs from run.json")


def check_values(means, residues, offsets):
    """Compares means and residue rows with fair-esm's, and with each other."""

    def near(what, found, expected):
        error = max(abs(a - b) for a, b in zip(found, expected))
        check(error <= TOLERANCE, f"{what}: differs from the expected values by {error:.1e}")

    for row, expected in MEANS.items():
        near(f"mean of {RECORDS[row][0]}", means[row], expected)
    for row, (first, last) in RESIDUES.items():
        name, length, _ = RECORDS[row]
        near(f"first residue of {name}", residues[offsets[row]], first)
        near(f"last residue of {name}", residues[offsets[row] + length - 1], last)
    for row, (name, length, _) in enumerate(RECORDS):
        rows = residues[offsets[row] : offsets[row] + length]
        mean = [math.fsum(column) / length for column in zip(*rows)]
        near(f"mean of {name} and of its residue rows", means[row], mean)
    check(means[4] == means[0], "the rows of a duplicate sequence differ")


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: check_output.py FOLDER")
    folder = Path(sys.argv[1])
    check_manifest(folder)
    offsets = check_index(folder / "index.tsv")
    means = matrix(folder / "mean.layer2.npy", len(RECORDS))
    residues = matrix(folder / "residues.layer2.npy", sum(length for _, length, _ in RECORDS))
    if not faults:
        check_values(means, residues, offsets)
    for fault in faults:
        print(f"{folder}: {fault}", file=sys.stderr)
    if faults:
        sys.exit(1)
    print(f"{folder}: files, checksums, index, shapes and numbers are as expected")


if __name__ == "__main__":
    main()
