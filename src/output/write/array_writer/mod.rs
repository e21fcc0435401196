//! Writes the values of records to their places, from any thread and in any order.

mod copy;
mod fit;
mod held;
mod record;

pub use record::RecordWriter;

use crate::output::array::{Array, Storage};
use crate::output::counts::Counts;
use crate::output::disk;
use crate::output::error::OutputError;
use crate::output::layout::Layout;
use crate::output::place::Place;
use crate::output::resume::proof::Written;
use crate::output::write::array_file::ArrayFile;
use crate::product::Product;
use crate::product::Values;
use std::fs::File;
use std::path::{Path, PathBuf};

/// The arrays of a run. All methods take `&self`: writes go to separate bytes.
#[derive(Debug)]
pub struct ArrayWriter {
    partial: PathBuf,
    /// In the order of the layout.
    arrays: Vec<OpenArray>,
    /// Whether the files may contain values of an earlier run.
    resumed: bool,
}

/// An array and, if all records share a file, that file.
#[derive(Debug)]
struct OpenArray {
    array: Array,
    packed: Option<ArrayFile>,
}

impl ArrayWriter {
    pub(crate) fn create(partial: &Path, layout: &Layout) -> Result<Self, OutputError> {
        let make_folder =
            |path: &Path| std::fs::create_dir(path).map_err(|e| OutputError::io("making", path, e));
        Self::with(partial, layout, false, make_folder, |path| {
            disk::create_new(path).map_err(|e| OutputError::io("making", path, e))
        })
    }

    /// Opens the files of an interrupted run; those that are missing are created.
    pub(crate) fn open(partial: &Path, layout: &Layout) -> Result<Self, OutputError> {
        Self::with(partial, layout, true, real_folders, |path| {
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
        folder: impl Fn(&Path) -> Result<(), OutputError>,
        open: impl Fn(&Path) -> Result<File, OutputError>,
    ) -> Result<Self, OutputError> {
        let open_array = |array: Array| {
            let name = array.location();
            let path = partial.join(&name);
            let packed = match array.storage {
                Storage::Packed => {
                    let file = open(&path)?;
                    Some(ArrayFile { name, path, file })
                }
                Storage::Files => {
                    folder(&path)?;
                    None
                }
            };
            Ok(OpenArray { array, packed })
        };
        Ok(Self {
            partial: partial.to_path_buf(),
            arrays: layout
                .arrays()
                .into_iter()
                .map(open_array)
                .collect::<Result<_, _>>()?,
            resumed,
        })
    }

    /// Writes the values of one record: into their place in the array's file, or into the record's
    /// own file. The values are in the order of [`Product::shape`].
    ///
    /// # Errors
    /// A value that is not finite, or not as f16; a wrong number of values; f16 values for an array
    /// of f32; a product that the layout lacks; a failed write. Nothing is written when a value is
    /// unfit.
    pub fn write<'v>(
        &self,
        product: Product,
        place: &Place,
        values: impl Into<Values<'v>>,
    ) -> Result<Written, OutputError> {
        let values = values.into();
        let (_, OpenArray { array, packed }) = self.find(product)?;
        match packed {
            Some(file) => fit::check(array, &file.name, place, values)?,
            None => {
                let name = record_file(array, place)?;
                fit::check(array, &name.to_string_lossy(), place, values)?;
            }
        }
        let mut record = self.begin(product, place)?;
        record.append(values)?;
        record.finish()
    }

    /// Whether the layout has this product.
    pub fn has(&self, product: Product) -> bool {
        self.find(product).is_ok()
    }

    /// Makes everything written so far durable.
    pub(crate) fn sync(&self) -> Result<(), OutputError> {
        if self.arrays.iter().any(|open| open.packed.is_none()) {
            return disk::sync_tree(&self.partial)
                .map_err(|e| OutputError::io("syncing", &self.partial, e));
        }
        for file in self.arrays.iter().filter_map(|open| open.packed.as_ref()) {
            let synced = file.file.sync_data();
            synced.map_err(|e| OutputError::io("syncing", &file.path, e))?;
        }
        Ok(())
    }

    /// Writes the headers, now that the number of rows is known, and checks that every file ends
    /// with its last row.
    pub(crate) fn close(self, counts: &Counts) -> Result<(), OutputError> {
        for OpenArray { array, packed } in &self.arrays {
            let Some(file) = packed else { continue };
            let elements = array.elements(counts);
            file.write_header(array.dtype, &array.packed_shape(elements))?;
            let end = array.end(elements);
            let expected = end.ok_or_else(|| too_large(&file.name, counts.records))?;
            let found = file
                .file
                .metadata()
                .map_err(|e| OutputError::io("reading", &file.path, e))?
                .len();
            if self.resumed && found > expected {
                // Rows of records that the interrupted run read and this one did not.
                let cut = file.file.set_len(expected);
                cut.map_err(|e| OutputError::io("shortening", &file.path, e))?;
                continue;
            }
            if found != expected {
                return Err(OutputError::Incomplete {
                    file: file.name.clone(),
                    expected,
                    found,
                });
            }
        }
        Ok(())
    }

    /// An array and its number in the layout.
    fn find(&self, product: Product) -> Result<(usize, &OpenArray), OutputError> {
        let mut arrays = self.arrays.iter().enumerate();
        arrays
            .find(|(_, open)| open.array.product == product)
            .ok_or_else(|| OutputError::NotInLayout {
                what: product.file_stem(),
            })
    }
}

/// First byte and number of bytes of the values of a record in their file.
fn span(array: &Array, file: &str, place: &Place) -> Result<(u64, u64), OutputError> {
    let start = array.start(place);
    let bytes = array.record_bytes(place.length);
    let end = start.zip(bytes).and_then(|(start, n)| start.checked_add(n));
    match (start, bytes, end) {
        (Some(start), Some(bytes), Some(_)) => Ok((start, bytes)),
        _ => Err(too_large(file, place.row)),
    }
}

fn too_large(file: &str, row: u64) -> OutputError {
    OutputError::TooLarge {
        file: file.to_owned(),
        row,
    }
}

/// Path of a record's own file below the working folder.
fn record_file(array: &Array, place: &Place) -> Result<PathBuf, OutputError> {
    let name = place
        .file
        .as_ref()
        .ok_or_else(|| OutputError::NotInLayout {
            what: format!("file for the record in row {}", place.row),
        })?;
    Ok(Path::new(&array.location())
        .join(Layout::sub_folder(place.row))
        .join(name))
}

/// Checks that a folder of per-record files and its sub-folders are not links; creates the folder if
/// it is missing.
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

#[cfg(test)]
mod tests;
