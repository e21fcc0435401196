//! Fixtures, copies of them to damage, and comparisons.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Read, Write};
use std::path::{Path, PathBuf};

use esm_embed::checkpoint::{Checkpoint, EsmConfig, Positions};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use tempfile::TempDir;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(name)
}

pub fn open(path: &Path) -> Checkpoint {
    Checkpoint::open(path).unwrap_or_else(|error| panic!("{error}"))
}

/// The error of opening, without the path.
pub fn error(path: &Path) -> String {
    match Checkpoint::open(path) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("{} was accepted", path.display()),
    }
}

/// A copy of a fixture's folder, to be changed.
pub fn copy(name: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(fixture(name)).unwrap() {
        let entry = entry.unwrap();
        let to = folder.path().join(entry.file_name());
        fs::write(to, fs::read(entry.path()).unwrap()).unwrap();
    }
    folder
}

/// Replaces a text in a file of a folder, which must contain it.
pub fn edit(folder: &TempDir, file: &str, from: &str, to: &str) {
    let path = folder.path().join(file);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{from}");
    fs::write(path, text.replace(from, to)).unwrap();
}

/// The names of all weights that the encoder needs.
pub fn encoder(config: &EsmConfig) -> Vec<String> {
    let mut names = vec!["embed_tokens.weight".to_owned()];
    if config.positions != Positions::Rotary {
        names.push("embed_positions.weight".into());
    }
    let mut both = |module: String| {
        names.extend(["weight", "bias"].map(|part| format!("{module}.{part}")));
    };
    if config.emb_layer_norm_before {
        both("emb_layer_norm_before".into());
    }
    for i in 0..config.layers {
        for module in [
            "self_attn.q_proj",
            "self_attn.k_proj",
            "self_attn.v_proj",
            "self_attn.out_proj",
            "self_attn_layer_norm",
            "fc1",
            "fc2",
            "final_layer_norm",
        ] {
            both(format!("layers.{i}.{module}"));
        }
    }
    both("emb_layer_norm_after".into());
    names
}

pub const LM_HEAD: [&str; 5] = [
    "lm_head.dense.weight",
    "lm_head.dense.bias",
    "lm_head.layer_norm.weight",
    "lm_head.layer_norm.bias",
    "lm_head.bias",
];

pub fn weights(checkpoint: &Checkpoint, name: &str) -> Vec<f32> {
    checkpoint
        .weight(name)
        .and_then(|weight| weight.to_vec())
        .unwrap_or_else(|e| panic!("{e}"))
}

pub fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// A zip archive of stored entries.
pub fn archive(entries: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, bytes) in entries {
        writer.start_file(name.as_str(), options).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// The entries of a torch file.
pub fn entries(file: &Path) -> Vec<(String, Vec<u8>)> {
    let mut archive = ZipArchive::new(Cursor::new(fs::read(file).unwrap())).unwrap();
    (0..archive.len())
        .map(|i| {
            let mut entry = archive.by_index(i).unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            (entry.name().unwrap().into_owned(), bytes)
        })
        .collect()
}

/// A fair-esm fixture with one sequence of bytes of its pickle replaced, in its own folder.
pub fn with_pickle(name: &str, from: &[u8], to: &[u8]) -> (TempDir, PathBuf) {
    let mut entries = entries(&fixture("fair_esm").join(format!("{name}.pt")));
    let pickle = entries
        .iter_mut()
        .find(|(name, _)| name.ends_with("data.pkl"))
        .unwrap();
    let at = pickle
        .1
        .windows(from.len())
        .position(|window| window == from)
        .unwrap();
    pickle.1.splice(at..at + from.len(), to.iter().copied());
    written(&format!("{name}.pt"), &archive(&entries))
}

/// A file in its own folder.
pub fn written(name: &str, bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    (folder, path)
}

/// A tensor of float32 by its shape and bytes.
pub type Floats = (Vec<usize>, Vec<u8>);

/// A tensor of small numbers.
pub fn floats(shape: &[usize]) -> Floats {
    let count: usize = shape.iter().product();
    let numbers = (0..count).map(|i| ((i % 7) as f32 - 3.0) / 10.0);
    (shape.to_vec(), numbers.flat_map(f32::to_le_bytes).collect())
}

/// A copy of an f32 fixture after a change of its tensors, by name.
pub fn changed(name: &str, change: impl Fn(&mut BTreeMap<String, Floats>)) -> TempDir {
    let folder = copy(name);
    let path = folder.path().join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let stored = SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors: BTreeMap<String, Floats> = stored
        .tensors()
        .into_iter()
        .map(|(name, view)| (name, (view.shape().to_vec(), view.data().to_vec())))
        .collect();
    change(&mut tensors);
    let views = tensors.iter().map(|(name, (shape, data))| {
        let view = TensorView::new(Dtype::F32, shape.clone(), data).unwrap();
        (name.clone(), view)
    });
    fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
    folder
}

/// The length of a safetensors header.
pub fn header_length(bytes: &[u8]) -> usize {
    u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize
}
