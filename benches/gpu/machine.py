"""The checks of check.py before it measures: the machine, and unusual situations."""

import subprocess

import numpy as np

from inputs import protein, write_fasta
from program import in_bf16


def checks(program, model, work, longest):
    """(what was checked, whether it is as expected, output). The second is None where nothing is
    expected. A failed check does not stop the others."""
    for command in ("df -h", "nproc", "free -g", "nvidia-smi"):
        try:
            done = subprocess.run(command.split(), capture_output=True, text=True, timeout=60)
            said = done.stdout + done.stderr
        except (OSError, subprocess.SubprocessError) as error:
            said = str(error)
        yield command, None, said
    short, long = work / "short.fasta", work / "long.fasta"
    write_fasta(short, [("short", protein(np.random.default_rng(5), 40))])
    write_fasta(long, [("long", protein(np.random.default_rng(6), longest))])
    for what, check, fasta in (
        ("`doctor`", doctor, None),
        ("`--device cuda` fails without a visible GPU", cuda_without_card, short),
        ("`--device auto` then uses the CPU and says why", auto_without_card, short),
        (f"a record of {longest:,} residues", long_record, long),
    ):
        try:
            good, said = check(program, model, fasta)
        except Exception as error:
            good, said = False, f"{type(error).__name__}: {error}"
        yield what, bool(good), said


def doctor(program, _model, _fasta):
    done = program.start("doctor")
    return done.returncode == 0, done.stdout + done.stderr


def cuda_without_card(program, model, fasta):
    done = program.run(fasta, model, "cuda", CUDA_VISIBLE_DEVICES="")
    good = done.returncode == 1 and "--device cuda" in done.stderr
    return good, f"status {done.returncode}: {done.stderr}"


def auto_without_card(program, model, fasta):
    done = program.run(fasta, model, "auto", CUDA_VISIBLE_DEVICES="")
    good = done.returncode == 0 and program.manifest()["resolved"]["device"] == "cpu"
    good &= "no GPU is used: " in done.stderr
    return good, f"status {done.returncode}: {done.stderr}"


def long_record(program, model, fasta):
    manifest, seconds = program.embed(fasta, model)
    rows = program.matrix("residues")
    good = len(rows) == manifest["counts"]["residues"] and np.isfinite(rows).all()
    return good, f"{len(rows):,} residues in {seconds:.1f} s, in bf16: {in_bf16(manifest)}"
