//! Compares an output folder with its `run.json`, which is not trusted: only files that a run
//! writes are opened, only directly in the folder, and never through a link.

mod files;
mod links;

use crate::numerals::{count, grouped};
use crate::output::array::Array;
use crate::output::disk;
use crate::output::error::OutputError;
use crate::output::folder_files::IDS_NPY;
use crate::output::index::scan;
use crate::output::layout::{
    INDEX_TSV, Layout, PARTIAL, RUN_JSON, SHARD_TSV, SKIPPED_TSV, Tables, is_file_name,
    is_folder_name,
};
use crate::output::manifest::Manifest;
use crate::output::read::array_file::unreadable;
use crate::output::read::finished::check_arrays;
use crate::output::read::report::Report;
use crate::threads::Threads;
use std::collections::{BTreeMap, BTreeSet};
use std::io::BufReader;
use std::path::Path;

/// Examines an output folder: files, sizes, shapes and index; with `check`, checksums as well. The
/// report lists what is wrong.
///
/// # Errors
/// When `dir` is not a folder or cannot be read at all.
pub fn inspect(dir: &Path, check: bool) -> Result<Report, OutputError> {
    inspect_with_threads(dir, check, 1)
}

/// [`inspect`] with this number of threads for the checksums of large files.
///
/// # Errors
/// As [`inspect`].
pub fn inspect_with_threads(
    dir: &Path,
    check: bool,
    threads: usize,
) -> Result<Report, OutputError> {
    inspect_sharing(dir, check, &Threads::new(threads))
}

fn inspect_sharing(dir: &Path, check: bool, threads: &Threads) -> Result<Report, OutputError> {
    match std::fs::metadata(dir) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => {
            return Err(OutputError::NotAFolder {
                path: dir.to_path_buf(),
            });
        }
        Err(e) => return Err(OutputError::io("reading", dir, e)),
    }
    let mut report = Report::new(dir.to_path_buf(), check);
    let partial = dir.join(PARTIAL);
    report.unfinished = disk::kind(&partial)
        .map_err(|e| OutputError::io("reading", &partial, e))?
        .is_some();
    let manifest = match Manifest::read(dir) {
        Ok(Some(manifest)) => manifest,
        Ok(None) => {
            let what = if report.unfinished {
                "is missing but .partial exists: the run is still going or did not finish"
            } else {
                "is missing: this is not an output folder, or its run did not finish"
            };
            report.problem(RUN_JSON, what);
            return Ok(report);
        }
        Err(error) => {
            report.problem(RUN_JSON, error.to_string());
            return Ok(report);
        }
    };
    if let Err(what) = check_arrays(&manifest.layout) {
        report.problem(RUN_JSON, what);
        return Ok(report);
    }
    let mut inspector = Inspector {
        dir,
        check,
        threads: threads.clone(),
        manifest: &manifest,
        report,
    };
    inspector.listed_names();
    inspector.listed_arrays();
    inspector.unlisted_names()?;
    for file in &manifest.files {
        inspector.file(file);
    }
    for folder in &manifest.folders {
        inspector.folder(folder);
    }
    inspector.links();
    inspector.index();
    inspector.skipped();
    inspector.shard();
    let mut report = inspector.report;
    report.manifest = Some(manifest);
    Ok(report)
}

struct Inspector<'a> {
    dir: &'a Path,
    check: bool,
    threads: Threads,
    manifest: &'a Manifest,
    report: Report,
}

