"""Compares esm-embed with transformers and fair-esm at the size of a published ESM-2 or ESM C.

    python benches/full_size.py --binary target/release/esm-embed --shape 650M
    python benches/full_size.py --binary target/release/esm-embed --shape ESMC-300M

Makes a random ESM-2 of that shape and saves it as safetensors (with transformers) and as sharded
`pytorch_model.bin`. An ESM C is saved as safetensors and as the `.pth` of EvolutionaryScale's SDK; fair-esm
does not run it, and in its place transformers computes in f64, which tells whose rounding a difference is.
Embeds six sequences of 20 to 1,000 residues from both with esm-embed, and one at a time with transformers and
fair-esm in f32. Prints two tables; exit status 1 if a tolerance or the memory limit is exceeded; for ESM C,
the tolerance is that to f64. Needs the packages of fixtures/requirements.txt and, for 650M, 16 GB of memory and
6 GB of disk. `--python-only` leaves esm-embed out.
"""

import argparse
import gc
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "fixtures"))

import numpy as np
import torch
import transformers
from esm.model.esm2 import ESM2
from huggingface_hub import split_torch_state_dict_into_shards
from transformers import EsmcConfig, EsmcForMaskedLM, EsmConfig, EsmForMaskedLM

from esm_c import SDK, renamed
from hf_names import hf_name
from sequences import VOCABULARY, fasta, random_protein, tokenize

# layers, dim, heads
SHAPES = {
    "8M": (6, 320, 20), "35M": (12, 480, 20), "150M": (30, 640, 20), "650M": (33, 1280, 20),
    "ESMC-300M": (30, 960, 15), "ESMC-600M": (36, 1152, 18),
    # To try the scripts.
    "ESMC-tiny": (4, 128, 2),
}
LENGTHS = [20, 64, 150, 300, 600, 1000]
GIB = 1 << 30


def strong_model(shape, seed=650):
    """A transformers ESM-2 whose attention is peaked and whose residual stream stays O(1)
    to O(10) at any depth: each of the 2L branches adds about 1/√(2L) of the stream."""
    if is_esm_c(shape):
        return strong_esm_c(shape, seed)
    layers, dim, heads = SHAPES[shape]
    model = EsmForMaskedLM(
        EsmConfig(
            vocab_size=33, hidden_size=dim, num_hidden_layers=layers, num_attention_heads=heads,
            intermediate_size=4 * dim, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
            layer_norm_eps=1e-5, position_embedding_type="rotary", token_dropout=True,
            emb_layer_norm_before=False, mask_token_id=32, pad_token_id=1,
            max_position_embeddings=1026,
        )
    ).eval()
    rng = torch.Generator().manual_seed(seed)
    branch = 3.0 / np.sqrt(2 * layers)
    with torch.no_grad():
        for name, p in model.named_parameters():
            norm = "layernorm" in name.lower().replace("_", "")
            if name.endswith("bias"):
                p.uniform_(-0.2, 0.2, generator=rng)
            elif norm:
                p.uniform_(0.7, 1.3, generator=rng)
            elif "word_embeddings" in name:
                p.normal_(0.0, 1.0, generator=rng)
                p[1] = 0.0
            else:
                peaked = ".self.query." in name or ".self.key." in name
                adds = ".output.dense." in name
                gain = 1.75 if peaked else branch if adds else 1.0
                p.normal_(0.0, gain / np.sqrt(p.shape[-1]), generator=rng)
        frequencies = model.esm.rotary_embeddings.inv_freq
        frequencies.copy_(frequencies.half().float())
    return model


def is_esm_c(shape):
    return shape.startswith("ESMC")


