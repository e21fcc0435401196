"""Compares the speed of variant scores with transformers.

    pip install -r benches/requirements.txt
    python benches/scores.py --binary target/release/esm-embed --work scores-work

A protein of 286 residues, all its single mutants (5,434), masked marginals, a random model of the shape
of ESM-2 150M, one thread. Both use 286 passes: esm-embed as a whole process (start, load, score, write),
transformers with the model loaded in advance, one masked copy at a time. They run in turn, round after
round. Prints the median times and their ratio, and exits with 1 if a score differs by more than 1e-4.
"""

import argparse
import csv
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np
import torch
import transformers
from transformers import EsmConfig, EsmForMaskedLM

LETTERS = "LAGVSERTIDPKQNFYMHWC"
SHAPES = {"8M": (6, 320, 20), "35M": (12, 480, 20), "150M": (30, 640, 20), "650M": (33, 1280, 20)}
VOCABULARY = (
    ["<cls>", "<pad>", "<eos>", "<unk>"] + list("LAGVSERTIDPKQNFYMHWCXBUZO.-") + ["<null_1>", "<mask>"]
)
MASK = 32


def model_folder(work, size):
    """A random model of this size, saved as transformers saves it."""
    path = work / f"random_{size}"
    if not (path / "config.json").exists():
        layers, dim, heads = SHAPES[size]
        torch.manual_seed(0)
        config = EsmConfig(
            vocab_size=33, mask_token_id=MASK, pad_token_id=1, hidden_size=dim,
            num_hidden_layers=layers, num_attention_heads=heads, intermediate_size=4 * dim,
            position_embedding_type="rotary", token_dropout=True, emb_layer_norm_before=False,
            layer_norm_eps=1e-5, max_position_embeddings=1026,
        )
        EsmForMaskedLM(config).save_pretrained(path)
        (path / "vocab.txt").write_text("\n".join(VOCABULARY))
    return path


def theirs(model, protein):
    """Masked marginals of all single mutants, one masked copy at a time."""
    ids = {letter: VOCABULARY.index(letter) for letter in LETTERS}
    tokens = torch.tensor([[0, *(ids[letter] for letter in protein), 2]])
    scores = {}
    with torch.inference_mode():
        for i, wild in enumerate(protein):
            copy = tokens.clone()
            copy[0, i + 1] = MASK
            logits = model(input_ids=copy, attention_mask=torch.ones_like(copy)).logits
            lp = torch.log_softmax(logits[0, i + 1].double(), dim=-1)
            for letter in LETTERS:
                if letter != wild:
                    scores[f"{wild}{i + 1}{letter}"] = (lp[ids[letter]] - lp[ids[wild]]).item()
    return scores


def ours(binary, folder, work):
    """Seconds of a whole process."""
    command = [binary, "score", "protein.fasta", "--variants", "variants.csv", "--out", "scores.csv"]
    command += ["--model", folder.resolve(), "--threads", "1", "--device", "cpu", "--force", "-q"]
    begin = time.perf_counter()
    subprocess.run(command, cwd=work, check=True)
    return time.perf_counter() - begin


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", type=Path, default=Path("target/release/esm-embed"))
    parser.add_argument("--work", type=Path, default=Path("scores-work"))
    parser.add_argument("--size", choices=SHAPES, default="150M")
    parser.add_argument("--residues", type=int, default=286)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    args.work.mkdir(exist_ok=True)
    rng = np.random.default_rng(286)
    protein = "".join(rng.choice(list(LETTERS), args.residues))
    (args.work / "protein.fasta").write_text(f">protein\n{protein}\n")
    variants = [f"{w}{i}{m}" for i, w in enumerate(protein, 1) for m in LETTERS if m != w]
    (args.work / "variants.csv").write_text("mutant\n" + "\n".join(variants) + "\n")
    folder = model_folder(args.work, args.size)
    model = EsmForMaskedLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa").eval()

    times = {"esm-embed": [], "transformers": []}
    worst = 0.0
    for _ in range(args.rounds):
        times["esm-embed"].append(ours(args.binary.resolve(), folder, args.work))
        begin = time.perf_counter()
        scores = theirs(model, protein)
        times["transformers"].append(time.perf_counter() - begin)
        with open(args.work / "scores.csv", newline="") as file:
            for row in csv.DictReader(file):
                worst = max(worst, abs(float(row[folder.name]) - scores[row["mutant"]]))
    print(f"{len(variants)} variants of {args.residues} residues, {args.size}, one thread")
    print("| | median, s | range |\n|---|---|---|")
    for name, all_times in times.items():
        low, high = min(all_times), max(all_times)
        print(f"| {name} | {statistics.median(all_times):.1f} | {low:.1f}–{high:.1f} |")
    pairs = zip(times["transformers"], times["esm-embed"])
    ratio = statistics.median(theirs / ours for theirs, ours in pairs)
    print(f"esm-embed is {ratio:.2f} times as fast; largest difference of a score: {worst:.1e}")
    if not worst <= 1e-4:
        sys.exit("scores differ")


if __name__ == "__main__":
    main()
