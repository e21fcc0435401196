#!/usr/bin/env python3
"""Time and memory of `open_folder` for many records: opening, a mean, the first look-up of an id, a DataFrame.

    pip install esm-embed pandas            # or the wheel of .ci/wheel.sh
    python benches/open_folder.py target/release/esm-embed --records 2000000
"""
import argparse
import pathlib
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent


def memory():
    """Megabytes that are not pages of a file."""
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) / 1e3


def measured(what, do):
    begin, before = time.monotonic(), memory()
    found = do()
    print(f"{what}: {time.monotonic() - begin:.2f} s, {memory() - before:.0f} MB", flush=True)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("--records", type=int, default=2_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        fasta, emb = pathlib.Path(home, "in.fasta"), pathlib.Path(home, "emb")
        with open(fasta, "w") as file:
            file.writelines(f">UniRef50_{row:08x} record {row}\nMKTV\n" for row in range(options.records))
        subprocess.run([options.program.resolve(), "run", fasta, "--model", ROOT / "fixtures/esm2_hd16",
                        "--out", emb, "--residues", "none", "--quiet"], check=True)
        from esm_embed import open_folder
        import pandas  # noqa: F401
        last = options.records - 1
        folder = measured("open", lambda: open_folder(emb))
        measured("a mean", lambda: folder.means[last])
        measured("first look-up of an id", lambda: folder["UniRef50_00000007"])
        measured("another", lambda: folder[f"UniRef50_{last:08x}"])
        frame = measured("to_pandas", folder.to_pandas)
        assert len(frame) == len(folder) == options.records and frame.index[last] == f"UniRef50_{last:08x}"


if __name__ == "__main__":
    main()
