//! Writes rows to their places, from any thread and in any order.

mod copy;
mod fit;
mod held;

use crate::output::disk;
use crate::output::error::OutputError;
use crate::output::layout::{Layout, OutDtype, Pool, Residues};
use crate::output::npy::{HEADER_BYTES, Values};
use crate::output::place::Place;
use crate::output::write::matrix::{Matrix, make_file};
use crate::output::write::proof::Written;
use fit::Record;
use half::f16;
use std::fs::File;
use std::path::{Path, PathBuf};

/// The matrices of a run. All methods take `&self`: writes go to separate bytes.
#[derive(Debug)]
pub struct RowWriter {
    partial: PathBuf,
    layout: Layout,
    /// Layer by layer, and for each the pools in the order of the layout.
    pooled: Vec<Matrix>,
    /// Layer by layer; empty unless residues are packed.
    residues: Vec<Matrix>,
    /// Whether an earlier run may have left something in the files.
    resumed: bool,
}

impl RowWriter {
    pub(crate) fn create(partial: &Path, layout: &Layout) -> Result<Self, OutputError> {
        for folder in layout.residues_folders() {
            let path = partial.join(folder);
            std::fs::create_dir(&path).map_err(|e| OutputError::io("making", &path, e))?;
        }
        Self::with(partial, layout, false, |path| {
            disk::create_new(path).map_err(|e| OutputError::io("making", path, e))
        })
    }

    /// Opens the files of an interrupted run; those that are missing are made.
    pub(crate) fn open(partial: &Path, layout: &Layout) -> Result<Self, OutputError> {
        for folder in layout.residues_folders() {
            real_folders(&partial.join(folder))?;
        }
        Self::with(partial, layout, true, |path| {
            let file =
                disk::open_or_create(path).map_err(|e| OutputError::io("opening", path, e))?;
            disk::forget_pages(&file);
            Ok(file)
        })
    }

    fn with(
        partial: &Path,
        layout: &Layout,
        resumed: bool,
        open: impl Fn(&Path) -> Result<File, OutputError>,
    ) -> Result<Self, OutputError> {
        let open = |name: String| {
            let path = partial.join(&name);
            let file = open(&path)?;
            Ok(Matrix { name, path, file })
        };
        Ok(Self {
            partial: partial.to_path_buf(),
            layout: layout.clone(),
            pooled: layout
                .pooled_files()
                .into_iter()
                .map(open)
                .collect::<Result<_, _>>()?,
            residues: layout
                .residues_files()
                .into_iter()
                .map(open)
                .collect::<Result<_, _>>()?,
            resumed,
        })
    }

    /// Writes the row of one record, `[dim]`, into the matrix of one layer and pool.
    ///
    /// `layer` is the position in [`Layout::layers`], `row` that of [`Place`].
    ///
    /// # Errors
    /// A value that is not finite, or not as f16; a wrong number of values; a layer or pool that
    /// the layout lacks; a failed write. Nothing of this call is written when a value is unfit.
    pub fn write_pooled(
        &self,
        layer: usize,
        pool: Pool,
        row: u64,
        values: &[f32],
    ) -> Result<Written, OutputError> {
        let values = Values::F32(values);
        let matrix = self.pooled_matrix(layer, pool)?;
        self.check(
            &Record {
                file: &matrix.name,
                row,
                per_residue: false,
            },
            1,
            values,
        )?;
        matrix.write_at(self.row_at(matrix, row, row)?, values, self.layout.dtype)
    }

    /// Writes all residue rows of one record, `[length, dim]`, for one layer: into their place of
    /// the packed matrix or into the record's own file; the checksum of their bytes comes back, or
    /// `None` if the layout keeps none.
    ///
    /// # Errors
    /// As [`Self::write_pooled`].
    pub fn write_residues(
        &self,
        layer: usize,
        place: &Place,
        values: &[f32],
    ) -> Result<Option<Written>, OutputError> {
        self.write_rows(layer, place, Values::F32(values))
    }

    /// The same for rows that were rounded to f16 before, into matrices of f16.
    ///
    /// # Errors
    /// As [`Self::write_residues`], and matrices of another number format.
    pub fn write_halves(
        &self,
        layer: usize,
        place: &Place,
        values: &[f16],
    ) -> Result<Option<Written>, OutputError> {
        if self.layout.dtype != OutDtype::F16 {
            return Err(OutputError::NotInLayout {
                what: "residue rows in f16".into(),
            });
        }
        self.write_rows(layer, place, Values::F16(values))
    }

