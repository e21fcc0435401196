//! Small JSON files, with a limit on their size and duplicate names refused.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::marker::PhantomData;
use std::path::Path;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error, MapAccess, Visitor};

use super::error::CheckpointError;
use super::file::refuse_stand_in;

/// `config.json` is about 1 kB and the index of the largest model about 60 kB.
const MOST_BYTES: u64 = 4 << 20;

/// Parses a JSON file of at most 4 MiB.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<T, CheckpointError> {
    let bytes = bytes(path)?;
    refuse_stand_in(path, &bytes)?;
    serde_json::from_slice(&bytes).map_err(|error| CheckpointError::Config {
        path: path.to_path_buf(),
        found: format!("is not the expected JSON: {error}"),
    })
}

/// The content of a small regular file.
pub(super) fn bytes(path: &Path) -> Result<Vec<u8>, CheckpointError> {
    let io = |source| CheckpointError::Io {
        path: path.to_path_buf(),
        source,
    };
    let kind = path.metadata().map_err(io)?;
    if !kind.is_file() || kind.len() > MOST_BYTES {
        return Err(CheckpointError::Config {
            path: path.to_path_buf(),
            found: format!("is not a file of at most {MOST_BYTES} bytes"),
        });
    }
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MOST_BYTES).read_to_end(&mut bytes))
        .map_err(io)?;
    Ok(bytes)
}

/// A JSON object without duplicate names.
#[derive(Debug)]
pub(super) struct Unique<V>(pub(super) HashMap<String, V>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Unique<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(UniqueVisitor(PhantomData))
    }
}

struct UniqueVisitor<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for UniqueVisitor<V> {
    type Value = Unique<V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object whose names differ")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = HashMap::new();
        while let Some((name, value)) = map.next_entry::<String, V>()? {
            if entries.contains_key(&name) {
                return Err(A::Error::custom(format!("the name `{name}` occurs twice")));
            }
            entries.insert(name, value);
        }
        Ok(Unique(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duplicate_name_is_an_error() {
        let once: Unique<u8> = serde_json::from_str(r#"{"a": 1, "b": 2}"#).unwrap();
        assert_eq!(once.0["b"], 2);
        let twice = serde_json::from_str::<Unique<u8>>(r#"{"a": 1, "a": 2}"#).unwrap_err();
        assert!(
            twice.to_string().contains("the name `a` occurs twice"),
            "{twice}"
        );
    }
}
