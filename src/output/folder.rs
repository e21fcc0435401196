//! The output folder of a run, from the first check to `run.json`.

use super::disk;
use super::error::OutputError;
use super::layout::{Layout, PARTIAL, RUN_JSON, is_file_name, is_folder_name};
use super::ledger::{DUPLICATES, Ledger};
use super::manifest::{FORMAT_VERSION, Listed, Manifest};
use super::place::PlaceReader;
use super::rows::RowWriter;
use super::shard::ShardEntry;
use super::{publish, seal};
use serde_json::Value;
use std::fs::{File, TryLockError};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

/// An output folder that is being written.
///
/// Everything is written in `DIR/.partial/`; [`OutputFolder::finish`] moves it to its place. When
/// this value is dropped before that, only `.partial` is left, and nothing looks complete.
#[derive(Debug)]
pub struct OutputFolder {
    dir: PathBuf,
    partial: PathBuf,
    layout: Layout,
    force: bool,
    shard: Option<ShardEntry>,
    ledger: Ledger,
    rows: RowWriter,
    /// Held as long as this run writes: no other run with `--force` takes the folder from it.
    _lock: File,
}

impl OutputFolder {
    /// Checks that a run may write into `dir`, then makes it and its working folder.
    ///
    /// `dir` may be missing, empty, or hold files that no run writes; those are never touched.
    /// With `force`, the work of an unfinished run is discarded now, and the files of a finished
    /// one are replaced in [`Self::finish`].
    ///
    /// # Errors
    /// When `dir` is not a folder, holds an output or an unfinished run and `force` is not given,
    /// is being written by another run, or cannot be written. Nothing is changed before all checks
    /// have passed.
    pub fn create(dir: &Path, layout: Layout, force: bool) -> Result<Self, OutputError> {
        Self::check(dir, &layout, force)?;
        std::fs::create_dir_all(dir).map_err(|e| OutputError::io("making", dir, e))?;
        let lock = lock(dir)?;
        // Another run may have come and gone since the check.
        Self::check(dir, &layout, force)?;
        let partial = dir.join(PARTIAL);
        if force
            && disk::is_real_folder(&partial)
                .map_err(|e| OutputError::io("reading", &partial, e))?
        {
            std::fs::remove_dir_all(&partial)
                .map_err(|e| OutputError::io("removing", &partial, e))?;
        }
        match std::fs::create_dir(&partial) {
            // Another run made it since the check.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                return Err(OutputError::Unfinished {
                    dir: dir.to_path_buf(),
                });
            }
            result => result.map_err(|e| OutputError::io("making", &partial, e))?,
        }
        Ok(Self {
            dir: dir.to_path_buf(),
            ledger: Ledger::create(&partial, &layout)?,
            rows: RowWriter::create(&partial, &layout)?,
            partial,
            layout,
            force,
            shard: None,
            _lock: lock,
        })
    }

    /// Only the checks of [`Self::create`]: nothing is made or changed.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn check(dir: &Path, layout: &Layout, force: bool) -> Result<(), OutputError> {
        match std::fs::metadata(dir) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => {
                return Err(OutputError::NotAFolder {
                    path: dir.to_path_buf(),
                });
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                // A link that leads nowhere exists and cannot be made.
                return match kind(dir)? {
                    None => Ok(()),
                    Some(_) => Err(OutputError::NotAFolder {
                        path: dir.to_path_buf(),
                    }),
                };
            }
            Err(e) => return Err(OutputError::io("reading", dir, e)),
        }
        check_targets(dir, layout, force)?;
        let partial = dir.join(PARTIAL);
        match kind(&partial)? {
            None => {}
            Some(kind) if kind.is_symlink() => return Err(OutputError::Symlink { path: partial }),
            Some(kind) if !kind.is_dir() => return Err(OutputError::InTheWay { path: partial }),
            Some(_) if !force => {
                return Err(OutputError::Unfinished {
                    dir: dir.to_path_buf(),
                });
            }
            Some(_) => {}
        }
        if force {
            read_listed(dir)?;
        }
        Ok(())
    }

    /// Makes this the folder of one part of an input. To be called before the first record.
    ///
    /// # Errors
    /// When the list of where the records stand in the input cannot be made.
    pub fn set_shard(&mut self, shard: ShardEntry) -> Result<(), OutputError> {
        self.shard = Some(shard);
        self.ledger.keep_shard()
    }

    /// What is written.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Where it is written until it is finished.
    pub(super) fn partial(&self) -> &Path {
        &self.partial
    }

    /// Writes rows.
    pub(super) fn rows(&self) -> &RowWriter {
        &self.rows
    }

    /// The two sides of the folder: one thread enters records in input order, any number of
    /// threads write rows.
    pub fn split(&mut self) -> (&mut Ledger, &RowWriter) {
        (&mut self.ledger, &self.rows)
    }

    /// Copies the rows of duplicates, syncs every file, moves them to their place, and writes
    /// `run.json` last.
    ///
    /// `asked` and `resolved` become the parts of that name in `run.json`.
    ///
    /// # Errors
    /// When rows are missing, a file cannot be written or moved, or something stands in the way.
    /// Until `run.json` is in its place the folder does not look complete.
    pub fn finish(self, asked: Value, resolved: Value) -> Result<Manifest, OutputError> {
        let counts = self.ledger.close()?;
        copy_duplicates(&self.partial, &self.layout, &self.rows)?;
        self.rows.close(counts.records, counts.residues)?;
        let sealed = seal::seal(&self.partial, &self.layout, &counts, self.shard.is_some())?;
        let manifest = Manifest {
            format_version: FORMAT_VERSION,
            esm_embed: env!("CARGO_PKG_VERSION").into(),
            shard: self.shard,
            asked,
            resolved,
            layout: self.layout.clone(),
            counts,
            files: sealed.files,
            folders: sealed.folders,
        };
        // Something may have been put into the folder while the run was going.
        check_targets(&self.dir, &self.layout, self.force)?;
        let old = if self.force {
            read_listed(&self.dir)?
        } else {
            Listed::default()
        };
        publish::publish(&self.dir, &self.partial, &manifest, &old)?;
        Ok(manifest)
    }
}

