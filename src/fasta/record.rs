//! One FASTA record.

use super::is_blank;

/// One record of a FASTA file. Its buffers are reused from one
/// [`Reader::read`](super::Reader::read) to the next.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Record {
    /// The first word of the header; empty if the header has none.
    pub id: Vec<u8>,
    /// The header after the first word, without white space at either end.
    pub description: Vec<u8>,
    /// The sequence without white space and line ends, otherwise as typed: upper and lower case,
    /// and characters outside any alphabet, in valid UTF-8 without control characters.
    pub sequence: Vec<u8>,
    /// The line of the header in its file, from 1.
    pub line: u64,
    /// The number of the record in its file, from 1.
    pub number: u64,
}

impl Record {
    /// Takes identifier and description from the text of a header after its `>`.
    pub(super) fn set_header(&mut self, header: &[u8]) {
        let header = trim(header);
        let end = header
            .iter()
            .position(|&byte| is_blank(byte))
            .unwrap_or(header.len());
        let (id, rest) = header.split_at(end);
        self.id.clear();
        self.id.extend_from_slice(id);
        self.description.clear();
        self.description.extend_from_slice(trim(rest));
    }
}

fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = bytes
        && is_blank(*first)
    {
        bytes = rest;
    }
    while let [rest @ .., last] = bytes
        && is_blank(*last)
    {
        bytes = rest;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(header: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let mut record = Record::default();
        record.set_header(header);
        (record.id, record.description)
    }

    #[test]
    fn headers_are_split_at_ascii_white_space_only() {
        let cases: [(&[u8], &[u8], &[u8]); 11] = [
            (b"p1", b"p1", b""),
            (b"p1 one", b"p1", b"one"),
            (b"  p1\tone  two \x0b", b"p1", b"one  two"),
            (b"p1\x0bone", b"p1", b"one"),
            (b"p1\x0cone", b"p1", b"one"),
            (b"", b"", b""),
            (b" \t ", b"", b""),
            ("p\u{a0}1 x".as_bytes(), "p\u{a0}1".as_bytes(), b"x"),
            ("p\u{2003}1".as_bytes(), "p\u{2003}1".as_bytes(), b""),
            (b"caf\xe9 \xff", b"caf\xe9", b"\xff"),
            (b"gi|1 a\x01gi|2 b", b"gi|1", b"a\x01gi|2 b"),
        ];
        for (header, id, description) in cases {
            assert_eq!(split(header), (id.to_vec(), description.to_vec()));
        }
    }
}
