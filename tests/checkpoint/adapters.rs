//! LoRA adapters of PEFT: what they add to weights, and what is refused.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use esm_embed::checkpoint::{Additions, Checkpoint};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use tempfile::TempDir;

use crate::support::{Floats, copy, edit, fixture, floats, open, weights};

const BASE: &str = "esm2_hd16";
const WEIGHTS: &str = "adapter_model.safetensors";

fn with(base: &Path, adapter: &Path) -> Result<Checkpoint, String> {
    let additions = Additions {
        adapter: Some(adapter),
        ..Additions::default()
    };
    Checkpoint::open_with(base, additions).map_err(|error| error.to_string())
}

fn error(adapter: &TempDir) -> String {
    with(&fixture(BASE), adapter.path()).unwrap_err()
}

/// A copy of an adapter after a change of its tensors.
fn changed(name: &str, change: impl Fn(&mut BTreeMap<String, Floats>)) -> TempDir {
    let folder = copy(&format!("adapters/{name}"));
    let path = folder.path().join(WEIGHTS);
    let bytes = fs::read(&path).unwrap();
    let stored = SafeTensors::deserialize(&bytes).unwrap();
    let tensors = stored.tensors().into_iter();
    let mut tensors = tensors
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

fn numbers(floats: &Floats) -> Vec<f32> {
    let bytes = floats.1.chunks_exact(4);
    bytes
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
        .collect()
}

#[test]
fn the_product_of_the_matrices_is_added() {
    let folder = fixture("adapters/one_layer");
    let bytes = fs::read(folder.join(WEIGHTS)).unwrap();
    let stored = SafeTensors::deserialize(&bytes).unwrap();
    let matrix = |half: &str| {
        let name =
            format!("base_model.model.esm.encoder.layer.1.attention.self.value.lora_{half}.weight");
        let view = stored.tensor(&name).unwrap();
        numbers(&(view.shape().to_vec(), view.data().to_vec()))
    };
    let (a, b) = (matrix("A"), matrix("B"));
    let base = open(&fixture(BASE));
    let found = with(&fixture(BASE), &folder).unwrap();
    let value = "layers.1.self_attn.v_proj.weight";
    let (before, after) = (weights(&base, value), weights(&found, value));
    let mut most = 0.0f64;
    for row in 0..32 {
        for column in 0..32 {
            let product: f64 = (0..4)
                .map(|k| f64::from(b[row * 4 + k]) * f64::from(a[k * 32 + column]))
                .sum();
            // α / r = 8 / 4.
            let want = f64::from(before[row * 32 + column]) + 2.0 * product;
            most = most.max((f64::from(after[row * 32 + column]) - want).abs());
        }
    }
    assert!(most < 1e-6, "{most:e}");
    let same = "layers.0.self_attn.v_proj.weight";
    assert!(weights(&base, same) == weights(&found, same));
    // The head that was trained as a whole takes the place of the base's.
    assert!(weights(&base, "lm_head.dense.weight") != weights(&found, "lm_head.dense.weight"));
    assert!(found.has_lm_head());
    let applied = found.adapter().unwrap();
    assert_eq!(applied.weights, 7);
    let names: Vec<_> = found
        .files()
        .iter()
        .map(|f| f.file_name().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "config.json",
            "model.safetensors",
            "adapter_config.json",
            WEIGHTS
        ]
    );
    assert_eq!((found.warnings(), found.notes()), (&[][..], &[][..]));
}

#[test]
fn heads_are_named_and_not_used() {
    let found = with(&fixture(BASE), &fixture("adapters/rslora_bin")).unwrap();
    let folder = fixture("adapters/rslora_bin");
    assert_eq!(
        found.notes(),
        [format!(
            "{}: a head that the adapter trained is not used: \"classifier\"",
            folder.display()
        )]
    );
    let logits = with(&fixture(BASE), &fixture("adapters/embedding")).unwrap();
    let why = logits.lm_head().unwrap_err().to_string();
    assert!(
        why.contains("the adapter changes the token embedding, which is also the head's decoder"),
        "{why}"
    );
}

