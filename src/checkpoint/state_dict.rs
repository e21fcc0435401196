//! Where a torch file keeps the weights: the one dict that holds an ESM embedding matrix, under
//! whatever keys.

use std::collections::VecDeque;

use super::names::is_embedding;
use super::pickle::{Node, Pickle, Value};
use crate::printable;

/// Copies of the weights that are distinguished.
const MOST_CANDIDATES: usize = 16;

/// Keys of the path to a dict that a message shows.
const MOST_KEYS: usize = 8;

/// The dict of weights, and the one that holds it beside the settings.
#[derive(Debug, PartialEq)]
pub(super) struct StateDict {
    pub(super) state: Value,
    pub(super) holder: Value,
}

/// Placeholder in a hint for the path of the file as Python spells it.
pub(super) const PATH: &str = "{PATH}";

/// Why there is no such dict; `found` is the end of the sentence "the file …".
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) found: String,
    pub(super) remedy: String,
}

/// Finds the dict of weights.
///
/// A file without an ESM embedding matrix may be a shard of a checkpoint that has one: then the dict with
/// the most tensors is taken.
pub(super) fn find(pickle: &Pickle<'_>) -> Result<StateDict, Wrong> {
    let visited = Visited::all(pickle);
    let mut candidates: Vec<&Visit> = Vec::new();
    for place in &visited.order {
        if candidates.len() < MOST_CANDIDATES
            && named(pickle, place.value).any(is_embedding)
            // The same tensors under the same names are the same state dict, saved twice.
            && candidates
                .iter()
                .all(|other| pickle.entries(other.value) != pickle.entries(place.value))
        {
            candidates.push(place);
        }
    }
    // Of several encoders, ESM's has a LayerNorm after its last layer.
    let is_esm = |place: &&&Visit| {
        named(pickle, place.value).any(|name| name.ends_with("emb_layer_norm_after.weight"))
    };
    if let [one] = candidates
        .iter()
        .filter(is_esm)
        .collect::<Vec<_>>()
        .as_slice()
    {
        candidates = vec![**one];
    }
    match candidates.as_slice() {
        [one] => Ok(visited.found(one)),
        [] => without_embedding(pickle, &visited),
        several => {
            let names: Vec<String> = several
                .iter()
                .map(|place| visited.keys(pickle, place))
                .collect();
            let first = several
                .first()
                .map_or(String::new(), |place| visited.python(pickle, place));
            Err(Wrong {
                found: format!(
                    "holds the weights of {} models, under {}",
                    names.len(),
                    printable::list(&names)
                ),
                remedy: format!(
                    "save the one that you want in Python: `import torch; \
                     torch.save(torch.load({PATH}, weights_only=False){first}, \"weights.pt\")`"
                ),
            })
        }
    }
}

fn without_embedding(pickle: &Pickle<'_>, visited: &Visited) -> Result<StateDict, Wrong> {
    let count = |place: &Visit| tensors(pickle, place.value);
    // The first of equal ones: the outermost.
    let most = visited.order.iter().rev().max_by_key(|place| count(place));
    let mut places = visited.order.iter();
    if let Some(module) = places.find(|place| is_module(pickle, place.value)) {
        return Err(whole_module(pickle, visited, module));
    }
    if let Some(most) = most.filter(|place| count(place) > 0) {
        return Ok(visited.found(most));
    }
    let all = pickle.nodes.iter();
    let all = all
        .filter(|node| matches!(node, Node::Tensor { .. }))
        .count();
    Err(Wrong {
        found: match all {
            0 => "holds no tensors".into(),
            1 => "holds 1 tensor, but no dict of named weights".into(),
            _ => format!("holds {all} tensors, but no dict of named weights"),
        },
        remedy: match all {
            0 => "use the weights of an ESM-2, ESM-1b, ESM-1v or ESM C model",
            _ => {
                "use the weights of an ESM-2, ESM-1b, ESM-1v or ESM C model, saved with \
                 `torch.save(model.state_dict(), \"weights.pt\")`"
            }
        }
        .into(),
    })
}

fn whole_module(pickle: &Pickle<'_>, visited: &Visited, module: &Visit) -> Wrong {
    let keys = visited.python(pickle, module);
    let load = format!("torch.load({PATH}, weights_only=False){keys}");
    // A model of transformers keeps its configuration, and writes both.
    let remedy = if pickle.get(module.value, "config").is_some() {
        format!(
            "save it in Python where its classes can be imported, and use the folder `converted`: \
             `import torch; {load}.save_pretrained(\"converted\")`"
        )
    } else {
        format!(
            "save only its weights in Python, where its classes can be imported: `import torch; \
             torch.save({load}.state_dict(), \"weights.pt\")`"
        )
    };
    Wrong {
        found: match keys.as_str() {
            "" => "is a complete pickled module (torch.save(model)), not a state dict".into(),
            _ => format!(
                "holds a complete pickled module under {}, not a state dict",
                visited.keys(pickle, module)
            ),
        },
        remedy,
    }
}

