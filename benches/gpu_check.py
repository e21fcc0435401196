"""esm-embed on a card: numbers, bits, speed. Started by gpu_check.sh, which see.

    python benches/gpu_check.py --binary esm-embed-cuda --out DIR --work DIR

Stages, each of them for every size of `--sizes`, smallest first:
1. numbers: residue rows of 14 sequences in f32, f16 and bf16 against transformers in f32
   (no TF32): relative L2 and lowest cosine of a residue of the worst sequence.
2. bits: 3,000 sequences in three orders under three budgets, and alone (for models above 150M
   the first 200): SHA-256 of each record's rows.
3. speed: whole processes of esm-embed with per-residue f16 rows and means on memory-backed
   storage, in turn with peers in this process, which have model and sequences in memory,
   write nothing, and leave residue rows on the card.

A stage that there is no time for is left out, and said to be. Exit status 1 if a number or a
bit is wrong. `--device cpu` tries the script itself, with the CPU build.
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
import torch.nn.functional as F
import transformers
from transformers import EsmConfig, EsmModel

from sequences import tokenize

# layers, dim, heads; tokens of the speed stage for esm-embed and for peers.
SHAPES = {
    "8M": (6, 320, 20, 16_000_000, 3_000_000),
    "35M": (12, 480, 20, 10_000_000, 2_000_000),
    "150M": (30, 640, 20, 5_000_000, 800_000),
    "650M": (33, 1280, 20, 3_000_000, 400_000),
    "3B": (36, 2560, 40, 900_000, 120_000),
}
# Seconds that a stage may take, at most.
LONGEST = {"8M": 25, "35M": 30, "150M": 40, "650M": 70, "3B": 120}
# Relative L2 at most, cosine at least.
LIMITS = {"f32": (1e-5, 0.99999), "f16": (5e-3, 0.995), "bf16": (3e-2, 0.995)}
TORCH = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
LENGTHS = [1, 2, 15, 62, 63, 64, 126, 127, 128, 200, 333, 511, 800, 1022]
RESIDUES = "LAGVSERTIDPKQNFYMHWC"
ROUNDS = 3


def random_model(size, folder, device):
    """A transformers ESM-2 with peaked attention and a residual stream of O(1) to O(10)."""
    layers, dim, heads, _, _ = SHAPES[size]
    config = EsmConfig(
        vocab_size=33, hidden_size=dim, num_hidden_layers=layers, num_attention_heads=heads,
        intermediate_size=4 * dim, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        layer_norm_eps=1e-5, position_embedding_type="rotary", token_dropout=True,
        emb_layer_norm_before=False, mask_token_id=32, pad_token_id=1,
        max_position_embeddings=1026,
    )
    torch.manual_seed(650)
    with torch.device(device):
        model = EsmModel(config, add_pooling_layer=False).eval()
    branch = 3.0 / np.sqrt(2 * layers)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith("bias"):
                p.uniform_(-0.2, 0.2)
            elif "layernorm" in name.lower() or "layer_norm" in name.lower():
                p.uniform_(0.7, 1.3)
            elif "word_embeddings" in name:
                p.normal_(0.0, 1.0)
                p[1] = 0.0
            else:
                peaked = ".self.query." in name or ".self.key." in name
                adds = ".output.dense." in name
                gain = 1.75 if peaked else branch if adds else 1.0
                p.normal_(0.0, gain / np.sqrt(p.shape[-1]))
    model.save_pretrained(folder)


def load(folder, dtype, device):
    model = EsmModel.from_pretrained(
        folder, add_pooling_layer=False, attn_implementation="sdpa", dtype=dtype
    )
    return model.eval().to(device)


def protein(rng, length):
    return "".join(RESIDUES[i] for i in rng.integers(0, 20, length))


def natural(rng, tokens):
    """Sequences with a median of about 300 residues, 30 to 1,022."""
    made, records = 0, []
    while made < tokens:
        length = int(np.clip(np.exp(rng.normal(np.log(300), 0.6)), 30, 1022))
        records.append((f"s{len(records)}", protein(rng, length)))
        made += length + 2
    return records


def write_fasta(path, records):
    path.write_text("".join(f">{name}\n{sequence}\n" for name, sequence in records))


class Check:
    def __init__(self, args):
        self.args = args
        self.begin = time.monotonic()
        self.found = {"numbers": [], "bits": [], "speed": [], "left_out": []}
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
        subprocess.run([str(word) for word in command], check=True)
        return out, time.monotonic() - begin

    def last(self, out, what):
        return np.load(next(out.glob(f"{what}.layer*.npy")), mmap_mode="r")

    # ---- numbers ----

    def numbers(self, size, folder):
        rng = np.random.default_rng(1)
        records = [(f"n{n}", protein(rng, n)) for n in LENGTHS]
        fasta = self.args.work / "numbers.fasta"
        write_fasta(fasta, records)
        model = load(folder, torch.float32, self.args.device)
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
        count = self.args.bits
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

        for seed, budget in enumerate(["2048", "16384", "50000"]):
            order = [records[i] for i in np.random.default_rng(seed).permutation(len(records))]
            write_fasta(fasta, order)
            out, _ = self.embed(fasta, folder, "bits", "--max-tokens", budget)
            compare(out, order)
            runs += 1
        alone = records if SHAPES[size][1] <= 640 else records[:200]
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
            starts.append(self.embed(one, folder, "speed", *options)[1])
            for name, once in list(peers.ways.items()):
                try:
                    rounds.setdefault(name, []).append(peers.residues / once())
                except Exception as error:  # A way that this torch does not have.
                    peers.errors[name] = f"{type(error).__name__}: {error}"
                    del peers.ways[name]
        start = statistics.median(starts)
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


class Peers:
    """Other ways to embed the same sequences, each a function that returns its seconds."""

    def __init__(self, model, records, device):
        self.model, self.device = model, device
        tokens = (tokenize(sequence).astype(np.int64) for _, sequence in records)
        self.tokens = sorted(tokens, key=len, reverse=True)
        self.residues = sum(len(t) - 2 for t in self.tokens)
        self.errors, self.ways = {}, {}
        for budget in (16_384, 65_536):
            self.ways[f"transformers sdpa, sorted batches of {budget}"] = self.timed(
                self.padded(budget), lambda ids, mask: model(input_ids=ids, attention_mask=mask)[0]
            )
        if device != "cpu":
            compiled = torch.compile(model, dynamic=True)
            self.ways["the same with torch.compile, 16384"] = self.timed(
                self.padded(16_384),
                lambda ids, mask: compiled(input_ids=ids, attention_mask=mask)[0],
            )
            self.ways["packed, flash attention of torch, 32768"] = self.timed(
                self.packed(32_768), self.forward_packed
            )

    def wait(self):
        if self.device != "cpu":
            torch.cuda.synchronize()

    def timed(self, batches, forward):
        """Every batch once, after a first time that is not counted."""
        warm = []

        def once():
            with torch.inference_mode():
                for _ in range(1 if warm else 2):
                    self.wait()
                    begin = time.monotonic()
                    means = [forward(*batch).float().mean(-2) for batch in batches]
                    means = [mean.cpu() for mean in means]
                    seconds = time.monotonic() - begin
                    warm.append(len(means))
            return seconds

        return once

    def batches(self, budget, cost):
        """The sequences, longest first, as many to a batch as `cost` keeps within the budget."""
        batches, batch = [], []
        for tokens in self.tokens:
            if batch and cost([*batch, tokens]) > budget:
                batches.append(batch)
                batch = []
            batch.append(tokens)
        return [*batches, batch]

    def padded(self, budget):
        batches = []
        for batch in self.batches(budget, lambda batch: len(batch[0]) * len(batch)):
            ids = np.full((len(batch), len(batch[0])), 1, dtype=np.int64)
            for row, tokens in enumerate(batch):
                ids[row, : len(tokens)] = tokens
            ids = torch.from_numpy(ids).to(self.device)
            batches.append((ids, (ids != 1).long()))
        return batches

    def packed(self, budget):
        batches = []
        for batch in self.batches(budget, lambda batch: sum(map(len, batch))):
            lengths = [len(tokens) for tokens in batch]
            starts = torch.tensor(np.cumsum([0, *lengths]), dtype=torch.int32, device=self.device)
            places = torch.from_numpy(np.concatenate([np.arange(n) for n in lengths]))
            ids = torch.from_numpy(np.concatenate(batch)).to(self.device)
            batches.append((ids, starts, max(lengths), places.to(self.device)))
        return batches

    def forward_packed(self, ids, starts, longest, places):
        """The layers of the transformers model on tokens without padding."""
        from torch.nn.attention.varlen import varlen_attn

        config = self.model.config
        heads, width = config.num_attention_heads, config.hidden_size // config.num_attention_heads
        step = torch.arange(0, width, 2, device=self.device).float() / width
        angle = places[:, None].float() * (10000.0**-step)[None]
        angle = torch.cat([angle, angle], -1)[:, None]
        cos, sin = angle.cos(), angle.sin()

        def turned(x):
            a, b = x.float().chunk(2, -1)
            return (x.float() * cos + torch.cat([-b, a], -1) * sin).to(x.dtype)

        x = self.model.embeddings.word_embeddings(ids) * 0.88
        for layer in self.model.encoder.layer:
            own = layer.attention.self
            h = layer.attention.LayerNorm(x)
            q, k, v = (f(h).view(-1, heads, width) for f in (own.query, own.key, own.value))
            h = varlen_attn(turned(q), turned(k), v, starts, starts, longest, longest)
            x = x + layer.attention.output.dense(h.reshape(x.shape))
            h = layer.LayerNorm(x)
            x = x + layer.output.dense(F.gelu(layer.intermediate.dense(h)))
        return self.model.encoder.emb_layer_norm_after(x)


def table(found):
    lines = [
        f"{found['card']}; {found['date']}; {found['versions']}", "",
        "| ESM-2 | dtype | relative L2 | limit | lowest cosine |", "|---|---|---|---|---|",
    ]
    for n in found["numbers"]:
        lines.append(f"| {n['size']} | {n['dtype']} | {n['relative_l2']:.1e} | {n['limit']:.0e} | "
                     f"{n['lowest_cosine']:.6f} |")
    lines += ["", "| ESM-2 | sequences | orders and budgets | alone | with other bits |",
              "|---|---|---|---|---|"]
    for b in found["bits"]:
        lines.append(f"| {b['size']} | {b['sequences']} | {b['orders_and_budgets']} | {b['alone']} | "
                     f"{b['different']} |")
    lines += ["", "| ESM-2 | dtype | tool | residues/s | esm-embed is × as fast |",
              "|---|---|---|---|---|"]
    for s in found["speed"]:
        kind = f"| {s['size']} | {s['dtype']} |"
        ours = s["residues_per_second"]["esm-embed"]
        for name, rate in s["residues_per_second"].items():
            ratio = "" if name == "esm-embed" else f"{ours / rate:.2f}"
            lines.append(f"{kind} {name} | {rate:,.0f} | {ratio} |")
        lines.append(f"{kind} esm-embed less {s['start_seconds']:.1f} s for start and loading | "
                     f"{s['without_start']:,.0f} | |")
        for name, why in s["not_run"].items():
            lines.append(f"{kind} {name} | not run: {why[:80]} | |")
    if found["left_out"]:
        lines += ["", "Left out for want of time: " + "; ".join(found["left_out"]) + "."]
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--sizes", default="8M,150M,650M,3B")
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
    doing = "start"
    try:
        for stage in ("numbers", "bits", "speed"):
            for size in args.sizes.split(","):
                folder = args.work / size
                doing = f"{stage} of {size}"
                if not check.time_for(LONGEST[size], doing):
                    continue
                if not folder.exists():
                    random_model(size, folder, args.device)
                if stage != "speed":
                    getattr(check, stage)(size, folder)
                    continue
                for dtype in ("f16", "bf16"):
                    if check.time_for(LONGEST[size], f"speed of {size} in {dtype}"):
                        check.speed(size, folder, dtype)
    except KeyboardInterrupt:
        check.found["left_out"].append(f"{doing}, interrupted, and what follows")
        check.failed = True
    finally:
        (args.out / "gpu_check.json").write_text(json.dumps(check.found, indent=2) + "\n")
        text = table(check.found)
        (args.out / "gpu_check.md").write_text(text)
        print("\n" + text, flush=True)
    return 1 if check.failed else 0


if __name__ == "__main__":
    sys.exit(main())
