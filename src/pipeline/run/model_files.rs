//! The files of a checkpoint: their checksums, and whether they have changed.

use crate::checkpoint::Checkpoint;
use crate::output::FileStamp;
use crate::pipeline::checksum_cache::ChecksumCache;
use crate::pipeline::reporter::{Level, Reporter};
use crate::pipeline::stop::Stop;
use crate::run_record::ModelFile;
use crate::sha256::sha256_read;
use crate::stamp::Stamp;
use anyhow::{Context, Result, bail};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The files of a checkpoint with their checksums.
pub struct Digests {
    /// In the order of [`Checkpoint::files`].
    pub files: Vec<ModelFile>,
    /// Whether a checksum is from the cache and its file was not read.
    pub cached: bool,
}

impl Digests {
    /// Reads the files of a checkpoint, except those whose checksums are in the cache.
    ///
    /// Either way a checksum is that of the file that was opened, and the file has not changed
    /// since.
    ///
    /// # Errors
    /// A file that cannot be read or was written to since the checkpoint was opened, or a request
    /// to stop.
    pub fn compute(
        cache: Option<&ChecksumCache>,
        checkpoint: &Checkpoint,
        stop: &Stop,
    ) -> Result<Digests> {
        let mut cached = false;
        let files = checkpoint.files().iter().map(|path| {
            let (bytes, sha256) = digest(cache, checkpoint, path, stop, &mut cached)
                .with_context(|| format!("{}: cannot be read", path.display()))?;
            Ok(ModelFile {
                bytes,
                name: name(path),
                sha256,
            })
        });
        let files = files.collect::<Result<_>>();
        checkpoint.check_unchanged()?;
        Ok(Digests {
            files: files?,
            cached,
        })
    }

    /// Reports where the checksums are from.
    pub fn report(&self, reporter: &dyn Reporter) {
        match self.cached {
            true => reporter.message(
                Level::Info,
                "model: sha256 remembered from an earlier run (`check_model` reads the files again)",
            ),
            false => reporter.message(Level::Detail, "model: sha256 computed from its files"),
        }
    }
}

fn name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// Size and checksum of one file.
fn digest(
    cache: Option<&ChecksumCache>,
    checkpoint: &Checkpoint,
    path: &Path,
    stop: &Stop,
    cached: &mut bool,
) -> io::Result<(u64, String)> {
    let began = SystemTime::now();
    let entry = cache.zip(checkpoint.stamp(path));
    if let Some((cache, stamp)) = &entry
        && let Some(sha256) = cache.find(stamp)
    {
        *cached = true;
        return Ok((stamp.bytes, sha256));
    }
    let file = checkpoint.read_file(path)?;
    let (sha256, bytes) = sha256_read(&mut Stoppable { file, stop })?;
    if let Some((cache, stamp)) = &entry
        && bytes == stamp.bytes
        && checkpoint.stamp(path).as_ref() == Some(stamp)
    {
        cache.record(stamp, began, &sha256);
    }
    Ok((bytes, sha256))
}

/// A file that ends with an error once the run is asked to stop.
struct Stoppable<'a> {
    file: Box<dyn Read + 'a>,
    stop: &'a Stop,
}

impl Read for Stoppable<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.stop.is_asked() {
            return Err(io::Error::other("asked to stop"));
        }
        self.file.read(into)
    }
}

/// The files with what shows, without reading them, whether they have changed.
///
/// # Errors
/// A file that cannot be examined.
pub fn stamps(files: &[PathBuf]) -> Result<Vec<FileStamp>> {
    let examine = |path: &PathBuf| {
        let metadata = std::fs::metadata(path)
            .with_context(|| format!("{}: cannot be read", path.display()))?;
        // The number of a device is that of one machine since it was started.
        let Stamp {
            device: _,
            inode,
            bytes,
            modified,
            changed,
        } = Stamp::of(&metadata);
        Ok(FileStamp {
            name: name(path),
            bytes,
            stamp: format!(
                "{inode} {}.{:09} {}.{:09}",
                modified.0, modified.1, changed.0, changed.1
            ),
        })
    };
    files.iter().map(examine).collect()
}

/// Compares checksums with those of an interrupted run, which are empty if it did not get that far.
///
/// # Errors
/// The first file that has changed.
pub fn check_unchanged(before: &[ModelFile], now: &[ModelFile]) -> Result<()> {
    match before.iter().zip(now).find(|(old, new)| old != new) {
        None => Ok(()),
        Some((_, file)) => bail!(
            "{}: the model file has changed since the run began\nhint: put the old file back, or \
             choose another folder with `out`",
            file.name
        ),
    }
}
