//! ESM C: transformers' numbers in all four layouts, on every path and in every batch, and what a run and
//! `score` make of them.
//!
//! Bounds as in `parity`: max |Δ| ≤ 2e-5 at magnitude 1, relative L2 ≤ 2e-6.

use crate::bench::*;
use crate::common::{
    Reference, assert_parity, differences, embed, fixture, load, load_as, load_with,
};
use esm_embed::cancel::Cancel;
use esm_embed::checkpoint::Checkpoint;
use esm_embed::embedder::{Computed, Embedder, Sequence};
use esm_embed::ops::{CpuPath, WeightType};
use esm_embed::product::{AttentionMaps, MapHeads, OutDtype, Product, Request, Values};
use esm_embed::tokenizer::{Alphabet, TokenId, UnknownPolicy};
use serde_json::Value;
use std::ops::ControlFlow;

/// A fixture for each shape; both have heads of 64.
const MODELS: [&str; 2] = ["esmc_1x64", "esmc_2x64"];

/// The other layouts, and whose numbers they have.
const LAYOUTS: [(&str, &str); 7] = [
    ("esmc_1x64_sdk", "esmc_1x64"),
    ("esmc_1x64_research", "esmc_1x64"),
    ("esmc_1x64_plusplus", "esmc_1x64"),
    ("esmc_2x64_sdk", "esmc_2x64"),
    ("esmc_2x64_research", "esmc_2x64"),
    ("esmc_2x64_plusplus", "esmc_2x64"),
    ("esmc_1x64_bf16", "esmc_1x64_bf16"),
];

/// The sequence of `fixtures/esm_c.py` with a chain break and both spellings of the mask, and its number.
const CHAINS: (&str, usize) = ("MKT|AYI_AKQ<mask>R|W", 1000);

fn whole(tokens: &[TokenId]) -> Sequence<'_> {
    Sequence {
        tokens,
        windows: &[],
    }
}

fn check(model: &str, reference: &str, path: CpuPath) {
    let embedder = load(&fixture(model), path);
    let reference = Reference::open(reference);
    assert!(reference.sequences() >= 4, "{model}");
    for k in reference.numbers() {
        let tokens = reference.tokens(k);
        let hidden = embed(&embedder, &[whole(&tokens)]);
        assert_parity(&reference, k, &hidden[0], &format!("{model} on {path}"));
    }
}

