//! Tensors beside those of a known layout: heads, buffers, adapters, prefixes.

use std::collections::BTreeMap;
use std::fs;

use tempfile::TempDir;

use crate::support::{Floats, changed, copy, edit, encoder, error, fixture, floats, open, weights};

/// The fixture with these tensors beside its own.
fn with(names: &[&str]) -> TempDir {
    changed("esm2_hd16", |tensors| {
        for name in names {
            tensors.insert((*name).to_owned(), floats(&[4, 32]));
        }
    })
}

/// The fixture with every name changed.
fn renamed(rename: impl Fn(&str) -> String) -> TempDir {
    changed("esm2_hd16", |tensors| {
        *tensors = std::mem::take(tensors)
            .into_iter()
            .map(|(name, floats)| (rename(&name), floats))
            .collect::<BTreeMap<String, Floats>>();
    })
}

/// Loads with the weights of the fixture and without a warning.
fn same_as_fixture(folder: &TempDir, what: &str) {
    let base = open(&fixture("esm2_hd16"));
    let found = open(folder.path());
    assert_eq!(found.config(), base.config(), "{what}");
    assert_eq!(found.warnings(), [""; 0], "{what}");
    assert!(found.has_lm_head() && found.has_contact_head(), "{what}");
    for name in encoder(base.config()) {
        assert!(
            weights(&found, &name) == weights(&base, &name),
            "{what}: {name}"
        );
    }
}

#[test]
fn an_unexplained_encoder_tensor_is_refused_by_name() {
    let layer = "esm.encoder.layer.1";
    for name in [
        &format!("{layer}.attention.output.houlsby.adapter_down.0.weight"),
        &format!("{layer}.attention.self.value.lora_A"),
        &format!("{layer}.attention.self.value.lora_B.default.weight"),
        &format!("{layer}.attention.self.query.lora_magnitude_vector.default.weight"),
        &format!("{layer}.attention.self.key.hada_w1_a.default"),
        &format!("{layer}.attention.self.key.lokr_w2.default"),
        &format!("{layer}.attention.self.key.ia3_l.default"),
        &format!("{layer}.parallel_mlp.down.weight"),
        &format!("{layer}.attention.self.bias_k"),
        &format!("{layer}.gate"),
        "esm.embeddings.structure_embeddings.weight",
        "esm.encoder.prompt.weight",
        "esm.struct_proj.weight",
        "esm.pre_norm.weight",
        "esm.gate.weight",
        "esm.layer_weights",
    ] {
        let found = error(with(&[name]).path());
        assert!(
            found.contains(
                "model.safetensors: 1 tensor of the encoder is not part of any known ESM layout"
            ),
            "{found}"
        );
        assert!(
            found.contains(&format!("would be those of another model: `{name}`\n")),
            "{found}"
        );
    }
}

#[test]
fn an_unmerged_adapter_is_named_before_the_weights_it_wraps() {
    let folder = changed("esm2_hd16", |tensors| {
        for layer in 0..2 {
            let key = format!("esm.encoder.layer.{layer}.attention.self.key");
            for part in ["weight", "bias"] {
                let whole = tensors.remove(&format!("{key}.{part}")).unwrap();
                tensors.insert(format!("{key}.base_layer.{part}"), whole);
            }
            for half in ["A", "B"] {
                tensors.insert(
                    format!("{key}.lora_{half}.default.weight"),
                    floats(&[4, 32]),
                );
            }
        }
    });
    let found = error(folder.path());
    assert!(
        found.contains("8 tensors of the encoder are not part of any known ESM layout"),
        "{found}"
    );
    assert!(
        found.contains("`esm.encoder.layer.0.attention.self.key.base_layer.bias`"),
        "{found}"
    );
    assert!(found.contains("and 2 more"), "{found}");
    assert!(found.contains("model.merge_and_unload()"), "{found}");
}

#[test]
fn adapter_tensors_without_an_encoder_are_an_adapter() {
    let folder = changed("esm2_hd16", |tensors| {
        tensors.clear();
        let name = "base_model.model.esm.encoder.layer.0.attention.self.key.lora_A.weight";
        tensors.insert(name.into(), floats(&[4, 32]));
    });
    let found = error(folder.path());
    assert!(
        found.contains("is a PEFT adapter of a model that it does not name"),
        "{found}"
    );
}

