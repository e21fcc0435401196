//! Attention maps and contacts: fair-esm's numbers on every path, and the same bits in any batch.

use crate::common::{MODELS, Reference, fixture, records};
use esm_embed::cancel::Cancel;
use esm_embed::checkpoint::Checkpoint;
use esm_embed::device::{Device, Dtype};
use esm_embed::embedder::{Computed, Embedder, EmbedderOptions, Sequence};
use esm_embed::ops::CpuPath;
use esm_embed::product::{AttentionMaps, MapHeads, OutDtype, Pool, Product, Request, Values};
use esm_embed::threads::Threads;
use esm_embed::tokenizer::{TokenId, UnknownPolicy, tokenize};
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Other layouts of the weights of a model.
const LAYOUTS: [(&str, &str); 6] = [
    ("esm2_hd16_bin_sharded", "esm2_hd16"),
    ("esm2_hd16_v5", "esm2_hd16"),
    ("esm2_hd16_noprefix", "esm2_hd16"),
    ("fair_esm/esm2_hd16.pt", "esm2_hd16"),
    ("fair_esm/esm1b.pt", "esm1b"),
    ("fair_esm/esm1v.pt", "esm1v"),
];

/// ESM-1v has no contacts.
fn has_contacts(model: &str) -> bool {
    !model.contains("esm1v")
}

fn load(model: &str, path: CpuPath, dtype: Dtype, threads: usize) -> Embedder {
    let checkpoint = Checkpoint::open(&fixture(model)).unwrap();
    let options = EmbedderOptions {
        threads: Threads::new(threads),
        max_tokens: 2048,
        contact_head: has_contacts(model),
        ..EmbedderOptions::new(Device::cpu(path), dtype, checkpoint.config().layers)
    };
    Embedder::load(&Arc::new(checkpoint), &options).unwrap()
}

fn request(products: &[Product], layers: &[usize], heads: MapHeads) -> Request {
    let layers = layers.to_vec();
    let products = products.iter().copied();
    Request::new(products, OutDtype::F32).with_maps(AttentionMaps { layers, heads })
}

/// All maps and, if the model has them, contacts.
fn everything(embedder: &Embedder, model: &str) -> Request {
    let layers: Vec<usize> = (0..embedder.config().layers).collect();
    match has_contacts(model) {
        true => request(
            &[Product::Contacts, Product::Attentions],
            &layers,
            MapHeads::All,
        ),
        false => request(&[Product::Attentions], &layers, MapHeads::All),
    }
}

/// The products of each sequence of a batch, with the parts of each one after the other.
fn compute(
    embedder: &Embedder,
    batch: &[&[TokenId]],
    request: &Request,
) -> Vec<HashMap<Product, Vec<f32>>> {
    let mut all = vec![HashMap::new(); batch.len()];
    let mut keep = |computed: Computed<'_>| {
        let Values::F32(values) = computed.values else {
            panic!("f32 was requested");
        };
        let found: &mut Vec<f32> = all[computed.sequence].entry(computed.product).or_default();
        found.extend_from_slice(values);
        ControlFlow::Continue(())
    };
    let sequences = batch.iter().map(|tokens| Sequence {
        tokens,
        windows: &[],
    });
    let sequences: Vec<Sequence<'_>> = sequences.collect();
    embedder
        .embed(&sequences, request, &Cancel::default(), &mut keep)
        .unwrap();
    all
}

/// Number and tokens of each sequence that has reference maps of a model.
fn sequences(reference: &Reference, model: &str) -> Vec<(usize, Vec<TokenId>)> {
    let all = records("reference/sequences.fasta").into_iter().enumerate();
    let tokens = all.map(|(k, (_, text))| (k, tokenize(&text, UnknownPolicy::Unk).unwrap().ids));
    let known = tokens.filter(|(k, _)| {
        let products = ["attentions", "contacts"];
        products
            .iter()
            .any(|what| reference.f32(&format!("{model}.seq{k}.{what}")).is_some())
    });
    known.collect()
}

/// Rows of which `fixtures/maps.py` keeps the values.
fn kept(rows: usize) -> Vec<usize> {
    match rows {
        ..=24 => (0..rows).collect(),
        _ => vec![0, rows / 3, rows - 1],
    }
}

