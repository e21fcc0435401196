//! Random weights with the shape of ESM-2 8M (6 layers of 320), under its name.

use crate::common::fixture;
use half::f16;
use safetensors::tensor::{Dtype, TensorView};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const LAYERS: usize = 6;
const DIM: usize = 320;

/// Writes the model into the Hugging Face cache of `home` as the default branch of 8M's repository.
/// Returns the folder of the snapshot.
pub fn in_cache(home: &Path, commit: &str) -> PathBuf {
    let repo = home.join("hub/models--facebook--esm2_t6_8M_UR50D");
    let snapshot = repo.join("snapshots").join(commit);
    std::fs::create_dir_all(&snapshot).unwrap();
    std::fs::create_dir_all(repo.join("refs")).unwrap();
    std::fs::write(repo.join("refs/main"), commit).unwrap();
    write(&snapshot);
    snapshot
}

/// Writes configuration, vocabulary and weights into a folder.
fn write(folder: &Path) {
    let settings = std::fs::read_to_string(fixture("esm2_hd16/config.json")).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&settings).unwrap();
    for (key, value) in [
        ("num_hidden_layers", LAYERS),
        ("hidden_size", DIM),
        ("intermediate_size", 4 * DIM),
        ("num_attention_heads", 20),
    ] {
        config[key] = value.into();
    }
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let vocabulary = std::fs::read(fixture("esm2_hd16/vocab.txt")).unwrap();
    std::fs::write(folder.join("vocab.txt"), vocabulary).unwrap();

    let weights = weights();
    let views: BTreeMap<&str, TensorView<'_>> = weights
        .iter()
        .map(|(name, (shape, data))| {
            let view = TensorView::new(Dtype::F16, shape.clone(), data).unwrap();
            (name.as_str(), view)
        })
        .collect();
    let file = folder.join("model.safetensors");
    safetensors::serialize_to_file(views, None, &file).unwrap();
}

type Weights = BTreeMap<String, (Vec<usize>, Vec<u8>)>;

fn weights() -> Weights {
    let mut weights = Weights::new();
    let mut state = 1_u64;
    let mut add = |name: &str, shape: &[usize], centre: f32, width: f32| {
        let data = (0..shape.iter().product())
            .flat_map(|_| {
                // Knuth's MMIX generator.
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                let unit = (state >> 40) as f32 / (1 << 23) as f32 - 1.0;
                f16::from_f32(centre + width * unit).to_le_bytes()
            })
            .collect();
        weights.insert(name.to_owned(), (shape.to_vec(), data));
    };
    let mut linear = |name: &str, outputs: usize, inputs: usize| {
        let width = (3.0 / inputs as f32).sqrt();
        add(&format!("{name}.weight"), &[outputs, inputs], 0.0, width);
        add(&format!("{name}.bias"), &[outputs], 0.0, 0.1);
    };
    for i in 0..LAYERS {
        let layer = format!("esm.encoder.layer.{i}");
        for part in ["self.query", "self.key", "self.value", "output.dense"] {
            linear(&format!("{layer}.attention.{part}"), DIM, DIM);
        }
        linear(&format!("{layer}.intermediate.dense"), 4 * DIM, DIM);
        linear(&format!("{layer}.output.dense"), DIM, 4 * DIM);
    }
    let mut norm = |name: &str| {
        add(&format!("{name}.weight"), &[DIM], 1.0, 0.3);
        add(&format!("{name}.bias"), &[DIM], 0.0, 0.1);
    };
    for i in 0..LAYERS {
        norm(&format!("esm.encoder.layer.{i}.attention.LayerNorm"));
        norm(&format!("esm.encoder.layer.{i}.LayerNorm"));
    }
    norm("esm.encoder.emb_layer_norm_after");
    add(
        "esm.embeddings.word_embeddings.weight",
        &[33, DIM],
        0.0,
        1.0,
    );
    weights
}
