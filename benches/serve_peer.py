"""The peer of serve.py: FastAPI and transformers, with batches of what waits.

    python benches/serve_peer.py MODEL

Answers `POST /embed` {"inputs": SEQUENCE} with the mean over residues as a NumPy array. Up to 32 requests
that arrive within 5 ms, or while a batch is computed, are one padded batch, sorted by length: what such
servers commonly do. One thread.
"""

import asyncio
import io
import sys
from contextlib import asynccontextmanager

import numpy as np
import torch
import uvicorn
from fastapi import FastAPI, Request, Response
from transformers import EsmModel, EsmTokenizer

MOST, WAIT = 32, 0.005

torch.set_num_threads(1)
tokenizer = EsmTokenizer.from_pretrained(sys.argv[1])
model = EsmModel.from_pretrained(sys.argv[1], add_pooling_layer=False).eval()
queue = asyncio.Queue()


@torch.inference_mode()
def embed(sequences):
    """Their means, the longest padding the others."""
    batch = tokenizer(sequences, return_tensors="pt", padding=True)
    hidden = model(**batch).last_hidden_state
    means = [rows[1 : len(sequence) + 1].mean(0) for rows, sequence in zip(hidden, sequences)]
    return [mean.numpy() for mean in means]


async def work():
    while True:
        waiting = [await queue.get()]
        await asyncio.sleep(WAIT)
        while len(waiting) < MOST and not queue.empty():
            waiting.append(queue.get_nowait())
        # Neighbours in length share a pass.
        waiting.sort(key=lambda one: len(one[0]))
        for at in range(0, len(waiting), 8):
            part = waiting[at : at + 8]
            means = await asyncio.to_thread(embed, [sequence for sequence, _ in part])
            for (_, answer), mean in zip(part, means):
                answer.set_result(mean)


@asynccontextmanager
async def lifespan(_):
    worker = asyncio.create_task(work())
    yield
    worker.cancel()


app = FastAPI(lifespan=lifespan)


@app.get("/health")
async def health():
    return {}


@app.post("/embed")
async def answer(request: Request):
    body = await request.json()
    result = asyncio.get_running_loop().create_future()
    await queue.put((body["inputs"], result))
    out = io.BytesIO()
    np.save(out, await result)
    return Response(out.getvalue(), media_type="application/x-npy")


class Server(uvicorn.Server):
    async def startup(self, sockets=None):
        await super().startup(sockets)
        port = self.servers[0].sockets[0].getsockname()[1]
        print(f"listening on 127.0.0.1:{port}", flush=True)


if __name__ == "__main__":
    Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error")).run()
