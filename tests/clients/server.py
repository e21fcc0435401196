"""A run whose arrays are what is expected, and servers to ask for the same."""

import os
import shutil
import signal
import subprocess
import time
import urllib.request
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent.parent
MODEL = ROOT / "fixtures/esm2_hd16"
NAME = "esm2_hd16"
FASTA = ROOT / "fixtures/reference/sequences.fasta"
LAYER = 2


def records(path):
    """Ids and sequences of a FASTA file."""
    found = []
    for line in path.read_text().splitlines():
        if line.startswith(">"):
            found.append([line[1:].split()[0] if len(line) > 1 else "", ""])
        elif line:
            found[-1][1] += line.strip()
    return [(name, sequence) for name, sequence in found]


class Expected:
    """The arrays of `run`."""

    def __init__(self, program, work):
        self.folder = work / "expected"
        shutil.rmtree(self.folder, ignore_errors=True)
        command = [program, "run", FASTA, "--model", MODEL, "--layer", "1,2", "--pool", "mean,bos,max"]
        command += ["--include", "logits,contacts", "--device", "cpu", "--out", self.folder, "-q"]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        lines = (self.folder / "index.tsv").read_text().splitlines()[1:]
        fields = [line.split("\t") for line in lines]
        by_id = dict(records(FASTA))
        self.ids = [row[1] for row in fields]
        self.sequences = [by_id[name] for name in self.ids]
        self.lengths = [int(row[2]) for row in fields]
        self.offsets = [int(row[3]) for row in fields]
        self.flags = [row[4] for row in fields]

    def load(self, name):
        return np.load(self.folder / f"{name}.npy")

    def pooled(self, row, pool="mean", layer=LAYER):
        return self.load(f"{pool}.layer{layer}")[row]

    def rows(self, row, name=f"residues.layer{LAYER}"):
        begin = self.offsets[row]
        return self.load(name)[begin : begin + self.lengths[row]]

    def contacts(self, row):
        return np.load(next((self.folder / "contacts").rglob(f"{self.ids[row]}.npy")))

    def plain(self):
        """Rows of the records of which every character is a residue: those that need no notes and others."""
        return [row for row, n in enumerate(self.lengths) if n == len(self.sequences[row])]


class Server:
    """`esm-embed serve` on a free port of loopback."""

    def __init__(self, program, *options):
        command = [program, "serve", "--model", MODEL, "--listen", "127.0.0.1:0", "--device", "cpu"]
        environment = dict(os.environ, HF_HUB_OFFLINE="1")
        environment.pop("ESM_EMBED_API_KEY", None)
        self.process = subprocess.Popen(
            [*command, *options, "-q"], stdout=subprocess.PIPE, text=True, env=environment
        )
        line = self.process.stdout.readline()
        if not line.startswith("listening on "):
            raise SystemExit(f"the server says {line!r}")
        self.address = line.split()[-1]
        self.base = f"{'https' if '--tls-cert' in options else 'http'}://{self.address}"

    def wait(self):
        """Until the model is loaded."""
        for _ in range(600):
            try:
                with urllib.request.urlopen(f"{self.base}/health") as answer:
                    if answer.status == 200:
                        return self
            except OSError:
                pass
            time.sleep(0.05)
        raise SystemExit("the server is not ready after 30 s")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        if self.process.wait(timeout=60) != 0:
            raise SystemExit(f"the server ended with {self.process.returncode}")


def same(found, expected, what):
    """Fails unless two arrays have the same type, shape and bits."""
    found, expected = np.asarray(found), np.asarray(expected)
    if found.dtype != expected.dtype or found.shape != expected.shape:
        raise AssertionError(
            f"{what}: {found.dtype} {found.shape}, expected {expected.dtype} {expected.shape}"
        )
    if found.tobytes() != expected.tobytes():
        worst = np.abs(found.astype("f8") - expected.astype("f8")).max()
        raise AssertionError(f"{what}: other bits, differences up to {worst:.3g}")