def strong_esm_c(shape, seed):
    """The same for ESM C, by transformers."""
    layers, dim, heads = SHAPES[shape]
    inner = (8 * dim // 3 + 255) // 256 * 256
    model = EsmcForMaskedLM(
        EsmcConfig(
            hidden_size=dim, num_hidden_layers=layers, num_attention_heads=heads,
            intermediate_size=inner, vocab_size=64,
        )
    ).eval()
    rng = torch.Generator().manual_seed(seed)
    branch = 3.0 / np.sqrt(2 * layers) * np.sqrt(layers / 36)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith("bias"):
                p.uniform_(-0.2, 0.2, generator=rng)
            elif "q_norm" in name or "k_norm" in name:
                p.uniform_(1.2, 2.0, generator=rng)
            elif "norm" in name:
                p.uniform_(0.7, 1.3, generator=rng)
            elif "embed_tokens" in name:
                p.normal_(0.0, 1.0, generator=rng)
            else:
                adds = "o_proj" in name or "down_proj" in name
                p.normal_(0.0, (branch if adds else 1.0) / np.sqrt(p.shape[-1]), generator=rng)
    return model


def save_sdk(model, folder):
    """The `.pth` of EvolutionaryScale's SDK, without a config.json."""
    below = folder / "data" / "weights"
    below.mkdir(parents=True)
    torch.save(renamed(dict(model.state_dict()), SDK), below / "esmc_random_v0.pth")


def save_bin_shards(model, folder, shard_size):
    """Sharded `pytorch_model.bin` in the names of the published 3B and 15B checkpoints."""
    layers = model.config.num_hidden_layers
    state = dict(model.state_dict())
    frequencies = state.pop("esm.rotary_embeddings.inv_freq")
    for i in range(layers):
        state[f"esm.encoder.layer.{i}.attention.self.rotary_embeddings.inv_freq"] = (
            frequencies.clone()
        )
    state.pop("lm_head.decoder.weight")
    split = split_torch_state_dict_into_shards(
        state, filename_pattern="pytorch_model{suffix}.bin", max_shard_size=shard_size
    )
    folder.mkdir(parents=True)
    for name, keys in split.filename_to_tensors.items():
        torch.save({key: state[key] for key in keys}, folder / name)
    index = {"metadata": split.metadata, "weight_map": split.tensor_to_filename}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index, indent=2))
    model.config.save_pretrained(folder)


def hidden_transformers(model, tokens, layers):
    batch = torch.from_numpy(tokens.astype(np.int64))[None]
    with torch.no_grad():
        out = (model.esmc if hasattr(model, "esmc") else model.esm)(
            input_ids=batch, attention_mask=torch.ones_like(batch), output_hidden_states=True
        )
    return {i: out.hidden_states[i][0].numpy() for i in layers}


def fair_model(model, shape):
    """fair-esm's ESM2 on the memory of the transformers model's weights."""
    with torch.device("meta"):
        fair = ESM2(*SHAPES[shape], token_dropout=True).eval()
    theirs = model.state_dict()
    frequencies = theirs["esm.rotary_embeddings.inv_freq"]
    state = {
        name: frequencies if name.endswith("inv_freq") else theirs[hf_name(name)]
        for name in fair.state_dict()
    }
    fair.load_state_dict(state, strict=True, assign=True)
    return fair


def hidden_fair(model, tokens, layers):
    batch = torch.from_numpy(tokens.astype(np.int64))[None]
    with torch.no_grad():
        found = model(batch, repr_layers=layers)["representations"]
    return {i: found[i][0].numpy() for i in layers}


def attention_peak(fair, tokens):
    """Mean of the largest attention probability of each row, head and layer."""
    batch = torch.from_numpy(tokens.astype(np.int64))[None]
    with torch.no_grad():
        if hasattr(fair, "esmc"):
            fair.set_attn_implementation("eager")
            maps = fair.esmc(batch, output_attentions=True).attentions
            return torch.stack(maps).max(-1).values.mean().item()
        attention = fair(batch, need_head_weights=True)["attentions"]
    return attention.max(-1).values.mean().item()


# On Linux, ru_maxrss includes the memory of the process before exec. So the run is started from a
# small interpreter, not from this one, which holds the models.
MEASURE = """
import json, os, sys, time
start = time.monotonic()
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(pid, 0)
print(json.dumps({"code": os.waitstatus_to_exitcode(status),
                  "seconds": time.monotonic() - start, "peak": usage.ru_maxrss * 1024}))
"""


def run_esm_embed(binary, records, model, layers, threads, out):
    """Runs the binary; its wall time in seconds and its peak resident memory in bytes."""
    command = [
        str(binary), "run", str(records), "--model", str(model), "--out", str(out),
        "--layer", ",".join(map(str, layers)), "--pool", "mean,bos", "--residues", "packed",
        "--device", "cpu", "--dtype", "f32", "--progress", "none", "--threads", str(threads),
    ]
    ran = subprocess.run(
        [sys.executable, "-S", "-c", MEASURE, *command], stdout=subprocess.PIPE, text=True
    )
    measured = json.loads(ran.stdout.splitlines()[-1])
    if measured["code"] != 0 or not (out / "run.json").is_file():
        sys.exit(f"esm-embed: exit status {measured['code']}: {' '.join(command)}")
    return measured


