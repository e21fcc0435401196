//! The output folder of a finished run, opened for reading. It is not trusted: each file is checked
//! against `run.json` as it is read.

use super::ReadError;
use super::array_file::open_among;
use super::array_values::{ArrayValues, OwnValues, Reading, Source, read, reserve};
use super::linked::LinkedShards;
use super::record::{Record, Records};
use super::record_index::RecordIndex;
use crate::output::array::{Array, Storage};
use crate::output::folder_files::{INDEX_TSV, RUN_JSON};
use crate::output::layout::Layout;
use crate::output::manifest::Manifest;
use crate::product::{Extent, Product};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// More layers than any model has: no run writes a `run.json` with more.
const MOST_LAYERS: usize = 4096;
/// More products than there are.
const MOST_PRODUCTS: usize = 64;

/// Refuses a layout that no run has: every loop over its arrays is then bounded.
pub(super) fn check_arrays(layout: &Layout) -> Result<(), &'static str> {
    let products = layout
        .pools
        .len()
        .saturating_add(layout.include.products.len());
    if layout.layers.len() > MOST_LAYERS || products > MOST_PRODUCTS {
        return Err("its layout has more layers or products than any run");
    }
    let arrays = layout.arrays();
    let names: BTreeSet<_> = arrays.iter().map(Array::name).collect();
    match names.len() < arrays.len() {
        true => Err("its layout has an array twice"),
        false => Ok(()),
    }
}

/// The first folder in this one that a run wrote.
fn output_folder_in(dir: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(dir).ok()?.flatten();
    let folders = entries.map(|entry| entry.path());
    folders.filter(|path| path.join(RUN_JSON).is_file()).min()
}

/// The output folder of a finished run.
#[derive(Debug)]
pub struct FinishedFolder {
    dir: PathBuf,
    manifest: Manifest,
    arrays: Vec<Array>,
    /// The folders of the arrays, unless they are in this one.
    linked: Option<LinkedShards>,
}

impl FinishedFolder {
    /// Opens a folder.
    ///
    /// # Errors
    /// When it has no `run.json` that a run wrote, or a shard of a linked folder is not there.
    pub fn open(dir: &Path) -> Result<Self, ReadError> {
        let failed = |source| ReadError::Manifest {
            dir: dir.to_path_buf(),
            source,
        };
        let manifest = Manifest::read(dir).map_err(failed)?;
        let manifest = manifest.ok_or_else(|| ReadError::NotComplete {
            dir: dir.to_path_buf(),
            holds: output_folder_in(dir),
        })?;
        check_arrays(&manifest.layout).map_err(|what| ReadError::Damaged {
            path: dir.join(RUN_JSON),
            what: what.into(),
        })?;
        Ok(Self {
            dir: dir.to_path_buf(),
            arrays: manifest.layout.arrays(),
            linked: LinkedShards::open(dir, &manifest)?,
            manifest,
        })
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The name of the folder, without the folders that it is in.
    pub fn name(&self) -> String {
        let absolute = std::path::absolute(&self.dir);
        let name = absolute
            .ok()
            .and_then(|path| path.file_name().map(ToOwned::to_owned));
        crate::printable::text(&name.unwrap_or_default().to_string_lossy())
    }

    /// Its `run.json`.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Its arrays, layer by layer.
    pub fn arrays(&self) -> &[Array] {
        &self.arrays
    }

    /// The array of a product, if the run wrote it.
    pub fn array(&self, product: Product) -> Option<&Array> {
        self.arrays.iter().find(|array| array.product == product)
    }

    /// The shape of an array that is one file.
    pub fn packed_shape(&self, array: &Array) -> Vec<u64> {
        array.packed_shape(array.elements(&self.manifest.counts))
    }

    /// The model: its repository, or else how it was given; the name of the last folder of a path.
    pub fn model_name(&self) -> String {
        let Manifest {
            asked, resolved, ..
        } = &self.manifest;
        match &resolved.model.repo {
            Some(repo) => repo.clone(),
            None => {
                let path = Path::new(&asked.model);
                let name = path.file_name().unwrap_or(path.as_os_str());
                name.to_string_lossy().into_owned()
            }
        }
    }

    /// Its records in order.
    ///
    /// # Errors
    /// When the index cannot be opened, or is not that of a run.
    pub fn records(&self) -> Result<Records, ReadError> {
        let path = self.dir.join(INDEX_TSV);
        match open_among(&path, true) {
            Ok(file) => Records::new(file, path, self.manifest.layout.has_files()),
            Err(what) => Err(ReadError::Damaged { path, what }),
        }
    }

    /// Looks its records up by row and by identifier.
    ///
    /// # Errors
    /// When the index cannot be read, or is not that of a run.
    pub fn record_index(&self) -> Result<RecordIndex, ReadError> {
        let path = self.dir.join(INDEX_TSV);
        match open_among(&path, true) {
            Ok(file) => RecordIndex::new(file, path, self.manifest.layout.has_files()),
            Err(what) => Err(ReadError::Damaged { path, what }),
        }
    }

    /// The values of a record in an array with one file per record, row by row.
    ///
    /// # Errors
    /// When the file is missing or damaged, or has a number that is not finite.
    pub fn record_values(&self, array: &Array, record: &Record) -> Result<Vec<f32>, ReadError> {
        let (dir, there) = self.stored(record)?;
        let file = there.file.as_deref().unwrap_or_default();
        let path = dir.join(array.location()).join(file);
        let shape = array.record_shape(record.length);
        read(path, array, &shape)
    }

    /// The folder that holds the values of a record, and the record with its places there.
    ///
    /// # Errors
    /// When a linked folder or the index of its shard is damaged.
    pub fn stored<'a>(
        &'a self,
        record: &'a Record,
    ) -> Result<(&'a Path, Cow<'a, Record>), ReadError> {
        match &self.linked {
            None => Ok((&self.dir, Cow::Borrowed(record))),
            Some(linked) => {
                let (dir, there) = linked.stored(record)?;
                Ok((dir, Cow::Owned(there)))
            }
        }
    }

