"""Runs one peer of peers.py in a separate process: loads once, then times each pass.

    python benches/peer_worker.py TOOL --folder WORK/8M --shape 8M --fasta F --threads N

Reads one JSON object per line from standard input and answers each with one line: `{"budget": B}`
embeds every sequence once and times it; with `"save": PATH`, the mean and residue rows are saved there,
untimed. TOOL `prepare` makes the model, its ONNX graphs and fair-esm's checkpoint in the folder and
ends; `prepare-weights` leaves the graphs out. TOOL `fair-esm-script` runs fair-esm from start to end and reads nothing from standard input.

All tools get the same token ids. transformers and ONNX Runtime get them from memory, padded, and write
nothing. fair-esm does what its `extract.py` does: it reads the FASTA file and writes one .pt file per
sequence.
"""

import argparse
import json
import os
import sys
import tempfile
import time
import warnings
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
warnings.filterwarnings("ignore")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "fixtures"))

import numpy as np

from sequences import PAD, VOCABULARY, tokenize

FAIR_BUDGET = 4096  # extract.py's default --toks_per_batch
FAIR_CHECKPOINT = Path("fair-esm") / "esm2.pt"  # in the model's folder
RESIDUES = {token for token in VOCABULARY if token.isalpha() and len(token) == 1}


def read_fasta(path):
    """[(id, sequence)]; the id is the first word of the header."""
    records = []
    for line in Path(path).read_text().splitlines():
        if line.startswith(">"):
            records.append((line[1:].split()[0], []))
        elif records:
            records[-1][1].append(line.strip().upper())
    return [(name, "".join(parts)) for name, parts in records]


def sorted_batches(lengths, budget):
    """Indices by ascending length, in batches of up to `budget` padded tokens.
    A budget of None means batch size 1, in the order of the input."""
    if budget is None:
        return [[i] for i in range(len(lengths))]
    batches = [[]]
    for i in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if batches[-1] and lengths[i] * (len(batches[-1]) + 1) > budget:
            batches.append([])
        batches[-1].append(i)
    return batches


def padded_share(lengths, batches):
    """Share of padding among the positions of padded batches."""
    positions = sum(len(b) * max(lengths[i] for i in b) for b in batches)
    return 1.0 - sum(lengths) / positions


def padded(tokens, batch):
    """Token ids [B, L] and the attention mask, or None where nothing is padded."""
    longest = max(len(tokens[i]) for i in batch)
    ids = np.full((len(batch), longest), PAD, dtype=np.int64)
    for row, i in enumerate(batch):
        ids[row, : len(tokens[i])] = tokens[i]
    return ids, None if all(len(tokens[i]) == longest for i in batch) else (ids != PAD) * 1


class InMemory:
    """A peer that gets its padded batches from memory and writes nothing."""

    def __init__(self, args):
        self.tokens = [tokenize(text) for _, text in read_fasta(args.fasta)]
        self.load(args)

    def passing(self, budget, keep):
        lengths = [len(t) for t in self.tokens]
        batches = sorted_batches(lengths, budget)
        inputs = [self.convert(*padded(self.tokens, batch)) for batch in batches]
        rows, means = [None] * len(lengths), [None] * len(lengths)

        def once():
            for batch, given in zip(batches, inputs):
                hidden = self.forward(given)
                for row, i in enumerate(batch):
                    residues = hidden[row, 1 : lengths[i] - 1]
                    means[i] = residues.mean(0)
                    if keep:
                        rows[i] = np.array(residues)

        return once, lambda: (rows, [np.array(m) for m in means])


