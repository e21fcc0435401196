//! Our numbers against fair-esm's: every fixture, every layer, residue rows, means and `<cls>`.
//!
//! Bounds: max |Δ| ≤ 2e-5 on values of O(1), scaled by the layer's magnitude beyond that, and relative
//! L2 ≤ 2e-6.

use crate::common::{self, Reference, assert_parity, embed, fixture, load, load_as, records};
use esm_embed::embedder::Sequence;
use esm_embed::ops::{CpuPath, WeightType};
use esm_embed::tokenizer::{UnknownPolicy, tokenize};

const MODELS: [(&str, &str); 10] = [
    ("esm2_hd16", "esm2_hd16"),
    ("esm2_hd24", "esm2_hd24"),
    ("esm2_hd32", "esm2_hd32"),
    ("esm2_hd64", "esm2_hd64"),
    ("esm2_hd128", "esm2_hd128"),
    ("esm1b", "esm1b"),
    ("esm1v", "esm1v"),
    ("esm2_hd16_f16", "esm2_hd16_f16"),
    ("esm2_hd16_noinvfreq", "esm2_hd16_noinvfreq"),
    ("esm2_hd16_dplm", "esm2_hd16_dplm"),
];

/// Layouts that hold the weights of another fixture.
const LAYOUTS: [(&str, &str); 17] = [
    ("esm2_hd16_bf16", "esm2_hd16_bf16"),
    ("esm2_hd16_sharded", "esm2_hd16"),
    ("esm2_hd16_bin", "esm2_hd16"),
    ("esm2_hd16_bin_sharded", "esm2_hd16"),
    ("esm2_hd16_v5", "esm2_hd16"),
    ("esm2_hd16_v5_shared", "esm2_hd16"),
    ("esm2_hd16_noprefix", "esm2_hd16"),
    ("esm2_hd16_noprefix_v5", "esm2_hd16"),
    ("esm2_hd16_te", "esm2_hd16_noinvfreq"),
    ("esm2_hd16_te_old", "esm2_hd16_noinvfreq"),
    ("esm2_hd16_seqcls_v4", "esm2_hd16"),
    ("esm2_hd16_tokcls", "esm2_hd16"),
    ("fair_esm/esm2_hd16.pt", "esm2_hd16"),
    ("nemo/esm2_hd16.nemo", "esm2_hd16"),
    ("fair_esm/esm2_hd24.pt", "esm2_hd24"),
    ("fair_esm/esm1b.pt", "esm1b"),
    ("fair_esm/esm1v.pt", "esm1v"),
];

fn check(model: &str, reference: &str, path: CpuPath) {
    let embedder = load(&fixture(model), path);
    let reference = Reference::open(reference);
    assert!(
        reference.sequences() >= 3,
        "{model} has hardly any reference"
    );
    for k in reference.numbers() {
        let tokens = reference.tokens(k);
        let sequence = Sequence {
            tokens: &tokens,
            windows: &[],
        };
        let hidden = common::embed(&embedder, &[sequence]);
        assert_parity(&reference, k, &hidden[0], &format!("{model} single"));
    }
}

#[test]
fn every_model_equals_fair_esm_on_every_path() {
    for path in CpuPath::ALL {
        if path.is_available() {
            for (model, reference) in MODELS {
                check(model, reference, path);
            }
        }
    }
}

#[test]
fn every_layout_gives_the_numbers_of_its_model() {
    for (model, reference) in LAYOUTS {
        check(model, reference, CpuPath::detect());
    }
}

#[test]
fn batches_equal_fair_esm() {
    for (model, reference) in MODELS {
        let embedder = load(&fixture(model), CpuPath::detect());
        let reference = Reference::open(reference);
        let tokens: Vec<_> = reference.numbers().map(|k| reference.tokens(k)).collect();
        let batch: Vec<_> = tokens
            .iter()
            .map(|tokens| Sequence {
                tokens,
                windows: &[],
            })
            .collect();
        let hidden = common::embed(&embedder, &batch);
        for (k, hidden) in reference.numbers().zip(&hidden) {
            assert_parity(&reference, k, hidden, &format!("{model} in one batch"));
        }
    }
}

#[test]
fn every_reference_sequence_gives_its_tokens() {
    let reference = Reference::open("esm2_hd16");
    let records = common::records("reference/sequences.fasta");
    assert_eq!(records.len(), reference.sequences());
    for (k, (id, sequence)) in records.iter().enumerate() {
        let tokens = tokenize(sequence, UnknownPolicy::Unk).unwrap();
        assert_eq!(tokens.ids, reference.tokens(k), "{id}");
    }
}

/// `dtype=f16` computes in fixed point: within 1e-3 for each sequence, model and layer.
#[test]
fn fixed_point_arithmetic_stays_near_f32() {
    let mut worst = 0.0f64;
    for model in [
        "esm2_hd16",
        "esm2_hd24",
        "esm2_hd32",
        "esm2_hd64",
        "esm2_hd128",
        "esm1b",
    ] {
        let exact = load(&fixture(model), CpuPath::detect());
        let half = load_as(&fixture(model), CpuPath::detect(), WeightType::F16);
        for (id, sequence) in records("reference/sequences.fasta") {
            let Ok(tokens) = tokenize(&sequence, UnknownPolicy::Unk) else {
                continue;
            };
            if model == "esm1b" && tokens.ids.len() > 1024 {
                continue;
            }
            let one = [Sequence {
                tokens: &tokens.ids,
                windows: &[],
            }];
            let (a, b) = (embed(&exact, &one), embed(&half, &one));
            for (layer, (x, y)) in a[0].iter().zip(&b[0]).enumerate() {
                let square = |v: f32| f64::from(v) * f64::from(v);
                let error: f64 = x.1.iter().zip(&y.1).map(|(x, y)| square(x - y)).sum();
                let size: f64 = x.1.iter().map(|x| square(*x)).sum();
                let relative = (error / size.max(1e-30)).sqrt();
                worst = worst.max(relative);
                assert!(
                    relative <= 1e-3,
                    "{model} {id} layer {layer}: {relative:.1e}"
                );
            }
        }
    }
    // If rounding did not show, something else was computed.
    assert!(worst > 1e-4, "{worst:.1e}");
}