#[test]
fn any_layout_of_the_base_gives_the_same_weights() {
    let adapter = fixture("adapters/lora");
    let first = with(&fixture(BASE), &adapter).unwrap();
    for base in [
        "fair_esm/esm2_hd16.pt",
        "esm2_hd16_te",
        "esm2_hd16_noprefix",
        "esm2_hd16_bin",
    ] {
        let found = with(&fixture(base), &adapter).unwrap();
        for name in [
            "layers.0.self_attn.k_proj.weight",
            "layers.1.fc2.weight",
            "layers.1.fc1.bias",
        ] {
            assert!(
                weights(&found, name) == weights(&first, name),
                "{base}: {name}"
            );
        }
    }
    // The path of a file of the adapter is as good as that of its folder.
    let file = with(&fixture(BASE), &adapter.join(WEIGHTS)).unwrap();
    let key = "layers.0.self_attn.k_proj.weight";
    assert!(weights(&file, key) == weights(&first, key));
}

/// An adapter of rank 2 with these tensors.
fn written(tensors: &[(&str, &[usize])]) -> TempDir {
    let folder = changed("one_layer", |held| {
        held.clear();
        let all = tensors.iter();
        held.extend(all.map(|(name, shape)| (format!("base_model.model.{name}"), floats(shape))));
    });
    fs::write(
        folder.path().join("adapter_config.json"),
        r#"{"peft_type": "LORA", "r": 2, "lora_alpha": 6}"#,
    )
    .unwrap();
    folder
}

/// Row by row, `3 · B · A` for the matrices of `floats`: `rows` rows of it from `first`.
fn product(rows: usize, columns: usize, first: usize) -> Vec<f64> {
    let a = numbers(&floats(&[2, columns]));
    let b = numbers(&floats(&[first + rows, 2]));
    let value = |row: usize, column: usize| {
        let terms = (0..2)
            .map(|k| f64::from(b[(first + row) * 2 + k]) * f64::from(a[k * columns + column]));
        3.0 * terms.sum::<f64>()
    };
    (0..rows * columns)
        .map(|i| value(i / columns, i % columns))
        .collect()
}

fn assert_added(before: &[f32], after: &[f32], product: &[f64]) {
    assert_eq!((before.len(), after.len()), (product.len(), product.len()));
    for ((before, after), product) in before.iter().zip(after).zip(product) {
        let wanted = f64::from(*before) + product;
        assert!(
            (f64::from(*after) - wanted).abs() < 1e-6,
            "{after} {wanted}"
        );
    }
}

/// LoRA of the SDK or ESM++ changes query, key and value by one product, whatever the layout of the base.
#[test]
fn fused_matrices_of_esm_c_fit_every_layout() {
    let qkv = "transformer.blocks.1.attn.layernorm_qkv.1.lora";
    let inner = "transformer.blocks.1.ffn.1.lora";
    let adapter = written(&[
        (&format!("{qkv}_A.weight"), &[2, 64]),
        (&format!("{qkv}_B.weight"), &[192, 2]),
        (&format!("{inner}_A.weight"), &[2, 64]),
        (&format!("{inner}_B.weight"), &[144, 2]),
    ]);
    for layout in ["", "_sdk", "_plusplus", "_research"] {
        let base = fixture(&format!("esmc_1x64{layout}"));
        let found = with(&base, adapter.path()).unwrap_or_else(|error| panic!("{layout}: {error}"));
        let base = open(&base);
        for (weight, rows, first) in [
            ("self_attn.q_proj", 64, 0),
            ("self_attn.k_proj", 64, 64),
            ("self_attn.v_proj", 64, 128),
            ("fc1_silu", 72, 0),
            ("fc1_gate", 72, 72),
        ] {
            let weight = format!("layers.1.{weight}.weight");
            let wanted = product(rows, 64, first);
            assert_added(&weights(&base, &weight), &weights(&found, &weight), &wanted);
        }
        assert_eq!(found.adapter().unwrap().weights, 5);
    }
}

