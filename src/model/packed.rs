//! A packed batch: token ids of whole sequences laid end to end.

use crate::tokenizer::TokenId;

/// Sequences laid end to end, without padding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    token_ids: Vec<TokenId>,
    cu_seqlens: Vec<usize>,
}

impl Packed {
    /// Packs sequences of token ids, each with its `<cls>` and `<eos>`.
    pub fn new<'a>(sequences: impl IntoIterator<Item = &'a [TokenId]>) -> Packed {
        let mut token_ids = Vec::new();
        let mut cu_seqlens = vec![0];
        for sequence in sequences {
            token_ids.extend_from_slice(sequence);
            cu_seqlens.push(token_ids.len());
        }
        Packed {
            token_ids,
            cu_seqlens,
        }
    }

    /// All token ids, `[T]`.
    pub fn token_ids(&self) -> &[TokenId] {
        &self.token_ids
    }

    /// Where sequences start, and T at the end: `[sequences + 1]`.
    pub fn cu_seqlens(&self) -> &[usize] {
        &self.cu_seqlens
    }

    /// Tokens of the longest sequence.
    pub fn longest(&self) -> usize {
        self.ranges().map(|r| r.len()).max().unwrap_or(0)
    }

    /// The token ids of each sequence.
    pub fn sequences(&self) -> impl Iterator<Item = &[TokenId]> {
        self.ranges().map(|range| &self.token_ids[range])
    }

    /// The rows of each sequence in `[T, …]`.
    pub fn ranges(&self) -> impl Iterator<Item = std::ops::Range<usize>> + '_ {
        self.cu_seqlens.windows(2).map(|w| w[0]..w[1])
    }
}
