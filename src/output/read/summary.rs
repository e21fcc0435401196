//! A `run.json` as a person reads it: one fact a line, what belongs together indented.
//!
//! The part `resolved` is written as it comes, so a key that this version does not know is shown too.

use crate::numerals::{bytes, count, grouped};
use crate::output::manifest::Manifest;
use crate::printable;
use crate::product::OutDtype;
use serde_json::{Map, Value};
use std::fmt::{self, Formatter, Result};

/// Texts that are longer stand on a line of their own in a list.
const SHORT: usize = 32;

/// Numbers that are names of versions.
const VERSIONS: [&str; 2] = ["cublaslt", "driver"];

/// The order in which known keys are written; others follow by name.
const ORDER: [&str; 19] = [
    "model",
    "repo",
    "revision",
    "layout",
    "stored_dtype",
    "layers",
    "dim",
    "heads",
    "positions",
    "token_dropout",
    "inv_freq",
    "files",
    "device",
    "cpu_path",
    "arch",
    "dtype",
    "cuda",
    "long",
    "inputs",
];

/// Writes what a run was, what it met, and the files it made.
pub(crate) fn write(f: &mut Formatter<'_>, manifest: &Manifest) -> Result {
    writeln!(
        f,
        "written by esm-embed {}",
        printable::text(&manifest.esm_embed)
    )?;
    if let Some(shard) = manifest.shard {
        writeln!(
            f,
            "shard {} of {} of an input of {} (merge joins them)",
            grouped(shard.number),
            grouped(shard.of),
            count(shard.input_records, "record")
        )?;
    }
    match &manifest.resolved {
        Value::Object(object) => members(f, 0, object)?,
        Value::Null => {}
        other => value(f, 0, "resolved", other)?,
    }
    write_counts(f, manifest)?;
    writeln!(f, "files:")?;
    for file in &manifest.files {
        let form = match (&file.shape, file.dtype) {
            (Some(shape), Some(dtype)) => {
                let dtype = match dtype {
                    OutDtype::F32 => "f32",
                    OutDtype::F16 => "f16",
                };
                format!("{shape:?} {dtype}, ")
            }
            _ => String::new(),
        };
        writeln!(
            f,
            "  {}: {form}{}",
            printable::text(&file.name),
            bytes(file.bytes)
        )?;
    }
    for folder in &manifest.folders {
        writeln!(
            f,
            "  {}/: {}, {}",
            printable::text(&folder.name),
            count(folder.files, "file"),
            bytes(folder.bytes)
        )?;
    }
    Ok(())
}

fn write_counts(f: &mut Formatter<'_>, manifest: &Manifest) -> Result {
    let counts = &manifest.counts;
    writeln!(
        f,
        "records: {} ({})",
        grouped(counts.records),
        count(counts.residues, "residue")
    )?;
    for (number, thing, what) in [
        (
            counts.duplicates,
            "record",
            " with the sequence of an earlier one",
        ),
        (counts.truncated, "record", " truncated"),
        (
            counts.windowed,
            "record",
            " embedded in overlapping windows",
        ),
        (
            counts.skipped,
            "record",
            " left out (listed in skipped.tsv)",
        ),
        (
            counts.in_bf16,
            "record",
            " computed in bf16, with numbers too large for f16",
        ),
        (counts.unknown, "character", " outside the alphabet"),
        (counts.lower, "lower-case letter", ""),
        (counts.masks, "<mask> token", ""),
        (counts.gaps, "gap", " of an alignment (- and .)"),
        (counts.invisible, "invisible character", " dropped"),
        (
            counts.nucleotides,
            "record",
            " of nucleotides, by the look of the residues",
        ),
        (
            counts.reused_ids,
            "record",
            " with the id of an earlier record and another sequence",
        ),
        (counts.stops, "record", " whose trailing * was dropped"),
    ] {
        if number > 0 {
            writeln!(f, "  {}{what}", count(number, thing))?;
        }
    }
    Ok(())
}

/// The members of an object, one after the other. What is null is left out.
fn members(f: &mut Formatter<'_>, indent: usize, object: &Map<String, Value>) -> Result {
    let mut members: Vec<(&String, &Value)> = object.iter().collect();
    let rank = |key: &str| ORDER.iter().position(|known| *known == key);
    members.sort_by_key(|(key, _)| (rank(key).unwrap_or(ORDER.len()), *key));
    members
        .into_iter()
        .try_for_each(|(key, inner)| value(f, indent, key, inner))
}

