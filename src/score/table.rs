//! Tables of variants: read with every column, and written with the scores beside them.

use crate::fasta::Input;
use crate::numerals::count;
use crate::printable;
use anyhow::{Context, Result, bail};
use csv::{ByteRecord, ReaderBuilder, Terminator, WriterBuilder};
use std::io::Read;
use std::path::Path;

/// The mark at the start of a UTF-8 file that some programs write.
const BOM: &[u8] = b"\xef\xbb\xbf";
/// The same of UTF-16.
const WIDE: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];
/// What may separate columns.
const DELIMITERS: [u8; 3] = [b',', b';', b'\t'];

/// What to do when there is no column of mutations.
pub const MUTATIONS: &str = "name the column of mutations with `mutation_col`";

/// A table in memory.
#[derive(Clone, Debug)]
pub struct Table {
    /// Its file, as messages name it.
    name: String,
    delimiter: u8,
    terminator: Terminator,
    header: ByteRecord,
    rows: Vec<Row>,
}

/// A row, and the line on which it begins.
#[derive(Clone, Debug)]
struct Row {
    line: u64,
    cells: ByteRecord,
}

impl Table {
    /// Reads a table with this column of mutations, also from standard input (`-`) and decompressed.
    /// Commas, semicolons and tabs are recognised, as are all line endings and the mark of UTF-8.
    ///
    /// # Errors
    /// A file that cannot be read, has no such column, or has a row of another length.
    pub fn read(path: &Path, column: &str) -> Result<Table> {
        if path.is_dir() {
            bail!("{}: it is a folder", path.display());
        }
        let mut input = Input::open(path)?;
        let name = input.name().to_owned();
        let mut bytes = Vec::new();
        input
            .read_to_end(&mut bytes)
            .with_context(|| name.clone())?;
        if WIDE.iter().any(|mark| bytes.starts_with(mark)) {
            bail!(
                "{name}: expected text in UTF-8, found UTF-16\n\
                 hint: save the table as CSV in UTF-8"
            );
        }
        let bytes = bytes.strip_prefix(BOM).unwrap_or(&bytes);
        let reader = |delimiter| {
            ReaderBuilder::new()
                .delimiter(delimiter)
                .flexible(true)
                .from_reader(bytes)
        };
        let mut headers = Vec::new();
        for delimiter in DELIMITERS {
            let mut reader = reader(delimiter);
            let header = reader.byte_headers().with_context(|| name.clone())?;
            headers.push((delimiter, header.clone()));
        }
        let has = |header: &ByteRecord| {
            header
                .iter()
                .any(|name| name.trim_ascii() == column.as_bytes())
        };
        let found = headers.iter().find(|(_, header)| has(header));
        let Some((delimiter, header)) = found.cloned() else {
            let widest = headers.iter().map(|(_, header)| header);
            let widest = widest.max_by_key(|header| header.len());
            let widest = widest.cloned().unwrap_or_default();
            bail!(no_column(&name, column, &widest, MUTATIONS));
        };
        if let Some(line) = open_quote(bytes, delimiter) {
            bail!(
                "{name}, line {line}: expected a quote that closes the one in this line, found the end of the \
                 file\n\
                 hint: close it, or write it as \"\" within quotes"
            );
        }
        let mut table = Table {
            name,
            delimiter,
            terminator: terminator(bytes),
            header,
            rows: Vec::new(),
        };
        let mut lines = Lines {
            bytes,
            at: 0,
            line: 1,
        };
        for cells in reader(delimiter).into_byte_records() {
            let cells = cells.with_context(|| table.name.clone())?;
            let start = cells.position().map_or(0, |at| at.byte());
            let line = lines.of_record(usize::try_from(start).unwrap_or(usize::MAX));
            if cells.len() != table.header.len() {
                bail!(
                    "{}: expected {}, as in line 1, found {}",
                    table.place(line),
                    count(table.header.len() as u64, "cell"),
                    cells.len()
                );
            }
            table.rows.push(Row { line, cells });
        }
        Ok(table)
    }

