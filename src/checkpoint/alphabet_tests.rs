use std::fs;

use super::super::locate::locate;
use super::*;
use crate::tokenizer::VOCABULARY;

/// A folder of a Hugging Face model with these files beside its (empty) weights.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in [("config.json", "{}"), ("model.safetensors", "x")] {
        fs::write(folder.path().join(name), content).unwrap();
    }
    for (name, content) in files {
        fs::write(folder.path().join(name), content).unwrap();
    }
    folder
}

fn proven(tokens: usize, files: &[(&str, &str)]) -> Result<(AlphabetProof, Vec<String>), String> {
    proven_of(Alphabet::Esm, tokens, files)
}

fn proven_of(
    alphabet: Alphabet,
    tokens: usize,
    files: &[(&str, &str)],
) -> Result<(AlphabetProof, Vec<String>), String> {
    let folder = folder(files);
    let located = locate(folder.path()).unwrap();
    let claims = Claims {
        path: Path::new("model.safetensors"),
        alphabet,
        tokens,
        is_padded: false,
        is_esm2nv: false,
        against: None,
        contrary: None,
        listed: None,
    };
    match prove(&located, &claims) {
        Ok(Proven { proof, others, .. }) => {
            Ok((proof, others.into_iter().map(|(token, _)| token).collect()))
        }
        Err(error) => Err(error.to_string()),
    }
}

fn refused(tokens: usize, files: &[(&str, &str)]) -> String {
    let error = proven(tokens, files).unwrap_err();
    for says in [
        "structure-aware, codon and RNA models have the same layout",
        "tokenizer.json",
    ] {
        assert!(error.contains(says), "{error}");
    }
    error
}

fn ours() -> Vec<String> {
    VOCABULARY.iter().map(|token| (*token).to_owned()).collect()
}

/// A `tokenizer.json` of whole words in this order.
fn tokenizer(tokens: &[String]) -> String {
    let vocab: serde_json::Map<String, Value> = tokens
        .iter()
        .enumerate()
        .map(|(number, token)| (token.clone(), number.into()))
        .collect();
    serde_json::json!({
        "version": "1.0", "added_tokens": [],
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "<unk>"},
    })
    .to_string()
}

#[test]
fn vocab_txt_proves_any_number_of_rows() {
    let vocab = VOCABULARY.join("\n");
    for tokens in [33, 34, 64] {
        let found = proven(tokens, &[("vocab.txt", &vocab)]).unwrap();
        assert_eq!(found, (AlphabetProof::VocabTxt, vec![]));
    }
    let windows = VOCABULARY.join("\r\n") + "\r\n";
    assert!(proven(33, &[("vocab.txt", &windows)]).is_ok());
    let bom = format!("\u{feff}{vocab}\n\n");
    assert!(proven(33, &[("vocab.txt", &bom)]).is_ok());
}

#[test]
fn lines_after_the_alphabet_are_named() {
    let more = VOCABULARY.join("\n") + "\n*\n<mine>\n";
    let files = [("vocab.txt", more.as_str())];
    assert_eq!(proven(35, &files).unwrap().1, ["*", "<mine>"]);
    // Without a row, a token is none of the model's.
    assert_eq!(proven(34, &files).unwrap().1, ["*"]);
    let again = VOCABULARY.join("\n") + "\nL\n";
    let error = refused(34, &[("vocab.txt", &again)]);
    assert!(error.contains("`L` is token 4 and token 33"), "{error}");
}

#[test]
fn another_order_is_refused_wherever_it_is_listed() {
    let swapped = VOCABULARY.join("\n").replace("L\nA", "A\nL");
    let error = refused(33, &[("vocab.txt", &swapped)]);
    assert!(error.contains("token 4 is `A`, not `L`"), "{error}");
    assert!(error.contains("33 tokens"), "{error}");
    let error = refused(33, &[("vocab.txt", "<cls>\n")]);
    assert!(error.contains("it lists 1 token and ends"), "{error}");
    let error = refused(33, &[("vocab.txt", "\n")]);
    assert!(error.contains("(it lists no tokens)"), "{error}");
    let mut tokens = ours();
    tokens.swap(4, 5);
    let json = tokenizer(&tokens);
    let error = refused(33, &[("tokenizer.json", &json)]);
    assert!(error.contains("tokenizer.json: "), "{error}");
    assert!(error.contains("`L` is token 5, not token 4"), "{error}");
    // Also where vocab.txt says otherwise: nobody knows which of the two is right.
    let vocab = VOCABULARY.join("\n");
    refused(33, &[("tokenizer.json", &json), ("vocab.txt", &vocab)]);
}

