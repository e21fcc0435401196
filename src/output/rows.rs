//! Writes rows to their places, from any thread and in any order.

use super::disk;
use super::error::OutputError;
use super::layout::{Layout, OutDtype, Pool, Residues};
use super::matrix::{Matrix, link, make_file};
use super::npy::{self, HEADER_BYTES, Values};
use super::place::Place;
use super::proof::{Proof, Written};
use half::f16;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
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

/// The record whose values are checked and written, for messages.
struct Record<'a> {
    file: &'a str,
    row: u64,
    per_residue: bool,
}

impl RowWriter {
    pub(super) fn create(partial: &Path, layout: &Layout) -> Result<Self, OutputError> {
        for folder in layout.residues_folders() {
            let path = partial.join(folder);
            std::fs::create_dir(&path).map_err(|e| OutputError::io("making", &path, e))?;
        }
        Self::with(partial, layout, false, |path| {
            disk::create_new(path).map_err(|e| OutputError::io("making", path, e))
        })
    }

    /// Opens the files of an interrupted run; those that are missing are made.
    pub(super) fn open(partial: &Path, layout: &Layout) -> Result<Self, OutputError> {
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

    /// Copies one row from `source` into the pooled matrix number `matrix` of the layout.
    pub(super) fn pour_pooled(
        &self,
        matrix: usize,
        row: u64,
        source: &mut impl Read,
    ) -> Result<(), OutputError> {
        let matrix = self.pooled.get(matrix).ok_or_else(|| no_layer(matrix))?;
        let start = self.row_at(matrix, row, row)?;
        matrix.pour(start, self.layout.row_bytes(), source)
    }

    /// Copies the residue rows of one record from `source` into the packed matrix of a layer.
    pub(super) fn pour_residues(
        &self,
        layer: usize,
        place: &Place,
        source: &mut impl Read,
    ) -> Result<(), OutputError> {
        let matrix = self.residues.get(layer).ok_or_else(|| no_layer(layer))?;
        let start = self.row_at(matrix, place.residue_offset, place.row)?;
        let bytes = self.layout.row_bytes().saturating_mul(place.length);
        matrix.pour(start, bytes, source)
    }

    /// Copies the whole of `source` into the file of one record.
    pub(super) fn pour_file(
        &self,
        layer: usize,
        place: &Place,
        source: &mut impl Read,
    ) -> Result<(), OutputError> {
        let target = self.partial.join(self.record_file(layer, place)?);
        io::copy(source, &mut make_file(&target)?)
            .map_err(|e| OutputError::io("copying to", &target, e))?;
        Ok(())
    }

    /// Makes the file of one record another name of `source`; false where the file system cannot.
    pub(super) fn link_file(
        &self,
        layer: usize,
        place: &Place,
        source: &Path,
    ) -> Result<bool, OutputError> {
        let target = self.partial.join(self.record_file(layer, place)?);
        link(source, &target)
    }

    /// Whether the rows of a record are, byte for byte, those that were written when it was entered
    /// in the journal with the checksum `rows`.
    ///
    /// # Errors
    /// When a file cannot be read; one that is missing or short does not hold them.
    pub fn holds(&self, place: &Place, rows: u32) -> Result<bool, OutputError> {
        let row_bytes = self.layout.row_bytes();
        let residue_bytes = row_bytes.saturating_mul(place.length);
        let mut proof = Proof::default();
        for layer in 0..self.layout.layers.len() {
            for &pool in &self.layout.pools {
                let matrix = self.pooled_matrix(layer, pool)?;
                let start = self.row_at(matrix, place.row, place.row)?;
                match matrix.checksum_at(start, row_bytes)? {
                    Some(written) => proof.add(written),
                    None => return Ok(false),
                }
            }
            let written = match self.layout.residues {
                Residues::None => continue,
                Residues::Packed => {
                    let matrix = self.residues.get(layer).ok_or_else(|| no_layer(layer))?;
                    let start = self.row_at(matrix, place.residue_offset, place.row)?;
                    matrix.checksum_at(start, residue_bytes)?
                }
                Residues::Files => self.file_checksum(layer, place, residue_bytes)?,
            };
            match written {
                Some(written) => proof.add(written),
                None => return Ok(false),
            }
        }
        Ok(proof.value() == rows)
    }

    /// The checksum of the rows in a record's own file, or `None` unless it is whole.
    fn file_checksum(
        &self,
        layer: usize,
        place: &Place,
        bytes: u64,
    ) -> Result<Option<Written>, OutputError> {
        let path = self.partial.join(self.record_file(layer, place)?);
        let kind = disk::kind(&path).map_err(|e| OutputError::io("reading", &path, e))?;
        if !kind.is_some_and(|kind| kind.is_file()) {
            return Ok(None);
        }
        let file = disk::open_regular(&path).map_err(|e| OutputError::io("opening", &path, e))?;
        let reading = |e| OutputError::io("reading", &path, e);
        let length = file.metadata().map_err(reading)?.len();
        if length != (HEADER_BYTES as u64).saturating_add(bytes) {
            return Ok(None);
        }
        disk::forget_pages(&file);
        let mut header = [0; HEADER_BYTES];
        file.read_exact_at(&mut header, 0).map_err(reading)?;
        if header != npy::header(self.layout.dtype, place.length, self.layout.dim as u64) {
            return Ok(None);
        }
        let name = String::new();
        let matrix = Matrix { name, path, file };
        matrix.checksum_at(HEADER_BYTES as u64, bytes)
    }

    /// Makes everything written so far durable.
    pub(super) fn sync(&self) -> Result<(), OutputError> {
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

    /// Copies every row of one record to the place of another with the same sequence.
    pub(super) fn copy_record(&self, from: &Place, to: &Place) -> Result<(), OutputError> {
        let row_bytes = self.layout.row_bytes();
        for matrix in &self.pooled {
            let start = self.row_at(matrix, from.row, from.row)?;
            matrix.copy_within(start, self.row_at(matrix, to.row, to.row)?, row_bytes)?;
        }
        let bytes = row_bytes.saturating_mul(from.length);
        for matrix in &self.residues {
            let start = self.row_at(matrix, from.residue_offset, from.row)?;
            matrix.copy_within(
                start,
                self.row_at(matrix, to.residue_offset, to.row)?,
                bytes,
            )?;
        }
        for layer in 0..self.layout.residues_folders().len() {
            let source = self.partial.join(self.record_file(layer, from)?);
            let target = self.partial.join(self.record_file(layer, to)?);
            let mut reader =
                disk::open_regular(&source).map_err(|e| OutputError::io("opening", &source, e))?;
            io::copy(&mut reader, &mut make_file(&target)?)
                .map_err(|e| OutputError::io("copying a duplicate to", &target, e))?;
        }
        Ok(())
    }

    /// Writes the headers, now that the number of rows is known, and checks that every file ends
    /// with its last row.
    pub(super) fn close(self, records: u64, residues: u64) -> Result<(), OutputError> {
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

    /// Checks number and fitness of values before any of them is written.
    fn check(&self, record: &Record, rows: u64, values: Values<'_>) -> Result<(), OutputError> {
        let dim = self.layout.dim as u64;
        let (file, row) = (record.file.to_owned(), record.row);
        let (expected, found) = (rows.saturating_mul(dim), values.len() as u64);
        if found != expected {
            return Err(OutputError::Shape {
                file,
                row,
                expected,
                found,
            });
        }
        let Some(at) = values.first_unfit(self.layout.dtype) else {
            return Ok(());
        };
        let value = values.get(at).unwrap_or(f32::NAN);
        let residue = record.per_residue.then_some(at as u64 / dim.max(1) + 1);
        let column = at as u64 % dim.max(1);
        // A half is infinite where a number did not fit it.
        let is_half = matches!(values, Values::F16(_)) && value.is_infinite();
        Err(if value.is_finite() || is_half {
            OutputError::HalfOverflow {
                file,
                row,
                residue,
                column,
                value,
            }
        } else {
            OutputError::NotFinite {
                file,
                row,
                residue,
                column,
                value,
            }
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
mod tests {
    use super::super::layout::OutDtype;
    use super::super::matrix::CHUNK;
    use super::*;

    fn writer(dir: &Path, residues: Residues, dtype: OutDtype) -> RowWriter {
        let layout = Layout {
            layers: vec![1, 6],
            pools: vec![Pool::Mean, Pool::Bos],
            residues,
            dtype,
            dim: 2,
        };
        RowWriter::create(dir, &layout).unwrap()
    }

    fn place(row: u64, residue_offset: u64, length: u64) -> Place {
        Place {
            row,
            residue_offset,
            length,
            file: Some(format!("r{row}.npy")),
        }
    }

    #[test]
    fn rows_stand_at_their_place_in_any_order() {
        let dir = tempfile::tempdir().unwrap();
        let writer = writer(dir.path(), Residues::Packed, OutDtype::F16);
        for row in [2, 0, 1] {
            for layer in 0..2 {
                let value = (row as f32) + 10.0 * layer as f32;
                writer
                    .write_pooled(layer, Pool::Mean, row, &[value, 0.5])
                    .unwrap();
                writer
                    .write_pooled(layer, Pool::Bos, row, &[-value, 0.5])
                    .unwrap();
            }
        }
        for layer in 0..2 {
            writer
                .write_residues(layer, &place(1, 1, 2), &[3.0, 4.0, 5.0, 6.0])
                .unwrap();
            writer
                .write_residues(layer, &place(0, 0, 1), &[1.0, 2.0])
                .unwrap();
            writer.write_residues(layer, &place(2, 3, 0), &[]).unwrap();
        }
        writer.close(3, 3).unwrap();
        let bytes = std::fs::read(dir.path().join("bos.layer6.npy")).unwrap();
        assert_eq!(bytes[..128], npy::header(OutDtype::F16, 3, 2));
        // -10, 0.5, -11, 0.5, -12, 0.5
        assert_eq!(
            bytes[128..],
            [
                0x00, 0xc9, 0x00, 0x38, 0x80, 0xc9, 0x00, 0x38, 0x00, 0xca, 0x00, 0x38
            ]
        );
        let bytes = std::fs::read(dir.path().join("residues.layer1.npy")).unwrap();
        assert_eq!(
            bytes[128..],
            [
                0x00, 0x3c, 0x00, 0x40, 0x00, 0x42, 0x00, 0x44, 0x00, 0x45, 0x00, 0x46
            ]
        );
    }

    #[test]
    fn unfit_values_are_named_and_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let writer = writer(dir.path(), Residues::Packed, OutDtype::F16);
        let error = writer
            .write_residues(0, &place(4, 0, 2), &[1.0, 2.0, 3.0, 1e6])
            .unwrap_err();
        assert!(error.to_string().starts_with(
            "residues.layer1.npy, record in row 4, residue 2, column 1: 1000000 does not fit into f16"
        ));
        let error = writer
            .write_pooled(1, Pool::Bos, 5, &[f32::NAN, 0.0])
            .unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("bos.layer6.npy, record in row 5, column 0: the value is NaN")
        );
        for name in ["residues.layer1.npy", "bos.layer6.npy"] {
            assert_eq!(std::fs::metadata(dir.path().join(name)).unwrap().len(), 0);
        }
    }

    #[test]
    fn wrong_shapes_layers_and_pools_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let writer = writer(dir.path(), Residues::Packed, OutDtype::F32);
        let shape = writer.write_residues(0, &place(0, 0, 2), &[1.0; 3]);
        assert!(matches!(
            shape,
            Err(OutputError::Shape {
                expected: 4,
                found: 3,
                ..
            })
        ));
        assert!(matches!(
            writer.write_pooled(0, Pool::Mean, 0, &[]),
            Err(OutputError::Shape { .. })
        ));
        assert!(matches!(
            writer.write_pooled(0, Pool::Max, 0, &[1.0; 2]),
            Err(OutputError::NotInLayout { .. })
        ));
        assert!(matches!(
            writer.write_pooled(2, Pool::Mean, 0, &[1.0; 2]),
            Err(OutputError::NotInLayout { .. })
        ));
        let far = writer.write_pooled(0, Pool::Mean, u64::MAX, &[1.0; 2]);
        assert!(matches!(far, Err(OutputError::TooLarge { .. })));
    }

    #[test]
    fn a_missing_last_row_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let writer = writer(dir.path(), Residues::None, OutDtype::F32);
        for layer in 0..2 {
            writer
                .write_pooled(layer, Pool::Mean, 1, &[1.0, 2.0])
                .unwrap();
            writer
                .write_pooled(layer, Pool::Bos, layer as u64, &[1.0, 2.0])
                .unwrap();
        }
        let error = writer.close(2, 9).unwrap_err();
        assert!(
            matches!(error, OutputError::Incomplete { expected: 144, found: 136, ref file } if file == "bos.layer1.npy")
        );
    }

    #[test]
    fn a_record_is_copied_to_a_later_place() {
        let dir = tempfile::tempdir().unwrap();
        let writer = writer(dir.path(), Residues::Packed, OutDtype::F32);
        // More rows than one buffer of the copy holds.
        let length = CHUNK as u64 / 8 + 3;
        let values: Vec<f32> = (0..length * 2).map(|i| i as f32).collect();
        for layer in 0..2 {
            writer
                .write_residues(layer, &place(0, 0, length), &values)
                .unwrap();
            writer
                .write_pooled(layer, Pool::Mean, 0, &[7.0, 8.0])
                .unwrap();
            writer
                .write_pooled(layer, Pool::Bos, 0, &[9.0, 1.0])
                .unwrap();
        }
        writer
            .copy_record(&place(0, 0, length), &place(1, length, length))
            .unwrap();
        writer.close(2, 2 * length).unwrap();
        for name in [
            "mean.layer1.npy",
            "bos.layer6.npy",
            "residues.layer1.npy",
            "residues.layer6.npy",
        ] {
            let bytes = std::fs::read(dir.path().join(name)).unwrap();
            let (first, second) = bytes[128..].split_at((bytes.len() - 128) / 2);
            assert_eq!(first, second);
        }
    }

    #[test]
    fn each_record_has_its_own_file() {
        let dir = tempfile::tempdir().unwrap();
        let writer = writer(dir.path(), Residues::Files, OutDtype::F32);
        for layer in 0..2 {
            writer
                .write_residues(layer, &place(1999, 0, 1), &[1.0, 2.0])
                .unwrap();
            // Again, as after a batch that had to be redone.
            writer
                .write_residues(layer, &place(1999, 0, 1), &[3.0, 4.0])
                .unwrap();
        }
        writer
            .write_residues(0, &place(0, 0, 1), &[1.0, 2.0])
            .unwrap();
        let bytes = std::fs::read(dir.path().join("residues.layer6/000001/r1999.npy")).unwrap();
        assert_eq!(bytes[..128], npy::header(OutDtype::F32, 1, 2));
        assert_eq!(bytes[128..], [0, 0, 0x40, 0x40, 0, 0, 0x80, 0x40]);
        assert!(dir.path().join("residues.layer1/000000/r0.npy").exists());
    }
}
