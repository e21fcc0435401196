//! Writes what an output folder holds in the formats of other tools.
//!
//! An [`Export`] reads one array through the one reader of output folders,
//! [`FinishedFolder`], record by record, and writes it in a [`Format`]. Memory holds one record; only
//! `h5` also remembers every name, about 50 bytes each. The output is written beside its place, synced
//! and renamed, so that it exists completely or not at all.
//!
//! # Formats
//!
//! | format | contents |
//! |---|---|
//! | `h5` | a dataset for each record, `[D]` or `[n, D]`, with the attribute `original_id`; attributes of the file: `model_name`, `model`, `layer`, `revision`. Read by UniProt's and bio_embeddings' tools, goPredSim, biotrainer and ProtSpace |
//! | `safetensors` | a tensor for each record |
//! | `parquet` | columns `id`, `sequence_length` and `embedding`, a list of fixed size |
//! | `pt` | a folder with a file for each record, as fair-esm's `extract.py` writes them |
//! | `csv` | columns `id`, `d0`, `d1` …; every number reads back to the same bits |
//! | `npz` | the array, and `ids`; with residue rows also `lengths` |
//! | `skbio` | scikit-bio's format `embed`: an HDF5 file with all rows in one dataset |
//!
//! # Names of records
//!
//! `h5` and `safetensors` need a name for each record; [`Keys`] says which. An id is used as
//! `ids.npy` has it: a byte that is not UTF-8, and a zero byte, is `\x` and two digits. An empty id is
//! `unnamed`; a name that was given before gets `_2`, `_3` …. In `h5`, `/` separates groups and becomes
//! `_`, and `.` becomes `_`, too; the attribute `original_id` has the id. Tables and `npz` keep ids as
//! they are, repeated ones too.

mod about;
mod archive;
mod arrays;
mod csv;
mod error;
mod files;
mod h5;
mod hdf5;
mod keys;
mod npz;
mod parquet;
mod pickle;
mod pt;
mod safetensors;
mod sequences;
mod skbio;
mod source;
#[cfg(test)]
mod tests;

pub use error::ExportError;
pub use keys::Keys;

use crate::output::FinishedFolder;
use crate::product::OutDtype;
use source::Source;
use std::ops::ControlFlow;
use std::path::PathBuf;

/// Receives progress, and says whether the work continues.
pub type Progress<'a> = dyn FnMut(u64, u64) -> ControlFlow<()> + 'a;

/// A format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// HDF5, a dataset for each record.
    H5,
    /// safetensors, a tensor for each record.
    Safetensors,
    /// Apache Parquet.
    Parquet,
    /// A folder of files as fair-esm's `extract.py` writes them.
    Pt,
    /// Comma-separated text.
    Csv,
    /// NumPy's archive.
    Npz,
    /// scikit-bio's format `embed`.
    Skbio,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::H5,
        Self::Safetensors,
        Self::Parquet,
        Self::Pt,
        Self::Csv,
        Self::Npz,
        Self::Skbio,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::H5 => "h5",
            Self::Safetensors => "safetensors",
            Self::Parquet => "parquet",
            Self::Pt => "pt",
            Self::Csv => "csv",
            Self::Npz => "npz",
            Self::Skbio => "skbio",
        }
    }
}

/// What is written, and how.
#[derive(Debug, Clone)]
pub struct Export {
    /// The format.
    pub format: Format,
    /// The array, such as `mean.layer33`; None for the mean of the highest layer.
    pub array: Option<String>,
    /// The residue rows of the layer of that array instead.
    pub residues: bool,
    /// What names the records; None for their ids.
    pub keys: Option<Keys>,
    /// How numbers are stored; None for as in the folder.
    pub dtype: Option<OutDtype>,
    /// The FASTA files of the run, for what needs the sequences; empty for where the run found them.
    pub fasta: Vec<PathBuf>,
    /// The file, or for `pt` the folder.
    pub out: PathBuf,
    /// Replace what is there.
    pub force: bool,
}

/// What was exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// Names of the arrays.
    pub arrays: Vec<String>,
    /// Number of records read.
    pub records: u64,
    /// The shard that was read, and the number of shards, if the folder is not of a whole input.
    pub shard: Option<(u64, u64)>,
    /// Records that were left out because an earlier one has the same sequence, and so the same key.
    pub repeated: u64,
    /// How numbers are stored.
    pub dtype: OutDtype,
}

impl Export {
    /// Why the options cannot be combined, with hints; nothing is read for this.
    pub fn contradiction(&self) -> Option<String> {
        let format = self.format.name();
        if self.keys.is_some() && !matches!(self.format, Format::H5 | Format::Safetensors) {
            return Some(format!(
                "{format} has no keys\nhint: leave out `keys`, or export to h5 or safetensors"
            ));
        }
        if self.format == Format::Parquet && self.dtype == Some(OutDtype::F16) {
            return Some(
                "parquet holds 32-bit floats\nhint: leave out `dtype`, or export to h5, safetensors, \
                 npz or pt"
                    .into(),
            );
        }
        if self.residues && matches!(self.format, Format::Csv | Format::Parquet) {
            return Some(arrays::one_row_only(
                format,
                "residue rows have one for each residue",
            ));
        }
        None
    }

    /// Writes it. `progress` receives the number of records written so far, and their total; a break
    /// ends the work, and nothing is left of it.
    ///
    /// # Errors
    /// When the folder does not have what is asked for or is damaged, when something exists at the
    /// place of the output, when it cannot be written, or after a break.
    pub fn write(
        &self,
        folder: &FinishedFolder,
        progress: &mut Progress<'_>,
    ) -> Result<Exported, ExportError> {
        files::check(&self.out, self.format, self.force)?;
        let arrays = arrays::choose(folder, self.format, self.array.as_deref(), self.residues)?;
        let dtype = match self.format {
            Format::Parquet => OutDtype::F32,
            _ => self.dtype.unwrap_or(folder.manifest().layout.dtype),
        };
        let mut source = Source::new(folder, arrays, dtype, &self.fasta, progress);
        let out = &self.out;
        let keys = self.keys.unwrap_or(Keys::Id);
        let repeated = match self.format {
            Format::H5 => h5::write(&mut source, keys, out)?,
            Format::Safetensors => safetensors::write(&mut source, keys, out)?,
            Format::Parquet => none(parquet::write(&mut source, out))?,
            Format::Pt => none(pt::write(&mut source, out))?,
            Format::Csv => none(csv::write(&mut source, out))?,
            Format::Npz => none(npz::write(&mut source, out))?,
            Format::Skbio => none(skbio::write(&mut source, out))?,
        };
        Ok(Exported {
            arrays: source.arrays.iter().map(|array| array.name()).collect(),
            records: folder.manifest().counts.records,
            shard: folder
                .manifest()
                .shard
                .map(|shard| (shard.number, shard.of)),
            repeated,
            dtype,
        })
    }
}

/// No record was left out.
fn none(result: Result<(), ExportError>) -> Result<u64, ExportError> {
    result.map(|()| 0)
}
