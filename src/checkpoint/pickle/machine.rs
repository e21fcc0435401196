//! The stack machine of the pickle format, for data only.
//!
//! It reads the opcodes of protocols 2 to 5 that torch.save and plain containers use. Nothing is
//! imported or called: the few functions that rebuild tensors and containers are known by name,
//! any other call leaves an inert [`Node::Object`]. Work is linear in the input, and memory is
//! bounded by counts of what was built.

use std::collections::HashMap;

use super::{Node, Pickle, Value};

/// A training checkpoint of the largest ESM stays below a fifth of each of these, and a pickle that
/// reaches all of them takes less than 100 MB.
const MOST_BYTES: usize = 32 << 20;
const MOST_NODES: usize = 200_000;
const MOST_ELEMENTS: usize = 500_000;
const MOST_STACK: usize = 200_000;
const MOST_MEMO: usize = 200_000;

/// Why a pickle cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::checkpoint) enum PickleError {
    /// The end of the sentence "the pickle …".
    Malformed(String),
    /// It mentions this name, which is code.
    Refused(String),
}

pub(super) fn malformed<T>(found: impl Into<String>) -> Result<T, PickleError> {
    Err(PickleError::Malformed(found.into()))
}

/// Refuses a pickle that is too long for any checkpoint, before it is read.
pub(in crate::checkpoint) fn check_length(bytes: usize) -> Result<(), PickleError> {
    if bytes > MOST_BYTES {
        return malformed(format!(
            "has {bytes} bytes; no checkpoint needs more than 32 MiB"
        ));
    }
    Ok(())
}

/// Reads one pickle.
pub(in crate::checkpoint) fn read(bytes: &[u8]) -> Result<Pickle<'_>, PickleError> {
    check_length(bytes.len())?;
    let mut machine = Machine {
        input: bytes,
        nodes: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        elements: 0,
    };
    loop {
        let [opcode] = machine.take_array()?;
        if opcode == b'.' {
            let root = machine.pop()?;
            return Ok(Pickle {
                nodes: machine.nodes,
                root,
            });
        }
        machine.step(opcode)?;
    }
}

pub(super) struct Machine<'a> {
    /// What is not read yet.
    input: &'a [u8],
    nodes: Vec<Node<'a>>,
    stack: Vec<Value>,
    /// Heights of the stack at which there is a mark.
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
    /// Values held by all lists and dicts together.
    elements: usize,
}

impl<'a> Machine<'a> {
    fn step(&mut self, opcode: u8) -> Result<(), PickleError> {
        match opcode {
            0x80 => self.protocol(),
            0x95 => self.take_array::<8>().map(|_| ()),
            b'(' => self.mark(),
            b'0' => self.pop().map(|_| ()),
            b'1' => self.pop_mark().map(|_| ()),
            b'2' => self.top().and_then(|value| self.push(value)),
            b'N' => self.push(Value::None),
            0x88 => self.push(Value::Bool(true)),
            0x89 => self.push(Value::Bool(false)),
            b'J' | b'K' | b'M' | b'G' | 0x8a | 0x8b => self.number(opcode),
            b'X' | 0x8c | 0x8d | b'U' | b'T' => self.text(opcode),
            b'B' | b'C' | 0x8e | 0x96 => self.raw_bytes(opcode),
            b'}' => self.push_node(Node::Dict(Vec::new())),
            b']' | b')' | 0x8f => self.push_node(Node::List(Vec::new())),
            b'd' => self.dict_from_mark(),
            b'l' | b't' | 0x91 => self.pop_mark().and_then(|values| self.push_list(values)),
            0x85 => self.tuple(1),
            0x86 => self.tuple(2),
            0x87 => self.tuple(3),
            b'a' => self.pop().and_then(|value| self.append(vec![value])),
            b'e' | 0x90 => self.pop_mark().and_then(|values| self.append(values)),
            b's' => self.set_item(),
            b'u' => self.pop_mark().and_then(|values| self.set_items(values)),
            b'q' | b'r' | 0x94 => self.memoize(opcode),
            b'h' | b'j' => self.recall(opcode),
            b'c' | 0x93 => self.global(opcode),
            b'R' | 0x81 => self.call(),
            0x92 => self.pop().and_then(|_| self.call()),
            b'b' => self.build(),
            b'Q' => self.persistent(),
            other => malformed(format!(
                "has the opcode 0x{other:02x}, which no checkpoint needs"
            )),
        }
    }

