//! Object headers: what a dataset or group is, as a list of messages. Superblock.

use super::group::{LEAF_K, NODE_K};
use super::{Number, Stored, UNDEFINED};

const SIGNATURE: &[u8; 8] = b"\x89HDF\r\n\x1a\n";

/// The first bytes of a file of `end` bytes.
pub(super) fn superblock(root: u64, tree: u64, heap: u64, end: u64) -> Vec<u8> {
    let mut bytes = SIGNATURE.to_vec();
    // Versions of superblock, free space, root group and shared headers; sizes of offsets and lengths.
    bytes.extend([0, 0, 0, 0, 0, 8, 8, 0]);
    bytes.extend((LEAF_K as u16).to_le_bytes());
    bytes.extend((NODE_K as u16).to_le_bytes());
    bytes.extend([0; 4]);
    for address in [0, UNDEFINED, end, UNDEFINED] {
        bytes.extend(address.to_le_bytes());
    }
    // The entry of the root group: the empty name, and a cached tree and heap.
    for value in [0, root, 1, tree, heap] {
        bytes.extend(value.to_le_bytes());
    }
    bytes
}

/// The header of the root group.
pub(super) fn group_header(tree: u64, heap: u64, attributes: &[(&str, Stored)]) -> Vec<u8> {
    let mut header = Header::default();
    header.message(0x11, &[tree.to_le_bytes(), heap.to_le_bytes()].concat());
    header.attributes(attributes);
    header.finish()
}

/// The header of a dataset.
pub(super) fn dataset_header(
    number: Number,
    shape: &[u64],
    address: u64,
    attributes: &[(&str, Stored)],
) -> Vec<u8> {
    let mut header = Header::default();
    header.message(1, &dataspace(shape));
    header.message(3, &datatype(number));
    // Fill value: version 2, space taken late, written if set, the default.
    header.message(5, &[2, 2, 2, 1, 0, 0, 0, 0]);
    let bytes = shape.iter().fold(number.bytes(), |n, size| n * size);
    // Layout: version 3, contiguous.
    let mut layout = vec![3, 1];
    layout.extend(address.to_le_bytes());
    layout.extend(bytes.to_le_bytes());
    header.message(8, &layout);
    header.attributes(attributes);
    header.finish()
}

/// An object header of version 1.
#[derive(Default)]
struct Header {
    messages: u16,
    bytes: Vec<u8>,
}

impl Header {
    fn message(&mut self, kind: u16, data: &[u8]) {
        self.messages += 1;
        self.bytes.extend(kind.to_le_bytes());
        let size = data.len().next_multiple_of(8);
        self.bytes.extend((size as u16).to_le_bytes());
        self.bytes.extend([0; 4]);
        let end = self.bytes.len() + size;
        self.bytes.extend(data);
        self.bytes.resize(end, 0);
    }

    fn attributes(&mut self, attributes: &[(&str, Stored)]) {
        for (name, value) in attributes {
            let (datatype, data) = match *value {
                Stored::Integer(value) => (datatype(Number::I64), value.to_le_bytes().to_vec()),
                Stored::Text { bytes, heap, index } => {
                    let mut data = bytes.to_le_bytes().to_vec();
                    data.extend(heap.to_le_bytes());
                    data.extend(index.to_le_bytes());
                    (text(), data)
                }
            };
            let parts = [[name.as_bytes(), b"\0"].concat(), datatype, dataspace(&[])];
            let mut message = vec![1, 0];
            for part in &parts {
                message.extend((part.len() as u16).to_le_bytes());
            }
            for part in &parts {
                message.extend(part);
                message.resize(message.len().next_multiple_of(8), 0);
            }
            message.extend(data);
            self.message(0xc, &message);
        }
    }

    fn finish(self) -> Vec<u8> {
        let mut header = vec![1, 0];
        header.extend(self.messages.to_le_bytes());
        header.extend(1_u32.to_le_bytes());
        header.extend((self.bytes.len() as u32).to_le_bytes());
        header.extend([0; 4]);
        header.extend(self.bytes);
        header
    }
}

/// The sizes of a dataset, or of a single value.
fn dataspace(shape: &[u64]) -> Vec<u8> {
    let mut bytes = vec![1, shape.len() as u8, 0, 0, 0, 0, 0, 0];
    bytes.extend(shape.iter().flat_map(|size| size.to_le_bytes()));
    bytes
}

/// Class, bits of the class, size and properties, all little-endian.
fn datatype(number: Number) -> Vec<u8> {
    let float = |sign: u8, exponent: [u8; 2], mantissa: u8, bias: u32| {
        let mut rest = vec![0x11, 0x20, sign, 0];
        rest.extend((number.bytes() as u32).to_le_bytes());
        rest.extend([0, 0, 8 * number.bytes() as u8, 0]);
        rest.extend([exponent[0], exponent[1], 0, mantissa]);
        rest.extend(bias.to_le_bytes());
        rest
    };
    match number {
        Number::F32 => float(31, [23, 8], 23, 127),
        Number::F16 => float(15, [10, 5], 10, 15),
        Number::I64 => vec![0x10, 8, 0, 0, 8, 0, 0, 0, 0, 0, 64, 0],
        Number::U8 => vec![0x10, 0, 0, 0, 1, 0, 0, 0, 0, 0, 8, 0],
    }
}

/// UTF-8 text of variable length: a sequence of bytes in a heap.
fn text() -> Vec<u8> {
    let mut bytes = vec![0x19, 1, 1, 0, 16, 0, 0, 0];
    bytes.extend(datatype(Number::U8));
    bytes
}
