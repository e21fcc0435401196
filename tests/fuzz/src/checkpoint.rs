//! A checkpoint, from its path to the embedding of a peptide.

use std::path::Path;

use esm_embed::checkpoint::{Checkpoint, Positions};
use esm_embed::embedder::{EmbedError, Embedder, EmbedderOptions, Sequence};
use esm_embed::ops::{CpuPath, WeightType};
use esm_embed::tokenizer::{UnknownPolicy, tokenize};

use crate::{memory, message};

/// Memory that a checkpoint may take until it is open or refused.
const MOST_MEMORY: usize = 100_000_000;

const PEPTIDE: &[u8] = b"MKTAYIAKQR";

/// Opens the checkpoint at `path`; if it is sound, loads it and embeds a peptide.
pub fn exercise(path: &Path) {
    match memory::bounded(MOST_MEMORY, || Checkpoint::open(path)) {
        Ok(checkpoint) => embed(&checkpoint),
        Err(error) => message::check_short(&error),
    }
}

fn embed(checkpoint: &Checkpoint) {
    let config = checkpoint.config().clone();
    assert_eq!(config.head_dim() * config.heads, config.dim);
    assert!(config.vocab >= 33 && config.layers > 0);
    for layer in 0..config.layers {
        let frequencies = checkpoint.inv_freq(layer);
        assert!(config.positions == Positions::Rotary || frequencies.is_err());
    }
    if let Err(error) = checkpoint.check_finite(|_| true) {
        message::check_short(&error);
    }
    let options = EmbedderOptions {
        layers: vec![0, config.layers],
        weight_type: WeightType::F32,
        path: CpuPath::detect(),
        threads: 1,
        max_tokens: 64,
    };
    let embedder = match Embedder::load(checkpoint, options) {
        Ok(embedder) => embedder,
        Err(error) => return message::check_short(&error),
    };
    let tokens = tokenize(PEPTIDE, UnknownPolicy::Error).expect("a peptide");
    let sequence = Sequence {
        tokens: &tokens.ids,
        windows: &[],
    };
    let embedded = embedder.embed(&[sequence], |representation| {
        assert_eq!(representation.residues.len(), PEPTIDE.len() * config.dim);
        Ok::<(), EmbedError>(())
    });
    if let Err(error) = embedded {
        message::check_short(&error);
    }
}
