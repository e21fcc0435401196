//! SaProt's alphabet: pairs of an amino acid and a structure letter, with the numbers of transformers.

use crate::bench::*;
use crate::common::{
    Reference, assert_parity, differences, embed, fixture, load, load_checkpoint, load_with,
    read_records,
};
use esm_embed::cancel::Cancel;
use esm_embed::checkpoint::{AlphabetProof, Checkpoint, Naming};
use esm_embed::embedder::{Computed, Embedder, Sequence};
use esm_embed::fasta::{Input, Reader};
use esm_embed::ops::{CpuPath, WeightType};
use esm_embed::product::{AttentionMaps, MapHeads, OutDtype, Product, Request, Values};
use esm_embed::tokenizer::{Alphabet, TokenId, UnknownPolicy};
use serde_json::Value;
use std::ops::ControlFlow;

const MODEL: &str = "saprot_hd16";

fn whole(tokens: &[TokenId]) -> Sequence<'_> {
    Sequence {
        tokens,
        windows: &[],
    }
}

/// The records of `reference/saprot.fasta`.
fn records() -> Vec<(String, Vec<u8>)> {
    let input = Input::open(&fixture("reference/saprot.fasta")).unwrap();
    read_records(Reader::new(input).hash_is_letter(true))
}

#[test]
fn tokens_are_those_of_transformers() {
    let reference = Reference::open(MODEL);
    let records = records();
    assert_eq!(records.len(), reference.sequences());
    for (k, (id, text)) in records.iter().enumerate() {
        let tokens = Alphabet::SaProt
            .tokenize(text, UnknownPolicy::Error)
            .unwrap();
        assert_eq!(tokens.ids, reference.tokens(k), "{id}");
    }
}

#[test]
fn vocab_txt_proves_the_alphabet() {
    let checkpoint = Checkpoint::open(&fixture(MODEL)).unwrap();
    let config = checkpoint.config();
    assert_eq!(checkpoint.alphabet(), AlphabetProof::VocabTxt);
    assert_eq!(
        (config.vocab, config.logits(), config.alphabet),
        (446, 446, Alphabet::SaProt)
    );
    assert_eq!(checkpoint.warnings(), [""; 0]);
}

#[test]
fn every_layer_equals_transformers_on_every_path() {
    let reference = Reference::open(MODEL);
    for path in CpuPath::ALL.into_iter().filter(|path| path.is_available()) {
        let embedder = load(&fixture(MODEL), path);
        for k in reference.numbers() {
            let tokens = reference.tokens(k);
            let hidden = embed(&embedder, &[whole(&tokens)]);
            assert_parity(&reference, k, &hidden[0], &format!("{MODEL} on {path}"));
        }
    }
}

#[test]
fn the_file_for_fair_esm_gives_the_numbers_of_the_folder() {
    let reference = Reference::open(MODEL);
    let checkpoint = Checkpoint::open(&fixture("saprot_pt/SaProt_tiny.pt")).unwrap();
    assert_eq!(checkpoint.naming(), Naming::FairEsm);
    assert_eq!(checkpoint.alphabet(), AlphabetProof::VocabTxt);
    assert_eq!(checkpoint.warnings(), [""; 0]);
    let config = Checkpoint::open(&fixture(MODEL)).unwrap().config().clone();
    assert_eq!(checkpoint.config(), &config);
    let embedder = load_checkpoint(checkpoint, CpuPath::detect(), WeightType::F32, 1, true);
    for k in reference.numbers() {
        let tokens = reference.tokens(k);
        let hidden = embed(&embedder, &[whole(&tokens)]);
        assert_parity(&reference, k, &hidden[0], "SaProt_tiny.pt");
    }
    // By itself, the file does not say what its 446 rows are.
    let folder = tempfile::tempdir().unwrap();
    let alone = folder.path().join("SaProt_tiny.pt");
    std::fs::copy(fixture("saprot_pt/SaProt_tiny.pt"), &alone).unwrap();
    let error = Checkpoint::open(&alone).unwrap_err().to_string();
    assert!(
        error.contains("hint: if it is an ESM model or SaProt, put the vocab.txt"),
        "{error}"
    );
}

#[test]
fn a_batch_gives_the_bits_of_single_sequences() {
    let reference = Reference::open(MODEL);
    let embedder = load(&fixture(MODEL), CpuPath::detect());
    let tokens: Vec<_> = reference.numbers().map(|k| reference.tokens(k)).collect();
    let batch: Vec<_> = tokens.iter().map(|tokens| whole(tokens)).collect();
    let single: Vec<_> = batch
        .iter()
        .map(|sequence| embed(&embedder, &[*sequence]).remove(0))
        .collect();
    assert!(embed(&embedder, &batch) == single);
}

fn product(embedder: &Embedder, tokens: &[TokenId], product: Product) -> Vec<f32> {
    let mut all = Vec::new();
    let mut keep = |computed: Computed<'_>| {
        if let Values::F32(values) = computed.values {
            all.extend_from_slice(values);
        }
        ControlFlow::Continue(())
    };
    let maps = AttentionMaps {
        layers: vec![0, 1],
        heads: MapHeads::All,
    };
    let request = Request::new([product], OutDtype::F32).with_maps(maps);
    embedder
        .embed(&[whole(tokens)], &request, &Cancel::default(), &mut keep)
        .unwrap();
    all
}

