//! How long computing takes on the CPU: what its passes cost, by samples of them.

use super::probe::{self, SampleSizes};
use super::speeds::{Speeds, shared_out};
use super::workers;
use crate::batching;
use crate::checkpoint::Checkpoint;
use crate::embedder::shared_from;
use crate::pipeline::checksum_cache::ChecksumCache;
use crate::pipeline::input::passes::Passes;
use crate::pipeline::input::scan::Scan;
use crate::pipeline::job::{Caches, Job};
use crate::pipeline::plan::Plan;
use crate::pipeline::plan::batches::{Batching, LEAST_TOKENS};
use anyhow::Result;

/// Passes that are put into batches one by one; of more, only sums are used.
const FEW: u64 = 16_384;
/// Tokens beyond which linear layers do not get faster: those that are computed as one block.
const FULL: f64 = 504.0;

/// Time to read and check a block, as a share of the time to load it.
const READING_SHARE: f64 = 0.3;

/// Seconds that loading and computing will take.
pub(super) fn seconds(
    job: &Job,
    caches: &Caches,
    plan: &Plan,
    checkpoint: &Checkpoint,
    scan: &Scan,
) -> Result<f64> {
    let batches = Batches::new(job, plan, &scan.left.passes);
    let sizes = SampleSizes {
        workers: workers(job.compute.threads),
        passes: batches.sizes(),
        lengths: lengths(&scan.left.passes),
        is_shared: job.compute.threads > 1,
    };
    let speeds = probe::speeds(plan, checkpoint, &sizes)?;
    let hashed = unknown_bytes(caches.checksums.as_ref(), checkpoint) as f64 / speeds.hashing;
    let computing = batches.seconds(plan.top(), &speeds, hashed);
    Ok(loading(job, plan, checkpoint, &speeds) + computing)
}

/// Bytes of the model's files whose checksums are not cached: one thread reads them while the others
/// embed.
fn unknown_bytes(checksums: Option<&ChecksumCache>, checkpoint: &Checkpoint) -> u64 {
    let files = checkpoint.files().iter();
    let stamps = files.filter_map(|path| checkpoint.stamp(path));
    let bytes = stamps.map(|stamp| {
        let known = checksums.and_then(|cache| cache.find(&stamp));
        if known.is_some() { 0 } else { stamp.bytes }
    });
    bytes.sum()
}

fn loading(job: &Job, plan: &Plan, checkpoint: &Checkpoint, speeds: &Speeds) -> f64 {
    let (top, all) = (plan.top(), checkpoint.config().layers);
    let rounds = top.div_ceil(workers(job.compute.threads).min(top.max(1)));
    // Blocks above the top are only read and checked.
    let others = all.saturating_sub(top) as f64 * READING_SHARE;
    speeds.load_fixed + speeds.load_block * (rounds as f64 + others)
}

/// The forward passes of a run.
struct Batches {
    alone: Alone,
    /// (Tokens, number) of sequences that all threads share.
    shared: Vec<(f64, f64)>,
}

/// Passes on one thread each.
enum Alone {
    /// Lengths of the sequences of each pass, in the order in which they are taken.
    Few(Vec<Vec<usize>>),
    /// (Tokens, number) of sequences, and the tokens of one pass.
    Many(Vec<(f64, f64)>, f64),
    /// (Tokens, number) of sequences in separate passes.
    OneEach(Vec<(f64, f64)>),
}

impl Batches {
    fn new(job: &Job, plan: &Plan, passes: &Passes) -> Batches {
        let limit = match job.compute.threads {
            0 | 1 => f64::INFINITY,
            _ => shared_from(plan.max_tokens) as f64,
        };
        let (alone, shared): (Vec<_>, Vec<_>) =
            passes.lengths().partition(|&(tokens, _)| tokens <= limit);
        let alone = match passes.count() {
            0..=FEW => {
                let each = |&(tokens, count): &(f64, f64)| {
                    std::iter::repeat_n(tokens.round() as usize, count.round() as usize)
                };
                let lengths: Vec<usize> = alone.iter().flat_map(each).collect();
                let budget = Batching {
                    max_tokens: plan.max_tokens,
                    one_each: job.compute.deterministic,
                    threads: job.compute.threads,
                    least: LEAST_TOKENS,
                }
                .budget(passes.tokens() as usize);
                let batches = batching::batches(&lengths, budget, job.compute.deterministic);
                let lengths = |batch: Vec<usize>| {
                    batch
                        .into_iter()
                        .filter_map(|i| lengths.get(i).copied())
                        .collect()
                };
                Alone::Few(batches.into_iter().map(lengths).collect())
            }
            _ if job.compute.deterministic => Alone::OneEach(alone),
            _ => Alone::Many(alone, plan.max_tokens as f64),
        };
        Batches { alone, shared }
    }

    /// Sizes of passes whose linear layers are sampled: the mean one, and the largest one if it is much
    /// larger.
    fn sizes(&self) -> Vec<usize> {
        let mean = |lengths: &[(f64, f64)]| {
            let tokens: f64 = lengths.iter().map(|(tokens, count)| tokens * count).sum();
            tokens / lengths.iter().map(|(_, count)| count).sum::<f64>()
        };
        let (usual, largest) = match &self.alone {
            Alone::Few(batches) => {
                let sizes = batches.iter().map(|batch| batch.iter().sum::<usize>());
                let tokens: usize = sizes.clone().sum();
                let usual = tokens as f64 / batches.len() as f64;
                (usual, sizes.max().unwrap_or(0) as f64)
            }
            Alone::Many(_, tokens) => (*tokens, *tokens),
            Alone::OneEach(lengths) => {
                let largest = lengths.last().map_or(0.0, |(tokens, _)| *tokens);
                (mean(lengths), largest)
            }
        };
        let longest = self.shared.last().map_or(0.0, |(tokens, _)| *tokens);
        let largest = largest.max(longest).min(FULL);
        let usual = match usual.is_finite() {
            true => usual.min(2.0 * FULL),
            false => largest,
        };
        let mut sizes = vec![usual.round().max(1.0) as usize];
        if largest > 1.5 * usual {
            sizes.push(largest.round() as usize);
        }
        sizes
    }

