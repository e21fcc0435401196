//! Measures this machine: one block of the model and a few heads of attention run for a moment, on as
//! many threads as can work at the same time.
//!
//! Time and memory are bounded for any model and input: a sample is never larger than what the run
//! itself holds, and is made smaller until several of them take less than a second.

use super::samples::{Samples, Stopwatch};
use super::speeds::{AttentionTime, LinearTime, Speeds};
use crate::checkpoint::{Checkpoint, EsmConfig, Positions};
use crate::embedder::TEAM_TOKENS;
use crate::model::{BlockSample, Esm, LoadOptions, Packed};
use crate::ops::{self, AttentionSample, CpuPath, RotaryTable, Team, WeightType};
use crate::pipeline::plan::Plan;
use crate::threads::Threads;
use crate::tokenizer::TokenId;
use anyhow::Result;
use candle_core::Tensor;
use rayon::ThreadPool;
use sha2::{Digest, Sha256};
use std::time::{Duration, Instant};

/// Time for one kind of sample: twice this if few samples fit, more if a single one takes longer.
const MOMENT: Duration = Duration::from_millis(300);
/// Time of one sample, if a smaller one can be made: several are taken.
const SAMPLE: Duration = Duration::from_millis(400);
/// The same for a part of attention over a long sequence.
const PART: Duration = Duration::from_millis(50);
/// Tokens × D² of the first, small pass through a block: 64 tokens of 650M, which take a tenth of a
/// second.
const FIRST: usize = 64 * 1280 * 1280;
/// Queries of a part, at least: the kernel takes up to this many at a time.
const QUERIES: usize = ops::QUERY_GROUP;
/// The longest sequence that is sampled: longer ones exceed every cache.
const LONGEST: usize = 1 << 18;
/// Tokens of one sequence in a sample of the linear layers: learned positions end soon after 1,000.
const SEQUENCE: usize = 512;

/// The sizes of samples.
pub struct SampleSizes {
    /// Threads that can work at the same time.
    pub workers: usize,
    /// Tokens of passes through the linear layers, shortest first.
    pub passes: Vec<usize>,
    /// Lengths of sequences, in tokens, shortest first.
    pub lengths: Vec<usize>,
    /// Whether all threads share a long sequence.
    pub is_shared: bool,
}

/// Measures this machine with samples of these sizes.
///
/// # Errors
/// A checkpoint that is damaged where samples need it, or too little memory.
pub fn speeds(plan: &Plan, checkpoint: &Checkpoint, asked: &SampleSizes) -> Result<Speeds> {
    let threads = Threads::default();
    let options = |top| LoadOptions {
        path: plan.device.path,
        weight_type: plan.dtype.weight_type(),
        top,
        kept_tokens: 0,
        threads: &threads,
    };
    let load_fixed = time_load(checkpoint, &options(0))?;
    let load_block = (time_load(checkpoint, &options(1))? - load_fixed).max(0.0);
    let block = Esm::probe(checkpoint, &options(1))?;

    let mut linear = Vec::new();
    for &tokens in &asked.passes {
        linear.push(time_linear(&block, asked.workers, tokens)?);
    }
    drop(block);
    let config = checkpoint.config();
    let pool = match asked.workers {
        0 | 1 => None,
        workers => Some(ops::thread_pool(workers)?),
    };
    let mut attention = Vec::new();
    for &length in &asked.lengths {
        let heads = Heads::new(config, &options(0), pool.as_ref());
        attention.push(heads.time(length.min(LONGEST), asked.is_shared)?);
    }
    Ok(Speeds {
        workers: asked.workers.max(1),
        load_fixed,
        load_block,
        linear,
        attention,
        hashing: time_hashing(),
    })
}

/// The shortest time to load a part of the model: files may not be in the system's cache at first,
/// and other programs may be busy.
fn time_load(checkpoint: &Checkpoint, options: &LoadOptions<'_>) -> Result<f64> {
    let start = Instant::now();
    let mut least = f64::INFINITY;
    while least.is_infinite() || start.elapsed() < MOMENT / 3 {
        let begin = Instant::now();
        drop(Esm::probe(checkpoint, options)?);
        least = least.min(begin.elapsed().as_secs_f64());
    }
    Ok(least)
}

