//! The self-test of a whole model: proof, on the GPUs that will compute, that the bits of a sequence do
//! not depend on its batch. Passed tests are remembered for later runs: see `tested`.

use super::error::CudaError;
use super::replica::Replica;
use super::tested::Tests;
use crate::checkpoint::{EsmConfig, Positions};
use crate::sha256::sha256_of;
use crate::tokenizer::{CLS, EOS, TokenId};

/// Computes the bits of the residue rows of each sequence in one pass.
pub(super) type Embed<'a> = &'a dyn Fn(&[&[TokenId]]) -> Result<Vec<Vec<u32>>, CudaError>;

/// Whether sequences have the same bits in batches as in separate passes, on every GPU of the
/// model, which is loaded up to layer `top`.
///
/// # Errors
/// The GPU cannot run the model at all.
pub(super) fn passes(
    config: &EsmConfig,
    replicas: &[Replica],
    top: usize,
    embed: Embed<'_>,
) -> Result<bool, CudaError> {
    let shape = format!(
        "model of {} {}-wide blocks, {} heads, {} inside{}, {} positions, products ",
        top,
        config.dim,
        config.heads,
        config.intermediate,
        match config.qk_norm {
            true => " gated, normalised queries and keys",
            false => "",
        },
        match config.positions {
            Positions::Rotary => "rotary",
            Positions::Learned { .. } => "learned",
        },
    );
    let tests: Vec<(&Tests, String)> = replicas
        .iter()
        .map(|replica| {
            let products = sha256_of(replica.layers.numbers());
            (&replica.tests, format!("{shape}{products}"))
        })
        .collect();
    let is_passed = |(tests, test): &(&Tests, String)| tests.find(test).is_some();
    if tests.iter().all(is_passed) {
        // Kernels and algorithms are loaded on first use, and that must not fail later.
        embed(&[&tokens(3)])?;
        return Ok(true);
    }
    let is_same = is_same_in_any_batch(embed)?;
    if is_same {
        tests
            .iter()
            .for_each(|(tests, test)| tests.pass(test, "same bits"));
    }
    Ok(is_same)
}

fn is_same_in_any_batch(embed: Embed<'_>) -> Result<bool, CudaError> {
    let lengths = [3, 70, 200, 17, 64, 5, 331];
    let all: Vec<Vec<TokenId>> = lengths.iter().map(|&n| tokens(n)).collect();
    let all: Vec<&[TokenId]> = all.iter().map(Vec::as_slice).collect();
    let reversed: Vec<&[TokenId]> = all.iter().rev().copied().collect();
    let together = embed(&all)?;
    let mut other_way = embed(&reversed)?;
    other_way.reverse();
    let mut is_same = together == other_way;
    for (sequence, expected) in all.iter().zip(&together) {
        is_same &= embed(&[sequence])?.first() == Some(expected);
    }
    Ok(is_same)
}

/// A sequence of `count` tokens, of all amino acids.
fn tokens(count: usize) -> Vec<TokenId> {
    let residues = (0..count.saturating_sub(2)).map(|i| 4 + ((i * 7 + count) % 20) as TokenId);
    [CLS].into_iter().chain(residues).chain([EOS]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn a_bit_that_depends_on_the_batch_is_noticed() {
        let bits_of = |sequence: &[TokenId]| sequence.iter().map(|&t| u32::from(t)).collect();
        let same = |batch: &[&[TokenId]]| Ok(batch.iter().map(|s| bits_of(s)).collect());
        assert!(is_same_in_any_batch(&same).unwrap());
        let by_size = |batch: &[&[TokenId]]| {
            let mut bits: Vec<Vec<u32>> = batch.iter().map(|s| bits_of(s)).collect();
            if batch.len() == 1 && batch[0].len() == 331 {
                bits[0][300] ^= 1;
            }
            Ok(bits)
        };
        assert!(!is_same_in_any_batch(&by_size).unwrap());
        let calls = Cell::new(0);
        let by_time = |batch: &[&[TokenId]]| {
            calls.set(calls.get() + 1);
            Ok(batch.iter().map(|_| vec![calls.get()]).collect())
        };
        assert!(!is_same_in_any_batch(&by_time).unwrap());
    }
}
