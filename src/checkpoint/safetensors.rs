//! A `.safetensors` file: 8 bytes of header length, a JSON header, the numbers.
//!
//! The safetensors crate parses and checks each tensor's entry. Its own reader of the whole
//! header keeps the last of two tensors of one name and accepts headers of 100 MB, so the header
//! is parsed here.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;

use ::safetensors::Dtype as TensorDtype;
use ::safetensors::tensor::{Metadata, TensorInfo};
use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use super::error::CheckpointError;
use super::file::WeightFile;
use super::tensors::{Data, FloatType, MOST_DIMENSIONS, StoredTensor};

/// The largest published ESM has a header of about 100 kB.
const MOST_HEADER_BYTES: usize = 4 << 20;
/// The length of the header precedes it.
const LENGTH_BYTES: usize = 8;

/// The tensors that the header of this file describes.
pub(super) fn read(file: &WeightFile) -> Result<Vec<(String, StoredTensor)>, CheckpointError> {
    let damaged = |found| file.damaged(found);
    let length = header_length(file.start(), file.length()).map_err(damaged)?;
    let header = file.read(LENGTH_BYTES, length)?;
    let header = std::str::from_utf8(&header)
        .map_err(|_| file.damaged("has a header that is not UTF-8 text"))?;
    let body = LENGTH_BYTES + length;
    let tensors = tensors(header, file.length() - body).map_err(damaged)?;
    Ok(tensors
        .into_iter()
        .map(|(name, info)| (name, stored(info, body)))
        .collect())
}

/// Whether the file starts as safetensors do: a header length that fits, then a brace.
pub(super) fn looks_like(file: &WeightFile) -> bool {
    has_header(file) && header_length(file.start(), file.length()).is_ok()
}

/// Whether there is a brace where the header of a safetensors file begins.
pub(super) fn has_header(file: &WeightFile) -> bool {
    file.start().get(LENGTH_BYTES) == Some(&b'{')
}

/// Bytes of the header of a file of `file` bytes that begins with `start`.
fn header_length(start: &[u8], file: usize) -> Result<usize, String> {
    let Some(length) = start.first_chunk::<LENGTH_BYTES>() else {
        return Err(format!(
            "ends after {file} bytes, within the header's length"
        ));
    };
    let length = u64::from_le_bytes(*length);
    let rest = file.saturating_sub(LENGTH_BYTES);
    let fits = usize::try_from(length).ok().filter(|n| *n <= rest);
    let Some(length) = fits else {
        return Err(format!(
            "claims a header of {length} bytes, but holds only {rest}"
        ));
    };
    if length > MOST_HEADER_BYTES {
        return Err(format!(
            "claims a header of {length} bytes; no model needs more than 4 MiB"
        ));
    }
    Ok(length)
}

/// The entries of the header, each checked to be in the `body` bytes after it, which they fill without
/// gap or overlap.
fn tensors(header: &str, body: usize) -> Result<Vec<(String, TensorInfo)>, String> {
    let TensorTable(tensors) =
        serde_json::from_str(header).map_err(|error| format!("has a malformed header: {error}"))?;
    if let Some((name, info)) = tensors
        .iter()
        .find(|(_, info)| info.shape.len() > MOST_DIMENSIONS)
    {
        let count = info.shape.len();
        return Err(format!("the tensor `{name}` has {count} dimensions"));
    }
    let mut tensors: Vec<_> = tensors.into_iter().collect();
    tensors.sort_by_key(|(_, info)| info.data_offsets);
    let end = tensors.last().map_or(0, |(_, info)| info.data_offsets.1);
    if let Some((name, info)) = tensors.iter().find(|(_, info)| info.data_offsets.1 > body) {
        let end = info.data_offsets.1;
        return Err(format!(
            "the tensor `{name}` ends at byte {end} of only {body}"
        ));
    }
    if end != body {
        return Err(format!("its tensors fill {end} of {body} bytes"));
    }
    Metadata::new(None, tensors.clone())
        .map_err(|error| format!("has a header that contradicts itself: {error}"))?;
    Ok(tensors)
}

