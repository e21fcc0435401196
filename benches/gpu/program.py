"""esm-embed as check.py runs it."""

import json
import os
import shutil
import subprocess
import time

import numpy as np

# No run takes so many seconds: one that does hangs.
MOST_SECONDS = 240


class Program:
    """A binary, a device and the folder that every run writes anew. `warn` is given what a run that
    succeeded has on stderr."""

    def __init__(self, binary, device, folder, warn):
        self.binary, self.device, self.folder, self.warn = binary, device, folder, warn

    def start(self, *words, **variables):
        """Any command, with these variables beside those of the environment."""
        command = [str(word) for word in (self.binary, *words)]
        return subprocess.run(command, env=os.environ | variables, timeout=MOST_SECONDS,
                              capture_output=True, text=True, errors="replace")

    def run(self, fasta, model, device, *more, **variables):
        """`run`, whatever comes of it."""
        self.clear()
        return self.start("run", fasta, "--model", model, "--out", self.folder, "--device", device,
                          "--progress", "none", *more, **variables)

    def embed(self, fasta, model, *more):
        """A run that must succeed; its run.json and seconds."""
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
        """Whether the card was seen to give the same bits in any batch; the CPU always does."""
        about = manifest["resolved"].get("cuda", {})
        return self.device == "cpu" or about.get("same_bits_in_any_batch") is True


def in_bf16(manifest):
    """Records that did not fit f16."""
    return manifest["counts"].get("in_bf16", 0)
