//! The path of a FASTA file from its bytes to tokens: decompression, reader, records, tokenizer.
//!
//! Each input is read from memory and again in one other way: in small pieces, as a file, inside gzip or
//! inside zstd. Both must agree with each other and with a second reader.

#![no_main]

use std::fs;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::OnceLock;

use esm_embed::fasta::{FastaError, Input, Reader, Record};
use esm_embed::tokenizer::{CLS, EOS, TokenizerError, UNK, UnknownPolicy, tokenize};
use esm_embed_fuzz::{fasta, memory, message, scratch};
use flate2::Compression;
use flate2::write::GzEncoder;
use libfuzzer_sys::fuzz_target;

/// Bytes of memory for one input of any size: a record of 16 Mi residues while it grows.
const MOST_MEMORY: usize = 80 << 20;

/// Bytes of the buffer of the first reading.
const BUFFER: usize = 1 << 12;

/// A reader that returns a few bytes at a time.
struct Pieces<'a> {
    rest: &'a [u8],
    size: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let size = self.size.min(into.len());
        self.size = self.size % 7 + 1;
        self.rest.read(&mut into[..size])
    }
}

/// Records and refusals up to the end or to the error that ends reading.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    records: Vec<fasta::Expected>,
    /// The last error, without the name of the file.
    fatal: Option<String>,
}

fn read<R: Read>(mut reader: Reader<R>, name: &str) -> Outcome {
    let mut record = Record::default();
    let mut records = Vec::new();
    let mut line = 0;
    loop {
        let result = reader.read(&mut record);
        let sequence = match &result {
            Ok(false) => {
                assert!(!reader.read(&mut record).unwrap());
                return Outcome {
                    records,
                    fatal: None,
                };
            }
            Ok(true) => Some(record.sequence.clone()),
            Err(error) => {
                message::check_short(error);
                let text = error.to_string();
                let said = text.strip_prefix(name).expect("the name of the file");
                let Some(bad) = error.record() else {
                    assert_eq!(reader.read(&mut record).unwrap_err().to_string(), text);
                    return Outcome {
                        records,
                        fatal: Some(said.to_owned()),
                    };
                };
                assert_eq!((bad.line, bad.number), (record.line, record.number));
                None
            }
        };
        assert_eq!(record.number, records.len() as u64 + 1);
        assert_eq!(reader.records(), record.number);
        assert!(record.line > line);
        line = record.line;
        records.push(fasta::Expected {
            line,
            id: record.id.clone(),
            description: record.description.clone(),
            sequence,
        });
    }
}

fn read_file(bytes: &[u8]) -> Outcome {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    let path = PATH.get_or_init(|| scratch().join("input"));
    fs::write(path, bytes).unwrap();
    let name = path.display().to_string();
    let input = match Input::open(path) {
        Ok(input) => input,
        Err(error) => {
            message::check_short(&error);
            assert!(matches!(error, FastaError::Damaged { .. }), "{error}");
            return Outcome {
                records: Vec::new(),
                fatal: Some(error.to_string()),
            };
        }
    };
    read(Reader::new(input), &name)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn is_compressed(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x1f\x8b")
        || bytes.get(1..4) == Some(b"\xb5\x2f\xfd")
        || bytes.get(1..4) == Some(b"\x2a\x4d\x18")
}

/// Whether every character is a byte or belongs to UTF-8.
fn is_wide(bytes: &[u8]) -> bool {
    bytes
        .iter()
        .take(4)
        .any(|byte| matches!(byte, 0 | 0xFE | 0xFF))
}

fn check_tokens(sequence: &[u8]) {
    let text = str::from_utf8(sequence).expect("a sequence is UTF-8");
    assert!(!text.contains(|c: char| c.is_ascii_control() || c.is_ascii_whitespace()));
    let strict = tokenize(sequence, UnknownPolicy::Error);
    let tokens = match tokenize(sequence, UnknownPolicy::Unk) {
        Ok(tokens) => tokens,
        Err(error) => {
            assert!(matches!(error, TokenizerError::Reserved { .. }));
            message::check_short(&error);
            return;
        }
    };
    match &strict {
        Ok(same) => assert_eq!((same, tokens.unknown), (&tokens, 0)),
        Err(error) => {
            assert!(tokens.unknown > 0);
            message::check_short(error);
        }
    }
    let [CLS, residues @ .., EOS] = tokens.ids.as_slice() else {
        panic!("tokens without an end: {:?}", tokens.ids);
    };
    assert_eq!(residues.len(), tokens.residues());
    assert!(residues.iter().all(|id| (UNK..33).contains(id)));
    if !text.contains('<') {
        let characters = text.chars().count() - usize::from(tokens.stop_dropped) - tokens.invisible;
        assert_eq!((residues.len(), tokens.masks), (characters, 0));
        let unknown = residues.iter().filter(|id| **id == UNK).count();
        assert_eq!(tokens.unknown, unknown);
    }
}

fn check(data: &[u8]) {
    let plain = read(Reader::with_capacity("x", data, BUFFER), "x");
    for record in &plain.records {
        record
            .sequence
            .iter()
            .for_each(|residues| check_tokens(residues));
    }
    if !is_wide(data) {
        match fasta::records(data) {
            Some(expected) => assert_eq!((&plain.records, &plain.fatal), (&expected, &None)),
            None => assert!(plain.records.is_empty() && plain.fatal.is_some()),
        }
    }
    if is_compressed(data) {
        read_file(data);
        return;
    }
    // One other way of reading per input: all of them would cost more than the mutations.
    let (start, end) = data.split_at(data.len() / 2);
    let again = match data.len() % 4 {
        0 => read_file(data),
        1 => {
            let pieces = Pieces {
                rest: data,
                size: data.len() % 7 + 1,
            };
            read(Reader::with_capacity("x", pieces, 0), "x")
        }
        // Two members, cut in the middle of the text, and zero bytes after the end.
        2 => read_file(&[gzip(start), gzip(end), vec![0; 3]].concat()),
        _ => {
            let frames = [start, end].map(|half| zstd::encode_all(half, 1).unwrap());
            read_file(&frames.concat())
        }
    };
    assert_eq!(again, plain);
}

fuzz_target!(|data: &[u8]| memory::bounded(MOST_MEMORY, || check(data)));
