//! Shared by all test binaries: fixtures, fair-esm's reference values and comparisons with them.
#![allow(dead_code)]

pub mod bench;
pub mod tools;

use esm_embed::cancel::Cancel;
use esm_embed::checkpoint::Checkpoint;
use esm_embed::device::{Device, Dtype};
use esm_embed::embedder::{Computed, Embedder, EmbedderOptions, Sequence};
use esm_embed::fasta::{Input, Reader, Record};
use esm_embed::ops::{CpuPath, WeightType};
use esm_embed::pooling;
use esm_embed::product::{OutDtype, Pool, Product, Request, Values};
use esm_embed::threads::Threads;
use esm_embed::tokenizer::TokenId;
use safetensors::SafeTensors;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

/// One fixture for each head width and family.
pub const MODELS: [&str; 7] = [
    "esm2_hd16",
    "esm2_hd24",
    "esm2_hd32",
    "esm2_hd64",
    "esm2_hd128",
    "esm1b",
    "esm1v",
];

/// The folder of this package: where it was compiled, or where the environment says it is, for a test
/// program that was copied to another machine.
pub fn package() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from)
}

/// Path of a fixture.
pub fn fixture(name: &str) -> PathBuf {
    package().join("fixtures").join(name)
}

/// Loads a checkpoint for all its layers.
pub fn load(path: &std::path::Path, cpu: CpuPath) -> Embedder {
    load_as(path, cpu, WeightType::F32)
}

/// Loads a checkpoint for all its layers, with weights stored as `weight_type`.
pub fn load_as(path: &std::path::Path, cpu: CpuPath, weight_type: WeightType) -> Embedder {
    load_for(path, cpu, weight_type, 2)
}

/// The same for a number of threads.
pub fn load_for(
    path: &std::path::Path,
    cpu: CpuPath,
    weight_type: WeightType,
    threads: usize,
) -> Embedder {
    load_with(path, cpu, weight_type, threads, false)
}

/// The same with or without the language-model head.
pub fn load_with(
    path: &std::path::Path,
    cpu: CpuPath,
    weight_type: WeightType,
    threads: usize,
    lm_head: bool,
) -> Embedder {
    let checkpoint = Checkpoint::open(path).unwrap();
    load_checkpoint(checkpoint, cpu, weight_type, threads, lm_head)
}

/// Loads a checkpoint that is open.
pub fn load_checkpoint(
    checkpoint: Checkpoint,
    cpu: CpuPath,
    weight_type: WeightType,
    threads: usize,
    lm_head: bool,
) -> Embedder {
    let dtype = match weight_type {
        WeightType::F32 => Dtype::F32,
        WeightType::F16 => Dtype::F16,
        WeightType::Bf16 => Dtype::Bf16,
    };
    let options = EmbedderOptions {
        lm_head,
        threads: Threads::new(threads),
        max_tokens: 2048,
        ..EmbedderOptions::new(Device::cpu(cpu), dtype, checkpoint.config().layers)
    };
    Embedder::load(&Arc::new(checkpoint), &options).unwrap()
}

/// Representations of one sequence: the bos row and the residue rows of each layer.
pub type Hidden = Vec<(Vec<f32>, Vec<f32>)>;

/// Embeds a batch in one pass.
pub fn embed(embedder: &Embedder, batch: &[Sequence<'_>]) -> Vec<Hidden> {
    let layers = embedder.config().layers + 1;
    let mut all = vec![vec![(Vec::new(), Vec::new()); layers]; batch.len()];
    let mut keep = |computed: Computed<'_>| {
        let Values::F32(values) = computed.values else {
            panic!("f32 was requested");
        };
        match computed.product {
            Product::Pooled { layer, .. } => all[computed.sequence][layer].0 = values.to_vec(),
            Product::Residues { layer } => all[computed.sequence][layer].1 = values.to_vec(),
            _ => panic!("not requested"),
        }
        ControlFlow::Continue(())
    };
    embedder
        .embed(batch, &rows_of(0..layers), &Cancel::default(), &mut keep)
        .unwrap();
    all
}

/// The `<cls>` row and the residue rows of these layers.
pub fn rows_of(layers: impl IntoIterator<Item = usize>) -> Request {
    let products = layers.into_iter().flat_map(|layer| {
        let pool = Pool::Bos;
        [Product::Pooled { layer, pool }, Product::Residues { layer }]
    });
    Request::new(products, OutDtype::F32)
}

/// Ids and sequences of a FASTA among the fixtures.
pub fn records(name: &str) -> Vec<(String, Vec<u8>)> {
    read_records(Reader::new(Input::open(&fixture(name)).unwrap()))
}

/// Ids and sequences of what this reader reads.
pub fn read_records(mut reader: Reader<Input>) -> Vec<(String, Vec<u8>)> {
    let mut record = Record::default();
    let mut all = Vec::new();
    while reader.read(&mut record).unwrap() {
        let id = String::from_utf8(record.id.clone()).unwrap();
        all.push((id, record.sequence.clone()));
    }
    all
}

/// fair-esm's values for one model.
pub struct Reference {
    bytes: Vec<u8>,
}

impl Reference {
    pub fn open(model: &str) -> Reference {
        let path = fixture(&format!("reference/{model}.safetensors"));
        Reference {
            bytes: std::fs::read(path).unwrap(),
        }
    }

