#!/usr/bin/env python3
"""Time and peak memory of `plot map` and `report` for made-up embeddings, and the time that the page of
the map takes to draw a frame.

    benches/map_cost.py target/release/esm-embed --records 100000        # × 1,280: the target
    benches/map_cost.py target/release/esm-embed --records 20000 --frames

Embeddings are 200 groups of normal numbers. --frames needs Chromium, headless and without a GPU.
Needs NumPy.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
COLUMNS = 1280
GROUPS = 200


def folder(program, home, records):
    """An output folder: one that the program wrote for this many records, with other numbers."""
    letters = "ACDEFGHIKLMNPQRSTVWY"
    sequence = lambda n: "".join(letters[n // 20**k % 20] for k in range(4))
    fasta = home / "in.fasta"
    fasta.write_text("".join(f">P{row}\n{sequence(row)}\n" for row in range(records)))
    emb = home / "emb"
    subprocess.run([program, "run", fasta, "--model", ROOT / "fixtures/esm2_hd16", "--out", emb,
                    "--residues", "none", "--quiet"], check=True)
    run = json.loads((emb / "run.json").read_text())
    run["layout"]["dim"] = COLUMNS
    (emb / "run.json").write_text(json.dumps(run))
    numbers = np.random.default_rng(22)
    middles = numbers.normal(size=(GROUPS, COLUMNS)).astype("f4")
    spread = numbers.normal(size=(40, COLUMNS)).astype("f4")
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({records}, {COLUMNS}), }}"
    with open(emb / "mean.layer2.npy", "wb") as file:
        file.write(b"\x93NUMPY\x01\x00\x76\x00" + header.ljust(117).encode() + b"\n")
        for first in range(0, records, 10000):
            rows = range(first, min(records, first + 10000))
            block = middles[[row % GROUPS for row in rows]]
            block = block + numbers.normal(size=(len(rows), 40)).astype("f4") @ spread * 0.2
            file.write((block + numbers.normal(size=block.shape).astype("f4") * 0.3).astype("<f4").tobytes())
    return emb


def timed(words):
    begin = time.monotonic()
    child = subprocess.Popen(words)
    _, status, usage = os.wait4(child.pid, 0)
    assert status == 0, words
    return time.monotonic() - begin, usage.ru_maxrss * 1024


def frames(page, records):
    sys.path.insert(0, str(ROOT / "tests/browser"))
    from map import Browser
    browser = Browser(1280, 720)
    try:
        browser.open(page)
        for view, name in ((0, "2-D"), (1, "3-D")):
            browser.choose("projection", str(view))
            times = browser.js("(() => { const all = []; for (let k = 0; k < 20; k++) { state.yaw += 0.1;"
                               " const begin = performance.now(); draw(); all.push(performance.now() - begin); }"
                               " return all; })()")
            print(f"a frame of {records:,} records in {name}: {statistics.median(times):.0f} ms (median of 20)")
    finally:
        browser.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("--records", type=int, default=20000)
    parser.add_argument("--frames", action="store_true")
    options = parser.parse_args()
    program = options.program.resolve()
    with tempfile.TemporaryDirectory() as home:
        home = pathlib.Path(home)
        emb = folder(program, home, options.records)
        for words in (["plot", "map", emb, "--out", home / "map"], ["report", emb, "--out", home / "report.html"]):
            seconds, bytes_ = timed([program, *words, "--quiet"])
            print(f"{' '.join(words[:2]) if words[0] == 'plot' else words[0]}: {options.records:,} × {COLUMNS:,}: "
                  f"{seconds:.0f} s, peak memory {bytes_ / 1e9:.2f} GB")
        if options.frames:
            frames(home / "map/map.html", options.records)


if __name__ == "__main__":
    main()