    fn protocol(&mut self) -> Result<(), PickleError> {
        match self.take_array()? {
            [0..=5] => Ok(()),
            [other] => malformed(format!("is of protocol {other}; known are 0 to 5")),
        }
    }

    // Input.

    fn take(&mut self, count: u64) -> Result<&'a [u8], PickleError> {
        let split = usize::try_from(count)
            .ok()
            .and_then(|count| self.input.split_at_checked(count));
        let Some((taken, rest)) = split else {
            return malformed("ends too early");
        };
        self.input = rest;
        Ok(taken)
    }

    fn take_array<const N: usize>(&mut self) -> Result<[u8; N], PickleError> {
        let Some((taken, rest)) = self.input.split_first_chunk() else {
            return malformed("ends too early");
        };
        self.input = rest;
        Ok(*taken)
    }

    /// Bytes that follow their own length, a little-endian number of `N` bytes.
    fn take_counted<const N: usize>(&mut self) -> Result<&'a [u8], PickleError> {
        let length = self.take_array::<N>()?;
        self.take(
            length
                .iter()
                .rev()
                .fold(0, |value, byte| value << 8 | u64::from(*byte)),
        )
    }

    pub(super) fn take_line(&mut self) -> Result<&'a str, PickleError> {
        let Some(end) = self.input.iter().position(|byte| *byte == b'\n') else {
            return malformed("ends within a name");
        };
        let line = self.take(end as u64)?;
        self.take_array::<1>()?;
        utf8(line)
    }

    // Stack and arena.

    pub(super) fn push(&mut self, value: Value) -> Result<(), PickleError> {
        if self.stack.len() >= MOST_STACK {
            return malformed(format!("stacks more than {MOST_STACK} values"));
        }
        self.stack.push(value);
        Ok(())
    }

    pub(super) fn push_node(&mut self, node: Node<'a>) -> Result<(), PickleError> {
        let value = self.node(node)?;
        self.push(value)
    }

    fn node(&mut self, node: Node<'a>) -> Result<Value, PickleError> {
        match u32::try_from(self.nodes.len()) {
            Ok(number) if self.nodes.len() < MOST_NODES => {
                self.nodes.push(node);
                Ok(Value::Node(number))
            }
            _ => malformed(format!("builds more than {MOST_NODES} objects")),
        }
    }

    pub(super) fn get(&self, value: Value) -> Option<&Node<'a>> {
        let Value::Node(number) = value else {
            return None;
        };
        self.nodes.get(usize::try_from(number).ok()?)
    }

    pub(super) fn get_mut(&mut self, value: Value) -> Option<&mut Node<'a>> {
        let Value::Node(number) = value else {
            return None;
        };
        self.nodes.get_mut(usize::try_from(number).ok()?)
    }

    pub(super) fn top(&self) -> Result<Value, PickleError> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.last() {
            Some(value) if self.stack.len() > floor => Ok(*value),
            _ => malformed("takes a value that is not there"),
        }
    }

    pub(super) fn pop(&mut self) -> Result<Value, PickleError> {
        let value = self.top()?;
        self.stack.pop();
        Ok(value)
    }

    fn mark(&mut self) -> Result<(), PickleError> {
        if self.marks.len() >= MOST_STACK {
            return malformed(format!("sets more than {MOST_STACK} marks"));
        }
        self.marks.push(self.stack.len());
        Ok(())
    }

    fn pop_mark(&mut self) -> Result<Vec<Value>, PickleError> {
        match self.marks.pop() {
            Some(height) if height <= self.stack.len() => Ok(self.stack.split_off(height)),
            _ => malformed("takes a mark that is not there"),
        }
    }

    pub(super) fn hold(&mut self, count: usize) -> Result<(), PickleError> {
        self.elements = self.elements.saturating_add(count);
        if self.elements > MOST_ELEMENTS {
            return malformed(format!("holds more than {MOST_ELEMENTS} values"));
        }
        Ok(())
    }

    // Plain values.

    fn number(&mut self, opcode: u8) -> Result<(), PickleError> {
        let value = match opcode {
            b'J' => Value::Int(i32::from_le_bytes(self.take_array()?).into()),
            b'K' => Value::Int(u8::from_le_bytes(self.take_array()?).into()),
            b'M' => Value::Int(u16::from_le_bytes(self.take_array()?).into()),
            b'G' => Value::Float(f64::from_be_bytes(self.take_array()?)),
            0x8a => long(self.take_counted::<1>()?),
            _ => long(self.take_counted::<4>()?),
        };
        self.push(value)
    }

    fn text(&mut self, opcode: u8) -> Result<(), PickleError> {
        let bytes = match opcode {
            b'X' | b'T' => self.take_counted::<4>()?,
            0x8d => self.take_counted::<8>()?,
            _ => self.take_counted::<1>()?,
        };
        self.push_node(Node::Text(utf8(bytes)?))
    }

    fn raw_bytes(&mut self, opcode: u8) -> Result<(), PickleError> {
        match opcode {
            b'B' => self.take_counted::<4>()?,
            b'C' => self.take_counted::<1>()?,
            _ => self.take_counted::<8>()?,
        };
        self.push(Value::Opaque)
    }

    // Containers.

    fn push_list(&mut self, values: Vec<Value>) -> Result<(), PickleError> {
        self.hold(values.len())?;
        self.push_node(Node::List(values))
    }

    fn tuple(&mut self, count: usize) -> Result<(), PickleError> {
        let mut values = Vec::with_capacity(count);
        for _ in 0..count {
            values.push(self.pop()?);
        }
        values.reverse();
        self.push_list(values)
    }

    fn dict_from_mark(&mut self) -> Result<(), PickleError> {
        let values = self.pop_mark()?;
        self.push_node(Node::Dict(Vec::new()))?;
        self.set_items(values)
    }

    fn append(&mut self, values: Vec<Value>) -> Result<(), PickleError> {
        self.hold(values.len())?;
        let target = self.top()?;
        match self.get_mut(target) {
            Some(Node::List(list)) => list.extend(values),
            Some(Node::Object { items, .. }) => {
                items.extend(values.into_iter().map(|value| (Value::None, value)));
            }
            _ => return malformed("appends to something that is not a list"),
        }
        Ok(())
    }

    fn set_item(&mut self) -> Result<(), PickleError> {
        let value = self.pop()?;
        let key = self.pop()?;
        self.set_items(vec![key, value])
    }

    fn set_items(&mut self, values: Vec<Value>) -> Result<(), PickleError> {
        self.hold(values.len())?;
        let target = self.top()?;
        let (pairs, []) = values.as_chunks::<2>() else {
            return malformed("sets a key without a value");
        };
        match self.get_mut(target) {
            Some(Node::Dict(dict) | Node::Object { items: dict, .. }) => {
                dict.extend(pairs.iter().map(|[key, value]| (*key, *value)));
            }
            _ => return malformed("sets an item of something that is not a dict"),
        }
        Ok(())
    }

    // Memo.

    fn memoize(&mut self, opcode: u8) -> Result<(), PickleError> {
        let number = match opcode {
            b'q' => u8::from_le_bytes(self.take_array()?).into(),
            b'r' => u32::from_le_bytes(self.take_array()?),
            _ => u32::try_from(self.memo.len()).unwrap_or(u32::MAX),
        };
        let value = self.top()?;
        self.memo.insert(number, value);
        if self.memo.len() > MOST_MEMO {
            return malformed(format!("remembers more than {MOST_MEMO} values"));
        }
        Ok(())
    }

    fn recall(&mut self, opcode: u8) -> Result<(), PickleError> {
        let number = match opcode {
            b'h' => u8::from_le_bytes(self.take_array()?).into(),
            _ => u32::from_le_bytes(self.take_array()?),
        };
        match self.memo.get(&number) {
            Some(value) => self.push(*value),
            None => malformed(format!("recalls the value {number}, which it never stored")),
        }
    }
}

/// A little-endian two's complement number of any length.
fn long(bytes: &[u8]) -> Value {
    if bytes.len() > 8 {
        return Value::Opaque;
    }
    let fill = if bytes.last().is_some_and(|byte| byte & 0x80 != 0) {
        0xff
    } else {
        0
    };
    let mut wide = [fill; 8];
    for (to, from) in wide.iter_mut().zip(bytes) {
        *to = *from;
    }
    Value::Int(i64::from_le_bytes(wide))
}

fn utf8(bytes: &[u8]) -> Result<&str, PickleError> {
    std::str::from_utf8(bytes)
        .map_err(|_| PickleError::Malformed("has a text that is not UTF-8".into()))
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