class Transformers(InMemory):
    """EsmModel or EsmcModel with sdpa attention. A batch without padding gets no mask, which is faster."""

    def load(self, args):
        import torch
        import transformers

        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        self.torch = torch
        torch.set_grad_enabled(False)
        torch.set_num_threads(args.threads)
        how = {"attn_implementation": "sdpa", "dtype": torch.float32}
        if args.shape.startswith("ESMC"):
            kind = transformers.EsmcModel
        else:
            kind, how = transformers.EsmModel, how | {"add_pooling_layer": False}
        self.model = kind.from_pretrained(args.folder / "safetensors", **how).eval()
        self.versions = {name: version(name) for name in ("torch", "transformers")}

    def convert(self, ids, mask):
        names = {"input_ids": ids, "attention_mask": mask}
        return {k: self.torch.from_numpy(v) for k, v in names.items() if v is not None}

    def forward(self, given):
        with self.torch.inference_mode():
            return self.model(**given).last_hidden_state


class OnnxRuntime(InMemory):
    """The exported graph: without a mask for batch size 1, with one for batches."""

    def load(self, args):
        import onnxruntime

        onnxruntime.disable_telemetry_events()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = args.threads
        options.inter_op_num_threads = 1
        options.enable_mem_pattern = False  # for shapes that change from run to run
        self.masked = args.tool == "onnxruntime-batches"
        self.session = onnxruntime.InferenceSession(
            args.folder / graph(self.masked), options, providers=["CPUExecutionProvider"]
        )
        self.versions = {name: version(name) for name in ("onnxruntime", "torch")}

    def convert(self, ids, mask):
        if not self.masked:
            return {"input_ids": ids}
        return {"input_ids": ids, "attention_mask": np.ones_like(ids) if mask is None else mask}

    def forward(self, given):
        return self.session.run(None, given)[0]


class FairEsm:
    """What fair-esm's extract.py does with --include mean per_tok and its defaults. The wheel
    does not contain the script, so its steps are repeated here with the package's classes."""

    def __init__(self, args):
        import esm
        import torch

        torch.set_num_threads(args.threads)
        torch.serialization.add_safe_globals([argparse.Namespace])
        checkpoint = str(args.folder / FAIR_CHECKPOINT)
        self.model = esm.pretrained.load_model_and_alphabet(checkpoint)[0].eval()
        self.torch, self.fasta, self.layer = torch, args.fasta, self.model.num_layers
        self.out = tempfile.TemporaryDirectory(prefix="fair-esm.", dir=args.folder)
        self.versions = {name: version(name) for name in ("fair-esm", "torch")}

    def passing(self, budget, keep):
        from esm import Alphabet, FastaBatchedDataset

        torch, layer, out = self.torch, self.layer, Path(self.out.name)

        def once():
            data = FastaBatchedDataset.from_file(self.fasta)
            loader = torch.utils.data.DataLoader(
                data, collate_fn=Alphabet.from_architecture("ESM-1b").get_batch_converter(1022),
                batch_sampler=data.get_batch_indices(budget, extra_toks_per_seq=1),
            )
            with torch.no_grad():
                for labels, texts, tokens in loader:
                    found = self.model(tokens, repr_layers=[layer], return_contacts=False)
                    hidden = found["representations"][layer]
                    for i, (label, text) in enumerate(zip(labels, texts)):
                        rows = hidden[i, 1 : min(1022, len(text)) + 1]
                        file = out / f"{label}.pt"
                        file.parent.mkdir(parents=True, exist_ok=True)
                        torch.save(
                            {"label": label, "representations": {layer: rows.clone()},
                             "mean_representations": {layer: rows.mean(0).clone()}},
                            file,
                        )

        def kept():
            saved = [torch.load(out / f"{name}.pt") for name, _ in read_fasta(self.fasta)]
            return (
                [s["representations"][layer].numpy() for s in saved],
                [s["mean_representations"][layer].numpy() for s in saved],
            )

        return once, kept


def graph(masked):
    """An exported graph's path in the model's folder; its weights may be beside it."""
    return Path("onnx") / ("batches" if masked else "alone") / "model.onnx"