#[test]
fn heads_and_buffers_are_harmless() {
    let folder = with(&[
        "classifier.dense.weight",
        "classifier.lora_A.default.weight",
        "esm.pooler.dense.weight",
        "esm.embeddings.position_ids",
        "esm.embeddings.position_embeddings.weight",
        "esm.encoder.layer.0._extra_state",
        "mlm_head.decoder.weight",
        "score.weight",
        "regression.weight",
    ]);
    same_as_fixture(&folder, "heads");
}

#[test]
fn tensors_that_may_change_the_encoder_are_warned_about() {
    for name in [
        "adapters.0.down.weight",
        "prefix_tokens",
        "struct_embed.weight",
        "encoder.extra.weight",
        "embeddings.extra.weight",
        "ia3.l",
        "ssf_scale",
        "layer_weights",
        "pre_layers.0.norm.weight",
        "projector.weight",
        "my_own_module.classifier.weight",
    ] {
        let folder = with(&[name]);
        let checkpoint = open(folder.path());
        let [warning] = checkpoint.warnings() else {
            panic!("{name}: {:?}", checkpoint.warnings());
        };
        let shown = esm_embed::printable::list(&[name]);
        assert!(
            warning.ends_with(&format!(
                "model.safetensors: 1 tensor beside the encoder is not used: {shown}; if it is \
                 part of the encoder, the embeddings are those of another model"
            )),
            "{warning}"
        );
    }
    assert!(error(with(&["soft_prompt"]).path()).contains("soft_prompt"));
    let found = error(with(&["prompt_encoder.default.embedding.weight"]).path());
    assert!(
        found.contains("`prompt_encoder.default.embedding.weight`"),
        "{found}"
    );
}

#[test]
fn prefixes_and_wrappers_do_not_matter() {
    for prefix in [
        "module.",
        "model.",
        "net.",
        "_orig_mod.",
        "_forward_module.",
        "base_model.model.",
        "model.backbone.",
        "_fsdp_wrapped_module.module.",
    ] {
        same_as_fixture(&renamed(|name| format!("{prefix}{name}")), prefix);
    }
    let inside = renamed(|name| {
        let name = name.replace("encoder.layer.0.", "encoder.layer.0._fsdp_wrapped_module.");
        name.replace(
            "layer.1.attention",
            "layer.1._checkpoint_wrapped_module.attention._orig_mod",
        )
    });
    same_as_fixture(&inside, "inside");
}

#[test]
fn the_esm_encoder_is_chosen_and_two_of_them_are_named() {
    let folder = with(&[
        "text.embeddings.word_embeddings.weight",
        "text.encoder.layer.0.x",
    ]);
    let checkpoint = open(folder.path());
    assert_eq!(checkpoint.config(), open(&fixture("esm2_hd16")).config());
    let [warning] = checkpoint.warnings() else {
        panic!("{:?}", checkpoint.warnings());
    };
    assert!(
        warning.contains("2 tensors beside the encoder are not used: `text.embeddings."),
        "{warning}"
    );
    let folder = changed("esm2_hd16", |tensors| {
        let copies: Vec<_> = tensors
            .iter()
            .map(|(name, floats)| (format!("ema.{name}"), floats.clone()))
            .collect();
        tensors.extend(copies);
    });
    let found = error(folder.path());
    assert!(
        found.contains(
            "holds 2 embedding matrices, `ema.esm.embeddings.word_embeddings.weight`, \
             `esm.embeddings.word_embeddings.weight`"
        ),
        "{found}"
    );
}

#[test]
fn a_head_of_another_size_counts_as_absent() {
    // As transformers leaves it after resize_token_embeddings(64).
    let folder = changed("esm2_hd16", |tensors| {
        let (shape, data) = tensors
            .get_mut("esm.embeddings.word_embeddings.weight")
            .unwrap();
        shape[0] = 64;
        data.resize(64 * 32 * 4, 0);
    });
    edit(
        &folder,
        "config.json",
        r#""vocab_size": 33"#,
        r#""vocab_size": 64"#,
    );
    let checkpoint = open(folder.path());
    assert_eq!(checkpoint.config().vocab, 64);
    assert!(!checkpoint.has_lm_head() && checkpoint.has_contact_head());
    assert_eq!(checkpoint.warnings(), [""; 0]);
    // The width of the regression can reveal a wrong configuration.
    let folder = changed("esm2_hd16", |tensors| {
        tensors.insert("esm.contact_head.regression.weight".into(), floats(&[1, 6]));
    });
    let checkpoint = open(folder.path());
    assert!(checkpoint.has_lm_head() && !checkpoint.has_contact_head());
    let [warning] = checkpoint.warnings() else {
        panic!("{:?}", checkpoint.warnings());
    };
    assert!(
        warning.starts_with("the contact head is not used: "),
        "{warning}"
    );
    assert!(
        warning.contains("has shape [1, 6], but [1, 4] is needed"),
        "{warning}"
    );
}

