//! The committed table of digests, `tests/run/bits.sha256`: every fixture, layer and number format has
//! these bits on every processor, on every CPU path.
//!
//! A line is the SHA-256 of all values of one layer, as little-endian f32: for each record of
//! `fixtures/reference/sequences.fasta`, in the order of the file, its `<cls>` row, its residue rows,
//! their mean and their largest values. Other lines are of logits, contacts and attention maps, for
//! checkpoints that can give them. Records are `short` up to [`SHORT`] residues, else `long`; lines of
//! long records exist for the fixtures of which no other one has the weights, and not for their maps,
//! which contacts are made of.
//!
//! `ESM_EMBED_BLESS=1 cargo test --test run committed_bits` writes what is computed into the table. A
//! release may add lines; it changes none.

use crate::common::{Hidden, embed, fixture, load_as, package, records};
use esm_embed::cancel::Cancel;
use esm_embed::checkpoint::Checkpoint;
use esm_embed::device::{Device, Dtype};
use esm_embed::embedder::{Computed, Embedder, EmbedderOptions, Sequence};
use esm_embed::ops::{CpuPath, WeightType};
use esm_embed::pooling;
use esm_embed::product::{AttentionMaps, MapHeads, OutDtype, Product, Request, Values};
use esm_embed::sha256::sha256_of;
use esm_embed::tokenizer::{TokenId, UnknownPolicy, tokenize};
use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// Residues of the longest short record.
const SHORT: usize = 128;

/// Tokens of the longest sequence of models with learned positions.
const POSITIONS: usize = 1024;

const DTYPES: [(Dtype, WeightType); 3] = [
    (Dtype::F32, WeightType::F32),
    (Dtype::F16, WeightType::F16),
    (Dtype::Bf16, WeightType::Bf16),
];

/// Fixtures with the weights of no other one.
const MODELS: [&str; 13] = [
    "esm1b",
    "esm1v",
    "esm2_hd128",
    "esm2_hd16",
    "esm2_hd16_bf16",
    "esm2_hd16_f16",
    "esm2_hd16_noinvfreq",
    "esm2_hd24",
    "esm2_hd32",
    "esm2_hd64",
    "esmc_1x64",
    "esmc_1x64_bf16",
    "esmc_2x64",
];

/// Every checkpoint among the fixtures.
fn checkpoints() -> Vec<String> {
    let names = |folder: &str| -> Vec<String> {
        let entries = fs::read_dir(fixture(folder)).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    };
    let mut all = names("");
    all.retain(|name| fixture(name).join("config.json").exists());
    let files = names("fair_esm").into_iter();
    all.extend(
        files
            .filter(|name| name.ends_with(".pt") && !name.contains("regression"))
            .map(|name| format!("fair_esm/{name}")),
    );
    all.sort();
    all
}

/// Digests by what they are of: `esm2_hd16 f32 layer 2 short`.
type Digests = BTreeMap<String, String>;

fn table() -> PathBuf {
    package().join("tests/run/bits.sha256")
}

fn read_table() -> Digests {
    let text = fs::read_to_string(table()).unwrap();
    text.lines()
        .map(|line| line.split_once("  ").unwrap())
        .map(|(digest, what)| (what.to_owned(), digest.to_owned()))
        .collect()
}

/// Sequences of the short or of the long records.
fn sequences(are_short: bool) -> Vec<Vec<TokenId>> {
    let all = records("reference/sequences.fasta").into_iter();
    all.map(|(_, sequence)| tokenize(&sequence, UnknownPolicy::Unk).unwrap().ids)
        .filter(|tokens| (tokens.len() - 2 <= SHORT) == are_short)
        .collect()
}

/// The digest of each layer.
fn digests(embedder: &Embedder, sequences: &[Vec<TokenId>]) -> Vec<String> {
    let dim = embedder.config().dim;
    let mut layers = vec![Vec::new(); embedder.config().layers + 1];
    for tokens in sequences {
        let windows = &[];
        let hidden: Hidden = embed(embedder, &[Sequence { tokens, windows }]).remove(0);
        for (bytes, (bos, rows)) in layers.iter_mut().zip(hidden) {
            let (mean, max) = (pooling::mean(&rows, dim), pooling::max(&rows, dim));
            let values = [bos, rows, mean, max].into_iter().flatten();
            bytes.extend(values.flat_map(f32::to_le_bytes));
        }
    }
    layers.iter().map(sha256_of).collect()
}

