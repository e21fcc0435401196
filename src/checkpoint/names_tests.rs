use super::*;

fn names(naming: Naming, prefix: &str, head: &str) -> Names {
    Names {
        naming,
        prefix: prefix.into(),
        lm_head: head.into(),
        contact_head: prefix.into(),
    }
}

#[test]
fn wrappers_mean_nothing() {
    for (name, without) in [
        (
            "esm.encoder.layer.0.LayerNorm.bias",
            "esm.encoder.layer.0.LayerNorm.bias",
        ),
        ("_orig_mod.embed_tokens.weight", "embed_tokens.weight"),
        (
            "_fsdp_wrapped_module.layers.3._checkpoint_wrapped_module.fc1.bias",
            "layers.3.fc1.bias",
        ),
        ("my_orig_mod.x", "my_orig_mod.x"),
    ] {
        assert_eq!(unwrapped(name), without);
    }
    assert!(is_embedding("module._orig_mod.embed_tokens.weight"));
    assert!(is_embedding(
        "a.embeddings._orig_mod.word_embeddings.weight"
    ));
    assert!(!is_embedding("shared_embed_tokens.weight"));
}

#[test]
fn a_name_is_inside_or_outside_the_encoder() {
    let hf = names(Naming::HuggingFace, "esm.", "");
    let fair = names(Naming::FairEsm, "", "");
    for (names, name, location) in [
        (
            &hf,
            "esm.encoder.layer.0.adapter.down.weight",
            Location::Inside,
        ),
        (&hf, "esm.embeddings.structure.weight", Location::Inside),
        (&hf, "esm.pooler.dense.weight", Location::Inside),
        (&hf, "classifier.weight", Location::Outside),
        (&fair, "layers.0.adapter.down.weight", Location::Inside),
        (&fair, "embed_structure.weight", Location::Inside),
        (&fair, "classifier.weight", Location::Outside),
    ] {
        assert_eq!(names.location(name), location, "{name}");
    }
}

#[test]
fn every_layout_spells_the_same_weights() {
    let hf = names(Naming::HuggingFace, "esm.", "");
    let fair = names(Naming::FairEsm, "encoder.sentence_encoder.", "encoder.");
    let te = names(Naming::TransformerEngine, "model.", "");
    for (weight, [in_hf, in_fair, in_te]) in [
        (
            "embed_tokens.weight",
            [
                "esm.embeddings.word_embeddings.weight",
                "encoder.sentence_encoder.embed_tokens.weight",
                "model.embeddings.word_embeddings.weight",
            ],
        ),
        (
            "layers.3.self_attn.k_proj.bias",
            [
                "esm.encoder.layer.3.attention.self.key.bias",
                "encoder.sentence_encoder.layers.3.self_attn.k_proj.bias",
                "model.encoder.layers.3.self_attention.layernorm_qkv.bias",
            ],
        ),
        (
            "layers.3.self_attn_layer_norm.weight",
            [
                "esm.encoder.layer.3.attention.LayerNorm.weight",
                "encoder.sentence_encoder.layers.3.self_attn_layer_norm.weight",
                "model.encoder.layers.3.self_attention.layernorm_qkv.layer_norm_weight",
            ],
        ),
        (
            "layers.3.fc2.weight",
            [
                "esm.encoder.layer.3.output.dense.weight",
                "encoder.sentence_encoder.layers.3.fc2.weight",
                "model.encoder.layers.3.layernorm_mlp.fc2_weight",
            ],
        ),
        (
            "emb_layer_norm_after.bias",
            [
                "esm.encoder.emb_layer_norm_after.bias",
                "encoder.sentence_encoder.emb_layer_norm_after.bias",
                "model.encoder.emb_layer_norm_after.bias",
            ],
        ),
        (
            "emb_layer_norm_before.bias",
            [
                "esm.embeddings.layer_norm.bias",
                "encoder.sentence_encoder.emb_layer_norm_before.bias",
                "model.embeddings.layer_norm.bias",
            ],
        ),
        (
            "lm_head.layer_norm.bias",
            [
                "lm_head.layer_norm.bias",
                "encoder.lm_head.layer_norm.bias",
                "lm_head.decoder.layer_norm_bias",
            ],
        ),
    ] {
        assert_eq!(
            [&hf, &fair, &te].map(|names| names.first(weight)),
            [in_hf, in_fair, in_te]
        );
    }
    assert_eq!(
        te.places("layers.0.self_attn.v_proj.weight")[0].part,
        Some((2, 3))
    );
}
