//! Thrift's compact protocol, in which Parquet writes its headers and footer.

use crate::varint;

/// A structure in Thrift's compact protocol; fields are added in the order of their numbers.
#[derive(Default)]
pub(super) struct Struct {
    bytes: Vec<u8>,
    last: u8,
}

const INT: u8 = 5;
const LONG: u8 = 6;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const STRUCT: u8 = 12;

impl Struct {
    fn field(&mut self, id: u8, kind: u8) {
        self.bytes.push((id - self.last) << 4 | kind);
        self.last = id;
    }

    pub(super) fn int(&mut self, id: u8, value: i64) {
        self.field(id, INT);
        varint::write(zigzag(value), &mut self.bytes);
    }

    pub(super) fn long(&mut self, id: u8, value: i64) {
        self.field(id, LONG);
        varint::write(zigzag(value), &mut self.bytes);
    }

    pub(super) fn text(&mut self, id: u8, text: &str) {
        self.field(id, BINARY);
        binary(text, &mut self.bytes);
    }

    pub(super) fn nested(&mut self, id: u8, inner: Struct) {
        self.field(id, STRUCT);
        inner.finish(&mut self.bytes);
    }

    pub(super) fn list(&mut self, id: u8, kind: u8, length: usize) {
        self.field(id, LIST);
        match length {
            0..15 => self.bytes.push((length as u8) << 4 | kind),
            _ => {
                self.bytes.push(0xf0 | kind);
                varint::write(length as u64, &mut self.bytes);
            }
        }
    }

    pub(super) fn ints(&mut self, id: u8, values: &[i64]) {
        self.list(id, INT, values.len());
        values
            .iter()
            .for_each(|&value| varint::write(zigzag(value), &mut self.bytes));
    }

    pub(super) fn texts(&mut self, id: u8, texts: &[&str]) {
        self.list(id, BINARY, texts.len());
        texts.iter().for_each(|text| binary(text, &mut self.bytes));
    }

    pub(super) fn structs(&mut self, id: u8, all: Vec<Struct>) {
        self.list(id, STRUCT, all.len());
        all.into_iter().for_each(|one| one.finish(&mut self.bytes));
    }

    pub(super) fn finish(self, bytes: &mut Vec<u8>) {
        bytes.extend(self.bytes);
        bytes.push(0);
    }
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn binary(text: &str, bytes: &mut Vec<u8>) {
    varint::write(text.len() as u64, bytes);
    bytes.extend_from_slice(text.as_bytes());
}
