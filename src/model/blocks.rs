//! What every engine needs to load blocks: the names of their weights and their rotary frequencies.

use crate::checkpoint::{Checkpoint, CheckpointError, InvFreqSource, Positions};
use crate::ops::Activation;

/// Names of a block's layers, to which `.weight` and `.bias` are added; some models have no biases.
/// Linear layers that share their input are grouped.
pub(crate) struct BlockNames {
    pub(crate) attention_norm: String,
    pub(crate) qkv: [String; 3],
    /// Of queries and keys; not in all models.
    pub(crate) qk_norms: [String; 2],
    pub(crate) out: [String; 1],
    pub(crate) feed_forward_norm: String,
    /// One, or the two factors of SwiGLU: the one in the SiLU, then the gate.
    pub(crate) fc1: Vec<String>,
    pub(crate) fc2: [String; 1],
}

impl BlockNames {
    /// The names of block `i`, counted from 0.
    pub(crate) fn new(i: usize, activation: Activation) -> BlockNames {
        let name = |part: &str| format!("layers.{i}.{part}");
        BlockNames {
            attention_norm: name("self_attn_layer_norm"),
            qkv: ["q_proj", "k_proj", "v_proj"].map(|part| name(&format!("self_attn.{part}"))),
            qk_norms: ["q_norm", "k_norm"].map(|part| name(&format!("self_attn.{part}"))),
            out: [name("self_attn.out_proj")],
            feed_forward_norm: name("final_layer_norm"),
            fc1: match activation {
                Activation::Gelu => vec![name("fc1")],
                Activation::SwiGlu => vec![name("fc1_silu"), name("fc1_gate")],
            },
            fc2: [name("fc2")],
        }
    }
}

/// The rotary frequencies of a model.
pub(crate) struct Frequencies {
    /// The different sets, `[head_dim / 2]` each.
    pub(crate) sets: Vec<Vec<f32>>,
    /// For each block, the index of its set; None with learned positions.
    pub(crate) of_block: Vec<Option<usize>>,
    /// Where they come from: computed if those of any block are.
    pub(crate) source: Option<InvFreqSource>,
}

impl Frequencies {
    /// The frequencies of the first `count` blocks.
    ///
    /// # Errors
    /// Frequencies that cannot be read.
    pub(crate) fn read(
        checkpoint: &Checkpoint,
        count: usize,
    ) -> Result<Frequencies, CheckpointError> {
        let mut all = Frequencies {
            sets: Vec::new(),
            of_block: vec![None; count],
            source: None,
        };
        if matches!(checkpoint.config().positions, Positions::Learned { .. }) {
            return Ok(all);
        }
        all.source = Some(InvFreqSource::Stored);
        for (block, set) in all.of_block.iter_mut().enumerate() {
            let found = checkpoint.inv_freq(block)?;
            if found.source == InvFreqSource::Computed {
                all.source = Some(InvFreqSource::Computed);
            }
            let known = all.sets.iter().position(|known| *known == found.values);
            *set = Some(known.unwrap_or(all.sets.len()));
            if known.is_none() {
                all.sets.push(found.values);
            }
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_a_block() {
        let names = BlockNames::new(7, Activation::Gelu);
        assert_eq!(names.qkv[1], "layers.7.self_attn.k_proj");
        assert_eq!(names.out, ["layers.7.self_attn.out_proj"]);
        assert_eq!(names.attention_norm, "layers.7.self_attn_layer_norm");
        assert_eq!(names.feed_forward_norm, "layers.7.final_layer_norm");
        assert_eq!(
            (&*names.fc1[0], &*names.fc2[0]),
            ("layers.7.fc1", "layers.7.fc2")
        );
        let gated = BlockNames::new(7, Activation::SwiGlu);
        assert_eq!(gated.fc1, ["layers.7.fc1_silu", "layers.7.fc1_gate"]);
        assert_eq!(gated.qk_norms[1], "layers.7.self_attn.k_norm");
    }
}
