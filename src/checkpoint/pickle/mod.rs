//! Values of a pickle: plain data in one arena.
//!
//! A pickle is a program for a stack machine. [`machine`] runs its data opcodes and
//! leaves the values here. Values point at each other by number, so that shared and even circular
//! structures cost nothing to hold and nothing to drop.

mod calls;
mod globals;
mod machine;

pub(super) use machine::{PickleError, check_length, read};

/// A value: small ones in place, the rest by number in the arena.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::checkpoint) enum Value {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// A value that no checkpoint needs: bytes, a huge integer.
    Opaque,
    Node(u32),
}

/// A value of the arena.
#[derive(Debug)]
pub(in crate::checkpoint) enum Node<'a> {
    Text(&'a str),
    /// A list, tuple or set.
    List(Vec<Value>),
    Dict(Vec<(Value, Value)>),
    /// The name of a class or function. Never imported, never called.
    Global {
        module: &'a str,
        name: &'a str,
    },
    /// An instance of a class that this reader does not know: what it was made of, the state it was
    /// given, and the items that were set in it or appended to it (without a key).
    Object {
        made_of: Value,
        state: Value,
        items: Vec<(Value, Value)>,
    },
    /// A torch storage: the entry of the archive that holds the numbers.
    Storage {
        kind: &'a str,
        key: &'a str,
        count: u64,
    },
    /// A tensor: a view of a storage. `shape` and `strides` are lists of integers.
    Tensor {
        storage: Value,
        offset: u64,
        shape: Value,
        strides: Value,
    },
}

/// A pickle that was read: its values, and which of them it represents.
#[derive(Debug)]
pub(in crate::checkpoint) struct Pickle<'a> {
    pub(in crate::checkpoint) nodes: Vec<Node<'a>>,
    pub(in crate::checkpoint) root: Value,
}

impl<'a> Pickle<'a> {
    /// The arena's node behind a value.
    pub(in crate::checkpoint) fn node(&self, value: Value) -> Option<&Node<'a>> {
        let Value::Node(number) = value else {
            return None;
        };
        self.nodes.get(usize::try_from(number).ok()?)
    }

    pub(in crate::checkpoint) fn text(&self, value: Value) -> Option<&'a str> {
        match self.node(value) {
            Some(Node::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// A list of at most `most` integers that are not negative.
    pub(in crate::checkpoint) fn sizes(&self, value: Value, most: usize) -> Option<Vec<usize>> {
        let Some(Node::List(values)) = self.node(value) else {
            return None;
        };
        if values.len() > most {
            return None;
        }
        values
            .iter()
            .map(|value| match value {
                Value::Int(size) => usize::try_from(*size).ok(),
                _ => None,
            })
            .collect()
    }

    /// The entries of a dict, also of a kind of dict that this reader does not know.
    pub(in crate::checkpoint) fn entries(&self, value: Value) -> Option<&[(Value, Value)]> {
        match self.node(value) {
            Some(Node::Dict(entries) | Node::Object { items: entries, .. }) => Some(entries),
            _ => None,
        }
    }

    /// `value[name]` of a dict, `value.name` of an object.
    pub(in crate::checkpoint) fn get(&self, value: Value, name: &str) -> Option<Value> {
        // A doubled key keeps its last value, as in Python.
        let item = |value: Value| {
            let entries = self.entries(value)?;
            let mut entries = entries.iter().rev();
            let (_, found) = entries.find(|(key, _)| self.text(*key) == Some(name))?;
            Some(*found)
        };
        match self.node(value)? {
            Node::Object { state, .. } => item(*state).or_else(|| item(value)),
            _ => item(value),
        }
    }

    /// Like [`Pickle::get`], also through the wrappers of a saved omegaconf configuration, which
    /// keeps its entries under `_content` and each plain value under `_val`.
    pub(in crate::checkpoint) fn setting(&self, value: Value, name: &str) -> Option<Value> {
        let content = || self.get(self.get(value, "_content")?, name);
        let found = self.get(value, name).or_else(content)?;
        Some(self.get(found, "_val").unwrap_or(found))
    }
}
