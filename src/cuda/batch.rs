//! What the kernels need to know of a packed batch. Pure.

use super::error::CudaError;
use super::kernels::QUERIES;
use crate::model::{Packed, TokenScale};
use crate::tokenizer::TokenId;

/// Alignment of each array.
const ALIGN: usize = 16;

/// The arrays of a batch in one block of memory, and where each begins.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Batch {
    /// All arrays, for one upload.
    pub(super) bytes: Vec<u8>,
    /// `[T]` of u16: token ids.
    pub(super) tokens_at: usize,
    /// `[T]` of f32: the factor of each token's embedding.
    pub(super) scales_at: usize,
    /// `[T]` of i32: the token's position in its sequence.
    pub(super) positions_at: usize,
    /// `[T]` of i32: the token's residue row, or −1.
    pub(super) places_at: usize,
    /// `[S + 1]` of i32: where sequences start.
    pub(super) starts_at: usize,
    /// `[tiles, 4]` of i32: first row of the sequence, its tokens, first query, 0.
    pub(super) tiles_at: usize,
    pub(super) tokens: usize,
    pub(super) sequences: usize,
    pub(super) tiles: usize,
    /// Tokens of the longest sequence.
    pub(super) longest: usize,
}

impl Batch {
    /// `dropped` is `<mask>`, if there is token dropout.
    ///
    /// # Errors
    /// A token outside the vocabulary, a sequence without residues, or more tokens than fit a 32-bit
    /// integer.
    pub(super) fn new(
        packed: &Packed,
        vocab: usize,
        dropped: Option<TokenId>,
    ) -> Result<Batch, CudaError> {
        let ids = packed.token_ids();
        let refuse = |what: String| Err(CudaError::Batch(what));
        if i32::try_from(ids.len()).is_err() {
            return refuse(format!("{} tokens are too many for one batch", ids.len()));
        }
        if let Some(token) = ids.iter().find(|id| usize::from(**id) >= vocab) {
            return refuse(format!("token {token} is outside the vocabulary"));
        }
        if let Some(short) = packed.ranges().find(|rows| rows.len() < 3) {
            return refuse(format!(
                "a sequence of {} tokens has no residue",
                short.len()
            ));
        }
        let mut scales = Vec::with_capacity(4 * ids.len());
        let mut positions = Vec::with_capacity(4 * ids.len());
        let mut places = Vec::with_capacity(4 * ids.len());
        let mut starts = Vec::new();
        let mut tiles = Vec::new();
        let put = |into: &mut Vec<u8>, n: usize| into.extend((n as i32).to_ne_bytes());
        let wide: Vec<u8> = ids.iter().flat_map(|id| id.to_ne_bytes()).collect();
        let (mut residues, mut sequences) = (0, 0);
        for rows in packed.ranges() {
            let tokens = ids.get(rows.clone()).unwrap_or_default();
            let scale = TokenScale::new(tokens, dropped);
            put(&mut starts, rows.start);
            for (position, &token) in tokens.iter().enumerate() {
                scales.extend(scale.of(token).to_ne_bytes());
                put(&mut positions, position);
                if position == 0 || position + 1 == tokens.len() {
                    places.extend((-1i32).to_ne_bytes());
                } else {
                    put(&mut places, residues);
                    residues += 1;
                }
            }
            for first in (0..tokens.len()).step_by(QUERIES) {
                for n in [rows.start, tokens.len(), first, 0] {
                    put(&mut tiles, n);
                }
            }
            sequences += 1;
        }
        put(&mut starts, ids.len());
        let mut batch = Batch {
            tokens: ids.len(),
            sequences,
            tiles: tiles.len() / 16,
            longest: packed.longest(),
            ..Batch::default()
        };
        batch.tokens_at = batch.add(&wide);
        batch.scales_at = batch.add(&scales);
        batch.positions_at = batch.add(&positions);
        batch.places_at = batch.add(&places);
        batch.starts_at = batch.add(&starts);
        batch.tiles_at = batch.add(&tiles);
        Ok(batch)
    }

    /// Residue rows of all sequences.
    pub(super) fn residues(&self) -> usize {
        self.tokens - 2 * self.sequences
    }

    fn add(&mut self, array: &[u8]) -> usize {
        let at = self.bytes.len().next_multiple_of(ALIGN);
        self.bytes.resize(at, 0);
        self.bytes.extend(array);
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::MASK;

    fn ints(batch: &Batch, at: usize, count: usize) -> Vec<i32> {
        let bytes = &batch.bytes[at..at + 4 * count];
        let words = bytes.as_chunks::<4>().0.iter();
        words.map(|word| i32::from_ne_bytes(*word)).collect()
    }

    #[test]
    fn arrays_of_two_sequences() {
        let long = [vec![0], vec![4; 70], vec![2]].concat();
        let packed = Packed::new([[0, 20, 32, 2].as_slice(), &long]);
        let batch = Batch::new(&packed, 33, Some(MASK)).unwrap();
        assert_eq!((batch.tokens, batch.sequences, batch.longest), (76, 2, 72));
        assert_eq!(batch.residues(), 72);
        let tokens = batch.bytes[batch.tokens_at..][..10]
            .as_chunks::<2>()
            .0
            .iter();
        let tokens: Vec<TokenId> = tokens.map(|id| TokenId::from_ne_bytes(*id)).collect();
        assert_eq!(tokens, [0, 20, 32, 2, 0]);
        let scales = ints(&batch, batch.scales_at, 5).into_iter();
        let scales: Vec<f32> = scales.map(|bits| f32::from_bits(bits as u32)).collect();
        // One mask among four tokens: 0.88 / (1 − 1/4); the mask itself is zero.
        assert_eq!(scales, [0.88 / 0.75, 0.88 / 0.75, 0.0, 0.88 / 0.75, 0.88]);
        assert_eq!(ints(&batch, batch.positions_at, 6), [0, 1, 2, 3, 0, 1]);
        assert_eq!(ints(&batch, batch.places_at, 6), [-1, 0, 1, -1, -1, 2]);
        assert_eq!(ints(&batch, batch.starts_at, 3), [0, 4, 76]);
        assert_eq!(batch.tiles, 3);
        let tiles = ints(&batch, batch.tiles_at, 12);
        assert_eq!(tiles, [0, 4, 0, 0, 4, 72, 0, 0, 4, 72, 64, 0]);
        for at in [batch.scales_at, batch.positions_at, batch.tiles_at] {
            assert_eq!(at % 16, 0);
        }
    }

    #[test]
    fn batches_that_kernels_cannot_take_are_refused() {
        let refused =
            |tokens: &[TokenId]| Batch::new(&Packed::new([tokens]), 33, Some(MASK)).is_err();
        assert!(refused(&[0, 2]));
        assert!(refused(&[0, 33, 2]));
        assert!(!refused(&[0, 4, 2]));
    }
}