fn stored(info: TensorInfo, body: usize) -> StoredTensor {
    let dtype = match info.dtype {
        TensorDtype::F32 => Ok(FloatType::F32),
        TensorDtype::F16 => Ok(FloatType::F16),
        TensorDtype::BF16 => Ok(FloatType::Bf16),
        other => Err(format!("is stored as {other:?}")),
    };
    let data = match dtype {
        Ok(dtype) => Data::Floats {
            dtype,
            offset: body + info.data_offsets.0,
            strides: row_major(&info.shape),
        },
        Err(found) => Data::Unreadable(found),
    };
    StoredTensor {
        shape: info.shape,
        data,
    }
}

/// Strides of numbers in row-major order. The shape's product is known to fit.
pub(super) fn row_major(shape: &[usize]) -> Vec<usize> {
    let mut strides: Vec<usize> = shape
        .iter()
        .rev()
        .scan(1usize, |next, size| {
            let stride = *next;
            *next = next.saturating_mul(*size);
            Some(stride)
        })
        .collect();
    strides.reverse();
    strides
}

struct TensorTable(HashMap<String, TensorInfo>);

impl<'de> Deserialize<'de> for TensorTable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(TensorTableVisitor)
    }
}

struct TensorTableVisitor;

impl<'de> Visitor<'de> for TensorTableVisitor {
    type Value = TensorTable;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<TensorTable, A::Error> {
        let mut tensors = HashMap::new();
        while let Some(name) = map.next_key::<String>()? {
            if name == "__metadata__" {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            match tensors.entry(name) {
                Entry::Vacant(entry) => entry.insert(map.next_value()?),
                Entry::Occupied(entry) => {
                    let twice = format!("the tensor `{}` occurs twice", entry.key());
                    return Err(A::Error::custom(twice));
                }
            };
        }
        Ok(TensorTable(tensors))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = r#"{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"b":{"dtype":"I64","shape":[1],"data_offsets":[24,32]}}"#;

    #[test]
    fn entries_are_read_and_must_fill_the_body() {
        let read = tensors(TWO, 32).unwrap();
        assert_eq!(read.len(), 2);
        let (name, info) = read.into_iter().next().unwrap();
        assert_eq!(name, "a");
        assert_eq!(
            stored(info, 100),
            StoredTensor {
                shape: vec![2, 3],
                data: Data::Floats {
                    dtype: FloatType::F32,
                    offset: 100,
                    strides: vec![3, 1]
                }
            }
        );
        assert_eq!(
            tensors(TWO, 31).unwrap_err(),
            "the tensor `b` ends at byte 32 of only 31"
        );
        assert_eq!(
            tensors(TWO, 33).unwrap_err(),
            "its tensors fill 32 of 33 bytes"
        );
    }

    #[test]
    fn impossible_headers_are_errors() {
        for (header, says) in [
            (
                r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#,
                "`a` occurs twice",
            ),
            (
                r#"{"a":{"dtype":"F99","shape":[1],"data_offsets":[0,4]}}"#,
                "F99",
            ),
            (
                r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#,
                "contradicts itself",
            ),
            (
                r#"{"a":{"dtype":"F32","shape":[9223372036854775808,2],"data_offsets":[0,4]}}"#,
                "contradicts itself",
            ),
            (
                r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,18446744073709551615]}}"#,
                "ends at byte 18446744073709551615",
            ),
            (
                r#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#,
                "malformed",
            ),
            ("[]", "malformed"),
            ("{", "malformed"),
        ] {
            let found = tensors(header, 4).unwrap_err();
            assert!(found.contains(says), "{header}: {found}");
        }
    }

    #[test]
    fn a_header_length_is_checked_before_it_is_trusted() {
        assert_eq!(
            header_length(b"1234", 4).unwrap_err(),
            "ends after 4 bytes, within the header's length"
        );
        let huge = (1u64 << 63).to_le_bytes();
        assert_eq!(
            header_length(&huge, 10).unwrap_err(),
            "claims a header of 9223372036854775808 bytes, but holds only 2"
        );
        let large = (5u64 << 20).to_le_bytes();
        assert_eq!(
            header_length(&large, 8 << 20).unwrap_err(),
            "claims a header of 5242880 bytes; no model needs more than 4 MiB"
        );
        assert_eq!(header_length(b"\x02\0\0\0\0\0\0\0{}", 10), Ok(2));
    }

    #[test]
    fn strides_of_row_major_shapes() {
        assert_eq!(row_major(&[2, 3, 4]), [12, 4, 1]);
        assert_eq!(row_major(&[5]), [1]);
        assert_eq!(row_major(&[]), Vec::<usize>::new());
    }
}