#[test]
fn an_adapter_beside_full_weights_is_warned_about() {
    let folder = copy("esm2_hd16");
    let config = r#"{"peft_type": "LORA", "base_model_name_or_path": "lab/base"}"#;
    fs::write(folder.path().join("adapter_config.json"), config).unwrap();
    let checkpoint = open(folder.path());
    let [warning] = checkpoint.warnings() else {
        panic!("{:?}", checkpoint.warnings());
    };
    assert!(
        warning.contains(
            "adapter_config.json: a PEFT adapter (LoRA) is beside complete weights and is not applied"
        ),
        "{warning}"
    );
    let remedy = format!(
        "hint: to apply it, use `adapter={}`",
        folder.path().display()
    );
    assert!(warning.ends_with(&remedy), "{warning}");
}

#[test]
fn a_weight_in_another_form_is_named_with_the_form() {
    let key = "esm.encoder.layer.0.attention.self.key";
    for (parts, says, remedy) in [
        (
            &["linear.weight", "lora.A"][..],
            "holds a weight in a form that no known layout",
            "merge it",
        ),
        (
            &["modules_to_save.default.weight", "original_module.weight"],
            "holds weights that PEFT wraps",
            "merge_and_unload()",
        ),
        (
            &["weight_g", "weight_v"],
            "weight normalization",
            "remove_weight_norm(module)",
        ),
        (
            &[
                "parametrizations.weight.original0",
                "parametrizations.weight.original1",
            ],
            "parametrized weights",
            "remove_parametrizations(module",
        ),
        (
            &["weight_mask", "weight_orig"],
            "pruned weights",
            "prune.remove(module",
        ),
        (
            &["qweight", "scales"],
            "quantized by GPTQ or AWQ",
            "that they were made from",
        ),
    ] {
        let folder = changed("esm2_hd16", |tensors| {
            let whole = tensors.remove(&format!("{key}.weight")).unwrap();
            for part in parts {
                tensors.insert(format!("{key}.{part}"), whole.clone());
            }
        });
        let found = error(folder.path());
        assert!(found.contains(says) && found.contains(remedy), "{found}");
        assert!(
            found.contains(&format!(
                "instead of `{key}.weight` there are `{key}.{}`",
                parts[0]
            )),
            "{found}"
        );
        assert!(!found.to_lowercase().contains("fetch"), "{found}");
    }
    // bitsandbytes keeps the name and changes the shape.
    let folder = changed("esm2_hd16", |tensors| {
        tensors.insert(format!("{key}.weight"), floats(&[512, 1]));
        tensors.insert(format!("{key}.weight.absmax"), floats(&[16, 1]));
    });
    let found = error(folder.path());
    assert!(
        found.contains("weights quantized by bitsandbytes"),
        "{found}"
    );
}

#[test]
fn empty_tensors_are_attributed_to_deepspeed() {
    let folder = changed("esm2_hd16", |tensors| {
        for (shape, bytes) in tensors.values_mut() {
            *shape = vec![0];
            bytes.clear();
        }
    });
    let found = error(folder.path());
    assert!(
        found.contains("DeepSpeed ZeRO-3") && found.contains("zero_to_fp32.py"),
        "{found}"
    );
}

#[test]
fn an_empty_head_counts_as_absent() {
    let folder = changed("esm2_hd16", |tensors| {
        let (_, bytes) = tensors.get_mut("lm_head.bias").unwrap();
        bytes[4..8].copy_from_slice(&f32::NAN.to_le_bytes());
    });
    let checkpoint = open(folder.path());
    assert!(!checkpoint.has_lm_head() && checkpoint.has_contact_head());
    let [warning] = checkpoint.warnings() else {
        panic!("{:?}", checkpoint.warnings());
    };
    assert!(
        warning.starts_with("the language-model head is not used: "),
        "{warning}"
    );
    assert!(
        warning.contains("`lm_head.bias` holds NaN at row 0, column 1"),
        "{warning}"
    );
}

