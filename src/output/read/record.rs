//! The records of an output folder: the lines of its `index.tsv`.

use super::ReadError;
use super::array_file::unreadable;
use crate::output::file_name;
use crate::output::index::columns;
use crate::output::index::parse::{IndexLine, number};
use crate::output::layout::is_sub_folder_name;
use crate::output::shard_file::ShardFile;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;

/// Longest line that is read: a header of FASTA may have 64 MiB, and an escaped byte takes four.
const LONGEST_LINE: u64 = 1 << 28;

/// A record of an output folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// Its row in arrays with one row per record.
    pub row: u64,
    /// First word of its header, any bytes.
    pub id: Vec<u8>,
    /// The rest of its header, any bytes.
    pub description: Vec<u8>,
    /// Number of its residues.
    pub length: u64,
    /// Its first row in arrays with one row per residue.
    pub residue_offset: u64,
    /// Its file below each folder with one file per record: `000000/P12345.npy`.
    pub file: Option<String>,
}

impl Record {
    pub(super) fn parse(line: &[u8], files: bool) -> Option<Self> {
        let parsed = IndexLine::parse(line, files)?;
        let mut fields = line.split(|&byte| byte == b'\t');
        let row = number(fields.next()?)?;
        let residue_offset = number(fields.nth(2)?)?;
        let file = match files {
            false => None,
            true => Some(safe_path(fields.nth(1)?)?),
        };
        Some(Self {
            row,
            id: parsed.id,
            description: parsed.description,
            length: parsed.length,
            residue_offset,
            file,
        })
    }

    /// The name of its file without folder and ending, which is safe on every system and unique in
    /// the folder.
    pub fn file_stem(&self) -> Option<&str> {
        let (_, name) = self.file.as_deref()?.split_once('/')?;
        name.strip_suffix(".npy")
    }
}

/// A path that a run writes into column `file`.
fn safe_path(field: &[u8]) -> Option<String> {
    let path = String::from_utf8(field.to_vec()).ok()?;
    let (folder, name) = path.split_once('/')?;
    (is_sub_folder_name(folder) && file_name::is_safe(name)).then_some(path)
}

/// The records in order, one at a time.
#[derive(Debug)]
pub struct Records {
    reader: BufReader<ShardFile>,
    path: PathBuf,
    files: bool,
    row: u64,
    residues: u64,
    line: Vec<u8>,
    ended: bool,
}

impl Records {
    pub(super) fn new(file: ShardFile, path: PathBuf, files: bool) -> Result<Self, ReadError> {
        let mut records = Self {
            reader: BufReader::new(file),
            path,
            files,
            row: 0,
            residues: 0,
            line: Vec::new(),
            ended: false,
        };
        let read = records.read_line()?;
        match read && records.line == columns(files).trim_end().as_bytes() {
            true => Ok(records),
            false => {
                let what = "its first line does not name the columns of an index";
                Err(records.damaged(what.into()))
            }
        }
    }

    /// Reads a line without its end; false at the end of the file.
    fn read_line(&mut self) -> Result<bool, ReadError> {
        self.line.clear();
        let mut limited = (&mut self.reader).take(LONGEST_LINE);
        let read = limited.read_until(b'\n', &mut self.line);
        read.map_err(|error| self.damaged(unreadable(error)))?;
        match self.line.pop() {
            None => Ok(false),
            Some(b'\n') => Ok(true),
            Some(_) => Err(self.damaged("it ends in the middle of a line".into())),
        }
    }

    fn damaged(&self, what: String) -> ReadError {
        ReadError::Damaged {
            path: self.path.clone(),
            what,
        }
    }

    fn read(&mut self) -> Result<Option<Record>, ReadError> {
        if !self.read_line()? {
            return Ok(None);
        }
        let record = Record::parse(&self.line, self.files);
        let record = record
            .filter(|record| (record.row, record.residue_offset) == (self.row, self.residues));
        let Some(record) = record else {
            let (line, row) = (self.row.saturating_add(2), self.row);
            let what = format!("line {line} is not that of the record in row {row}");
            return Err(self.damaged(what));
        };
        self.row += 1;
        self.residues = self.residues.saturating_add(record.length);
        Ok(Some(record))
    }
}

impl Iterator for Records {
    type Item = Result<Record, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let record = self.read().transpose();
        // After an error, the rest of the table cannot be trusted.
        self.ended = !matches!(record, Some(Ok(_)));
        record
    }
}