    /// The folders of the shards that hold the arrays, in the order of their numbers; none if the
    /// arrays are in the folder itself.
    pub fn shard_folders(&self) -> Vec<&Path> {
        let linked = self.linked.iter();
        linked.flat_map(LinkedShards::folders).collect()
    }

    /// All values of an array that is one file, row by row.
    ///
    /// # Errors
    /// When the file is missing or damaged, or has a number that is not finite.
    pub fn packed_values(&self, array: &Array) -> Result<Vec<f32>, ReadError> {
        if self.linked.is_none() {
            let path = self.dir.join(array.location());
            return read(path, array, &self.packed_shape(array));
        }
        let number = array.elements(&self.manifest.counts);
        let number = number.saturating_mul(array.product.width(&array.model) as u64);
        let mut all = Vec::new();
        reserve(&mut all, number).map_err(|what| ReadError::Damaged {
            path: self.dir.clone(),
            what,
        })?;
        let (mut values, mut one) = (self.values(array)?, Vec::new());
        for record in self.records()? {
            values.read(&record?, &mut one)?;
            all.extend_from_slice(&one);
        }
        Ok(all)
    }

    /// The pooled rows of an array, `[records, D]`: of stacked layers, those of the highest.
    ///
    /// # Errors
    /// As [`FinishedFolder::packed_values`].
    pub fn pooled_rows(&self, array: &Array) -> Result<Vec<f32>, ReadError> {
        let mut values = self.packed_values(array)?;
        let Product::Stacked { .. } = array.product else {
            return Ok(values);
        };
        let dim = array.model.dim;
        let width = array.model.stacked.saturating_mul(dim);
        let records = values.len().checked_div(width).unwrap_or(0);
        for record in 0..records {
            let last = (record + 1) * width - dim;
            values.copy_within(last..last + dim, record * dim);
        }
        values.truncate(records * dim);
        values.shrink_to_fit();
        Ok(values)
    }

    /// The values of an array, record by record in order.
    ///
    /// # Errors
    /// When a packed array is missing or damaged.
    pub fn values(&self, array: &Array) -> Result<ArrayValues, ReadError> {
        let source = match &self.linked {
            Some(linked) => Source::Linked(linked.values(array)?),
            None => {
                let shape = self.packed_shape(array);
                Source::Own(OwnValues::open(&self.dir, array, &shape, Reading::ALONE)?)
            }
        };
        Ok(ArrayValues(source))
    }

