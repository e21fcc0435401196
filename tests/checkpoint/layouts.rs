//! Every layout loads, and gives the weights of the plain Hugging Face folder to the bit.

use esm_embed::checkpoint::{Checkpoint, EsmConfig, InvFreqSource, Naming, Positions, StoredDtype};
use esm_embed::ops::Activation;
use esm_embed::tokenizer::Alphabet;
use half::{bf16, f16};

use crate::support::{LM_HEAD, bits, encoder, fixture, open, weights};

fn esm2_hd16() -> EsmConfig {
    EsmConfig {
        layers: 2,
        dim: 32,
        heads: 2,
        intermediate: 128,
        activation: Activation::Gelu,
        vocab: 33,
        alphabet: Alphabet::Esm,
        positions: Positions::Rotary,
        emb_layer_norm_before: false,
        token_dropout: true,
        biases: true,
        qk_norm: false,
        residual_scale: 1.0,
        layer_norm_eps: 1e-5,
    }
}

/// All weights of the encoder are equal; rows that pad the vocabulary are not compared.
fn same_encoder(found: &Checkpoint, base: &Checkpoint) {
    let rows = base.config().vocab * base.config().dim;
    for name in encoder(base.config()) {
        let (found, base) = (weights(found, &name), weights(base, &name));
        let found = if name == "embed_tokens.weight" {
            &found[..rows]
        } else {
            &found
        };
        assert!(found == base.as_slice(), "{name}");
    }
}

fn same_inv_freq(found: &Checkpoint, base: &Checkpoint) {
    for layer in 0..base.config().layers {
        assert_eq!(
            found.inv_freq(layer).unwrap(),
            base.inv_freq(layer).unwrap()
        );
    }
}

#[test]
fn the_plain_folder() {
    let folder = fixture("esm2_hd16");
    let checkpoint = open(&folder);
    assert_eq!(checkpoint.config(), &esm2_hd16());
    assert_eq!(checkpoint.config().head_dim(), 16);
    assert_eq!(checkpoint.naming(), Naming::HuggingFace);
    assert_eq!(checkpoint.naming().to_string(), "huggingface");
    assert_eq!(checkpoint.stored_dtype(), StoredDtype::F32);
    assert_eq!(
        checkpoint.files(),
        [folder.join("config.json"), folder.join("model.safetensors")]
    );
    assert!(checkpoint.has_lm_head() && checkpoint.has_contact_head());
    let key = checkpoint
        .weight("layers.1.self_attn.k_proj.weight")
        .unwrap();
    assert_eq!(key.shape(), [32, 32]);
    assert_eq!(key.name(), "esm.encoder.layer.1.attention.self.key.weight");
    let mut row = [0.0; 32];
    key.read_row(5, &mut row).unwrap();
    assert_eq!(bits(&row[..3]), [1051378037, 3188217286, 1048810877]);
    assert_eq!(
        checkpoint.weight("layers.1.fc1.bias").unwrap().shape(),
        [1, 128]
    );
    assert_eq!(
        checkpoint
            .weight("contact_head.regression.weight")
            .unwrap()
            .shape(),
        [1, 4]
    );
    let inv_freq = checkpoint.inv_freq(1).unwrap();
    assert_eq!(inv_freq.source, InvFreqSource::Stored);
    assert_eq!(inv_freq.values[1], 0.316_162_1);
    assert_eq!(inv_freq.values[7], 0.000_316_143_04);
    let error = checkpoint
        .weight("layers.2.fc1.bias")
        .unwrap_err()
        .to_string();
    assert!(
        error.ends_with("this model has no weight `layers.2.fc1.bias`"),
        "{error}"
    );
    assert!(checkpoint.inv_freq(2).is_err());
}

