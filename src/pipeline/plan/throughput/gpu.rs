//! How long computing takes on GPUs, by samples of one block of the model.
//!
//! A pass takes `a·n + b·n²` for each block and each sequence of n tokens. Two kinds of batches, on as
//! many threads as the run will have, give a and b.

use crate::cancel::Cancel;
use crate::checkpoint::Checkpoint;
use crate::embedder::{Computed, Embedder, EmbedderOptions, EngineError, Sequence};
use crate::pipeline::input::scan::Scan;
use crate::pipeline::job::Job;
use crate::pipeline::plan::Plan;
use crate::product::{OutDtype, Product, Request};
use crate::threads::Threads;
use crate::tokenizer::{CLS, EOS, TokenId};
use anyhow::Result;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time for each of the two kinds of batches, unless one batch takes longer.
const MOMENT: Duration = Duration::from_millis(600);
/// The longest sequence of a sample.
const LONG: usize = 4096;

/// Seconds that loading and computing will take.
pub(crate) fn seconds(
    job: &Job,
    plan: &Plan,
    checkpoint: &Arc<Checkpoint>,
    scan: &Scan,
) -> Result<f64> {
    let top = plan.top();
    let options = EmbedderOptions {
        threads: Threads::new(job.compute.threads),
        max_tokens: plan.max_tokens,
        ..EmbedderOptions::new(plan.device.clone(), plan.dtype, 1)
    };
    let begin = Instant::now();
    let block = Embedder::load(checkpoint, &options)?;
    let load = begin.elapsed().as_secs_f64() * top as f64 / job.compute.threads.min(top) as f64;

    let passes = &scan.left.passes;
    let tokens = passes.tokens() as f64;
    let squares: f64 = passes.lengths().map(|(n, count)| n * n * count).sum();
    let mean = ((tokens / passes.count() as f64) as usize).clamp(3, LONG);
    let usual = match job.compute.deterministic {
        true => vec![mean],
        false => vec![mean; (plan.max_tokens / mean).max(1)],
    };
    // The mean length of the sequence that a token is in, on which attention depends.
    let typical = (squares / tokens) as usize;
    let long = vec![(4 * typical).clamp(mean, LONG.min(scan.longest_left()).max(mean))];
    let cost = fit(
        Batch::time(&block, job.compute.threads, usual)?,
        Batch::time(&block, job.compute.threads, long)?,
    );
    let work = top as f64 * (cost.0 * tokens + cost.1 * squares);
    let threads = (job.compute.threads as f64).min((passes.count() as f64).max(1.0));
    Ok(load + work / threads)
}

/// One kind of batch and how long it takes.
struct Batch {
    tokens: f64,
    squares: f64,
    seconds: f64,
}

impl Batch {
    /// Mean time of one batch when every thread works on such batches.
    fn time(block: &Embedder, threads: usize, lengths: Vec<usize>) -> Result<Batch> {
        let ids: Vec<Vec<TokenId>> = lengths.iter().map(|&length| tokens(length)).collect();
        let sequences: Vec<Sequence<'_>> = ids
            .iter()
            .map(|tokens| Sequence {
                tokens,
                windows: &[],
            })
            .collect();
        let request = Request::new([Product::Residues { layer: 1 }], OutDtype::F32);
        let cancel = Cancel::default();
        let once = || {
            let out = &mut |_: Computed<'_>| ControlFlow::Continue(());
            block.embed(&sequences, &request, &cancel, out)
        };
        let work = || -> Result<(f64, u32), EngineError> {
            // The first run fills caches and buffers.
            once()?;
            let begin = Instant::now();
            let mut count = 0;
            while count == 0 || begin.elapsed() < MOMENT {
                once()?;
                count += 1;
            }
            Ok((begin.elapsed().as_secs_f64(), count))
        };
        let times = std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let mut times = vec![work()];
            times.extend(others.into_iter().filter_map(|thread| thread.join().ok()));
            times.into_iter().collect::<Result<Vec<_>, _>>()
        })?;
        let seconds: f64 = times.iter().map(|(seconds, _)| seconds).sum();
        let count: u32 = times.iter().map(|(_, count)| count).sum();
        Ok(Batch {
            tokens: lengths.iter().sum::<usize>() as f64,
            squares: lengths.iter().map(|&length| (length as f64).powi(2)).sum(),
            seconds: seconds / f64::from(count.max(1)),
        })
    }
}

/// Seconds for a token and for the square of a length, neither below zero.
fn fit(usual: Batch, long: Batch) -> (f64, f64) {
    let determinant = usual.tokens * long.squares - long.tokens * usual.squares;
    let square = (usual.tokens * long.seconds - long.tokens * usual.seconds) / determinant;
    if !square.is_finite() || square <= 0.0 {
        return (usual.seconds / usual.tokens, 0.0);
    }
    let token = (usual.seconds - square * usual.squares) / usual.tokens;
    (token.max(0.0), square)
}

/// A sequence of every amino acid in turn.
fn tokens(length: usize) -> Vec<TokenId> {
    let residues = (0..length.saturating_sub(2)).map(|i| 4 + (i % 20) as TokenId);
    [CLS].into_iter().chain(residues).chain([EOS]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(lengths: &[f64], cost: (f64, f64)) -> Batch {
        let tokens: f64 = lengths.iter().sum();
        let squares: f64 = lengths.iter().map(|length| length * length).sum();
        Batch {
            tokens,
            squares,
            seconds: cost.0 * tokens + cost.1 * squares,
        }
    }

    #[test]
    fn two_kinds_of_batches_give_both_costs() {
        let cost = (0.25, 0.125);
        let found = fit(batch(&[8.0, 8.0], cost), batch(&[32.0], cost));
        assert_eq!(found, cost);
        // One kind does not tell anything about squares.
        let found = fit(batch(&[8.0], (0.25, 0.0)), batch(&[8.0], (0.25, 0.0)));
        assert_eq!(found, (0.25, 0.0));
        // Noise may go below zero.
        let found = fit(batch(&[8.0, 8.0], (1.0, 0.0)), batch(&[32.0], (0.5, 0.0)));
        assert_eq!(found, (1.0, 0.0));
    }

    #[test]
    fn a_sequence_of_a_given_length() {
        assert_eq!(tokens(5), [0, 4, 5, 6, 2]);
        assert_eq!(tokens(24)[21..], [4, 5, 2]);
    }
}
