//! A `run.json` for people: one fact a line, related facts indented.

use crate::numerals::{bytes, count, grouped};
use crate::output::counts::Counts;
use crate::output::manifest::Manifest;
use crate::printable;
use crate::product::OutDtype;
use crate::run_record::{CudaFacts, ModelFacts, ProductRows, Resolved};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::{self, Formatter, Result};

/// Writes the options of a run, its counts and its files.
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
    if !manifest.links.is_empty() {
        writeln!(
            f,
            "linked: the arrays are in the folders of {} (merge copies them)",
            count(manifest.links.len() as u64, "shard")
        )?;
    }
    write_resolved(f, &manifest.resolved)?;
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
    let mut remarks = remarks(counts).into_iter();
    remarks.try_for_each(|remark| writeln!(f, "  {remark}"))
}

/// What was special about records, in words.
pub(crate) fn remarks(counts: &Counts) -> Vec<String> {
    let all = [
        (
            counts.duplicates,
            "record",
            " with the sequence of an earlier one",
        ),
        (
            counts.known,
            "sequence",
            " copied from other folders instead of computed",
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
        (
            counts.in_f32,
            "record",
            " computed in f32, with numbers too large for f16",
        ),
        (
            counts.unknown,
            "character",
            " outside the alphabet, embedded as <unk>",
        ),
        (counts.lower, "lower-case letter", ""),
        (counts.masks, "<mask> token", ""),
        (counts.gaps, "gap", " of an alignment (- and .)"),
        (counts.invisible, "invisible character", " dropped"),
        (counts.nucleotides, "record", " resembling nucleotides"),
        (
            counts.reused_ids,
            "record",
            " with the id of an earlier record but another sequence",
        ),
        (counts.stops, "record", " whose trailing * was dropped"),
    ];
    let there = all.into_iter().filter(|(number, _, _)| *number > 0);
    there
        .map(|(number, thing, what)| format!("{}{what}", count(number, thing)))
        .collect()
}

/// What the options resolved to. What is not known has no line.
fn write_resolved(f: &mut Formatter<'_>, resolved: &Resolved) -> Result {
    write_model(f, &resolved.model)?;
    line(f, 0, "layers", list(&resolved.layers))?;
    line(f, 0, "device", &resolved.device)?;
    line(f, 0, "CPU path", known(&resolved.cpu_path))?;
    line(f, 0, "processor", known(&resolved.arch))?;
    line(f, 0, "computed in", &resolved.dtype)?;
    if let Some(cuda) = &resolved.cuda {
        write_cuda(f, cuda)?;
    }
    line(f, 0, "long records", &resolved.long)?;
    line(f, 0, "gaps", &resolved.gaps)?;
    if !resolved.inputs.is_empty() {
        writeln!(f, "inputs:")?;
    }
    for input in &resolved.inputs {
        let records = count(input.records, "record");
        let size = bytes(input.bytes);
        let facts = format!("{records}, {size}, SHA-256 {}", input.sha256);
        line(f, 2, &printable::text(&input.path), facts)?;
    }
    write_newer(f, 0, &resolved.other)
}

fn write_model(f: &mut Formatter<'_>, model: &ModelFacts) -> Result {
    writeln!(f, "model:")?;
    line(f, 2, "repository", known(&model.repo))?;
    line(f, 2, "revision", known(&model.revision))?;
    if let Some(adapter) = &model.adapter {
        let base = adapter.base.as_deref().unwrap_or("a model without a name");
        let weights = count(adapter.weights as u64, "weight");
        let facts = format!(
            "{} of {}, {weights}",
            printable::name(&adapter.method),
            printable::name(base)
        );
        line(f, 2, "adapter", facts)?;
        if let (Some(repo), Some(revision)) = (&adapter.repo, &adapter.revision) {
            let repo = format!("{}, revision {revision}", printable::name(repo));
            line(f, 2, "adapter's repository", repo)?;
        }
    }
    line(f, 2, "layout", &model.layout)?;
    line(f, 2, "stored as", &model.stored_dtype)?;
    line(f, 2, "layers", model.layers)?;
    line(f, 2, "columns", grouped(model.dim as u64))?;
    line(f, 2, "heads", model.heads)?;
    line(f, 2, "positions", &model.positions)?;
    line(f, 2, "token dropout", yes_or_no(model.token_dropout))?;
    line(f, 2, "rotary frequencies", known(&model.inv_freq))?;
    line(f, 2, "alphabet proof", known(&model.alphabet_proof))?;
    line(f, 2, "alphabet size", number(model.alphabet_size))?;
    line(f, 2, "embedding rows", number(model.embedding_rows))?;
    if !model.files.is_empty() {
        writeln!(f, "  files:")?;
    }
    for file in &model.files {
        let facts = format!("{}, SHA-256 {}", bytes(file.bytes), file.sha256);
        line(f, 4, &printable::text(&file.name), facts)?;
    }
    write_newer(f, 2, &model.other)
}

fn write_cuda(f: &mut Formatter<'_>, cuda: &CudaFacts) -> Result {
    writeln!(f, "CUDA:")?;
    let version = cuda.cublaslt.map(|version| version.to_string());
    line(f, 2, "cuBLASLt", known(&version))?;
    line(f, 2, "cuBLASLt path", known(&cuda.cublaslt_path))?;
    line(f, 2, "kernels", &cuda.kernels)?;
    let heights = match &cuda.rows_of_a_product {
        None => String::new(),
        Some(ProductRows::Slab(rows)) => grouped(*rows as u64),
        Some(ProductRows::Heights(all)) => list(all.iter().map(|&rows| grouped(rows as u64))),
    };
    line(f, 2, "rows of a product", heights)?;
    let in_slabs_only = cuda.in_slabs_only.map_or("", yes_or_no);
    line(f, 2, "in slabs only", in_slabs_only)?;
    let same_bits = yes_or_no(cuda.same_bits_in_any_batch);
    line(f, 2, "same bits in any batch", same_bits)?;
    for gpu in &cuda.cards {
        writeln!(f, "  {}:", printable::text(&gpu.card))?;
        line(f, 4, "compute capability", &gpu.compute_capability)?;
        line(f, 4, "driver", known(&gpu.driver_version))?;
        let (major, minor) = (gpu.driver / 1000, gpu.driver % 1000 / 10);
        line(
            f,
            4,
            "CUDA version of the driver",
            format!("{major}.{minor}"),
        )?;
        line(f, 4, "kernel image", known(&gpu.image))?;
        for (shape, algorithm) in &gpu.algorithms {
            let label = format!("algorithm for {}", printable::text(shape));
            line(f, 4, &label, known(algorithm))?;
        }
    }
    write_newer(f, 2, &cuda.other)
}

/// Keys that this version does not know, as JSON.
fn write_newer(f: &mut Formatter<'_>, indent: usize, other: &BTreeMap<String, Value>) -> Result {
    let mut newer = other.iter();
    newer.try_for_each(|(key, value)| line(f, indent, &printable::text(key), value))
}

/// A value after its label; nothing if it is empty.
fn line(f: &mut Formatter<'_>, indent: usize, label: &str, value: impl fmt::Display) -> Result {
    let value = value.to_string();
    match value.is_empty() {
        true => Ok(()),
        false => writeln!(f, "{:indent$}{label}: {}", "", printable::text(&value)),
    }
}

fn known(value: &Option<String>) -> &str {
    value.as_deref().unwrap_or_default()
}

fn number(value: Option<usize>) -> String {
    value.map(|n| grouped(n as u64)).unwrap_or_default()
}

fn yes_or_no(value: bool) -> &'static str {
    match value {
        true => "yes",
        false => "no",
    }
}

