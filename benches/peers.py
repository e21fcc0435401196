"""Compares the speed of esm-embed with the tools that people use to run ESM-2 and ESM C on CPUs.

    pip install -r benches/requirements.txt
    python benches/peers.py proteome.fasta --work peers-work --json peers.json
    python benches/peers.py proteome.fasta --sizes ESMC-300M,ESMC-600M
    python benches/peers.py --what contacts,scores --sizes 8M,150M

With --what, it is contacts and scores of variants that are compared: see contacts_and_scores.py, which
takes the other options then. Otherwise, embeddings. For each model size: makes a random model of that shape (kept in --work), draws a fixed subset of the
FASTA file with its distribution of lengths up to 1,022 residues, checks that all tools compute the same
embeddings, and then runs them in turn, round after round.

- esm-embed: `esm-embed run` as a whole process: start, load, read, embed, write, sync. Each run follows
  an untimed run on a single residue, because a virtual machine may take seconds to return memory and
  files that were unused while the other tools ran.
- transformers (sdpa) and ONNX Runtime: model loaded and sequences tokenised in advance, nothing
  written; batch size 1, and sorted batches of the fastest budget.
  Only transformers runs ESM C.
- fair-esm: the steps of its extract.py (4,096 tokens per batch, one .pt file per sequence) with the
  model loaded in advance, and also as a whole process, which is how people run it, after an untimed run
  on one residue.

With --threads above 1, each peer runs with one thread or with all, whichever is faster. Prints a
Markdown table of medians; tokens are residues plus 2 per sequence. A tool that cannot run is listed with
the reason. If two tools disagree, nothing is timed and the exit status is 1. Needs Linux; 650M needs
about 20 GB of memory and 11 GB of disk.
"""

import argparse
import datetime
import json
import os
import platform
import random
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np

from peer_tools import SUBSET, TINY, WORKER, NotRun, Ours, Peer, Script
from peer_worker import FAIR_BUDGET, RESIDUES, read_fasta

# Tokens of a subset: one pass takes about 10 to 30 s on a core of 2023.
TOKENS = {"8M": 60_000, "35M": 20_000, "150M": 6_000, "650M": 2_500,
          "ESMC-300M": 5_000, "ESMC-600M": 2_500, "ESMC-tiny": 20_000}
SIZES = ["8M", "35M", "150M", "650M"]
BUDGETS = [512, 1024, 2048, 4096, 8192]  # padded tokens of a batch to try
LONGEST = 1022
# Name in the table, tool of peer_worker.py, its batch budgets; --budgets replaces BUDGETS.
PEERS = [
    ("transformers, batch size 1", "transformers", [None]),
    ("transformers, sorted batches", "transformers-batches", BUDGETS),
    ("ONNX Runtime, batch size 1", "onnxruntime", [None]),
    ("ONNX Runtime, sorted batches", "onnxruntime-batches", BUDGETS),
    ("fair-esm's extract.py", "fair-esm", [FAIR_BUDGET]),
    ("fair-esm's extract.py, whole process", "fair-esm-script", [FAIR_BUDGET]),
]
REFERENCE = PEERS[0][0]