/// One pass of up to `tokens` tokens through the linear layers of a block while all workers run such
/// passes.
fn time_linear(block: &Esm, workers: usize, tokens: usize) -> Result<LinearTime> {
    let dim = block.config().dim.max(1);
    let first = (FIRST / (dim * dim)).clamp(8, 64).min(tokens);
    let once = |sample: &BlockSample<'_>| {
        let watch = Stopwatch::of_thread();
        sample.run_linear()?;
        Ok::<_, candle_core::Error>(watch.seconds())
    };
    let sample = block.block_sample(&batch(first))?;
    let each = Samples::take(MOMENT / 6, || once(&sample))?.seconds();
    drop(sample);
    let fits = SAMPLE.as_secs_f64() / each.max(1e-9) * first as f64;
    let tokens = (fits as usize).clamp(first, tokens);

    let batch = batch(tokens);
    let samples = (0..workers.max(1)).map(|_| block.block_sample(&batch));
    let samples = samples.collect::<candle_core::Result<Vec<_>>>()?;
    let work = |sample: &BlockSample<'_>| -> candle_core::Result<f64> {
        let times = Samples::take(MOMENT, || once(sample))?;
        Team::One.release();
        Ok(times.seconds())
    };
    let times = std::thread::scope(|scope| {
        let threads: Vec<_> = samples.iter().map(|s| scope.spawn(|| work(s))).collect();
        let ended = threads.into_iter().filter_map(|thread| thread.join().ok());
        ended.collect::<candle_core::Result<Vec<_>>>()
    })?;
    Team::One.release();
    Ok(LinearTime {
        tokens: tokens as f64,
        seconds: times.iter().sum::<f64>() / times.len().max(1) as f64,
    })
}

/// Sequences with `tokens` tokens in total.
fn batch(tokens: usize) -> Packed {
    let residues = (0..tokens).map(|i| 4 + (i % 20) as TokenId);
    let ids: Vec<TokenId> = residues.collect();
    Packed::new(ids.chunks(SEQUENCE))
}

/// Some heads of attention, each over one sequence.
struct Heads<'a> {
    path: CpuPath,
    weight_type: WeightType,
    is_rotary: bool,
    head_dim: usize,
    /// Of the model.
    all: usize,
    /// After this many heads, their places in vector lanes repeat.
    pattern: usize,
    pool: Option<&'a ThreadPool>,
}

impl<'a> Heads<'a> {
    fn new(
        config: &EsmConfig,
        options: &LoadOptions<'_>,
        pool: Option<&'a ThreadPool>,
    ) -> Heads<'a> {
        let LoadOptions {
            path, weight_type, ..
        } = *options;
        let lanes = ops::qkv_shape(path, 1, 1)[3];
        let head_dim = config.head_dim().max(1);
        let pattern = (1..=lanes).find(|heads| (heads * head_dim).is_multiple_of(lanes));
        Heads {
            path,
            weight_type,
            is_rotary: matches!(config.positions, Positions::Rotary),
            head_dim,
            all: config.heads,
            pattern: pattern.unwrap_or(1).min(config.heads.max(1)),
            pool,
        }
    }

    /// Seconds of one thread for attention over one sequence of `length` tokens while all work on it.
    fn time(&self, length: usize, is_shared: bool) -> Result<AttentionTime> {
        let is_long = length > TEAM_TOKENS;
        // A run computes short sequences on one thread each: waking others would take longer.
        let pool = self.pool.filter(|_| is_long);
        let workers = pool.map_or(1, ThreadPool::current_num_threads);
        let heads = self.pattern.max(1);
        let qkv = self.qkv(heads, length)?;
        let rotary = self.is_rotary.then(|| {
            // Making a table of zero angles takes no time, and rotating by them as long as by any.
            RotaryTable::new(&vec![0.0; self.head_dim / 2], length)
        });
        // Seconds of all threads in total.
        let run = |queries: usize, parts: usize| -> Result<f64> {
            let watch = match pool {
                Some(_) => Stopwatch::of_process(workers),
                None => Stopwatch::of_thread(),
            };
            qkv.inplace_op1(&AttentionSample {
                attention: ops::Attention {
                    path: self.path,
                    weight_type: self.weight_type,
                    cu_seqlens: &[0, length],
                    heads,
                    head_dim: self.head_dim,
                    rotary: rotary.as_ref(),
                    team: pool.map_or(Team::One, Team::Pool),
                },
                queries,
                parts,
            })?;
            Ok(watch.seconds())
        };
        let all = self.all as f64;
        let seconds = match is_long {
            false => {
                let times = Samples::take(MOMENT / 4, || run(usize::MAX, usize::MAX))?;
                times.seconds() / heads as f64 * all
            }
            true => {
                // Every worker has a part, and the parts do not overlap.
                let part = |blocks: usize, moment| -> Result<f64> {
                    let queries = QUERIES * blocks;
                    let parts = (heads * length.div_ceil(queries)).clamp(1, workers);
                    let times = Samples::take(moment, || run(queries, parts))?;
                    Ok(times.seconds() / parts as f64)
                };
                let few = part(1, PART)?;
                let most = (length / (QUERIES * workers)).clamp(1, 32);
                let blocks = (PART.as_secs_f64() / few.max(1e-9)) as usize;
                let blocks = blocks.clamp(1, most);
                let many = match blocks {
                    1 => few,
                    _ => part(blocks, 3 * PART)?,
                };
                let (ready, each) = line(few, many, blocks);
                // Keys are prepared once for a head, or for each part if all threads share it.
                let spans = match is_shared {
                    true => length as f64 / ops::QUERY_SPAN as f64,
                    false => 1.0,
                };
                (ready * spans + each * length as f64) * all
            }
        };
        let length = length as f64;
        self.release();
        Ok(AttentionTime { length, seconds })
    }

    /// q, k and v of some heads over `length` tokens, filled with small numbers.
    fn qkv(&self, heads: usize, length: usize) -> Result<Tensor> {
        let [a, b, c, d] = ops::qkv_shape(self.path, heads * self.head_dim, length);
        let qkv = ops::tensor((a, b, c, d))?;
        // Zeros might be faster than other numbers.
        let numbers: Vec<f32> = (0..b * c * d)
            .map(|i| (i % 251) as f32 / 251.0 - 0.5)
            .collect();
        let numbers = Tensor::from_vec(numbers, (1, b, c, d), qkv.device())?;
        for part in 0..a {
            qkv.slice_set(&numbers, 0, part)?;
        }
        Ok(qkv)
    }

    fn release(&self) {
        Team::One.release();
        if let Some(pool) = self.pool {
            Team::Pool(pool).release();
        }
    }
}