#[test]
fn rows_read_in_any_order_equal_the_whole_tensor() {
    let checkpoint = open(&fixture("esm2_hd16"));
    for name in encoder(checkpoint.config()) {
        let weight = checkpoint.weight(&name).unwrap();
        let [count, columns] = weight.shape();
        let whole = weight.to_vec().unwrap();
        let mut rows = weight.rows();
        let mut row = vec![0.0; columns];
        for number in (0..count).rev() {
            rows.read(number, &mut row).unwrap();
            assert_eq!(row, whole[number * columns..][..columns], "{name}");
        }
    }
}

#[test]
fn hugging_face_variants_hold_the_same_model() {
    let base = open(&fixture("esm2_hd16"));
    for (variant, lm_head) in [
        ("esm2_hd16_sharded", true),
        ("esm2_hd16_bin", true),
        ("esm2_hd16_bin_sharded", true),
        ("esm2_hd16_v5", true),
        ("esm2_hd16_noprefix", false),
        ("esm2_hd16_noprefix_v5", false),
    ] {
        let found = open(&fixture(variant));
        assert_eq!(found.config(), base.config(), "{variant}");
        assert_eq!(found.naming(), Naming::HuggingFace, "{variant}");
        assert_eq!(found.stored_dtype(), StoredDtype::F32, "{variant}");
        assert_eq!(found.has_lm_head(), lm_head, "{variant}");
        assert!(found.has_contact_head(), "{variant}");
        same_encoder(&found, &base);
        same_inv_freq(&found, &base);
        for name in LM_HEAD.iter().filter(|_| lm_head) {
            assert_eq!(
                weights(&found, name),
                weights(&base, name),
                "{variant} {name}"
            );
        }
    }
}

#[test]
fn shards_contribute_in_the_order_of_their_names() {
    let folder = fixture("esm2_hd16_bin_sharded");
    let names = [
        "config.json",
        "pytorch_model.bin.index.json",
        "pytorch_model-00001-of-00003.bin",
        "pytorch_model-00002-of-00003.bin",
        "pytorch_model-00003-of-00003.bin",
    ];
    let files = names.map(|name| folder.join(name));
    assert_eq!(open(&folder).files(), files);
    assert_eq!(open(&files[3]).files(), files);
}

#[test]
fn one_file_beside_its_config() {
    let base = open(&fixture("esm2_hd16"));
    same_encoder(&open(&fixture("esm2_hd16/model.safetensors")), &base);
    same_encoder(&open(&fixture("esm2_hd16_bin/pytorch_model.bin")), &base);
}

#[test]
fn half_precision_is_widened_exactly() {
    let base = open(&fixture("esm2_hd16"));
    let half = open(&fixture("esm2_hd16_f16"));
    let brain = open(&fixture("esm2_hd16_bf16"));
    assert_eq!(half.stored_dtype(), StoredDtype::F16);
    assert_eq!(brain.stored_dtype(), StoredDtype::Bf16);
    for name in encoder(base.config()) {
        let exact = weights(&base, &name);
        let rounded: Vec<f32> = exact.iter().map(|x| f16::from_f32(*x).to_f32()).collect();
        assert!(weights(&half, &name) == rounded, "{name}");
        let rounded: Vec<f32> = exact.iter().map(|x| bf16::from_f32(*x).to_f32()).collect();
        assert!(weights(&brain, &name) == rounded, "{name}");
    }
    same_inv_freq(&half, &base);
    assert_eq!(brain.inv_freq(0).unwrap().values[1], 0.316_406_25);
}

#[test]
fn missing_frequencies_are_computed_as_torch_computes_them() {
    let found = open(&fixture("esm2_hd16_noinvfreq"));
    let torch = open(&fixture("esm2_hd16_te_old")).inv_freq(0).unwrap();
    let computed = found.inv_freq(0).unwrap();
    assert_eq!(computed.source, InvFreqSource::Computed);
    assert_eq!(computed.source.to_string(), "computed");
    assert_eq!(torch.source, InvFreqSource::Stored);
    assert_eq!(bits(&computed.values), bits(&torch.values));
    assert_eq!(computed.values[1], 0.316_227_77);
    same_encoder(&found, &open(&fixture("esm2_hd16")));
}