#[test]
fn a_tied_decoder_is_changed_without_the_embedding() {
    let adapter = written(&[
        ("lm_head.decoder.lora_A.weight", &[2, 32]),
        ("lm_head.decoder.lora_B.weight", &[33, 2]),
    ]);
    for base in [BASE, "fair_esm/esm2_hd16.pt"] {
        let found = with(&fixture(base), adapter.path()).unwrap();
        let embedding = weights(&open(&fixture(base)), "embed_tokens.weight");
        assert!(
            weights(&found, "embed_tokens.weight") == embedding,
            "{base}"
        );
        let decoder = found.lm_head().unwrap().decoder.to_vec().unwrap();
        assert_added(&embedding, &decoder, &product(33, 32, 0));
    }
    // What is tied to an embedding that changes too would depend on how they are merged.
    let both = written(&[
        ("esm.embeddings.word_embeddings.lora_embedding_A", &[2, 33]),
        ("esm.embeddings.word_embeddings.lora_embedding_B", &[32, 2]),
        ("lm_head.decoder.lora_A.weight", &[2, 32]),
        ("lm_head.decoder.lora_B.weight", &[33, 2]),
    ]);
    let found = with(&fixture(BASE), both.path()).unwrap();
    assert!(
        found
            .lm_head()
            .unwrap_err()
            .to_string()
            .contains("also the head's decoder")
    );
}

#[test]
fn other_kinds_are_refused_by_name() {
    let dora = with(&fixture(BASE), &fixture("adapters/dora")).unwrap_err();
    assert!(
        dora.contains(
            "adapter_config.json: a PEFT adapter (LoRA) of fixtures/esm2_hd16 cannot be applied: its \
             use_dora makes it DoRA\nhint: merge it into its base model in Python"
        ),
        "{dora}"
    );
    for (kind, name) in [
        ("LOHA", "LoHa"),
        ("IA3", "IA3"),
        ("PROMPT_TUNING", "prompt tuning"),
    ] {
        let folder = copy("adapters/lora");
        edit(
            &folder,
            "adapter_config.json",
            "\"LORA\"",
            &format!("\"{kind}\""),
        );
        let found = error(&folder);
        let says = format!(
            "a PEFT adapter ({name}) of fixtures/esm2_hd16 cannot be applied: only LoRA can be"
        );
        assert!(found.contains(&says), "{found}");
    }
    let folder = copy("adapters/lora");
    edit(
        &folder,
        "adapter_config.json",
        "\"init_lora_weights\": true",
        "\"init_lora_weights\": \"pissa\"",
    );
    let found = error(&folder);
    assert!(
        found.contains("its init_lora_weights is \"pissa\", which changes the weights of the base"),
        "{found}"
    );
}

#[test]
fn an_adapter_of_another_model_names_both_shapes() {
    let found = with(&fixture("esm2_hd24"), &fixture("adapters/one_layer")).unwrap_err();
    let says = "the adapter does not fit the model ";
    assert!(found.contains(says), "{found}");
    assert!(
        found.contains(
            "`base_model.model.lm_head.bias` has shape"
        ) || found.contains("lm_head.decoder.weight` has shape [33, 32], but [33, 48] is needed for `lm_head.weight` of the model"),
        "{found}"
    );
    assert!(
        found.ends_with(
            "hint: give the model that it was trained on with `model`: fixtures/esm2_hd16"
        ),
        "{found}"
    );
    let found = with(&fixture("esm2_hd24"), &fixture("adapters/rslora_bin")).unwrap_err();
    assert!(
        found.contains(
            "`base_model.model.esm.encoder.layer.0.attention.self.query.lora_B.weight` has shape [32, 8], but \
             [48, 8] is needed for `layers.0.self_attn.q_proj.weight` of the model"
        ),
        "{found}"
    );
}

#[test]
fn incomplete_and_foreign_tensors_are_refused() {
    let value = "base_model.model.esm.encoder.layer.1.attention.self.value";
    let lacks = |part: &str| {
        let name = format!("{value}.{part}");
        let folder = changed("one_layer", |tensors| {
            tensors.remove(&name).unwrap();
        });
        let found = error(&folder);
        assert!(
            found.contains(&format!("{WEIGHTS}: the tensor `{name}` is missing")),
            "{found}"
        );
    };
    lacks("lora_A.weight");
    lacks("lora_B.weight");
    // A module that the configuration names has no matrices at all.
    let folder = changed("one_layer", |tensors| {
        tensors.retain(|name, _| !name.contains(".value."));
    });
    edit(
        &folder,
        "adapter_config.json",
        "\"value\"",
        "\"value\", \"key\"",
    );
    let found = changed("lora", |tensors| {
        tensors.retain(|name, _| !name.contains("layer.0.output.dense"));
    });
    let found = error(&found);
    assert!(
        found.contains(
            "the tensor `base_model.model.esm.encoder.layer.0.output.dense.lora_A.weight` is missing"
        ),
        "{found}"
    );
    for (name, says) in [
        (
            "base_model.model.esm.encoder.layer.7.attention.self.value.lora_A.weight",
            "is for no weight of this model",
        ),
        (
            "base_model.model.vision.blocks.0.lora_A.weight",
            "is for no weight of this model",
        ),
        (
            "base_model.model.esm.encoder.layer.0.attention.self.value.hada_w1_a",
            "is not a tensor of LoRA",
        ),
    ] {
        let found = error(&changed("one_layer", |tensors| {
            tensors.insert(name.to_owned(), floats(&[4, 32]));
        }));
        assert!(found.contains(&format!("`{name}` {says}")), "{found}");
    }
}

