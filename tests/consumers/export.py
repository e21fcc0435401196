#!/usr/bin/env python3
"""Reads every format of `export`, and the bundle of `plot map`, with the programs that they are for, and
compares each number with those that NumPy reads from the output folder.

    python3 -m venv venv && venv/bin/pip install -r tests/consumers/requirements.txt
    venv/bin/pip install --no-deps biotrainer
    venv/bin/python tests/consumers/export.py target/release/esm-embed [--large]

--large also exports 100,000 records to HDF5 and reads them all with h5py (about two minutes).
R is used if `Rscript` is on the PATH.
"""
import csv
import importlib.util
import pathlib
import shutil
import subprocess
import sys
import tempfile

import duckdb
import h5py
import numpy as np
import pandas
import polars
import safetensors.numpy
import skbio
import torch

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = pathlib.Path(sys.argv[1]).resolve()
FASTA = """\
>sp|P12345|NAME_X some description
MKTVRQERLKAAGF
>a/b slash
MKV
>dup
MKVLA
>dup
MKVLAG
>\u00e9 unicode
MKtVJ*
>
ACDEFGHIK
>a,"quoted"
MKV
>.
WWW
"""
IDS = ["sp|P12345|NAME_X", "a/b", "dup", "dup", "\u00e9", "", 'a,"quoted"', "."]
KEYS = ["sp|P12345|NAME_X", "a_b", "dup", "dup_2", "\u00e9", "unnamed", 'a,"quoted"', "_"]
SEQUENCES = ["MKTVRQERLKAAGF", "MKV", "MKVLA", "MKVLAG", "MKtVJ*", "ACDEFGHIK", "MKV", "WWW"]
EMBEDDED = SEQUENCES[:4] + ["MKTVX"] + SEQUENCES[5:]
LABELS = ["sp|P12345|NAME_X some description", "a/b slash", "dup", "dup", "\u00e9 unicode", "", 'a,"quoted"', "."]


class Exports:
    """An output folder, and exports of it."""

    def __init__(self, home, *options):
        self.home = pathlib.Path(home)
        fasta = self.home / "in.fasta"
        fasta.write_text(FASTA)
        self.dir = self.home / "emb"
        run("run", fasta, "--model", ROOT / "fixtures/esm2_hd16", "--out", self.dir, "--quiet", *options)
        self.lengths = [len(sequence) for sequence in EMBEDDED]
        self.ends = np.cumsum(self.lengths)

    def load(self, name):
        return np.load(self.dir / f"{name}.npy")

    def rows(self, name):
        return np.split(self.load(name), self.ends[:-1])

    def to(self, form, *options):
        path = self.home / ("-".join(["x", *(option.strip("-") for option in options)]) + f".{form}")
        run("export", self.dir, "--to", form, "--out", path, "--quiet", "--force", *options)
        return path


def run(*words):
    subprocess.run([PROGRAM, *words], check=True)


def equal(found, expected):
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.dtype == expected.dtype, (found.dtype, expected.dtype)
    assert found.shape == expected.shape, (found.shape, expected.shape)
    assert found.tobytes() == expected.tobytes()


def uniprot(path):
    """The example that UniProt gives for its files of embeddings."""
    with h5py.File(path, "r") as file:
        return {sequence_id: np.array(embedding) for sequence_id, embedding in file.items()}


def gopredsim(path):
    """How goPredSim reads embeddings: the attribute names the protein."""
    with h5py.File(path, "r") as file:
        return {file[key].attrs["original_id"]: np.array(file[key]) for key in file.keys()}


def h5(exports):
    mean, rows = exports.load("mean.layer2"), exports.rows("residues.layer2")
    found = uniprot(exports.to("h5"))
    assert sorted(found) == sorted(KEYS)
    for key, expected in zip(KEYS, mean):
        equal(found[key], expected)
    found = uniprot(exports.to("h5", "--residues", "--dtype", "f16"))
    for key, expected in zip(KEYS, rows):
        equal(found[key], expected.astype(np.float16))
    found = uniprot(exports.to("h5", "--array", "contacts"))
    equal(found["a_b"], np.load(exports.dir / "contacts/000000/a_b-c14cddc033f64b9d.npy"))
    found = gopredsim(exports.to("h5", "--keys", "row"))
    assert set(found) == set(IDS) and all(isinstance(name, str) for name in found)
    equal(found["dup"], mean[3])
    with h5py.File(exports.to("h5", "--array", "max.layer1"), "r") as file:
        attributes = dict(file.attrs)
    assert attributes == {"model_name": "esm2_hd16", "model": "esm2_hd16", "layer": 1}, attributes


