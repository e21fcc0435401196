#!/usr/bin/env python3
"""Compiles the CUDA kernels into src/cuda/images.zst, which is built into the program.

    python3 .ci/kernel_images.py            writes the file
    python3 .ci/kernel_images.py --check    fails if the sources give other bytes
    python3 .ci/kernel_images.py --fetch    only fetches the compilers

The compilers come from PyPI, in the versions below, so that the same sources give the same bytes on
every x86-64 Linux. Neither a GPU nor a CUDA toolkit is needed.

- NVRTC 12.0 compiles to PTX 8.0, which every driver since 525 accepts. GPUs that are newer than all
  images compile the PTX when the program starts.
- ptxas 12.6 compiles the PTX to machine code that drivers since 525 accept. Drivers of CUDA 12.2
  refuse the machine code of ptxas 12.8 and later. GPUs that 12.6 does not know need 12.8 and have
  newer drivers anyway.

The file is a zstd stream. Its content starts with one line for each image, `sm_80 12345` (name and
bytes), and an empty line; the images follow in the same order.

TOOLS: folder of the compilers (target/kernel-tools).
"""

import argparse
import ctypes
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "src/cuda/kernels"
IMAGES = ROOT / "src/cuda/images.zst"
TOOLS = Path(os.environ.get("TOOLS", ROOT / "target/kernel-tools"))

# One folder per package: the versions of ptxas have the same file names.
NVRTC = "nvidia-cuda-nvrtc-cu12==12.0.140"
PTXAS = "nvidia-cuda-nvcc-cu12==12.6.85"
NEWER_PTXAS = "nvidia-cuda-nvcc-cu12==12.8.93"
ZSTANDARD = "zstandard==0.23.0"

# GPUs of compute capability 7.5 need PTX of their own, which is not among the images: no other GPU is
# older than PTX.
TURING = "sm_75"
TURING_PTX = "compute_75"
PTX = "compute_80"
CUBINS = {
    TURING: PTXAS,
    "sm_80": PTXAS,
    "sm_86": PTXAS,
    "sm_89": PTXAS,
    "sm_90": PTXAS,
    "sm_100": NEWER_PTXAS,
    "sm_120": NEWER_PTXAS,
}


def package(spec):
    """The folder of an installed package."""
    folder = TOOLS / spec.replace("==", "-")
    if not (folder / "complete").exists():
        print(f"==> {spec}", file=sys.stderr)
        install = ["pip", "install", "--quiet", "--no-deps", "--upgrade", "--target", folder, spec]
        subprocess.run([sys.executable, "-m", *install], check=True)
        (folder / "complete").touch()
    return folder


def compile_ptx(sources, architecture):
    """PTX of all kernels as one program."""
    libraries = package(NVRTC) / "nvidia/cuda_nvrtc/lib"
    ctypes.CDLL(str(libraries / "libnvrtc-builtins.so.12.0"), mode=ctypes.RTLD_GLOBAL)
    nvrtc = ctypes.CDLL(str(libraries / "libnvrtc.so.12"))
    text = "".join(f'#include "{name}"\n' for name in sources if name.endswith(".cu"))
    names = (ctypes.c_char_p * len(sources))(*(name.encode() for name in sources))
    headers = (ctypes.c_char_p * len(sources))(*sources.values())
    program = ctypes.c_void_p()

    def call(name, *arguments):
        code = getattr(nvrtc, name)(*arguments)
        if code != 0 and name != "nvrtcCompileProgram":
            sys.exit(f"{name} failed with code {code}")
        return code

    call(
        "nvrtcCreateProgram",
        ctypes.byref(program),
        text.encode(),
        b"kernels.cu",
        len(sources),
        headers,
        names,
    )
    options = [b"--std=c++17", b"--gpu-architecture=" + architecture.encode()]
    options = (ctypes.c_char_p * len(options))(*options)
    failed = call("nvrtcCompileProgram", program, len(options), options)
    size = ctypes.c_size_t()
    if failed:
        call("nvrtcGetProgramLogSize", program, ctypes.byref(size))
        log = ctypes.create_string_buffer(size.value)
        call("nvrtcGetProgramLog", program, log)
        sys.exit(f"NVRTC failed with code {failed}:\n{log.value.decode()}")
    call("nvrtcGetPTXSize", program, ctypes.byref(size))
    ptx = ctypes.create_string_buffer(size.value)
    call("nvrtcGetPTX", program, ptx)
    # Including the final zero, by which the driver finds the end.
    return ptx.raw


def assemble(ptx, name, spec, verbose):
    """Machine code for one kind of GPU."""
    ptxas = package(spec) / "nvidia/cuda_nvcc/bin/ptxas"
    ptxas.chmod(0o755)
    with tempfile.TemporaryDirectory() as folder:
        # Relative names, so that the path of the temporary folder is not in the image.
        Path(folder, "kernels.ptx").write_bytes(ptx.rstrip(b"\0"))
        command = [ptxas, "-O3", f"--gpu-name={name}", "kernels.ptx", "--output-file=kernels.cubin"]
        if verbose:
            command.append("--verbose")
        subprocess.run(command, check=True, cwd=folder)
        return Path(folder, "kernels.cubin").read_bytes()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    parser.add_argument("--fetch", action="store_true", help="only fetch the compilers")
    parser.add_argument("--verbose", action="store_true", help="registers and spills by kernel")
    args = parser.parse_args()
    for spec in (NVRTC, PTXAS, NEWER_PTXAS, ZSTANDARD):
        package(spec)
    if args.fetch:
        return
    sources = {
        path.name: path.read_bytes()
        for path in sorted(SOURCES.iterdir())
        if path.suffix in (".cu", ".cuh")
    }
    ptx = compile_ptx(sources, PTX)
    turing_ptx = compile_ptx(sources, TURING_PTX)
    images = {
        name: assemble(
            turing_ptx if name == TURING else ptx,
            name,
            spec,
            args.verbose and name in (TURING, "sm_90"),
        )
        for name, spec in CUBINS.items()
    }
    images[PTX] = ptx
    head = "".join(f"{name} {len(image)}\n" for name, image in images.items())
    content = head.encode() + b"\n" + b"".join(images.values())
    sys.path.insert(0, str(package(ZSTANDARD)))
    import zstandard

    parameters = zstandard.ZstdCompressionParameters.from_level(
        22, source_size=len(content), window_log=23, enable_ldm=True
    )
    packed = zstandard.ZstdCompressor(compression_params=parameters).compress(content)
    print(head + f"{len(content)} bytes, {len(packed)} compressed", file=sys.stderr)
    if not args.check:
        IMAGES.write_bytes(packed)
    elif not IMAGES.exists() or IMAGES.read_bytes() != packed:
        sys.exit(
            f"{IMAGES.relative_to(ROOT)} does not match the kernel sources: "
            "run python3 .ci/kernel_images.py and commit the file"
        )


if __name__ == "__main__":
    main()
