"""Measures the server: its throughput beside `run`, its latency, and a server of FastAPI and transformers.

    pip install -r benches/requirements.txt fastapi uvicorn
    python benches/serve.py --binary target/release/esm-embed --work serve-work
    python benches/serve.py --binary target/release/esm-embed --work serve-work --soak 3600

Random models of the shapes of ESM-2. The server has one core and one thread for the model, the clients have
another core (`--cores`). Every client sends one sequence per request over a connection that stays open and gets the
mean as a NumPy array.

1. Throughput: 32 clients against `run` on the same sequences (its time for all of them, less that for one
   of them, which is start and load).
2. Light load: one client, one length; the median beside the time of the pass by the server's metrics.
3. The peer (benches/serve_peer.py, batches of what waits, padded) under the same 32 clients.

`--soak SECONDS` instead: clients of which a fifth goes away before the answer; every answer is compared
with the bits of `run`. Prints the memory of the server over time. It measures no time: `--cores 1,1` leaves
the other core alone. The first fifth of the time is the warm-up; after that, the peak of the last fifth may
not pass the peak of the second one by more than 5 %.

Exits with 1 if a target of the project is missed: throughput below 0.9 of `run` or 1.5 of the peer, a
median above 1.2 times the pass plus 2 ms, a wrong or lost answer, or memory that grows.
"""

import argparse
import http.client
import io
import json
import os
import random
import re
import socket
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

from scores import LETTERS, model_folder

HEADERS = {"content-type": "application/json", "accept": "application/x-npy"}


def proteins(count, seed=0):
    """Made-up proteins with lengths like those of a proteome."""
    chance = random.Random(seed)
    lengths = [min(1022, max(30, int(chance.lognormvariate(5.6, 0.6)))) for _ in range(count)]
    return ["".join(chance.choices(LETTERS, k=length)) for length in lengths]


def fasta(path, sequences):
    path.write_text("".join(f">s{i}\n{sequence}\n" for i, sequence in enumerate(sequences)))
    return path


def pinned(args, command, **options):
    """A process on the core of the server."""
    return subprocess.Popen(["taskset", "-c", str(args.cores[0]), *map(str, command)], **options)


def run(args, model, sequences, name):
    """Seconds of `run`, and its means."""
    out = args.work / name
    command = [
        args.binary, "run", fasta(args.work / f"{name}.fasta", sequences), "--out", out, "--model", model,
        "--threads", "1", "--device", "cpu", "--residues", "none", "--force", "-q",
    ]
    begin = time.perf_counter()
    if pinned(args, command).wait() != 0:
        sys.exit("run failed")
    seconds = time.perf_counter() - begin
    [path] = out.glob("mean.layer*.npy")
    return seconds, np.load(path)


