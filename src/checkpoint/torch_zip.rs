//! The zip archive that `torch.save` writes: stored entries, ranges of the file.
//!
//! Only what torch writes is accepted: one archive that starts with the file and ends with it,
//! entries stored as they are, names that stay inside the archive, each name once. Nothing is
//! ever unpacked, so an entry cannot grow, and a name is never used as a path. General zip
//! readers reserve memory by the counts that an archive claims and search a whole file for
//! its end; here every count and length is checked against the file before it is used.

use std::collections::HashMap;
use std::ops::Range;

use super::error::CheckpointError;
use super::file::WeightFile;
use crate::printable;

/// The largest published checkpoint has about 800 entries.
const MOST_ENTRIES: u64 = 100_000;
/// Each of them needs about 100 bytes.
const MOST_DIRECTORY: u64 = 16 << 20;
/// A name is that of a folder, often that of the file, and a number.
const MOST_NAME: usize = 512;
const END: [u8; 4] = *b"PK\x05\x06";
const END_64: [u8; 4] = *b"PK\x06\x06";
const LOCATOR_64: [u8; 4] = *b"PK\x06\x07";
const CENTRAL: [u8; 4] = *b"PK\x01\x02";
const LOCAL: [u8; 4] = *b"PK\x03\x04";
const END_LENGTH: usize = 22;
const END_64_LENGTH: usize = 56;
const LOCATOR_64_LENGTH: usize = 20;
const LOCAL_LENGTH: usize = 30;
const MOST_COMMENT: usize = 0xffff;

/// One stored entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ZipEntry {
    /// Its bytes, as a range of the file.
    pub(super) range: Range<usize>,
    /// CRC-32 of the bytes as the archive gives it.
    pub(super) crc: u32,
}

/// The entries of an archive by name.
pub(super) type ZipEntries = HashMap<String, ZipEntry>;

/// Whether the bytes start as a zip archive does.
pub(super) fn looks_like(bytes: &[u8]) -> bool {
    bytes.starts_with(&LOCAL)
}

/// Why an archive cannot be read; each text is the end of the sentence "the file …".
#[derive(Debug)]
pub(super) enum ZipError {
    /// The file could not be read.
    File(CheckpointError),
    /// It contradicts itself or its length.
    Damaged(String),
    /// It is sound, but packed by something else than torch.
    Packed(String),
}

impl From<CheckpointError> for ZipError {
    fn from(error: CheckpointError) -> Self {
        Self::File(error)
    }
}

impl From<String> for ZipError {
    fn from(found: String) -> Self {
        Self::Damaged(found)
    }
}

impl From<&str> for ZipError {
    fn from(found: &str) -> Self {
        Self::Damaged(found.into())
    }
}

/// Reads the directory of an archive.
pub(super) fn read(file: &WeightFile) -> Result<ZipEntries, ZipError> {
    let directory = directory(file)?;
    let headers = file.read(directory.range.start, directory.range.len())?;
    let mut entries = ZipEntries::new();
    let mut at = 0;
    for _ in 0..directory.count {
        let header = CentralHeader::read(&headers, at)?;
        let name = header.checked_name()?;
        let entry = header.entry(file, directory.range.start)?;
        if entries.insert(name.to_owned(), entry).is_some() {
            return Err(format!("holds two entries named `{name}`").into());
        }
        at = header.next;
    }
    Ok(entries)
}

/// The central directory: the range of its headers and their number.
pub(super) struct Directory {
    range: Range<usize>,
    count: u64,
}

