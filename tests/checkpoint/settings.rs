//! Configurations that contradict their weights, and other kinds of models.

use std::fs;

use crate::support::{copy, edit, error, fixture, open, with_pickle, written};

/// The error after a change of config.json.
fn after(name: &str, from: &str, to: &str) -> String {
    let folder = copy(name);
    edit(&folder, "config.json", from, to);
    let error = error(folder.path());
    assert!(
        error.contains("config.json") || error.contains("model.safetensors"),
        "{error}"
    );
    error
}

#[test]
fn a_config_that_contradicts_its_weights_is_an_error() {
    let layers = |to: &str| after("esm2_hd16", r#""num_hidden_layers": 2"#, to);
    assert!(layers(r#""num_hidden_layers": 1"#).contains("holds a layer number 1"));
    assert!(
        layers(r#""num_hidden_layers": 3"#)
            .contains("`esm.encoder.layer.2.attention.self.query.weight` is missing")
    );
    assert!(layers(r#""num_hidden_layers": 0"#).contains("layers 0 is outside 1 to 512"));
    assert!(layers(r#""num_hidden_layers": 1000000000000"#).contains("outside 1 to 512"));
    for (from, to, says) in [
        (
            r#""hidden_size": 32"#,
            r#""hidden_size": 64"#,
            "has shape [33, 32], but [33, 64] is needed",
        ),
        (
            r#""intermediate_size": 128"#,
            r#""intermediate_size": 96"#,
            "has shape [128, 32], but [96, 32] is needed",
        ),
        (
            r#""num_attention_heads": 2"#,
            r#""num_attention_heads": 4"#,
            "has shape [8], but [4] is needed",
        ),
        (
            r#""num_attention_heads": 2"#,
            r#""num_attention_heads": 3"#,
            "3 attention heads do not divide the width 32",
        ),
        (
            r#""vocab_size": 33"#,
            r#""vocab_size": 40"#,
            "vocab_size is 40, but the embedding matrix has 33 rows",
        ),
        (
            r#""rotary""#,
            r#""absolute""#,
            "the weights hold rotary frequencies",
        ),
        (
            r#""emb_layer_norm_before": false"#,
            r#""emb_layer_norm_before": true"#,
            "`esm.embeddings.layer_norm.weight` is missing",
        ),
        (
            r#""layer_norm_eps": 1e-05"#,
            r#""layer_norm_eps": 0"#,
            "LayerNorm",
        ),
        (
            r#""is_folding_model": false"#,
            r#""is_folding_model": true"#,
            "ESMFold",
        ),
        (
            r#""model_type": "esm""#,
            r#""model_type": "bert""#,
            "the model type \"bert\" is not supported",
        ),
        (
            r#""hidden_size": 32"#,
            r#""hidden_size": -1"#,
            "is not the expected JSON",
        ),
        (
            r#""hidden_size": 32"#,
            r#""hidden_size": 32, "hidden_size": 32"#,
            "duplicate field",
        ),
        ("{", "", "is not the expected JSON"),
    ] {
        let found = after("esm2_hd16", from, to);
        assert!(found.contains(says), "{to}: {found}");
    }
}

#[test]
fn learned_positions_must_exist_and_fit() {
    let found = after(
        "esm1b",
        r#""max_position_embeddings": 1026"#,
        r#""max_position_embeddings": 514"#,
    );
    assert!(
        found.contains("max_position_embeddings is 514, but the position table has 1026 rows"),
        "{found}"
    );
    let found = after(
        "esm1b",
        r#""emb_layer_norm_before": true"#,
        r#""emb_layer_norm_before": false"#,
    );
    assert!(found.contains("the weights hold that LayerNorm"), "{found}");
}

#[test]
fn another_alphabet_is_an_error() {
    let folder = copy("esm2_hd16");
    edit(&folder, "vocab.txt", "L\nA\n", "A\nL\n");
    let error = error(folder.path());
    assert!(
        error.contains("vocab.txt: another alphabet (token 4 is `A`, not `L`)"),
        "{error}"
    );
}

/// The pickle's spelling of `"encoder_attention_heads": 2` up to the memo's number.
fn heads(count: u8) -> Vec<u8> {
    let pickle = fs::read(fixture("fair_esm/esm2_hd16.pt")).unwrap();
    let name = b"encoder_attention_heads";
    let at = pickle
        .windows(name.len())
        .position(|window| window == name)
        .unwrap();
    let mut found = pickle[at..at + name.len() + 4].to_vec();
    assert_eq!(found[name.len()], b'q');
    assert_eq!(found[name.len() + 2..], [b'K', 2]);
    found[name.len() + 3] = count;
    found
}

#[test]
fn heads_must_agree_with_every_source() {
    let (_folder, path) = with_pickle("esm2_hd16", &heads(2), &heads(4));
    let found = error(&path);
    assert!(
        found.contains("has 4 attention heads by its arguments, 2 by its rotary frequencies"),
        "{found}"
    );
    let (_folder, path) = with_pickle(
        "esm2_hd16",
        b"encoder_attention_heads",
        b"encoder_attention_tails",
    );
    assert_eq!(open(&path).config().heads, 2);
}

#[test]
fn arguments_must_agree_with_the_tensors() {
    let (_folder, path) = with_pickle(
        "esm1b",
        b"encoder_embed_dimq\x08K ",
        b"encoder_embed_dimq\x08K!",
    );
    let found = error(&path);
    assert!(
        found.contains("encoder_embed_dim is 33 by its arguments, but 32 by its tensors"),
        "{found}"
    );
}

#[test]
fn a_file_without_arguments_is_recognised_by_its_tensors_or_refused() {
    let (_folder, path) = with_pickle("esm2_hd16", b"\x03\0\0\0cfg", b"\x03\0\0\0cfx");
    assert_eq!(open(&path).config(), open(&fixture("esm2_hd16")).config());
    let (_folder, path) = with_pickle("esm1v", b"\x04\0\0\0args", b"\x04\0\0\0argx");
    let found = error(&path);
    assert!(
        found.contains("does not say how many attention heads it has"),
        "{found}"
    );
}

#[test]
fn other_models_of_the_family_are_named() {
    let arch = |name: &[u8]| {
        let from = b"\x0d\0\0\0roberta_large";
        let to = [&[name.len() as u8, 0, 0, 0], name].concat();
        let (_folder, path) = with_pickle("esm1b", from, &to);
        error(&path)
    };
    assert!(
        arch(b"protein_bert_base").contains("ESM-1 (the model before ESM-1b) is not supported")
    );
    assert!(arch(b"msa_transformer").contains("MSA Transformer is not supported"));
    assert!(
        arch(b"vt_medium_with_invariant_gvp").contains("ESM-IF (inverse folding) is not supported")
    );
    let tensor = |name: &str| {
        let header = format!(r#"{{"{name}":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}}}"#);
        let bytes = [
            &(header.len() as u64).to_le_bytes(),
            header.as_bytes(),
            &[0; 4],
        ]
        .concat();
        let (_folder, path) = written("model.safetensors", &bytes);
        error(&path)
    };
    assert!(tensor("trunk.blocks.0.weight").contains("ESMFold is not supported"));
    let esm3 = tensor("transformer.blocks.0.geom_attn.proj.weight");
    assert!(esm3.contains("ESM3 is not supported"), "{esm3}");
    let esmfold2 = tensor("language_model.base_z_linear.0.weight");
    assert!(esmfold2.contains("ESMFold2 is not supported"), "{esmfold2}");
    // Of ESM C there is one tensor, of one number.
    let esm_c = tensor("transformer.blocks.0.ffn.1.weight");
    assert!(
        esm_c.contains("the tensor `embed.weight` of ESM C is missing"),
        "{esm_c}"
    );
    assert!(
        tensor("bert.weight")
            .contains("holds no ESM embedding matrix; its tensors are `bert.weight`")
    );
}
