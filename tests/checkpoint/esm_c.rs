//! ESM C: its four layouts hold the same weights, and a fault of any of them is an error that names ESM C.

use std::fs;
use std::path::PathBuf;

use esm_embed::checkpoint::{AlphabetProof, Checkpoint, InvFreqSource, Naming, StoredDtype};
use esm_embed::ops::Activation;
use esm_embed::tokenizer::Alphabet;
use safetensors::SafeTensors;

use crate::support::{
    LM_HEAD, bits, changed, copy, edit, error, fixture, floats, open, weights, written,
};

const SDK_FILE: &str = "data/weights/esmc_tiny_2024_12_v0.pth";

/// All weights of the encoder, by the names of this program.
fn encoder(layers: usize) -> Vec<String> {
    let mut names = vec!["embed_tokens.weight".to_owned()];
    for i in 0..layers {
        let parts = [
            "self_attn_layer_norm.weight",
            "self_attn_layer_norm.bias",
            "self_attn.q_proj.weight",
            "self_attn.k_proj.weight",
            "self_attn.v_proj.weight",
            "self_attn.q_norm.weight",
            "self_attn.k_norm.weight",
            "self_attn.out_proj.weight",
            "final_layer_norm.weight",
            "final_layer_norm.bias",
            "fc1_silu.weight",
            "fc1_gate.weight",
            "fc2.weight",
        ];
        names.extend(parts.map(|part| format!("layers.{i}.{part}")));
    }
    names.push("emb_layer_norm_after.weight".into());
    names
}

#[test]
fn the_four_layouts_hold_the_same_weights() {
    for (model, dim, heads, layers, inner) in
        [("esmc_1x64", 64, 1, 3, 72), ("esmc_2x64", 128, 2, 2, 40)]
    {
        let base = open(&fixture(model));
        assert_eq!(
            (base.naming(), &*base.naming().to_string()),
            (Naming::EsmC, "esm-c")
        );
        assert_eq!(base.alphabet(), AlphabetProof::RowsOfEsmC);
        let config = base.config();
        assert_eq!(
            (config.dim, config.heads, config.layers),
            (dim, heads, layers)
        );
        assert_eq!(
            (config.intermediate, config.vocab, config.logits()),
            (inner, 64, 64)
        );
        assert_eq!(
            (config.activation, config.alphabet),
            (Activation::SwiGlu, Alphabet::EsmC)
        );
        assert!(config.qk_norm && !config.biases && !config.token_dropout);
        let scale = (36.0 / layers as f64).sqrt() as f32;
        assert_eq!(
            (config.residual_scale, config.layer_norm_eps),
            (scale, 1e-5)
        );
        assert!(base.warnings().is_empty(), "{:?}", base.warnings());
        assert!(base.weight("layers.0.self_attn.q_proj.bias").is_err());
        let frequencies = base.inv_freq(0).unwrap();
        assert_eq!(
            (frequencies.values.len(), frequencies.source),
            (32, InvFreqSource::Computed)
        );
        for (layout, naming, shown, proof) in [
            (
                "sdk",
                Naming::EsmCSdk,
                "esm-c-sdk",
                AlphabetProof::RowsOfEsmC,
            ),
            (
                "research",
                Naming::EsmCResearch,
                "esm-c-research",
                AlphabetProof::RowsOfEsmC,
            ),
            (
                "plusplus",
                Naming::EsmCSdk,
                "esm-c-sdk",
                AlphabetProof::TokenizerJson,
            ),
        ] {
            let found = open(&fixture(&format!("{model}_{layout}")));
            assert_eq!(
                (found.naming(), &*found.naming().to_string()),
                (naming, shown)
            );
            assert_eq!(found.config(), config, "{layout}");
            assert_eq!(
                (found.alphabet(), found.stored_dtype()),
                (proof, StoredDtype::F16)
            );
            assert!(found.warnings().is_empty(), "{:?}", found.warnings());
            assert!(found.has_lm_head() && !found.has_contact_head());
            let head = LM_HEAD.iter().map(|name| (*name).to_owned());
            let decoder = ["lm_head.weight".to_owned()];
            for name in encoder(layers).into_iter().chain(head).chain(decoder) {
                let (found, base) = (weights(&found, &name), weights(&base, &name));
                assert!(bits(&found) == bits(&base), "{layout} {name}");
            }
        }
    }
}

