"""Contacts and scores of variants by transformers and fair-esm, for contacts_and_scores.py: tools of
peer_worker.py, with the model loaded and the sequences in memory. One sequence at a time."""

import argparse
from importlib.metadata import version

import numpy as np

from peer_worker import FAIR_CHECKPOINT, read_fasta
from sequences import MASK, VOCABULARY, tokenize

# The columns of a landscape of esm-embed.
LETTERS = "LAGVSERTIDPKQNFYMHWC"


class Transformers:
    """`predict_contacts`, and logits of EsmForMaskedLM."""

    attention = "sdpa"

    def __init__(self, args):
        import torch
        import transformers

        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        torch.set_grad_enabled(False)
        torch.set_num_threads(args.threads)
        self.torch = torch
        self.model = transformers.EsmForMaskedLM.from_pretrained(
            args.folder / "safetensors", attn_implementation=self.attention, dtype=torch.float32
        ).eval()
        self.tokens = [tokenize(text) for _, text in read_fasta(args.fasta)]
        self.versions = {name: version(name) for name in ("torch", "transformers")}

    def contacts(self, batch):
        return self.model.predict_contacts(batch, self.torch.ones_like(batch))

    def logits(self, batch):
        return self.model(input_ids=batch).logits

    def batch(self, tokens):
        return self.torch.from_numpy(np.asarray(tokens, dtype=np.int64))[None]


class FairEsm(Transformers):
    """`predict_contacts` and logits of fair-esm's model."""

    def __init__(self, args):
        import esm
        import torch

        torch.set_grad_enabled(False)
        torch.set_num_threads(args.threads)
        torch.serialization.add_safe_globals([argparse.Namespace])
        self.torch = torch
        checkpoint = str(args.folder / FAIR_CHECKPOINT)
        self.model = esm.pretrained.load_model_and_alphabet(checkpoint)[0].eval()
        self.tokens = [tokenize(text) for _, text in read_fasta(args.fasta)]
        self.versions = {name: version(name) for name in ("fair-esm", "torch")}

    def contacts(self, batch):
        return self.model.predict_contacts(batch)

    def logits(self, batch):
        return self.model(batch)["logits"]


class Contacts:
    """[n, n] of each sequence."""

    def passing(self, budget, keep):
        found = []

        def once():
            found[:] = [self.contacts(self.batch(t))[0].numpy() for t in self.tokens]

        return once, lambda: {"values": np.concatenate([c.ravel() for c in found])}


class Scores:
    """Masked marginals of all letters at every position, one masked copy at a time, [n, 20]."""

    def passing(self, budget, keep):
        letters = [VOCABULARY.index(letter) for letter in LETTERS]
        found = []

        def once():
            found.clear()
            for tokens in self.tokens:
                for at in range(1, len(tokens) - 1):
                    copy = np.array(tokens)
                    copy[at] = MASK
                    logits = self.logits(self.batch(copy))[0, at]
                    lp = self.torch.log_softmax(logits.double(), dim=-1).numpy()
                    found.append(lp[letters] - lp[tokens[at]])

        return once, lambda: {"values": np.concatenate(found)}


class TransformersContacts(Contacts, Transformers):
    attention = "eager"  # the only one that gives attention maps


class FairEsmContacts(Contacts, FairEsm):
    pass


class TransformersScores(Scores, Transformers):
    pass


class FairEsmScores(Scores, FairEsm):
    pass


PRODUCTS = {
    "transformers-contacts": TransformersContacts,
    "fair-esm-contacts": FairEsmContacts,
    "transformers-scores": TransformersScores,
    "fair-esm-scores": FairEsmScores,
}
