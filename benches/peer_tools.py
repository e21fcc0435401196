"""The tools of peers.py: one worker process per peer, one process per pass for esm-embed."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from peer_worker import padded_share, sorted_batches

WORKER = Path(__file__).with_name("peer_worker.py")
# Files in the folder of a size: its subset of the sequences, and a single residue.
SUBSET, TINY = "subset.fasta", "tiny.fasta"

# On Linux, ru_maxrss includes the memory of the process before exec. So the run is started from a
# small interpreter.
MEASURE = """
import json, os, sys, time
start = time.monotonic()
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(pid, 0)
print(json.dumps({"wall": time.monotonic() - start, "cpu": usage.ru_utime + usage.ru_stime,
                  "system": usage.ru_stime, "page_faults": usage.ru_minflt,
                  "peak": usage.ru_maxrss * 1024,
                  "code": os.waitstatus_to_exitcode(status)}))
"""


class NotRun(Exception):
    """The reason why a tool was not run."""


class Peer:
    """A worker process of peer_worker.py."""

    def __init__(self, name, tool, budgets):
        self.name, self.tool, self.budgets = name, tool, budgets
        self.threads = self.budget = self.process = None
        self.versions = {}

    def start(self, args, folder, shape, fasta, threads):
        self.threads = threads
        self.process = subprocess.Popen(
            [sys.executable, WORKER, self.tool,
             "--folder", folder, "--shape", shape, "--fasta", fasta, "--threads", str(threads)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            stderr=None if args.verbose else subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        )
        self.versions = self.answer()["versions"]

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            code = self.process.wait()
            raise NotRun(f"exit status {code}" + (" (out of memory?)" if code == -9 else ""))
        found = json.loads(line)
        if "error" in found:
            raise NotRun(found["error"])
        return found

    def warm_up(self):
        """The untimed run before a timed one, where each pass is a process: on one residue, so that
        the memory is available, which other tools keep between passes."""

    def run(self, save=None, budget=...):
        asked = {"budget": self.budget if budget is ... else budget}
        if save:
            asked["save"] = str(save)
        try:
            self.process.stdin.write(json.dumps(asked) + "\n")
            self.process.stdin.flush()
        except OSError:
            pass  # it has ended: answer() says how
        return self.answer()

    def stop(self):
        if self.process:
            try:
                self.process.stdin.close()  # the worker removes its files and ends
            except OSError:
                pass  # it has ended already
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None

    def start_at_best(self, args, folder, shape, fasta):
        """Tries each thread count and batch budget once, after a warm-up pass, and keeps the
        fastest."""
        tried = {}
        for threads in sorted({1, args.threads}):
            self.stop()
            self.start(args, folder, shape, fasta, threads)
            if len(self.budgets) > 1 or args.threads > 1:
                self.run(budget=self.budgets[len(self.budgets) // 2])
                for budget in self.budgets:
                    tried[threads, budget] = self.run(budget=budget)[args.clock]
        best, self.budget = min(tried, key=tried.get) if tried else (1, self.budgets[0])
        if best != self.threads:
            self.stop()
            self.start(args, folder, shape, fasta, best)
        return [{"threads": t, "budget": b, "seconds": s} for (t, b), s in tried.items()]

    def padding(self, lengths):
        return padded_share(lengths, sorted_batches(lengths, self.budget))

    def setting(self):
        chosen = ["" if self.threads == 1 else f"{self.threads} threads",
                  "" if self.budget is None else f"{self.budget} tokens"]
        return ", ".join(filter(None, chosen))


class Script(Peer):
    """A peer that starts, loads, embeds and ends in each pass."""

    def start_at_best(self, args, folder, shape, fasta):
        self.threads, self.budget = args.threads, self.budgets[0]
        self.command, self.tiny = ([
            sys.executable, str(WORKER), self.tool, "--folder", str(folder), "--shape", shape,
            "--fasta", str(file), "--threads", str(args.threads),
        ] for file in (fasta, folder / TINY))

    def warm_up(self):
        return measured(self.tiny)

    def run(self, save=None):
        return measured([*self.command, *(["--save", str(save)] if save else [])])


def measured(command):
    """Time and memory of a process that has succeeded."""
    ran = subprocess.run(
        [sys.executable, "-S", "-c", MEASURE, *command],
        stdout=subprocess.PIPE, text=True,
    )
    lines = ran.stdout.splitlines()
    found = json.loads(lines[-1]) if lines else {"code": ran.returncode}
    if found["code"] != 0:
        raise NotRun(f"exit status {found['code']}: {shlex.join(command)}")
    return found


class Ours:
    """`esm-embed run`, one process per pass."""

    def __init__(self, binary, options, args, folder):
        self.name = "esm-embed" + (f" {options}" if options else "")
        self.out = folder / "out"
        self.command, self.tiny = ([
            str(binary), "run", str(file), "--model", str(folder / "safetensors"),
            "--out", str(self.out), "--device", "cpu", "--pool", "mean", "--residues", "packed",
            "--threads", str(args.threads), "--progress", "none", "-q", *shlex.split(options),
        ] for file in (folder / SUBSET, folder / TINY))
        self.rough = any(o.startswith("--dtype") for o in shlex.split(options))

    def process(self, command):
        shutil.rmtree(self.out, ignore_errors=True)
        found = measured(command)
        if not (self.out / "run.json").is_file():
            raise NotRun(f"wrote nothing: {shlex.join(command)}")
        return found

    def warm_up(self):
        return self.process(self.tiny)

    def run(self, save=None):
        found = self.process(self.command)
        if save:
            means, = (np.load(f) for f in self.out.glob("mean.layer*.npy"))
            rows, = (np.load(f) for f in self.out.glob("residues.layer*.npy"))
            np.savez(save, rows=rows, means=means)
        return found

    def stop(self):
        shutil.rmtree(self.out, ignore_errors=True)