/// Each tensor that the encoder needs, in each layout of safetensors.
#[test]
fn a_missing_tensor_is_named() {
    for model in ["esmc_1x64", "esmc_1x64_plusplus"] {
        let path = fixture(model).join("model.safetensors");
        let bytes = fs::read(path).unwrap();
        let stored = SafeTensors::deserialize(&bytes).unwrap();
        let names: Vec<String> = stored
            .names()
            .into_iter()
            .map(ToString::to_string)
            .collect();
        let mut heads = 0;
        for name in names {
            let folder = changed(model, |tensors| {
                // `changed` writes f32.
                for (shape, data) in tensors.values_mut() {
                    *data = vec![0; shape.iter().product::<usize>() * 4];
                }
                tensors.remove(&name).unwrap();
            });
            if name.contains("head") {
                let checkpoint = open(folder.path());
                assert!(!checkpoint.has_lm_head(), "{name}");
                let why = checkpoint.lm_head().unwrap_err().to_string();
                assert!(why.contains(&format!("it holds no `{name}`")), "{why}");
                heads += 1;
                continue;
            }
            let found = error(folder.path());
            let says = format!("the tensor `{name}` of ESM C is missing");
            assert!(found.contains(&says), "{name}: {found}");
        }
        assert_eq!(heads, 6, "{model}");
    }
}

#[test]
fn a_lost_shard_and_a_tensor_of_another_shape_are_named() {
    let folder = copy("esmc_1x64_research");
    fs::remove_file(folder.path().join("model-00002-of-00003.safetensors")).unwrap();
    let found = error(folder.path());
    assert!(
        found.contains("model-00002-of-00003.safetensors: this shard is missing"),
        "{found}"
    );
    for (name, shape) in [
        ("esmc.layers.1.mlp.up_proj.weight", &[71, 64][..]),
        ("esmc.layers.0.self_attn.q_norm.weight", &[64, 1]),
        ("esmc.layers.2.self_attn.v_proj.weight", &[64, 65]),
    ] {
        let folder = changed("esmc_1x64", |tensors| {
            tensors.insert(name.into(), floats(shape));
        });
        let found = error(folder.path());
        assert!(
            found.contains(&format!("`{name}` of ESM C has shape {shape:?}")),
            "{found}"
        );
    }
}

#[test]
fn tensors_that_no_layout_explains_are_refused() {
    for name in [
        "esmc.layers.0.mlp.down_proj.bias",
        "esmc.layers.0.self_attn.q_norm.bias",
        "esmc.layers.0.self_attn.q_proj.lora_A.weight",
    ] {
        let folder = changed("esmc_1x64", |tensors| {
            tensors.insert(name.into(), floats(&[64]));
        });
        let found = error(folder.path());
        assert!(found.contains(name), "{found}");
    }
    // Rotary frequencies are always computed, and states of TransformerEngine mean nothing.
    let folder = changed("esmc_1x64", |tensors| {
        tensors.insert("esmc.rotary_emb.inv_freq".into(), floats(&[32]));
        tensors.insert("esmc.layers.0.mlp._extra_state".into(), floats(&[0]));
    });
    let checkpoint = open(folder.path());
    assert_eq!(
        checkpoint.inv_freq(0).unwrap().source,
        InvFreqSource::Computed
    );
}

#[test]
fn settings_that_contradict_the_tensors_are_refused() {
    for (from, to, says) in [
        (
            r#""hidden_size": 64"#,
            r#""hidden_size": 65"#,
            "hidden_size is 65, but by the tensors",
        ),
        (
            r#""num_hidden_layers": 3"#,
            r#""num_hidden_layers": 4"#,
            "num_hidden_layers is 4",
        ),
        (
            r#""num_hidden_layers": 3"#,
            r#""n_layers": 18446744073709551615"#,
            "n_layers is 18446744073709551615",
        ),
        (
            r#""intermediate_size": 72"#,
            r#""intermediate_size": 71"#,
            "intermediate_size is 71",
        ),
        (
            r#""num_attention_heads": 1"#,
            r#""num_attention_heads": 0"#,
            "attention heads 0 is outside",
        ),
        (
            r#""num_attention_heads": 1"#,
            r#""num_attention_heads": 3"#,
            "3 attention heads do not divide",
        ),
        (
            r#""num_key_value_heads": 1"#,
            r#""num_key_value_heads": 2"#,
            "num_key_value_heads is 2",
        ),
        (
            r#""vocab_size": 64"#,
            r#""vocab_size": 33"#,
            "vocab_size is 33",
        ),
        (
            r#""hidden_act": "silu""#,
            r#""hidden_act": "gelu""#,
            "ESM C with hidden_act \"gelu\" is not supported",
        ),
        (
            r#""attention_bias": false"#,
            r#""attention_bias": true"#,
            "ESM C with biases",
        ),
        (
            r#""rope_type": "default""#,
            r#""rope_type": "yarn""#,
            "ESM C with rope_type \"yarn\"",
        ),
        (
            r#""rope_theta": 10000.0"#,
            r#""rope_theta": 0.5"#,
            "rope_theta 0.5 is not a base above 1",
        ),
        (
            r#""mask_token_id": 32"#,
            r#""mask_token_id": 4"#,
            "mask_token_id is 4, not 32",
        ),
        (
            r#""model_type": "esmc""#,
            r#""model_type": "esmfold2""#,
            "\"esmfold2\" with the tensors of ESM C",
        ),
        (
            r#""hidden_size": 64"#,
            r#""hidden_size": -1"#,
            "is not the expected JSON",
        ),
    ] {
        let folder = copy("esmc_1x64");
        edit(&folder, "config.json", from, to);
        let found = error(folder.path());
        assert!(
            found.contains("config.json: ") || found.contains("safetensors: "),
            "{found}"
        );
        assert!(found.contains(says), "{to}: {found}");
    }
    // What it leaves out, the tensors tell.
    let folder = copy("esmc_1x64");
    fs::write(
        folder.path().join("config.json"),
        r#"{"model_type": "esmc"}"#,
    )
    .unwrap();
    assert_eq!(
        open(folder.path()).config(),
        open(&fixture("esmc_1x64")).config()
    );
}

