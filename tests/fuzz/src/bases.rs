//! Sound checkpoints with one part replaced by the input.
//!
//! The first byte of an input is its tag: the index of a checkpoint, or another meaning.

use std::fs;
use std::path::PathBuf;

use crate::{archive, fixture, scratch};

/// Folders of safetensors.
pub const SAFETENSORS: [&str; 10] = [
    "esm2_hd16",
    "esm1b",
    "esm2_hd16_te",
    "esm2_hd16_f16",
    "esm2_hd16_v5_shared",
    "esm2_hd16_te_old",
    "esm2_hd16_noinvfreq",
    "esm2_hd24",
    "esmc_1x64",
    "esmc_1x64_plusplus",
];

/// Torch files, each with the names of the files beside it.
pub const TORCH: [(&str, &str, &[&str]); 6] = [
    ("fair_esm", "esm2_hd16.pt", &[]),
    ("fair_esm", "esm1b.pt", &["esm1b-contact-regression.pt"]),
    ("fair_esm", "esm1v.pt", &[]),
    ("esm2_hd16_bin", "pytorch_model.bin", &["config.json"]),
    (
        "fair_esm",
        "esm2_hd16-contact-regression.pt",
        &["esm2_hd16.pt"],
    ),
    (
        "esmc_1x64_sdk/data/weights",
        "esmc_tiny_2024_12_v0.pth",
        &[],
    ),
];

/// A shard of ESM C's research layout, and its tag in `safetensors`.
pub const SHARD: (u8, &str, &str) = (
    b'r',
    "esmc_1x64_research",
    "model-00002-of-00003.safetensors",
);

/// Folders of LoRA adapters, their weights and their bases, by their tags in `config`, which replaces the
/// configuration, and in `safetensors` or `torch`, which replaces the header or the pickle of the weights.
pub const ADAPTERS: [(u8, &str, &str, &str); 3] = [
    (b'a', "adapters/lora", "adapter_model.safetensors", "esm2_hd16"),
    (b'e', "adapters/esm_c", "adapter_model.safetensors", "esmc_1x64_sdk"),
    (b'l', "adapters/rslora_bin", "adapter_model.bin", "esm2_hd16"),
];

/// A `.nemo`.
pub const NEMO: &str = "nemo/esm2_hd16.nemo";

/// The two files of a `.nemo`.
pub const NEMO_FILES: [&str; 2] = ["model_config.yaml", "model_weights.ckpt"];

/// The tags of a `.nemo`: its configuration, the pickle of its weights, and the whole.
pub const NEMO_TAGS: [u8; 3] = *b"cpn";

/// The sound content of the two files of [`NEMO`].
pub fn nemo() -> [Vec<u8>; 2] {
    let bytes = fs::read(fixture(NEMO)).unwrap();
    NEMO_FILES.map(|name| archive::tar_file(&bytes, name))
}

/// A folder of this process with these files of a fixture.
pub fn copy(from: &str, to: &str, files: &[&str]) -> PathBuf {
    let folder = scratch().join(to);
    fs::create_dir_all(&folder).unwrap();
    for file in files {
        fs::copy(fixture(from).join(file), folder.join(file)).unwrap();
    }
    folder
}

/// Names of the files of a fixture's folder.
pub fn files(name: &str) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(fixture(name))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort_unstable();
    names
}

/// A copy of a fixture's whole folder.
pub fn whole(name: &str) -> PathBuf {
    let files = files(name);
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    copy(name, name, &files)
}

/// Header and body of a safetensors file.
pub fn safetensors(folder: &str, file: &str) -> (Vec<u8>, Vec<u8>) {
    let bytes = fs::read(fixture(folder).join(file)).unwrap();
    let (length, rest) = bytes.split_first_chunk::<8>().unwrap();
    let (header, body) = rest.split_at(u64::from_le_bytes(*length) as usize);
    (header.to_vec(), body.to_vec())
}
