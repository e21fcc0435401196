"""Runs esm-embed for check.py."""

import json
import os
import shutil
import subprocess
import time

import numpy as np

# A run that takes longer hangs.
MAX_SECONDS = 240


class Program:
    """A binary, a device and the output folder, which each run replaces. `warn` is called with the
    standard error of successful runs."""

    def __init__(self, binary, device, folder, warn):
        self.binary, self.device, self.folder, self.warn = binary, device, folder, warn

    def start(self, *words, **variables):
        """Runs any command, with additional environment variables."""
        command = [str(word) for word in (self.binary, *words)]
        return subprocess.run(command, env=os.environ | variables, timeout=MAX_SECONDS,
                              capture_output=True, text=True, errors="replace")

    def run(self, fasta, model, device, *more, **variables):
        """The command `run`, which may fail."""
        self.clear()
        return self.start("run", fasta, "--model", model, "--out", self.folder, "--device", device,
                          "--progress", "none", *more, **variables)

    def embed(self, fasta, model, *more):
        """run.json and seconds of a run that must succeed."""
        self.clear()
        begin = time.monotonic()
        done = self.run(fasta, model, self.device, "-q", *more)
        seconds = time.monotonic() - begin
        if done.returncode != 0:
            said = "\n".join(done.stderr.splitlines()[-20:])
            raise RuntimeError(f"status {done.returncode} of {' '.join(map(str, more))}: {said}")
        self.warn(done.stderr)
        return self.manifest(), seconds

    def manifest(self):
        return json.loads((self.folder / "run.json").read_text())

    def matrix(self, what):
        return np.load(next(self.folder.glob(f"{what}.layer*.npy")), mmap_mode="r")

    def clear(self):
        shutil.rmtree(self.folder, ignore_errors=True)

    def shares_passes(self, manifest):
        """Whether the GPU gives the same bits in any batch, by its self-test; the CPU always does."""
        about = manifest["resolved"].get("cuda", {})
        return self.device == "cpu" or about.get("same_bits_in_any_batch") is True


def in_bf16(manifest):
    """Number of records that did not fit f16."""
    return manifest["counts"].get("in_bf16", 0)
