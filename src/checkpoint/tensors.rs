//! The tensors of all files of a checkpoint, by the names that the files give them.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::error::CheckpointError;
use super::file::WeightFile;

/// Most dimensions of a tensor; those of ESM have one or two.
pub(super) const MOST_DIMENSIONS: usize = 8;

/// How the numbers of one tensor are stored. Always little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FloatType {
    F32,
    F16,
    Bf16,
}

impl FloatType {
    /// Bytes of one number.
    pub(super) fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }
}

/// How the weights of a checkpoint are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoredDtype {
    /// Every weight is float32.
    F32,
    /// Every weight is float16.
    F16,
    /// Every weight is bfloat16.
    Bf16,
    /// Several of these.
    Mixed,
}

impl fmt::Display for StoredDtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Mixed => "mixed",
        })
    }
}

impl From<FloatType> for StoredDtype {
    fn from(dtype: FloatType) -> Self {
        match dtype {
            FloatType::F32 => Self::F32,
            FloatType::F16 => Self::F16,
            FloatType::Bf16 => Self::Bf16,
        }
    }
}

/// Where a tensor's numbers are, or why they cannot be read. Only tensors that the model
/// needs have to be readable; `position_ids`, for example, are integers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Data {
    /// The first number is at byte `offset`; `strides` count numbers, one per dimension. All
    /// numbers are in the file.
    Floats {
        dtype: FloatType,
        offset: usize,
        strides: Vec<usize>,
    },
    /// The end of the sentence "the tensor X …".
    Unreadable(String),
}

/// One tensor as a file describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoredTensor {
    pub(super) shape: Vec<usize>,
    pub(super) data: Data,
}

/// A tensor and the number of the file that holds it.
#[derive(Debug)]
struct HeldTensor {
    tensor: StoredTensor,
    file: usize,
}

/// All tensors of a checkpoint and the files that hold them.
#[derive(Debug, Default)]
pub(super) struct TensorSet {
    files: Vec<WeightFile>,
    tensors: HashMap<String, HeldTensor>,
    /// From the index of a sharded checkpoint: which file should hold which tensor.
    listed: HashMap<String, PathBuf>,
}

impl TensorSet {
    /// A set whose index lists these files. Empty for a checkpoint without index.
    pub(super) fn new(listed: HashMap<String, PathBuf>) -> Self {
        Self {
            listed,
            ..Self::default()
        }
    }

    /// Adds the tensors of one file; a name that is already there is an error.
    pub(super) fn add(
        &mut self,
        file: WeightFile,
        tensors: Vec<(String, StoredTensor)>,
    ) -> Result<(), CheckpointError> {
        let number = self.files.len();
        for (name, tensor) in tensors {
            if let Some(first) = self.tensors.get(&name) {
                return Err(CheckpointError::Duplicate {
                    tensor: name,
                    first: self
                        .files
                        .get(first.file)
                        .unwrap_or(&file)
                        .path()
                        .to_path_buf(),
                    path: file.path().to_path_buf(),
                });
            }
            self.tensors.insert(
                name,
                HeldTensor {
                    tensor,
                    file: number,
                },
            );
        }
        self.files.push(file);
        Ok(())
    }

    /// Adds a file whose tensors are none of the model's; its number.
    pub(super) fn add_file(&mut self, file: WeightFile) -> usize {
        self.files.push(file);
        self.files.len() - 1
    }

    /// Removes a tensor, so that another file can provide it.
    pub(super) fn remove(&mut self, name: &str) {
        self.tensors.remove(name);
    }

    /// The tensor of this name.
    pub(super) fn get(&self, name: &str) -> Option<&StoredTensor> {
        self.tensors.get(name).map(|entry| &entry.tensor)
    }

    /// The number of the file that holds the tensor.
    pub(super) fn file_of(&self, name: &str) -> Option<usize> {
        self.tensors.get(name).map(|entry| entry.file)
    }

    /// All names, in no order.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The file of this number.
    pub(super) fn file(&self, number: usize) -> Option<&WeightFile> {
        self.files.get(number)
    }

    /// All files.
    pub(super) fn files(&self) -> impl Iterator<Item = &WeightFile> {
        self.files.iter()
    }

    /// The file that holds the tensor, or the one that should.
    pub(super) fn home(&self, name: &str) -> &Path {
        let held = self.file_of(name).and_then(|number| self.file(number));
        let listed = self.listed.get(name).map(PathBuf::as_path);
        let first = || self.files.first().map(WeightFile::path);
        held.map(WeightFile::path)
            .or(listed)
            .or_else(first)
            .unwrap_or(Path::new(""))
    }
}
