//! `index.tsv` and `skipped.tsv`: one line per record.
//!
//! The first line names the columns. Fields are separated by one tab and written as [`escape`]
//! says, so that each line is one record and no field is ever quoted.

pub(crate) mod parse;
pub(crate) mod scan;

use crate::output::escape::escape;

/// One record of the input, as it is entered into the index.
#[derive(Debug, Clone, Copy, Default)]
pub struct Entry<'a> {
    /// Number of the record in the whole input, from 0, counting skipped ones.
    pub ordinal: u64,
    /// First word of the header, any bytes.
    pub id: &'a [u8],
    /// The rest of the header, any bytes.
    pub description: &'a [u8],
    /// Residues after truncation.
    pub length: u64,
    /// Digest of everything that the values depend on; records with the same digest share them.
    pub sequence: crate::output::Key,
    /// Residues before truncation, if it was truncated.
    pub truncated_from: Option<u64>,
    /// Number of windows, if it was embedded in windows.
    pub windows: Option<u64>,
    /// Characters outside the alphabet.
    pub unknown: u64,
    /// Lower-case letters.
    pub lower: u64,
    /// `<mask>` tokens.
    pub masks: u64,
    /// Gaps of an alignment, whether or not they were removed.
    pub gaps: u64,
    /// White space and invisible characters beyond ASCII, which were dropped.
    pub invisible: u64,
    /// Whether it looks like nucleotides.
    pub nucleotides: bool,
    /// Whether a trailing `*` was dropped.
    pub stop: bool,
}

/// A skipped record.
#[derive(Debug, Clone, Copy)]
pub struct Skip<'a> {
    /// Number of the record in the whole input, from 0, counting skipped ones.
    pub ordinal: u64,
    /// Input file as it was named, `-` for standard input.
    pub file: &'a [u8],
    /// Line of its header, from 1.
    pub line: u64,
    /// Record in that file, from 1.
    pub record: u64,
    /// First word of the header, any bytes.
    pub id: &'a [u8],
    /// Why it was skipped.
    pub reason: &'a str,
}

/// First line of `skipped.tsv`.
pub(crate) const SKIPPED_COLUMNS: &str = "file\tline\trecord\tid\treason\n";

/// First line of `index.tsv`; `file` is there when each record has its own file.
pub(crate) fn columns(files: bool) -> &'static str {
    if files {
        "row\tid\tlength\tresidue_offset\tflags\tfile\tdescription\n"
    } else {
        "row\tid\tlength\tresidue_offset\tflags\tdescription\n"
    }
}

/// The line of a record; `file` is its path below each folder of one file per record.
pub(crate) fn line(
    entry: &Entry,
    row: u64,
    residue_offset: u64,
    duplicate_of: Option<u64>,
    file: Option<&str>,
) -> Vec<u8> {
    let mut line = format!("{row}\t").into_bytes();
    escape(entry.id, &mut line);
    line.extend_from_slice(format!("\t{}\t{residue_offset}\t", entry.length).as_bytes());
    line.extend_from_slice(flags(entry, duplicate_of).as_bytes());
    if let Some(file) = file {
        line.push(b'\t');
        escape(file.as_bytes(), &mut line);
    }
    line.push(b'\t');
    escape(entry.description, &mut line);
    line.push(b'\n');
    line
}

/// The line of a skipped record.
pub(crate) fn skipped_line(skip: &Skip) -> Vec<u8> {
    let mut line = Vec::new();
    escape(skip.file, &mut line);
    line.extend_from_slice(format!("\t{}\t{}\t", skip.line, skip.record).as_bytes());
    escape(skip.id, &mut line);
    line.push(b'\t');
    escape(skip.reason.as_bytes(), &mut line);
    line.push(b'\n');
    line
}

/// What was done to a record, in a fixed order and separated by commas: `truncated=` residues
/// before, `windows=` their number, `unknown=`, `lower=`, `masks=`, `gaps=` and `invisible=`
/// characters, `stop`, `nucleotides`, `duplicate_of=` row. Flags that do not apply are left out.
fn flags(entry: &Entry, duplicate_of: Option<u64>) -> String {
    let some = |number: u64| (number > 0).then_some(number);
    let with_number =
        |key: &str, number: Option<u64>| number.map(|number| format!("{key}={number}"));
    let flags = [
        with_number("truncated", entry.truncated_from),
        with_number("windows", entry.windows),
        with_number("unknown", some(entry.unknown)),
        with_number("lower", some(entry.lower)),
        with_number("masks", some(entry.masks)),
        with_number("gaps", some(entry.gaps)),
        with_number("invisible", some(entry.invisible)),
        entry.stop.then(|| "stop".to_owned()),
        entry.nucleotides.then(|| "nucleotides".to_owned()),
        with_number("duplicate_of", duplicate_of),
    ];
    flags.into_iter().flatten().collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_record() {
        let entry = Entry {
            id: b"P1",
            description: b"heat shock",
            length: 7,
            ..Entry::default()
        };
        assert_eq!(
            line(&entry, 3, 41, None, None),
            b"3\tP1\t7\t41\t\theat shock\n"
        );
    }

    #[test]
    fn every_flag_in_its_order() {
        let entry = Entry {
            id: b"a\tb",
            description: b"\"x\"\ny",
            length: 1022,
            truncated_from: Some(2000),
            windows: Some(3),
            unknown: 2,
            lower: 5,
            masks: 1,
            gaps: 4,
            invisible: 6,
            nucleotides: true,
            stop: true,
            ..Entry::default()
        };
        assert_eq!(
            String::from_utf8(line(&entry, 0, 0, Some(9), Some("000000/a_b-00.npy"))).unwrap(),
            "0\ta\\tb\t1022\t0\ttruncated=2000,windows=3,unknown=2,lower=5,masks=1,gaps=4,invisible=6,\
             stop,nucleotides,duplicate_of=9\t\
             000000/a_b-00.npy\t\\x22x\"\\ny\n"
        );
    }

    #[test]
    fn a_record_left_out() {
        let skip = Skip {
            ordinal: 3,
            file: b"a b.fa",
            line: 12,
            record: 4,
            id: b"",
            reason: "no residues",
        };
        assert_eq!(skipped_line(&skip), b"a b.fa\t12\t4\t\tno residues\n");
    }
}