def biotrainer(exports):
    spec = importlib.util.find_spec("biotrainer")
    path = pathlib.Path(spec.submodule_search_locations[0]) / "utilities/hashing.py"
    spec = importlib.util.spec_from_file_location("hashing", path)
    hashing = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hashing)
    found = uniprot(exports.to("h5", "--keys", "hash"))
    # The sequences of a/b and a,"quoted" are equal.
    assert len(found) == 7
    for sequence, expected in zip(SEQUENCES, exports.load("mean.layer2")):
        equal(found[hashing.calculate_sequence_hash(sequence)], expected)


def protspace(exports):
    from protspace.data.loaders.h5 import load_h5, parse_identifier
    loaded = load_h5([exports.to("h5")])
    assert loaded.name == "esm2_hd16" and sorted(loaded.headers) == sorted(KEYS)
    equal(loaded.data[loaded.headers.index("_")], exports.load("mean.layer2")[7])
    assert parse_identifier("sp|P12345|NAME_X") == "P12345"


def bundle(exports):
    """`plot map`'s bundle, read as ProtSpace reads those of its users."""
    from protspace.data.io.bundle import extract_bundle_to_dir
    from protspace.utils.arrow_reader import ArrowReader
    table, out = exports.home / "table.tsv", exports.home / "map"
    table.write_text("id\tlength\tscore\tkind\tkind\nP12345\t7\t1.5\tx\ty\na/b\t8\t\tz\t\n")
    run("plot", "map", exports.dir, "--table", table, "--out", out, "--quiet")
    data = ArrowReader(pathlib.Path(extract_bundle_to_dir(out / "map.parquetbundle"))).get_data()
    ids = [*IDS[:3], "dup_2", *IDS[4:]]
    assert list(data["protein_data"]) == ids
    lines = [one["annotations"] for one in data["protein_data"].values()]
    assert [one["length"] for one in lines] == exports.lengths
    assert list(lines[0].items())[1:] == [("length_2", 7.0), ("score", 1.5), ("kind", "x"), ("kind_2", "y")]
    assert np.isnan(lines[1]["score"]) and lines[1]["kind"] == "z"
    frame = pandas.read_csv(out / "map.tsv", sep="\t", quoting=csv.QUOTE_NONE)
    for one in data["projections"]:
        method, dims = one["name"].removeprefix("esm2_hd16 \u2014 ").split()
        names = [f"umap{dims}_{k}" if method == "UMAP" else f"pca_{k}" for k in range(1, int(dims) + 1)]
        assert [point["identifier"] for point in one["data"]] == ids
        found = [list(point["coordinates"].values()) for point in one["data"]]
        equal(np.array(found, "f4"), frame[names].to_numpy("f4"))
    assert len(data["projections"]) == 4


def tensors(exports):
    keys = ["sp|P12345|NAME_X", "a/b", "dup", "dup_2", "\u00e9", "unnamed", 'a,"quoted"', "."]
    found = safetensors.numpy.load_file(exports.to("safetensors"))
    assert sorted(found) == sorted(keys)
    for key, expected in zip(keys, exports.load("mean.layer2")):
        equal(found[key], expected)
    found = safetensors.numpy.load_file(exports.to("safetensors", "--residues", "--keys", "row"))
    for row, expected in enumerate(exports.rows("residues.layer2")):
        equal(found[str(row)], expected)


def pt(exports):
    mean, bos = exports.load("mean.layer2"), exports.load("bos.layer1")
    rows = exports.rows("residues.layer1")
    records = {}
    for path in exports.to("pt", "--residues").iterdir():
        record = torch.load(path, weights_only=True)
        records.setdefault(record["label"], []).append((path.name, record))
    assert sorted(records) == sorted(set(LABELS))
    for at, label in enumerate(LABELS):
        matching = [one for name, one in records[label] if len(one["representations"][1]) == len(rows[at])]
        record = matching[0]
        assert list(record) == ["label", "representations", "mean_representations", "bos_representations", "contacts"]
        equal(record["mean_representations"][2].numpy(), mean[at])
        equal(record["bos_representations"][1].numpy(), bos[at])
        equal(record["representations"][1].numpy(), rows[at])
        assert record["contacts"].shape == (len(rows[at]), len(rows[at]))
    assert records[LABELS[0]][0][0] == LABELS[0] + ".pt"
    for path in exports.to("pt", "--dtype", "f16").iterdir():
        assert torch.load(path, weights_only=True)["mean_representations"][2].dtype == torch.float16