/// One value with its label, on a line if it fits, else indented below it.
fn value(f: &mut Formatter<'_>, indent: usize, key: &str, value: &Value) -> Result {
    let label = Label(key);
    match value {
        Value::Null => Ok(()),
        Value::Object(object) => {
            writeln!(f, "{:indent$}{label}:", "")?;
            members(f, indent + 2, object)
        }
        Value::Array(items) => match list(key, items) {
            Some(line) => writeln!(f, "{:indent$}{label}: {line}", ""),
            None => {
                writeln!(f, "{:indent$}{label}:", "")?;
                items
                    .iter()
                    .enumerate()
                    .try_for_each(|(i, item)| self::item(f, indent + 2, i, item))
            }
        },
        scalar => writeln!(f, "{:indent$}{label}: {}", "", plain(key, scalar)),
    }
}

/// A list of short values as one line; None if it needs more.
fn list(key: &str, items: &[Value]) -> Option<String> {
    if items.is_empty() {
        return Some("none".to_owned());
    }
    let fits = |item: &Value| match item {
        Value::Object(_) | Value::Array(_) => false,
        Value::String(text) => text.len() <= SHORT && !text.contains(','),
        _ => true,
    };
    let texts = items.iter().map(|item| plain(key, item));
    (items.len() == 1 && !matches!(items, [Value::Object(_) | Value::Array(_)])
        || items.iter().all(fits))
    .then(|| texts.collect::<Vec<_>>().join(", "))
}

/// One item of a list that does not fit a line. A file is one line: its name, then its facts.
fn item(f: &mut Formatter<'_>, indent: usize, i: usize, item: &Value) -> Result {
    let number = (i + 1).to_string();
    let Value::Object(object) = item else {
        return match item {
            Value::Array(_) => value(f, indent, &number, item),
            scalar => writeln!(f, "{:indent$}{}", "", plain("", scalar)),
        };
    };
    let name = ["name", "path"]
        .into_iter()
        .find_map(|key| Some((key, object.get(key)?.as_str()?)));
    let is_flat = object
        .values()
        .all(|value| !matches!(value, Value::Object(_) | Value::Array(_)));
    match name {
        Some((of, name)) if is_flat => {
            let mut facts: Vec<(&String, &Value)> = object
                .iter()
                .filter(|(key, value)| key.as_str() != of && !value.is_null())
                .collect();
            facts.sort_by_key(|(key, _)| (key.as_str() != "records", *key));
            let facts: Vec<String> = facts.iter().map(|(key, value)| fact(key, value)).collect();
            let colon = if facts.is_empty() { "" } else { ": " };
            let facts = facts.join(", ");
            writeln!(f, "{:indent$}{}{colon}{facts}", "", printable::text(name))
        }
        _ => value(f, indent, &number, item),
    }
}

/// A fact within a line: with its unit, or after its label.
fn fact(key: &str, value: &Value) -> String {
    match (key, value.as_u64()) {
        ("records", Some(records)) => count(records, "record"),
        ("bytes", Some(_)) => plain(key, value),
        _ => format!("{} {}", Label(key), plain(key, value)),
    }
}

/// A value without a label. Numbers called bytes are sizes.
fn plain(key: &str, value: &Value) -> String {
    match value {
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) => printable::text(text).to_string(),
        Value::Number(number) => match number.as_u64() {
            Some(number) if key == "bytes" => bytes(number),
            Some(number) if VERSIONS.contains(&key) => number.to_string(),
            Some(number) => grouped(number),
            None => number.to_string(),
        },
        other => printable::text(&other.to_string()).to_string(),
    }
}

/// A key as a person says it.
struct Label<'a>(&'a str);

