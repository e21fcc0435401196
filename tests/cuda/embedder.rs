//! The library on a GPU: the stand-in's or, with `ESM_EMBED_TEST_GPU=1`, this machine's.

use crate::common::{Reference, differences, fixture};
use crate::stand_in;
use esm_embed::cancel::Cancel;
use esm_embed::checkpoint::Checkpoint;
use esm_embed::device::{Device, DeviceChoice, Dtype, GpuChoice};
use esm_embed::embedder::{Computed, Embedder, EmbedderOptions, Sequence, resolve};
use esm_embed::product::{OutDtype, Pool, Product, Request, Values};
use esm_embed::threads::Threads;
use esm_embed::tokenizer::TokenId;
use std::ops::ControlFlow;
use std::process::Command;
use std::sync::Arc;

const MODELS: [&str; 10] = [
    "esm2_hd16",
    "esm2_hd24",
    "esm2_hd32",
    "esm2_hd64",
    "esm2_hd128",
    "esm1b",
    "esm1v",
    "esmc_1x64",
    "esmc_2x64",
    "saprot_hd16",
];

/// For numbers: slabs of 384 rows take little time. Bits need products of more heights.
const SMALL: (&str, &str) = ("STAND_IN_MULTIPROCESSORS", "3");
const LARGER: (&str, &str) = ("STAND_IN_MULTIPROCESSORS", "9");

/// Whether this process sees the GPU under test. If not, the test has been run in another process, with
/// the libraries on its path.
fn is_on_gpu(size: (&str, &str)) -> bool {
    stand_in::is_real() || is_on_stand_in(&stand_in::library_path("13"), &[size])
}

/// The same for a GPU of compute capability 7.5, which has no bf16, of the stand-in.
fn is_on_turing(size: (&str, &str)) -> bool {
    let variables = [("STAND_IN_CAPABILITY", "75"), size];
    !stand_in::is_real() && is_on_stand_in(&stand_in::library_path("13"), &variables)
}

/// The same for a GPU of the stand-in, with these libraries and variables.
fn is_on_stand_in(libraries: &str, variables: &[(&str, &str)]) -> bool {
    if std::env::var_os("STAND_IN_HERE").is_some() {
        return true;
    }
    let name = std::thread::current().name().unwrap().to_owned();
    let output = Command::new(std::env::current_exe().unwrap())
        .args([&name, "--exact", "--nocapture"])
        .env("STAND_IN_HERE", "1")
        .env("LD_LIBRARY_PATH", libraries)
        .env_remove("CUDA_VISIBLE_DEVICES")
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(out.contains("1 passed"), "{out}");
    false
}

/// Tokens of the longest sequences: attention is slow on the stand-in.
fn longest() -> usize {
    match stand_in::is_real() {
        true => 2500,
        false => 300,
    }
}

/// The GPU.
fn device() -> Device {
    let choice = DeviceChoice::Cuda(GpuChoice::These(vec![0]));
    resolve(&choice, None, None).unwrap()
}

/// Its number formats, and how close to the reference they are.
fn formats() -> Vec<(Dtype, f64)> {
    let mut all = vec![(Dtype::F32, 1e-5), (Dtype::F16, 5e-3)];
    if device().gpus[0].capability >= (8, 0) {
        all.push((Dtype::Bf16, 3e-2));
    }
    all
}

fn load(model: &str, dtype: Dtype) -> Embedder {
    let device = device();
    let checkpoint = Checkpoint::open(&fixture(model)).unwrap();
    let options = EmbedderOptions {
        threads: Threads::new(2),
        max_tokens: 2048,
        ..EmbedderOptions::new(device, dtype, checkpoint.config().layers)
    };
    Embedder::load(&Arc::new(checkpoint), &options).unwrap()
}

fn request(layers: usize) -> Request {
    let products = (0..layers).flat_map(|layer| {
        let pool = Pool::Mean;
        [Product::Pooled { layer, pool }, Product::Residues { layer }]
    });
    Request::new(products, OutDtype::F32)
}

/// Residue rows and mean of each layer of each sequence.
fn embed(embedder: &Embedder, tokens: &[Vec<TokenId>]) -> Vec<Vec<(Vec<f32>, Vec<f32>)>> {
    let batch: Vec<Sequence<'_>> = tokens
        .iter()
        .map(|tokens| Sequence {
            tokens,
            windows: &[],
        })
        .collect();
    let layers = embedder.config().layers + 1;
    let mut all = vec![vec![(vec![], vec![]); layers]; batch.len()];
    let mut keep = |computed: Computed<'_>| {
        let Values::F32(values) = computed.values else {
            panic!("f32 was requested");
        };
        let of_sequence: &mut Vec<(Vec<f32>, Vec<f32>)> = &mut all[computed.sequence];
        match computed.product {
            Product::Residues { layer } => of_sequence[layer].0 = values.to_vec(),
            Product::Pooled { layer, .. } => of_sequence[layer].1 = values.to_vec(),
            _ => panic!("not requested"),
        }
        ControlFlow::Continue(())
    };
    embedder
        .embed(&batch, &request(layers), &Cancel::default(), &mut keep)
        .unwrap();
    all
}

