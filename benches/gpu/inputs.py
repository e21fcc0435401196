"""Makes the inputs of check.py: random models of the shapes of ESM-2, and random sequences.

    python benches/gpu/inputs.py FOLDER/650M FASTA TOKENS

makes the model of the size in the folder's name, unless it exists, and sequences of TOKENS tokens.
"""

import os
import sys
from pathlib import Path

import numpy as np
import torch
from transformers import EsmConfig, EsmModel

# layers, dim, heads
SHAPES = {"8M": (6, 320, 20), "35M": (12, 480, 20), "150M": (30, 640, 20), "650M": (33, 1280, 20),
          "3B": (36, 2560, 40)}
if os.environ.get("REHEARSAL"):
    # The stand-in of tests/cuda computes on the CPU.
    SHAPES = dict.fromkeys(SHAPES, (2, 32, 2))
RESIDUES = np.frombuffer(b"LAGVSERTIDPKQNFYMHWC", dtype=np.uint8)


def random_model(size, folder, device):
    """A transformers ESM-2 with peaked attention and a residual stream of O(1) to O(10)."""
    layers, dim, heads = SHAPES[size]
    config = EsmConfig(
        vocab_size=33, hidden_size=dim, num_hidden_layers=layers, num_attention_heads=heads,
        intermediate_size=4 * dim, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        layer_norm_eps=1e-5, position_embedding_type="rotary", token_dropout=True,
        emb_layer_norm_before=False, mask_token_id=32, pad_token_id=1,
        max_position_embeddings=1026,
    )
    torch.manual_seed(650)
    with torch.device(device):
        model = EsmModel(config, add_pooling_layer=False).eval()
    branch = 3.0 / np.sqrt(2 * layers)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith("bias"):
                p.uniform_(-0.2, 0.2)
            elif "layernorm" in name.lower() or "layer_norm" in name.lower():
                p.uniform_(0.7, 1.3)
            elif "word_embeddings" in name:
                p.normal_(0.0, 1.0)
                p[1] = 0.0
            else:
                peaked = ".self.query." in name or ".self.key." in name
                adds = ".output.dense." in name
                gain = 1.75 if peaked else branch if adds else 1.0
                p.normal_(0.0, gain / np.sqrt(p.shape[-1]))
    # A folder of the final name is complete.
    new = folder.with_name(f".{folder.name}")
    model.save_pretrained(new)
    new.rename(folder)


def load(folder, dtype, device, attention="sdpa"):
    model = EsmModel.from_pretrained(
        folder, add_pooling_layer=False, attn_implementation=attention, dtype=dtype
    )
    return model.eval().to(device)


def protein(rng, length):
    return RESIDUES[rng.integers(0, 20, length)].tobytes().decode()


def natural(rng, tokens):
    """Sequences of 30 to 1,022 residues, with a median of about 300."""
    made, records = 0, []
    while made < tokens:
        length = int(np.clip(np.exp(rng.normal(np.log(300), 0.6)), 30, 1022))
        records.append((f"s{len(records)}", protein(rng, length)))
        made += length + 2
    return records


def write_fasta(path, records):
    path.write_text("".join(f">{name}\n{sequence}\n" for name, sequence in records))


if __name__ == "__main__":
    model, fasta, tokens = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
    if not model.exists():
        model.parent.mkdir(parents=True, exist_ok=True)
        random_model(model.name, model, "cuda" if torch.cuda.is_available() else "cpu")
    write_fasta(fasta, natural(np.random.default_rng(3), tokens))