/// The largest difference from fair-esm's values, where there are some.
fn difference(found: &[f32], size: usize, want: Option<Vec<f32>>) -> Option<f32> {
    let want = want?;
    let rows = found.chunks_exact(size * size).flat_map(|map| {
        let rows = kept(size).into_iter();
        rows.flat_map(|row| map[row * size..(row + 1) * size].to_vec())
    });
    let rows: Vec<f32> = rows.collect();
    assert_eq!(rows.len(), want.len());
    assert!(rows.iter().all(|x| x.is_finite()));
    let differences = rows.iter().zip(&want).map(|(x, y)| (x - y).abs());
    Some(differences.fold(0.0, f32::max))
}

/// Compares a checkpoint with the values of a model; returns how many values were compared of each
/// product.
fn check(checkpoint: &str, model: &str, path: CpuPath, dtype: Dtype, bound: f32) -> [usize; 2] {
    let reference = Reference::open("maps");
    let embedder = load(checkpoint, path, dtype, 1);
    let request = everything(&embedder, checkpoint);
    let mut compared = [0, 0];
    for (k, tokens) in sequences(&reference, model) {
        let found = compute(&embedder, &[&tokens], &request).remove(0);
        let n = tokens.len() - 2;
        for (i, (product, what, size)) in [
            (Product::Attentions, "attentions", n + 2),
            (Product::Contacts, "contacts", n),
        ]
        .into_iter()
        .enumerate()
        {
            let want = reference.f32(&format!("{model}.seq{k}.{what}"));
            let Some(values) = found.get(&product) else {
                assert!(want.is_none());
                continue;
            };
            if let Some(worst) = difference(values, size, want) {
                assert!(
                    worst <= bound,
                    "{checkpoint}, {path}, {what} of sequence {k}: {worst:e}"
                );
                compared[i] += 1;
            }
        }
    }
    compared
}

#[test]
fn maps_and_contacts_equal_fair_esm_on_every_path() {
    for path in CpuPath::ALL.into_iter().filter(|path| path.is_available()) {
        for model in MODELS {
            let contacts = if has_contacts(model) { 13 } else { 0 };
            let maps = match model {
                "esm2_hd16" | "esm2_hd64" | "esm1b" => 13,
                _ => 12,
            };
            let compared = check(model, model, path, Dtype::F32, 1e-5);
            assert_eq!(compared, [maps, contacts], "{model}");
        }
    }
}

#[test]
fn every_layout_gives_the_maps_and_contacts_of_its_model() {
    for (checkpoint, model) in LAYOUTS {
        check(checkpoint, model, CpuPath::detect(), Dtype::F32, 1e-5);
    }
}

#[test]
fn fixed_point_stays_close_to_fair_esm() {
    for model in ["esm2_hd24", "esm2_hd64"] {
        check(model, model, CpuPath::detect(), Dtype::F16, 2e-2);
    }
}

#[test]
fn any_batch_gives_the_same_bits() {
    let all = records("reference/sequences.fasta");
    let tokens = |name: &str| {
        let (_, text) = all.iter().find(|(id, _)| id == name).unwrap();
        tokenize(text, UnknownPolicy::Unk).unwrap().ids
    };
    let names = ["len33", "len1", "consistency_short", "mask", "len128"];
    let tokens = names.map(tokens);
    for model in MODELS {
        let embedder = load(model, CpuPath::detect(), Dtype::F32, 2);
        let request = everything(&embedder, model);
        let single = |tokens: &Vec<TokenId>| compute(&embedder, &[tokens], &request).remove(0);
        let single: Vec<_> = tokens.iter().map(single).collect();
        let batch: Vec<&[TokenId]> = tokens.iter().map(Vec::as_slice).collect();
        assert!(compute(&embedder, &batch, &request) == single, "{model}");
        let backwards: Vec<&[TokenId]> = batch.iter().rev().copied().collect();
        let mut found = compute(&embedder, &backwards, &request);
        found.reverse();
        assert!(found == single, "{model}");
        if !has_contacts(model) {
            continue;
        }
        // Alone, contacts share a pass.
        let contacts = Request::new([Product::Contacts], OutDtype::F32);
        for (found, whole) in compute(&embedder, &batch, &contacts).iter().zip(&single) {
            assert!(
                found[&Product::Contacts] == whole[&Product::Contacts],
                "{model}"
            );
        }
    }
}

