//! A file of `torch.save`: a zip archive whose pickle describes tensors and settings.

use std::collections::HashSet;

use super::carried;
use super::error::CheckpointError;
use super::fair_esm::Settings;
use super::file::WeightFile;
use super::foreign;
use super::pickle::{self, Node, Pickle, PickleError, Value};
use super::state_dict::{self, PATH};
use super::tensors::{Data, FloatType, MOST_DIMENSIONS, StoredTensor};
use super::torch_zip::{self, ZipEntries, ZipError};
use crate::printable;

/// The largest published checkpoint has about 800 tensors.
const MOST_TENSORS: usize = 50_000;

/// What a torch file holds.
#[derive(Debug)]
pub(super) struct TorchFile {
    /// The tensors of its state dict.
    pub(super) tensors: Vec<(String, StoredTensor)>,
    /// The model's arguments, as fair-esm saves them.
    pub(super) settings: Option<Settings>,
    /// What an alphabet that it carries says against that of ESM.
    pub(super) against: Option<String>,
}

/// Reads the archive's directory and its pickle; the numbers stay in the file.
pub(super) fn read(file: &WeightFile) -> Result<TorchFile, CheckpointError> {
    refuse_legacy(file)?;
    let entries = torch_zip::read(file).map_err(|error| zip_error(file, error))?;
    let root = root(file, &entries)?;
    let bytes = pickle_bytes(file, &entries, root)?;
    let pickle = pickle::read(&bytes).map_err(|error| pickle_error(file, root, error))?;
    let found = state_dict::find(&pickle).map_err(|wrong| CheckpointError::NotWeights {
        path: file.path().to_path_buf(),
        found: wrong.found,
        remedy: with_path(&wrong.remedy, file).into(),
    })?;
    let archive = Archive {
        file,
        entries: &entries,
        root,
        pickle: &pickle,
    };
    let mut names = HashSet::new();
    let mut tensors = Vec::new();
    for (key, value) in pickle.entries(found.state).unwrap_or_default() {
        if let (
            Some(name),
            Some(Node::Tensor {
                storage,
                offset,
                shape,
                strides,
            }),
        ) = (pickle.text(*key), pickle.node(*value))
        {
            // Any number of entries may share one name or one shape, however long.
            if !names.insert(name) {
                return Err(CheckpointError::Duplicate {
                    tensor: name.to_owned(),
                    first: file.path().to_path_buf(),
                    path: file.path().to_path_buf(),
                });
            }
            if names.len() > MOST_TENSORS {
                return Err(file.damaged(format!("holds more than {MOST_TENSORS} tensors")));
            }
            let tensor = archive.tensor(name, *storage, *offset, [*shape, *strides])?;
            tensors.push((name.to_owned(), tensor));
        }
    }
    Ok(TorchFile {
        tensors,
        settings: Settings::from_pickle(&pickle, &[found.holder, pickle.root]),
        against: carried::against(&pickle),
    })
}

/// The forms of torch before 1.6: a tar archive, or bare pickles one after another.
fn refuse_legacy(file: &WeightFile) -> Result<(), CheckpointError> {
    let bytes = file.start();
    if torch_zip::looks_like(bytes) {
        return Ok(());
    }
    let tar = foreign::is_tar(bytes);
    let pickle = matches!(bytes, [0x80, 0..=5, ..]);
    if tar || pickle {
        return Err(CheckpointError::NotWeights {
            path: file.path().to_path_buf(),
            found: "is in the form that torch wrote before version 1.6".into(),
            remedy: with_path(
                &format!(
                    "if you trust its source, load it with torch and save it again in Python: \
                     `import torch; torch.save(torch.load({PATH}, weights_only=False), \
                     \"weights.pt\")`"
                ),
                file,
            )
            .into(),
        });
    }
    Err(file.damaged("is not a torch file: it does not start as a zip archive"))
}

/// What is to be done, with the path of the file in its place.
fn with_path(remedy: &str, file: &WeightFile) -> String {
    remedy.replace(PATH, &printable::python(&file.path().display().to_string()))
}

fn zip_error(file: &WeightFile, error: ZipError) -> CheckpointError {
    match error {
        ZipError::File(error) => error,
        ZipError::Damaged(found) => file.damaged(found),
        // The one kind of torch archive with compressed entries: it holds source code.
        ZipError::Packed(found) if found.contains("/code/__torch__") => torch_script(file),
        ZipError::Packed(found) => CheckpointError::NotWeights {
            path: file.path().to_path_buf(),
            found,
            remedy: "save it again with torch.save, or unpack the archive and zip it without \
                     compression (zip -0)"
                .into(),
        },
    }
}

/// The one folder at the top of the archive.
fn root<'a>(file: &WeightFile, entries: &'a ZipEntries) -> Result<&'a str, CheckpointError> {
    let mut roots = entries
        .keys()
        .filter_map(|name| name.strip_suffix("/data.pkl"))
        .filter(|root| !root.contains('/'));
    let (Some(root), None) = (roots.next(), roots.next()) else {
        return Err(file.damaged("is a zip archive without the one data.pkl of torch.save"));
    };
    if entries.contains_key(&format!("{root}/constants.pkl")) {
        return Err(torch_script(file));
    }
    let big = b"big";
    let order = entries
        .get(&format!("{root}/byteorder"))
        .filter(|entry| entry.range.len() == big.len());
    if let Some(order) = order
        && file.read(order.range.start, big.len())? == big
    {
        return Err(CheckpointError::NotWeights {
            path: file.path().to_path_buf(),
            found: "holds big-endian numbers".into(),
            remedy: "save it on a little-endian machine".into(),
        });
    }
    Ok(root)
}

