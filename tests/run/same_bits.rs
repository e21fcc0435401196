//! The promise: a record's bits do not depend on its neighbours, its position, the batch, the budget,
//! the number of threads or the processor, and equal those of one sequence per forward pass.

use crate::common::{Hidden, MODELS, embed, fixture, load, load_as, load_for, records};
use esm_embed::embedder::{Embedder, Sequence};
use esm_embed::ops::{CpuPath, WeightType};
use esm_embed::tokenizer::{TokenId, UnknownPolicy, tokenize};
use proptest::prelude::*;
use std::sync::OnceLock;

fn whole(tokens: &[TokenId]) -> Sequence<'_> {
    Sequence {
        tokens,
        windows: &[],
    }
}

fn bits(hidden: &Hidden) -> Vec<u32> {
    let mut all = Vec::new();
    for (bos, residues) in hidden {
        all.extend(bos.iter().chain(residues).map(|x| x.to_bits()));
    }
    all
}

/// The original example: in other tools, [short], [short, short] and [short, long] give different
/// numbers for `short`.
#[test]
fn a_short_sequence_has_the_same_bits_by_itself_twice_and_beside_a_long_one() {
    let all = records("reference/sequences.fasta");
    let tokens = |name: &str| {
        let (_, sequence) = all.iter().find(|(id, _)| id == name).unwrap();
        tokenize(sequence, UnknownPolicy::Unk).unwrap().ids
    };
    let (short, long) = (tokens("consistency_short"), tokens("consistency_long"));
    for model in MODELS {
        let embedder = load(&fixture(model), CpuPath::detect());
        let single = bits(&embed(&embedder, &[whole(&short)])[0]);
        let twice = embed(&embedder, &[whole(&short), whole(&short)]);
        let beside = embed(&embedder, &[whole(&short), whole(&long)]);
        let behind = embed(&embedder, &[whole(&long), whole(&short)]);
        for other in [&twice[0], &twice[1], &beside[0], &behind[1]] {
            assert!(bits(other) == single, "{model}");
        }
    }
}

#[test]
fn every_path_gives_the_same_bits() {
    let all: Vec<Vec<TokenId>> = AWKWARD
        .iter()
        .enumerate()
        .filter(|(_, tokens)| **tokens <= 505)
        .map(|(i, tokens)| sequence(i as u64, *tokens))
        .collect();
    let batch: Vec<_> = all.iter().map(|tokens| whole(tokens)).collect();
    for model in MODELS {
        for kind in [WeightType::F32, WeightType::F16, WeightType::Bf16] {
            let run = |path| embed(&load_as(&fixture(model), path, kind), &batch);
            let portable = run(CpuPath::Portable);
            for path in CpuPath::ALL {
                let found = path.is_available().then(|| run(path));
                for (i, (a, b)) in portable.iter().zip(found.iter().flatten()).enumerate() {
                    assert!(
                        bits(a) == bits(b),
                        "{model} {kind:?} {path}: {}",
                        all[i].len()
                    );
                }
            }
        }
    }
}

/// Records longer than a batch are shared by all threads.
#[test]
fn a_long_record_has_the_same_bits_from_one_two_and_three_threads() {
    let long = sequence(1022, 2501);
    for (model, kind) in [
        ("esm2_hd16", WeightType::F32),
        ("esm2_hd24", WeightType::F16),
        ("esm2_hd64", WeightType::F16),
        ("esm2_hd128", WeightType::Bf16),
    ] {
        let run = |threads| {
            let embedder = load_for(&fixture(model), CpuPath::detect(), kind, threads);
            bits(&embed(&embedder, &[whole(&long)])[0])
        };
        let single = run(1);
        assert!(run(2) == single, "{model}, {kind:?}, 2 threads");
        assert!(run(3) == single, "{model}, {kind:?}, 3 threads");
    }
}

/// Token counts around every boundary of the kernels' tiles and blocks.
const AWKWARD: [usize; 38] = [
    3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 31, 32, 33, 34, 35, 63, 64, 65,
    127, 128, 129, 130, 131, 255, 503, 505, 1021, 1022, 1023, 1024, 1025,
];

fn sequence(seed: u64, tokens: usize) -> Vec<TokenId> {
    let mut state = seed | 1;
    let mut all = vec![0];
    all.extend((2..tokens).map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // Residues, now and then <mask>.
        if state.is_multiple_of(61) {
            32
        } else {
            4 + (state % 25) as TokenId
        }
    }));
    all.push(2);
    all
}