/// Seconds before the first query and for each one, from one block of queries and from several.
fn line(few: f64, many: f64, blocks: usize) -> (f64, f64) {
    let queries = (QUERIES * blocks) as f64;
    if blocks < 2 || many <= few {
        // The two cannot be told apart.
        return (0.0, many / queries);
    }
    let each = (many - few) / (queries - QUERIES as f64);
    ((few - each * QUERIES as f64).max(0.0), each)
}

/// Bytes per second of one thread for checksums.
fn time_hashing() -> f64 {
    let bytes = vec![1_u8; 1 << 18];
    let mut times = Samples::default();
    for _ in 0..8 {
        let watch = Stopwatch::of_thread();
        let mut hash = Sha256::new();
        hash.update(&bytes);
        std::hint::black_box(hash.finalize());
        times.push(watch.seconds());
    }
    bytes.len() as f64 / times.seconds().max(1e-9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_for_queries_and_before_them() {
        // 3 s, and 0.5 s for each of 128 and of 1,280.
        assert_eq!(line(67.0, 643.0, 10), (3.0, 0.5));
        assert_eq!(line(64.0, 64.0, 1), (0.0, 0.5));
        // Noise may make a sample too short.
        assert_eq!(line(80.0, 64.0, 2), (0.0, 0.25));
        assert_eq!(line(32.0, 672.0, 6), (0.0, 1.0));
    }

    /// A sample holds one head of a long sequence, on any number of threads: less than the run itself.
    #[test]
    fn samples_of_long_sequences_are_bounded() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/esm2_hd16");
        let checkpoint = Checkpoint::open(&folder).unwrap();
        let config = checkpoint.config();
        let pool = ops::thread_pool(3).unwrap();
        let threads = Threads::default();
        let options = LoadOptions {
            path: CpuPath::Portable,
            weight_type: WeightType::F32,
            top: 0,
            kept_tokens: 0,
            threads: &threads,
        };
        let heads = Heads::new(config, &options, Some(&pool));
        assert!(heads.pattern * heads.head_dim <= config.dim);
        let length = TEAM_TOKENS + 1;
        let qkv = heads.qkv(heads.pattern, length).unwrap();
        let run: usize = ops::qkv_shape(CpuPath::Portable, config.dim, length)
            .iter()
            .product();
        assert!(qkv.elem_count() <= run);
        for (length, is_shared) in [(1, false), (100, false), (length, true)] {
            let cost = heads.time(length, is_shared).unwrap();
            assert_eq!(cost.length, length as f64);
            assert!(cost.seconds.is_finite() && cost.seconds >= 0.0);
        }
    }

    #[test]
    fn a_batch_has_the_given_tokens() {
        for tokens in [1, 64, 512, 1300] {
            let batch = batch(tokens);
            assert_eq!(batch.token_ids().len(), tokens);
            assert!(batch.longest() <= SEQUENCE);
        }
    }
}
