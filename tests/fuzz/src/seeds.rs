//! The first inputs: parts of the fixtures, and hostile ones written by hand.

use std::fs;
use std::io::{Cursor, Write};
use std::path::Path;

use esm_embed::output::Residues;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::work::{self, Tree};
use crate::{archive, bases, fixture, scratch};

/// The tag for a whole file.
const WHOLE: u8 = 0xFF;

/// Largest seed in bytes, so that mutations hit what matters.
const MOST: usize = 16 << 10;

/// Writes the seeds of each target into a folder with its name.
pub fn write(corpus: &Path) {
    fasta(&corpus.join("fasta"));
    config(&corpus.join("config"));
    safetensors(&corpus.join("safetensors"));
    torch(&corpus.join("torch"));
    journal(&corpus.join("journal"));
    bodies(&corpus.join("bodies"));
}

fn seed(folder: &Path, name: &str, parts: &[&[u8]]) {
    fs::create_dir_all(folder).unwrap();
    let mut bytes = parts.concat();
    bytes.truncate(MOST);
    fs::write(folder.join(name), bytes).unwrap();
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn fasta(folder: &Path) {
    for name in ["demo.fasta", "reference/sequences.fasta"] {
        let text = fs::read(fixture(name)).unwrap();
        let plain = name.replace('/', "_");
        seed(folder, &plain, &[&text]);
        seed(folder, &format!("{plain}.gz"), &[&gzip(&text)]);
        let twice = [gzip(&text), gzip(b">a\nMKT\n"), vec![0; 9]].concat();
        seed(folder, &format!("{plain}.members.gz"), &[&twice]);
        let zstd = zstd::encode_all(text.as_slice(), 3).unwrap();
        seed(folder, &format!("{plain}.zst"), &[&zstd]);
        let skipped = [b"\x50\x2a\x4d\x18\x03\0\0\0abc", zstd.as_slice()].concat();
        seed(folder, &format!("{plain}.skippable.zst"), &[&skipped]);
    }
    for (name, text) in [
        ("cr", &b">a b\rMK\rT\r>c\rW"[..]),
        ("crlf", b">a b\r\nMK\r\nT\r\n\r\n>c\r\nW\r\n"),
        ("mark", b"\xEF\xBB\xBF>a\nMK\n\xEF\xBB\xBF>b\nW\n"),
        (
            "tokens",
            b">a\nM<mask>K<unk>\n<null_1>*\n>b\nM<cls>K\n>c\nM>K\n",
        ),
        ("comment", b">a\nMK\n;x\nT\n>b\n#\n>c\nW\n"),
        ("pir", b">P1;CRAB\ntitle\nMKT*\n>sp;x\nMKT*\n"),
        ("control", b">a\nM\x01K\n>b\x1b[31m\nM\xE9K\n>c\nM\0K\n"),
        (
            "unicode",
            ">é\u{202e}\nMéK𝄞\n>b\u{a0}c d\nmkt\u{feff}\n".as_bytes(),
        ),
        ("blank", b"\n \t\x0b\x0c\r\n>  \nM K\tT\n>"),
        ("utf16", b"\xFF\xFE>\0a\0\n\0M\0"),
        ("utf16be", b"\0>\0a\0\n\0M"),
        ("fastq", b"@a\nACGT\n+\nIIII\n"),
        ("stockholm", b"# STOCKHOLM 1.0\na MKT\n//\n"),
        ("html", b"<!DOCTYPE html><html>"),
        ("clustal", b"CLUSTAL W (1.8)\n\na MKT\n"),
    ] {
        seed(folder, name, &[text]);
    }
    seed(folder, "bomb.gz", &[&gzip(&vec![b'A'; 1 << 20])]);
    let bomb = [&b">a\n"[..], &vec![b'A'; 1 << 20]].concat();
    seed(
        folder,
        "bomb.zst",
        &[&zstd::encode_all(bomb.as_slice(), 3).unwrap()],
    );
    let bgzip = b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x06\0BC\x02\0\x1b\0\x03\0\0\0\0\0\0\0\0\0";
    seed(folder, "bgzip_end", &[bgzip]);
}

fn config(folder: &Path) {
    for (tag, name) in (0..).zip(bases::SAFETENSORS) {
        let text = fs::read(fixture(name).join("config.json")).unwrap();
        seed(folder, name, &[&[tag], &text]);
    }
    for (tag, name) in [
        (b'v', "esm2_hd64/vocab.txt"),
        (b'p', "saprot_hd16/vocab.txt"),
        (b's', "esm2_hd16_sharded/model.safetensors.index.json"),
        (b'b', "esm2_hd16_bin_sharded/pytorch_model.bin.index.json"),
        (bases::SHARD.0, "esmc_1x64_research/config.json"),
    ] {
        let text = fs::read(fixture(name)).unwrap();
        seed(folder, &name.replace('/', "_"), &[&[tag], &text]);
    }
    for (name, text) in [
        ("deep", "[".repeat(5000)),
        (
            "shard_outside",
            r#"{"weight_map": {"a": "../../etc/passwd"}}"#.into(),
        ),
        (
            "shard_control",
            r#"{"weight_map": {"a": "\u001b[31m"}}"#.into(),
        ),
    ] {
        seed(folder, name, &[b"s", text.as_bytes()]);
    }
    let small = r#""hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 128"#;
    for (name, text) in [
        (
            "layers",
            format!(r#"{{"num_hidden_layers": 9223372036854775808, {small}}}"#),
        ),
        (
            "huge",
            format!(r#"{{"num_hidden_layers": 1e999, {small}}}"#),
        ),
        (
            "control",
            format!(r#"{{"num_hidden_layers": 2, {small}, "model_type": "\u001b[31m"}}"#),
        ),
        (
            "epsilon",
            format!(r#"{{"num_hidden_layers": 2, {small}, "layer_norm_eps": 1e-60}}"#),
        ),
    ] {
        seed(folder, name, &[&[0], text.as_bytes()]);
    }
    for (name, text) in [
        (
            "pairs_short",
            "<cls>\n<pad>\n<eos>\n<unk>\n<mask>\nAp\nAy\n",
        ),
        (
            "pairs_twice",
            "<cls>\n<pad>\n<eos>\n<unk>\n<mask>\nAp\nAp\nA\n##\n",
        ),
    ] {
        seed(folder, name, &[b"p", text.as_bytes()]);
    }
    adapter_config(folder);
    // Of ESM C, whose tensors say most of it.
    let tag = bases::SAFETENSORS
        .iter()
        .position(|name| *name == "esmc_1x64");
    let tag = tag.unwrap_or(0) as u8;
    for (name, text) in [
        ("esmc_bare", r#"{"model_type": "esmc"}"#),
        (
            "esmc_layers",
            r#"{"model_type": "esmc", "n_layers": 18446744073709551615}"#,
        ),
        ("esmc_heads", r#"{"model_type": "esmc", "n_heads": 0}"#),
        (
            "esmc_both",
            r#"{"model_type": "esmc", "d_model": 64, "hidden_size": 65}"#,
        ),
        (
            "esmc_rope",
            r#"{"model_type": "esmc", "rope_parameters": {"rope_theta": 1e999, "rope_type": "yarn"}}"#,
        ),
    ] {
        seed(folder, name, &[&[tag], text.as_bytes()]);
    }
}

/// Configurations of adapters.
fn adapter_config(folder: &Path) {
    for (tag, name, _, _) in bases::ADAPTERS {
        let text = fs::read(fixture(name).join("adapter_config.json")).unwrap();
        seed(folder, &name.replace('/', "_"), &[&[tag], &text]);
    }
    for (name, text) in [
        ("bare", r#""r": 4"#),
        ("rank", r#""r": 18446744073709551615"#),
        ("no_rank", r#""r": 0"#),
        ("alpha", r#""lora_alpha": 1e999"#),
        ("largest_alpha", r#""lora_alpha": 1.7e308, "use_rslora": true"#),
        (
            "patterns",
            r#""rank_pattern": {"(a*)*b": 4, "\\.": -1}, "alpha_pattern": {"(((x{99}){99}){99})": 2}"#,
        ),
        (
            "target",
            r#""target_modules": "(?=x)", "exclude_modules": "[", "layers_pattern": ["layer"]"#,
        ),
        ("dora", r#""use_dora": true, "layer_replication": [[0, 9]]"#),
        ("new", r#""use_\u001b[31m": true, "base_model_name_or_path": "\u001b[31m""#),
    ] {
        let text = format!(r#"{{"peft_type": "LORA", {text}}}"#);
        let tag = bases::ADAPTERS[0].0;
        seed(folder, &format!("adapter_{name}"), &[&[tag], text.as_bytes()]);
    }
}

fn safetensors(folder: &Path) {
    let (tag, name, file) = bases::SHARD;
    let (header, _) = bases::safetensors(name, file);
    seed(folder, name, &[&[tag], &header]);
    for (tag, name, file, _) in bases::ADAPTERS {
        if file.ends_with(".safetensors") {
            let (header, _) = bases::safetensors(name, file);
            seed(folder, &name.replace('/', "_"), &[&[tag], &header]);
        }
    }
    for (tag, name) in (0..).zip(bases::SAFETENSORS) {
        let (header, body) = bases::safetensors(name, "model.safetensors");
        seed(folder, name, &[&[tag], &header]);
        let length = (header.len() as u64).to_le_bytes();
        seed(
            folder,
            &format!("{name}.cut"),
            &[&[WHOLE], &length, &header, &body],
        );
    }
    for (name, length, rest) in [
        ("length", 1 << 63, "{}"),
        ("longest", u64::MAX, "{}"),
        ("empty", 2, "{}"),
        (
            "doubled",
            118,
            r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}    abcd"#,
        ),
        (
            "shape",
            92,
            r#"{"a":{"dtype":"F32","shape":[9223372036854775808,2,0],"data_offsets":[0,0]}}             "#,
        ),
        (
            "dtype",
            70,
            r#"{"a":{"dtype":"\u001b[31m","shape":[1],"data_offsets":[0,4]}}         abcd"#,
        ),
    ] {
        let length: u64 = length;
        seed(
            folder,
            name,
            &[&[WHOLE], &length.to_le_bytes(), rest.as_bytes()],
        );
    }
}

fn torch(folder: &Path) {
    for (tag, name, file, _) in bases::ADAPTERS {
        if file.ends_with(".bin") {
            for (part, bytes) in archive::entries(&fixture(name).join(file)) {
                if part.ends_with(archive::PICKLE) {
                    seed(folder, &name.replace('/', "_"), &[&[tag], &bytes]);
                }
            }
        }
    }
    for (tag, (from, file, _)) in (0..).zip(bases::TORCH) {
        let path = fixture(from).join(file);
        for (name, bytes) in archive::entries(&path) {
            if name.ends_with(archive::PICKLE) {
                seed(folder, file, &[&[tag], &bytes]);
            }
        }
        let whole = fs::read(path).unwrap();
        if whole.len() <= MOST {
            seed(folder, &format!("{file}.whole"), &[&[WHOLE], &whole]);
        }
    }
    for (name, pickle) in [
        ("system", &b"\x80\x02cos\nsystem\nX\x04\0\0\0true\x85R."[..]),
        (
            "stacked",
            b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",
        ),
        (
            "reduce",
            b"\x80\x02c__builtin__\neval\n(X\x03\0\0\x001+1tR.",
        ),
        ("object", b"\x80\x02(cos\nsystem\nX\x01\0\0\0xo."),
        ("circle", b"\x80\x02]q\0h\0a."),
        (
            "dict",
            b"\x80\x02}q\0(X\x05\0\0\0modelh\0X\x03\0\0\0cfgh\0u.",
        ),
        ("frame", b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f}."),
        ("text", b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7fx."),
        ("long", b"\x80\x02\x8a\xff\xff."),
    ] {
        seed(folder, name, &[&[0], pickle]);
        let names = ["m/data.pkl", "m/version"].map(|name| (name.to_owned(), b"3\n".to_vec()));
        let whole = archive::with_pickle(&names, pickle);
        seed(folder, &format!("{name}.whole"), &[&[WHOLE], &whole]);
    }
    let names = ["../../escaped", "m/data.pkl", "m/data/0"];
    let names = names.map(|name| (name.to_owned(), vec![0; 24]));
    let outside = archive::with_pickle(&names, b"\x80\x02}.");
    seed(folder, "outside.whole", &[&[WHOLE], &outside]);
    nemo(folder);
}

fn nemo(folder: &Path) {
    let [config, weights] = bases::nemo();
    let [of_config, of_pickle, of_whole] = bases::NEMO_TAGS;
    seed(folder, "nemo.config", &[&[of_config], &config]);
    let entries = archive::entries_of(Cursor::new(weights));
    for (name, bytes) in &entries {
        if name.ends_with(archive::PICKLE) {
            seed(folder, "nemo.pickle", &[&[of_pickle], bytes]);
        }
    }
    for (name, text) in [
        ("deep", format!("model:\n{}", " -".repeat(3000))),
        (
            "layers",
            "num_layers: 99999999999999999999\nhidden_size: 32\n".into(),
        ),
        ("twice", "num_layers: 2\nnum_layers: 3\n".into()),
        (
            "esm1nv",
            "target: bionemo.model.protein.esm1nv.esm1nv_model.ESM1nvModel\n".into(),
        ),
        ("alias", "a: &a [*a, *a]\nnum_layers: *a\n".into()),
        ("control", "hidden_size: \"\u{1b}[31m\"\n".into()),
    ] {
        seed(
            folder,
            &format!("nemo.{name}"),
            &[&[of_config], text.as_bytes()],
        );
    }
    // Small ones, without tensors.
    let empty = archive::with_pickle(&[("m/data.pkl".to_owned(), Vec::new())], b"\x80\x02}.");
    let [first, second] = bases::NEMO_FILES;
    let small = archive::tar(&[(first, &config), (second, &empty)]);
    let escaped = format!("../../{second}");
    for (name, whole) in [
        ("gzip", gzip(&small)),
        ("cut", small[..700].to_vec()),
        (
            "outside",
            archive::tar(&[(first, &config), (&escaped, &empty)]),
        ),
        (
            "doubled",
            archive::tar(&[(first, &config), (first, b"a: 1\n"), (second, &empty)]),
        ),
        (
            "sizes",
            archive::tar_entry(second, b'0', &empty, "77777777777"),
        ),
        (
            "binary_size",
            archive::tar_entry(second, b'0', &empty, "\u{7f}\u{7f}\u{7f}"),
        ),
        ("link", archive::tar_entry(second, b'2', b"", "00000000000")),
        (
            "long_name",
            archive::tar_entry(second, b'L', b"model_weights.ckpt\0", "00000000023"),
        ),
        ("small", small),
    ] {
        seed(
            folder,
            &format!("nemo.{name}.whole"),
            &[&[of_whole], &whole],
        );
    }
}

fn journal(folder: &Path) {
    let dir = scratch().join("seeds");
    for (residues, lower) in [(Residues::Packed, false), (Residues::Files, true)] {
        let interrupted = work::interrupted(&dir, residues);
        let finished = work::finished(&dir, residues);
        let shards = work::shards(&dir, residues);
        let each = |tag: u8, files: &Tree, name: &str| {
            if let Some(bytes) = files.get(Path::new(name)) {
                let tag = if lower { tag.to_ascii_lowercase() } else { tag };
                let name = name.replace('/', "_");
                seed(
                    folder,
                    &format!("{}_{name}", char::from(tag)),
                    &[&[tag], bytes],
                );
            }
        };
        each(b'J', &interrupted, ".partial/journal");
        each(b'B', &interrupted, ".partial/begun.json");
        each(b'S', &finished, "run.json");
        each(b'R', &finished, "run.json");
        each(b'I', &finished, "index.tsv");
        each(b'L', &finished, "residues.layer1.sha256");
        each(b'T', &shards, "1/shard.tsv");
        each(b'X', &shards, "1/index.tsv");
        each(b'N', &shards, "1/run.json");
    }
    for (tag, edits) in [
        (b'E', &b"\0\x01\x05\x80\x03\x02\x01\x01"[..]),
        (b'e', b"\x04\x02\x03\x01"),
        (b'E', b"\x05\0\x90\x01\x05\x01\x90\x01"),
        (b'e', b"\x06\0\x40\0\x02\x20\0\xA5"),
        (b'E', b"\x01\x03\x07\0"),
    ] {
        let name = format!("edits_{}_{}", char::from(tag), edits[0]);
        seed(folder, &name, &[&[tag], edits]);
    }
}

fn bodies(folder: &Path) {
    for (name, tag, text) in [
        (
            "embed",
            0,
            r#"{"inputs": ["MKT", "<mask>\u004b*"], "truncate": true, "layer": -1}"#,
        ),
        (
            "one",
            0,
            r#"{"inputs": "mkt-a.J", "normalize": false, "dimensions": 320, "pool": "cls"}"#,
        ),
        (
            "residues",
            1,
            r#"{"inputs": ["MKT"], "truncation_direction": "Left", "notes": null}"#,
        ),
        (
            "openai",
            2,
            r#"{"input": ["MKT"], "model": "m", "encoding_format": "base64", "user": "u"}"#,
        ),
        ("tokens", 2, r#"{"input": [[5, 6], [7]], "model": "m"}"#),
        ("nim", 3, r#"{"sequences": ["MKT"], "format": "npz"}"#),
        (
            "kserve",
            4,
            r#"{"inputs": [{"name": "sequences", "datatype": "BYTES", "shape": [2, 1], "data": [["MKT"], "A"]}]}"#,
        ),
    ] {
        seed(folder, name, &[&[tag], text.as_bytes()]);
    }
    // Messages of gRPC, as protobuf writes them.
    let tensor = b"\x0a\x09sequences\x12\x05BYTES\x1a\x02\x01\x01";
    for (name, tag, message) in [
        (
            "stream",
            5,
            &b"\x0a\x01a\x12\x03MKT\x1a\x06\x0a\x02\x01\x02\x18\x01"[..],
        ),
        ("bionemo", 6, b"\x0a\x03MKT\x0a\x02mk\x0a\x00"),
        (
            "kserve_raw",
            7,
            &[
                b"\x0a\x07hiddens\x2a\x16",
                &tensor[..],
                b"\x3a\x07\x03\0\0\0MKT",
            ]
            .concat(),
        ),
        (
            "kserve_contents",
            7,
            &[
                b"\x2a\x1d",
                &tensor[..],
                b"\x2a\x05\x42\x03MKT",
                b"\x32\x06\x0a\x04mask",
            ]
            .concat(),
        ),
    ] {
        seed(folder, name, &[&[tag], message]);
    }
}
