//! Python's pickle, as far as `torch.load(weights_only=True)` needs it: dictionaries, text and
//! tensors whose numbers are in files beside it.
//!
//! Source: `pickletools` of CPython for the opcodes (protocol 2), `torch/_utils.py` for
//! `_rebuild_tensor_v2`.

use crate::product::OutDtype;

/// A value.
pub(super) enum Value<'a> {
    Text(&'a str),
    Tensor(&'a Tensor),
    /// Keys and values.
    ByText(Vec<(&'a str, Value<'a>)>),
    ByLayer(Vec<(usize, Value<'a>)>),
}

/// A tensor whose numbers are in the file `data/{file}`.
pub(super) struct Tensor {
    pub(super) file: usize,
    pub(super) dtype: OutDtype,
    pub(super) shape: Vec<u64>,
}

/// The bytes of a value.
pub(super) fn encode(value: &Value) -> Vec<u8> {
    let mut bytes = vec![0x80, 2];
    put(value, &mut bytes);
    bytes.push(b'.');
    bytes
}

fn put(value: &Value, bytes: &mut Vec<u8>) {
    match value {
        Value::Text(text) => put_text(text, bytes),
        Value::Tensor(tensor) => put_tensor(tensor, bytes),
        Value::ByText(items) => put_items(items, |key, bytes| put_text(key, bytes), bytes),
        Value::ByLayer(items) => {
            put_items(
                items,
                |&layer, bytes| put_integer(layer as u64, bytes),
                bytes,
            );
        }
    }
}

fn put_items<K>(items: &[(K, Value)], key: impl Fn(&K, &mut Vec<u8>), bytes: &mut Vec<u8>) {
    bytes.extend(b"}(");
    for (name, value) in items {
        key(name, bytes);
        put(value, bytes);
    }
    bytes.push(b'u');
}

fn put_text(text: &str, bytes: &mut Vec<u8>) {
    bytes.push(b'X');
    bytes.extend((text.len() as u32).to_le_bytes());
    bytes.extend(text.as_bytes());
}

fn put_integer(number: u64, bytes: &mut Vec<u8>) {
    match i32::try_from(number) {
        Ok(number) => {
            bytes.push(b'J');
            bytes.extend(number.to_le_bytes());
        }
        Err(_) => {
            // With a ninth byte, the sign is that of a positive number.
            bytes.extend([0x8a, 9]);
            bytes.extend(number.to_le_bytes());
            bytes.push(0);
        }
    }
}

fn put_tuple(numbers: impl Iterator<Item = u64>, bytes: &mut Vec<u8>) {
    bytes.push(b'(');
    numbers.for_each(|number| put_integer(number, bytes));
    bytes.push(b't');
}

fn put_tensor(tensor: &Tensor, bytes: &mut Vec<u8>) {
    let storage: &[u8] = match tensor.dtype {
        OutDtype::F32 => b"ctorch\nFloatStorage\n",
        OutDtype::F16 => b"ctorch\nHalfStorage\n",
    };
    bytes.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
    put_text("storage", bytes);
    bytes.extend(storage);
    put_text(&tensor.file.to_string(), bytes);
    put_text("cpu", bytes);
    put_integer(tensor.shape.iter().product(), bytes);
    bytes.extend(b"tQ");
    // Offset, sizes, strides, no gradient, no hooks.
    put_integer(0, bytes);
    put_tuple(tensor.shape.iter().copied(), bytes);
    let mut rest = tensor.shape.iter();
    let strides = std::iter::from_fn(|| rest.next().map(|_| rest.clone().product()));
    put_tuple(strides, bytes);
    bytes.extend(b"\x89ccollections\nOrderedDict\n)RtR");
}