#[test]
fn settings_and_tensors_must_agree() {
    let folder = copy("adapters/one_layer");
    edit(&folder, "adapter_config.json", "\"r\": 4", "\"r\": 8");
    let found = error(&folder);
    assert!(
        found.contains("adapter_config.json: the rank of esm.encoder.layer.1.attention.self.value is 8, but `base_model"),
        "{found}"
    );
    let folder = copy("adapters/one_layer");
    edit(
        &folder,
        "adapter_config.json",
        "\"r\": 4",
        "\"r\": 4, \"use_newer\": true",
    );
    let found = with(&fixture(BASE), folder.path()).unwrap();
    assert!(
        found.warnings()[0].contains("this program does not know what \"use_newer\" means"),
        "{:?}",
        found.warnings()
    );
}

#[test]
fn a_damaged_adapter_names_its_tensor_and_file() {
    let folder = changed("one_layer", |tensors| {
        let (_, bytes) = tensors.values_mut().next().unwrap();
        bytes[8..12].copy_from_slice(&f32::NAN.to_le_bytes());
    });
    let found = with(&fixture(BASE), folder.path()).unwrap();
    let found = found.check_finite(|_| true).unwrap_err().to_string();
    assert!(
        found.contains(
            "adapter_model.safetensors: the tensor \
             `base_model.model.esm.encoder.layer.1.attention.self.value.lora_A.weight` holds NaN at row 0, \
             column 2"
        ),
        "{found}"
    );
    // Finite numbers whose sum is not.
    let folder = changed("one_layer", |tensors| {
        let of_value = tensors
            .iter_mut()
            .filter(|(name, _)| name.contains("value.lora_"));
        for number in of_value.flat_map(|(_, (_, bytes))| bytes.chunks_exact_mut(4)) {
            number.copy_from_slice(&1e30f32.to_le_bytes());
        }
    });
    let found = with(&fixture(BASE), folder.path()).unwrap();
    let found = found.check_finite(|_| true).unwrap_err().to_string();
    assert!(
        found.contains(
            "adapter_model.safetensors: with the adapter's \
             `base_model.model.esm.encoder.layer.1.attention.self.value.lora_B.weight` the weight \
             `esm.encoder.layer.1.attention.self.value.weight` of its base is "
        ) && found.contains(" at row 0, column "),
        "{found}"
    );
    let whole = fs::read(fixture("adapters/one_layer").join(WEIGHTS)).unwrap();
    for length in [0, 7, 100, whole.len() / 2, whole.len() - 1] {
        let folder = copy("adapters/one_layer");
        fs::write(folder.path().join(WEIGHTS), &whole[..length]).unwrap();
        assert!(error(&folder).contains(WEIGHTS), "{length}");
    }
}

#[test]
fn what_is_no_adapter_is_said() {
    let nowhere = with(&fixture(BASE), Path::new("/nowhere")).unwrap_err();
    assert!(
        nowhere
            .starts_with("/nowhere: no such file or folder\nhint: name the folder that PEFT saved"),
        "{nowhere}"
    );
    let model = with(&fixture(BASE), &fixture(BASE)).unwrap_err();
    assert!(
        model.contains("esm2_hd16: is not an adapter: it has no adapter_config.json"),
        "{model}"
    );
    let folder = copy("adapters/lora");
    fs::remove_file(folder.path().join(WEIGHTS)).unwrap();
    let found = error(&folder);
    assert!(
        found.contains(
            "holds adapter_config.json, but neither adapter_model.safetensors nor adapter_model.bin"
        ),
        "{found}"
    );
}
