//! The regression from attention maps to contacts: where it is found, and why there may be none.

use std::fs;
use std::path::{Path, PathBuf};

use esm_embed::checkpoint::{Additions, Checkpoint, CheckpointError};

use crate::support::{copy, fixture, open, weights};

const REGRESSION: &str = "fair_esm/esm2_hd16-contact-regression.pt";

fn open_with(path: &Path, regression: &Path) -> Result<Checkpoint, String> {
    let additions = Additions {
        contact_regression: Some(regression),
        ..Additions::default()
    };
    Checkpoint::open_with(path, additions).map_err(|error| error.to_string())
}

fn why(path: &Path) -> String {
    match open(path).contact_regression() {
        Err(CheckpointError::NoContacts { why, .. }) => why,
        other => panic!("{other:?}"),
    }
}

/// A copy of one file of `fixtures/fair_esm` in a folder by itself.
fn by_itself(name: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::copy(fixture("fair_esm").join(name), &path).unwrap();
    (folder, path)
}

#[test]
fn every_layout_gives_the_same_regression() {
    let expected = open(&fixture("esm2_hd16")).contact_regression().unwrap();
    assert_eq!(expected.weights.len(), 4);
    assert!(expected.bias != 0.0);
    for name in [
        "fair_esm/esm2_hd16.pt",
        "esm2_hd16_bin",
        "esm2_hd16_bin_sharded",
        "esm2_hd16_sharded",
        "esm2_hd16_v5",
        "esm2_hd16_v5_shared",
    ] {
        let found = open(&fixture(name)).contact_regression().unwrap();
        assert_eq!(found, expected, "{name}");
    }
    // Without prefix.
    for name in ["esm2_hd16_noprefix", "esm2_hd16_noprefix_v5"] {
        let found = open(&fixture(name)).contact_regression().unwrap();
        assert_eq!(found, expected, "{name}");
    }
    assert!(open(&fixture("esm1b")).contact_regression().is_ok());
}

#[test]
fn a_named_file_is_used_and_listed() {
    let expected = open(&fixture("esm2_hd16")).contact_regression().unwrap();
    let regression = fixture(REGRESSION);
    let (_folder, model) = by_itself("esm2_hd16.pt");
    let found = open_with(&model, &regression).unwrap();
    assert_eq!(found.contact_regression().unwrap(), expected);
    assert_eq!(found.files(), [model, regression.clone()]);
    // It wins over what the model holds, under any prefix.
    let changed = copy("esm2_hd16");
    let path = changed.path().join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let stored: Vec<u8> = weights(
        &open(&fixture("esm2_hd16")),
        "contact_head.regression.weight",
    )
    .iter()
    .flat_map(|x| x.to_le_bytes())
    .collect();
    let at = bytes
        .windows(stored.len())
        .position(|w| w == stored)
        .unwrap();
    let mut bytes = bytes;
    bytes[at..at + stored.len()].fill(0);
    fs::write(&path, bytes).unwrap();
    let other = open(changed.path()).contact_regression().unwrap();
    assert_eq!(other.weights, [0.0; 4]);
    let found = open_with(changed.path(), &regression).unwrap();
    assert_eq!(found.contact_regression().unwrap(), expected);
    // In safetensors, with the names of a whole model.
    let whole = fixture("esm2_hd16").join("model.safetensors");
    let found = open_with(changed.path(), &whole).unwrap();
    assert_eq!(found.contact_regression().unwrap(), expected);
    // And it is used where the model has none on purpose.
    let esm1v = open_with(&fixture("esm1v"), &regression).unwrap();
    assert_eq!(esm1v.contact_regression().unwrap(), expected);
}

#[test]
fn a_named_file_without_the_regression_of_the_model_is_refused() {
    let missing = open_with(&fixture("esm2_hd16"), Path::new("/not/there.pt")).unwrap_err();
    assert!(
        missing.starts_with("/not/there.pt: no such file\nhint: name the NAME-contact"),
        "{missing}"
    );
    let none = fixture("fair_esm/esm2_hd24.pt");
    let error = open_with(&fixture("esm2_hd24"), &none).unwrap_err();
    let found = "esm2_hd24.pt: holds no contact regression (contact_head.regression.weight and \
                 .bias)\nhint: name the NAME-contact-regression.pt that fair-esm publishes beside \
                 the model's NAME.pt";
    assert!(error.ends_with(found), "{error}");
    let error = open_with(&fixture("esm2_hd24"), &fixture(REGRESSION)).unwrap_err();
    let found = "is not the contact regression of this model: ";
    assert!(error.contains(found), "{error}");
    assert!(
        error.contains("has shape [1, 4], but [1, 6] is needed"),
        "{error}"
    );
    // fair-esm's checkpoint of the same model says how many heads it has.
    let error = open_with(&none, &fixture(REGRESSION)).unwrap_err();
    let says = "-contact-regression.pt: is not the contact regression of this model: the tensor \
                `contact_head.regression.weight` has shape [1, 4], but [1, 6] is needed\n";
    assert!(error.contains(says), "{error}");
}

#[test]
fn a_model_without_a_regression_says_why() {
    assert_eq!(
        why(&fixture("esm1v")),
        "ESM-1v was published without a contact regression"
    );
    assert_eq!(
        why(&fixture("fair_esm/esm1v.pt")),
        "ESM-1v was published without a contact regression"
    );
    assert_eq!(
        why(&fixture("esm2_hd16_te")),
        "NVIDIA's TransformerEngine exports have no contact regression"
    );
    // There is no file to name.
    for model in ["esm1v", "fair_esm/esm1v.pt", "esmc_1x64", "saprot_hd16"] {
        let error = open(&fixture(model)).contact_regression().unwrap_err();
        assert!(
            !error.to_string().contains("`contact_regression`"),
            "{error}"
        );
    }
    let second = "fair-esm keeps the contact regression in a second file, \
                  NAME-contact-regression.pt, which is not beside this one";
    assert_eq!(why(&fixture("fair_esm/esm2_hd24.pt")), second);
    let (_folder, model) = by_itself("esm1b.pt");
    assert_eq!(why(&model), second);
    let error = open(&model).contact_regression().unwrap_err().to_string();
    assert!(
        error.ends_with(&format!(
            "esm1b.pt: contacts cannot be computed: {second}\n\
             hint: name the file that fair-esm publishes for this model with `contact_regression`\n\
             hint: use a model that has the regression: ESM-2 or ESM-1b from Hugging Face\n\
             hint: use `include=attentions` for the attention maps that contacts are computed from"
        )),
        "{error}"
    );
}

#[test]
fn a_regression_for_esm_c_is_an_error_whatever_its_shape() {
    for model in ["esmc_1x64", "esmc_2x64_sdk"] {
        let model = fixture(model);
        let regression = fixture(REGRESSION);
        let additions = Additions {
            contact_regression: Some(&regression),
            ..Additions::default()
        };
        let found = Checkpoint::open_with(&model, additions).unwrap_err();
        let found = found.to_string();
        assert!(
            found.ends_with(
                "cannot be used with this model: ESM C has no contact head: it was published without \
                 one\nhint: leave `contact_regression` out; `include=attentions` gives the attention maps"
            ),
            "{found}"
        );
    }
}