#[test]
fn tokenizer_json_proves_the_alphabet_too() {
    let json = tokenizer(&ours());
    let files = [("tokenizer.json", json.as_str())];
    assert_eq!(
        proven(64, &files).unwrap(),
        (AlphabetProof::TokenizerJson, vec![])
    );
    let mut more = ours();
    more.push("*".into());
    let json = tokenizer(&more);
    assert_eq!(proven(34, &[("tokenizer.json", &json)]).unwrap().1, ["*"]);
    let fewer: Vec<String> = ours().into_iter().take(20).collect();
    let error = refused(33, &[("tokenizer.json", &tokenizer(&fewer))]);
    assert!(error.contains("it has no token `M`"), "{error}");
    let error = proven(33, &[("tokenizer.json", "{}")]).unwrap_err();
    assert!(
        error.contains("is not a tokenizer that can be read"),
        "{error}"
    );
    // It is not needed beside vocab.txt.
    let vocab = VOCABULARY.join("\n");
    assert!(proven(33, &[("tokenizer.json", "{}"), ("vocab.txt", &vocab)]).is_ok());
}

#[test]
fn other_ways_to_list_tokens_are_read() {
    let scores: Vec<Value> = VOCABULARY
        .iter()
        .map(|token| serde_json::json!([token, 0.0]))
        .collect();
    let unigram = serde_json::json!({
        "version": "1.0", "added_tokens": [],
        "model": {"type": "Unigram", "unk_id": 3, "vocab": scores},
    });
    let found = proven(33, &[("tokenizer.json", &unigram.to_string())]);
    assert_eq!(found.unwrap().0, AlphabetProof::TokenizerJson);
    let vocab: serde_json::Map<String, Value> = VOCABULARY
        .iter()
        .enumerate()
        .map(|(number, token)| ((*token).to_owned(), number.into()))
        .collect();
    let bpe = serde_json::json!({
        "version": "1.0", "added_tokens": [],
        "model": {"type": "BPE", "vocab": vocab, "merges": [], "unk_token": "<unk>"},
    });
    let found = proven(33, &[("tokenizer.json", &bpe.to_string())]);
    assert_eq!(found.unwrap().0, AlphabetProof::TokenizerJson);
}

#[test]
fn rows_alone_prove_33_tokens_and_no_other_number() {
    assert_eq!(proven(33, &[]).unwrap(), (AlphabetProof::Rows, vec![]));
    for tokens in [25, 34, 64, 65, 73, 446] {
        let error = refused(tokens, &[]);
        assert!(error.contains(&format!("{tokens} tokens")), "{error}");
    }
}

