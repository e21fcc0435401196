//! The model and the proteins that the program carries, as files for the time of a demo.

use anyhow::{Context, bail};
use esm_embed::output::Manifest;
use esm_embed::sha256::sha256_of;
use flate2::read::GzDecoder;
use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

const SEQUENCES: &str = "demo.fasta";
const FASTA: &[u8] = include_bytes!("demo.fasta");
const FILES: [(&str, &[u8]); 3] = [
    (SEQUENCES, FASTA),
    ("config.json", include_bytes!("config.json")),
    ("vocab.txt", include_bytes!("vocab.txt")),
];
const WEIGHTS: &[u8] = include_bytes!("model.safetensors.gz");

/// Demos that may run at the same time on a machine.
const MOST: usize = 1000;

/// A folder of temporary files, removed when this is dropped.
pub struct Carried(PathBuf);

impl Carried {
    /// Unpacks everything into a new folder that only this user can read.
    ///
    /// # Errors
    /// The folder for temporary files cannot be written.
    pub fn unpack() -> anyhow::Result<Carried> {
        let parent = std::env::temp_dir();
        let carried = Carried(new_folder(&parent).with_context(|| {
            format!(
                "{} cannot be written\nhint: set TMPDIR to a folder that you can write to",
                parent.display()
            )
        })?);
        let write = || {
            for (name, bytes) in FILES {
                fs::write(carried.0.join(name), bytes)?;
            }
            let mut weights = File::create(carried.0.join("model.safetensors"))?;
            io::copy(&mut GzDecoder::new(WEIGHTS), &mut weights)
        };
        write().with_context(|| carried.0.display().to_string())?;
        Ok(carried)
    }

    /// Unpacks everything if a demo wrote the folder with this `run.json`: its FASTA file is gone.
    ///
    /// # Errors
    /// As [`Carried::unpack`].
    pub fn of_demo(manifest: &Manifest) -> anyhow::Result<Option<Carried>> {
        match manifest.resolved.inputs.as_slice() {
            [input] if input.sha256 == sha256_of(FASTA) && !Path::new(&input.path).exists() => {
                Carried::unpack().map(Some)
            }
            _ => Ok(None),
        }
    }

    /// The folder of the model.
    pub fn model(&self) -> &Path {
        &self.0
    }

    /// The FASTA file.
    pub fn sequences(&self) -> PathBuf {
        self.0.join(SEQUENCES)
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        // Whatever cannot be removed is the system's to clear.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The first folder of the demo that does not exist yet: `run.json` records its name.
fn new_folder(parent: &Path) -> anyhow::Result<PathBuf> {
    for number in 0..MOST {
        let path = parent.join(match number {
            0 => "esm-embed-demo".to_owned(),
            number => format!("esm-embed-demo-{number}"),
        });
        match DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error.into()),
        }
    }
    bail!("{MOST} demos are there")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_are_those_of_the_fixtures_and_go_with_the_demo() {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
        let carried = Carried::unpack().unwrap();
        let folder = carried.0.clone();
        let model = fixtures.join("esm2_hd16_f16");
        for (from, name) in [
            (&fixtures, SEQUENCES),
            (&model, "config.json"),
            (&model, "vocab.txt"),
            (&model, "model.safetensors"),
        ] {
            let same = fs::read(from.join(name)).unwrap() == fs::read(folder.join(name)).unwrap();
            assert!(same, "{name} differs: run fixtures/carried.py");
        }
        let other = Carried::unpack().unwrap();
        assert_ne!(other.0, folder);
        drop(carried);
        assert!(!folder.exists() && other.0.exists());
    }
}