    fn write_rows(
        &self,
        layer: usize,
        place: &Place,
        values: Values<'_>,
    ) -> Result<Option<Written>, OutputError> {
        match self.layout.residues {
            Residues::None => Ok(None),
            Residues::Packed => {
                let matrix = self.residues.get(layer).ok_or_else(|| no_layer(layer))?;
                let record = Record {
                    file: &matrix.name,
                    row: place.row,
                    per_residue: true,
                };
                self.check(&record, place.length, values)?;
                let start = self.row_at(matrix, place.residue_offset, place.row)?;
                matrix.write_at(start, values, self.layout.dtype).map(Some)
            }
            Residues::Files => {
                let path = self.record_file(layer, place)?;
                let file = path.to_string_lossy();
                self.check(
                    &Record {
                        file: &file,
                        row: place.row,
                        per_residue: true,
                    },
                    place.length,
                    values,
                )?;
                let path = self.partial.join(&path);
                let matrix = Matrix {
                    name: file.into_owned(),
                    file: make_file(&path)?,
                    path,
                };
                matrix.write_header(self.layout.dtype, place.length, self.layout.dim)?;
                let start = HEADER_BYTES as u64;
                matrix.write_at(start, values, self.layout.dtype).map(Some)
            }
        }
    }

    /// Makes everything written so far durable.
    pub(crate) fn sync(&self) -> Result<(), OutputError> {
        if !self.layout.residues_folders().is_empty() {
            return disk::sync_tree(&self.partial)
                .map_err(|e| OutputError::io("syncing", &self.partial, e));
        }
        for matrix in self.pooled.iter().chain(&self.residues) {
            let synced = matrix.file.sync_data();
            synced.map_err(|e| OutputError::io("syncing", &matrix.path, e))?;
        }
        Ok(())
    }

    /// Writes the headers, now that the number of rows is known, and checks that every file ends
    /// with its last row.
    pub(crate) fn close(self, records: u64, residues: u64) -> Result<(), OutputError> {
        let pooled = self.pooled.iter().map(|matrix| (matrix, records));
        let packed = self.residues.iter().map(|matrix| (matrix, residues));
        for (matrix, rows) in pooled.chain(packed) {
            matrix.write_header(self.layout.dtype, rows, self.layout.dim)?;
            let expected = self.row_at(matrix, rows, records)?;
            let found = matrix
                .file
                .metadata()
                .map_err(|e| OutputError::io("reading", &matrix.path, e))?
                .len();
            if self.resumed && found > expected {
                // Rows of records that the interrupted run met and this one did not.
                let cut = matrix.file.set_len(expected);
                cut.map_err(|e| OutputError::io("shortening", &matrix.path, e))?;
                continue;
            }
            if found != expected {
                return Err(OutputError::Incomplete {
                    file: matrix.name.clone(),
                    expected,
                    found,
                });
            }
        }
        Ok(())
    }

    /// Path of a record's own file below the working folder.
    fn record_file(&self, layer: usize, place: &Place) -> Result<PathBuf, OutputError> {
        let layer = self
            .layout
            .layers
            .get(layer)
            .ok_or_else(|| no_layer(layer))?;
        let name = place
            .file
            .as_ref()
            .ok_or_else(|| OutputError::NotInLayout {
                what: format!("file for the record in row {}", place.row),
            })?;
        Ok(Path::new(&Layout::residues_folder(*layer))
            .join(Layout::sub_folder(place.row))
            .join(name))
    }

    fn pooled_matrix(&self, layer: usize, pool: Pool) -> Result<&Matrix, OutputError> {
        let pools = &self.layout.pools;
        pools
            .iter()
            .position(|&has| has == pool)
            .and_then(|at| self.pooled.chunks(pools.len()).nth(layer)?.get(at))
            .ok_or_else(|| OutputError::NotInLayout {
                what: format!("{} rows of its layer number {layer}", pool.name()),
            })
    }

    fn row_at(&self, matrix: &Matrix, at: u64, row: u64) -> Result<u64, OutputError> {
        self.layout.row_at(at).ok_or_else(|| OutputError::TooLarge {
            file: matrix.name.clone(),
            row,
        })
    }
}

/// Checks that a folder of per-record files and its sub-folders are folders and no links; makes the
/// first if it is missing.
fn real_folders(path: &Path) -> Result<(), OutputError> {
    let reading = |e| OutputError::io("reading", path, e);
    let in_the_way = |path: PathBuf| Err(OutputError::InTheWay { path });
    match disk::kind(path).map_err(reading)? {
        None => return std::fs::create_dir(path).map_err(|e| OutputError::io("making", path, e)),
        Some(kind) if !kind.is_dir() => return in_the_way(path.to_path_buf()),
        Some(_) => {}
    }
    for entry in std::fs::read_dir(path).map_err(reading)? {
        let entry = entry.map_err(reading)?;
        if !entry.file_type().map_err(reading)?.is_dir() {
            return in_the_way(entry.path());
        }
    }
    Ok(())
}

fn no_layer(layer: usize) -> OutputError {
    OutputError::NotInLayout {
        what: format!("residue rows of its layer number {layer}"),
    }
}

#[cfg(test)]
mod tests;
