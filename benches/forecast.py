"""Compares the prediction of `esm-embed run --dry-run` with the run itself.

    python benches/forecast.py --binary target/release/esm-embed [--threads 1 2 8] [--cases NAME...]

For random models of the published shapes (and a tiny one) and random proteins, prints for each case
the predicted and the real time, memory and disk space, and the time and memory of the prediction. Exit
status 1 if time, memory or disk space is off by more than 25 %, or if the prediction takes more than
5 s or more memory than the run. FASTA files, if given, replace the random proteins. Needs only Python's
standard library; the weights are drawn from a normal distribution.

The figures are for an otherwise idle machine: use `--repeat 3` on a shared one.
"""

import argparse
import array
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# Hidden size, layers, heads.
SHAPES = {"tiny": (64, 3, 4), "8M": (320, 6, 20), "35M": (480, 12, 20), "150M": (640, 30, 20), "650M": (1280, 33, 20)}
MAX_ERROR = 0.25
MAX_SECONDS = 5.0
# Errors of shorter times are relative to this: they are mostly process start.
MIN_SECONDS = 0.2
FIXTURE = Path(__file__).resolve().parent.parent / "fixtures" / "esm2_hd16"


def tensors(dim, layers, heads):
    """Names and shapes of an ESM-2 in the Hugging Face layout."""
    yield "esm.embeddings.word_embeddings.weight", [33, dim]
    for layer in range(layers):
        name = f"esm.encoder.layer.{layer}"
        for part, shape in [
            ("attention.LayerNorm", [dim]),
            ("attention.self.query", [dim, dim]),
            ("attention.self.key", [dim, dim]),
            ("attention.self.value", [dim, dim]),
            ("attention.output.dense", [dim, dim]),
            ("LayerNorm", [dim]),
            ("intermediate.dense", [4 * dim, dim]),
            ("output.dense", [dim, 4 * dim]),
        ]:
            yield f"{name}.{part}.weight", shape
            yield f"{name}.{part}.bias", shape[:1]
        yield f"{name}.attention.self.rotary_embeddings.inv_freq", [dim // heads // 2]
    yield "esm.encoder.emb_layer_norm_after.weight", [dim]
    yield "esm.encoder.emb_layer_norm_after.bias", [dim]
    yield "lm_head.bias", [33]
    yield "lm_head.dense.weight", [dim, dim]
    yield "lm_head.dense.bias", [dim]
    yield "lm_head.layer_norm.weight", [dim]
    yield "lm_head.layer_norm.bias", [dim]


def make_model(folder, shape):
    """A model with random weights: time and memory do not depend on the values."""
    dim, layers, heads = SHAPES[shape]
    folder.mkdir()
    config = json.loads((FIXTURE / "config.json").read_text())
    config |= {
        "hidden_size": dim,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 4 * dim,
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "vocab.txt").write_bytes((FIXTURE / "vocab.txt").read_bytes())
    header, offset, listed = {}, 0, list(tensors(dim, layers, heads))
    for name, size in listed:
        count = 1
        for length in size:
            count *= length
        header[name] = {"dtype": "F32", "shape": size, "data_offsets": [offset, offset + 4 * count]}
        offset += 4 * count
    text = json.dumps(header).encode()
    rng = random.Random(7)
    pool = array.array("f", (rng.gauss(0, 0.02) for _ in range(1 << 20)))
    with open(folder / "model.safetensors", "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, size in listed:
            count = (header[name]["data_offsets"][1] - header[name]["data_offsets"][0]) // 4
            if name.endswith("inv_freq"):
                half = size[0]
                values = array.array("f", (10000 ** (-i / half) for i in range(half)))
                file.write(values.tobytes())
            elif "orm" in name and name.endswith("weight"):
                file.write(array.array("f", [1.0] * count).tobytes())
            else:
                for start in range(0, count, len(pool)):
                    file.write(pool[: min(len(pool), count - start)].tobytes())


def write_fasta(path, lengths, copies=1):
    rng = random.Random(11)
    with open(path, "w") as file:
        texts = []
        for record, length in enumerate(lengths):
            sequence = "".join(rng.choices("ACDEFGHIKLMNPQRSTVWY", k=length))
            texts.append(f">sp|X{record:05}|R{record}_RAND random protein {record}\n{sequence}\n")
        for _ in range(copies):
            file.writelines(texts)


def proteome(residues):
    """Lengths of a bacterial proteome: log-normal, median 280."""
    rng = random.Random(11)
    while residues > 0:
        length = max(20, min(3000, round(rng.lognormvariate(5.64, 0.6))))
        residues -= length
        yield length


# Name: shape, lengths, copies, options. Each takes seconds to a minute on one core.
CASES = {
    "tiny, 20,000 peptides": ("tiny", [10] * 20_000, 1, []),
    "tiny, 40,000 residues": ("tiny", [40_000], 1, []),
    "tiny, 168,000 residues": ("tiny", [168_000], 1, []),
    "8M, one peptide": ("8M", [50], 1, []),
    "8M, peptides": ("8M", [10] * 10_000, 1, []),
    "8M, proteome": ("8M", list(proteome(300_000)), 1, []),
    "8M, 20 copies": ("8M", list(proteome(60_000)), 20, ["--residues", "none"]),
    "8M, all layers": ("8M", list(proteome(150_000)), 1, ["--layer", "0,1,2,3,4,5,6"]),
    "8M, residue files": ("8M", list(proteome(150_000)), 1, ["--residues", "files"]),
    "8M, windows": ("8M", [300, 20_000, 3_000, 900], 1, ["--long", "window:1022:200"]),
    "8M, f16": ("8M", list(proteome(300_000)), 1, ["--dtype", "f16"]),
    "8M, one sequence a pass": ("8M", list(proteome(150_000)), 1, ["--deterministic"]),
    "8M, mixed": ("8M", [*proteome(100_000), 15_000, 6_000], 1, []),
    "8M, 40,000 residues": ("8M", [40_000], 1, []),
    "8M, 168,000 residues": ("8M", [168_000], 1, []),
    "35M, proteome": ("35M", list(proteome(60_000)), 1, []),
    "35M, 10,000 residues": ("35M", [10_000], 1, []),
    "150M, proteome": ("150M", list(proteome(20_000)), 1, []),
    "650M, proteome": ("650M", list(proteome(8_000)), 1, []),
    "650M, 3,000 residues": ("650M", [3_000], 1, []),
    "650M, f16, layer 20": ("650M", list(proteome(8_000)), 1, ["--dtype", "f16", "--layer", "20"]),
}
# These take minutes and run only if named by --cases.
LONG = {"8M, 168,000 residues"}


def run(command, output=subprocess.DEVNULL):
    """Seconds, peak memory in bytes and standard output of a command."""
    begin = time.monotonic()
    process = subprocess.Popen(command, stdout=output, stderr=subprocess.DEVNULL)
    said = process.stdout.read() if process.stdout else b""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)}: exit status {process.returncode}")
    return time.monotonic() - begin, usage.ru_maxrss * 1024, said