#[test]
fn transformer_engine_exports_are_split() {
    let base = open(&fixture("esm2_hd16"));
    for (variant, source) in [
        ("esm2_hd16_te", InvFreqSource::Computed),
        ("esm2_hd16_te_old", InvFreqSource::Stored),
    ] {
        let found = open(&fixture(variant));
        assert_eq!(found.naming(), Naming::TransformerEngine);
        assert_eq!(
            found.config(),
            &EsmConfig {
                vocab: 64,
                ..esm2_hd16()
            }
        );
        same_encoder(&found, &base);
        assert_eq!(found.inv_freq(1).unwrap().source, source);
        assert!(found.has_lm_head() && !found.has_contact_head());
        for name in &LM_HEAD[..4] {
            assert_eq!(
                weights(&found, name),
                weights(&base, name),
                "{variant} {name}"
            );
        }
        assert_eq!(
            weights(&found, "lm_head.bias")[..33],
            weights(&base, "lm_head.bias")
        );
    }
}

#[test]
fn fair_esm_files_hold_the_models_of_the_folders() {
    for (name, regression) in [
        ("esm2_hd16", true),
        ("esm2_hd24", false),
        ("esm1b", true),
        ("esm1v", false),
    ] {
        let path = fixture("fair_esm").join(format!("{name}.pt"));
        let (found, base) = (open(&path), open(&fixture(name)));
        assert_eq!(found.config(), base.config(), "{name}");
        assert_eq!(found.naming(), Naming::FairEsm);
        assert_eq!(found.has_contact_head(), regression, "{name}");
        assert!(found.has_lm_head(), "{name}");
        same_encoder(&found, &base);
        if base.config().positions == Positions::Rotary {
            same_inv_freq(&found, &base);
        }
        let beside = path.with_file_name(format!("{name}-contact-regression.pt"));
        let files = if regression {
            vec![path, beside]
        } else {
            vec![path]
        };
        assert_eq!(found.files(), files);
        for name in LM_HEAD {
            assert_eq!(weights(&found, name), weights(&base, name), "{name}");
        }
    }
}

#[test]
fn esm1_has_positions_and_a_zero_mask_row() {
    let esm1b = open(&fixture("fair_esm/esm1b.pt"));
    assert_eq!(esm1b.config().positions, Positions::Learned { rows: 1026 });
    assert!(esm1b.config().emb_layer_norm_before);
    let esm1v = open(&fixture("fair_esm/esm1v.pt"));
    assert!(!esm1v.config().emb_layer_norm_before);
    for checkpoint in [esm1b, esm1v] {
        let embedding = weights(&checkpoint, "embed_tokens.weight");
        assert_eq!(embedding[32 * 32..], [0.0; 32]);
        assert_ne!(embedding[31 * 32..32 * 32], [0.0; 32]);
        assert!(checkpoint.inv_freq(0).is_err());
    }
    let esm2 = weights(
        &open(&fixture("fair_esm/esm2_hd16.pt")),
        "embed_tokens.weight",
    );
    assert_ne!(esm2[32 * 32..], [0.0; 32]);
}

#[test]
fn every_head_width() {
    for (name, heads, head_dim, dtype) in [
        ("esm2_hd24", 2, 24, StoredDtype::F32),
        ("esm2_hd32", 3, 32, StoredDtype::F16),
        ("esm2_hd64", 2, 64, StoredDtype::F16),
        ("esm2_hd128", 1, 128, StoredDtype::F16),
    ] {
        let checkpoint = open(&fixture(name));
        assert_eq!(
            (checkpoint.config().heads, checkpoint.config().head_dim()),
            (heads, head_dim)
        );
        assert_eq!(checkpoint.stored_dtype(), dtype);
        assert_eq!(checkpoint.inv_freq(0).unwrap().values.len(), head_dim / 2);
    }
}