class Server:
    """A process that listens, and its port."""

    def __init__(self, args, command, environment=None):
        self.process = pinned(args, command, stdout=subprocess.PIPE, text=True, env=environment)
        line = self.process.stdout.readline()
        self.port = int(line.rsplit(":", 1)[1])
        while self.get("/health")[0] != 200:
            time.sleep(0.05)

    def get(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except ConnectionError:
            return 0, b""

    def metric(self, name):
        text = self.get("/metrics")[1].decode()
        return float(re.search(rf"^{name} (\S+)$", text, re.M).group(1))

    def memory(self):
        """Resident bytes."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", text).group(1)) * 1024

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


def serve(args, model):
    return Server(args, [
        args.binary, "serve", "--model", model, "--listen", "127.0.0.1:0", "--threads", "1", "--device", "cpu",
        "-q",
    ])


def ask(connection, sequence):
    connection.request("POST", "/embed", json.dumps({"inputs": sequence}), HEADERS)
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200:
        sys.exit(f"status {answer.status}: {body[:300]}")
    return np.load(io.BytesIO(body))


def under_load(port, sequences, clients):
    """Seconds for all sequences, and their vectors."""
    vectors, work, lock = [None] * len(sequences), iter(range(len(sequences))), threading.Lock()

    def client():
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
        while True:
            with lock:
                i = next(work, None)
            if i is None:
                return
            vectors[i] = ask(connection, sequences[i])

    threads = [threading.Thread(target=client) for _ in range(clients)]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - begin, vectors


def latency(server, count, length=286):
    """Milliseconds of each request of one client, and of a pass."""
    sequences = ["".join(random.Random(i).choices(LETTERS, k=length)) for i in range(count)]
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=600)
    for sequence in sequences[:5]:
        ask(connection, sequence)
    before = [server.metric(f"esm_embed_pass_seconds_{part}") for part in ("sum", "count")]
    times = []
    for sequence in sequences:
        begin = time.perf_counter()
        ask(connection, sequence)
        times.append(1e3 * (time.perf_counter() - begin))
    after = [server.metric(f"esm_embed_pass_seconds_{part}") for part in ("sum", "count")]
    return times, 1e3 * (after[0] - before[0]) / (after[1] - before[1])


def measure(args, size):
    model = model_folder(args.work, size)
    sequences = proteins(args.sequences)
    tokens = sum(len(sequence) + 2 for sequence in sequences)
    runs, serves, peers = [], [], []
    p50, p99, passes = [], [], []
    for _ in range(args.rounds):
        start, _ = run(args, model, sequences[:1], "one")
        seconds, means = run(args, model, sequences, "all")
        runs.append(tokens / (seconds - start))
        with serve(args, model) as server:
            seconds, vectors = under_load(server.port, sequences, args.clients)
            serves.append(tokens / seconds)
            if not all(np.array_equal(v, mean) for v, mean in zip(vectors, means)):
                sys.exit("an answer differs from run")
            times, one_pass = latency(server, args.requests)
            p50.append(statistics.median(times))
            p99.append(sorted(times)[int(0.99 * (len(times) - 1))])
            passes.append(one_pass)
        if args.peer:
            peer = Path(__file__).with_name("serve_peer.py")
            environment = dict(os.environ, OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", HF_HUB_OFFLINE="1")
            with Server(args, [sys.executable, peer, model], environment) as server:
                under_load(server.port, sequences[: args.clients], args.clients)
                seconds, vectors = under_load(server.port, sequences, args.clients)
                peers.append(tokens / seconds)
                worst = max(float(np.abs(v - mean).max()) for v, mean in zip(vectors, means))
                if worst > 1e-4:
                    sys.exit(f"the peer's embeddings differ by {worst}")
    run_rate, serve_rate = statistics.median(runs), statistics.median(serves)
    half, one_pass = statistics.median(p50), statistics.median(passes)
    print(f"{size}: run {run_rate:,.0f} tokens/s, serve {serve_rate:,.0f} ({serve_rate / run_rate:.2f} of run)")
    print(f"{size}: light load p50 {half:.1f} ms, p99 {statistics.median(p99):.1f} ms, pass {one_pass:.1f} ms")
    good = serve_rate >= 0.9 * run_rate and half <= 1.2 * one_pass + 2
    if peers:
        peer_rate = statistics.median(peers)
        print(f"{size}: FastAPI and transformers {peer_rate:,.0f} tokens/s (serve: {serve_rate / peer_rate:.2f} times)")
        good &= serve_rate >= 1.5 * peer_rate
    return good


def soak(args, size):
    model = model_folder(args.work, size)
    sequences = proteins(500)
    _, means = run(args, model, sequences, "all")
    counts, failures, lock = {"answers": 0, "left": 0, "refused": 0}, [], threading.Lock()
    end = time.monotonic() + args.soak

    def leave(port, body, chance):
        """Goes away while it sends, or before the answer."""
        head = "POST /embed HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
        whole = f"{head}content-length: {len(body)}\r\n\r\n{body}".encode()
        with socket.create_connection(("127.0.0.1", port)) as stream:
            stream.sendall(whole[: chance.choice([len(whole), len(whole), chance.randrange(len(whole))])])
            time.sleep(chance.choice([0, 0.01, 0.1]))
        return "left"

    def stay(port, body, which):
        """Reads the answer and compares it."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
        connection.request("POST", "/embed", body, HEADERS)
        answer = connection.getresponse()
        found = answer.read()
        connection.close()
        if answer.status == 429:
            time.sleep(0.2)
            return "refused"
        if answer.status != 200 or not np.array_equal(np.load(io.BytesIO(found)), means[which]):
            raise ValueError(f"status {answer.status}: {found[:200]}")
        return "answers"

    def client(port, seed):
        chance = random.Random(seed)
        while time.monotonic() < end and not failures:
            which = [chance.randrange(len(sequences)) for _ in range(chance.choice([1, 1, 2, 8, 30]))]
            body = json.dumps({"inputs": [sequences[i] for i in which]})
            try:
                outcome = leave(port, body, chance) if chance.random() < 0.2 else stay(port, body, which)
                with lock:
                    counts[outcome] += 1
            except Exception as error:  # a lost answer, too
                failures.append(repr(error))

    with serve(args, model) as server:
        threads = [threading.Thread(target=client, args=(server.port, i)) for i in range(16)]
        for thread in threads:
            thread.start()
        memory = []
        while any(thread.is_alive() for thread in threads):
            time.sleep(min(10, max(1, args.soak / 20)))
            memory.append(server.memory())
            print(f"{len(memory):4}  {memory[-1] / 1e6:8.1f} MB  {counts}", flush=True)
        lost = server.metric("esm_embed_queue_tokens")
    fifth = len(memory) // 5
    settled, last = max(memory[fifth : 2 * fifth]), max(memory[-fifth:])
    print(f"{size}: {counts}, {lost:.0f} tokens left in the queue, failures {failures}")
    print(
        f"{size}: memory at the start {memory[0] / 1e6:.1f} MB, peak of the second fifth {settled / 1e6:.1f} MB, "
        f"peak of the last {last / 1e6:.1f} MB, at the end {memory[-1] / 1e6:.1f} MB"
    )
    return not failures and lost == 0 and last <= 1.05 * settled


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--sizes", default="8M,150M")
    parser.add_argument("--sequences", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--requests", type=int, default=200, help="of the client under light load")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--soak", type=float, help="seconds; with the first size only")
    parser.add_argument("--cores", default="0,1", help="of the server, and of the clients")
    parser.add_argument("--no-peer", dest="peer", action="store_false")
    args = parser.parse_args()
    args.binary, args.work = args.binary.resolve(), args.work.resolve()
    args.work.mkdir(parents=True, exist_ok=True)
    args.cores = [int(core) for core in args.cores.split(",")]
    os.sched_setaffinity(0, {args.cores[1]})
    sizes = args.sizes.split(",")
    good = soak(args, sizes[0]) if args.soak else all([measure(args, size) for size in sizes])
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
