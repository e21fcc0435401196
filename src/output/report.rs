//! What `inspect` found, as a person reads it.

use super::escape::shown;
use super::layout::{OutDtype, PARTIAL};
use super::manifest::Manifest;
use serde_json::Value;
use std::fmt;
use std::path::PathBuf;

/// Problems that are told one by one; more are only counted.
const TOLD: usize = 50;

/// Something about an output folder that is not as its `run.json` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// File or folder below the output folder.
    pub file: String,
    /// What was found.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", shown(&self.file), shown(&self.what))
    }
}

/// What an output folder holds, and what is wrong with it.
#[derive(Debug)]
pub struct Report {
    /// The folder.
    pub dir: PathBuf,
    /// Its `run.json`, if there is one that can be read.
    pub manifest: Option<Manifest>,
    /// Whether the checksums were recomputed.
    pub checked: bool,
    /// Whether the working folder of a run stands in it.
    pub unfinished: bool,
    /// The first 50 problems.
    pub problems: Vec<Problem>,
    /// Number of all problems; the folder is sound if it is 0.
    pub problem_count: u64,
}

impl Report {
    pub(super) fn new(dir: PathBuf, checked: bool) -> Self {
        Self {
            dir,
            manifest: None,
            checked,
            unfinished: false,
            problems: Vec::new(),
            problem_count: 0,
        }
    }

    /// Whether the folder is as its `run.json` says.
    pub fn is_sound(&self) -> bool {
        self.problem_count == 0
    }

    /// Adds a problem.
    pub(super) fn problem(&mut self, file: &str, what: impl Into<String>) {
        self.problem_count += 1;
        if self.problems.len() < TOLD {
            self.problems.push(Problem {
                file: file.into(),
                what: what.into(),
            });
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.manifest.is_some() {
            "complete"
        } else {
            "not complete"
        };
        writeln!(f, "{}: {state}", shown(&self.dir.to_string_lossy()))?;
        if let Some(manifest) = &self.manifest {
            write_manifest(f, manifest)?;
        }
        if self.unfinished {
            writeln!(
                f,
                "{PARTIAL} is there: a run is going on in this folder, or did not finish"
            )?;
        }
        if self.manifest.is_some() {
            let checked = if self.checked {
                "recomputed"
            } else {
                "not recomputed (--check does)"
            };
            writeln!(f, "checksums: {checked}")?;
        }
        match self.problem_count {
            0 => return writeln!(f, "problems: none"),
            count => writeln!(f, "problems: {count}")?,
        }
        for problem in &self.problems {
            writeln!(f, "  {problem}")?;
        }
        match self
            .problem_count
            .saturating_sub(self.problems.len() as u64)
        {
            0 => Ok(()),
            more => writeln!(f, "  and {more} more"),
        }
    }
}

fn write_manifest(f: &mut fmt::Formatter<'_>, manifest: &Manifest) -> fmt::Result {
    writeln!(f, "written by esm-embed {}", shown(&manifest.esm_embed))?;
    if let Some(shard) = manifest.shard {
        writeln!(
            f,
            "shard {} of {} of an input of {} records (merge joins them)",
            shard.number, shard.of, shard.input_records
        )?;
    }
    write_value(f, "", &manifest.resolved)?;
    let counts = &manifest.counts;
    writeln!(
        f,
        "records: {} ({} residues)",
        counts.records, counts.residues
    )?;
    for (count, what) in [
        (
            counts.duplicates,
            "records with the sequence of an earlier one",
        ),
        (counts.truncated, "records truncated"),
        (counts.windowed, "records embedded in windows"),
        (counts.skipped, "records left out (skipped.tsv)"),
        (
            counts.in_bf16,
            "records computed in bf16, as their numbers do not fit f16",
        ),
        (counts.unknown, "characters outside the alphabet"),
        (counts.lower, "lower-case letters"),
        (counts.masks, "<mask> tokens"),
        (counts.gaps, "gaps of an alignment (- and .)"),
        (counts.invisible, "invisible characters, dropped"),
        (counts.nucleotides, "records that look like nucleotides"),
        (
            counts.reused_ids,
            "records with the id of an earlier record and another sequence",
        ),
        (counts.stops, "records of which a trailing * was dropped"),
    ] {
        if count > 0 {
            writeln!(f, "  {count} {what}")?;
        }
    }
    for file in &manifest.files {
        let form = match (file.shape, file.dtype) {
            (Some([rows, columns]), Some(dtype)) => {
                let dtype = match dtype {
                    OutDtype::F32 => "f32",
                    OutDtype::F16 => "f16",
                };
                format!("[{rows}, {columns}] {dtype}, ")
            }
            _ => String::new(),
        };
        writeln!(f, "{}: {form}{}", shown(&file.name), size(file.bytes))?;
    }
    for folder in &manifest.folders {
        writeln!(
            f,
            "{}/: {} files, {}",
            shown(&folder.name),
            folder.files,
            size(folder.bytes)
        )?;
    }
    Ok(())
}

/// One line for each value that is not itself an object, its key spelt from the top.
fn write_value(f: &mut fmt::Formatter<'_>, key: &str, value: &Value) -> fmt::Result {
    match value {
        Value::Null => Ok(()),
        Value::Object(object) => object.iter().try_for_each(|(inner, value)| {
            let dot = if key.is_empty() { "" } else { "." };
            write_value(f, &format!("{key}{dot}{inner}"), value)
        }),
        Value::String(text) => writeln!(f, "{}: {}", shown(key), shown(text)),
        other => writeln!(f, "{}: {}", shown(key), shown(&other.to_string())),
    }
}

/// A size as people say it.
fn size(bytes: u64) -> String {
    let mut number = bytes as f64;
    let mut unit = "bytes";
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if number < 1024.0 {
            break;
        }
        number /= 1024.0;
        unit = larger;
    }
    if unit == "bytes" {
        format!("{bytes} bytes")
    } else {
        format!("{number:.1} {unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(size(1023), "1023 bytes");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(5 << 40), "5.0 TiB");
        assert_eq!(size(1 << 60), "1048576.0 TiB");
    }

    #[test]
    fn many_problems_are_counted() {
        let mut report = Report::new("emb".into(), false);
        for i in 0..60 {
            report.problem(&format!("f{i}"), "is \u{1b}[31mmissing");
        }
        let text = report.to_string();
        assert!(
            text.starts_with("emb: not complete\nproblems: 60\n  f0: is \\x1b[31mmissing\n"),
            "{text}"
        );
        assert!(
            text.ends_with("  f49: is \\x1b[31mmissing\n  and 10 more\n"),
            "{text}"
        );
    }
}