/// Wrong or few tensors are those of a damaged ESM C, whatever is before their names.
#[test]
fn a_damaged_esm_c_is_named_under_any_prefix() {
    for prefix in ["esmc.", "", "model.backbone."] {
        let folder = changed("esm2_hd16", |tensors| {
            tensors.clear();
            for name in [
                "embed_tokens.weight",
                "layers.0.self_attn.q_norm.weight",
                "layers.0.mlp.gate_proj.weight",
            ] {
                tensors.insert(format!("{prefix}{name}"), floats(&[64, 32]));
            }
        });
        // The configuration is that of ESM-2.
        let found = error(folder.path());
        let says = "config.json: the model type \"esm\" with the tensors of ESM C is not supported";
        assert!(found.contains(says), "{found}");
        fs::write(
            folder.path().join("config.json"),
            r#"{"model_type": "esmc"}"#,
        )
        .unwrap();
        let found = error(folder.path());
        let says =
            "vocab.txt: another alphabet than that of ESM C (token 31 is `<null_1>`, not `|`)";
        assert!(found.contains(says), "{found}");
        fs::remove_file(folder.path().join("vocab.txt")).unwrap();
        let found = error(folder.path());
        let lacks =
            format!("the tensor `{prefix}layers.0.mlp.down_proj.weight` of ESM C is missing");
        assert!(found.contains(&lacks), "{found}");
    }
}

#[test]
fn a_decoder_of_its_own_belongs_to_the_head() {
    let with = |shape: &[usize]| {
        changed("esm2_hd16", |tensors| {
            tensors.insert("lm_head.decoder.weight".into(), floats(shape));
        })
    };
    let folder = with(&[33, 32]);
    let checkpoint = open(folder.path());
    let decoder = checkpoint.lm_head().unwrap().decoder;
    assert_eq!(decoder.name(), "lm_head.decoder.weight");
    let base = open(&fixture("esm2_hd16"));
    assert_eq!(
        base.lm_head().unwrap().decoder.name(),
        "esm.embeddings.word_embeddings.weight"
    );
    let folder = with(&[4, 32]);
    let why = open(folder.path()).lm_head().unwrap_err().to_string();
    assert!(
        why.contains("need: ") && why.contains("`lm_head.decoder.weight` has shape [4, 32]"),
        "{why}"
    );
    // Lost: transformers would make random numbers of it.
    let folder = changed("esm2_hd16", |_| {});
    edit(
        &folder,
        "config.json",
        r#""vocab_size": 33"#,
        r#""vocab_size": 33, "tie_word_embeddings": false"#,
    );
    let why = open(folder.path()).lm_head().unwrap_err().to_string();
    assert!(
        why.contains("tie_word_embeddings is false, but it holds no `lm_head.decoder.weight`"),
        "{why}"
    );
}

#[test]
fn the_head_of_a_fine_tune_is_named_once() {
    for (name, has_lm_head) in [
        ("esm2_hd16_seqcls_v4", false),
        ("esm2_hd16_tokcls", false),
        ("esm2_hd16_dplm", true),
    ] {
        let checkpoint = open(&fixture(name));
        assert_eq!(checkpoint.warnings(), [""; 0], "{name}");
        assert_eq!(checkpoint.has_lm_head(), has_lm_head, "{name}");
        let notes = checkpoint.notes();
        match name {
            "esm2_hd16_dplm" => {
                assert!(!checkpoint.config().token_dropout);
                assert_eq!(notes, [""; 0]);
            }
            _ => {
                let says =
                    "model.safetensors: the head of a fine-tuned model is not used: \"classifier\"";
                assert!(notes.len() == 1 && notes[0].ends_with(says), "{notes:?}");
            }
        }
    }
    let folder = changed("esm2_hd16_seqcls_v4", |tensors| {
        tensors
            .remove("esm.encoder.layer.1.output.dense.weight")
            .unwrap();
    });
    let found = error(folder.path());
    assert!(
        found.contains("the tensor `esm.encoder.layer.1.output.dense.weight` is missing"),
        "{found}"
    );
}
