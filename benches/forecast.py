"""Holds what `esm-embed run --dry-run` foretells against the run itself.

    python benches/forecast.py --binary target/release/esm-embed [--threads N] [FASTA...]

For random models of the published shapes (8M, 35M and 150M if --shapes does not say otherwise) and
random proteins of the usual lengths, or the FASTA files given, prints tokens, memory, disk and time
as foretold and as they were, and ends with status 1 if one of them is off by more than a quarter.
Needs nothing but Python's standard library; the weights are drawn from a normal distribution.
"""

import argparse
import array
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# Hidden size, layers, heads.
SHAPES = {"8M": (320, 6, 20), "35M": (480, 12, 20), "150M": (640, 30, 20), "650M": (1280, 33, 20)}
MOST_OFF = 0.25
UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
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
    """A model of random weights; what the numbers are does not matter to time and memory."""
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


def make_fasta(path, residues):
    """Random proteins with the lengths of a bacterial proteome: log-normal, median 280."""
    rng = random.Random(11)
    with open(path, "w") as file:
        record = 0
        while residues > 0:
            length = max(20, min(3000, round(rng.lognormvariate(5.64, 0.6))))
            sequence = "".join(rng.choices("ACDEFGHIKLMNPQRSTVWY", k=length))
            file.write(f">sp|X{record:05}|R{record}_RAND random protein {record}\n{sequence}\n")
            residues -= length
            record += 1


def foretold(text):
    lines = dict(line.split(None, 1) for line in text.splitlines())

    def size(name):
        number, unit = re.match(r"([\d.]+) (\w+)", lines[name]).groups()
        return float(number) * UNITS[unit]

    return {
        "tokens": float(lines["tokens"]),
        "memory": size("memory"),
        "disk": size("disk"),
        "time": float(lines["time"].split()[0]),
    }


def compare(binary, shape, model, fasta, options, work):
    command = [binary, "run", *fasta, "--model", str(model), "--quiet", *options]
    out = work / "emb"
    dry = subprocess.run(
        [*command, "--out", str(out), "--dry-run"], check=True, capture_output=True, text=True
    )
    before = foretold(dry.stdout)

    begin = time.monotonic()
    process = subprocess.Popen([*command, "--out", str(out)])
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - begin
    if process.returncode:
        sys.exit(f"{' '.join(command)}: ended with {process.returncode}")
    counts = json.loads((out / "run.json").read_text())["counts"]
    files = [path for path in out.rglob("*") if path.is_file()]
    found = {
        "tokens": counts["residues"] + 2 * counts["records"],
        "memory": usage.ru_maxrss * 1024,
        "disk": sum(path.stat().st_size for path in files),
        "time": seconds,
    }
    for path in files:
        path.unlink()
    for path in sorted(out.rglob("*"), reverse=True):
        path.rmdir()
    out.rmdir()

    fine = True
    print(f"{shape} {' '.join(options)}")
    for name, scale, unit in [
        ("tokens", 1, ""),
        ("memory", 1 << 20, "MiB"),
        ("disk", 1 << 20, "MiB"),
        ("time", 1, "s"),
    ]:
        off = before[name] / found[name] - 1
        fine = fine and abs(off) <= MOST_OFF
        print(
            f"  {name:<7} foretold {before[name] / scale:>10.1f} {unit:<3} "
            f"was {found[name] / scale:>10.1f} {unit:<3} off by {off:+7.1%}"
            f"{'' if abs(off) <= MOST_OFF else '   TOO FAR'}"
        )
    return fine


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--binary", default="target/release/esm-embed")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=["8M", "35M", "150M"])
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument(
        "--seconds", type=float, default=30, help="of work for random proteins, roughly"
    )
    parser.add_argument("fasta", nargs="*")
    args = parser.parse_args()

    fine = True
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        for shape in args.shapes:
            make_model(work / shape, shape)
            fasta = args.fasta
            if not fasta:
                fasta = [str(work / f"{shape}.fasta")]
                dim, layers, _ = SHAPES[shape]
                # 24 floating-point operations for each weight row and token, 60 G of them a second.
                rate = 60e9 * args.threads / (24 * dim * dim * layers)
                make_fasta(fasta[0], int(rate * args.seconds))
            for more in [["--residues", "packed"], ["--residues", "files", "--out-dtype", "f16"]]:
                options = ["--threads", str(args.threads), *more]
                fine &= compare(args.binary, shape, work / shape, fasta, options, work)
    sys.exit(0 if fine else 1)


if __name__ == "__main__":
    main()
