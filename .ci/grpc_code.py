#!/usr/bin/env python3
"""Makes the Rust code of the gRPC services, and their descriptors, from src/server/grpc/proto.

    python3 .ci/grpc_code.py            writes src/server/grpc/generated
    python3 .ci/grpc_code.py --check    fails if the .proto files give other bytes
    python3 .ci/grpc_code.py --fetch    only fetches the tools

The files are committed, so that building esm-embed needs neither protoc nor a build script. protoc
comes from PyPI, in the version below; the code generator is built from .ci/grpc_code.

TOOLS: folder of the tools (target/grpc-tools).
"""

import argparse
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "src/server/grpc/proto"
GENERATED = ROOT / "src/server/grpc/generated"
TOOLS = Path(os.environ.get("TOOLS", ROOT / "target/grpc-tools"))

PROTOC = "grpcio-tools==1.85.1"


def protoc():
    """The Python of an environment that has protoc."""
    folder = TOOLS / PROTOC.replace("==", "-")
    python = folder / "bin/python"
    if not (folder / "complete").exists():
        print(f"==> {PROTOC}", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", PROTOC], check=True)
        (folder / "complete").touch()
    return python


def generator():
    """The program that writes Rust, built from .ci/grpc_code."""
    crate = ROOT / ".ci/grpc_code"
    environment = dict(os.environ, CARGO_TARGET_DIR=str(TOOLS / "cargo"))
    # Options for the program itself would only make this build slower.
    environment.pop("RUSTFLAGS", None)
    build = ["cargo", "build", "--quiet", "--locked", "--manifest-path", crate / "Cargo.toml"]
    subprocess.run(build, check=True, env=environment)
    return TOOLS / "cargo/debug/grpc-code"


def generate(folder):
    """Writes all files into a folder."""
    files = sorted(str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto"))
    command = [protoc(), "-m", "grpc_tools.protoc", f"--proto_path={PROTO}", "--include_imports"]
    descriptors = folder / "descriptors.bin"
    subprocess.run([*command, f"--descriptor_set_out={descriptors}", *files], check=True)
    with tempfile.TemporaryDirectory() as scratch:
        # With the comments, which become documentation.
        commented = Path(scratch, "commented.bin")
        output = [f"--descriptor_set_out={commented}", "--include_source_info"]
        subprocess.run([*command, *output, *files], check=True)
        subprocess.run([generator(), commented, folder], check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    parser.add_argument("--fetch", action="store_true", help="only fetch the tools")
    args = parser.parse_args()
    if args.fetch:
        protoc()
        generator()
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        generate(folder)
        made = {path.name: path.read_bytes() for path in folder.iterdir()}
    if not args.check:
        GENERATED.mkdir(exist_ok=True)
        for path in GENERATED.iterdir():
            path.unlink()
        for name, content in made.items():
            (GENERATED / name).write_bytes(content)
        return
    committed = {path.name: path.read_bytes() for path in GENERATED.iterdir()}
    if committed != made:
        names = sorted(name for name in committed | made if committed.get(name) != made.get(name))
        sys.exit(
            f"{', '.join(names)} in {GENERATED.relative_to(ROOT)} does not match the .proto files: "
            "run python3 .ci/grpc_code.py and commit the files"
        )


if __name__ == "__main__":
    main()