/// Takes the folder for this run until the file that comes back is dropped. On file systems that
/// know no locks it is only opened.
fn lock(dir: &Path) -> Result<File, OutputError> {
    let folder = File::open(dir).map_err(|e| OutputError::io("opening", dir, e))?;
    match folder.try_lock() {
        Err(TryLockError::WouldBlock) => Err(OutputError::Busy {
            dir: dir.to_path_buf(),
        }),
        Ok(()) | Err(TryLockError::Error(_)) => Ok(folder),
    }
}

/// Refuses what stands where this run will put its files.
fn check_targets(dir: &Path, layout: &Layout, force: bool) -> Result<(), OutputError> {
    let folders = layout.residues_folders();
    for name in layout.names() {
        let path = dir.join(&name);
        match kind(&path)? {
            None => {}
            Some(_) if !force => {
                return Err(OutputError::Exists {
                    dir: dir.to_path_buf(),
                    found: name,
                });
            }
            // A file is replaced by moving the new one over it, and so is a link; a folder cannot
            // be, and only a real folder takes new files.
            Some(kind) if kind.is_dir() != folders.contains(&name) => {
                return Err(OutputError::InTheWay { path });
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// The files of the finished run in `dir`, all of them names that a run gives.
fn read_listed(dir: &Path) -> Result<Listed, OutputError> {
    let foreign = |what: String| OutputError::ForeignManifest {
        path: dir.join(RUN_JSON),
        what,
    };
    let listed = Listed::read(dir).map_err(|e| foreign(e.to_string()))?;
    let strange = listed
        .files()
        .find(|name| !is_file_name(name))
        .or_else(|| listed.folders().find(|name| !is_folder_name(name)));
    match strange {
        Some(name) => Err(foreign(format!("it lists {name:?}, which no run writes"))),
        None => Ok(listed),
    }
}

fn kind(path: &Path) -> Result<Option<std::fs::FileType>, OutputError> {
    disk::kind(path).map_err(|e| OutputError::io("reading", path, e))
}

/// Copies rows from the first record with a sequence to every later one.
fn copy_duplicates(partial: &Path, layout: &Layout, rows: &RowWriter) -> Result<(), OutputError> {
    let path = partial.join(DUPLICATES);
    if kind(&path)?.is_none() {
        return Ok(());
    }
    let reading = |e| OutputError::io("reading", &path, e);
    let places = PlaceReader::open(partial, !layout.residues_folders().is_empty())?;
    let mut pairs = BufReader::new(disk::open_regular(&path).map_err(reading)?);
    let count = pairs.get_ref().metadata().map_err(reading)?.len() / 16;
    for _ in 0..count {
        let mut first = [0; 8];
        let mut row = [0; 8];
        pairs
            .read_exact(&mut first)
            .and_then(|()| pairs.read_exact(&mut row))
            .map_err(reading)?;
        let from = places.get(u64::from_le_bytes(first))?;
        rows.copy_record(&from, &places.get(u64::from_le_bytes(row))?)?;
    }
    Ok(())
}
