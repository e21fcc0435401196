//! How two shards differ, in words.

use crate::printable;
use std::collections::BTreeMap;

/// What differs between the values of two `run.json` files, each thing once. A key spells the place of
/// a value from the top; `most` differences are named.
pub(super) fn differences(
    these: &BTreeMap<String, String>,
    those: &BTreeMap<String, String>,
    most: usize,
) -> Vec<String> {
    let mut keys: Vec<&String> = these.keys().chain(those.keys()).collect();
    // What was asked for is also in what came of it.
    keys.sort_by_key(|key| (key.starts_with("asked."), *key));
    keys.dedup();
    let mut named: Vec<String> = Vec::new();
    let mut all = Vec::new();
    for key in keys {
        let (this, that) = (these.get(key), those.get(key));
        let (what, unit) = words(key);
        if this == that || named.contains(&what) || all.len() == most {
            continue;
        }
        let text = |value: Option<&String>| value.map_or("not given".into(), |v| plain(v, unit));
        all.push(format!("{what}: {} and {}", text(this), text(that)));
        named.push(what);
    }
    all
}

/// What stands at a place of `run.json`, and the unit of its number.
fn words(key: &str) -> (String, &'static str) {
    let path = match key.split_once('.') {
        Some(("asked" | "resolved" | "layout", path)) => path,
        _ => key,
    };
    let parts: Vec<&str> = path.split('.').collect();
    let what = match (key, parts.as_slice()) {
        ("layout.dtype", _) | (_, ["out_dtype"]) => "number format of the files",
        (_, ["dtype"]) => "number format of the computation",
        (_, ["layer" | "layers"]) => "layers",
        (_, ["pool" | "pools"]) => "pooled rows",
        (_, ["residues"]) => "residue rows",
        (_, ["long"]) => "long sequences",
        (_, ["unknown"]) => "unknown characters",
        (_, ["gaps"]) => "gaps",
        (_, ["on_invalid"]) => "invalid records",
        (_, ["cpu_path"]) => "CPU instructions",
        (_, ["arch"]) => "processor",
        (_, ["dim"] | ["model", "dim"]) => "width of the model",
        (_, ["format_version"]) => "format of the folder",
        (_, [list @ ("inputs" | "files"), number, field])
        | (_, ["model", list @ "files", number, field]) => {
            let kind = if *list == "inputs" {
                "input"
            } else {
                "model file"
            };
            let number = number.parse().map_or(0, |number: usize| number + 1);
            let unit = match *field {
                "bytes" => "bytes",
                "records" => "records",
                "sha256" => "SHA-256",
                _ => "",
            };
            return (format!("{kind} {number}"), unit);
        }
        (_, parts) => return (parts.join(" ").replace('_', " "), ""),
    };
    (what.to_owned(), "")
}

/// A value without the marks of JSON.
fn plain(value: &str, unit: &str) -> String {
    let value = match value.strip_prefix('[').and_then(|v| v.strip_suffix(']')) {
        _ if value == "null" => "not given".to_owned(),
        Some("") => "none".to_owned(),
        Some(list) => list.replace('"', "").replace(',', ", "),
        None => value.to_owned(),
    };
    match unit {
        "" => printable::text(&value),
        "SHA-256" => format!("SHA-256 {}", printable::text(&value)),
        "bytes" | "records" if value == "1" => format!("1 {}", unit.trim_end_matches('s')),
        unit => format!("{} {unit}", printable::text(&value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(these: &[(&str, &str)], those: &[(&str, &str)]) -> Vec<String> {
        let map = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|(k, v)| (k.to_string(), v.to_string()));
            pairs.collect()
        };
        differences(&map(these), &map(those), 20)
    }

    #[test]
    fn each_setting_is_named_once_in_words() {
        assert_eq!(
            found(
                &[
                    ("asked.pool", "[\"mean\"]"),
                    ("layout.pools", "[\"mean\"]"),
                    ("asked.gaps", "keep"),
                    ("resolved.gaps", "keep"),
                    ("asked.dtype", "null"),
                    ("resolved.dtype", "f32"),
                    ("layout.dtype", "f32"),
                    ("same", "1"),
                ],
                &[
                    ("asked.pool", "[\"mean\",\"max\"]"),
                    ("layout.pools", "[\"mean\",\"max\"]"),
                    ("asked.gaps", "drop"),
                    ("resolved.gaps", "drop"),
                    ("asked.dtype", "bf16"),
                    ("resolved.dtype", "bf16"),
                    ("layout.dtype", "f16"),
                    ("same", "1"),
                ],
            ),
            [
                "number format of the files: f32 and f16",
                "pooled rows: mean and mean, max",
                "number format of the computation: f32 and bf16",
                "gaps: keep and drop",
            ]
        );
    }

    #[test]
    fn files_have_numbers_and_units() {
        assert_eq!(
            found(
                &[
                    ("resolved.inputs.0.bytes", "12"),
                    ("resolved.inputs.0.sha256", "aa"),
                    ("resolved.model.files.1.sha256", "aa"),
                    ("resolved.model.token_dropout", "true"),
                ],
                &[
                    ("resolved.inputs.0.bytes", "1"),
                    ("resolved.inputs.0.sha256", "bb"),
                    ("resolved.model.files.1.sha256", "bb"),
                ],
            ),
            [
                "input 1: 12 bytes and 1 byte",
                "model file 2: SHA-256 aa and SHA-256 bb",
                "model token dropout: true and not given",
            ]
        );
    }
}