    /// The pooled array that is used if none is named: of the highest layer, the mean if there is one.
    pub fn default_pooled(&self) -> Option<&Array> {
        let is_pooled = |array: &&Array| {
            array.product.extent() == Extent::Record && array.storage == Storage::Packed
        };
        self.arrays
            .iter()
            .filter(is_pooled)
            .max_by_key(|array| match array.product {
                Product::Pooled { layer, pool } => Some((layer, std::cmp::Reverse(pool))),
                Product::Stacked { pool } => {
                    let highest = self.manifest.layout.layers.iter().max();
                    Some((highest.copied()?, std::cmp::Reverse(pool)))
                }
                _ => None,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Entry, Include, OutputFolder, Residues, key};
    use crate::product::{ModelShape, OutDtype, Pool};
    use crate::run_record::{Asked, Resolved};

    const MEAN: Product = Product::Pooled {
        layer: 2,
        pool: Pool::Mean,
    };

    /// A folder with means and contacts of two records.
    fn folder(dir: &Path, dtype: OutDtype) {
        let model = ModelShape {
            dim: 2,
            ..ModelShape::default()
        };
        let layout = Layout {
            layers: vec![1, 2],
            pools: vec![Pool::Mean, Pool::Max],
            residues: Residues::None,
            dtype,
            dim: 2,
            include: Include::new(vec![Product::Contacts], &model),
        };
        let mut folder = OutputFolder::create(dir, layout.clone(), false).unwrap();
        let (ledger, rows) = folder.split();
        for (id, description, length) in [("a/b", "one", 2), ("P2", "two\ttabs", 1)] {
            let entry = Entry {
                id: id.as_bytes(),
                description: description.as_bytes(),
                length,
                sequence: key(id.as_bytes()),
                ..Entry::default()
            };
            let place = ledger.enter(&entry).unwrap().place;
            for array in layout.arrays() {
                let number: u64 = array.record_shape(length).iter().product();
                let values: Vec<f32> = (0..number).map(|i| i as f32 + length as f32).collect();
                rows.write(array.product, &place, &values[..]).unwrap();
            }
        }
        let asked = Asked {
            model: "models/tiny".into(),
            ..Asked::default()
        };
        folder.finish(asked, Resolved::default()).unwrap();
    }

    #[test]
    fn records_and_values_are_those_that_were_written() {
        for dtype in [OutDtype::F32, OutDtype::F16] {
            let home = tempfile::tempdir().unwrap();
            let dir = home.path().join("emb");
            folder(&dir, dtype);
            let folder = FinishedFolder::open(&dir).unwrap();
            assert_eq!(folder.model_name(), "tiny");
            let records: Vec<Record> = folder.records().unwrap().map(Result::unwrap).collect();
            assert_eq!(
                records,
                [
                    Record {
                        row: 0,
                        id: b"a/b".to_vec(),
                        description: b"one".to_vec(),
                        length: 2,
                        residue_offset: 0,
                        file: Some("000000/a_b-c14cddc033f64b9d.npy".into()),
                    },
                    Record {
                        row: 1,
                        id: b"P2".to_vec(),
                        description: b"two\ttabs".to_vec(),
                        length: 1,
                        residue_offset: 2,
                        file: Some("000000/P2.npy".into()),
                    },
                ]
            );
            assert_eq!(records[0].file_stem(), Some("a_b-c14cddc033f64b9d"));
            let mean = folder.default_pooled().unwrap();
            assert_eq!(mean.product, MEAN);
            assert_eq!(folder.packed_values(mean).unwrap(), [2.0, 3.0, 1.0, 2.0]);
            let contacts = folder.array(Product::Contacts).unwrap();
            let values = folder.record_values(contacts, &records[0]).unwrap();
            assert_eq!(values, [2.0, 3.0, 4.0, 5.0]);
            assert!(folder.array(Product::Logits).is_none());
        }
    }

    #[test]
    fn damage_is_an_error() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("emb");
        assert!(
            FinishedFolder::open(home.path())
                .unwrap_err()
                .to_string()
                .contains(
                    " has no run.json: it is not an output folder, or its run did not finish"
                )
        );
        folder(&dir, OutDtype::F32);
        let around = FinishedFolder::open(home.path()).unwrap_err().to_string();
        let hint = format!("such as {}\nhint: merge shards first", dir.display());
        assert!(around.ends_with(&hint), "{around}");
        let folder = FinishedFolder::open(&dir).unwrap();
        let contacts = folder.array(Product::Contacts).unwrap();
        let mut record = folder.records().unwrap().next().unwrap().unwrap();
        let path = dir.join("contacts/000000/a_b-c14cddc033f64b9d.npy");
        let why = |record: &Record| {
            let error = folder.record_values(contacts, record).unwrap_err();
            let text = error.to_string();
            text.strip_prefix(&format!("{}: ", path.display()))
                .unwrap()
                .to_owned()
        };
        let bytes = std::fs::read(&path).unwrap();
        let mut damaged = bytes.clone();
        damaged[128..132].copy_from_slice(&f32::NAN.to_le_bytes());
        std::fs::write(&path, damaged).unwrap();
        assert!(why(&record).starts_with("value 1 of 4 values is not a finite number\nhint: "));
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert!(why(&record).starts_with("its header says shape [2, 2], which makes 144 bytes; "));
        std::fs::write(&path, bytes).unwrap();
        record.length = 3;
        assert!(why(&record).starts_with(
            "its header says shape [2, 2]; index.tsv and run.json give [3, 3]\nhint: "
        ));

        let index = dir.join(INDEX_TSV);
        let text = std::fs::read_to_string(&index).unwrap();
        for (from, to, what) in [
            (
                "000000/P2",
                "../000000/P2",
                "line 3 is not that of the record in row 1",
            ),
            (
                "\t2\t\t",
                "\t3\t\t",
                "line 3 is not that of the record in row 1",
            ),
            ("two\\ttabs\n", "two", "it ends in the middle of a line"),
            (
                "row\t",
                "Row\t",
                "its first line does not name the columns of an index",
            ),
        ] {
            assert!(text.contains(from), "{from}");
            std::fs::write(&index, text.replace(from, to)).unwrap();
            let error = match folder.records() {
                Err(error) => error,
                Ok(records) => records.last().unwrap().unwrap_err(),
            };
            assert!(error.to_string().contains(what), "{error}");
        }
    }
}