    fn tensors(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.bytes).unwrap()
    }

    /// Indices of the sequences that this model has values for.
    pub fn numbers(&self) -> impl Iterator<Item = usize> {
        let tensors = self.tensors();
        let mut all: Vec<usize> = tensors
            .names()
            .iter()
            .filter_map(|n| n.strip_suffix(".tokens")?.strip_prefix("seq")?.parse().ok())
            .collect();
        all.sort_unstable();
        all.into_iter()
    }

    pub fn sequences(&self) -> usize {
        self.numbers().count()
    }

    pub fn tokens(&self, k: usize) -> Vec<TokenId> {
        let tensors = self.tensors();
        let tensor = tensors.tensor(&format!("seq{k}.tokens")).unwrap();
        let bytes = tensor.data();
        match tensor.dtype() {
            safetensors::Dtype::U8 => bytes.iter().map(|&id| id.into()).collect(),
            safetensors::Dtype::U16 => {
                let ids = bytes.as_chunks::<2>().0.iter();
                ids.map(|id| TokenId::from_le_bytes(*id)).collect()
            }
            other => panic!("tokens are {other:?}"),
        }
    }

    pub fn f32(&self, name: &str) -> Option<Vec<f32>> {
        let tensors = self.tensors();
        let tensor = tensors.tensor(name).ok()?;
        assert_eq!(tensor.dtype(), safetensors::Dtype::F32);
        Some(
            tensor
                .data()
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
                .collect(),
        )
    }

    /// Row numbers (0 = `<cls>`) and fair-esm's rows of a layer.
    pub fn rows(&self, k: usize, layer: usize, tokens: usize) -> (Vec<usize>, Vec<f32>) {
        if let Some(all) = self.f32(&format!("seq{k}.layer{layer}")) {
            return ((0..tokens).collect(), all);
        }
        let tensors = self.tensors();
        let rows = tensors.tensor(&format!("seq{k}.rows")).unwrap();
        let size = rows.data().len() / rows.shape()[0];
        let rows = rows
            .data()
            .chunks_exact(size)
            .map(|b| u32::from_le_bytes(b[..4].try_into().unwrap()) as usize)
            .collect();
        (
            rows,
            self.f32(&format!("seq{k}.layer{layer}.sampled")).unwrap(),
        )
    }

    /// Numbers of some residue rows (the first is 1), and fair-esm's logits of a model there; None for
    /// a sequence that is not in the file of logits.
    pub fn logits(&self, model: &str, k: usize) -> Option<(Vec<usize>, Vec<f32>)> {
        let logits = self.f32(&format!("{model}.seq{k}.logits"))?;
        let tensors = self.tensors();
        let rows = tensors.tensor(&format!("{model}.seq{k}.rows")).unwrap();
        let row = |b: &[u8]| i32::from_le_bytes(b.try_into().unwrap()) as usize;
        Some((rows.data().chunks_exact(4).map(row).collect(), logits))
    }

    pub fn mean(&self, k: usize, layer: usize) -> Vec<f32> {
        self.f32(&format!("seq{k}.layer{layer}.mean")).unwrap()
    }
}

/// Bound of the largest difference, for values of O(1).
pub const MAX_ABS: f64 = 2e-5;
/// Bound of the relative L2 difference.
pub const RELATIVE_L2: f64 = 2e-6;

/// Largest absolute difference and relative L2 difference.
pub fn differences(found: &[f32], want: &[f32]) -> (f64, f64) {
    assert_eq!(found.len(), want.len());
    let (mut most, mut squares, mut norm) = (0.0f64, 0.0f64, 0.0f64);
    for (f, w) in found.iter().zip(want) {
        let d = f64::from(*f) - f64::from(*w);
        assert!(d.is_finite());
        most = most.max(d.abs());
        squares += d * d;
        norm += f64::from(*w) * f64::from(*w);
    }
    (most, (squares / norm.max(1e-300)).sqrt())
}

/// Compares all layers of a sequence with fair-esm's.
pub fn assert_parity(reference: &Reference, k: usize, hidden: &Hidden, what: &str) {
    for (layer, (bos, residues)) in hidden.iter().enumerate() {
        let dim = bos.len();
        let tokens = residues.len() / dim + 2;
        assert_eq!(tokens, reference.tokens(k).len());
        let (rows, want) = reference.rows(k, layer, tokens);
        let mut found = Vec::new();
        let mut wanted = Vec::new();
        for (row, want) in rows.iter().zip(want.chunks_exact(dim)) {
            match row {
                0 => found.extend_from_slice(bos),
                r if *r == tokens - 1 => continue,
                r => found.extend_from_slice(&residues[(r - 1) * dim..r * dim]),
            }
            wanted.extend_from_slice(want);
        }
        assert!(!found.is_empty());
        let scale = wanted.iter().fold(1.0f64, |m, x| m.max(f64::from(x.abs())));
        let (most, relative) = differences(&found, &wanted);
        let place = format!("{what}: sequence {k}, layer {layer}");
        assert!(
            most <= MAX_ABS * scale,
            "{place}: max |Δ| {most:e} at magnitude {scale}"
        );
        assert!(relative <= RELATIVE_L2, "{place}: relative L2 {relative:e}");
        let (most, relative) =
            differences(&pooling::mean(residues, dim), &reference.mean(k, layer));
        assert!(most <= MAX_ABS, "{place}: mean, max |Δ| {most:e}");
        assert!(
            relative <= RELATIVE_L2,
            "{place}: mean, relative L2 {relative:e}"
        );
    }
}