def prepare_weights(args):
    """Makes the model as safetensors and as fair-esm's checkpoint, unless they exist."""
    import torch
    import transformers

    from full_size import strong_model

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    stored = args.folder / "safetensors"
    esm_c = args.shape.startswith("ESMC")
    if not (stored / "config.json").exists():
        strong_model(args.shape).save_pretrained(stored)
    if esm_c:
        return
    if not (stored / "vocab.txt").exists():
        (stored / "vocab.txt").write_text("\n".join(VOCABULARY))

    if not (args.folder / FAIR_CHECKPOINT).exists():
        from full_size import SHAPES, fair_model
        from layouts import write_fair_esm2

        layers, dim, heads = SHAPES[args.shape]
        model = transformers.EsmForMaskedLM.from_pretrained(stored, dtype=torch.float32)
        write_fair_esm2(
            args.folder / FAIR_CHECKPOINT,
            argparse.Namespace(layers=layers, dim=dim, heads=heads),
            fair_model(model, args.shape).state_dict(),
        )


def prepare(args):
    """Makes the model in both forms and its ONNX graphs, unless they exist; an ESM C has none. Eager
    attention is the form that ONNX Runtime runs fastest."""
    import torch
    import transformers

    prepare_weights(args)
    if args.shape.startswith("ESMC"):
        return
    stored = args.folder / "safetensors"

    class LastHidden(torch.nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, input_ids, attention_mask=None):
            found = self.model(input_ids=input_ids, attention_mask=attention_mask)
            return found.last_hidden_state

    for masked in (False, True):
        file = args.folder / graph(masked)
        if file.with_suffix(".done").exists():
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        model = transformers.EsmModel.from_pretrained(
            stored, add_pooling_layer=False, attn_implementation="eager", dtype=torch.float32
        ).eval()
        ids, mask = padded([tokenize("M" * 40), tokenize("M" * 30)], [0, 1])
        given = [torch.from_numpy(ids), torch.from_numpy(mask)][: 1 + masked]
        names = ["input_ids", "attention_mask"][: 1 + masked]
        with torch.no_grad():
            torch.onnx.export(
                LastHidden(model), tuple(given), str(file), dynamo=False, opset_version=18,
                input_names=names, output_names=["hidden"],
                dynamic_axes={n: {0: "batch", 1: "length"} for n in [*names, "hidden"]},
            )
        file.with_suffix(".done").touch()


def reset_peak_memory():
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass  # the peak then includes loading


def peak_memory():
    """Largest resident memory of this process in bytes since the last reset."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None


def save(path, rows, means):
    np.savez(path, rows=np.concatenate(rows), means=np.stack(means))


def run_script(args):
    """Runs fair-esm's script once."""
    once, kept = FairEsm(args).passing(FAIR_BUDGET, keep=args.save is not None)
    once()
    if args.save:
        save(args.save, *kept())


def serve(args, answer):
    """Loads, then gives one answer per line of standard input. The peak memory does not include
    loading."""
    from peer_products import PRODUCTS

    kinds = {"transformers": Transformers, "onnxruntime": OnnxRuntime, "fair-esm": FairEsm, **PRODUCTS}
    peer = kinds[args.tool.removesuffix("-batches")](args)
    answer(versions=peer.versions)
    for line in sys.stdin:
        asked = json.loads(line)
        once, kept = peer.passing(asked["budget"], keep="save" in asked)
        reset_peak_memory()
        cpu, wall = time.process_time(), time.perf_counter()
        once()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        peak = peak_memory()
        if "save" in asked:
            found = kept()
            np.savez(asked["save"], **found) if isinstance(found, dict) else save(asked["save"], *found)
        answer(wall=wall, cpu=cpu, peak=peak)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tool")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--shape", required=True)
    parser.add_argument("--fasta", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--save", type=Path)
    args = parser.parse_args()

    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries print to standard error

    def answer(**fields):
        print(json.dumps(fields), file=channel, flush=True)

    try:
        if args.tool in ("prepare", "prepare-weights"):
            prepare(args) if args.tool == "prepare" else prepare_weights(args)
            answer()
        elif args.tool == "fair-esm-script":
            run_script(args)
        else:
            serve(args, answer)
    except Exception as error:  # the table shows the reason
        answer(error=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
        raise


if __name__ == "__main__":
    main()
