//! Attention over long sequences on one thread, on every CPU path: head_dim 64, lengths in turns, round
//! after round, so that other work on the machine slows all of them. Prints the medians in GFLOP/s (a
//! multiplication and an addition count as two) and the median ratio to the rate of the first length.
//!
//!     cargo bench --bench long_attention
//!     cargo bench --bench long_attention -- 'avx2 f32'

use candle_core::Tensor;
use esm_embed::ops::{
    Attention, AttentionSample, CpuPath, RotaryTable, Team, WeightType, qkv_shape, tensor,
};
use rustix::time::{ClockId, clock_gettime};

/// Tokens of the sequences.
const LENGTHS: [usize; 4] = [2_000, 4_000, 8_000, 16_000];
const HEAD_DIM: usize = 64;
/// Queries that are timed.
const QUERIES: usize = 2_048;
const ROUNDS: usize = 9;

/// Time of this thread, which does not pass while others have the core.
fn seconds() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 * 1e-9
}

/// q, k and v of one head, −0.5 .. 0.5.
fn filled(path: CpuPath, tokens: usize) -> Tensor {
    let [parts, chunks, rows, lanes] = qkv_shape(path, HEAD_DIM, tokens);
    let qkv = tensor((parts, chunks, rows, lanes)).expect("memory");
    let numbers = (0..qkv.elem_count()).map(|i| (i * 7919 % 10_007) as f32 / 10_007.0 - 0.5);
    let numbers = Tensor::from_iter(numbers, qkv.device()).expect("memory");
    let numbers = numbers
        .reshape((parts, chunks, rows, lanes))
        .expect("shape");
    qkv.slice_set(&numbers, 0, 0).expect("shape");
    qkv
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// GFLOP/s for each length, round after round.
fn rates(path: CpuPath, weight_type: WeightType) -> Vec<[f64; LENGTHS.len()]> {
    let tensors = LENGTHS.map(|tokens| filled(path, tokens));
    let tables = LENGTHS.map(|tokens| RotaryTable::new(&[0.01; HEAD_DIM / 2], tokens));
    let round = |_| {
        let mut of_lengths = [0.0; LENGTHS.len()];
        for (i, &tokens) in LENGTHS.iter().enumerate() {
            let begin = seconds();
            let sample = AttentionSample {
                attention: Attention {
                    path,
                    weight_type,
                    cu_seqlens: &[0, tokens],
                    heads: 1,
                    head_dim: HEAD_DIM,
                    rotary: Some(&tables[i]),
                    team: Team::One,
                },
                queries: QUERIES,
                parts: 1,
            };
            tensors[i].inplace_op1(&sample).expect("shapes");
            let flop = 4 * HEAD_DIM * tokens * tokens.min(QUERIES);
            of_lengths[i] = flop as f64 / (seconds() - begin) / 1e9;
        }
        of_lengths
    };
    // The first round allocates memory.
    (0..=ROUNDS).map(round).skip(1).collect()
}

fn main() {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| !arg.starts_with('-'))
        .collect();
    let lengths = LENGTHS.map(|tokens| format!("{tokens:>8}")).concat();
    println!("{:16}{lengths}   last / first (min to max)", "GFLOP/s");
    for path in CpuPath::ALL.into_iter().filter(|path| path.is_available()) {
        for weight_type in [WeightType::F32, WeightType::F16] {
            let name = format!("{path} {weight_type:?}").to_lowercase();
            if !wanted.is_empty() && !wanted.iter().any(|part| name.contains(part)) {
                continue;
            }
            let rounds = rates(path, weight_type);
            let of_length = |i: usize| median(rounds.iter().map(|round| round[i]).collect());
            let medians: String = (0..LENGTHS.len())
                .map(|i| format!("{:8.1}", of_length(i)))
                .collect();
            let ratios: Vec<f64> = rounds.iter().map(|r| r[LENGTHS.len() - 1] / r[0]).collect();
            let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
            let most = ratios.iter().copied().fold(0.0, f64::max);
            println!(
                "{name:16}{medians}   {:.2} ({least:.2} to {most:.2})",
                median(ratios)
            );
        }
    }
}
