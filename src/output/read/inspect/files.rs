//! The files and folders of an output folder: sizes, headers and checksums.

use super::{Inspector, shape_text};
use crate::numerals::{count, grouped};
use crate::output::array::{Array, checksum_list};
use crate::output::checksum::{ChecksumLine, ListReader, pieces, sha256};
use crate::output::disk;
use crate::output::folder_files::IDS_NPY;
use crate::output::ids;
use crate::output::layout::{Layout, is_file_name, is_folder_name};
use crate::output::manifest::{FileEntry, FolderEntry};
use crate::output::npy::HEADER_BYTES;
use crate::output::read::array_file::{exact, header, open, unreadable};
use std::fs::File;
use std::io::Read;
use std::path::Path;

impl Inspector<'_> {
    pub(super) fn file(&mut self, entry: &FileEntry) {
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
        } else if let Some(array) = self.array(&entry.name) {
            let shape = Some(header(&mut file, &array)?);
            if shape != entry.shape || entry.dtype != Some(array.dtype) {
                return Err(format!(
                    "its header says shape {}; run.json says {}",
                    shape_text(&shape),
                    shape_text(&entry.shape)
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

    /// The array that the layout stores under this name.
    fn array(&self, location: &str) -> Option<Array> {
        let arrays = self.manifest.layout.arrays();
        arrays
            .into_iter()
            .find(|array| array.location() == location)
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

    pub(super) fn folder(&mut self, entry: &FolderEntry) {
        if !is_folder_name(&entry.name) || entry.checksums != checksum_list(&entry.name) {
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
        let Some(array) = self.array(&entry.name) else {
            // Already reported, as a name.
            return Ok(());
        };
        let lines = match ListReader::open(&self.dir.join(&entry.checksums), &entry.name) {
            // Already reported, as a file.
            Err(_) => return Ok(()),
            Ok(lines) => lines,
        };
        let (mut files, mut residues, mut bytes) = (0_u64, 0_u64, 0_u64);
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
                    match self.check_record_file(&path, &array, &listed) {
                        Ok((file_residues, file_bytes)) => {
                            residues = residues.saturating_add(file_residues);
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
        if bytes != entry.bytes || residues != counts.residues {
            return Err(format!(
                "its files have {} in {}; run.json says {} in {}",
                count(residues, "residue"),
                exact(bytes),
                grouped(counts.residues),
                exact(entry.bytes)
            ));
        }
        Ok(())
    }

    /// Residues and bytes of the file of one record.
    fn check_record_file(
        &self,
        folder: &Path,
        array: &Array,
        listed: &ChecksumLine,
    ) -> Result<(u64, u64), String> {
        let mut file = open(&folder.join(&listed.sub).join(&listed.name))?;
        let shape = header(&mut file, array)?;
        let residues = array.residues_of(&shape).ok_or_else(|| {
            format!(
                "its header says shape {shape:?}, which is not that of a record in {}",
                array.name()
            )
        })?;
        self.checksum(&file, None, &listed.sha256)?;
        Ok((residues, file.metadata().map_err(unreadable)?.len()))
    }
}

fn real_folder(path: &Path) -> Result<(), String> {
    match disk::kind(path) {
        Ok(Some(kind)) if kind.is_dir() => Ok(()),
        Ok(Some(_)) => Err("is not a folder".into()),
        Ok(None) => Err("is missing, or a folder in it is".into()),
        Err(error) => Err(unreadable(error)),
    }
}