    /// A new table with commas.
    pub fn new<'a>(header: &[&str], rows: impl Iterator<Item = Vec<&'a str>>) -> Table {
        let row = |cells: Vec<&str>| Row {
            line: 0,
            cells: ByteRecord::from(cells),
        };
        Table {
            name: String::new(),
            delimiter: b',',
            terminator: Terminator::Any(b'\n'),
            header: ByteRecord::from(header.to_vec()),
            rows: rows.map(row).collect(),
        }
    }

    /// The number of a column. `remedy` is what to do if there is none.
    ///
    /// # Errors
    /// No column, or two of them, have this name.
    pub fn column(&self, name: &str, remedy: &str) -> Result<usize> {
        let names = self.header.iter().map(<[u8]>::trim_ascii);
        let mut found = names
            .enumerate()
            .filter(|(_, other)| *other == name.as_bytes());
        match (found.next(), found.next()) {
            (Some((column, _)), None) => Ok(column),
            (Some(_), Some(_)) => bail!(
                "{}: expected one column {}, found two",
                self.place(1),
                printable::name(name)
            ),
            (None, _) => bail!(no_column(&self.name, name, &self.header, remedy)),
        }
    }

    /// The cells of a column from top to bottom, each with its line.
    pub fn cells(&self, column: usize) -> impl Iterator<Item = (u64, &[u8])> {
        self.rows
            .iter()
            .map(move |row| (row.line, row.cells.get(column).unwrap_or_default()))
    }

    /// Where a line is, for messages.
    pub fn place(&self, line: u64) -> String {
        format!("{}, line {line}", self.name)
    }

    /// A name for a new column that no column has: `_2` and so on is added to one that is taken.
    pub fn free_name(&self, name: &str, taken: &[String]) -> String {
        let is_free = |name: &str| {
            !taken.iter().any(|other| other == name)
                && !self
                    .header
                    .iter()
                    .any(|other| other.trim_ascii() == name.as_bytes())
        };
        free_name(name, is_free)
    }

    /// The table as a file, with more columns behind its own. A missing score is an empty cell.
    ///
    /// # Errors
    /// An error of the writer.
    pub fn with_columns(&self, columns: &[(String, Vec<Option<f64>>)]) -> Result<Vec<u8>> {
        let mut writer = WriterBuilder::new()
            .delimiter(self.delimiter)
            .terminator(self.terminator)
            .from_writer(Vec::new());
        let mut header = self.header.clone();
        for (name, _) in columns {
            header.push_field(name.as_bytes());
        }
        writer.write_byte_record(&header)?;
        for (i, row) in self.rows.iter().enumerate() {
            let mut cells = row.cells.clone();
            for (_, scores) in columns {
                let score = scores.get(i).copied().flatten();
                cells.push_field(score.map_or_else(String::new, decimal).as_bytes());
            }
            writer.write_byte_record(&cells)?;
        }
        Ok(writer
            .into_inner()
            .map_err(csv::IntoInnerError::into_error)?)
    }
}

/// The name, or if it is not free, the first of `NAME_2`, `NAME_3` and so on that is.
pub fn free_name(name: &str, is_free: impl Fn(&str) -> bool) -> String {
    let others = (2..).map(|number| format!("{name}_{number}"));
    let mut names = std::iter::once(name.to_owned()).chain(others);
    names.find(|name| is_free(name)).unwrap_or_default()
}

/// Six decimals: more than f32 logits hold.
fn decimal(score: f64) -> String {
    let text = format!("{score:.6}");
    match text.as_str() {
        "-0.000000" => "0.000000".to_owned(),
        _ => text,
    }
}

/// What is said of a table without a column.
fn no_column(table: &str, column: &str, header: &ByteRecord, remedy: &str) -> String {
    let names: Vec<&[u8]> = header.iter().collect();
    let found = match names.is_empty() {
        true => "an empty file".to_owned(),
        false => printable::list(&names),
    };
    format!(
        "{table}, line 1: expected a column {}, found {found}\nhint: {remedy}",
        printable::name(column)
    )
}

/// Counts lines up to the records of a table, one after the other.
struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
    line: u64,
}

impl Lines<'_> {
    /// The line on which the record at this byte begins. To the reader, blank lines before it are part of
    /// it.
    fn of_record(&mut self, start: usize) -> u64 {
        while let Some(&byte) = self.bytes.get(self.at)
            && (self.at < start || matches!(byte, b'\r' | b'\n'))
        {
            let is_pair = byte == b'\r' && self.bytes.get(self.at + 1) == Some(&b'\n');
            self.line += u64::from(byte == b'\n' || (byte == b'\r' && !is_pair));
            self.at += 1;
        }
        self.line
    }
}

/// The line of a quote that opens a cell and is not closed.
fn open_quote(bytes: &[u8], delimiter: u8) -> Option<u64> {
    let (mut line, mut opened) = (1, None);
    let mut starts_cell = true;
    for (at, &byte) in bytes.iter().enumerate() {
        let closes = byte == b'"' && opened.is_some();
        if closes {
            opened = None;
        } else if byte == b'"' && starts_cell {
            opened = Some(line);
        }
        let is_end = byte == delimiter || matches!(byte, b'\r' | b'\n');
        // A doubled quote closes the cell and opens it again.
        starts_cell = closes || (is_end && opened.is_none());
        let is_pair = byte == b'\r' && bytes.get(at + 1) == Some(&b'\n');
        line += u64::from(byte == b'\n' || (byte == b'\r' && !is_pair));
    }
    opened
}