    /// Seconds for `top` blocks, while checksums of the model take one thread `hashing` seconds.
    fn seconds(&self, top: usize, speeds: &Speeds, hashing: f64) -> f64 {
        let workers = speeds.workers as f64;
        let sum = |lengths: &[(f64, f64)], cost: &dyn Fn(f64) -> f64| -> f64 {
            lengths
                .iter()
                .map(|&(tokens, count)| count * cost(tokens))
                .sum()
        };
        let whole = |tokens| speeds.linear(tokens) + speeds.attention(tokens);
        let shared = sum(&self.shared, &whole) / workers;
        let alone = match &self.alone {
            Alone::Few(batches) => {
                let pass = |batch: &Vec<usize>| {
                    let attention = batch.iter().map(|&n| speeds.attention(n as f64));
                    speeds.linear(batch.iter().sum::<usize>() as f64) + attention.sum::<f64>()
                };
                shared_out(batches.iter().map(pass), speeds.workers)
            }
            Alone::OneEach(lengths) => sum(lengths, &whole) / workers,
            Alone::Many(lengths, each) => {
                let linear = speeds.linear(*each) / each;
                sum(lengths, &|n| n * linear + speeds.attention(n)) / workers
            }
        };
        let embedding = top as f64 * (shared + alone);
        // The thread that takes checksums shares the processors with those that embed.
        (embedding + hashing / workers).max(hashing)
    }
}

/// Lengths of sequences whose attention is sampled: those between which most of the work is, and the
/// longest.
fn lengths(passes: &Passes) -> Vec<usize> {
    let work = |(tokens, count): (f64, f64)| tokens * tokens * count;
    let all: f64 = passes.lengths().map(work).sum();
    let mut lengths: Vec<usize> = Vec::new();
    let mut done = 0.0;
    let mut marks = [0.1, 0.4, 0.8, 1.0].iter().peekable();
    for length in passes.lengths() {
        done += work(length);
        let is_last = |mark: &&f64| done >= **mark * all * (1.0 - 1e-9);
        if marks.next_if(is_last).is_some() {
            while marks.next_if(is_last).is_some() {}
            lengths.push(length.0.round() as usize);
        }
    }
    // Nearly equal lengths cost nearly the same.
    let mut kept: Vec<usize> = Vec::new();
    for length in lengths.into_iter().rev() {
        if kept.last().is_none_or(|&longer| length * 5 < longer * 4) {
            kept.push(length);
        }
    }
    kept.reverse();
    kept
}

#[cfg(test)]
mod tests {
    use super::super::speeds::{AttentionTime, LinearTime};
    use super::*;

    fn passes(lengths: impl IntoIterator<Item = (usize, usize)>) -> Passes {
        let mut passes = Passes::default();
        for (tokens, count) in lengths {
            (0..count).for_each(|_| passes.push(tokens));
        }
        passes
    }

    /// One second for a token, and a hundredth for a pair of them.
    fn speeds(workers: usize) -> Speeds {
        Speeds {
            workers,
            load_fixed: 0.0,
            load_block: 0.0,
            linear: vec![LinearTime {
                tokens: 100.0,
                seconds: 100.0,
            }],
            attention: vec![AttentionTime {
                length: 100.0,
                seconds: 100.0,
            }],
            hashing: 1.0,
        }
    }

    #[test]
    fn lengths_with_most_of_the_work_are_sampled() {
        assert_eq!(lengths(&passes([(168_002, 1)])), [168_002]);
        assert_eq!(lengths(&passes([(300, 50)])), [300]);
        assert_eq!(lengths(&passes([(12, 900), (40_002, 1)])), [40_002]);
        let usual = passes((50..2000).map(|n| (n, 1)));
        assert_eq!(lengths(&usual), [928, 1473, 1999]);
        assert_eq!(lengths(&Passes::default()), Vec::<usize>::new());
    }

    #[test]
    fn time_of_passes_on_several_threads() {
        let few = Batches {
            alone: Alone::Few(vec![vec![100], vec![60, 40]]),
            shared: vec![(1000.0, 2.0)],
        };
        assert_eq!(few.sizes(), [100, 504]);
        // 200 s and 100 + 36 + 16 s of two threads, and 2 · 11,000 s shared by them.
        assert_eq!(few.seconds(1, &speeds(2), 0.0).round(), 11_200.0);
        assert_eq!(few.seconds(3, &speeds(2), 100.0).round(), 33_650.0);
        assert_eq!(few.seconds(1, &speeds(1), 0.0).round(), 22_352.0);
        assert_eq!(few.seconds(1, &speeds(2), 50_000.0), 50_000.0);

        let many = Batches {
            alone: Alone::Many(vec![(10.0, 1000.0), (100.0, 10.0)], 1024.0),
            shared: Vec::new(),
        };
        assert_eq!(many.sizes(), [1008]);
        // 11,000 tokens, and 1,000 and 1,000 s for pairs.
        assert_eq!(many.seconds(1, &speeds(4), 0.0).round(), 13_000.0 / 4.0);
        let each = Batches {
            alone: Alone::OneEach(vec![(10.0, 1000.0), (100.0, 10.0)]),
            shared: Vec::new(),
        };
        assert_eq!(each.sizes(), [11, 100]);
        assert_eq!(each.seconds(1, &speeds(1), 0.0).round(), 13_000.0);
    }
}
