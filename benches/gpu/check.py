"""Checks the numbers, the bits and the speed of esm-embed on a GPU. Started by check.sh.

    python benches/gpu/check.py --binary esm-embed --out DIR --work DIR

It first checks the machine, `doctor`, the behaviour without a visible GPU, and a record of 68,700
residues. These checks are recorded and never stop the script. The stages for each size of `--sizes`:

1. numbers: residue rows of 14 sequences in f32, f16 and bf16 against transformers in f64 (attention
   as plain products): relative L2 and lowest cosine of a residue of the worst sequence. In f32 the
   error may be twice that of transformers in f32 (no TF32). No f16 record may have been computed in
   bf16.
2. bits: 3,000 sequences in three orders with three budgets, and some of them alone: SHA-256 of each
   record's rows. All must be equal, without esm-embed falling back to one sequence per pass. At 8M in
   bf16 and f32 too.
3. speed: whole processes of esm-embed that write residue rows in f16 and means to memory-backed
   storage, alternating with peers in this process, which have model and sequences in memory, write
   nothing and leave residue rows on the GPU. f16, then bf16 for every size (`--dtypes`).

The first two sizes go through all stages; then each stage runs for the other sizes. 35M, which has
heads of 24, has only the stage numbers.

A step without enough time left is skipped, and a failed step is recorded; the others continue. JSON and
table are written after each step. Results of an earlier command in the same OUT are kept if GPU and
program are the same. Exit status 1 if a number or a bit is wrong or a step failed. `--device cpu` tests
the script itself without a GPU.
"""

import time

BEGIN = time.monotonic()

import argparse
import datetime
import gc
import hashlib
import os
import signal
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "fixtures"))

import numpy as np
import torch
import transformers

from inputs import SHAPES, load, natural, protein, random_model, write_fasta
from machine import checks
from peers import Peers
from program import Program, in_bf16
from report import Report
from sequences import tokenize

# Seconds that a step is expected to take; it starts only if enough are left. A stage runs only for the
# sizes that it names.
EXPECTED = {
    "checks": {"8M": 30},
    "numbers": {"8M": 15, "35M": 15, "150M": 20, "650M": 30, "3B": 60},
    "bits": {"8M": 40, "150M": 50, "650M": 60, "3B": 120},
    "speed": {"8M": 110, "150M": 110, "650M": 130, "3B": 130},
}
# Residues of a long record: twice titin.
LONGEST = 68_700
# Upper limit of relative L2 (None: twice the error of transformers in f32), lower limit of cosine.
LIMITS = {"f32": (None, 0.99999), "f16": (5e-3, 0.995), "bf16": (3e-2, 0.995)}
TORCH = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
LENGTHS = [1, 2, 15, 62, 63, 64, 126, 127, 128, 200, 333, 511, 800, 1022]
BUDGETS = ["4096", "16384", "50000"]
# Sequences of the stage bits that are also embedded alone, one pass each.
ALONE = {"8M": 3000, "150M": 1000, "650M": 300, "3B": 60}
# Sizes for which the stage bits also writes f16, which must be the rounded f32.
HALVES = ("650M", "3B")
# Tokens of the stage speed for esm-embed and for peers.
TOKENS = {"8M": (30e6, 3e6), "150M": (9e6, 8e5), "650M": (5e6, 4e5), "3B": (1.5e6, 1.2e5)}
ROUNDS = 2


def relative_l2(found, right):
    return np.linalg.norm(found - right) / np.linalg.norm(right)