fn embedders() -> &'static Vec<(String, Embedder)> {
    static ALL: OnceLock<Vec<(String, Embedder)>> = OnceLock::new();
    ALL.get_or_init(|| {
        let mut all = Vec::new();
        for model in MODELS {
            for kind in [WeightType::F32, WeightType::F16, WeightType::Bf16] {
                for path in CpuPath::ALL {
                    // One path has the bits of all: see above.
                    let is_wanted = kind == WeightType::F32 || path == CpuPath::detect();
                    if is_wanted && path.is_available() {
                        let name = format!("{model} {kind:?} {path}");
                        all.push((name, load_as(&fixture(model), path, kind)));
                    }
                }
            }
        }
        all
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_batch_gives_the_bits_of_one_sequence_at_a_time(
        which in any::<prop::sample::Index>(),
        picks in prop::collection::vec((0usize..AWKWARD.len(), any::<u64>()), 1..9),
        cut in 1usize..9,
    ) {
        let all = embedders();
        let (name, embedder) = &all[which.index(all.len())];
        // Learned positions end at 1,024 tokens.
        let most = if name.starts_with("esm1") { 1024 } else { 1025 };
        let sequences: Vec<Vec<TokenId>> = picks
            .iter()
            .map(|&(i, seed)| sequence(seed, AWKWARD[i].min(most)))
            .collect();
        let batch: Vec<_> = sequences.iter().map(|s| whole(s)).collect();
        let single: Vec<_> = batch.iter().map(|s| bits(&embed(embedder, &[*s])[0])).collect();

        let together = embed(embedder, &batch);
        for (i, hidden) in together.iter().enumerate() {
            prop_assert!(bits(hidden) == single[i], "{name}: {} tokens", sequences[i].len());
        }
        // With other neighbours, in reverse order, from two threads at once.
        let (left, right) = batch.split_at(cut.min(batch.len()));
        let run = |part: &[Sequence<'_>]| -> Vec<Vec<u32>> {
            let reversed: Vec<_> = part.iter().rev().copied().collect();
            embed(embedder, &reversed).iter().rev().map(bits).collect()
        };
        let (first, second) = std::thread::scope(|scope| {
            let other = scope.spawn(|| run(right));
            (run(left), other.join().unwrap())
        });
        for (i, found) in first.iter().chain(&second).enumerate() {
            prop_assert!(*found == single[i], "{name}: {} tokens, two threads", sequences[i].len());
        }
    }
}

/// A record of several windows: the blend has the same bits whatever the budget.
#[test]
fn windows_blend_to_the_same_bits_under_any_budget() {
    use esm_embed::checkpoint::Checkpoint;
    use esm_embed::device::{Device, Dtype};
    use esm_embed::embedder::EmbedderOptions;
    use esm_embed::windows::windows;
    use std::sync::Arc;
    let tokens = sequence(7, 700);
    let ranges = windows(698, 200, 60);
    assert_eq!(ranges.len(), 5);
    let checkpoint = Arc::new(Checkpoint::open(&fixture("esm2_hd16")).unwrap());
    let run = |max_tokens: usize| {
        let options = EmbedderOptions {
            max_tokens,
            ..EmbedderOptions::new(Device::cpu(CpuPath::detect()), Dtype::F32, 2)
        };
        let embedder = Embedder::load(&checkpoint, &options).unwrap();
        let sequence = Sequence {
            tokens: &tokens,
            windows: &ranges,
        };
        embed(&embedder, &[sequence]).remove(0)
    };
    let one_each = run(0);
    for budget in [300, 500, 5000] {
        assert!(bits(&run(budget)) == bits(&one_each), "{budget}");
    }
    // Residues that only the first window covers equal those of that window by itself.
    let mut first = tokens[..201].to_vec();
    first.push(2);
    let embedder = load(&fixture("esm2_hd16"), CpuPath::detect());
    let single = &embed(&embedder, &[whole(&first)])[0];
    let dim = 32;
    for layer in 0..3 {
        assert_eq!(one_each[layer].0, single[layer].0);
        assert_eq!(one_each[layer].1[..140 * dim], single[layer].1[..140 * dim]);
    }
    // In an overlap, the row is the documented weighted mean of the two windows' rows.
    let mut second = vec![0];
    second.extend(&tokens[1 + 140..1 + 340]);
    second.push(2);
    let next = &embed(&embedder, &[whole(&second)])[0];
    let residue = 150;
    for d in 0..dim {
        let (a, b) = (
            single[2].1[residue * dim + d],
            next[2].1[(residue - 140) * dim + d],
        );
        let (wa, wb) = ((200 - residue) as f32, (residue - 140 + 1) as f32);
        let want = (a * wa + b * wb) / (wa + wb);
        assert!((one_each[2].1[residue * dim + d] - want).abs() < 1e-5);
    }
}