/// The line ending of the first line.
fn terminator(bytes: &[u8]) -> Terminator {
    let is_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
    let end = bytes.iter().position(is_end).unwrap_or(bytes.len());
    match bytes.get(end..) {
        Some([b'\r', b'\n', ..]) => Terminator::CRLF,
        Some([b'\r', ..]) => Terminator::Any(b'\r'),
        _ => Terminator::Any(b'\n'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Result<Table> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("v.csv");
        std::fs::write(&path, text).unwrap();
        Table::read(&path, "mutant")
    }

    fn scored(text: &[u8], scores: &[Option<f64>]) -> String {
        let table = read(text).unwrap();
        let name = table.free_name("650M", &[]);
        let bytes = table.with_columns(&[(name, scores.to_vec())]).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn columns_order_quoting_delimiters_and_line_ends_are_kept() {
        for (before, after) in [
            ("mutant,x\nA1G,2\n", "mutant,x,650M\nA1G,2,1.500000\n"),
            (
                "x;mutant\r\n2;A1G\r\n",
                "x;mutant;650M\r\n2;A1G;1.500000\r\n",
            ),
            (
                "a,b\tmutant\n1,2\tA1G\n",
                "a,b\tmutant\t650M\n1,2\tA1G\t1.500000\n",
            ),
            ("\u{feff}mutant\nA1G", "mutant,650M\nA1G,1.500000\n"),
            (
                "mutant,\"a, \"\"b\"\"\"\nA1G,\"two\nlines\"\n",
                "mutant,\"a, \"\"b\"\"\",650M\nA1G,\"two\nlines\",1.500000\n",
            ),
            ("mutant,650M\nA1G,\n", "mutant,650M,650M_2\nA1G,,1.500000\n"),
            ("mutant,x\rA1G,2\r", "mutant,x,650M\rA1G,2,1.500000\r"),
        ] {
            assert_eq!(scored(before.as_bytes(), &[Some(1.5)]), after);
        }
        assert_eq!(
            scored(b"mutant\nA1G\nA1C\n", &[None, Some(-1e-9)]),
            "mutant,650M\nA1G,\nA1C,0.000000\n"
        );
        // Quotes within a cell are letters.
        assert_eq!(
            scored(b"mutant,x\nA1G,5\"\"\n", &[Some(1.0)]),
            "mutant,x,650M\nA1G,\"5\"\"\"\"\",1.000000\n"
        );
        // Bytes that are not UTF-8 stay as they are.
        let table = read(b"mutant,x\nA1G,\xff\n").unwrap();
        assert_eq!(table.with_columns(&[]).unwrap(), b"mutant,x\nA1G,\xff\n");
    }

    #[test]
    fn lines_are_counted_through_quotes_and_blank_lines() {
        let table = read(b"mutant,x\nA1G,\"1\n2\"\n\nA2G,3\n").unwrap();
        let column = table.column("mutant", MUTATIONS).unwrap();
        let cells: Vec<_> = table.cells(column).collect();
        assert_eq!(cells, [(2, &b"A1G"[..]), (5, b"A2G")]);
        // Excel ends lines in these three ways.
        for end in ["\n", "\r\n", "\r"] {
            let text = ["", "mutant,x", "", "A1G,1", "A2G,\"2", "3\"", "A3G"].join(end);
            let error = read(text.as_bytes()).unwrap_err().to_string();
            let says = "v.csv, line 7: expected 2 cells, as in line 1, found 1";
            assert!(error.ends_with(says), "{error}");
        }
    }

    #[test]
    fn tables_that_cannot_be_used_are_named_with_line_and_content() {
        let says = |text: &[u8]| {
            let error = read(text).map(|table| table.column("mutant", MUTATIONS).map(|_| ()));
            let error = match error {
                Err(error) | Ok(Err(error)) => error,
                Ok(Ok(())) => panic!("it was read"),
            };
            let text = error.to_string();
            text.split_once("v.csv").unwrap().1.to_owned()
        };
        assert!(
            says(b"a;b\n1;2\n")
                .starts_with(", line 1: expected a column mutant, found `a`, `b`\nhint: name the column of mutations with"),
            "{}",
            says(b"a;b\n1;2\n")
        );
        assert_eq!(
            says(b"\xff\xfem\0"),
            ": expected text in UTF-8, found UTF-16\nhint: save the table as CSV in UTF-8"
        );
        assert!(says(b"").contains("expected a column mutant, found an empty file"));
        assert_eq!(
            says(b"mutant,x\nA1G,1\nA2G\n"),
            ", line 3: expected 2 cells, as in line 1, found 1"
        );
        for text in ["mutant,x\nA1G,\"1\nA2G,2\n", "mutant,x\n\nA1G,\"1\"\"\n"] {
            let line = 2 + u64::from(text.contains("\n\n"));
            assert!(
                says(text.as_bytes()).starts_with(&format!(
                    ", line {line}: expected a quote that closes the one in this line, found the end"
                )),
                "{text}"
            );
        }
        assert_eq!(
            says(b"mutant,mutant\nA1G,1\n"),
            ", line 1: expected one column mutant, found two"
        );
    }
}
