//! Compares an output folder with its `run.json`, which is not trusted: only files that a run
//! writes are opened, only directly in the folder, and never through a link.

use crate::numerals::{count, grouped};
use crate::output::checksum::{ListReader, Listed, pieces, sha256};
use crate::output::disk;
use crate::output::error::OutputError;
use crate::output::ids::{self, IDS_NPY};
use crate::output::index::scan;
use crate::output::layout::{
    INDEX_TSV, Layout, PARTIAL, RUN_JSON, Residues, SHARD_TSV, SKIPPED_TSV, is_file_name,
    is_folder_name,
};
use crate::output::manifest::{FileEntry, FolderEntry, Manifest};
use crate::output::npy::{HEADER_BYTES, parse_header};
use crate::output::read::report::Report;
use crate::output::threads::Threads;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

/// More layers than any model has; a `run.json` that lists more is not of a run.
const MOST_LAYERS: usize = 4096;

/// Looks at an output folder: files, sizes, shapes, index; with `check`, checksums too.
///
/// What is wrong with the folder is in the report.
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
                "is missing and .partial is there: the run is still going, or did not finish"
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
    let layout = &manifest.layout;
    if layout.layers.len() > MOST_LAYERS
        || layout.pools.len() > layout.pools.iter().collect::<BTreeSet<_>>().len()
    {
        report.problem(
            RUN_JSON,
            "its layout names more layers or pools than there can be",
        );
        return Ok(report);
    }
    let mut inspector = Inspector {
        dir,
        check,
        threads: Threads::new(threads),
        manifest: &manifest,
        report,
    };
    inspector.listed_names();
    inspector.unlisted_names()?;
    for file in &manifest.files {
        inspector.file(file);
    }
    for folder in &manifest.folders {
        inspector.folder(folder);
    }
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
    /// The files that the layout and the counts call for, with the shape of matrices.
    fn expected(&self) -> BTreeMap<String, Option<[u64; 2]>> {
        let Manifest {
            layout,
            counts,
            shard,
            ..
        } = self.manifest;
        // A run from before it was written has none, nor has one with too long identifiers.
        let has_ids = self.manifest.files.iter().any(|file| file.name == IDS_NPY);
        let files = layout.files(counts, shard.is_some(), has_ids);
        files.into_iter().collect()
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
                        "run.json lists it with shape {}; its layout and counts make {}",
                        shape_text(file.shape),
                        shape_text(shape)
                    );
                    self.report.problem(&file.name, what);
                }
                Some(_) => {}
            }
        }
        let mut folders: BTreeSet<_> = self
            .manifest
            .layout
            .residues_folders()
            .into_iter()
            .collect();
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

    /// Finds files that look as if they belonged to this output.
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

    fn file(&mut self, entry: &FileEntry) {
        if is_file_name(&entry.name) {
            if let Err(what) = self.check_file(entry) {
                self.report.problem(&entry.name, what);
            }
        } else {
            self.report.problem(
                &entry.name,
                "is not a name that a run uses; it was not opened",
            );
        }
    }

    fn check_file(&self, entry: &FileEntry) -> Result<(), String> {
        let mut file = open(&self.dir.join(&entry.name))?;
        let found = file.metadata().map_err(unreadable)?.len();
        if found != entry.bytes {
            return Err(format!(
                "has {}; run.json says {}",
                exact(found),
                exact(entry.bytes)
            ));
        }
        if entry.name == IDS_NPY {
            let mut head = [0; HEADER_BYTES];
            file.read_exact(&mut head).map_err(unreadable)?;
            ids::check(&head, found, self.manifest.counts.records)?;
        } else if entry.name.ends_with(".npy") {
            let shape = self.header(&mut file)?;
            if Some(shape) != entry.shape || Some(self.manifest.layout.dtype) != entry.dtype {
                return Err(format!(
                    "its header says shape {}; run.json says {}",
                    shape_text(Some(shape)),
                    shape_text(entry.shape)
                ));
            }
        }
        let known = pieces(entry.bytes);
        if entry.pieces != known {
            return Err(format!(
                "run.json says pieces of {} for its checksum; a run uses {}",
                exact(entry.pieces.unwrap_or(entry.bytes)),
                exact(known.unwrap_or(entry.bytes))
            ));
        }
        self.checksum(&file, entry.pieces, &entry.sha256)
    }

    /// The shape in the header of a matrix, which has to fit type, columns and size of the file.
    fn header(&self, file: &mut File) -> Result<[u64; 2], String> {
        let layout = &self.manifest.layout;
        let mut bytes = [0; HEADER_BYTES];
        file.read_exact(&mut bytes).map_err(unreadable)?;
        let (dtype, [rows, dim]) = parse_header(&bytes)
            .ok_or("its first 128 bytes are not the header of a matrix that a run writes")?;
        if dtype != layout.dtype {
            return Err(format!(
                "its header says {} numbers; run.json says {}",
                dtype.descr(),
                layout.dtype.descr()
            ));
        }
        let found = file.metadata().map_err(unreadable)?.len();
        if dim != layout.dim as u64 || layout.row_at(rows) != Some(found) {
            return Err(format!(
                "its header says shape {}, which does not fit {} and {}",
                shape_text(Some([rows, dim])),
                count(layout.dim as u64, "column"),
                exact(found)
            ));
        }
        Ok([rows, dim])
    }

    fn checksum(&self, file: &File, pieces: Option<u64>, expected: &str) -> Result<(), String> {
        if !self.check {
            return Ok(());
        }
        let bytes = file.metadata().map_err(unreadable)?.len();
        let found = sha256(file, bytes, pieces, &self.threads).map_err(unreadable)?;
        if found == expected {
            Ok(())
        } else {
            Err(format!("its SHA-256 is {found}; run.json says {expected}"))
        }
    }

    fn folder(&mut self, entry: &FolderEntry) {
        if !is_folder_name(&entry.name) || entry.checksums != format!("{}.sha256", entry.name) {
            self.report.problem(
                &entry.name,
                "is not a name that a run uses; it was not opened",
            );
            return;
        }
        if let Err(what) = self.check_folder(entry) {
            self.report.problem(&entry.name, what);
        }
    }

    fn check_folder(&mut self, entry: &FolderEntry) -> Result<(), String> {
        let path = self.dir.join(&entry.name);
        real_folder(&path)?;
        let lines = match ListReader::open(&self.dir.join(&entry.checksums), &entry.name) {
            // Reported already, as a file.
            Err(_) => return Ok(()),
            Ok(lines) => lines,
        };
        let (mut files, mut rows, mut bytes) = (0_u64, 0_u64, 0_u64);
        let mut sub = String::new();
        for listed in lines {
            let row = files;
            files += 1;
            match listed.map_err(unreadable)? {
                Some(listed) if listed.sub == Layout::sub_folder(row) => {
                    if listed.sub != sub {
                        real_folder(&path.join(&listed.sub))?;
                        sub.clone_from(&listed.sub);
                    }
                    match self.check_record_file(&path, &listed) {
                        Ok((file_rows, file_bytes)) => {
                            rows = rows.saturating_add(file_rows);
                            bytes = bytes.saturating_add(file_bytes);
                        }
                        Err(what) => {
                            let name = format!("{}/{}/{}", entry.name, listed.sub, listed.name);
                            self.report.problem(&name, what);
                        }
                    }
                }
                _ => {
                    let what =
                        format!("line {files} does not name the file of the record in row {row}");
                    self.report.problem(&entry.checksums, what);
                }
            }
        }
        let counts = &self.manifest.counts;
        if files != entry.files || files != counts.records {
            return Err(format!(
                "{} lists {}; run.json says {} for {}",
                entry.checksums,
                count(files, "file"),
                grouped(entry.files),
                count(counts.records, "record")
            ));
        }
        if bytes != entry.bytes || rows != counts.residues {
            return Err(format!(
                "its files have {} in {}; run.json says {} in {}",
                count(rows, "row"),
                exact(bytes),
                grouped(counts.residues),
                exact(entry.bytes)
            ));
        }
        Ok(())
    }

    /// Rows and bytes of the file of one record.
    fn check_record_file(&self, folder: &Path, listed: &Listed) -> Result<(u64, u64), String> {
        let mut file = open(&folder.join(&listed.sub).join(&listed.name))?;
        let [rows, _] = self.header(&mut file)?;
        self.checksum(&file, None, &listed.sha256)?;
        Ok((rows, file.metadata().map_err(unreadable)?.len()))
    }

    fn index(&mut self) {
        let Ok(file) = disk::open_regular(&self.dir.join(INDEX_TSV)) else {
            // Reported already, as a file.
            return;
        };
        let files = self.manifest.layout.residues == Residues::Files;
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
            // Reported already, as a file.
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

fn open(path: &Path) -> Result<File, String> {
    disk::open_regular(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => "is missing".to_owned(),
        _ if matches!(disk::kind(path), Ok(Some(kind)) if kind.is_symlink()) => {
            "is a symbolic link, which no run makes; it was not followed".to_owned()
        }
        _ => unreadable(error),
    })
}

fn real_folder(path: &Path) -> Result<(), String> {
    match disk::kind(path) {
        Ok(Some(kind)) if kind.is_dir() => Ok(()),
        Ok(Some(_)) => Err("is not a folder".into()),
        Ok(None) => Err("is missing, or a folder in it is".into()),
        Err(error) => Err(unreadable(error)),
    }
}

fn unreadable(error: io::Error) -> String {
    format!("cannot be read: {error}")
}

fn shape_text(shape: Option<[u64; 2]>) -> String {
    shape.map_or_else(
        || "none".into(),
        |[rows, columns]| format!("[{rows}, {columns}]"),
    )
}

/// A size to the byte: what differs may be a single one.
fn exact(bytes: u64) -> String {
    count(bytes, "byte")
}

/// A table that does not have one line for each record and one for the names of its columns.
fn line_count(lines: u64, records: u64) -> String {
    format!(
        "has {}; run.json says {}, which makes {} with the header",
        count(lines, "line"),
        count(records, "record"),
        count(records.saturating_add(1), "line")
    )
}