def tables(exports):
    mean = exports.load("mean.layer2")
    path = exports.to("parquet")
    frame = pandas.read_parquet(path)
    assert list(frame.columns) == ["id", "sequence_length", "embedding"] and list(frame["id"]) == IDS
    equal(np.stack(frame["embedding"]), mean)
    equal(frame["sequence_length"].to_numpy(dtype=np.int64), np.array(exports.lengths))
    frame = polars.read_parquet(path)
    assert frame.schema["embedding"] == polars.Array(polars.Float32, 32), frame.schema
    equal(frame["embedding"].to_numpy(), mean)
    found = duckdb.sql(f"select id, sequence_length, embedding from '{path}'").fetchall()
    assert [row[:2] for row in found] == list(zip(IDS, exports.lengths))
    equal(np.array([row[2] for row in found], dtype=np.float32), mean)

    path = exports.to("csv")
    with open(path, newline="") as file:
        found = list(csv.reader(file))
    assert found[0] == ["id"] + [f"d{column}" for column in range(32)]
    assert [row[0] for row in found[1:]] == IDS
    frame = pandas.read_csv(path, dtype={"id": str}, keep_default_na=False)
    equal(frame.iloc[:, 1:].to_numpy(dtype=np.float32), mean)
    if shutil.which("Rscript") is None:
        print("NOT CHECKED: read.csv, because there is no R")
        return
    program = ("x <- read.csv(commandArgs(TRUE)[1]); stopifnot(x$id[2] == 'a/b'); "
               "writeBin(as.vector(t(as.matrix(x[, -1]))), commandArgs(TRUE)[2])")
    subprocess.run(["Rscript", "-e", program, path, exports.home / "r.bin"], check=True)
    equal(np.fromfile(exports.home / "r.bin").astype(np.float32), mean.ravel())


def npz(exports):
    with np.load(exports.to("npz")) as found:
        assert sorted(found) == ["ids", "mean.layer2"]
        assert list(found["ids"]) == IDS
        equal(found["mean.layer2"], exports.load("mean.layer2"))
    with np.load(exports.to("npz", "--residues")) as found:
        equal(found["residues.layer2"], exports.load("residues.layer2"))
        equal(found["lengths"], np.array(exports.lengths))


def scikit_bio(exports):
    path = exports.to("skbio")
    found = list(skbio.read(str(path), format="embed", constructor=skbio.embedding.ProteinVector))
    assert [str(one) for one in found] == EMBEDDED
    equal(np.stack([one.embedding.ravel() for one in found]), exports.load("mean.layer2"))
    path = exports.to("skbio", "--residues")
    found = list(skbio.read(str(path), format="embed", constructor=skbio.embedding.ProteinEmbedding))
    assert [str(one) for one in found] == EMBEDDED
    equal(np.concatenate([one.embedding for one in found]), exports.load("residues.layer2"))
    with h5py.File(path, "r") as file:
        assert dict(file.attrs) == {"format": "embedding", "format-version": "1.0", "dtype": "float32", "dim": 32}


def large(home):
    """100,000 datasets, all read with h5py."""
    fasta, emb, out = home / "large.fasta", home / "large", home / "large.h5"
    letters = "ACDEFGHIKLMNPQRSTVWY"
    sequence = lambda n: "M" + letters[n % 20] + letters[n // 20 % 20] + letters[n // 400 % 20] + letters[n // 8000 % 20]
    fasta.write_text("".join(f">P{n:06}\n{sequence(n)}\n" for n in range(100_000)))
    run("run", fasta, "--model", ROOT / "fixtures/esm2_hd16", "--out", emb, "--residues", "none", "--quiet")
    run("export", emb, "--to", "h5", "--out", out, "--quiet")
    mean = np.load(emb / "mean.layer2.npy")
    with h5py.File(out, "r") as file:
        assert len(file) == len(mean)
        for row, (key, dataset) in enumerate(file.items()):
            assert key == f"P{row:06}" == dataset.attrs["original_id"]
            equal(dataset[:], mean[row])
    table = home / "large.parquet"
    run("export", emb, "--to", "parquet", "--out", table, "--quiet")
    equal(polars.read_parquet(table)["embedding"].to_numpy(), mean)
    print(f"100,000 datasets: {out.stat().st_size / len(mean) - 128:.0f} bytes each besides the numbers")


def main():
    with tempfile.TemporaryDirectory() as home:
        exports = Exports(home, "--pool", "mean,bos,max", "--layer", "1,2", "--include", "contacts,logits")
        for check in (h5, biotrainer, protspace, bundle, tensors, pt, tables, npz, scikit_bio):
            check(exports)
            print(f"{check.__name__}: as expected")
        if "--large" in sys.argv:
            large(pathlib.Path(home))


if __name__ == "__main__":
    main()