impl Inspector<'_> {
    /// The arrays in the folder itself.
    fn stored(&self) -> Layout {
        match self.manifest.links.is_empty() {
            true => self.manifest.layout.clone(),
            false => self.manifest.layout.without_arrays(),
        }
    }

    /// The files that follow from the layout and the counts, with the shape of arrays.
    fn expected(&self) -> BTreeMap<String, Option<Vec<u64>>> {
        let Manifest { counts, shard, .. } = self.manifest;
        // Early runs of 0.1.0 and runs with very long identifiers have no such file.
        let tables = Tables {
            shard: shard.is_some(),
            ids: self.manifest.files.iter().any(|file| file.name == IDS_NPY),
            links: !self.manifest.links.is_empty(),
        };
        let files = self.stored().files(counts, tables);
        let shape = |array: Array| array.packed_shape(array.elements(counts));
        let files = files.into_iter();
        files
            .map(|(name, array)| (name, array.map(shape)))
            .collect()
    }

    /// Compares the names in `run.json` with those of its own layout.
    fn listed_names(&mut self) {
        let mut expected = self.expected();
        for file in &self.manifest.files {
            match expected.remove(&file.name) {
                None => self.report.problem(
                    &file.name,
                    "is listed in run.json, but is not part of this output",
                ),
                Some(shape) if shape != file.shape => {
                    let what = format!(
                        "run.json lists it with shape {}; its layout and counts give {}",
                        shape_text(&file.shape),
                        shape_text(&shape)
                    );
                    self.report.problem(&file.name, what);
                }
                Some(_) => {}
            }
        }
        let arrays = self.stored().file_arrays();
        let mut folders: BTreeSet<_> = arrays.iter().map(Array::location).collect();
        for folder in &self.manifest.folders {
            if !folders.remove(&folder.name) {
                self.report.problem(
                    &folder.name,
                    "is listed in run.json, but is not part of this output",
                );
            }
        }
        for name in expected.into_keys().chain(folders) {
            self.report.problem(
                &name,
                "is part of this output, but is not listed in run.json",
            );
        }
    }

    /// Compares the arrays in `run.json` with those of its own layout.
    fn listed_arrays(&mut self) {
        let Manifest {
            layout,
            counts,
            arrays,
            ..
        } = self.manifest;
        // Version 0.1.0 does not list them.
        if !arrays.is_empty() && *arrays != layout.entries(counts) {
            let what = "its arrays do not match its layout and counts";
            self.report.problem(RUN_JSON, what);
        }
    }

    /// Finds files with names that runs give, but which `run.json` does not list.
    fn unlisted_names(&mut self) -> Result<(), OutputError> {
        let reading = |e| OutputError::io("reading", self.dir, e);
        let listed = |name: &str| {
            self.manifest.files.iter().any(|file| file.name == name)
                || self
                    .manifest
                    .folders
                    .iter()
                    .any(|folder| folder.name == name)
        };
        for entry in std::fs::read_dir(self.dir).map_err(reading)? {
            let name = entry.map_err(reading)?.file_name();
            let name = name.to_string_lossy();
            if (is_file_name(&name) || is_folder_name(&name)) && !listed(&name) {
                self.report.problem(
                    &name,
                    "is not listed in run.json: it belongs to another run",
                );
            }
        }
        Ok(())
    }

    fn index(&mut self) {
        let Ok(file) = disk::open_regular(&self.dir.join(INDEX_TSV)) else {
            // Already reported, as a file.
            return;
        };
        let files = self.manifest.layout.has_files();
        let counts = &self.manifest.counts;
        let what = match scan::scan(BufReader::new(file), files) {
            Err(error) => unreadable(error),
            Ok(Err(what)) => what,
            Ok(Ok((records, residues)))
                if (records, residues) != (counts.records, counts.residues) =>
            {
                format!(
                    "has {} with {}; run.json says {} with {}",
                    count(records, "record"),
                    count(residues, "residue"),
                    grouped(counts.records),
                    grouped(counts.residues)
                )
            }
            Ok(Ok(_)) => return,
        };
        self.report.problem(INDEX_TSV, what);
    }

    fn shard(&mut self) {
        let Some(shard) = self.manifest.shard else {
            return;
        };
        let counts = &self.manifest.counts;
        let records = counts.records.saturating_add(counts.skipped);
        if records > shard.input_records || !(1..=shard.of).contains(&shard.number) {
            let what = format!(
                "says shard {} of {} with {} of an input of {}, which is impossible",
                grouped(shard.number),
                grouped(shard.of),
                count(records, "record"),
                grouped(shard.input_records)
            );
            self.report.problem(RUN_JSON, what);
        }
        let Ok(file) = disk::open_regular(&self.dir.join(SHARD_TSV)) else {
            // Already reported, as a file.
            return;
        };
        match scan::count_lines(BufReader::new(file)) {
            Err(error) => self.report.problem(SHARD_TSV, unreadable(error)),
            Ok(lines) if lines != records.saturating_add(1) => {
                let what = line_count(lines, records);
                self.report.problem(SHARD_TSV, what);
            }
            Ok(_) => {}
        }
    }

    fn skipped(&mut self) {
        let skipped = self.manifest.counts.skipped;
        let Ok(file) = disk::open_regular(&self.dir.join(SKIPPED_TSV)) else {
            return;
        };
        match scan::count_lines(BufReader::new(file)) {
            Err(error) => self.report.problem(SKIPPED_TSV, unreadable(error)),
            Ok(lines) if lines != skipped.saturating_add(1) => {
                let what = line_count(lines, skipped);
                self.report.problem(SKIPPED_TSV, what);
            }
            Ok(_) => {}
        }
    }
}

fn shape_text(shape: &Option<Vec<u64>>) -> String {
    let text = shape.as_ref().map(|shape| format!("{shape:?}"));
    text.unwrap_or_else(|| "none".into())
}

/// Says that a table does not have one line for each record and one for the column names.
fn line_count(lines: u64, records: u64) -> String {
    format!(
        "has {}; run.json says {}, which makes {} with the header",
        count(lines, "line"),
        count(records, "record"),
        count(records.saturating_add(1), "line")
    )
}
