//! The largest identifier, description and sequence that a record may have.

use crate::support::*;
use esm_embed::fasta::{Fault, MAX_HEADER, MAX_SEQUENCE, Reader, Record};
use std::{
    cell::Cell,
    io::{self, Read},
    rc::Rc,
};

#[test]
fn a_gzip_bomb_is_one_record_too_long() {
    let bomb = gzip(&[b">bomb\n", &vec![b'A'; 64 << 20][..], b"\n>b\nM\n"].concat());
    assert!(bomb.len() < 100_000);
    let (good, error) = read_file(&bomb);
    assert_eq!(good, 0);
    assert_eq!(
        error.unwrap().record().unwrap().fault,
        Fault::SequenceTooLong { line: 2 }
    );
}

#[test]
fn the_bounds_are_exact() {
    assert_eq!((MAX_HEADER, MAX_SEQUENCE), (16_777_216, 16_777_216));
    let header = vec![b'x'; MAX_HEADER];
    let all = records(&[b">", &header[..], b"\nM\n"].concat());
    assert_eq!(all[0].id.len(), MAX_HEADER);
    let record = bad_record(&[b">x", &header[..], b"\nM\n"].concat());
    assert_eq!(record.fault, Fault::HeaderTooLong);
    assert_eq!(record.id, vec![b'x'; 1024]);

    let half = vec![b'A'; MAX_SEQUENCE / 2];
    let all = records(&[b">a\n", &half[..], b"\n", &half, b"\n>b\nM\n"].concat());
    assert_eq!(all[0].sequence.len(), MAX_SEQUENCE);
    let record = bad_record(&[b">a\n", &half[..], b"\n", &half, b"\nA\n"].concat());
    assert_eq!(record.fault, Fault::SequenceTooLong { line: 4 });
}

/// Counts the bytes read from it.
struct Counted<R> {
    inner: R,
    bytes: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(into)?;
        self.bytes.set(self.bytes.get() + count as u64);
        Ok(count)
    }
}

#[test]
fn an_endless_line_is_refused_at_its_bound_and_skipped() {
    for start in [&b">a\n"[..], b">"] {
        let bytes = Rc::new(Cell::new(0));
        let endless = io::repeat(b'A').take(200 << 20);
        let inner = start.chain(endless).chain(&b"\n>next\nMK\n"[..]);
        let counted = Counted {
            inner,
            bytes: Rc::clone(&bytes),
        };
        let mut reader = Reader::from_read("x", counted);
        let mut record = Record::default();
        let error = reader.read(&mut record).unwrap_err();
        assert!(error.is_record());
        assert!(bytes.get() < 18 << 20, "{} bytes were read", bytes.get());
        assert!(reader.read(&mut record).unwrap());
        assert_eq!((&record.id[..], record.number), (&b"next"[..], 2));
        assert!(record.sequence.capacity() + record.id.capacity() <= 64 << 20);
        assert!(!reader.read(&mut record).unwrap());
        assert_eq!(reader.records(), 2);
    }
}
