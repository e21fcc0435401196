"""Protein sequences in, exact ESM embeddings out.

    from esm_embed import Embedder, open_folder

    model = Embedder("650M")
    means = model.embed(["MKTVRQERLK", "LKKNDSLTKGVT"])     # float32 [2, 1280]
    for record in model.stream("proteins.fasta", residues=True):
        record.id, record.mean, record.residues

    emb = open_folder("emb")                                # what `esm-embed run` wrote
    emb["P12345"], emb.means, emb.ids, emb.to_pandas()

Numbers have the bits that the command line writes.
"""

from importlib import import_module

from ._native import __version__

_HOME = {
    "Embedder": "._native",
    "EsmEmbedError": "._native",
    "Record": "._native",
    "Stream": "._native",
    "EmbeddingFolder": "._folder",
    "open_folder": "._folder",
}
__all__ = ["__version__", *_HOME]


def __getattr__(name):
    # The command imports this package too, and does not need NumPy.
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME[name], __name__), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted(set(globals()) | set(__all__))