def read_output(out, layers, lengths):
    """{layer: [(residue rows, mean, bos) of each record]} of an output folder."""
    table = [line.split("\t") for line in (out / "index.tsv").read_text().splitlines()]
    column = {name: i for i, name in enumerate(table[0])}
    offsets = [int(row[column["residue_offset"]]) for row in table[1:]]
    if [int(row[column["length"]]) for row in table[1:]] != lengths:
        sys.exit(f"{out}/index.tsv: the lengths differ from the input")
    found = {}
    for i in layers:
        arrays = {
            kind: np.load(out / f"{kind}.layer{i}.npy", mmap_mode="r")
            for kind in ("residues", "mean", "bos")
        }
        found[i] = [
            (arrays["residues"][start : start + n], arrays["mean"][k], arrays["bos"][k])
            for k, (start, n) in enumerate(zip(offsets, lengths))
        ]
    return found


def as_output(hidden):
    """(residue rows, mean, bos) of one sequence's hidden states [n + 2, dim]."""
    residues = hidden[1:-1]
    return residues, residues.astype(np.float64).mean(0).astype(np.float32), hidden[0]


def difference(ours, theirs):
    """(max |Δ|, largest relative L2) over records and over residues, mean and bos. NaN is kept."""
    largest, relative = [], []
    for mine, reference in zip(ours, theirs):
        for a, b in zip(mine, reference):
            a, b = np.asarray(a, dtype=np.float64), b.astype(np.float64)
            if a.shape != b.shape:
                sys.exit(f"shape {a.shape}, expected {b.shape}")
            largest.append(np.abs(a - b).max())
            relative.append(np.linalg.norm(a - b) / np.linalg.norm(b))
    return float(np.max(largest)), float(np.max(relative))


def root_mean_square(outputs):
    """Of all residue rows of [(rows, mean, bos)]."""
    rows = np.concatenate([residues for residues, _, _ in outputs]).astype(np.float64)
    return float(np.sqrt(np.mean(rows**2)))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="650M")
    parser.add_argument("--binary", type=Path, default=Path("target/release/esm-embed"))
    parser.add_argument("--layers", help="representation layers, comma-separated [0, half, last]")
    parser.add_argument("--threads", type=int, default=1, help="of esm-embed and of torch")
    parser.add_argument("--work", type=Path, help="keep models and outputs here")
    parser.add_argument("--max-relative", type=float, default=2e-6, help="largest relative L2")
    parser.add_argument(
        "--max-absolute", type=float, default=2e-5,
        help="largest |Δ| where a layer's values are O(1); scaled by its root mean square above",
    )
    parser.add_argument("--max-extra", type=float, default=1.0, help="GiB of memory above the weights")
    parser.add_argument(
        "--longest", type=int, default=1000, metavar="RESIDUES",
        help="leave out longer sequences, on a slow machine [%(default)s]",
    )
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--python-only", action="store_true", help="do not run esm-embed")
    return parser.parse_args()