def draw(records, tokens, seed):
    """About `tokens` tokens of distinct sequences of up to LONGEST letters that every tool
    knows, in the order of the input. One record is drawn from each of n equal parts of the
    records sorted by length, so that even a small subset has the lengths of the whole."""
    order = {}
    for i, (_, text) in enumerate(records):
        if 0 < len(text) <= LONGEST and set(text) <= RESIDUES:
            order.setdefault(text, i)
    if not order:
        sys.exit(f"the FASTA file has no sequence of up to {LONGEST} residues")
    indices = sorted(order.values(), key=lambda i: (len(records[i][1]), i))
    mean = sum(len(records[i][1]) + 2 for i in indices) / len(indices)
    n = max(1, min(len(indices), round(tokens / mean)))
    rng = random.Random(seed)
    parts = [indices[k * len(indices) // n : (k + 1) * len(indices) // n] for k in range(n)]
    return [records[i] for i in sorted(rng.choice(part) for part in parts)]


def disagreement(found, reference, lengths):
    """Largest |Δ| of the means and largest relative L2 of any record's mean or rows."""
    if found["means"].shape != reference["means"].shape:
        sys.exit(f"means {found['means'].shape}, expected {reference['means'].shape}")
    if found["rows"].shape != reference["rows"].shape:
        sys.exit(f"residue rows {found['rows'].shape}, expected {reference['rows'].shape}")
    largest = np.abs(found["means"] - reference["means"]).max()
    relative, start = [], 0
    for k, n in enumerate(lengths):
        part = slice(start, start + n - 2)
        for key, which in (("means", k), ("rows", part)):
            a, b = (x[key][which].astype(np.float64) for x in (found, reference))
            relative.append(np.linalg.norm(a - b) / np.linalg.norm(b))
        start += n - 2
    return float(largest), float(np.max(relative))


def agree(tools, args, folder, lengths):
    """Compares every tool's embeddings with the reference's: {name: (max |Δ|, relative L2)}.
    Exits if they differ; drops a tool that cannot run."""
    file, outcome, reference = folder / "found.npz", {}, None
    for tool in sorted(tools, key=lambda t: t.name != REFERENCE):
        try:
            tool.run(save=file)
        except NotRun as reason:
            outcome[tool.name] = reason
            continue
        with np.load(file) as saved:
            found = {key: saved[key] for key in ("means", "rows")}
        file.unlink()
        if reference is None:
            reference, first = found, tool.name
            continue
        outcome[tool.name] = largest, relative = disagreement(found, reference, lengths)
        allowed = args.max_rough if getattr(tool, "rough", False) else args.max_relative
        if not relative <= allowed:
            sys.exit(
                f"{tool.name} and {first} disagree: relative L2 {relative:.1e}, "
                f"allowed {allowed:.1e} (max |Δ| of a mean {largest:.1e})"
            )
    return outcome


def race(shape, records, args):
    """Runs all tools on one model size: {"tools": [...], ...} as written to --json."""
    folder = args.work / shape
    folder.mkdir(parents=True, exist_ok=True)
    prepared = subprocess.run(
        [sys.executable, WORKER, "prepare",
         "--folder", folder, "--shape", shape],
        stdout=subprocess.PIPE, text=True, stderr=None if args.verbose else subprocess.DEVNULL,
    )
    if prepared.returncode:
        print(f"{shape}: preparing: {prepared.stdout.strip()}", file=sys.stderr)
    subset = draw(records, TOKENS[shape] * args.scale, args.seed)
    lengths = [len(text) + 2 for _, text in subset]
    everywhere = [len(text) + 2 for _, text in records if 0 < len(text) <= LONGEST]
    fasta = folder / SUBSET
    fasta.write_text("".join(f">{name}\n{text}\n" for name, text in subset))
    (folder / TINY).write_text(">tiny\nM\n")

    ours = [Ours(args.binary, options, args, folder) for options in ["", *args.also]]
    skipped = set(args.skip.split(",")) if args.skip else set()
    tools, failed, tried = list(ours), {}, {}
    try:
        for name, tool, budgets in PEERS:
            if tool in skipped or (shape.startswith("ESMC") and "transformers" not in tool):
                continue
            kind = Script if tool == "fair-esm-script" else Peer
            peer = kind(name, tool, args.budgets if budgets is BUDGETS else budgets)
            note(f"{shape}: starting {name}")
            try:
                tried[name] = peer.start_at_best(args, folder, shape, fasta)
                tools.append(peer)
            except NotRun as reason:
                peer.stop()
                failed[name] = str(reason)
        note(f"{shape}: comparing the outputs")
        outcome = agree(tools, args, folder, lengths)
        for tool in [t for t in tools if isinstance(outcome.get(t.name), NotRun)]:
            failed[tool.name] = str(outcome.pop(tool.name))
            tool.stop()
            tools.remove(tool)
        if ours[0] not in tools:
            sys.exit(failed[ours[0].name])

        runs = {tool.name: [] for tool in tools}
        for number in range(args.rounds):
            for tool in list(tools):
                try:
                    first = tool.warm_up()
                    runs[tool.name].append({**tool.run(), "warm_up": first})
                except NotRun as reason:
                    failed[tool.name] = str(reason)
                    tools.remove(tool)
            if ours[0] not in tools:
                sys.exit(failed[ours[0].name])
            note(f"{shape}: round {number + 1} of {args.rounds}: " + ", ".join(
                f"{t.name} {sum(lengths) / runs[t.name][-1][args.clock]:.0f}" for t in tools))
        start_up = [ours[0].warm_up() for _ in range(3)]
    finally:
        for tool in tools:
            tool.stop()

    found = []
    for tool in tools:
        seconds = [run[args.clock] for run in runs[tool.name]]
        ratios = [s / o[args.clock] for s, o in zip(seconds, runs[ours[0].name])]
        found.append({
            "name": tool.name,
            "setting": "" if isinstance(tool, Ours) else tool.setting(),
            "padding": [] if isinstance(tool, (Ours, Script)) else
                [tool.padding(lengths), tool.padding(everywhere)],
            "tokens_per_second": sum(lengths) / statistics.median(seconds),
            "ratio": [statistics.median(ratios), min(ratios), max(ratios)],
            "peak_bytes": max(run["peak"] for run in runs[tool.name]),
            "disagreement": outcome.get(tool.name),
            "rounds": runs[tool.name],
            "tried": tried.get(tool.name),
        })
    return {
        "shape": shape, "sequences": len(lengths), "tokens": sum(lengths), "tools": found,
        "longest": max(lengths) - 2, "not_run": failed, "start_up": start_up,
        "versions": {k: v for t in tools for k, v in getattr(t, "versions", {}).items()},
    }


def table(results, clock):
    lines = [
        "| model | tool | setting | tokens/s | esm-embed is × as fast (min–max) | peak memory |",
        "|---|---|---|---|---|---|",
    ]
    for result in results:
        for tool in result["tools"]:
            ratio = "**{:.2f}** ({:.2f}–{:.2f})".format(*tool["ratio"])
            cells = [
                result["shape"], tool["name"], tool["setting"],
                f"{tool['tokens_per_second']:.0f}",
                "" if tool is result["tools"][0] else ratio,
                f"{tool['peak_bytes'] / 2**30:.2f} GiB",
            ]
            lines.append(f"| {' | '.join(cells)} |")
        for name, reason in result["not_run"].items():
            lines.append(f"| {result['shape']} | {name} | not run: {reason} | | | |")
    lines.append("")
    for result in results:
        compared = [
            t["disagreement"] for t in result["tools"]
            if t["disagreement"] and "--dtype" not in t["name"]
        ]
        wall = statistics.median(run["wall"] for run in result["start_up"])
        cold = statistics.median(
            run["warm_up"]["wall"] for run in result["tools"][0]["rounds"])
        lines.append(
            f"- {result['shape']}: {result['sequences']} sequences of up to {result['longest']} "
            f"residues, {result['tokens']} tokens. esm-embed on a single residue: "
            f"{wall:.2f} s ({cold:.2f} s after other tools)."
            + (f" Largest relative L2 between two tools in f32: {max(r for _, r in compared):.1e}."
               if compared else "")
        )
        for tool in result["tools"]:
            here, whole = tool["padding"] or (0.0, 0.0)
            if here > whole + 0.02:
                gain = (1.0 - whole) / (1.0 - here)
                lines.append(
                    f"  {tool['name']}: {here:.0%} of its positions are padding, {whole:.0%} on "
                    f"the whole input, where it may reach {tool['tokens_per_second'] * gain:.0f} "
                    f"tokens/s (esm-embed is {tool['ratio'][0] / gain:.2f} × as fast)."
                )
        busy = [
            run["cpu"] / run["wall"] for t in result["tools"] for run in t["rounds"]
            if t["name"].startswith("esm-embed") or "threads" not in t["setting"]
        ]
        if clock == "wall" and min(busy) < 0.9:
            lines.append(f"  The machine was busy: one run got {min(busy):.0%} of a core.")
    return "\n".join(lines)


def machine(args):
    """The processor, its vector instructions and the versions of the tools."""
    fields = {}
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    flags = set(fields.get("flags", fields.get("Features", "")).split())
    known = ["avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "asimd", "sve"]
    version = subprocess.run([args.binary, "--version"], capture_output=True, text=True)
    return {
        "processor": fields.get("model name", platform.machine()),
        "family_model": f"{fields.get('cpu family', '?')}/{fields.get('model', '?')}",
        "instructions": [flag for flag in known if flag in flags],
        "cores": sorted(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "date": datetime.date.today().isoformat(),
        "esm_embed": version.stdout.strip(),
        "python": platform.python_version(),
    }


def note(text):
    print(text, file=sys.stderr, flush=True)


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("fasta", type=Path)
    parser.add_argument("--binary", type=Path, default=Path("target/release/esm-embed"))
    parser.add_argument("--sizes", default=",".join(SIZES), help="[%(default)s]")
    parser.add_argument("--rounds", type=int, default=5, help="[%(default)s]")
    parser.add_argument("--threads", type=int, default=1, help="number of threads and cores [%(default)s]")
    parser.add_argument("--work", type=Path, default=Path("peers-work"),
                        help="models and outputs [%(default)s]")
    parser.add_argument("--json", type=Path, help="also write every run to this file")
    parser.add_argument("--also", action="append", default=[], metavar="OPTIONS",
                        help="another row of esm-embed, such as --also='--dtype f16'")
    parser.add_argument("--skip", default="", metavar="TOOL[,TOOL...]",
                        help="peers to leave out: " + ", ".join(tool for _, tool, _ in PEERS))
    parser.add_argument("--budgets", default=",".join(map(str, BUDGETS)), metavar="TOKENS[,...]",
                        help="padded tokens of a sorted batch to try [%(default)s]")
    parser.add_argument("--scale", type=float, default=1.0, help="factor of the size of the subsets [%(default)s]")
    parser.add_argument("--seed", type=int, default=1022, help="seed of the subsets [%(default)s]")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall",
                        help="cpu: processor time, for a busy machine")
    parser.add_argument("--max-relative", type=float, default=1e-5,
                        help="largest relative L2 between two tools [%(default)s]")
    parser.add_argument("--max-rough", type=float, default=3e-3,
                        help="the same for rows of --also with --dtype [%(default)s]")
    parser.add_argument("--verbose", action="store_true", help="show the messages of the peers")
    args = parser.parse_args()
    unknown = [size for size in args.sizes.split(",") if size not in TOKENS]
    if unknown:
        parser.error(f"--sizes: {', '.join(unknown)}: not one of {', '.join(TOKENS)}")
    available = sorted(os.sched_getaffinity(0))
    if not 1 <= args.threads <= len(available):
        parser.error(f"--threads: this process may use {len(available)} cores")
    try:
        args.budgets = [int(budget) for budget in args.budgets.split(",")]
    except ValueError:
        parser.error("--budgets: expected whole numbers, separated by commas")
    if args.rounds < 1:
        parser.error("--rounds must be at least 1")
    args.binary, args.work = args.binary.resolve(), args.work.resolve()
    if not args.binary.is_file():
        parser.error(f"--binary: {args.binary} does not exist; run cargo build --release")
    os.sched_setaffinity(0, available[-args.threads :])  # inherited by every tool
    return args


def main():
    if any(word.split("=")[0] == "--what" for word in sys.argv[1:]):
        import contacts_and_scores

        return contacts_and_scores.main()
    args = arguments()
    records = read_fasta(args.fasta)
    described = machine(args)
    results = [race(shape, records, args) for shape in args.sizes.split(",")]
    described["versions"] = {k: v for result in results for k, v in result["versions"].items()}
    print(table(results, args.clock))
    print(
        f"\n{described['date']}; {described['processor']} (family/model "
        f"{described['family_model']}; {', '.join(described['instructions'])}), "
        f"{args.threads} core(s); f32, random weights; medians of {args.rounds} interleaved rounds"
        + (", processor time" if args.clock == "cpu" else "")
        + f". {described['esm_embed']}; Python {described['python']}; "
        + ", ".join(f"{k} {v}" for k, v in sorted(described["versions"].items())) + "."
    )
    if args.json:
        figures = {
            "machine": described, "threads": args.threads, "rounds": args.rounds,
            "clock": args.clock, "scale": args.scale, "seed": args.seed, "results": results,
        }
        args.json.write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
