"""esm-embed on a card: numbers, bits, speed. Started by gpu_check.sh, which see.

    python benches/gpu_check.py --binary esm-embed-cuda --out DIR --work DIR

Stages, one after another for each size of `--sizes`, in the order given:
1. numbers: residue rows of 14 sequences in f32, f16 and bf16 against transformers in f32
   (no TF32, attention as plain products): relative L2 and lowest cosine of a residue of the
   worst sequence.
2. bits: 3,000 sequences (3B: 600) in three orders under three budgets, and some of them alone:
   SHA-256 of each record's rows.
3. speed: whole processes of esm-embed with per-residue f16 rows and means on memory-backed
   storage, in turn with peers in this process, which have model and sequences in memory,
   write nothing, and leave residue rows on the card. f16; then bf16 of every size.

A step that there is no time for is left out, and one that fails is noted; the others go on.
JSON and table are written after each. Exit status 1 if a number or a bit is wrong or a step
failed. `--only numbers,bits` and `--only speed` do it in two commands. `--device cpu` tries the
script itself, with the CPU build.
"""

import argparse
import datetime
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "fixtures"))

import numpy as np
import torch
import transformers

from gpu_inputs import SHAPES, load, natural, protein, random_model, write_fasta
from gpu_peers import Peers
from gpu_report import table
from sequences import tokenize

# Sequences of the stage bits at most, and how many of them alone: each takes a pass of 16,384 rows.
BITS = {"8M": (3000, 3000), "35M": (3000, 1000), "150M": (3000, 300), "650M": (3000, 100),
        "3B": (600, 60)}
# Seconds that a step is expected to take; it is begun if there are so many left.
EXPECTED = {
    "numbers": {"8M": 15, "35M": 15, "150M": 20, "650M": 30, "3B": 60},
    "bits": {"8M": 30, "35M": 30, "150M": 40, "650M": 60, "3B": 70},
    "speed": {"8M": 60, "35M": 60, "150M": 60, "650M": 80, "3B": 90},
}
# Relative L2 at most, cosine at least.
LIMITS = {"f32": (1e-5, 0.99999), "f16": (5e-3, 0.995), "bf16": (3e-2, 0.995)}
TORCH = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
LENGTHS = [1, 2, 15, 62, 63, 64, 126, 127, 128, 200, 333, 511, 800, 1022]
ROUNDS = 2


