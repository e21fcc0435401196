//! BioNeMo's `.nemo` of ESM2nv: read as data, and hostile archives refused.

use std::fs;
use std::io::Write;

use esm_embed::checkpoint::{AlphabetProof, Naming};

use crate::support::{bits, encoder, error, fixture, open, weights, written};

const NAME: &str = "m.nemo";

fn content() -> Vec<u8> {
    fs::read(fixture("nemo/esm2_hd16.nemo")).unwrap()
}

/// A file of the archive that `fixtures/nemo.py` wrote.
pub fn part(name: &str) -> Vec<u8> {
    let bytes = content();
    let mut at = 0;
    loop {
        let header = &bytes[at..at + 512];
        let size = str::from_utf8(&header[124..135]).unwrap();
        let size = usize::from_str_radix(size, 8).unwrap();
        let start = at + 512;
        if header.starts_with(format!("./{name}\0").as_bytes()) {
            return bytes[start..start + size].to_vec();
        }
        at = start + size.next_multiple_of(512);
    }
}

/// One entry of a tar archive, with this size in its header.
fn entry_of(name: &str, kind: u8, content: &[u8], size: &[u8]) -> Vec<u8> {
    let mut header = [0u8; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..107].copy_from_slice(b"0000644");
    header[124..124 + size.len()].copy_from_slice(size);
    header[156] = kind;
    header[257..263].copy_from_slice(b"ustar\0");
    header[148..156].copy_from_slice(b"        ");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    let mut all = [&header[..], content].concat();
    all.resize(all.len().next_multiple_of(512), 0);
    all
}

pub fn entry(name: &str, kind: u8, content: &[u8]) -> Vec<u8> {
    let size = format!("{:011o}", content.len());
    entry_of(name, kind, content, size.as_bytes())
}

pub fn tar(entries: &[Vec<u8>]) -> Vec<u8> {
    [&entries.concat()[..], &[0; 1024]].concat()
}

pub fn sound() -> [Vec<u8>; 2] {
    ["model_config.yaml", "model_weights.ckpt"].map(|name| entry(name, b'0', &part(name)))
}