/// Records longer than a batch are shared by all threads.
#[test]
fn a_long_record_has_the_same_bits_from_one_two_and_three_threads() {
    let mut tokens = vec![0];
    tokens.extend((0..2300_u32).map(|i| 4 + (i * i + i / 7) as TokenId % 20));
    tokens.push(2);
    let products = [Product::Contacts, Product::Attentions];
    let request = request(&products, &[1], MapHeads::Mean);
    let run = |threads| {
        let embedder = load("esm2_hd16", CpuPath::detect(), Dtype::F32, threads);
        compute(&embedder, &[&tokens], &request).remove(0)
    };
    let single = run(1);
    assert_eq!(single[&Product::Attentions].len(), 2302 * 2302);
    assert!(run(2) == single);
    assert!(run(3) == single);
}

#[test]
fn some_layers_and_the_mean_are_parts_of_all_maps() {
    let tokens = tokenize(b"MKTAYIAKQRQISFVKSHFSRQ", UnknownPolicy::Unk)
        .unwrap()
        .ids;
    let map = tokens.len() * tokens.len();
    let embedder = load("esm2_hd24", CpuPath::detect(), Dtype::F32, 1);
    let of = |layers: &[usize], heads| {
        let request = request(&[Product::Attentions], layers, heads);
        compute(&embedder, &[&tokens], &request).remove(0)[&Product::Attentions].clone()
    };
    let all = of(&[0, 1, 2], MapHeads::All);
    assert_eq!(all.len(), 3 * 2 * map);
    for row in all.chunks(tokens.len()) {
        assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-6);
    }
    let some = of(&[0, 2], MapHeads::All);
    assert_eq!(some, [&all[..2 * map], &all[4 * map..]].concat());
    let mean = of(&[1], MapHeads::Mean);
    let (first, second) = all[2 * map..4 * map].split_at(map);
    let expected = first.iter().zip(second).map(|(x, y)| (x + y) / 2.0);
    assert_eq!(mean, expected.collect::<Vec<f32>>());
}

/// What else is requested, and how far the model is loaded, change nothing.
#[test]
fn rows_beside_maps_keep_their_bits() {
    let tokens = tokenize(b"MKTAYIAKQRQISFVKSHFSRQ", UnknownPolicy::Unk)
        .unwrap()
        .ids;
    let embedder = load("esm2_hd16", CpuPath::detect(), Dtype::F32, 1);
    let rows = [1, 2].map(|layer| Product::Residues { layer });
    let pool = Pool::Mean;
    let products = [rows[0], rows[1], Product::Pooled { layer: 2, pool }];
    let plain = Request::new(products, OutDtype::F32);
    let both = products
        .into_iter()
        .chain([Product::Contacts, Product::Attentions]);
    let both: Vec<Product> = both.collect();
    let plain = compute(&embedder, &[&tokens], &plain).remove(0);
    let with = request(&both, &[0], MapHeads::All);
    let with = compute(&embedder, &[&tokens], &with).remove(0);
    for product in products {
        assert!(plain[&product] == with[&product]);
    }
    assert_eq!(with.len(), 5);
}

#[test]
fn what_is_not_loaded_or_not_whole_is_refused() {
    let tokens = tokenize(b"MKTAY", UnknownPolicy::Unk).unwrap().ids;
    let checkpoint = Arc::new(Checkpoint::open(&fixture("esm2_hd16")).unwrap());
    let options = EmbedderOptions::new(Device::cpu(CpuPath::detect()), Dtype::F32, 1);
    let embedder = Embedder::load(&checkpoint, &options).unwrap();
    let refused = |request: &Request, windows: &[std::ops::Range<usize>]| {
        let sequence = Sequence {
            tokens: &tokens,
            windows,
        };
        let mut out = |_: Computed<'_>| panic!("nothing is handed over");
        let done = embedder.embed(&[sequence], request, &Cancel::default(), &mut out);
        done.unwrap_err().to_string()
    };
    let contacts = Request::new([Product::Contacts], OutDtype::F32);
    assert_eq!(
        refused(&contacts, &[]),
        "contacts were requested, but the model is loaded without its contact regression"
    );
    let high = request(&[Product::Attentions], &[0, 1], MapHeads::All);
    assert_eq!(
        refused(&high, &[]),
        "layer 2 was requested, but the model is loaded up to layer 1"
    );
    assert_eq!(
        refused(&contacts, &[0..3, 2..5]),
        "contacts of a sequence need it in one pass, not in windows"
    );
    let esm1v = Arc::new(Checkpoint::open(&fixture("esm1v")).unwrap());
    let options = EmbedderOptions {
        contact_head: true,
        ..options
    };
    let error = Embedder::load(&esm1v, &options).err().unwrap().to_string();
    assert!(
        error.contains("contacts cannot be computed: ESM-1v was published without"),
        "{error}"
    );
}