/// Finds the directory by the record at the end of the file.
pub(super) fn directory(file: &WeightFile) -> Result<Directory, ZipError> {
    // The end record with the longest comment, and the locator of a zip64 directory before it.
    let most = LOCATOR_64_LENGTH + END_LENGTH + MOST_COMMENT;
    let length = file.length().min(most);
    let tail_at = file.length() - length;
    let tail = file.read(tail_at, length)?;
    let end = find_end(&tail)
        .ok_or("has no zip directory at its end: it was cut off, or it is not a zip archive")?;
    let field = |at, width| number(&tail, end + at, width).unwrap_or_default();
    let (mut count, mut size, mut start) = (field(10, 2), field(12, 4), field(16, 4));
    if count == 0xffff || size == 0xffff_ffff || start == 0xffff_ffff {
        let locator = end
            .checked_sub(LOCATOR_64_LENGTH)
            .filter(|at| starts(&tail, *at, LOCATOR_64));
        let at = locator
            .and_then(|at| number(&tail, at + 8, 8))
            .and_then(|at| usize::try_from(at).ok())
            .filter(|at| *at < file.length())
            .ok_or("has a zip64 directory that cannot be found")?;
        let record = file.read(at, END_64_LENGTH.min(file.length() - at))?;
        if !starts(&record, 0, END_64) {
            return Err("has a zip64 directory that cannot be found".into());
        }
        let wide = |offset| number(&record, offset, 8);
        (count, size, start) = wide(32)
            .zip(wide(40))
            .zip(wide(48))
            .map(|((count, size), start)| (count, size, start))
            .ok_or("has a zip64 directory that is cut off")?;
    }
    if count > MOST_ENTRIES {
        return Err(
            format!("claims {count} zip entries; no checkpoint needs more than 100000").into(),
        );
    }
    let range = usize::try_from(start).ok().zip(usize::try_from(size).ok());
    let range = range
        .and_then(|(start, size)| Some(start..start.checked_add(size)?))
        .filter(|range| range.end <= tail_at + end)
        .ok_or_else(|| {
            format!("claims a zip directory of {size} bytes at {start}, past its end")
        })?;
    if size > MOST_DIRECTORY {
        return Err(format!(
            "claims a zip directory of {size} bytes; no checkpoint needs more than 16 MiB"
        )
        .into());
    }
    Ok(Directory { range, count })
}

/// The end record, whose comment reaches exactly to the end of the file.
fn find_end(tail: &[u8]) -> Option<usize> {
    let last = tail.len().checked_sub(END_LENGTH)?;
    (last.saturating_sub(MOST_COMMENT)..=last).rev().find(|at| {
        let comment = number(tail, at + 20, 2).and_then(|n| usize::try_from(n).ok());
        starts(tail, *at, END) && comment == Some(last - at)
    })
}

/// One header of the central directory.
struct CentralHeader<'a> {
    name: &'a [u8],
    flags: u64,
    method: u64,
    crc: u32,
    packed: u64,
    unpacked: u64,
    offset: u64,
    next: usize,
}

impl<'a> CentralHeader<'a> {
    fn read(directory: &'a [u8], at: usize) -> Result<Self, String> {
        let cut = "has a zip directory that is cut off or malformed";
        let field = |offset: usize, width| number(directory, at.checked_add(offset)?, width);
        let length = |offset| {
            field(offset, 2)
                .and_then(|n| usize::try_from(n).ok())
                .ok_or(cut)
        };
        if !starts(directory, at, CENTRAL) {
            return Err(cut.into());
        }
        let name_at = at + 46;
        let extra_at = name_at + length(28)?;
        let comment_at = extra_at + length(30)?;
        let next = comment_at + length(32)?;
        let name = directory.get(name_at..extra_at).ok_or(cut)?;
        let extra = directory.get(extra_at..comment_at).ok_or(cut)?;
        if next > directory.len() {
            return Err(cut.into());
        }
        let mut wide = zip64_fields(extra);
        let mut widened = |value: u64| {
            if value == 0xffff_ffff {
                wide.next()
            } else {
                Some(value)
            }
        };
        // In this order: the zip64 field holds only those of the three that do not fit.
        let unpacked = widened(field(24, 4).ok_or(cut)?).ok_or(cut)?;
        let packed = widened(field(20, 4).ok_or(cut)?).ok_or(cut)?;
        let offset = widened(field(42, 4).ok_or(cut)?).ok_or(cut)?;
        Ok(Self {
            name,
            flags: field(8, 2).ok_or(cut)?,
            method: field(10, 2).ok_or(cut)?,
            crc: field(16, 4)
                .and_then(|crc| u32::try_from(crc).ok())
                .ok_or(cut)?,
            packed,
            unpacked,
            offset,
            next,
        })
    }