fn torch_script(file: &WeightFile) -> CheckpointError {
    CheckpointError::NotWeights {
        path: file.path().to_path_buf(),
        found: "is a TorchScript program".into(),
        remedy: "save the model's state_dict() instead".into(),
    }
}

/// The bytes of the pickle, with the checksum that the archive gives for them.
fn pickle_bytes(
    file: &WeightFile,
    entries: &ZipEntries,
    root: &str,
) -> Result<Vec<u8>, CheckpointError> {
    let name = format!("{root}/data.pkl");
    let Some(entry) = entries.get(&name) else {
        return Ok(Vec::new());
    };
    pickle::check_length(entry.range.len()).map_err(|error| pickle_error(file, root, error))?;
    let bytes = file.read(entry.range.start, entry.range.len())?;
    let mut crc = flate2::Crc::new();
    crc.update(&bytes);
    if entry.crc != crc.sum() {
        return Err(file.damaged(format!("its `{name}` does not have its checksum")));
    }
    Ok(bytes)
}

fn pickle_error(file: &WeightFile, root: &str, error: PickleError) -> CheckpointError {
    match error {
        PickleError::Malformed(found) => file.damaged(format!("its `{root}/data.pkl` {found}")),
        PickleError::Refused(global) => CheckpointError::Refused {
            path: file.path().to_path_buf(),
            global,
        },
    }
}

struct Archive<'a> {
    file: &'a WeightFile,
    entries: &'a ZipEntries,
    root: &'a str,
    pickle: &'a Pickle<'a>,
}

impl Archive<'_> {
    /// The tensor as a view of the file, its range checked against the storage's entry.
    fn tensor(
        &self,
        name: &str,
        storage: Value,
        offset: u64,
        [shape, strides]: [Value; 2],
    ) -> Result<StoredTensor, CheckpointError> {
        let shown = || printable::name(name);
        let damaged = |what: &str| {
            self.file
                .damaged(format!("the tensor `{}` {what}", shown()))
        };
        let Some(Node::Storage { kind, key, count }) = self.pickle.node(storage) else {
            return Err(damaged("has no storage"));
        };
        let sizes = |value| self.pickle.sizes(value, MOST_DIMENSIONS);
        let sizes = sizes(shape).zip(sizes(strides));
        let Some((shape, strides)) = sizes.filter(|(shape, strides)| shape.len() == strides.len())
        else {
            return Err(damaged("has a malformed shape"));
        };
        let dtype = match *kind {
            "FloatStorage" => FloatType::F32,
            "HalfStorage" => FloatType::F16,
            "BFloat16Storage" => FloatType::Bf16,
            other => {
                let data = Data::Unreadable(format!("is stored as {}", printable::name(other)));
                return Ok(StoredTensor { shape, data });
            }
        };
        let entry = self.entries.get(&format!("{}/data/{key}", self.root));
        let range = entry.map(|entry| entry.range.clone());
        let range = range.ok_or_else(|| damaged("has its numbers in an entry that is missing"))?;
        let held = range.len() / dtype.size();
        if usize::try_from(*count).ok() != Some(held) || range.len() % dtype.size() != 0 {
            return Err(damaged("has a storage of another size than its entry"));
        }
        if shape.contains(&0) {
            return Ok(StoredTensor {
                shape,
                data: Data::Unreadable("holds no numbers".into()),
            });
        }
        let offset = usize::try_from(offset).ok();
        match offset.filter(|offset| fits(&shape, &strides, *offset, held)) {
            Some(offset) => {
                let offset = range.start + offset * dtype.size();
                Ok(StoredTensor {
                    shape,
                    data: Data::Floats {
                        dtype,
                        offset,
                        strides,
                    },
                })
            }
            None => Err(damaged("reaches past its storage, or is larger than it")),
        }
    }
}

/// Whether a view lies in a storage of `held` numbers and has no more numbers than it.
fn fits(shape: &[usize], strides: &[usize], offset: usize, held: usize) -> bool {
    let count = shape
        .iter()
        .try_fold(1usize, |count, size| count.checked_mul(*size));
    let last = shape
        .iter()
        .zip(strides)
        .try_fold(offset, |last, (size, stride)| {
            last.checked_add(size.saturating_sub(1).checked_mul(*stride)?)
        });
    count.is_some_and(|count| count <= held) && last.is_some_and(|last| last < held)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_must_lie_in_its_storage() {
        assert!(fits(&[2, 3], &[3, 1], 0, 6));
        assert!(fits(&[2, 3], &[1, 2], 0, 6));
        assert!(fits(&[2, 3], &[3, 1], 2, 8));
        assert!(!fits(&[2, 3], &[3, 1], 3, 8));
        assert!(!fits(&[1000, 1000], &[0, 0], 0, 6));
        assert!(!fits(&[usize::MAX, 2], &[1, 1], 0, 6));
        assert!(!fits(&[2, 2], &[usize::MAX, 1], 0, 6));
    }
}
