//! The input of all models: sequences as a tensor of BYTES.

use crate::numerals::count;
use crate::printable;
use crate::server::refusal::{Kind, Refusal};
use prost::bytes::{Buf, Bytes};

/// The name of the input.
pub const INPUT: &str = "sequences";
/// Its type.
pub const DATATYPE: &str = "BYTES";

/// Checks that the inputs of a request, each a name, a type and a shape, are the one that there is;
/// returns its number of sequences.
///
/// # Errors
/// They are others.
pub fn check_input<'a>(
    inputs: impl ExactSizeIterator<Item = (&'a str, &'a str, &'a [i64])>,
) -> Result<usize, Refusal> {
    let invalid = |text: String| Err(Refusal::new(Kind::Invalid, text));
    let number = inputs.len();
    let mut inputs = inputs;
    let (Some((name, datatype, shape)), 1) = (inputs.next(), number) else {
        return invalid(format!(
            "the request has {}, where one named {INPUT} is expected",
            count(number as u64, "input")
        ));
    };
    if name != INPUT {
        let name = printable::start(name, 80);
        return invalid(format!(
            "the input `{name}` is unknown: it is named {INPUT}"
        ));
    }
    if datatype != DATATYPE {
        let datatype = printable::start(datatype, 80);
        return invalid(format!(
            "{INPUT} has the type `{datatype}`, where {DATATYPE} is expected"
        ));
    }
    match *shape {
        [n] | [n, 1] if n >= 0 => {
            usize::try_from(n).or_else(|_| invalid(format!("{INPUT} is too long")))
        }
        _ => {
            let sizes: Vec<String> = shape.iter().take(8).map(i64::to_string).collect();
            let sizes = sizes.join(", ");
            invalid(format!(
                "{INPUT} has the shape [{sizes}], where [N] or [N, 1] is expected"
            ))
        }
    }
}

/// The elements of a tensor of BYTES, each with its length as four bytes before it. `take_for` takes the
/// memory for that number of elements before they are made.
///
/// # Errors
/// There are not `expected` of them, or the last one ends early; or there is no memory for them.
pub fn elements(
    mut raw: Bytes,
    expected: usize,
    take_for: impl FnOnce(usize) -> Result<(), Refusal>,
) -> Result<Vec<Bytes>, Refusal> {
    take_for(expected.min(raw.len() / size_of::<u32>()))?;
    let mut elements = Vec::new();
    while raw.has_remaining() && elements.len() < expected {
        let length = raw.try_get_u32_le().map(|length| length as usize);
        match length {
            Ok(length) if length <= raw.len() => elements.push(raw.split_to(length)),
            _ => {
                let text = format!("{INPUT}[{}] ends early", elements.len());
                return Err(Refusal::new(Kind::Invalid, text));
            }
        }
    }
    match raw.has_remaining() {
        false => check_number(elements.len(), expected).map(|()| elements),
        true => {
            let text = format!("{INPUT} has more elements than its shape says, {expected}");
            Err(Refusal::new(Kind::Invalid, text))
        }
    }
}

/// Whether there are as many elements as the shape says.
///
/// # Errors
/// There are not.
pub fn check_number(found: usize, expected: usize) -> Result<(), Refusal> {
    match found == expected {
        true => Ok(()),
        false => {
            let found = count(found as u64, "element");
            let text = format!("{INPUT} has {found}, and its shape says {expected}");
            Err(Refusal::new(Kind::Invalid, text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::body_memory::take_for_elements;
    use crate::server::byte_budget::ByteBudget;

    #[test]
    fn one_input_of_one_name_type_and_shape() {
        let check = |inputs: &[(&str, &str, &[i64])]| {
            check_input(inputs.iter().copied()).map_err(|refusal| refusal.message)
        };
        assert_eq!(check(&[("sequences", "BYTES", &[3])]), Ok(3));
        assert_eq!(check(&[("sequences", "BYTES", &[3, 1])]), Ok(3));
        for (inputs, says) in [
            (
                &[][..],
                "the request has 0 inputs, where one named sequences is expected",
            ),
            (
                &[
                    ("sequences", "BYTES", &[3][..]),
                    ("sequences", "BYTES", &[3]),
                ],
                "the request has 2 inputs, where one named sequences is expected",
            ),
            (
                &[("sequence", "BYTES", &[3])],
                "the input `sequence` is unknown: it is named sequences",
            ),
            (
                &[("sequences", "INT64", &[3])],
                "sequences has the type `INT64`, where BYTES is expected",
            ),
            (
                &[("sequences", "BYTES", &[1, 3])],
                "sequences has the shape [1, 3], where [N] or [N, 1] is expected",
            ),
            (
                &[("sequences", "BYTES", &[-1, 1])],
                "sequences has the shape [-1, 1], where [N] or [N, 1] is expected",
            ),
            (
                &[("sequences", "BYTES", &[])],
                "sequences has the shape [], where [N] or [N, 1] is expected",
            ),
        ] {
            assert_eq!(check(inputs), Err(says.to_owned()));
        }
    }

    #[test]
    fn elements_have_their_lengths_before_them() {
        let taken = ByteBudget::new(2 << 10).nothing();
        let elements = |raw: &'static [u8], expected| {
            let found = elements(Bytes::from_static(raw), expected, |elements| {
                taken.clear();
                take_for_elements(&taken, elements)
            });
            found.map_err(|refusal| refusal.message)
        };
        let found = elements(b"\x02\0\0\0MK\0\0\0\0\x01\0\0\0T", 3).unwrap();
        assert_eq!(found, [&b"MK"[..], b"", b"T"]);
        assert_eq!(elements(b"", 0), Ok(Vec::new()));
        for (raw, expected, says) in [
            (
                &b"\x02\0\0\0MK"[..],
                2,
                "sequences has 1 element, and its shape says 2",
            ),
            (b"\x02\0\0\0M", 1, "sequences[0] ends early"),
            (
                b"\x01\0\0\0M\0\0\0\0",
                1,
                "sequences has more elements than its shape says, 1",
            ),
            (
                b"\x01\0\0\0M",
                usize::MAX,
                "sequences has 1 element, and its shape says 18446744073709551615",
            ),
            (
                &[0; 64],
                16,
                "the body has about 16 elements, more than this server has memory for: send several \
                 requests",
            ),
            (b"\x01\0\0\0M\x01\0\0", 2, "sequences[1] ends early"),
            (b"\xff\xff\xff\xffM", 1, "sequences[0] ends early"),
        ] {
            assert_eq!(elements(raw, expected), Err(says.to_owned()));
        }
    }
}