    /// The name, which must stay inside the archive.
    fn checked_name(&self) -> Result<&'a str, String> {
        if self.name.len() > MOST_NAME {
            return Err(format!(
                "holds a zip entry with a name of {} bytes; no checkpoint needs more than {MOST_NAME}",
                self.name.len()
            ));
        }
        let shown = || printable::name(self.name);
        let name = std::str::from_utf8(self.name)
            .map_err(|_| format!("holds a zip entry named `{}`, which is not UTF-8", shown()))?;
        let outside = name.starts_with('/')
            || name.contains(['\\', '\0', ':'])
            || name.split('/').any(|part| part == ".." || part == ".");
        if name.is_empty() || outside {
            return Err(format!(
                "holds a zip entry named `{}`, which points outside",
                shown()
            ));
        }
        Ok(name)
    }

    /// Where the entry's bytes are, all of them before the directory.
    fn entry(&self, file: &WeightFile, directory: usize) -> Result<ZipEntry, ZipError> {
        let name = printable::name(self.name);
        if self.flags & 1 != 0 {
            return Err(ZipError::Packed(format!("holds `{name}` encrypted")));
        }
        if self.method != 0 || self.packed != self.unpacked {
            return Err(ZipError::Packed(format!(
                "holds `{name}` compressed ({} bytes for {}), which torch.save never does",
                self.packed, self.unpacked
            )));
        }
        let outside = || format!("claims `{name}` where the archive holds no such entry");
        let local = usize::try_from(self.offset)
            .ok()
            .filter(|at| {
                at.checked_add(LOCAL_LENGTH)
                    .is_some_and(|end| end <= directory)
            })
            .ok_or_else(outside)?;
        let name_at = local + LOCAL_LENGTH;
        let header = file.read(
            local,
            LOCAL_LENGTH + self.name.len().min(directory - name_at),
        )?;
        let length = |at| number(&header, at, 2).and_then(|n| usize::try_from(n).ok());
        let (name_length, extra) = length(26).zip(length(28)).ok_or_else(outside)?;
        if !starts(&header, 0, LOCAL)
            || name_length != self.name.len()
            || header.get(LOCAL_LENGTH..) != Some(self.name)
        {
            return Err(outside().into());
        }
        let start = name_at + name_length + extra;
        let range = usize::try_from(self.unpacked)
            .ok()
            .and_then(|n| start.checked_add(n));
        let end = range.filter(|end| *end <= directory).ok_or_else(|| {
            format!(
                "claims {} bytes for `{name}`, more than there are",
                self.unpacked
            )
        })?;
        Ok(ZipEntry {
            range: start..end,
            crc: self.crc,
        })
    }
}

/// The 64-bit numbers of the zip64 extra field (id 1), if there is one.
fn zip64_fields(mut extra: &[u8]) -> impl Iterator<Item = u64> {
    let mut found: &[u8] = &[];
    while let (Some(id), Some(size)) = (number(extra, 0, 2), number(extra, 2, 2)) {
        let Some(body) = usize::try_from(size)
            .ok()
            .and_then(|size| extra.get(4..4 + size))
        else {
            break;
        };
        if id == 1 {
            found = body;
            break;
        }
        extra = extra.get(4 + body.len()..).unwrap_or_default();
    }
    found
        .as_chunks::<8>()
        .0
        .iter()
        .map(|bytes| u64::from_le_bytes(*bytes))
}

fn starts(bytes: &[u8], at: usize, magic: [u8; 4]) -> bool {
    bytes.get(at..).is_some_and(|rest| rest.starts_with(&magic))
}

/// A little-endian number of `width` bytes (at most 8).
fn number(bytes: &[u8], at: usize, width: usize) -> Option<u64> {
    let field = bytes.get(at..at.checked_add(width)?)?;
    Some(
        field
            .iter()
            .rev()
            .fold(0, |value, byte| value << 8 | u64::from(*byte)),
    )
}

#[cfg(test)]
#[path = "torch_zip_tests.rs"]
mod tests;
