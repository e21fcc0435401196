//! From attention maps to contacts, without ever holding all maps.
//!
//! For a sequence of n residues, `A` is the map of one head without the rows and columns of `<cls>`
//! and `<eos>`, `[n, n]`, so its rows do not sum to 1. ESM symmetrises each map, corrects it for the
//! average product, and takes a logistic regression over the C maps of all layers:
//!
//! ```text
//! S = A + Aᵀ    r = row sums of S    t = sum of S    S′ = S − r·rᵀ/t
//! contact = sigmoid(Σ_c w_c·S′_c + b)
//! ```
//!
//! All of that is linear in the maps except the correction, which needs their sums only:
//!
//! ```text
//! M = Σ_c w_c·A_c    contact = sigmoid(M + Mᵀ − Σ_c (w_c/t_c)·r_c·r_cᵀ + b)
//! ```
//!
//! Sums are in f64 and in a fixed order.

use crate::checkpoint::{Checkpoint, CheckpointError, ContactRegression};
use crate::ops::Team;

/// The regression from attention maps to contacts.
#[derive(Clone, Debug, PartialEq)]
pub struct ContactHead {
    heads: usize,
    /// By layer, then head.
    weights: Vec<f32>,
    bias: f32,
}

impl ContactHead {
    /// For blocks with `heads` heads; one weight for each head of each block.
    pub fn new(heads: usize, weights: Vec<f32>, bias: f32) -> ContactHead {
        ContactHead {
            heads,
            weights,
            bias,
        }
    }

    /// The regression of a checkpoint.
    ///
    /// # Errors
    /// It has none.
    pub fn load(checkpoint: &Checkpoint) -> Result<ContactHead, CheckpointError> {
        let ContactRegression { weights, bias } = checkpoint.contact_regression()?;
        Ok(ContactHead::new(checkpoint.config().heads, weights, bias))
    }

    /// The bias.
    pub fn bias(&self) -> f32 {
        self.bias
    }

    /// Whether the map of a head counts: most weights of the published regressions are zero.
    pub fn needs(&self, block: usize, head: usize) -> bool {
        self.weight(block, head) != 0.0
    }

    /// The weight of a head of a block, both counted from 0.
    pub fn weight(&self, block: usize, head: usize) -> f32 {
        let at = block * self.heads + head;
        self.weights.get(at).copied().unwrap_or(0.0)
    }

    /// Maps that count.
    pub fn channels(&self) -> usize {
        self.weights.iter().filter(|weight| **weight != 0.0).count()
    }

    /// The block after which no map counts, counted from 1.
    pub fn top_layer(&self) -> usize {
        let last = self.weights.iter().rposition(|weight| *weight != 0.0);
        last.map_or(0, |at| at / self.heads.max(1) + 1)
    }
}

/// Rows of a map that are summed together.
const ROWS: usize = 256;
/// Rows whose corrections are computed together.
const BLOCK: usize = 4;
/// Partial sums of a row.
const LANES: usize = 8;

/// What is kept of the attention maps of one sequence of n residues.
#[derive(Clone, Debug)]
pub struct ContactSums {
    residues: usize,
    /// M, `[n, n]`.
    weighted: Vec<f64>,
    /// r of each map.
    sums: Vec<Vec<f64>>,
    /// w/t of each map.
    factors: Vec<f64>,
}

/// Some rows of a map, and the sums over them.
struct Part<'a> {
    /// Of the map, `[rows, n + 2]`.
    rows: &'a [f32],
    /// Of M, `[rows, n]`.
    weighted: &'a mut [f64],
    /// Sums over residue columns, `[rows]`.
    of_rows: &'a mut [f64],
    /// Sums over these rows, `[n]`.
    of_columns: &'a mut [f64],
}

impl ContactSums {
    /// For a sequence of `residues` residues.
    pub fn new(residues: usize) -> ContactSums {
        ContactSums {
            residues,
            weighted: vec![0.0; residues * residues],
            sums: Vec::new(),
            factors: Vec::new(),
        }
    }

    /// Bytes for a sequence of `residues` residues and a regression with `channels` maps that count:
    /// of the sums, and of the contacts.
    pub fn bytes(residues: usize, channels: usize) -> u64 {
        let n = residues as u64;
        let sums = n.saturating_mul(channels as u64).saturating_mul(8);
        n.saturating_mul(n)
            .saturating_mul(8 + 4)
            .saturating_add(sums)
    }

