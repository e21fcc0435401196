//! Records and errors of a text, and compressed bytes.

use esm_embed::fasta::{BadRecord, Damage, FastaError, Input, Reader, Record};
use std::io::Write;

pub type Triple = (&'static [u8], &'static [u8], &'static [u8]);

/// The records of `text`, which must hold no error, as id, description, sequence.
pub fn records(text: &[u8]) -> Vec<Record> {
    let mut reader = Reader::from_read("x.fasta", text);
    let mut all = Vec::new();
    let mut record = Record::default();
    while reader.read(&mut record).unwrap() {
        all.push(record.clone());
    }
    all
}

pub fn assert_records(text: &[u8], expected: &[Triple]) {
    let records = records(text);
    let triples: Vec<(&[u8], &[u8], &[u8])> = records
        .iter()
        .map(|record| {
            (
                &record.id[..],
                &record.description[..],
                &record.sequence[..],
            )
        })
        .collect();
    assert_eq!(triples, expected, "{}", text.escape_ascii());
}

pub fn first_error(text: &[u8]) -> FastaError {
    let mut reader = Reader::from_read("x.fasta", text);
    let mut record = Record::default();
    loop {
        match reader.read(&mut record) {
            Ok(true) => {}
            Ok(false) => panic!("no error in {}", text.escape_ascii()),
            Err(error) => return error,
        }
    }
}

pub fn bad_record(text: &[u8]) -> BadRecord {
    first_error(text).record().unwrap().clone()
}

/// Reads `bytes` from a file: number of records and the error that ended it.
pub fn read_file(bytes: &[u8]) -> (u64, Option<FastaError>) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    let mut reader = Reader::new(Input::open(file.path()).unwrap());
    let mut record = Record::default();
    let mut good = 0;
    loop {
        match reader.read(&mut record) {
            Ok(true) => good += 1,
            Ok(false) => return (good, None),
            Err(error) => return (good, Some(error)),
        }
    }
}

pub fn damage(bytes: &[u8]) -> Damage {
    match read_file(bytes).1 {
        Some(FastaError::Damaged { damage, .. }) => damage,
        other => panic!("{other:?}"),
    }
}

pub fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// One block of bgzip: a gzip member with the subfield `BC` (its block size is not checked).
pub fn block(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::GzBuilder::new()
        .extra(&b"BC\x02\x00\x00\x00"[..])
        .write(Vec::new(), flate2::Compression::best());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}