#[test]
fn added_tokens_that_repeat_esm_s_are_no_contrary_sign() {
    let repeat = r#"{"<cls>": 0, "<eos>": 2, "<mask>": 32, "<pad>": 1, "<unk>": 3}"#;
    assert!(proven(33, &[("added_tokens.json", repeat)]).is_ok());
    let map = r#"{"mask_token": "<mask>", "cls_token": {"content": "<cls>"}, "pad_token": null}"#;
    assert!(proven(33, &[("special_tokens_map.json", map)]).is_ok());
    let decoder = r#"{"added_tokens_decoder": {"0": {"content": "<cls>"}, "32": {"content": "<mask>"}},
        "tokenizer_class": "EsmTokenizer"}"#;
    assert!(proven(33, &[("tokenizer_config.json", decoder)]).is_ok());
    for (file, content, says) in [
        (
            "added_tokens.json",
            r#"{"<mask>": 4}"#,
            "`<mask>` is token 4, not token 32",
        ),
        (
            "added_tokens.json",
            r#"{"*": 5}"#,
            "token 5 is `*`, not `A`",
        ),
        (
            "tokenizer_config.json",
            r#"{"added_tokens_decoder": {"7": {"content": "<mask>"}}}"#,
            "`<mask>` is token 7",
        ),
        (
            "tokenizer_config.json",
            r#"{"tokenizer_class": "CodonTokenizer"}"#,
            "its tokenizer is `CodonTokenizer`",
        ),
        (
            "special_tokens_map.json",
            r##"{"mask_token": "#"}"##,
            "special_tokens_map.json: another alphabet (its mask_token is `#`, not `<mask>`)",
        ),
        (
            "tokenizer_config.json",
            r#"{"cls_token": {"content": "[CLS]"}}"#,
            "its cls_token is `[CLS]`, not `<cls>`",
        ),
        (
            "vocab.json",
            r#"{"A": 4, "<mask>": 32}"#,
            "`A` is token 4, not token 5",
        ),
    ] {
        let error = refused(33, &[(file, content)]);
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn lists_and_tables_of_a_torch_file_are_held_against_the_alphabet() {
    let table = |tokens: Vec<String>| {
        let numbered = tokens.into_iter().enumerate();
        against_table(numbered.map(|(number, token)| (token, number)))
    };
    assert_eq!((against_list(&ours()), table(ours())), (None, None));
    let mut tokens = ours();
    tokens.swap(4, 5);
    assert_eq!(against_list(&tokens).unwrap(), "token 4 is `A`, not `L`");
    assert_eq!(table(tokens).unwrap(), "`L` is token 5, not token 4");
}

#[test]
fn added_tokens_with_a_row_are_named() {
    let vocab = VOCABULARY.join("\n");
    let added = [
        ("vocab.txt", vocab.as_str()),
        ("added_tokens.json", r#"{"*": 33}"#),
    ];
    assert_eq!(proven(34, &added).unwrap().1, ["*"]);
    assert_eq!(proven(33, &added).unwrap().1, [""; 0]);
    let decoder = r#"{"added_tokens_decoder": {"33": {"content": "J"}, "34": {"content": "*"}}}"#;
    let added = [
        ("vocab.txt", vocab.as_str()),
        ("tokenizer_config.json", decoder),
    ];
    assert_eq!(proven(35, &added).unwrap().1, ["J", "*"]);
    let all: Vec<(String, PathBuf)> = (0..12)
        .map(|i| (format!("<{i}>"), PathBuf::from("vocab.txt")))
        .collect();
    let proven = Proven {
        alphabet: Alphabet::Esm,
        proof: AlphabetProof::VocabTxt,
        others: all,
    };
    let warning = proven.warning().unwrap();
    assert!(warning.contains("`<0>`, `<1>`"), "{warning}");
    assert!(warning.contains("`<5>` and 6 more"), "{warning}");
}

#[test]
fn the_alphabet_of_esm_c_is_proven_by_64_rows_or_a_list() {
    let esm_c = |tokens, files: &[(&str, &str)]| proven_of(Alphabet::EsmC, tokens, files);
    assert_eq!(esm_c(64, &[]).unwrap().0, AlphabetProof::RowsOfEsmC);
    for rows in [33, 63, 65] {
        let error = esm_c(rows, &[]).unwrap_err();
        assert!(
            error.contains(&format!("its embedding has {rows} rows")),
            "{error}"
        );
    }
    let ours: Vec<String> = Alphabet::EsmC
        .tokens()
        .iter()
        .map(|token| (*token).to_owned())
        .collect();
    let (json, text) = (tokenizer(&ours), ours.join("\n"));
    let by_json = esm_c(64, &[("tokenizer.json", &json)]).unwrap();
    assert_eq!(by_json, (AlphabetProof::TokenizerJson, Vec::new()));
    assert_eq!(
        esm_c(64, &[("vocab.txt", &text)]).unwrap().0,
        AlphabetProof::VocabTxt
    );
    // That of ESM-2 is another one.
    let error = esm_c(64, &[("vocab.txt", &VOCABULARY.join("\n"))]).unwrap_err();
    assert!(error.contains("token 31 is `<null_1>`, not `|`"), "{error}");
    let error = proven(33, &[("vocab.txt", &text)]).unwrap_err();
    assert!(error.contains("token 31 is `|`, not `<null_1>`"), "{error}");
}