def remove(folder):
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()


def compare(binary, name, fasta, model, options, work):
    command = [binary, "run", *fasta, "--model", str(model), "--quiet", *options]
    out = work / "emb"
    dry = [*command, "--out", str(out), "--dry-run", "--progress", "json"]
    took, dry_memory, said = run(dry, subprocess.PIPE)
    before = json.loads(said)

    seconds, memory, _ = run([*command, "--out", str(out)])
    files = [path for path in out.rglob("*") if path.is_file()]
    disk = sum(path.stat().st_size for path in files)
    remove(out)

    def error(predicted, found, least=0):
        return (predicted - found) / max(found, least)

    errors = [
        error(before["seconds"], seconds, MIN_SECONDS),
        error(before["memory_bytes"], memory),
        error(before["disk_bytes"], disk),
    ]
    faults = [what for what, e in zip(("time", "memory", "disk"), errors) if abs(e) > MAX_ERROR]
    if took > MAX_SECONDS:
        faults.append("slow")
    if dry_memory > memory:
        faults.append("large")
    mib = 1 << 20
    print(
        f"{name:<26} {before['threads']:>2} | {before['seconds']:>7.1f} {seconds:>7.1f} "
        f"{errors[0]:>+5.0%} | {before['memory_bytes'] / mib:>6.0f} {memory / mib:>6.0f} "
        f"{errors[1]:>+5.0%} | {before['disk_bytes'] / mib:>6.1f} {disk / mib:>6.1f} {errors[2]:>+5.0%} | "
        f"{took:>5.1f} {dry_memory / mib:>6.0f} | {', '.join(faults) or 'ok'}",
        flush=True,
    )
    return not faults


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--binary", default="target/release/esm-embed")
    parser.add_argument("--threads", nargs="+", default=[str(len(os.sched_getaffinity(0)))])
    parser.add_argument("--cases", nargs="+", help="only cases whose name contains one of these")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("fasta", nargs="*")
    args = parser.parse_args()

    print(
        f"{'':<26}    |      time, s         |      memory, MiB     |      disk, MiB       | forecast\n"
        f"{'case':<26} th | predict    real  off | predict   real  off | predict  real    off |"
        "    s   MiB | off by more than 25 %"
    )
    ok = True
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        for name, (shape, lengths, copies, options) in CASES.items():
            is_named = args.cases and any(word in name for word in args.cases)
            if shape not in args.shapes or (args.cases and not is_named):
                continue
            if name in LONG and not is_named:
                continue
            if not (work / shape).exists():
                make_model(work / shape, shape)
            fasta = args.fasta
            if not fasta:
                fasta = [str(work / "in.fasta")]
                write_fasta(fasta[0], lengths, copies)
            for threads in args.threads * args.repeat:
                more = ["--threads", threads, *options]
                ok &= compare(args.binary, name, fasta, work / shape, more, work)
    sys.exit(0 if ok else 1)


if __name__ == "__main__":
    main()