    /// Adds the map of a head, `[n + 2, n + 2]`. Maps come in a fixed order.
    pub fn add(&mut self, weight: f32, map: &[f32], team: Team<'_>) {
        let n = self.residues;
        let tokens = n + 2;
        let residue_rows = map.get(tokens..tokens * (n + 1)).unwrap_or_default();
        let mut sums = vec![0.0; n];
        let mut of_columns = vec![0.0; n.div_ceil(ROWS) * n];
        let parts = residue_rows
            .chunks(ROWS * tokens)
            .zip(self.weighted.chunks_mut(ROWS * n))
            .zip(sums.chunks_mut(ROWS))
            .zip(of_columns.chunks_mut(n))
            .map(|(((rows, weighted), of_rows), of_columns)| Part {
                rows,
                weighted,
                of_rows,
                of_columns,
            });
        let weight = f64::from(weight);
        team.each(parts.collect(), |part: Part<'_>| part.add(weight, tokens));
        for part in of_columns.chunks(n) {
            for (sum, x) in sums.iter_mut().zip(part) {
                *sum += x;
            }
        }
        let total: f64 = sums.iter().sum();
        // Attention to `<cls>` and `<eos>` alone leaves nothing to correct.
        let factor = if total > 0.0 { weight / total } else { 0.0 };
        self.factors.push(factor);
        self.sums.push(sums);
    }

    /// The contacts, `[n, n]`.
    pub fn finish(self, bias: f32, team: Team<'_>) -> Vec<f32> {
        let n = self.residues;
        let mut contacts = vec![0.0; n * n];
        let parts = contacts.chunks_mut(BLOCK * n).enumerate();
        team.each(parts.collect(), |(block, rows): (usize, &mut [f32])| {
            self.upper(block * BLOCK, rows, bias);
        });
        for i in 0..n {
            for k in 0..i {
                contacts[i * n + k] = contacts[k * n + i];
            }
        }
        contacts
    }

    /// Row `first` and those after it, from the diagonal's block on.
    fn upper(&self, first: usize, rows: &mut [f32], bias: f32) {
        let n = self.residues;
        let mut corrections = [const { Vec::new() }; BLOCK];
        for correction in &mut corrections {
            correction.resize(n - first, 0.0);
        }
        for (sums, factor) in self.sums.iter().zip(&self.factors) {
            let sums = &sums[first..];
            for (correction, at) in corrections.iter_mut().zip(sums) {
                let scale = factor * at;
                for (sum, r) in correction.iter_mut().zip(sums) {
                    *sum += scale * r;
                }
            }
        }
        for ((i, row), correction) in (first..).zip(rows.chunks_mut(n)).zip(&corrections) {
            for k in i..n {
                let both = self.weighted[i * n + k] + self.weighted[k * n + i];
                let logit = both - correction[k - first] + f64::from(bias);
                row[k] = (1.0 / (1.0 + libm::exp(-logit))) as f32;
            }
        }
    }
}

impl Part<'_> {
    fn add(self, weight: f64, tokens: usize) {
        let n = tokens - 2;
        let rows = self.rows.chunks_exact(tokens);
        let weighted = self.weighted.chunks_exact_mut(n);
        for ((row, weighted), sum) in rows.zip(weighted).zip(self.of_rows) {
            let row = &row[1..=n];
            for (m, p) in weighted.iter_mut().zip(row) {
                *m += weight * f64::from(*p);
            }
            for (sum, p) in self.of_columns.iter_mut().zip(row) {
                *sum += f64::from(*p);
            }
            *sum = row_sum(row);
        }
    }
}

