//! A second FASTA reader, which reads the whole text character by character.

use std::str;

/// One record of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// Line of its header, from 1.
    pub line: u64,
    /// First word of its header.
    pub id: Vec<u8>,
    /// The rest of its header.
    pub description: Vec<u8>,
    /// Its residues as typed, unless the record is refused.
    pub sequence: Option<Vec<u8>>,
}

/// The records of a text of one byte per ASCII character; `None` if it is not FASTA.
pub fn records(text: &[u8]) -> Option<Vec<Expected>> {
    let mut records: Vec<Expected> = Vec::new();
    for (line, number) in lines(text).into_iter().zip(1..) {
        let line = unmarked(line);
        if let Some(header) = line.strip_prefix(b">") {
            refuse_pir(&mut records);
            let header = trimmed(header);
            let end = header.iter().position(blank).unwrap_or(header.len());
            let (id, description) = header.split_at(end);
            records.push(Expected {
                line: number,
                id: id.to_vec(),
                description: trimmed(description).to_vec(),
                sequence: Some(Vec::new()),
            });
            continue;
        }
        match records.last_mut() {
            None if line.iter().all(|byte| blank(byte)) => {}
            None => return None,
            Some(record) => {
                let sequence = record.sequence.take();
                record.sequence = sequence.and_then(|sequence| residues(sequence, line));
            }
        }
    }
    refuse_pir(&mut records);
    Some(records)
}

/// The sequence with the residues of one more line; `None` if that line is refused.
fn residues(mut sequence: Vec<u8>, line: &[u8]) -> Option<Vec<u8>> {
    if matches!(line.first(), Some(b';' | b'#')) {
        return None;
    }
    let mut rest = line;
    while let Some(&byte) = rest.first() {
        let length = match byte {
            0x80.. => {
                (2..=4).find(|&n| rest.get(..n).is_some_and(|c| str::from_utf8(c).is_ok()))?
            }
            _ => 1,
        };
        let (character, next) = rest.split_at(length);
        rest = next;
        if blank(&byte) {
            continue;
        }
        let bracket = sequence.iter().rev().take(16).find(|b| b"<>".contains(b));
        let is_residue = match byte {
            b'>' => bracket == Some(&b'<'),
            _ => !byte.is_ascii_control(),
        };
        if !is_residue {
            return None;
        }
        sequence.extend_from_slice(character);
    }
    Some(sequence)
}

/// Refuses the last record if it is of the PIR format.
fn refuse_pir(records: &mut [Expected]) {
    const CODES: [&str; 9] = ["P1", "F1", "DL", "DC", "RL", "RC", "N1", "N3", "XX"];
    if let Some(record) = records.last_mut()
        && let Some(sequence) = &record.sequence
        && sequence.ends_with(b"*")
        && CODES
            .iter()
            .any(|code| record.id.starts_with(format!("{code};").as_bytes()))
    {
        record.sequence = None;
    }
}

/// Lines without their ends: LF, CR LF or CR.
fn lines(text: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(end) = rest.iter().position(|byte| b"\r\n".contains(byte)) {
        let (line, next) = rest.split_at(end);
        lines.push(line);
        rest = next.strip_prefix(b"\r\n").unwrap_or(&next[1..]);
    }
    lines.push(rest);
    lines
}

/// A line without the byte order marks at its start.
fn unmarked(mut line: &[u8]) -> &[u8] {
    while let Some(rest) = line.strip_prefix(b"\xEF\xBB\xBF") {
        line = rest;
    }
    line
}

fn trimmed(text: &[u8]) -> &[u8] {
    let Some(start) = text.iter().position(|byte| !blank(byte)) else {
        return b"";
    };
    let end = text.iter().rposition(|byte| !blank(byte)).unwrap_or(start);
    &text[start..=end]
}

fn blank(byte: &u8) -> bool {
    b" \t\x0b\x0c".contains(byte)
}
