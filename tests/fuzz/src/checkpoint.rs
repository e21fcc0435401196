//! A checkpoint, from its path to the embedding of a peptide.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use esm_embed::cancel::Cancel;
use esm_embed::checkpoint::{Additions, Checkpoint, Positions};
use esm_embed::device::{Device, Dtype};
use esm_embed::embedder::{Embedder, EmbedderOptions, Sequence};
use esm_embed::ops::CpuPath;
use esm_embed::product::{OutDtype, Product, Request, Values};
use esm_embed::tokenizer::{UnknownPolicy, tokenize};

use crate::{memory, message};

/// Memory that a checkpoint may take until it is opened or refused.
const MOST_MEMORY: usize = 100_000_000;

const PEPTIDE: &[u8] = b"MKTAYIAKQR";

/// Opens the checkpoint at `path`; if it is sound, loads it and embeds a peptide.
pub fn exercise(path: &Path) {
    exercise_with(path, None);
}

/// The same with the adapter in a folder.
pub fn exercise_with(path: &Path, adapter: Option<&Path>) {
    let additions = Additions {
        adapter,
        ..Additions::default()
    };
    match memory::bounded(MOST_MEMORY, || Checkpoint::open_with(path, additions)) {
        Ok(checkpoint) => embed(&Arc::new(checkpoint)),
        Err(error) => message::check_short(&error),
    }
}

fn embed(checkpoint: &Arc<Checkpoint>) {
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
    let device = Device::cpu(CpuPath::detect());
    let options = EmbedderOptions {
        max_tokens: 64,
        ..EmbedderOptions::new(device, Dtype::F32, config.layers)
    };
    let embedder = match Embedder::load(checkpoint, &options) {
        Ok(embedder) => embedder,
        Err(error) => return message::check_short(&error),
    };
    let tokens = tokenize(PEPTIDE, UnknownPolicy::Error).expect("a peptide");
    let sequence = Sequence {
        tokens: &tokens.ids,
        windows: &[],
    };
    let layers = [0, config.layers].map(|layer| Product::Residues { layer });
    let request = Request::new(layers, OutDtype::F32);
    let embedded = embedder.embed(&[sequence], &request, &Cancel::default(), &mut |computed| {
        match computed.values {
            Values::F32(rows) => assert_eq!(rows.len(), PEPTIDE.len() * config.dim),
            Values::F16(_) => panic!("f32 was requested"),
        }
        ControlFlow::Continue(())
    });
    if let Err(error) = embedded {
        message::check_short(&error);
    }
}