fn with_config(from: &str, to: &str) -> Vec<u8> {
    let text = String::from_utf8(part("model_config.yaml")).unwrap();
    assert!(text.contains(from));
    let [_, weights] = sound();
    let config = entry("model_config.yaml", b'0', text.replace(from, to).as_bytes());
    tar(&[config, weights])
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

fn refused(bytes: &[u8], says: &str) {
    let (_folder, path) = written(NAME, bytes);
    let found = error(&path);
    assert!(found.contains(says), "{says}: {found}");
    assert!(found.contains(NAME), "{found}");
    // A compressed one says the same.
    let (_folder, path) = written(NAME, &gzip(bytes));
    let found = error(&path);
    assert!(found.contains(says), "gzip, {says}: {found}");
}

#[test]
fn every_weight_is_that_of_the_model_it_was_made_from() {
    let original = open(&fixture("esm2_hd16"));
    let (_folder, packed) = written(NAME, &gzip(&content()));
    let (_folder, other_order) = written(
        "w.nemo",
        &tar(&{
            let [config, weights] = sound();
            [weights, config]
        }),
    );
    let found = fixture("nemo/esm2_hd16.nemo");
    for path in [&found, found.parent().unwrap(), &packed, &other_order] {
        let nemo = open(path);
        assert_eq!(nemo.naming(), Naming::NeMo);
        assert_eq!(nemo.alphabet(), AlphabetProof::RowsOfEsm2nv);
        assert_eq!(nemo.warnings(), [""; 0]);
        let mut config = nemo.config().clone();
        assert_eq!((config.vocab, config.logits()), (128, 33));
        config.vocab = 33;
        assert_eq!(&config, original.config());
        for name in encoder(original.config()) {
            let (ours, theirs) = (weights(&nemo, &name), weights(&original, &name));
            assert_eq!(bits(&ours[..theirs.len()]), bits(&theirs), "{name}");
            assert!(ours.len() == theirs.len() || name == "embed_tokens.weight");
        }
        let layer = original.config().layers - 1;
        let [ours, theirs] = [&nemo, &original].map(|model| model.inv_freq(layer).unwrap());
        assert_eq!(ours, theirs);
        assert!(nemo.has_lm_head() && !nemo.has_contact_head());
        let why = nemo.contact_regression().unwrap_err().to_string();
        assert!(
            why.contains("BioNeMo's .nemo files have no contact regression"),
            "{why}"
        );
    }
}

#[test]
fn other_models_of_nemo_are_refused_by_name() {
    refused(
        &with_config("ESM2nvModel", "ESM1nvModel"),
        "ESM-1nv, an earlier model of NVIDIA's with other positions, is not supported",
    );
    refused(
        &with_config("ESM2nvModel", "MegaMolBARTModel"),
        "the NeMo model `MegaMolBARTModel` is not supported",
    );
    refused(
        &with_config("embedding_type: rope", "embedding_type: learned_absolute"),
        "a NeMo model with the positions `learned_absolute` is not supported",
    );
    refused(
        &with_config("esm_gelu: true", "esm_gelu: False"),
        "a NeMo model with esm_gelu false is not supported",
    );
}

#[test]
fn settings_and_weights_must_agree() {
    for (from, to, says) in [
        (
            "num_layers: 2",
            "num_layers: 3",
            "num_layers is 3, but the weights have 2",
        ),
        (
            "heads: 2",
            "heads: 4",
            "num_attention_heads is 4, but the weights have 2",
        ),
        (
            "hidden_size: 32",
            "hidden_size: x",
            "hidden_size is x, but the weights have 32",
        ),
        (
            "epsilon: 1.0e-05",
            "epsilon: 7",
            "a LayerNorm ε of 7 is outside 0 to 0.1",
        ),
        (
            "epsilon: 1.0e-05",
            "epsilon: small",
            "layernorm_epsilon is small, not a number",
        ),
    ] {
        refused(&with_config(from, to), says);
    }
    let (_folder, path) = written(NAME, &with_config("epsilon: 1.0e-05", "epsilon: 1e-6"));
    assert_eq!(open(&path).config().layer_norm_eps, 1e-6);
    assert!(open(&path).config().token_dropout);
    let (from, to) = ("token_dropout: true", "token_dropout: false");
    let (_folder, path) = written(NAME, &with_config(from, to));
    assert!(!open(&path).config().token_dropout);
}

#[test]
fn hostile_archives_are_errors() {
    let [config, weights] = sound();
    let with = |first: Vec<u8>| tar(&[first, config.clone(), weights.clone()]);
    for (bytes, says) in [
        (
            with(entry("../x", b'0', b"x")),
            "holds `../x`, a name that leads out of the archive",
        ),
        (
            with(entry("a/../../x", b'0', b"x")),
            "a name that leads out of the archive",
        ),
        (
            with(entry("/etc/x", b'0', b"x")),
            "holds `/etc/x`, a name that leads out",
        ),
        (
            with(entry("../d", b'5', b"")),
            "holds `../d`, a name that leads out",
        ),
        (
            with(entry("model_weights.ckpt", b'2', b"")),
            "`model_weights.ckpt`, which is a link",
        ),
        (with(entry("x", b'1', b"")), "holds `x`, which is a link"),
        (
            with(entry("x", b'6', b"")),
            "holds `x`, which is neither a file nor a folder",
        ),
        (
            with(config.clone()),
            "holds two entries named `model_config.yaml`",
        ),
        (
            with(entry_of("x", b'0', b"", b"77777777777")),
            "claims an entry of 8.6 GB, past its end",
        ),
        (
            with(entry_of(
                "x",
                b'0',
                b"",
                b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
            )),
            "has a tar header at byte 0 with a length that cannot be",
        ),
        (
            with(entry_of("x", b'0', b"", b"-1")),
            "has a tar header at byte 0 with a length that cannot be",
        ),
        (
            with(entry("x", b'x', b"30 path=../../x\n22 size=9999999999\n")),
            "past its end",
        ),
        (
            tar(std::slice::from_ref(&config)),
            "is a .nemo archive without `model_weights.ckpt`",
        ),
        (
            tar(std::slice::from_ref(&weights)),
            "is a .nemo archive without `model_config.yaml`",
        ),
        (
            tar(&[
                config.clone(),
                entry("mp_rank_00/model_weights.ckpt", b'0', b"x"),
            ]),
            "its weights are in parts",
        ),
        (
            tar(&[config.clone(), entry("model_weights.ckpt", b'0', b"")]),
            "has an empty `model_weights.ckpt`",
        ),
        (
            tar(&[config.clone(), entry("model_weights.ckpt", b'0', b"no zip")]),
            "is not a torch file",
        ),
        (
            [&config[..], &weights].concat(),
            "is a tar archive without its end",
        ),
    ] {
        refused(&bytes, says);
    }
    let mut wrong_sum = with(entry("x", b'0', b"x"));
    wrong_sum[3] = b'y';
    refused(
        &wrong_sum,
        "has a tar header at byte 0 without its checksum",
    );
    for length in [3, 600, 1024, 70_000] {
        let (_folder, path) = written(NAME, &content()[..length]);
        let found = error(&path);
        assert!(
            found.contains("hint: the file is damaged"),
            "{length}: {found}"
        );
        let packed = gzip(&content());
        let (_folder, path) = written(NAME, &packed[..length.min(packed.len() / 2)]);
        let found = error(&path);
        assert!(
            found.contains("hint: the file is damaged"),
            "{length}: {found}"
        );
    }
    // Zeros grow a thousandfold.
    let [config, _] = sound();
    let bomb = tar(&[
        config,
        entry("model_weights.ckpt", b'0', &vec![0; 40 << 20]),
    ]);
    let (_folder, path) = written(NAME, &gzip(&bomb));
    let found = error(&path);
    assert!(
        found.contains("grows to more than 50 times its size"),
        "{found}"
    );
    let (_folder, path) = written(NAME, b"no archive at all, but long enough to be one");
    assert!(error(&path).contains("is not a tar archive, as .nemo files are"));
}
