//! Names in a pickle, and what calling them would build. Nothing is called: the few functions
//! that rebuild tensors and containers are known by name, and any other leaves an inert object.

use super::globals::{is_code, is_code_attribute};
use super::machine::{Machine, PickleError, malformed};
use super::{Node, Value};
use crate::printable;

impl<'a> Machine<'a> {
    pub(super) fn global(&mut self, opcode: u8) -> Result<(), PickleError> {
        let (module, name) = if opcode == b'c' {
            (self.take_line()?, self.take_line()?)
        } else {
            let name = self.pop()?;
            let module = self.pop()?;
            match (self.get(module), self.get(name)) {
                (Some(Node::Text(module)), Some(Node::Text(name))) => (*module, *name),
                _ => return malformed("names something by values that are not text"),
            }
        };
        if is_code(module, name) {
            let global = format!("{}.{}", printable::name(module), printable::name(name));
            return Err(PickleError::Refused(global));
        }
        self.push_node(Node::Global { module, name })
    }

    /// A call of a known name becomes what it would build; any other becomes an inert object.
    pub(super) fn call(&mut self) -> Result<(), PickleError> {
        let arguments = self.pop()?;
        let class = self.pop()?;
        let made_of = arguments;
        let Some(Node::List(arguments)) = self.get(arguments) else {
            return malformed("calls with arguments that are not a tuple");
        };
        let (module, name) = match self.get(class) {
            Some(Node::Global { module, name }) => (*module, *name),
            // What another call would have returned.
            Some(Node::Object { .. }) => ("", ""),
            _ => return malformed("calls something that is not a name"),
        };
        let first = arguments.first().copied();
        if let ("builtins" | "__builtin__", "getattr") = (module, name) {
            self.refuse_code_attribute(arguments)?;
        }
        let built = match (module, name) {
            ("torch._utils", "_rebuild_tensor_v2" | "_rebuild_tensor") => tensor(arguments),
            ("torch._tensor", "_rebuild_from_type_v2") => self.tensor_of_type(arguments),
            ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state")
            | ("torch", "Size") => return self.push(first.unwrap_or(Value::None)),
            ("collections", "OrderedDict") | ("builtins" | "__builtin__", "dict") => {
                Some(Node::Dict(self.pairs(first)?))
            }
            ("collections", "defaultdict") => Some(Node::Dict(Vec::new())),
            _ => None,
        };
        self.push_node(built.unwrap_or(Node::Object {
            made_of,
            state: Value::None,
            items: Vec::new(),
        }))
    }

    /// `getattr(object, "name")` is how a pickle spells a class in a class or the method of an
    /// object. It becomes an inert object, unless the name is one that runs something.
    fn refuse_code_attribute(&self, arguments: &[Value]) -> Result<(), PickleError> {
        let text = |at: usize| match self.get(*arguments.get(at)?)? {
            Node::Text(text) => Some(*text),
            _ => None,
        };
        match text(1) {
            Some(attribute) if !is_code_attribute(attribute) => Ok(()),
            attribute => {
                let attribute = printable::name(attribute.unwrap_or("?"));
                Err(PickleError::Refused(format!("getattr(…, `{attribute}`)")))
            }
        }
    }

    /// `_rebuild_from_type_v2(rebuild, class, arguments, state)`: a tensor of a subclass.
    fn tensor_of_type(&self, arguments: &[Value]) -> Option<Node<'a>> {
        let [rebuild, _, arguments, ..] = arguments else {
            return None;
        };
        match (self.get(*rebuild), self.get(*arguments)) {
            (
                Some(Node::Global {
                    module: "torch._utils",
                    name: "_rebuild_tensor_v2" | "_rebuild_tensor",
                }),
                Some(Node::List(arguments)),
            ) => tensor(arguments),
            _ => None,
        }
    }

    /// The pairs that an ordered dict is made from. Each item counts against the bound on held
    /// values, and so does an item that is not a pair: a pickle may make many dicts from one long list.
    fn pairs(&mut self, list: Option<Value>) -> Result<Vec<(Value, Value)>, PickleError> {
        let count = match list.and_then(|list| self.get(list)) {
            Some(Node::List(items)) => items.len(),
            _ => return Ok(Vec::new()),
        };
        self.hold(2 * count)?;
        let Some(Node::List(items)) = list.and_then(|list| self.get(list)) else {
            return Ok(Vec::new());
        };
        let pair = |item: &Value| match self.get(*item) {
            Some(Node::List(pair)) => pair.first().copied().zip(pair.get(1).copied()),
            _ => None,
        };
        Ok(items.iter().filter_map(pair).collect())
    }

    pub(super) fn build(&mut self) -> Result<(), PickleError> {
        let state = self.pop()?;
        let target = self.top()?;
        // An object with slots has a pair of states; settings are in the first.
        let state = match self.get(state) {
            Some(Node::List(pair)) => pair.first().copied().unwrap_or(state),
            _ => state,
        };
        match self.get_mut(target) {
            Some(Node::Object { state: old, .. }) => *old = state,
            // State of a dict is `_metadata`, of a tensor its hooks: neither carries weights.
            Some(Node::Dict(_) | Node::Tensor { .. }) => {}
            _ => return malformed("gives a state to something that is not an object"),
        }
        Ok(())
    }

    /// A persistent id is torch's name of a storage:
    /// `("storage", class, key, device, count of numbers)`.
    pub(super) fn persistent(&mut self) -> Result<(), PickleError> {
        let id = self.pop()?;
        let wrong = "has a persistent id that is not a torch storage";
        let Some(Node::List(id)) = self.get(id) else {
            return malformed(wrong);
        };
        let [tag, class, key, _, Value::Int(count), ..] = id.as_slice() else {
            return malformed(wrong);
        };
        let node = match (
            self.get(*tag),
            self.get(*class),
            self.get(*key),
            u64::try_from(*count),
        ) {
            (
                Some(Node::Text("storage")),
                Some(Node::Global { name, .. }),
                Some(Node::Text(key)),
                Ok(count),
            ) => Node::Storage {
                kind: name,
                key,
                count,
            },
            _ => return malformed(wrong),
        };
        self.push_node(node)
    }
}

/// `_rebuild_tensor_v2(storage, offset, size, stride, …)`.
fn tensor<'a>(arguments: &[Value]) -> Option<Node<'a>> {
    let [storage, Value::Int(offset), shape, strides, ..] = arguments else {
        return None;
    };
    let offset = u64::try_from(*offset).ok()?;
    Some(Node::Tensor {
        storage: *storage,
        offset,
        shape: *shape,
        strides: *strides,
    })
}