/// A value with the path that leads to it.
struct Visit {
    value: Value,
    /// Number of the place that holds it, and the key there.
    from: Option<(usize, Key)>,
}

/// What a place is called in the one that holds it.
#[derive(Clone, Copy)]
enum Key {
    Of(Value),
    At(usize),
    Unnamed,
}

/// Every dict, list and object of a pickle once, the outermost first. A pickle may be of any shape,
/// so each value takes the same little room.
struct Visited {
    order: Vec<Visit>,
}

impl Visited {
    fn all(pickle: &Pickle<'_>) -> Self {
        let mut order: Vec<Visit> = Vec::new();
        let mut seen = vec![false; pickle.nodes.len()];
        let mut see = |value: Value| {
            let Value::Node(number) = value else {
                return false;
            };
            let seen = usize::try_from(number)
                .ok()
                .and_then(|number| seen.get_mut(number));
            seen.is_some_and(|seen| !std::mem::replace(seen, true))
        };
        let mut queue = VecDeque::new();
        if see(pickle.root) {
            queue.push_back(Visit {
                value: pickle.root,
                from: None,
            });
        }
        while let Some(place) = queue.pop_front() {
            let at = order.len();
            let mut push = |value: Value, key: Key| {
                if see(value) {
                    let from = Some((at, key));
                    queue.push_back(Visit { value, from });
                }
            };
            match pickle.node(place.value) {
                Some(Node::Dict(entries)) => entries
                    .iter()
                    .for_each(|(key, value)| push(*value, Key::Of(*key))),
                Some(Node::List(values)) => values
                    .iter()
                    .enumerate()
                    .for_each(|(number, value)| push(*value, Key::At(number))),
                Some(Node::Object {
                    made_of,
                    state,
                    items,
                }) => {
                    push(*made_of, Key::Unnamed);
                    push(*state, Key::Unnamed);
                    items
                        .iter()
                        .for_each(|(key, value)| push(*value, Key::Of(*key)));
                }
                _ => continue,
            }
            order.push(place);
        }
        Self { order }
    }

    fn found(&self, place: &Visit) -> StateDict {
        let holder = place
            .from
            .as_ref()
            .and_then(|(number, _)| self.order.get(*number));
        StateDict {
            state: place.value,
            holder: holder.map_or(place.value, |holder| holder.value),
        }
    }

    /// The innermost keys on the way to a place, the outermost of them first, each as `text`
    /// spells it.
    fn path(&self, place: &Visit, text: impl Fn(Key) -> Option<String>) -> Vec<String> {
        let mut keys = Vec::new();
        let mut next = place.from;
        while let Some((number, key)) = next {
            if keys.len() < MOST_KEYS {
                keys.extend(text(key));
            }
            next = self.order.get(number).and_then(|place| place.from);
        }
        keys.reverse();
        keys
    }

    /// `a.b`, or what the whole file is.
    fn keys(&self, pickle: &Pickle<'_>, place: &Visit) -> String {
        match self.path(place, |key| key_text(pickle, key)).as_slice() {
            [] => "the file itself".into(),
            keys => keys.join("."),
        }
    }

    /// `["a"][0]`.
    fn python(&self, pickle: &Pickle<'_>, place: &Visit) -> String {
        let keys = self.path(place, |key| match key {
            Key::Of(Value::Int(number)) => Some(format!("[{number}]")),
            Key::Of(key) => Some(format!("[{}]", printable::python(pickle.text(key)?))),
            Key::At(number) => Some(format!("[{number}]")),
            Key::Unnamed => None,
        });
        keys.concat()
    }
}

fn key_text(pickle: &Pickle<'_>, key: Key) -> Option<String> {
    match key {
        Key::Of(Value::Int(number)) => Some(number.to_string()),
        Key::Of(key) => pickle.text(key).map(printable::name),
        Key::At(number) => Some(number.to_string()),
        Key::Unnamed => None,
    }
}

/// The tensors of a dict with their names.
fn named<'a, 'b: 'a>(pickle: &'a Pickle<'b>, value: Value) -> impl Iterator<Item = &'b str> + 'a {
    let entries = pickle.entries(value).unwrap_or_default().iter();
    entries.filter_map(|(key, value)| {
        let is_tensor = matches!(pickle.node(*value), Some(Node::Tensor { .. }));
        pickle.text(*key).filter(|_| is_tensor)
    })
}

fn tensors(pickle: &Pickle<'_>, value: Value) -> usize {
    named(pickle, value).count()
}

/// Whether the value is an instance of torch's `Module`.
fn is_module(pickle: &Pickle<'_>, value: Value) -> bool {
    let is_object = matches!(pickle.node(value), Some(Node::Object { .. }));
    is_object
        && ["_parameters", "_modules"]
            .iter()
            .all(|name| pickle.get(value, name).is_some())
}

#[cfg(test)]
#[path = "state_dict_tests.rs"]
mod tests;