#[test]
fn every_layer_equals_transformers_on_every_path() {
    for path in CpuPath::ALL {
        for model in MODELS {
            if path.is_available() {
                check(model, model, path);
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
fn batches_and_threads_give_the_same_bits() {
    for model in MODELS {
        let reference = Reference::open(model);
        let tokens: Vec<_> = reference.numbers().map(|k| reference.tokens(k)).collect();
        let batch: Vec<_> = tokens.iter().map(|tokens| whole(tokens)).collect();
        for kind in [WeightType::F32, WeightType::F16, WeightType::Bf16] {
            let embedder = load_as(&fixture(model), CpuPath::detect(), kind);
            let single: Vec<_> = batch
                .iter()
                .map(|sequence| embed(&embedder, &[*sequence]).remove(0))
                .collect();
            assert!(embed(&embedder, &batch) == single, "{model} {kind:?}");
            let mut backwards: Vec<_> = batch.clone();
            backwards.reverse();
            let mut found = embed(&embedder, &backwards);
            found.reverse();
            assert!(found == single, "{model} {kind:?}");
        }
    }
    let long = &[&[0][..], &[7, 12, 31, 19, 32].repeat(500), &[2]].concat();
    let [one, three] = [1, 3].map(|threads| {
        let path = fixture("esmc_1x64");
        let embedder = load_with(&path, CpuPath::detect(), WeightType::F32, threads, false);
        embed(&embedder, &[whole(long)])
    });
    assert!(one == three);
}

#[test]
fn fixed_point_stays_near_f32() {
    let mut worst = 0.0f64;
    for model in MODELS {
        let reference = Reference::open(model);
        let [exact, half] = [WeightType::F32, WeightType::F16]
            .map(|kind| load_as(&fixture(model), CpuPath::detect(), kind));
        for k in reference.numbers() {
            let tokens = reference.tokens(k);
            let (a, b) = (
                embed(&exact, &[whole(&tokens)]),
                embed(&half, &[whole(&tokens)]),
            );
            for (layer, (x, y)) in a[0].iter().zip(&b[0]).enumerate() {
                let (_, relative) = differences(&y.1, &x.1);
                worst = worst.max(relative);
                assert!(
                    relative <= 1e-3,
                    "{model} {k} layer {layer}: {relative:.1e}"
                );
            }
        }
    }
    assert!(worst > 1e-4, "{worst:.1e}");
}

#[test]
fn the_alphabet_gives_the_tokens_of_the_reference() {
    let (text, number) = CHAINS;
    let tokens = Alphabet::EsmC.tokenize(text.as_bytes(), UnknownPolicy::Error);
    let tokens = tokens.unwrap();
    assert_eq!(tokens.ids, Reference::open("esmc_1x64").tokens(number));
    assert_eq!((tokens.masks, tokens.residues()), (2, 15));
}

/// A product of one sequence, its parts one after the other.
fn product(embedder: &Embedder, tokens: &[TokenId], request: &Request) -> Vec<f32> {
    let mut all = Vec::new();
    let mut keep = |computed: Computed<'_>| {
        if let Values::F32(values) = computed.values {
            all.extend_from_slice(values);
        }
        ControlFlow::Continue(())
    };
    embedder
        .embed(&[whole(tokens)], request, &Cancel::default(), &mut keep)
        .unwrap();
    all
}

#[test]
fn logits_of_64_tokens_equal_transformers_in_every_layout() {
    let values = Reference::open("esmc_products");
    let models = MODELS.iter().map(|model| (*model, *model));
    for (model, reference) in models.chain(LAYOUTS) {
        if model.ends_with("bf16") {
            continue;
        }
        let embedder = load_with(&fixture(model), CpuPath::detect(), WeightType::F32, 1, true);
        let tokens = Reference::open(reference);
        let request = Request::new([Product::Logits], OutDtype::F32);
        for k in tokens.numbers() {
            let (rows, wanted) = values.logits(reference, k).unwrap();
            let found = product(&embedder, &tokens.tokens(k), &request);
            assert_eq!(found.len(), (tokens.tokens(k).len() - 2) * 64);
            let rows = rows.iter().map(|row| &found[(row - 1) * 64..row * 64]);
            let found: Vec<f32> = rows.flatten().copied().collect();
            let size = wanted.iter().fold(1.0f64, |m, x| m.max(f64::from(x.abs())));
            let (most, relative) = differences(&found, &wanted);
            assert!(most <= 2e-5 * size, "{model} {k}: {most:e} at {size}");
            assert!(relative <= 4e-6, "{model} {k}: {relative:e}");
        }
    }
}

#[test]
fn attention_maps_equal_transformers() {
    let values = Reference::open("esmc_products");
    for model in MODELS {
        let embedder = load(&fixture(model), CpuPath::detect());
        let layers = embedder.config().layers;
        let maps = AttentionMaps {
            layers: (0..layers).collect(),
            heads: MapHeads::All,
        };
        let request = Request::new([Product::Attentions], OutDtype::F32).with_maps(maps);
        let reference = Reference::open(model);
        let mut compared = 0;
        for k in reference.numbers() {
            let Some(wanted) = values.f32(&format!("{model}.seq{k}.attentions")) else {
                continue;
            };
            let tokens = reference.tokens(k);
            let found = product(&embedder, &tokens, &request);
            let size = tokens.len();
            assert_eq!(found.len(), layers * embedder.config().heads * size * size);
            let kept = found.chunks_exact(size * size);
            let kept: Vec<f32> = kept
                .flat_map(|map| map[..4.min(size) * size].to_vec())
                .collect();
            let (most, _) = differences(&kept, &wanted);
            assert!(most <= 1e-5, "{model} {k}: {most:e}");
            compared += 1;
        }
        assert_eq!(compared, 4, "{model}");
    }
}

#[test]
fn a_run_has_all_layers_and_records_64_letters() {
    let bench = Bench::new();
    let (text, number) = CHAINS;
    bench.write("in.fasta", format!(">a\n{text}\n"));
    let model = fixture("esmc_1x64_sdk");
    let run = format!(
        "in.fasta --model {} --layer all --include logits",
        model.display()
    );
    let done = bench.run(&format!("{run} --residues packed --out emb"));
    assert_eq!(done.code, 0, "{}", done.err);
    // As of every ESM C, they are computed.
    assert!(!done.err.contains("inv_freq"), "{}", done.err);
    assert_eq!(bench.matrix("emb/logits.npy").dim(), (15, 64));
    let letters = bench.recorded("emb", "/resolved/letters");
    let letters: Vec<&str> = letters
        .as_array()
        .unwrap()
        .iter()
        .map(|letter| letter.as_str().unwrap())
        .collect();
    assert_eq!(
        (letters.len(), letters[31], letters[32]),
        (64, "|", "<mask>")
    );
    assert_eq!(letters[33], "<unused_33>");
    for (fact, value) in [
        ("alphabet_proof", Value::from("64 rows of ESM C")),
        ("alphabet_size", 64.into()),
        ("inv_freq", "computed".into()),
        ("layout", "esm-c-sdk".into()),
        ("stored_dtype", "f16".into()),
        ("token_dropout", false.into()),
    ] {
        assert_eq!(
            bench.recorded("emb", &format!("/resolved/model/{fact}")),
            value,
            "{fact}"
        );
    }
    let reference = Reference::open("esmc_1x64");
    for layer in 0..=3 {
        let mean = bench.matrix(&format!("emb/mean.layer{layer}.npy"));
        let found: Vec<f32> = mean.iter().copied().collect();
        let (most, _) = differences(&found, &reference.mean(number, layer));
        assert!(most <= 2e-5, "layer {layer}: {most:e}");
    }
    // In the alphabet of ESM-2, both characters are unknown.
    let other = bench.run("in.fasta --model $MODEL --unknown error --out other");
    assert!(
        other.err.contains("`|` is not in the ESM alphabet"),
        "{}",
        other.err
    );
}

#[test]
fn contacts_are_an_error_that_offers_attentions() {
    let bench = Bench::new();
    bench.write("in.fasta", ">a\nMKTAY\n");
    for model in ["esmc_1x64", "esmc_1x64_sdk"] {
        let path = fixture(model);
        let line = format!(
            "in.fasta --model {} --include contacts --out emb",
            path.display()
        );
        let ended = bench.run(&line);
        assert_eq!(ended.code, 1, "{}", ended.err);
        let says =
            "contacts cannot be computed: ESM C has no contact head: it was published without one";
        assert!(ended.err.contains(says), "{}", ended.err);
        assert!(ended.err.contains("--include attentions"), "{}", ended.err);
        // No file can be one.
        assert!(!ended.err.contains("--contact-regression"), "{}", ended.err);
    }
}

/// The score of a mutation by its definition, from the logits of a copy with one mask.
#[test]
fn score_is_the_log_odds_of_a_masked_copy() {
    let bench = Bench::new();
    bench.write("p.fasta", ">p1\nMKTAYIAKQR\n");
    bench.write("v.csv", "mutant\nA4G\nK2R\n");
    let path = fixture("esmc_2x64");
    let mut command = bench.command();
    let args = [
        "score",
        "p.fasta",
        "--variants",
        "v.csv",
        "--out",
        "s.csv",
        "-q",
        "--model",
    ];
    command.args(args).arg(&path);
    let done = ended(&mut command);
    assert_eq!((done.code, &*done.err), (0, ""));
    let embedder = load_with(&path, CpuPath::detect(), WeightType::F32, 1, true);
    let request = Request::new([Product::Logits], OutDtype::F32);
    let table = bench.text("s.csv");
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines[0], "mutant,esmc_2x64");
    for (line, (residue, wild, mutant)) in lines[1..].iter().zip([(3, b'A', b'G'), (1, b'K', b'R')])
    {
        let tokens = Alphabet::EsmC
            .tokenize(b"MKTAYIAKQR", UnknownPolicy::Error)
            .unwrap();
        let mut ids = tokens.ids;
        ids[residue + 1] = 32;
        let logits = product(&embedder, &ids, &request);
        let of = |letter: u8| {
            let token = Alphabet::EsmC
                .tokenize(&[letter], UnknownPolicy::Error)
                .unwrap()
                .ids[1];
            f64::from(logits[residue * 64 + usize::from(token)])
        };
        let found: f64 = line.split(',').nth(1).unwrap().parse().unwrap();
        let wanted = of(mutant) - of(wild);
        assert!((found - wanted).abs() < 1e-5, "{line}: {wanted}");
    }
    // The sum over all logits shows in the pseudo-log-likelihood.
    let mut command = bench.command();
    let args = [
        "score",
        "p.fasta",
        "--method",
        "pll-unmasked",
        "--out",
        "l.csv",
        "-q",
        "--model",
    ];
    command.args(args).arg(&path);
    assert_eq!(ended(&mut command).code, 0);
    let tokens = Alphabet::EsmC
        .tokenize(b"MKTAYIAKQR", UnknownPolicy::Error)
        .unwrap();
    let logits = product(&embedder, &tokens.ids, &request);
    let rows = logits.chunks_exact(64).zip(&tokens.ids[1..]);
    let wanted: f64 = rows
        .map(|(row, token)| {
            let sum: f64 = row.iter().map(|x| f64::from(*x).exp()).sum();
            f64::from(row[usize::from(*token)]) - sum.ln()
        })
        .sum();
    let table = bench.text("l.csv");
    let found: f64 = table
        .lines()
        .nth(1)
        .unwrap()
        .split(',')
        .nth(2)
        .unwrap()
        .parse()
        .unwrap();
    assert!((found - wanted).abs() < 1e-4, "{table}: {wanted}");
}

#[test]
fn weights_of_the_sdk_are_found_below_their_folder() {
    let folder = fixture("esmc_1x64_sdk");
    let file = folder.join("data/weights/esmc_tiny_2024_12_v0.pth");
    let [by_folder, by_file] = [&folder, &file].map(|path| Checkpoint::open(path).unwrap());
    assert_eq!(by_folder.files(), [file.as_path()]);
    assert_eq!(by_folder.config(), by_file.config());
}