/// The digest of each product that belongs to no layer and that the checkpoint can give.
fn digests_of_products(
    checkpoint: &Arc<Checkpoint>,
    (path, dtype): (CpuPath, Dtype),
    sequences: &[Vec<TokenId>],
    with_maps: bool,
) -> BTreeMap<Product, String> {
    let layers = checkpoint.config().layers;
    let options = EmbedderOptions {
        lm_head: checkpoint.lm_head().is_ok(),
        contact_head: checkpoint.contact_regression().is_ok(),
        max_tokens: 2048,
        ..EmbedderOptions::new(Device::cpu(path), dtype, layers)
    };
    let can = |product: &Product| match product {
        Product::Logits => options.lm_head,
        Product::Contacts => options.contact_head,
        // Copies of pooled rows.
        Product::Stacked { .. } => false,
        _ => with_maps,
    };
    let products = Product::WITHOUT_LAYER.iter().copied().filter(can);
    let mut all: BTreeMap<Product, Vec<u8>> = products.map(|one| (one, Vec::new())).collect();
    if all.is_empty() {
        return BTreeMap::new();
    }
    let maps = AttentionMaps {
        layers: (0..layers).collect(),
        heads: MapHeads::All,
    };
    let request = Request::new(all.keys().copied(), OutDtype::F32).with_maps(maps);
    let embedder = Embedder::load(checkpoint, &options).unwrap();
    let mut keep = |computed: Computed<'_>| {
        let Values::F32(values) = computed.values else {
            panic!("f32 was requested");
        };
        let bytes = all.get_mut(&computed.product).unwrap();
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        ControlFlow::Continue(())
    };
    for tokens in sequences {
        let windows = &[];
        let batch = [Sequence { tokens, windows }];
        let done = embedder.embed(&batch, &request, &Cancel::default(), &mut keep);
        done.unwrap();
    }
    let digest = |(product, bytes)| (product, sha256_of(bytes));
    all.into_iter().map(digest).collect()
}

/// Computes the lines of short or long records on every path, and compares them with the table.
fn assert_committed(are_short: bool) {
    let length = if are_short { "short" } else { "long" };
    let mut models = checkpoints();
    assert!(MODELS.iter().all(|name| models.contains(&name.to_string())));
    models.retain(|name| are_short || MODELS.contains(&name.as_str()));
    let mut found: BTreeMap<String, Vec<(CpuPath, String)>> = BTreeMap::new();
    for model in &models {
        let mut sequences = sequences(are_short);
        sequences.retain(|tokens| !model.contains("esm1") || tokens.len() <= POSITIONS);
        let checkpoint = Arc::new(Checkpoint::open(&fixture(model)).unwrap());
        for (dtype, weights) in DTYPES {
            for path in CpuPath::ALL.into_iter().filter(|path| path.is_available()) {
                let embedder = load_as(&fixture(model), path, weights);
                let layers = digests(&embedder, &sequences).into_iter().enumerate();
                let layers = layers.map(|(layer, digest)| (format!("layer {layer}"), digest));
                let products =
                    digests_of_products(&checkpoint, (path, dtype), &sequences, are_short);
                let products = products.into_iter();
                let products = products.map(|(product, digest)| (product.file_stem(), digest));
                for (what, digest) in layers.chain(products) {
                    let what = format!("{model} {dtype} {what} {length}");
                    found.entry(what).or_default().push((path, digest));
                }
            }
        }
    }
    let mut committed = table_lines(length, &found);
    let mut wrong = Vec::new();
    for (what, digests) in &found {
        let expected = committed
            .remove(what)
            .unwrap_or_else(|| "no line".to_owned());
        for (path, digest) in digests.iter().filter(|(_, digest)| *digest != expected) {
            wrong.push(format!(
                "{what}: {digest} on {path}, in the table {expected}"
            ));
        }
    }
    wrong.extend(committed.keys().map(|what| format!("{what}: not computed")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The committed lines of these lengths. With `ESM_EMBED_BLESS=1` they are first replaced by what the
/// first path computed.
fn table_lines(length: &str, found: &BTreeMap<String, Vec<(CpuPath, String)>>) -> Digests {
    static TABLE: Mutex<()> = Mutex::new(());
    let _alone = TABLE.lock().unwrap();
    let of_length = |what: &str| what.ends_with(&format!(" {length}"));
    if std::env::var_os("ESM_EMBED_BLESS").is_some_and(|value| value == "1") {
        let mut all = read_table();
        all.retain(|what, _| !of_length(what));
        let first = |(what, digests): (&String, &Vec<(CpuPath, String)>)| {
            (what.clone(), digests[0].1.clone())
        };
        all.extend(found.iter().map(first));
        let lines = all
            .iter()
            .map(|(what, digest)| format!("{digest}  {what}\n"));
        fs::write(table(), lines.collect::<String>()).unwrap();
    }
    let mut all = read_table();
    all.retain(|what, _| of_length(what));
    all
}

#[test]
fn short_records_have_the_committed_bits_on_every_path() {
    assert_committed(true);
}

#[test]
fn long_records_have_the_committed_bits_on_every_path() {
    assert_committed(false);
}
