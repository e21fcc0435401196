//! Digests of a built-in check, which show whether two machines compute the same bits.
//!
//! A small ESM-2 whose weights are made of integers embeds a few sequences. Each digest is the SHA-256
//! of every value of every layer. The check goes the way of a run: files of a checkpoint, loading,
//! forward passes, pooling.

mod model;
mod scratch;

use crate::cancel::Cancel;
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::device::{DeviceChoice, DeviceError, Dtype};
use crate::embedder::{Embedder, EmbedderOptions, EngineError, LoadError, Sequence, resolve};
use crate::ops::CpuPath;
use crate::product::{OutDtype, Pool, Product, Request, Values};
use crate::sha256::sha256_of;
use scratch::ScratchFolder;
use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use thiserror::Error;

/// What this version computes on every CPU.
pub const EXPECTED: [(Dtype, &str); 3] = [
    (
        Dtype::F32,
        "2a0d4472b1e1a4ae4f3e86eb4c3444fcd269e1215aa7cb1a84eb1a6f7dc95f4a",
    ),
    (
        Dtype::F16,
        "250fdeaa6b7750b00a25509c7796aa9bfc7db43b5ef65c317e18ec1fb2ffc3f4",
    ),
    (
        Dtype::Bf16,
        "48b6096481feae7bd8d07fb9e1fe0b242538d4003458c75a7dd591df8cb20174",
    ),
];

/// Why the check could not be computed.
#[derive(Debug, Error)]
pub enum FingerprintError {
    /// The files of the model could not be written.
    #[error(
        "{}: the built-in model cannot be written there: {source}\n\
         hint: set TMPDIR to a folder that you can write to",
        path.display()
    )]
    Scratch {
        /// The folder or file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The CPU does not have the path.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The files of the model could not be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The model could not be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A pass failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// The built-in model, ready to be loaded.
pub struct BuiltInModel {
    checkpoint: Arc<Checkpoint>,
    // Its files are removed after it.
    _folder: ScratchFolder,
}

impl BuiltInModel {
    /// Writes the files of the model into a temporary folder.
    ///
    /// # Errors
    /// There is no space for them.
    pub fn write() -> Result<BuiltInModel, FingerprintError> {
        let folder = ScratchFolder::create()?;
        for (name, bytes) in model::files() {
            folder.write(name, &bytes)?;
        }
        Ok(BuiltInModel {
            checkpoint: Arc::new(Checkpoint::open(folder.path())?),
            _folder: folder,
        })
    }

    /// The digest in this number format, on this path of the CPU or its best one.
    ///
    /// # Errors
    /// The CPU does not have the path, or there is no memory.
    pub fn digest(&self, path: Option<CpuPath>, dtype: Dtype) -> Result<String, FingerprintError> {
        let device = resolve(&DeviceChoice::Cpu, path, Some(dtype))?;
        let layers = self.checkpoint.config().layers;
        let options = EmbedderOptions::new(device, dtype, layers);
        let embedder = Embedder::load(&self.checkpoint, &options)?;
        let products = (0..=layers).flat_map(|layer| {
            let pooled = Pool::ALL.map(|pool| Product::Pooled { layer, pool });
            pooled.into_iter().chain([Product::Residues { layer }])
        });
        let request = Request::new(products, OutDtype::F32);
        let sequences = model::sequences();
        let batch: Vec<Sequence<'_>> = sequences
            .iter()
            .map(|tokens| Sequence {
                tokens,
                windows: &[],
            })
            .collect();
        let mut values = BTreeMap::new();
        embedder.embed(&batch, &request, &Cancel::default(), &mut |computed| {
            if let Values::F32(numbers) = computed.values {
                let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
                values.insert((computed.sequence, computed.product), bytes);
            }
            ControlFlow::Continue(())
        })?;
        let all: Vec<u8> = values.into_values().flatten().collect();
        Ok(sha256_of(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_of_this_cpu_gives_the_committed_digests() {
        let model = BuiltInModel::write().unwrap();
        let mut wrong = Vec::new();
        for path in CpuPath::ALL.into_iter().filter(|path| path.is_available()) {
            for (dtype, expected) in EXPECTED {
                let found = model.digest(Some(path), dtype).unwrap();
                if found != expected {
                    wrong.push(format!("{dtype} on {path}: {found}"));
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