class Check:
    def __init__(self, args):
        self.args = args
        self.begin = time.monotonic()
        self.found = {"numbers": [], "bits": [], "speed": [], "left_out": [], "failed": [],
                      "seconds": {}}
        self.failed = False

    def time_for(self, seconds, what):
        """Whether so many seconds are left; what there is no time for is noted."""
        is_time = time.monotonic() - self.begin + seconds < self.args.seconds
        if not is_time:
            self.found["left_out"].append(what)
            print(f"left out for want of time: {what}", flush=True)
        return is_time

    def embed(self, fasta, model, name, *more):
        """Runs esm-embed; its folder and seconds."""
        out = self.args.work / name
        shutil.rmtree(out, ignore_errors=True)
        command = [
            self.args.binary, "run", fasta, "--model", model, "--out", out,
            "--device", self.args.device, "--progress", "none", "-q", *more,
        ]
        begin = time.monotonic()
        done = subprocess.run([str(word) for word in command], stderr=subprocess.PIPE, text=True)
        seconds = time.monotonic() - begin
        if done.returncode != 0:
            said = "\n".join(done.stderr.splitlines()[-20:])
            raise RuntimeError(f"status {done.returncode} of {' '.join(map(str, more))}: {said}")
        return out, seconds

    def last(self, out, what):
        return np.load(next(out.glob(f"{what}.layer*.npy")), mmap_mode="r")

    def step(self, stage, size, dtype=None):
        """One step, if there is time for it; what goes wrong is noted."""
        name = f"{stage} of {size}" + (f" in {dtype}" if dtype else "")
        if not self.time_for(EXPECTED[stage][size], name):
            return
        begin = time.monotonic()
        folder = self.args.work / size
        try:
            if not folder.exists():
                random_model(size, folder, self.args.device)
            if stage == "speed":
                self.speed(size, folder, dtype)
            else:
                getattr(self, stage)(size, folder)
        except KeyboardInterrupt:
            self.found["left_out"].append(f"{name}, interrupted, and what follows")
            raise
        except Exception as error:
            self.failed = True
            self.found["failed"].append({"step": name, "error": f"{type(error).__name__}: {error}"})
            print(f"{name} FAILED: {error}", flush=True)
        finally:
            self.found["seconds"][name] = time.monotonic() - begin
            self.write()

    def write(self):
        """JSON and table as far as they go."""
        for name, text in (("gpu_check.json", json.dumps(self.found, indent=2) + "\n"),
                           ("gpu_check.md", table(self.found))):
            new = self.args.out / f".{name}"
            new.write_text(text)
            new.replace(self.args.out / name)

    # ---- numbers ----

    def numbers(self, size, folder):
        rng = np.random.default_rng(1)
        records = [(f"n{n}", protein(rng, n)) for n in LENGTHS]
        fasta = self.args.work / "numbers.fasta"
        write_fasta(fasta, records)
        model = load(folder, torch.float32, self.args.device, "eager")
        expected = []
        with torch.no_grad():
            for _, sequence in records:
                ids = torch.tensor(tokenize(sequence).astype(np.int64), device=self.args.device)
                # A mask of ones: transformers scales by 0.88 only where it sees which are tokens.
                hidden = model(input_ids=ids[None], attention_mask=torch.ones_like(ids[None]))
                expected.append(hidden.last_hidden_state[0, 1:-1].double().cpu().numpy())
        del model
        for dtype, (most, least) in LIMITS.items():
            out, _ = self.embed(fasta, folder, "numbers", "--dtype", dtype)
            rows, means = self.last(out, "residues"), self.last(out, "mean")
            start, worst, lowest, of_mean = 0, 0.0, 1.0, 0.0
            for theirs, mean in zip(expected, means):
                ours = rows[start : start + len(theirs)].astype(np.float64)
                start += len(theirs)
                worst = max(worst, np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))
                cosine = (ours * theirs).sum(1) / np.linalg.norm(ours, axis=1)
                lowest = min(lowest, (cosine / np.linalg.norm(theirs, axis=1)).min())
                off = np.linalg.norm(mean - theirs.mean(0)) / np.linalg.norm(theirs.mean(0))
                of_mean = max(of_mean, off)
            is_good = bool(worst <= most and lowest >= least and start == len(rows))
            self.failed |= not is_good
            self.found["numbers"].append({
                "size": size, "dtype": dtype, "relative_l2": float(worst), "limit": most,
                "lowest_cosine": float(lowest), "mean_relative_l2": float(of_mean),
                "good": is_good,
            })
            print(f"numbers {size} {dtype}: {worst:.2e}, {lowest:.6f}, good: {is_good}", flush=True)

    # ---- bits ----

    def bits(self, size, folder):
        count, some = (min(self.args.bits, most) for most in BITS[size])
        records = natural(np.random.default_rng(2), count * 500)[:count]
        fasta = self.args.work / "bits.fasta"
        runs, seen, different = 0, {}, set()

        def compare(out, order):
            rows, means = self.last(out, "residues"), self.last(out, "mean")
            start = 0
            for row, (name, sequence) in enumerate(order):
                part = rows[start : start + len(sequence)]
                start += len(sequence)
                digest = hashlib.sha256(part.tobytes() + means[row].tobytes()).digest()
                if seen.setdefault(name, digest) != digest:
                    different.add(name)

        for seed, budget in enumerate(["4096", "16384", "50000"]):
            order = [records[i] for i in np.random.default_rng(seed).permutation(len(records))]
            write_fasta(fasta, order)
            out, _ = self.embed(fasta, folder, "bits", "--max-tokens", budget)
            compare(out, order)
            runs += 1
        alone = records[:some]
        write_fasta(fasta, alone)
        out, _ = self.embed(fasta, folder, "bits", "--deterministic")
        compare(out, alone)
        manifest = json.loads((out / "run.json").read_text())
        self.failed |= bool(different)
        self.found["bits"].append({
            "size": size, "sequences": len(records), "orders_and_budgets": runs,
            "alone": len(alone), "different": len(different),
            "cuda": manifest["resolved"].get("cuda"),
        })
        print(f"bits {size}: {len(different)} of {len(records)} sequences differ", flush=True)

    # ---- speed ----

    def speed(self, size, folder, dtype):
        ours, theirs = SHAPES[size][3:]
        records = natural(np.random.default_rng(3), int(ours * self.args.scale))
        fasta, one = self.args.work / "speed.fasta", self.args.work / "one.fasta"
        write_fasta(fasta, records)
        write_fasta(one, records[:1])
        residues = sum(len(sequence) for _, sequence in records)
        few = natural(np.random.default_rng(4), int(theirs * self.args.scale))
        options = ["--dtype", dtype, "--out-dtype", "f16"]
        peers = Peers(load(folder, TORCH[dtype], self.args.device), few, self.args.device)
        rounds, starts = {"esm-embed": []}, []
        for _ in range(ROUNDS):
            out, seconds = self.embed(fasta, folder, "speed", *options)
            rounds["esm-embed"].append(residues / seconds)
            shutil.rmtree(out)
            if not starts:
                starts.append(self.embed(one, folder, "speed", *options)[1])
            for name, once in list(peers.ways.items()):
                try:
                    rounds.setdefault(name, []).append(peers.residues / once())
                except Exception as error:  # A way that this torch does not have.
                    peers.errors[name] = f"{type(error).__name__}: {error}"
                    del peers.ways[name]
        start = starts[0]
        rates = {name: statistics.median(all) for name, all in rounds.items() if all}
        whole = residues / rates["esm-embed"]
        best = max((rate for name, rate in rates.items() if name != "esm-embed"), default=None)
        self.found["speed"].append({
            "size": size, "dtype": dtype, "residues": residues, "peer_residues": peers.residues,
            "residues_per_second": rates, "rounds": rounds, "start_seconds": start,
            "without_start": residues / max(whole - start, 1e-9),
            "best_peer": best, "ratio": best and rates["esm-embed"] / best,
            "not_run": peers.errors,
        })
        print(f"speed {size} {dtype}: " + ", ".join(f"{n} {r:,.0f}/s" for n, r in rates.items()),
              flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--sizes", default="650M,8M,150M,3B")
    parser.add_argument("--only", default="numbers,bits,speed", help="stages")
    parser.add_argument("--storage", default="not said", help="what WORK is on, for the record")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--seconds", type=float, default=530)
    parser.add_argument("--bits", type=int, default=3000, help="sequences of the stage bits")
    parser.add_argument("--scale", type=float, default=1.0, help="of the tokens of the stage speed")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    args.work.mkdir(parents=True, exist_ok=True)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    check = Check(args)
    said = subprocess.run([args.binary, "--version"], capture_output=True, text=True, check=True)
    check.found |= {
        "card": torch.cuda.get_device_name() if args.device == "cuda" else "CPU",
        "date": datetime.date.today().isoformat(),
        "versions": f"{said.stdout.strip()}, torch {torch.__version__}, "
                    f"transformers {transformers.__version__}",
    }
    check.found["storage"] = args.storage
    stages, sizes = args.only.split(","), args.sizes.split(",")
    steps = [(stage, size, "f16" if stage == "speed" else None)
             for size in sizes for stage in ("numbers", "bits", "speed")]
    steps += [("speed", size, "bf16") for size in sizes]
    try:
        for stage, size, dtype in steps:
            if stage in stages:
                check.step(stage, size, dtype)
    except KeyboardInterrupt:
        check.failed = True
    check.write()
    print("\n" + table(check.found), flush=True)
    return 1 if check.failed else 0


if __name__ == "__main__":
    sys.exit(main())