def empty_cache():
    """Frees the GPU memory of deleted models, for esm-embed."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def torch_device(args):
    """Where torch computes: on the CPU if it cannot use a GPU."""
    return "cuda" if args.device == "cuda" and torch.cuda.is_available() else "cpu"


class Check:
    def __init__(self, args, report):
        self.args, self.report, self.name = args, report, None
        self.torch = torch_device(args)
        self.program = Program(args.binary, args.device, args.work / "run",
                               lambda said: report.warn(self.name, said))

    def step(self, stage, size, dtype):
        """Runs one step if there is time; records what goes wrong."""
        self.name = name_of(stage, size, dtype)
        if time.monotonic() - BEGIN + EXPECTED[stage][size] > self.args.seconds:
            self.report.leave_out(self.name)
            return
        self.report.begin(self.name)
        begin = time.monotonic()
        model = self.args.work / size
        try:
            if not model.exists():
                random_model(size, model, self.torch)
                empty_cache()
            getattr(self, stage)(size, model, dtype)
        except KeyboardInterrupt:
            self.report.cut(self.name)
            raise
        except Exception as error:
            self.report.fail(self.name, error)
        finally:
            self.program.clear()
            empty_cache()
            self.report.found["seconds"][self.name] = time.monotonic() - begin
            self.report.write()

    def add(self, stage, entry):
        """A new entry of this step, which may be completed later."""
        entry = {"step": self.name, **entry}
        self.report.found[stage].append(entry)
        return entry

    # ---- checks ----

    def checks(self, size, model, _):
        longest = int(LONGEST * min(self.args.scale, 1))
        for what, good, said in checks(self.program, model, self.args.work, longest):
            self.add("checks", {"what": what, "good": good, "said": said})
            print(f"{what}: {'FAILED' if good is False else 'ok'}\n{said}", flush=True)

    # ---- numbers ----

    def numbers(self, size, model, _):
        rng = np.random.default_rng(1)
        records = [(f"n{n}", protein(rng, n)) for n in LENGTHS]
        fasta = self.args.work / "numbers.fasta"
        write_fasta(fasta, records)
        reference = load(model, torch.float32, self.torch, "eager")
        in_f32 = self.hidden_states(reference, records)
        expected = self.hidden_states(reference.double(), records)
        del reference
        empty_cache()
        theirs = max(map(relative_l2, in_f32, expected))
        for dtype, (most, least) in LIMITS.items():
            # In f32 the limit depends on the error of transformers.
            most = most or 2 * theirs
            manifest, _ = self.program.embed(fasta, model, "--dtype", dtype)
            rows, means = self.program.matrix("residues"), self.program.matrix("mean")
            start, worst, lowest, of_mean = 0, 0.0, 1.0, 0.0
            for right, mean in zip(expected, means):
                ours = rows[start : start + len(right)].astype(np.float64)
                start += len(right)
                worst = max(worst, relative_l2(ours, right))
                cosine = (ours * right).sum(1) / np.linalg.norm(ours, axis=1)
                lowest = min(lowest, (cosine / np.linalg.norm(right, axis=1)).min())
                of_mean = max(of_mean, relative_l2(mean, right.mean(0)))
            redone = in_bf16(manifest)
            good = bool(worst <= most and lowest >= least and start == len(rows) and redone == 0)
            self.add("numbers", {
                "size": size, "dtype": dtype, "relative_l2": float(worst), "limit": float(most),
                "transformers_f32": float(theirs), "lowest_cosine": float(lowest),
                "least_cosine": least, "mean_relative_l2": float(of_mean), "in_bf16": redone,
                "good": good,
            })
            print(f"numbers {size} {dtype}: relative L2 {worst:.2e} (limit {most:.2e}), cosine {lowest:.6f}, ok: {good}",
                  flush=True)

    def hidden_states(self, model, records):
        """Rows of the last layer without `<cls>` and `<eos>`, in f64, one sequence at a time."""
        found = []
        with torch.no_grad():
            for _, sequence in records:
                ids = torch.tensor(tokenize(sequence).astype(np.int64), device=self.torch)
                # A mask of ones: transformers scales by 0.88 only if it gets a mask.
                hidden = model(input_ids=ids[None], attention_mask=torch.ones_like(ids[None]))
                found.append(hidden.last_hidden_state[0, 1:-1].double().cpu().numpy())
        return found

    # ---- bits ----

    def bits(self, size, model, _):
        count = self.args.bits
        records = natural(np.random.default_rng(2), count * 500)[:count]
        self.bits_of(size, model, "f16", records, BUDGETS, ALONE[size], size in HALVES)
        if size == "8M":
            for dtype in ("bf16", "f32"):
                self.bits_of(size, model, dtype, records, BUDGETS[-1:], 300, False)

    def bits_of(self, size, model, dtype, records, budgets, some, has_halves):
        fasta = self.args.work / "bits.fasta"
        seen, halves, different = {}, {}, set()
        entry = self.add("bits", {
            "size": size, "dtype": dtype, "sequences": len(records), "orders_and_budgets": 0,
            "alone": 0, "different": 0, "half_different": None, "same_bits_in_any_batch": True,
            "in_bf16": 0, "cuda": None, "good": False,
        })

        def run(order, *options):
            write_fasta(fasta, order)
            manifest, _ = self.program.embed(fasta, model, "--dtype", dtype, *options)
            entry["same_bits_in_any_batch"] &= self.program.shares_passes(manifest)
            entry["in_bf16"] = max(entry["in_bf16"], in_bf16(manifest))
            entry["cuda"] = manifest["resolved"].get("cuda")

        def compare(order, seen, as_type=None):
            """Names of the records whose rows differ from an earlier run."""
            named = zip(order, self.digests(order, as_type))
            return {name for (name, _), found in named if seen.setdefault(name, found) != found}

        for seed, budget in enumerate(budgets):
            order = [records[i] for i in np.random.default_rng(seed).permutation(len(records))]
            run(order, "--max-tokens", budget)
            different |= compare(order, seen)
            entry.update(orders_and_budgets=seed + 1, different=len(different))
        if has_halves:
            compare(order, halves, np.float16)
            # With the default budget, which depends on the GPU's memory.
            run(order, "--out-dtype", "f16")
            entry["half_different"] = len(compare(order, halves))
        alone = records[:some]
        run(alone, "--deterministic")
        different |= compare(alone, seen)
        entry.update(alone=len(alone), different=len(different))
        is_same = not different and not entry["half_different"]
        entry["good"] = is_same and entry["same_bits_in_any_batch"]
        print(f"bits {size} {dtype}: {len(different)} of {len(records)} sequences differ, "
              f"ok: {entry['good']}", flush=True)

    def digests(self, order, as_type=None):
        """SHA-256 of the rows of each record and their mean, rounded to a type if one is given."""
        rows, means = self.program.matrix("residues"), self.program.matrix("mean")
        ends = np.cumsum([len(sequence) for _, sequence in order])
        if ends[-1] != len(rows) or len(order) != len(means):
            raise RuntimeError(f"{len(rows)} rows of residues and {len(means)} means of "
                               f"{len(order)} records with {ends[-1]} residues")

        def digest(record):
            first = ends[record] - len(order[record][1])
            parts = rows[first : ends[record]], means[record]
            digest = hashlib.sha256()
            for part in parts:
                digest.update(part.astype(as_type or part.dtype, copy=False))
            return digest.digest()

        with ThreadPoolExecutor() as pool:
            return list(pool.map(digest, range(len(order))))

    # ---- speed ----

    def speed(self, size, model, dtype):
        ours, theirs = (int(tokens * self.args.scale) for tokens in TOKENS[size])
        records = natural(np.random.default_rng(3), ours)
        fasta, one = self.args.work / "speed.fasta", self.args.work / "one.fasta"
        write_fasta(fasta, records)
        write_fasta(one, records[:1])
        options = ["--dtype", dtype, "--out-dtype", "f16"]
        entry = self.add("speed", {
            "size": size, "dtype": dtype, "residues": sum(len(s) for _, s in records),
            "storage": self.args.storage, "rounds": {"esm-embed": []}, "residues_per_second": {},
            "start_seconds": None, "without_start": None, "best_peer": None, "ratio": None,
            "in_bf16": 0, "same_bits_in_any_batch": True, "not_run": {}, "good": False,
        })
        # The first run also does what is done only once, such as the self-test.
        self.program.embed(one, model, *options)
        _, entry["start_seconds"] = self.program.embed(one, model, *options)
        try:
            few = natural(np.random.default_rng(4), theirs)
            peers = Peers(load(model, TORCH[dtype], self.torch), few, self.torch)
            ways, peer_residues = peers.ways, peers.residues
        except Exception as error:
            ways, peer_residues = {}, 0
            entry["not_run"]["peers"] = f"{type(error).__name__}: {error}"
        entry["peer_residues"] = peer_residues
        for _ in range(ROUNDS):
            manifest, seconds = self.program.embed(fasta, model, *options)
            self.program.clear()
            entry["rounds"]["esm-embed"].append(entry["residues"] / seconds)
            entry["in_bf16"] = max(entry["in_bf16"], in_bf16(manifest))
            entry["same_bits_in_any_batch"] &= self.program.shares_passes(manifest)
            self.keep(entry)
            for name, once in list(ways.items()):
                try:
                    rate = peer_residues / once()
                    entry["rounds"].setdefault(name, []).append(rate)
                except Exception as error:  # This torch does not support it.
                    entry["not_run"][name] = f"{type(error).__name__}: {error}"
                    del ways[name]
                self.keep(entry)
        rates = entry["residues_per_second"]
        print(f"speed {size} {dtype}: " + ", ".join(f"{n} {r:,.0f}/s" for n, r in rates.items()),
              flush=True)

    def keep(self, entry):
        """Computes rates and ratios of the rounds so far, and writes them."""
        rates = {name: statistics.median(all) for name, all in entry["rounds"].items() if all}
        peers = [rate for name, rate in rates.items() if name != "esm-embed"]
        best = max(peers, default=None)
        is_f16 = entry["in_bf16"] == 0 or entry["dtype"] != "f16"
        without = entry["residues"] / rates["esm-embed"] - entry["start_seconds"]
        entry.update(
            residues_per_second=rates, best_peer=best, ratio=best and rates["esm-embed"] / best,
            without_start=entry["residues"] / max(without, 1e-9),
            good=entry["same_bits_in_any_batch"] and is_f16,
        )
        self.report.write()


def name_of(stage, size, dtype):
    return f"{stage} of {size}" + (f" in {dtype}" if dtype else "")


def steps(sizes, stages, dtypes):
    """Stage, size and dtype of every step, the most important first."""
    first, others = sizes[:2], sizes[2:]
    found = [("checks", "8M", None)] if set(stages) != {"speed"} else []
    for group in ([(size, stage) for size in first for stage in stages],
                  [(size, stage) for stage in stages for size in others]):
        found += [(stage, size, dtypes[0] if stage == "speed" else None) for size, stage in group]
    found += [("speed", size, dtype) for dtype in dtypes[1:] for size in sizes if "speed" in stages]
    return [step for step in found if step[1] in EXPECTED[step[0]]]


def listed(known):
    """An argument type: words among `known`, separated by commas, in the order given."""
    def parse(text):
        words = text.split(",")
        if unknown := [word for word in words if word not in known]:
            raise argparse.ArgumentTypeError(f"{unknown[0]}: not one of {', '.join(known)}")
        return words

    return parse


def interrupt(*_):
    """Ends the step. A second signal is ignored, so that the results are written."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def about(args):
    """The GPU, the date and the versions."""
    said = subprocess.run([args.binary, "--version"], capture_output=True, text=True, check=True)
    digest = hashlib.sha256(args.binary.read_bytes())
    return {
        "card": torch.cuda.get_device_name() if torch_device(args) == "cuda" else "CPU",
        "date": datetime.date.today().isoformat(),
        "versions": f"{said.stdout.strip()}, torch {torch.__version__}, "
                    f"transformers {transformers.__version__}",
        "binary_sha256": digest.hexdigest(),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--sizes", type=listed(list(SHAPES)), default="650M,8M,35M,150M,3B")
    parser.add_argument("--only", type=listed(["numbers", "bits", "speed"]),
                        default="numbers,bits,speed", help="stages")
    parser.add_argument("--dtypes", type=listed(["f16", "bf16"]), default="f16,bf16",
                        help="types of the stage speed")
    parser.add_argument("--storage", default="unknown storage", help="kind of storage of WORK, for the report")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--seconds", type=float, default=530)
    parser.add_argument("--bits", type=int, default=3000, help="number of sequences of the stage bits")
    parser.add_argument("--scale", type=float, default=1.0,
                        help="factor of the tokens of the stage speed and of the longest record")
    args = parser.parse_args()
    signal.signal(signal.SIGINT, interrupt)
    args.binary, args.out, args.work = (p.resolve() for p in (args.binary, args.out, args.work))
    args.out.mkdir(parents=True, exist_ok=True)
    args.work.mkdir(parents=True, exist_ok=True)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    report = Report(args.out, about(args))
    check = Check(args, report)
    left = steps(args.sizes, args.only, args.dtypes)
    is_whole = True
    try:
        while left:
            check.step(*left.pop(0))
    except KeyboardInterrupt:
        is_whole = False
        for step in left:
            report.leave_out(name_of(*step))
    report.write()
    print("\n" + (args.out / "gpu_check.md").read_text(), flush=True)
    return 0 if is_whole and report.is_good() else 1


if __name__ == "__main__":
    sys.exit(main())
