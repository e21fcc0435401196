"""Compares an output folder with fair-esm's values.

    python3 .ci/aarch64_compare.py OUT REFERENCE

The folder holds the first records, or all, of fixtures/reference/sequences.fasta: means and packed
residue rows of all layers. REFERENCE is the model's file in fixtures/reference. Prints the relative
L2 and the largest difference of every layer. Exit status 1 if a relative L2 exceeds 2e-6, the bound of
the parity tests. Needs only Python's standard library.
"""

import array
import ast
import csv
import json
import math
import sys
from pathlib import Path

BOUND = 2e-6


def matrix(path):
    """Rows of a .npy file of f32."""
    data = path.read_bytes()
    start = 10 + int.from_bytes(data[8:10], "little")
    header = ast.literal_eval(data[10:start].decode("latin-1"))
    if header["descr"] != "<f4" or header["fortran_order"]:
        sys.exit(f"{path}: {header} is not rows of f32")
    values = array.array("f", data[start:])
    columns = header["shape"][1]
    return [values[i : i + columns] for i in range(0, len(values), columns)]


class Reference:
    """fair-esm's values, from a safetensors file."""

    TYPES = {"F32": "f", "I32": "i"}

    def __init__(self, path):
        data = path.read_bytes()
        start = 8 + int.from_bytes(data[:8], "little")
        self.tensors = json.loads(data[8:start])
        self.data = data[start:]

    def get(self, name):
        """A tensor's values and shape; None if there is no such tensor."""
        tensor = self.tensors.get(name)
        if tensor is None:
            return None
        begin, end = tensor["data_offsets"]
        return array.array(self.TYPES[tensor["dtype"]], self.data[begin:end]), tensor["shape"]

    def rows(self, record, layer):
        """(number of the token, its row); token 0 is <cls>."""
        name = f"seq{record}.layer{layer}"
        whole = self.get(name)
        values, (count, columns) = whole or self.get(f"{name}.sampled")
        numbers = range(count) if whole else self.get(f"seq{record}.rows")[0]
        for i, number in enumerate(numbers):
            yield number, values[i * columns : (i + 1) * columns]

    def records(self):
        return sorted(int(n[3:-7]) for n in self.tensors if n.endswith(".tokens"))


class Difference:
    """Sums of squares, and the largest difference."""

    def __init__(self):
        self.squares = self.norm = self.largest = 0.0

    def add(self, found, expected):
        for f, w in zip(found, expected, strict=True):
            difference = f - w
            self.squares += difference * difference
            self.norm += w * w
            self.largest = max(self.largest, abs(difference))

    def relative(self):
        return math.sqrt(self.squares / self.norm)


def line(what, layer, difference):
    relative = difference.relative()
    print(f"{what:<8} layer {layer}  relative L2 {relative:.2e}  largest {difference.largest:.1e}")
    return relative <= BOUND


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: aarch64_compare.py OUT REFERENCE")
    out, reference = map(Path, sys.argv[1:])
    reference = Reference(reference)
    with open(out / "index.tsv", encoding="utf-8", newline="") as file:
        index = list(csv.DictReader(file, dialect="excel-tab"))
    good = True
    for layer in range(len(list(out.glob("mean.layer*.npy")))):
        for kind in ("mean", "residues"):
            found = matrix(out / f"{kind}.layer{layer}.npy")
            against = Difference()
            for k in reference.records():
                if k >= len(index):
                    continue
                if kind == "mean":
                    against.add(found[k], reference.get(f"seq{k}.layer{layer}.mean")[0])
                    continue
                length, offset = int(index[k]["length"]), int(index[k]["residue_offset"])
                for token, row in reference.rows(k, layer):
                    if 1 <= token <= length:
                        against.add(found[offset + token - 1], row)
            good &= line(kind, layer, against)
    if not good:
        sys.exit(f"a relative L2 exceeds {BOUND:.0e}")


if __name__ == "__main__":
    main()