def main():
    args = arguments()
    torch.set_num_threads(args.threads)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    temporary = None if args.work else tempfile.TemporaryDirectory(prefix="full_size.")
    work = (args.work or Path(temporary.name)).resolve()
    work.mkdir(parents=True, exist_ok=True)
    depth = SHAPES[args.shape][0]
    layers = [0, depth // 2, depth]
    if args.layers:
        layers = [int(i) + (depth + 1 if int(i) < 0 else 0) for i in args.layers.split(",")]

    rng = np.random.default_rng(1000)
    lengths = [n for n in LENGTHS if n <= args.longest]
    texts = [random_protein(rng, n) for n in lengths]
    texts[2] = texts[2][:40] + "<mask>" + texts[2][41:]
    tokens = [tokenize(text) for text in texts]
    (work / "input.fasta").write_text(fasta([(f"len{n}", t) for n, t in zip(lengths, texts)]))
    (work / "one.fasta").write_text(">one\nM\n")

    model = strong_model(args.shape)
    weights = sum(p.numel() * 4 for p in model.parameters())
    esm_c = is_esm_c(args.shape)
    other = "SDK's .pth" if esm_c else "sharded .bin"
    folders = {"safetensors": work / "safetensors", other: work / ("sdk" if esm_c else "bin")}
    if not folders["safetensors"].exists():
        model.save_pretrained(folders["safetensors"])
    if not folders[other].exists():
        if esm_c:
            save_sdk(model, folders[other])
        else:
            save_bin_shards(model, folders[other], shard_size=weights // 3)
    for folder in [] if esm_c else folders.values():
        (folder / "vocab.txt").write_text("\n".join(VOCABULARY))

    started = time.monotonic()
    theirs = [hidden_transformers(model, t, layers) for t in tokens]
    seconds = {"transformers": time.monotonic() - started}
    if esm_c:
        peak = attention_peak(model, tokens[2])
        model.set_attn_implementation("sdpa")
        started = time.monotonic()
        model.double()
        exact = [hidden_transformers(model, t, layers) for t in tokens]
        seconds["transformers, f64"] = time.monotonic() - started
    else:
        fair = fair_model(model, args.shape)
        started = time.monotonic()
        exact = [hidden_fair(fair, t, layers) for t in tokens]
        seconds["fair-esm"] = time.monotonic() - started
        peak = attention_peak(fair, tokens[2])
        del fair
    del model
    gc.collect()
    theirs = {i: [as_output(h[i]) for h in theirs] for i in layers}
    exact = {i: [as_output(h[i]) for h in exact] for i in layers}
    scale = {i: root_mean_square(theirs[i]) for i in layers}

    second = "transformers, f64" if esm_c else "fair-esm"
    pairs = [("transformers", second, theirs, exact)]
    runs, broken = {}, []
    if not args.python_only:
        for name, folder in folders.items():
            out = work / f"out-{folder.name}"
            one = work / f"one-{folder.name}"
            for path in (out, one):
                shutil.rmtree(path, ignore_errors=True)
            run = run_esm_embed(
                args.binary.resolve(), work / "input.fasta", folder, layers, args.threads, out
            )
            alone = run_esm_embed(
                args.binary.resolve(), work / "one.fasta", folder, layers[-1:], args.threads, one
            )
            runs[name] = {
                "seconds": run["seconds"],
                "peak_bytes": run["peak"],
                "one_residue_seconds": alone["seconds"],
                "one_residue_peak_bytes": alone["peak"],
            }
            ours = read_output(out, layers, lengths)
            pairs.append((f"esm-embed, {name}", second, ours, exact))
            pairs.append((f"esm-embed, {name}", "transformers", ours, theirs))
            if run["peak"] > weights + args.max_extra * GIB:
                broken.append(f"{name}: {run['peak'] / GIB:.2f} GiB of memory")

    rows = []
    for left, right, mine, reference in pairs:
        for i in layers:
            largest, relative = difference(mine[i], reference[i])
            allowed = args.max_absolute * max(1.0, scale[i])
            good = largest <= allowed and relative <= args.max_relative
            rows.append(
                {"left": left, "right": right, "layer": i, "max_abs": largest,
                 "relative_l2": relative, "rms": scale[i], "within": good}
            )
            if not good and left.startswith("esm-embed") and (right == second or not esm_c):
                broken.append(f"{left} and {right}, layer {i}: {largest:.1e}, {relative:.1e}")

    print(f"{'' if esm_c else 'ESM-2 '}{args.shape}, random weights, {weights / GIB:.2f} GiB; largest attention "
          f"probability {peak:.2f} on average; threads: {args.threads}\n")
    print("| compared | with | layer | rms | max abs Δ | relative L2 |\n|---|---|---|---|---|---|")
    for row in rows:
        numbers = "{rms:.2f} | {max_abs:.1e} | {relative_l2:.1e}".format(**row)
        print(f"| {row['left']} | {row['right']} | {row['layer']} | {numbers} |")
    print("\n| run | seconds | one residue, s | peak memory | above the weights |")
    print("|---|---|---|---|---|")
    for name, value in seconds.items():
        print(f"| {name} | {value:.1f} | | | |")
    for name, run in runs.items():
        extra = (run["peak_bytes"] - weights) / GIB
        print(f"| esm-embed, {name} | {run['seconds']:.1f} | {run['one_residue_seconds']:.2f} "
              f"| {run['peak_bytes'] / GIB:.2f} GiB | {extra:+.2f} GiB |")
    if args.json:
        figures = {
            "shape": args.shape, "weights_bytes": weights, "attention_peak": peak,
            "threads": args.threads, "compared": rows, "seconds": seconds, "runs": runs,
            "broken": broken,
        }
        args.json.write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n")
    if temporary:
        temporary.cleanup()
    if broken:
        sys.exit("limits exceeded:\n  " + "\n  ".join(broken))


if __name__ == "__main__":
    main()