fn list<T: fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    items.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::counts::Counts;
    use crate::output::manifest::{FileEntry, FolderEntry};
    use crate::output::shard::ShardEntry;
    use crate::run_record::{GpuFacts, InputFacts, ModelFile};
    use serde_json::json;

    struct Text(Manifest);

    impl fmt::Display for Text {
        fn fmt(&self, f: &mut Formatter<'_>) -> Result {
            write(f, &self.0)
        }
    }

    fn manifest(resolved: Resolved) -> Manifest {
        Manifest {
            resolved,
            ..Manifest::example()
        }
    }

    #[test]
    fn a_run_in_full() {
        let file = |name: &str, bytes, sha256: &str| ModelFile {
            bytes,
            name: name.into(),
            sha256: sha256.into(),
        };
        let mut manifest = manifest(Resolved {
            model: ModelFacts {
                repo: Some("facebook/esm2_t6_8M_UR50D".into()),
                layout: "huggingface".into(),
                stored_dtype: "f32".into(),
                layers: 6,
                dim: 1280,
                heads: 20,
                token_dropout: true,
                inv_freq: Some("checkpoint".into()),
                files: vec![
                    file("config.json", 775, "aa"),
                    file("model.safetensors", 31_384_292, "bb"),
                ],
                ..ModelFacts::default()
            },
            layers: vec![0, 6],
            device: "cpu".into(),
            cpu_path: Some("avx2".into()),
            gaps: "keep".into(),
            inputs: vec![InputFacts {
                bytes: 1,
                path: "a\u{1b}[31m.fasta".into(),
                records: 1,
                sha256: "cc".into(),
            }],
            ..Resolved::default()
        });
        manifest.esm_embed = "0.1.0".into();
        manifest.shard = Some(ShardEntry {
            plan: None,
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
  layout: huggingface
  stored as: f32
  layers: 6
  columns: 1,280
  heads: 20
  token dropout: yes
  rotary frequencies: checkpoint
  files:
    config.json: 775 bytes, SHA-256 aa
    model.safetensors: 31.4 MB, SHA-256 bb
layers: 0, 6
device: cpu
CPU path: avx2
gaps: keep
inputs:
  a\\u{1b}[31m.fasta: 1 record, 1 byte, SHA-256 cc
records: 4,391 (1,354,179 residues)
  1 record with the sequence of an earlier one
  2,000 characters outside the alphabet, embedded as <unk>
  1 record whose trailing * was dropped
files:
  index.tsv: 1 byte
  mean.layer6.npy: [4391, 320] f32, 5.6 MB
  residues.layer6/: 1 file, 1.5 kB
"
        );
    }

    #[test]
    fn gpus_and_keys_of_a_newer_version() {
        let cuda = CudaFacts {
            cards: vec![GpuFacts {
                algorithms: [("96 x 32".into(), Some("id 0, tile 20".into()))].into(),
                card: "H100".into(),
                compute_capability: "9.0".into(),
                driver: 13_000,
                driver_version: Some("580.65".into()),
                image: Some("sm_90".into()),
            }],
            cublaslt: Some(130_400),
            in_slabs_only: Some(false),
            rows_of_a_product: Some(ProductRows::Heights(vec![256, 1024])),
            same_bits_in_any_batch: true,
            ..CudaFacts::default()
        };
        let resolved = Resolved {
            cuda: Some(cuda),
            other: [("adapter".into(), json!({"name": "a\u{1b}[31mb"}))].into(),
            ..Resolved::default()
        };
        let text = Text(manifest(resolved)).to_string();
        let (_, rest) = text.split_once("CUDA:\n").unwrap();
        let (rest, _) = rest.split_once("records: ").unwrap();
        assert_eq!(
            rest,
            "  cuBLASLt: 130400
  rows of a product: 256, 1,024
  in slabs only: no
  same bits in any batch: yes
  H100:
    compute capability: 9.0
    driver: 580.65
    CUDA version of the driver: 13.0
    kernel image: sm_90
    algorithm for 96 x 32: id 0, tile 20
adapter: {\"name\":\"a\\u001b[31mb\"}
"
        );
    }
}
