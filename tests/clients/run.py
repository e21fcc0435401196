#!/usr/bin/env python3
"""Real clients against a real server: each answer is compared with the arrays of `esm-embed run`, bit for bit.

    python3 tests/clients/run.py target/release/esm-embed
    python3 tests/clients/run.py target/release/esm-embed --only tritonclient

The clients are curl and Python packages from PyPI, installed into --work (target/clients) at the first
call. The server listens on loopback. Exit status 2: the packages could not be installed.
"""

import argparse
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
HERE = Path(__file__).resolve().parent


def python_with_clients(work):
    """The Python of an environment that has the packages of requirements.txt."""
    wanted = (HERE / "requirements.txt").read_text()
    folder = work / "venv"
    done = folder / "requirements.txt"
    python = folder / "bin/python"
    if not done.exists() or done.read_text() != wanted:
        print(f"==> clients from PyPI into {folder}", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        install = [python, "-m", "pip", "install", "--quiet", "-r", HERE / "requirements.txt"]
        if subprocess.run(install).returncode != 0:
            print("the clients could not be installed from PyPI", file=sys.stderr)
            sys.exit(2)
        done.write_text(wanted)
    return python


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("program", type=Path, help="esm-embed")
    parser.add_argument("--work", type=Path, default=ROOT / "target/clients")
    parser.add_argument("--only", default="", help="checks whose name has this in it")
    args = parser.parse_args()
    work = args.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    python = python_with_clients(work)
    # No proxy between a client and loopback.
    environment = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    command = [python, HERE / "checks.py", args.program.resolve(), work, args.only]
    sys.exit(subprocess.run(command, env=environment).returncode)


if __name__ == "__main__":
    main()