impl fmt::Display for Label<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let known = match self.0 {
            "arch" => "processor",
            "cpu_path" => "CPU path",
            "cublaslt" => "cuBLASLt",
            "cuda" => "CUDA",
            "dim" => "columns",
            "dtype" => "computed in",
            "inv_freq" => "rotary frequencies",
            "long" => "long records",
            "repo" => "repository",
            "sha256" => "SHA-256",
            "stored_dtype" => "stored as",
            other => return write!(f, "{}", printable::text(&other.replace('_', " "))),
        };
        f.write_str(known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::counts::Counts;
    use crate::output::layout::{Include, Layout, Residues};
    use crate::output::manifest::{FORMAT_VERSION, FileEntry, FolderEntry};
    use crate::output::shard::ShardEntry;
    use crate::product::Pool;
    use serde_json::json;

    struct Text(Manifest);

    impl fmt::Display for Text {
        fn fmt(&self, f: &mut Formatter<'_>) -> Result {
            write(f, &self.0)
        }
    }

    fn manifest(resolved: Value) -> Manifest {
        Manifest {
            format_version: FORMAT_VERSION,
            esm_embed: "0.1.0".into(),
            shard: None,
            asked: json!({}),
            resolved,
            layout: Layout {
                layers: vec![6],
                pools: vec![Pool::Mean],
                residues: Residues::None,
                dtype: OutDtype::F32,
                dim: 320,
                include: Include::default(),
            },
            notes: Vec::new(),
            arrays: Vec::new(),
            counts: Counts::default(),
            files: Vec::new(),
            folders: Vec::new(),
        }
    }

    #[test]
    fn a_run_in_full() {
        let mut manifest = manifest(json!({
            "model": {
                "repo": "facebook/esm2_t6_8M_UR50D", "revision": null, "layout": "Hugging Face",
                "stored_dtype": "f32", "layers": 6, "dim": 320, "token_dropout": true,
                "inv_freq": "checkpoint",
                "files": [
                    {"name": "config.json", "bytes": 775, "sha256": "aa"},
                    {"name": "model.safetensors", "bytes": 31_384_292, "sha256": "bb"},
                ],
            },
            "layers": [0, 6],
            "cpu_path": "avx2",
            "inputs": [{"path": "a.fasta", "records": 1, "bytes": 1, "sha256": "cc"}],
        }));
        manifest.shard = Some(ShardEntry {
            number: 2,
            of: 3,
            input_records: 1,
        });
        manifest.counts = Counts {
            records: 4_391,
            residues: 1_354_179,
            duplicates: 1,
            unknown: 2_000,
            stops: 1,
            ..Counts::default()
        };
        manifest.files = vec![
            FileEntry {
                name: "index.tsv".into(),
                bytes: 1,
                sha256: "00".into(),
                pieces: None,
                shape: None,
                dtype: None,
            },
            FileEntry {
                name: "mean.layer6.npy".into(),
                bytes: 5_620_608,
                sha256: "00".into(),
                pieces: None,
                shape: Some(vec![4_391, 320]),
                dtype: Some(OutDtype::F32),
            },
        ];
        manifest.folders = vec![FolderEntry {
            name: "residues.layer6".into(),
            files: 1,
            bytes: 1_536,
            checksums: "residues.layer6.sha256".into(),
        }];
        assert_eq!(
            Text(manifest).to_string(),
            "written by esm-embed 0.1.0
shard 2 of 3 of an input of 1 record (merge joins them)
model:
  repository: facebook/esm2_t6_8M_UR50D
  layout: Hugging Face
  stored as: f32
  layers: 6
  columns: 320
  token dropout: yes
  rotary frequencies: checkpoint
  files:
    config.json: 775 bytes, SHA-256 aa
    model.safetensors: 31.4 MB, SHA-256 bb
layers: 0, 6
CPU path: avx2
inputs:
  a.fasta: 1 record, 1 byte, SHA-256 cc
records: 4,391 (1,354,179 residues)
  1 record with the sequence of an earlier one
  2,000 characters outside the alphabet
  1 record whose trailing * was dropped
files:
  index.tsv: 1 byte
  mean.layer6.npy: [4391, 320] f32, 5.6 MB
  residues.layer6/: 1 file, 1.5 kB
"
        );
    }

    #[test]
    fn what_is_not_known_is_readable_too() {
        let resolved = json!({
            "cuda": {
                "cublaslt": 130_100,
                "cards": [{"card": "H100", "algorithms": [{"rows": 256, "columns": 1}]}],
            },
            "notes": ["one, two", "a\u{1b}[31mb"],
            "one_note": ["a sentence, of more than thirty-two letters"],
            "rate": 0.5,
            "shift": -3,
            "nothing": [],
            "pairs": [[1, 2], [3]],
        });
        let text = Text(manifest(resolved)).to_string();
        let (_, rest) = text.split_once('\n').unwrap();
        let (rest, _) = rest.split_once("records: ").unwrap();
        assert_eq!(
            rest,
            "CUDA:
  cards:
    1:
      algorithms:
        1:
          columns: 1
          rows: 256
      card: H100
  cuBLASLt: 130100
notes:
  one, two
  a\\u{1b}[31mb
nothing: none
one note: a sentence, of more than thirty-two letters
pairs:
  1: 1, 2
  2: 3
rate: 0.5
shift: -3
"
        );
    }
}