#[test]
fn another_number_of_rows_is_another_alphabet() {
    let folder = changed("esmc_1x64", |tensors| {
        tensors.insert("esmc.embed_tokens.weight".into(), floats(&[65, 64]));
    });
    edit(
        &folder,
        "config.json",
        r#""vocab_size": 64"#,
        r#""vocab_size": 65"#,
    );
    let found = error(folder.path());
    let says = "another alphabet than that of ESM C (its embedding has 65 rows)";
    assert!(found.contains(says), "{found}");
}

#[test]
fn values_that_are_not_finite_are_found_in_every_part_of_a_fused_tensor() {
    let path = fixture("esmc_1x64_plusplus").join("model.safetensors");
    let mut bytes = fs::read(path).unwrap();
    let at = |bytes: &[u8], name: &str, element: usize| {
        let stored = SafeTensors::deserialize(bytes).unwrap();
        let data = stored.tensor(name).unwrap().data();
        data.as_ptr() as usize - bytes.as_ptr() as usize + 2 * element
    };
    // The last row of v, and the first of the gate.
    for (name, element, weight) in [
        (
            "transformer.blocks.1.attn.layernorm_qkv.1.weight",
            191 * 64,
            "layers.1.self_attn.v_proj.weight",
        ),
        (
            "transformer.blocks.2.ffn.1.weight",
            72 * 64 + 5,
            "layers.2.fc1_gate.weight",
        ),
    ] {
        let place = at(&bytes, name, element);
        let before = [bytes[place], bytes[place + 1]];
        bytes[place..place + 2].copy_from_slice(&[0, 0x7e]);
        let folder = copy("esmc_1x64_plusplus");
        fs::write(folder.path().join("model.safetensors"), &bytes).unwrap();
        let checkpoint = open(folder.path());
        let found = checkpoint
            .weight(weight)
            .unwrap()
            .to_vec()
            .unwrap_err()
            .to_string();
        assert!(
            found.contains(&format!("the tensor `{name}` holds NaN")),
            "{found}"
        );
        bytes[place..place + 2].copy_from_slice(&before);
    }
}

#[test]
fn a_file_of_the_sdk_cut_anywhere_is_an_error() {
    let bytes = fs::read(fixture("esmc_1x64_sdk").join(SDK_FILE)).unwrap();
    let (_folder, path) = written("esmc.pth", &bytes);
    assert_eq!(open(&path).naming(), Naming::EsmCSdk);
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    for cut in (0..bytes.len()).rev().step_by(997) {
        file.set_len(cut as u64).unwrap();
        let found = error(&path);
        assert!(found.contains("esmc.pth: "), "{cut}: {found}");
    }
}

/// A configuration of something else beside a `.pth` does not belong to it.
#[test]
fn the_sdk_needs_no_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let below: PathBuf = folder.path().join("data/weights");
    fs::create_dir_all(&below).unwrap();
    let from = fixture("esmc_1x64_sdk").join(SDK_FILE);
    fs::copy(&from, below.join("esmc.pth")).unwrap();
    let expected = open(&from);
    for beside in [
        None,
        Some("{}"),
        Some(r#"{"model_type": "bert", "hidden_size": 7}"#),
    ] {
        if let Some(text) = beside {
            fs::write(below.join("config.json"), text).unwrap();
        }
        let found = Checkpoint::open(folder.path()).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(found.config(), expected.config());
    }
    fs::write(
        below.join("config.json"),
        r#"{"model_type": "esmc", "d_model": 65}"#,
    )
    .unwrap();
    assert!(error(folder.path()).contains("d_model is 65"));
}
