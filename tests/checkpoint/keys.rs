//! Torch files with weights under other keys, or with other settings than fair-esm's.

use std::fs;

use esm_embed::checkpoint::Positions;

use crate::support::{encoder, error, fixture, open, weights, with_pickle};

#[test]
fn weights_are_found_under_any_key() {
    let base = open(&fixture("fair_esm/esm2_hd16.pt"));
    for key in ["net", "module", "weights", "model_state_dict", "my_model"] {
        let to = [&(key.len() as u32).to_le_bytes(), key.as_bytes()].concat();
        // Its settings are in `cfg.model`, and are lost too.
        let (_folder, path) = with_pickle("esm2_hd16", b"\x05\0\0\0model", &to);
        let found = open(&path);
        assert_eq!(found.config(), base.config(), "{key}");
        assert_eq!(found.warnings(), [""; 0], "{key}");
        for name in encoder(base.config()) {
            assert!(
                weights(&found, &name) == weights(&base, &name),
                "{key}: {name}"
            );
        }
    }
}

#[test]
fn classes_of_a_training_script_are_harmless() {
    let base = open(&fixture("fair_esm/esm2_hd16.pt"));
    for class in [
        "__main__\nConfig",
        "my_lab.train\nSettings",
        "types\nSimpleNamespace",
    ] {
        let to = format!("c{class}\n");
        let (_folder, path) = with_pickle("esm2_hd16", b"cargparse\nNamespace\n", to.as_bytes());
        assert_eq!(open(&path).config(), base.config(), "{class}");
    }
}

#[test]
fn a_state_dict_of_esm1b_assumes_token_dropout_and_warns() {
    let (folder, path) = with_pickle("esm1b", b"\x04\0\0\0args", b"\x04\0\0\0argx");
    let regression = "esm1b-contact-regression.pt";
    assert!(error(&path).contains("does not say how many attention heads it has"));
    fs::copy(
        fixture("fair_esm").join(regression),
        folder.path().join(regression),
    )
    .unwrap();
    let checkpoint = open(&path);
    assert_eq!(
        checkpoint.config(),
        open(&fixture("fair_esm/esm1b.pt")).config()
    );
    assert!(checkpoint.config().token_dropout);
    assert_eq!(
        checkpoint.config().positions,
        Positions::Learned { rows: 1026 }
    );
    let [warning] = checkpoint.warnings() else {
        panic!("{:?}", checkpoint.warnings());
    };
    assert!(
        warning.ends_with(
            "esm1b.pt: the file holds weights without their settings; token dropout is taken to be \
             on, as in every published ESM-1b and ESM-1v"
        ),
        "{warning}"
    );
}
