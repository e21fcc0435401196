//! Which attention maps are wanted of each sequence.

use serde::{Deserialize, Serialize};

/// Which maps of each block.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MapHeads {
    /// The map of every head.
    #[default]
    All,
    /// The mean over the heads.
    Mean,
}

impl MapHeads {
    /// Its name in `run.json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Mean => "mean",
        }
    }

    /// Maps that are stored of a block with `heads` heads; None for one map without a dimension for
    /// heads.
    pub fn stored(self, heads: usize) -> Option<usize> {
        match self {
            Self::All => Some(heads),
            Self::Mean => None,
        }
    }
}

/// The attention maps of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AttentionMaps {
    /// Blocks, counted from 0, ascending, each once.
    pub layers: Vec<usize>,
    /// Which maps of each.
    pub heads: MapHeads,
}
