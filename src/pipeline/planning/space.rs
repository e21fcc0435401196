//! Whether a plan fits on the disk, before anything is written.
//!
//! How much text a compressed file holds is known only at its end, so the beginning of each input stands for
//! the whole.

use crate::fasta::{Compression, Input, Part};
use crate::numerals::bytes;
use crate::output::free_bytes;
use crate::plan::bytes_for_records;
use anyhow::{Context, Result, bail};
use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;

/// Decompressed bytes at the beginning of an input that are examined.
const SAMPLE: u64 = 4 << 20;

/// What is probably in some inputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    records: u64,
    /// Bytes of those that are written decompressed.
    copied: u64,
}

impl Contents {
    /// Adds what the beginning of an input says of it. Damage is left to those who read all of it.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn add(&mut self, path: &Path, compression: Compression) -> Result<()> {
        let shown = path.display();
        let mut file = File::open(path).with_context(|| format!("{shown}: cannot be opened"))?;
        let length = file.metadata().map_or(0, |metadata| metadata.len());
        let beginning = Part {
            from: 0,
            skipped: 0,
            bytes: SAMPLE,
        };
        let mut text = Vec::new();
        if let Ok(mut input) = Input::part(&file, &shown.to_string(), beginning) {
            let _ = input.read_to_end(&mut text);
        }
        // The input reads through the same file.
        let taken = file.stream_position().unwrap_or(length);
        let scaled = |part: u64| match (text.len() as u64) < SAMPLE {
            true => part,
            false => scaled(part, taken, length),
        };
        self.records += scaled(headers(&text));
        if matches!(compression, Compression::Gzip | Compression::Zstd) {
            self.copied += scaled(text.len() as u64);
        }
        Ok(())
    }

    /// Refuses a plan that would not fit where `out` is or will be.
    ///
    /// # Errors
    /// Too little space.
    pub fn check_space(&self, out: &Path) -> Result<()> {
        let needed = self.copied.saturating_add(bytes_for_records(self.records));
        match free_bytes(out) {
            Some(free) if free < needed => bail!(refusal(out, self.copied, needed, free)),
            _ => Ok(()),
        }
    }
}

fn refusal(out: &Path, copied: u64, needed: u64, free: u64) -> String {
    let (copies, hint) = match copied {
        0 => ("", ""),
        _ => (
            " with its decompressed files",
            "\nhint: convert the files to bgzip, which needs no copies: `gzip -dc FILE | bgzip`",
        ),
    };
    format!(
        "{}: the plan{copies} needs about {}, but only {} are free there\n\
         hint: choose another folder with `out`{hint}",
        out.display(),
        bytes(needed),
        bytes(free)
    )
}

/// The part of a file of `length` bytes that corresponds to this part of its first `taken` bytes.
fn scaled(part: u64, taken: u64, length: u64) -> u64 {
    let all = u128::from(part) * u128::from(length) / u128::from(taken.max(1));
    u64::try_from(all).unwrap_or(u64::MAX)
}

/// Lines that begin a record.
fn headers(text: &[u8]) -> u64 {
    let lines = text.split(|&byte| byte == b'\n');
    lines.filter(|line| line.starts_with(b">")).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn contents(text: &[u8], compression: Compression) -> Contents {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text).unwrap();
        let mut contents = Contents::default();
        contents.add(file.path(), compression).unwrap();
        contents
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn small_inputs_are_counted() {
        let text = b">a\nMKT\n>b\nMK>T\n";
        let plain = Contents {
            records: 2,
            copied: 0,
        };
        assert_eq!(contents(text, Compression::None), plain);
        let copied = Contents {
            records: 2,
            copied: text.len() as u64,
        };
        assert_eq!(contents(&gzip(text), Compression::Gzip), copied);
        let zstd = zstd::encode_all(&text[..], 1).unwrap();
        assert_eq!(contents(&zstd, Compression::Zstd), copied);
        assert_eq!(contents(b"", Compression::None), Contents::default());
        // What can be read of a damaged file counts.
        let damaged = contents(&gzip(text)[..14], Compression::Gzip);
        assert!(damaged.copied <= text.len() as u64);
    }

    #[test]
    fn large_inputs_are_estimated() {
        let text: String = (0..400_000_u32)
            .map(|i| format!(">{i}\n{}MKTAYIAKQR\n", i.wrapping_mul(2_654_435_761)))
            .collect();
        let near = |found: u64, due: usize| (found as f64 / due as f64 - 1.0).abs() < 0.1;
        let plain = contents(text.as_bytes(), Compression::None);
        assert!(
            near(plain.records, 400_000) && plain.copied == 0,
            "{plain:?}"
        );
        let packed = contents(&gzip(text.as_bytes()), Compression::Gzip);
        assert!(near(packed.records, 400_000), "{packed:?}");
        assert!(near(packed.copied, text.len()), "{packed:?}");
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let all = Contents {
            records: 1 << 50,
            copied: 0,
        };
        let error = all.check_space(dir.path()).unwrap_err().to_string();
        let start = format!("{}: the plan needs about 2", dir.path().display());
        assert!(error.starts_with(&start), "{error}");
        assert!(
            error.ends_with(" are free there\nhint: choose another folder with `out`"),
            "{error}"
        );
        Contents::default().check_space(dir.path()).unwrap();
        assert_eq!(
            refusal(Path::new("plan"), 1, 28_100_000_000, 20_000_000_000),
            "plan: the plan with its decompressed files needs about 28.1 GB, but only 20.0 GB are free \
             there\n\
             hint: choose another folder with `out`\n\
             hint: convert the files to bgzip, which needs no copies: `gzip -dc FILE | bgzip`"
        );
    }
}
