//! What `open_folder` needs to know of an output folder.

use crate::errors::failed;
use crate::messages::Messages;
use crate::waiting::Watch;
use esm_embed::cancel::Cancel;
use esm_embed::output::{FinishedFolder, ReadError, Record, RecordIndex, Storage, id_text};
use esm_embed::product::Extent;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// An output folder of a finished run. Its arrays are NumPy's to open.
#[pyclass(frozen, module = "esm_embed")]
pub struct Folder {
    folder: FinishedFolder,
    index: OnceLock<RecordIndex>,
}

/// Row; then, in the folder that holds the values: that folder, row, first residue row, residues, file.
type Place = (u64, PathBuf, u64, u64, u64, Option<String>);

#[pymethods]
impl Folder {
    #[new]
    fn new(path: PathBuf) -> PyResult<Folder> {
        if !path.is_dir() {
            let what = match path.exists() {
                true => "is not a folder",
                false => "does not exist",
            };
            return Err(failed(format!(
                "{} {what}\nhint: give the folder that a run wrote",
                path.display()
            )));
        }
        Ok(Folder {
            folder: FinishedFolder::open(&path).map_err(failed)?,
            index: OnceLock::new(),
        })
    }

    /// The number of records.
    #[getter]
    fn records(&self) -> u64 {
        self.folder.manifest().counts.records
    }

    /// The shard and the number of shards, if it is not of a whole input.
    #[getter]
    fn shard(&self) -> Option<(u64, u64)> {
        let shard = self.folder.manifest().shard.as_ref();
        shard.map(|shard| (shard.number, shard.of))
    }

    /// The model.
    #[getter]
    fn model(&self) -> String {
        self.folder.model_name()
    }

    /// For each array: its name, where it is in the folder, whether it is one file, and "record",
    /// "residues" or "pairs".
    #[getter]
    fn arrays(&self) -> Vec<(String, String, bool, &'static str)> {
        let arrays = self.folder.arrays().iter();
        arrays
            .map(|array| {
                let extent = match array.product.extent() {
                    Extent::Record => "record",
                    Extent::Residues => "residues",
                    Extent::Pairs | Extent::TokenPairs => "pairs",
                };
                let is_packed = array.storage == Storage::Packed;
                (array.name(), array.location(), is_packed, extent)
            })
            .collect()
    }

    /// The pooled array that is used if none is named.
    #[getter]
    fn pooled(&self) -> Option<String> {
        self.folder.default_pooled().map(|array| array.name())
    }

    /// The records with this id.
    fn find(&self, py: Python<'_>, id: &str) -> PyResult<Vec<Place>> {
        let index = self.index(py)?;
        let found: Result<_, ReadError> = py.detach(|| {
            let found = index.find(id)?;
            found.iter().map(|record| self.place(record)).collect()
        });
        found.map_err(failed)
    }

    /// The id that looks most like this one, if any does. Reads the whole index.
    fn similar(&self, py: Python<'_>, id: &str) -> PyResult<Option<String>> {
        let found = py.detach(|| self.folder.similar_id(id.as_bytes()));
        let text = |id: Vec<u8>| String::from_utf8_lossy(&id_text(&id)).into_owned();
        Ok(found.map_err(failed)?.map(text))
    }

    /// The folders of the shards that hold the arrays; none if they are in the folder itself.
    #[getter]
    fn shards(&self) -> Vec<PathBuf> {
        let folders = self.folder.shard_folders();
        folders.into_iter().map(Path::to_path_buf).collect()
    }

    /// The lengths of all records by row, as bytes of 64-bit integers.
    fn lengths<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let lengths = py.detach(|| {
            let mut bytes = Vec::new();
            for record in self.folder.records()? {
                bytes.extend(record?.length.to_le_bytes());
            }
            Ok(bytes)
        });
        Ok(PyBytes::new(
            py,
            &lengths.map_err(|error: ReadError| failed(error))?,
        ))
    }

    /// The id, the description and the place of the record in a row.
    fn record(&self, py: Python<'_>, row: u64) -> PyResult<(String, String, Place)> {
        let index = self.index(py)?;
        let found = py.detach(|| {
            let found = index.record(row)?;
            let place = self.place(&found)?;
            Ok((found, place))
        });
        let (found, place) = found.map_err(|error: ReadError| failed(error))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(&id_text(bytes)).into_owned();
        Ok((text(&found.id), text(&found.description), place))
    }

    /// All ids by row.
    fn ids(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        let text = |id: &[u8]| String::from_utf8_lossy(&id_text(id)).into_owned();
        py.detach(|| {
            let records = self.folder.records().map_err(failed)?;
            let ids = records.map(|record| Ok(text(&record.map_err(failed)?.id)));
            ids.collect()
        })
    }
}

impl Folder {
    fn place(&self, record: &Record) -> Result<Place, ReadError> {
        let (dir, there) = self.folder.stored(record)?;
        let Record {
            row,
            residue_offset,
            length,
            file,
            ..
        } = there.into_owned();
        let place = (row, residue_offset, length, file);
        Ok((
            record.row,
            dir.to_path_buf(),
            place.0,
            place.1,
            place.2,
            place.3,
        ))
    }

    /// The index, which is read when it is first needed.
    fn index(&self, py: Python<'_>) -> PyResult<&RecordIndex> {
        if let Some(index) = self.index.get() {
            return Ok(index);
        }
        let watch = Watch {
            cancel: Cancel::default(),
            messages: Messages::default(),
            progress: None,
        };
        let made = watch
            .work(py, || self.folder.record_index())?
            .map_err(failed)?;
        Ok(self.index.get_or_init(|| made))
    }
}
