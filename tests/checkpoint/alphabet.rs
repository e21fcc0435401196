//! What proves the alphabet, and what happens to a checkpoint without proof.

use std::fs;

use esm_embed::checkpoint::AlphabetProof;

use crate::support::{changed, copy, edit, error, fixture, floats, open, with_pickle};

const EMBEDDING: &str = "esm.embeddings.word_embeddings.weight";

/// The fixture with an embedding of `rows` rows and nothing that states its alphabet.
fn with_rows(rows: usize) -> tempfile::TempDir {
    let folder = changed("esm2_hd16", |tensors| {
        tensors.insert(EMBEDDING.into(), floats(&[rows, 32]));
    });
    fs::remove_file(folder.path().join("vocab.txt")).unwrap();
    let vocab = format!(r#""vocab_size": {rows}"#);
    edit(&folder, "config.json", r#""vocab_size": 33"#, &vocab);
    folder
}

#[test]
fn without_a_vocabulary_33_rows_prove_the_alphabet() {
    let folder = copy("esm2_hd16");
    assert_eq!(open(folder.path()).alphabet(), AlphabetProof::VocabTxt);
    fs::remove_file(folder.path().join("vocab.txt")).unwrap();
    let checkpoint = open(folder.path());
    assert_eq!(checkpoint.alphabet(), AlphabetProof::Rows);
    assert_eq!(checkpoint.warnings(), [""; 0]);
    let exported = copy("esm2_hd16_te");
    fs::remove_file(exported.path().join("vocab.txt")).unwrap();
    let checkpoint = open(exported.path());
    assert_eq!(
        (checkpoint.config().vocab, checkpoint.alphabet()),
        (64, AlphabetProof::PaddedRows)
    );
    let torch = open(&fixture("fair_esm/esm2_hd16.pt"));
    assert_eq!(torch.alphabet(), AlphabetProof::Rows);
}

#[test]
fn any_other_number_of_rows_needs_proof() {
    for rows in [25, 34, 64, 65, 446] {
        let found = error(with_rows(rows).path());
        let says = format!("the model has {rows} tokens");
        assert!(found.contains(&says), "{found}");
        assert!(
            found.contains("structure-aware, codon and RNA models have the same layout"),
            "{found}"
        );
        assert!(found.contains("vocab.txt or tokenizer.json"), "{found}");
    }
    let folder = with_rows(64);
    fs::copy(
        fixture("esm2_hd16/vocab.txt"),
        folder.path().join("vocab.txt"),
    )
    .unwrap();
    assert_eq!(open(folder.path()).alphabet(), AlphabetProof::VocabTxt);
}

#[test]
fn the_nucleotide_transformer_is_refused_by_name() {
    for rows in [4105, 4107] {
        let found = error(with_rows(rows).path());
        let says = format!("the Nucleotide Transformer ({rows} tokens of DNA) is not supported");
        assert!(found.contains(&says), "{found}");
    }
}

#[test]
fn a_torch_file_of_another_alphabet_is_refused() {
    // The shape (33, 32) of the embedding becomes (32, 32).
    let (_folder, path) = with_pickle("esm2_hd16", b"K!K \x86", b"K K \x86");
    let found = error(&path);
    assert!(found.contains("the model has 32 tokens"), "{found}");
}

#[test]
fn token_numbers_in_the_configuration_can_contradict_the_alphabet() {
    for (from, to, says) in [
        (
            r#""mask_token_id": 32"#,
            r#""mask_token_id": 4"#,
            "mask_token_id is 4, not 32",
        ),
        (
            r#""mask_token_id": 32"#,
            r#""eos_token_id": 3"#,
            "eos_token_id is 3, not 2",
        ),
        (
            r#""vocab_list": null"#,
            r#""vocab_list": ["<cls>", "A"]"#,
            "token 1 is `A`, not `<pad>`",
        ),
    ] {
        let folder = copy("esm2_hd16");
        fs::remove_file(folder.path().join("vocab.txt")).unwrap();
        edit(&folder, "config.json", from, to);
        let found = error(folder.path());
        assert!(found.contains(says), "{found}");
    }
}

#[test]
fn a_token_of_the_model_that_nothing_uses_is_named() {
    let folder = with_rows(34);
    fs::copy(
        fixture("esm2_hd16/vocab.txt"),
        folder.path().join("vocab.txt"),
    )
    .unwrap();
    assert_eq!(open(folder.path()).warnings(), [""; 0]);
    fs::write(folder.path().join("added_tokens.json"), r#"{"*": 33}"#).unwrap();
    let checkpoint = open(folder.path());
    let [warning] = checkpoint.warnings() else {
        panic!("{:?}", checkpoint.warnings());
    };
    assert!(
        warning.ends_with(
            "added_tokens.json: the model has a token beside ESM's 33, with a row that this program \
             does not use: `*`; in a sequence, it would be read as <unk>\n\
             hint: to embed it, use transformers"
        ),
        "{warning}"
    );
}

#[test]
fn a_missing_setting_has_the_default_of_its_library() {
    let folder = copy("esm2_hd16");
    edit(&folder, "config.json", r#"  "layer_norm_eps": 1e-05,"#, "");
    edit(&folder, "config.json", r#"  "token_dropout": true,"#, "");
    let checkpoint = open(folder.path());
    assert_eq!(checkpoint.config().layer_norm_eps, 1e-12);
    assert!(!checkpoint.config().token_dropout);
    // Twelve layers of 768 are not those of the weights.
    edit(&folder, "config.json", r#"  "num_hidden_layers": 2,"#, "");
    assert!(error(folder.path()).contains("layer.2.attention.self.query.weight` is missing"));
    let folder = copy("esm2_hd16");
    edit(
        &folder,
        "config.json",
        r#"  "position_embedding_type": "rotary","#,
        "",
    );
    assert!(error(folder.path()).contains("the weights hold rotary frequencies"));
}