#[test]
fn gpu_numbers_are_those_of_fair_esm() {
    if !is_on_gpu(SMALL) {
        return;
    }
    assert_numbers(&MODELS, longest());
}

#[test]
fn numbers_of_compute_capability_7_5_are_those_of_fair_esm() {
    if is_on_turing(SMALL) {
        assert_numbers(&MODELS, 130);
    }
}

/// Compares the numbers of these models with those of fair-esm, for sequences of up to `longest` tokens.
fn assert_numbers(models: &[&str], longest: usize) {
    for model in models {
        let reference = Reference::open(model);
        let numbers: Vec<usize> = reference
            .numbers()
            .filter(|&k| (3..=longest).contains(&reference.tokens(k).len()))
            .collect();
        let tokens: Vec<Vec<TokenId>> = numbers.iter().map(|&k| reference.tokens(k)).collect();
        for (dtype, limit) in formats() {
            let embedder = load(model, dtype);
            assert!(
                embedder.engine().capacity(&request(1)).shares_passes,
                "{model} {dtype}: bits depend on the batch"
            );
            let found = embed(&embedder, &tokens);
            for (&k, layers) in numbers.iter().zip(&found) {
                for (layer, (residues, mean)) in layers.iter().enumerate() {
                    let what = format!("{model} {dtype}, sequence {k}, layer {layer}");
                    let (_, off) = differences(mean, &reference.mean(k, layer));
                    assert!(off <= limit, "{what}: mean, relative L2 {off:e}");
                    let dim = mean.len();
                    let last = residues.len() / dim;
                    let (rows, want) = reference.rows(k, layer, last + 2);
                    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
                    for (row, want) in rows.iter().zip(want.chunks_exact(dim)) {
                        if (1..=last).contains(row) {
                            ours.extend_from_slice(&residues[(row - 1) * dim..row * dim]);
                            theirs.extend_from_slice(want);
                        }
                    }
                    let (_, off) = differences(&ours, &theirs);
                    assert!(off <= limit, "{what}: relative L2 {off:e}");
                }
            }
        }
    }
}

#[test]
fn gpu_bits_are_the_same_in_any_batch() {
    if !is_on_gpu(LARGER) {
        return;
    }
    // A rehearsal of benches/gpu/check.sh is satisfied with one of them.
    let models = match std::env::var_os("REHEARSAL") {
        Some(_) => &["esm2_hd24"][..],
        None => &["esm2_hd24", "esm2_hd64", "esmc_2x64"],
    };
    assert_same_bits(models, longest());
}

#[test]
fn bits_of_compute_capability_7_5_are_the_same_in_any_batch() {
    if is_on_turing(LARGER) {
        assert_same_bits(&["esm2_hd24", "esm2_hd64"], 130);
    }
}

/// Compares the bits of sequences of up to `longest` tokens in a batch and alone.
fn assert_same_bits(models: &[&str], longest: usize) {
    for model in models {
        for (dtype, _) in formats() {
            let embedder = load(model, dtype);
            let lengths = [3, 17, 64, 65, 66, 127, 130, 300, 700, 1023, 1024, 2500];
            let tokens: Vec<Vec<TokenId>> = lengths
                .iter()
                .filter(|n| **n <= longest)
                .map(|&n| {
                    let residues = (2..n).map(|i| 4 + ((i * i + n) % 20) as TokenId);
                    [0].into_iter().chain(residues).chain([2]).collect()
                })
                .collect();
            let together = embed(&embedder, &tokens);
            for (one, expected) in tokens.iter().zip(&together) {
                let single = embed(&embedder, std::slice::from_ref(one));
                assert!(
                    single[0] == *expected,
                    "{model} {dtype}, {} tokens",
                    one.len()
                );
            }
        }
    }
}

/// Without cuBLASLt, all products are the program's own.
#[test]
fn own_products_have_the_numbers_of_fair_esm_and_the_same_bits_in_any_batch() {
    if has_own_products("90") {
        assert_numbers(&["esm2_hd16", "esm2_hd24", "esm2_hd128", "esm1b"], 60);
        assert_same_bits(&["esm2_hd24"], 130);
    }
}

#[test]
fn own_products_of_compute_capability_7_5() {
    if has_own_products("75") {
        assert_numbers(&["esm2_hd16", "esm2_hd128"], 40);
        assert_same_bits(&["esm2_hd24"], 70);
    }
}

/// Whether this process sees a GPU of this compute capability without cuBLASLt. If not, the test has been
/// run in another process. On a real GPU, cuBLASLt cannot be taken away.
fn has_own_products(capability: &str) -> bool {
    let driver = stand_in::folder().to_str().unwrap();
    let variables = [
        ("STAND_IN_CAPABILITY", capability),
        ("STAND_IN_PRODUCTS", "even"),
        ("STAND_IN_MULTIPROCESSORS", "2"),
    ];
    if stand_in::is_real() || !is_on_stand_in(driver, &variables) {
        return false;
    }
    let embedder = load("esm2_hd24", Dtype::F16);
    let gpus = embedder.engine().about().gpus.unwrap();
    assert_eq!(gpus.cublaslt, None);
    let all = gpus.cards[0].algorithms.values();
    assert!(all.flatten().all(|name| name == "esm-embed"));
    true
}