#[test]
fn logits_of_446_tokens_and_attentions_equal_transformers() {
    let reference = Reference::open(MODEL);
    let embedder = load_with(&fixture(MODEL), CpuPath::detect(), WeightType::F32, 1, true);
    for k in reference.numbers() {
        let (rows, wanted) = reference.logits(MODEL, k).unwrap();
        let tokens = reference.tokens(k);
        let found = product(&embedder, &tokens, Product::Logits);
        assert_eq!(found.len(), (tokens.len() - 2) * 446);
        let rows = rows.iter().map(|row| &found[(row - 1) * 446..row * 446]);
        let found: Vec<f32> = rows.flatten().copied().collect();
        let size = wanted.iter().fold(1.0f64, |m, x| m.max(f64::from(x.abs())));
        let (most, relative) = differences(&found, &wanted);
        assert!(most <= 2e-5 * size, "{k}: {most:e} at {size}");
        assert!(relative <= 4e-6, "{k}: {relative:e}");
    }
    let wanted = reference.f32("seq0.attentions").unwrap();
    let found = product(&embedder, &reference.tokens(0), Product::Attentions);
    let (most, _) = differences(&found, &wanted);
    assert!(most <= 1e-5, "{most:e}");
}

#[test]
fn a_run_has_a_row_for_each_pair_and_exports_amino_acids() {
    let bench = Bench::new();
    let path = fixture(MODEL);
    bench.write("in.fasta", ">a one\nM#EvVp\nQpL#\n>b\nVy<mask>X#Kv*\n");
    let run = format!(
        "in.fasta --model {} --layer all --include logits --residues packed --out emb",
        path.display()
    );
    let done = bench.run(&run);
    assert_eq!(done.code, 0, "{}", done.err);
    assert_eq!(bench.matrix("emb/logits.npy").dim(), (9, 446));
    assert_eq!(bench.matrix("emb/residues.layer2.npy").dim(), (9, 32));
    let letters = bench.recorded("emb", "/resolved/letters");
    assert_eq!((&letters[4], &letters[5]), (&"<mask>".into(), &"Ap".into()));
    for (fact, value) in [
        ("alphabet_proof", Value::from("vocab.txt")),
        ("alphabet_size", 446.into()),
        ("token_dropout", true.into()),
    ] {
        assert_eq!(
            bench.recorded("emb", &format!("/resolved/model/{fact}")),
            value
        );
    }
    assert!(
        done.err
            .contains("1 pair is not in the alphabet of SaProt and was embedded as <unk>"),
        "{}",
        done.err
    );
    assert!(done.err.contains("1 <mask> token"), "{}", done.err);
    assert!(!done.err.contains("lower-case"), "{}", done.err);
    let exported = bench.call("export emb --to skbio --out all.h5 --residues");
    assert_eq!(exported.code, 0, "{}", exported.err);
    let bytes = bench.bytes("all.h5");
    let has = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    assert!(has(b"MEVQL") && has(b"VXXK"));
}

#[test]
fn batches_and_shards_give_the_same_bytes() {
    let bench = Bench::new();
    let records = records();
    // A mask is worth a warning.
    let records = records
        .iter()
        .filter(|(id, _)| id != "mask")
        .map(|(id, text)| (&**id, str::from_utf8(text).unwrap()));
    bench.write("in.fasta", fasta(records));
    bench.check_batches_and_shards(&format!("in.fasta --model {}", fixture(MODEL).display()));
}

#[test]
fn sequences_that_are_no_pairs_name_file_line_record_and_remedy() {
    let bench = Bench::new();
    let model = fixture(MODEL);
    for (k, (sequence, says, hint)) in [
        (
            "MKTVRQ",
            "it has amino acids only, but this model reads a structure letter behind each",
            "write # behind each amino acid",
        ),
        (
            "MdKvT",
            "residue 3: `T` has no structure letter: the sequence ends",
            "write each residue as",
        ),
        (
            "MdKb",
            "residue 2: `Kb` does not end with a 3Di letter",
            "MdK#",
        ),
        (
            "mdkv",
            "residue 1: `md` begins with a lower-case letter",
            "MdK#",
        ),
        (
            "Md-v",
            "residue 2: `-v` does not begin with an amino acid",
            "MdK#",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        bench.write("in.fasta", format!(">ok\nMdKv\n>bad\n{sequence}\n"));
        let line = format!("in.fasta --model {} --out emb{k}", model.display());
        let ended = bench.run(&line);
        assert_eq!(ended.code, 1, "{sequence}: {}", ended.err);
        for part in ["in.fasta", "line 3", "bad", says, hint] {
            assert!(ended.err.contains(part), "{part}: {}", ended.err);
        }
        assert!(!exists(&bench.path(&format!("emb{k}/run.json"))));
        let skipped = bench.run(&format!("{line} --on-invalid skip"));
        assert_eq!(skipped.code, 3, "{}", skipped.err);
        assert_eq!(
            bench.matrix(&format!("emb{k}/mean.layer2.npy")).dim(),
            (1, 32)
        );
    }
}

#[test]
fn contacts_and_scores_say_why_there_are_none() {
    let bench = Bench::new();
    let model = fixture(MODEL);
    bench.write("in.fasta", ">a\nM#EvVp\n");
    bench.write("v.csv", "mutant\nM1A\n");
    let line = format!(
        "in.fasta --model {} --include contacts --out emb",
        model.display()
    );
    let ended = bench.run(&line);
    assert_eq!(ended.code, 1);
    let says = "contacts cannot be computed: no contact regression was trained for SaProt";
    assert!(ended.err.contains(says), "{}", ended.err);
    let line = format!(
        "score in.fasta --variants v.csv --out s.csv --model {}",
        model.display()
    );
    let ended = bench.call(&line);
    assert_eq!(ended.code, 1);
    assert!(
        ended
            .err
            .contains("variants of structure-aware sequences are not scored"),
        "{}",
        ended.err
    );
    assert!(ended.err.contains("--include logits"), "{}", ended.err);
}
