"""Measures the time and memory that esm-embed takes to load a model.

    python benches/load.py --binary target/release/esm-embed --shape 650M

Makes a random ESM-2 of that shape, saves it as safetensors with transformers, and runs esm-embed on
one residue from a warm page cache, with each number of threads of `--threads`. For comparison, a
process copies the file, 256 KiB at a time, into new memory: a loader that keeps the weights in its own
memory cannot be faster. Runs and copies alternate. The table shows medians, with minima in parentheses.

`load` is the time from the start of the process (of a copy: of the copying) to the message that the
model is loaded, just before the first forward pass; `user` and `system` are the processor times until
then. `whole run` is the time until the process ends; it includes the checksums of the model's files,
which are computed during the run. `memory` is the peak resident memory, and `addresses` the smallest
limit on the address space (`ulimit -v`), in steps of 64 MiB, under which the run succeeds; both without
the size of the weights. Exit status 1 if a run takes `--max-extra` GiB more memory than the weights.
Needs the packages of fixtures/requirements.txt.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

GIB = 1 << 30
STEP = 64 << 20

# Runs in a small interpreter, so that the memory of this one is not measured.
MEASURE = """
import json, os, resource, sys, time
limit, tick = int(sys.argv[1]), os.sysconf("SC_CLK_TCK")
read, write = os.pipe()
start = time.monotonic()
pid = os.fork()
if pid == 0:
    os.dup2(write, 2)
    os.close(read)
    if limit:
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    os.execv(sys.argv[2], sys.argv[2:])
os.close(write)
found, messages = {"load": None}, []
for line in os.fdopen(read):
    messages.append(line)
    if "loaded " in line and found["load"] is None:
        with open(f"/proc/{pid}/stat") as stat:
            user, system = stat.read().rpartition(")")[2].split()[11:13]
        found = {"load": time.monotonic() - start, "user": int(user) / tick,
                 "system": int(system) / tick}
_, status, usage = os.wait4(pid, 0)
print(json.dumps({**found, "code": os.waitstatus_to_exitcode(status),
                  "whole": time.monotonic() - start, "memory": usage.ru_maxrss * 1024,
                  "messages": "".join(messages)}))
"""

COPY = """
import json, mmap, os, resource, sys, time
POPULATE_WRITE = 23
file = os.open(sys.argv[1], os.O_RDONLY)
length = os.fstat(file).st_size
start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF)
memory = mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
window = bytearray(256 << 10)
to, read = memoryview(memory), memoryview(window)
for at in range(0, length, len(window)):
    count = min(len(window), length - at)
    try:
        memory.madvise(POPULATE_WRITE, at, count)
    except OSError:
        pass  # Linux before 5.14: one page fault per page
    if os.preadv(file, [read[:count]], at) != count:
        sys.exit("the file was shortened")
    to[at : at + count] = read[:count]
after = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({"load": time.monotonic() - start, "user": after.ru_utime - before.ru_utime,
                  "system": after.ru_stime - before.ru_stime}))
"""


def child(program, *arguments):
    """The JSON that the program prints, run by a small interpreter."""
    ran = subprocess.run(
        [sys.executable, "-S", "-c", program, *map(str, arguments)],
        stdout=subprocess.PIPE, text=True, check=True,
    )
    return json.loads(ran.stdout.splitlines()[-1])


def run(args, model, threads, work, limit=0):
    """One run on one residue; `limit`, if not 0, is the size of its address space in bytes."""
    out = work / "out"
    shutil.rmtree(out, ignore_errors=True)
    return child(
        MEASURE, limit, args.binary.resolve(), "run", work / "one.fasta", "--model", model,
        "--out", out, "--device", "cpu", "--threads", threads, "--progress", "plain",
    )


def must_run(args, model, threads, work):
    found = run(args, model, threads, work)
    if found["code"] != 0 or found["load"] is None:
        sys.exit(f"esm-embed: exit status {found['code']}:\n{found['messages']}")
    return found


def addresses(args, model, threads, work, weights):
    """The smallest limit, in whole steps above the weights, under which a run succeeds."""
    low, high = 0, 4 * GIB // STEP
    while high - low > 1:
        middle = (low + high) // 2
        ended = run(args, model, threads, work, limit=weights + middle * STEP)
        low, high = (low, middle) if ended["code"] == 0 else (middle, high)
    return high * STEP


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", default="650M", help="8M, 35M, 150M or 650M")
    parser.add_argument("--binary", type=Path, default=Path("target/release/esm-embed"))
    parser.add_argument("--threads", default="1,2", help="comma-separated")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--max-extra", type=float, default=1.0, help="GiB of memory above the weights")
    parser.add_argument("--work", type=Path, help="keep the model here, or use the one that is there")
    parser.add_argument("--no-addresses", action="store_true", help="do not measure the limits on the address space")
    return parser.parse_args()


def save_model(shape, folder):
    import transformers

    from full_size import VOCABULARY, strong_model

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    strong_model(shape).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY))


def main():
    args = arguments()
    temporary = None if args.work else tempfile.TemporaryDirectory(prefix="load.")
    work = (args.work or Path(temporary.name)).resolve()
    work.mkdir(parents=True, exist_ok=True)
    model = work / args.shape
    if not (model / "config.json").is_file():
        save_model(args.shape, model)
    (work / "one.fasta").write_text(">one\nM\n")
    file = model / "model.safetensors"
    weights = file.stat().st_size
    threads = [int(n) for n in args.threads.split(",")]

    rows = {name: [] for name in ["copy", *threads]}
    with open(file, "rb", buffering=0) as warm:
        while warm.read(1 << 24):
            pass
    for _ in range(args.repeats):
        rows["copy"].append(child(COPY, file))
        for count in threads:
            rows[count].append(must_run(args, model, count, work))

    print(f"ESM-2 {args.shape}, {weights / GIB:.2f} GiB of weights, warm page cache, "
          f"{args.repeats} runs of each; cores: {len(os.sched_getaffinity(0))}\n")
    print("| | load, s | user, s | system, s | whole run, s | memory | addresses |")
    print("|---|---|---|---|---|---|---|")
    broken = []
    for name, found in rows.items():
        cells = []
        for key in ("load", "user", "system", "whole"):
            values = [one[key] for one in found if key in one]
            if not values:
                continue
            cells.append(f"{statistics.median(values):.2f} ({min(values):.2f})")
        if name == "copy":
            cells += ["", "", ""]
        else:
            extra = max(one["memory"] for one in found) - weights
            cells.append(f"{extra / GIB:+.2f} GiB")
            if extra > args.max_extra * GIB:
                broken.append(f"threads {name}: {extra / GIB:.2f} GiB above the weights")
            least = None if args.no_addresses else addresses(args, model, name, work, weights)
            cells.append("" if least is None else f"+{least / GIB:.2f} GiB")
        title = "copy of the file" if name == "copy" else f"esm-embed, threads: {name}"
        print(f"| {title} | " + " | ".join(cells) + " |")
    if temporary:
        temporary.cleanup()
    if broken:
        sys.exit("limits exceeded:\n  " + "\n  ".join(broken))


if __name__ == "__main__":
    main()
