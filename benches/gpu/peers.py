"""Other ways to embed on a GPU, for check.py."""

import copy
import time

import numpy as np
import torch
import torch._dynamo
import torch.nn.functional as F

from sequences import tokenize


class Peers:
    """Other ways to embed the same sequences, each a function that returns its seconds."""

    def __init__(self, model, records, device):
        # Compiled code belongs to one model. Beyond its limit, torch.compile would silently continue
        # without compiling.
        torch._dynamo.reset()
        torch._dynamo.config.recompile_limit = 64
        torch._dynamo.config.fail_on_recompile_limit_hit = True
        self.model, self.device = model, device
        tokens = (tokenize(sequence).astype(np.int64) for _, sequence in records)
        self.tokens = sorted(tokens, key=len, reverse=True)
        self.residues = sum(len(t) - 2 for t in self.tokens)
        self.errors, self.ways, self.layer = {}, {}, self.packed_layer
        for budget in (16_384, 65_536):
            self.ways[f"transformers sdpa, sorted batches of {budget}"] = self.timed(
                self.padded(budget), lambda ids, mask: model(input_ids=ids, attention_mask=mask)[0]
            )
        if device != "cpu":
            # Layer by layer, so that all layers share the compiled code.
            compiled = copy.deepcopy(model)
            for layer in compiled.encoder.layer:
                layer.compile(dynamic=True)
            self.ways["the same with torch.compile, 16384"] = self.timed(
                self.padded(16_384),
                lambda ids, mask: compiled(input_ids=ids, attention_mask=mask)[0],
            )
            self.layer = torch.compile(self.packed_layer, dynamic=True)
            self.ways["packed, flash attention of torch, torch.compile, 32768"] = self.timed(
                self.packed(32_768), self.forward_packed
            )

    def wait(self):
        if self.device != "cpu":
            torch.cuda.synchronize()

    def timed(self, batches, forward):
        """Runs every batch once, after an untimed first time."""
        warm = []

        def once():
            with torch.inference_mode():
                for _ in range(1 if warm else 2):
                    self.wait()
                    begin = time.monotonic()
                    means = [forward(*batch).float().mean(-2) for batch in batches]
                    means = [mean.cpu() for mean in means]
                    seconds = time.monotonic() - begin
                    warm.append(len(means))
            return seconds

        return once

    def batches(self, budget, cost):
        """The sequences, longest first, in batches whose `cost` is within the budget."""
        batches, batch = [], []
        for tokens in self.tokens:
            if batch and cost([*batch, tokens]) > budget:
                batches.append(batch)
                batch = []
            batch.append(tokens)
        return [*batches, batch]

    def padded(self, budget):
        batches = []
        for batch in self.batches(budget, lambda batch: len(batch[0]) * len(batch)):
            ids = np.full((len(batch), len(batch[0])), 1, dtype=np.int64)
            for row, tokens in enumerate(batch):
                ids[row, : len(tokens)] = tokens
            ids = torch.from_numpy(ids).to(self.device)
            batches.append((ids, (ids != 1).long()))
        return batches

    def packed(self, budget):
        batches = []
        for batch in self.batches(budget, lambda batch: sum(map(len, batch))):
            lengths = [len(tokens) for tokens in batch]
            starts = torch.tensor(np.cumsum([0, *lengths]), dtype=torch.int32, device=self.device)
            places = torch.from_numpy(np.concatenate([np.arange(n) for n in lengths]))
            ids = torch.from_numpy(np.concatenate(batch)).to(self.device)
            batches.append((ids, starts, max(lengths), places.to(self.device)))
        return batches

    def forward_packed(self, ids, starts, longest, places):
        """The layers of the transformers model on tokens without padding."""
        width = self.model.config.hidden_size // self.model.config.num_attention_heads
        step = torch.arange(0, width, 2, device=self.device).float() / width
        angle = places[:, None].float() * (10000.0**-step)[None]
        angle = torch.cat([angle, angle], -1)[:, None]
        cos, sin = angle.cos(), angle.sin()
        x = self.model.embeddings.word_embeddings(ids) * 0.88
        for layer in self.model.encoder.layer:
            x = self.layer(layer, x, cos, sin, starts, longest)
        return self.model.encoder.emb_layer_norm_after(x)

    @staticmethod
    def packed_layer(layer, x, cos, sin, starts, longest):
        from torch.nn.attention.varlen import varlen_attn

        def turned(x):
            a, b = x.float().chunk(2, -1)
            return (x.float() * cos + torch.cat([-b, a], -1) * sin).to(x.dtype)

        own = layer.attention.self
        heads, width = own.num_attention_heads, own.attention_head_size
        h = layer.attention.LayerNorm(x)
        q, k, v = (f(h).view(-1, heads, width) for f in (own.query, own.key, own.value))
        h = varlen_attn(turned(q), turned(k), v, starts, starts, longest, longest)
        x = x + layer.attention.output.dense(h.reshape(x.shape))
        h = layer.LayerNorm(x)
        return x + layer.output.dense(F.gelu(layer.intermediate.dense(h)))