/// The sum in a fixed number of partial sums, which the compiler can keep in vectors.
fn row_sum(row: &[f32]) -> f64 {
    let (chunks, rest) = row.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for chunk in chunks {
        for (sum, p) in sums.iter_mut().zip(chunk) {
            *sum += f64::from(*p);
        }
    }
    let all: f64 = sums.iter().sum();
    rest.iter().fold(all, |sum, p| sum + f64::from(*p))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::thread_pool;

    /// Maps of `tokens` tokens whose rows sum to 1.
    fn maps(count: usize, tokens: usize) -> Vec<Vec<f32>> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut number = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f64 / (1_u64 << 24) as f64
        };
        let mut map = || {
            let mut row = || {
                let row: Vec<f64> = (0..tokens).map(|_| libm::pow(number(), 9.0)).collect();
                let sum: f64 = row.iter().sum();
                row.into_iter().map(move |x| (x / sum) as f32)
            };
            (0..tokens).flat_map(|_| row()).collect()
        };
        (0..count).map(|_| map()).collect()
    }

    /// As fair-esm's head computes it, with all maps in memory.
    fn naive(maps: &[Vec<f32>], weights: &[f32], bias: f32, n: usize) -> Vec<f64> {
        let mut logits = vec![f64::from(bias); n * n];
        for (map, w) in maps.iter().zip(weights) {
            let a = |i: usize, k: usize| f64::from(map[(i + 1) * (n + 2) + k + 1]);
            let s = |i: usize, k: usize| a(i, k) + a(k, i);
            let sum = |i: usize| (0..n).map(|k| s(i, k)).sum::<f64>();
            let sums: Vec<f64> = (0..n).map(sum).collect();
            let total: f64 = sums.iter().sum();
            for i in 0..n {
                for k in 0..n {
                    let corrected = s(i, k) - sums[i] * sums[k] / total;
                    logits[i * n + k] += f64::from(*w) * corrected;
                }
            }
        }
        logits.iter().map(|x| 1.0 / (1.0 + libm::exp(-x))).collect()
    }

    fn streamed(
        maps: &[Vec<f32>],
        weights: &[f32],
        bias: f32,
        n: usize,
        team: Team<'_>,
    ) -> Vec<f32> {
        let mut sums = ContactSums::new(n);
        for (map, weight) in maps.iter().zip(weights) {
            sums.add(*weight, map, team);
        }
        sums.finish(bias, team)
    }

    #[test]
    fn streamed_contacts_are_those_of_all_maps_together() {
        let pool = thread_pool(3).unwrap();
        for n in [1, 2, 3, 7, 33, 300, 515] {
            let weights = [3.0, -1.5, 0.25, 8.0, -4.0];
            let maps = maps(weights.len(), n + 2);
            let found = streamed(&maps, &weights, -0.7, n, Team::One);
            let wanted = naive(&maps, &weights, -0.7, n);
            for (at, (x, y)) in found.iter().zip(&wanted).enumerate() {
                assert!((f64::from(*x) - y).abs() < 1e-7, "{n}: {at}: {x} for {y}");
                assert_eq!(*x, found[at % n * n + at / n], "{n}: not symmetric");
            }
            let shared = streamed(&maps, &weights, -0.7, n, Team::Pool(&pool));
            assert_eq!(found, shared, "{n}");
        }
    }

    #[test]
    fn one_residue_has_the_contact_of_the_bias() {
        let found = streamed(&maps(2, 3), &[5.0, 9.0], 0.5, 1, Team::One);
        assert_eq!(found, [(1.0 / (1.0 + libm::exp(-0.5))) as f32]);
    }

    #[test]
    fn maps_without_attention_between_residues_give_a_number() {
        // All attention goes to `<cls>`.
        let map: Vec<f32> = (0..16).map(|i| f32::from(i % 4 == 0)).collect();
        let found = streamed(&[map], &[5.0], 0.0, 2, Team::One);
        assert_eq!(found, [0.5; 4]);
    }

    #[test]
    fn maps_that_do_not_count_are_known() {
        let head = ContactHead::new(3, vec![0.0, 0.0, 1.0, 0.0, -2.0, 0.0, 0.0, 0.0, 0.0], 0.5);
        let needed = (0..3).flat_map(|block| (0..3).map(move |h| (block, h)));
        let needed: Vec<_> = needed.filter(|&(block, h)| head.needs(block, h)).collect();
        assert_eq!(needed, [(0, 2), (1, 1)]);
        assert_eq!((head.channels(), head.top_layer()), (2, 2));
        assert_eq!(head.weight(1, 1), -2.0);
        assert_eq!(ContactSums::bytes(1000, 660), 12_000_000 + 5_280_000);
    }
}
