//! How a model is loaded.

use crate::device::{Device, Dtype};
use crate::threads::Threads;

/// What to load, and where.
#[derive(Clone, Debug)]
pub struct EmbedderOptions {
    /// Where to compute.
    pub device: Device,
    /// Number format of the computation.
    pub dtype: Dtype,
    /// The highest layer that a request may name: blocks above it are not loaded.
    pub top_layer: usize,
    /// Whether a request may name logits, which need the checkpoint's language-model head.
    pub lm_head: bool,
    /// Whether a request may name contacts, which need the checkpoint's contact regression.
    pub contact_head: bool,
    /// Threads that load weights and share long sequences.
    pub threads: Threads,
    /// Tokens of a batch, and of one pass over windows of a long sequence.
    pub max_tokens: usize,
    /// Whether a device with its own memory sets the tokens of a batch by that memory instead.
    pub fill_memory: bool,
    /// What happens to a sequence whose numbers do not fit f16.
    pub on_overflow: OnOverflow,
}

impl EmbedderOptions {
    /// One thread, 1,024 tokens to a batch, no logits, and an error for sequences that do not fit f16.
    pub fn new(device: Device, dtype: Dtype, top_layer: usize) -> EmbedderOptions {
        EmbedderOptions {
            device,
            dtype,
            top_layer,
            lm_head: false,
            contact_head: false,
            threads: Threads::default(),
            max_tokens: 1024,
            fill_memory: false,
            on_overflow: OnOverflow::Fail,
        }
    }
}

/// What happens to a sequence whose numbers do not fit f16, on a device that computes in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnOverflow {
    /// It is an error.
    #[default]
    Fail,
    /// It is computed in bf16, or in f32 on GPUs without bf16, by weights that are loaded from the same
    /// checkpoint when they are first needed.
    Fallback {
        /// Whether that is allowed even if bits in this format depend on the batch. Each sequence then
        /// has its own pass.
        may_vary: bool,
    },
}
