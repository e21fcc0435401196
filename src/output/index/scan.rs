//! Checks that rows and offsets of `index.tsv` are consecutive, in memory that does not depend on the
//! length of its lines.

use crate::output::index::columns;
use std::io::{self, BufRead, Read};

/// The columns row, id, length and residue_offset; the identifier is skipped.
const NUMBERS: usize = 4;

/// Records and residues of an index, or what is wrong with it.
pub(crate) fn scan(
    mut reader: impl BufRead,
    files: bool,
) -> io::Result<Result<(u64, u64), String>> {
    let expected = columns(files);
    let mut first = Vec::new();
    (&mut reader)
        .take(expected.len() as u64)
        .read_to_end(&mut first)?;
    if first != expected.as_bytes() {
        return Ok(Err(
            "its first line does not name the columns of an index".into()
        ));
    }
    let tabs = expected.bytes().filter(|&byte| byte == b'\t').count();
    let (mut records, mut residues) = (0_u64, 0_u64);
    let mut line = LineNumbers::default();
    loop {
        let bytes = reader.fill_buf()?;
        if bytes.is_empty() {
            break;
        }
        for &byte in bytes {
            if byte != b'\n' {
                line.take(byte);
                continue;
            }
            match line.numbers() {
                Some((row, length, offset))
                    if line.tabs == tabs && row == records && offset == residues =>
                {
                    residues = residues.saturating_add(length);
                    records += 1;
                }
                _ => {
                    return Ok(Err(format!(
                        "line {} is not that of row {records} with residue_offset {residues}",
                        records + 2
                    )));
                }
            }
            line = LineNumbers::default();
        }
        let count = bytes.len();
        reader.consume(count);
    }
    if line.empty {
        Ok(Ok((records, residues)))
    } else {
        Ok(Err("it ends in the middle of a line".into()))
    }
}

/// Number of line feeds.
pub(crate) fn count_lines(mut reader: impl BufRead) -> io::Result<u64> {
    let mut lines = 0;
    loop {
        let bytes = reader.fill_buf()?;
        if bytes.is_empty() {
            return Ok(lines);
        }
        lines += bytes.iter().filter(|&&byte| byte == b'\n').count() as u64;
        let count = bytes.len();
        reader.consume(count);
    }
}

/// The numbers of a line that is being read.
struct LineNumbers {
    empty: bool,
    tabs: usize,
    /// `None` before the first digit; the inner `None` for anything but a number of 64 bits.
    fields: [Option<Option<u64>>; NUMBERS],
}

impl Default for LineNumbers {
    fn default() -> Self {
        Self {
            empty: true,
            tabs: 0,
            fields: [None; NUMBERS],
        }
    }
}

impl LineNumbers {
    fn take(&mut self, byte: u8) {
        self.empty = false;
        if byte == b'\t' {
            self.tabs += 1;
        } else if let Some(field) = self.fields.get_mut(self.tabs) {
            let digit = char::from(byte).to_digit(10).map(u64::from);
            let before = field.unwrap_or(Some(0));
            *field = Some(
                before
                    .zip(digit)
                    .and_then(|(n, digit)| n.checked_mul(10)?.checked_add(digit)),
            );
        }
    }

    fn numbers(&self) -> Option<(u64, u64, u64)> {
        let [row, _, length, offset] = self.fields;
        Some((row??, length??, offset??))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: &str = "row\tid\tlength\tresidue_offset\tflags\tdescription\n";

    fn scanned(lines: &str) -> Result<(u64, u64), String> {
        // A buffer of three bytes cuts every line.
        let text = format!("{COLUMNS}{lines}");
        scan(io::BufReader::with_capacity(3, text.as_bytes()), false).unwrap()
    }

    #[test]
    fn a_good_index() {
        assert_eq!(scanned(""), Ok((0, 0)));
        assert_eq!(
            scanned("0\ta\t3\t0\t\t\n1\t9\t0\t3\tstop\tx 1\n2\t\t4\t3\t\t\n"),
            Ok((3, 7))
        );
    }

    #[test]
    fn damage_is_named_by_line() {
        for (lines, line) in [
            ("0\ta\t3\t0\t\t\n2\tb\t3\t3\t\t\n", 3),
            ("0\ta\t3\t0\t\t\n1\tb\t3\t4\t\t\n", 3),
            ("0\ta\t3\t0\t\n", 2),
            ("0\ta\t3\t0\t\t\t\n", 2),
            ("0\ta\tx3\t0\t\t\n", 2),
            ("0\ta\t\t0\t\t\n", 2),
            ("0\ta\t99999999999999999999\t0\t\t\n", 2),
            ("\n", 2),
        ] {
            let what = scanned(lines).unwrap_err();
            assert!(
                what.starts_with(&format!("line {line} is not that of row")),
                "{lines:?}: {what}"
            );
        }
        assert_eq!(
            scanned("0\ta\t3\t0\t\t"),
            Err("it ends in the middle of a line".into())
        );
        assert!(scan(&b"row\tid\n"[..], false).unwrap().is_err());
        assert!(scan(COLUMNS.as_bytes(), true).unwrap().is_err());
    }

    #[test]
    fn lines_are_counted() {
        assert_eq!(count_lines(&b"a\nb\nc"[..]).unwrap(), 2);
    }
}
