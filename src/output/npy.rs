//! The `.npy` format, version 1.0: a header of fixed length, then rows of little-endian numbers.
//!
//! The header is always 128 bytes, whatever the shape, so that a file can be written before the
//! number of its rows is known and completed at the end. 128 is a multiple of 64, which NumPy needs for
//! memory-mapping. Arrays of one to four dimensions in C order and lists of text are supported.

use crate::product::{OutDtype, Values};
use half::f16;
use half::slice::HalfFloatSliceExt;

/// Bytes before the first row.
pub const HEADER_BYTES: usize = 128;

/// Magic, version 1.0, and the length of the text that follows (118), little-endian.
const PREFIX: [u8; 10] = *b"\x93NUMPY\x01\x00\x76\x00";

/// Smallest magnitude that rounds to infinity in f16: half a step beyond 65504.
const HALF_LIMIT: f32 = 65520.0;

/// The most dimensions of an array.
const MOST_DIMENSIONS: usize = 4;

/// The header of an array of this shape, or `None` if the shape has more than four dimensions or is
/// too long for the header. The shape of any array of fewer than 2^64 bytes fits.
pub fn header(dtype: OutDtype, shape: &[u64]) -> Option<[u8; HEADER_BYTES]> {
    let sizes: Vec<String> = shape.iter().map(u64::to_string).collect();
    let comma = if shape.len() == 1 { "," } else { "" };
    let shape_text = format!("({}{comma})", sizes.join(", "));
    let fits = (1..=MOST_DIMENSIONS).contains(&shape.len());
    described(dtype.descr(), &shape_text).filter(|_| fits)
}

/// The header of a list of `rows` texts of at most `characters` characters, in UTF-32.
pub(super) fn text_header(characters: u64, rows: u64) -> Option<[u8; HEADER_BYTES]> {
    described(&format!("<U{characters}"), &format!("({rows},)"))
}

/// The header of a list of `rows` integers of 64 bits.
pub(crate) fn integer_header(rows: u64) -> Option<[u8; HEADER_BYTES]> {
    described("<i8", &format!("({rows},)"))
}

/// The header of a list of `rows` pairs of integers of 32 bits without sign.
pub(super) fn pair_header(rows: u64) -> Option<[u8; HEADER_BYTES]> {
    described("<u4", &format!("({rows}, 2)"))
}

fn described(descr: &str, shape: &str) -> Option<[u8; HEADER_BYTES]> {
    let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    let mut bytes = [b' '; HEADER_BYTES];
    let (prefix, rest) = bytes.split_at_mut(PREFIX.len());
    prefix.copy_from_slice(&PREFIX);
    let (end, rest) = rest.split_last_mut()?;
    *end = b'\n';
    rest.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
    Some(bytes)
}

/// Type and shape of a header, or `None` unless it is, byte for byte, one that [`header`] writes.
pub fn parse_header(bytes: &[u8; HEADER_BYTES]) -> Option<(OutDtype, Vec<u64>)> {
    let text = std::str::from_utf8(bytes.get(PREFIX.len()..)?).ok()?;
    let text = text.strip_prefix("{'descr': '")?;
    let (descr, text) = text.split_once("', 'fortran_order': False, 'shape': (")?;
    let (shape, _) = text.split_once("), }")?;
    let sizes = shape.trim_end_matches(',').split(", ");
    let shape: Vec<u64> = sizes.map(str::parse).collect::<Result<_, _>>().ok()?;
    let dtype = match descr {
        "<f4" => OutDtype::F32,
        "<f2" => OutDtype::F16,
        _ => return None,
    };
    (header(dtype, &shape)? == *bytes).then_some((dtype, shape))
}

/// Characters and number of the texts of a header, or `None` unless it is, byte for byte, one that
/// [`text_header`] writes.
pub(super) fn parse_text_header(bytes: &[u8; HEADER_BYTES]) -> Option<(u64, u64)> {
    let text = std::str::from_utf8(bytes.get(PREFIX.len()..)?).ok()?;
    let text = text.strip_prefix("{'descr': '<U")?;
    let (characters, text) = text.split_once("', 'fortran_order': False, 'shape': (")?;
    let (rows, _) = text.split_once(",), }")?;
    let (characters, rows) = (characters.parse().ok()?, rows.parse().ok()?);
    (text_header(characters, rows)? == *bytes).then_some((characters, rows))
}

impl Values<'_> {
    pub(super) fn len(self) -> usize {
        match self {
            Values::F32(values) => values.len(),
            Values::F16(values) => values.len(),
        }
    }

    /// Index of the first value that cannot be stored: NaN, infinite, or infinite as f16.
    pub(crate) fn first_unfit(self, dtype: OutDtype) -> Option<usize> {
        let limit = match dtype {
            OutDtype::F32 => f32::INFINITY,
            OutDtype::F16 => HALF_LIMIT,
        };
        match self {
            Values::F32(values) => first(values, |value| value.abs() >= limit || value.is_nan()),
            Values::F16(values) => first(values, |value| !value.is_finite()),
        }
    }

    /// A value as f32.
    pub(super) fn get(self, at: usize) -> Option<f32> {
        match self {
            Values::F32(values) => values.get(at).copied(),
            Values::F16(values) => values.get(at).map(|value| value.to_f32()),
        }
    }

    /// The values in chunks of `size`.
    pub(super) fn chunks(self, size: usize) -> impl Iterator<Item = Self> {
        let (floats, halves) = match self {
            Values::F32(values) => (values, &[][..]),
            Values::F16(values) => (&[][..], values),
        };
        let floats = floats.chunks(size).map(Values::F32);
        floats.chain(halves.chunks(size).map(Values::F16))
    }

    /// Appends the bytes of the file; f16 is rounded to nearest, ties to even.
    pub(crate) fn encode(self, dtype: OutDtype, bytes: &mut Vec<u8>) {
        match (self, dtype) {
            (Values::F32(values), OutDtype::F32) => {
                bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
            }
            (Values::F32(values), OutDtype::F16) => {
                let mut halves = [f16::ZERO; BLOCK];
                for block in values.chunks(BLOCK) {
                    let (halves, _) = halves.split_at_mut(block.len());
                    halves.convert_from_f32_slice(block);
                    append(halves, bytes);
                }
            }
            (Values::F16(values), _) => append(values, bytes),
        }
    }
}

/// Appends halves in little-endian order. Resizing once lets the compiler vectorise the loop.
fn append(values: &[f16], bytes: &mut Vec<u8>) {
    let start = bytes.len();
    bytes.resize(start + 2 * values.len(), 0);
    let (_, to) = bytes.split_at_mut(start);
    for (to, value) in to.as_chunks_mut::<2>().0.iter_mut().zip(values) {
        *to = value.to_le_bytes();
    }
}

/// Index of the first unfit value.
fn first<T>(values: &[T], is_unfit: impl Fn(&T) -> bool) -> Option<usize> {
    // A fold without early exit is vectorised; only the one block that fails is searched.
    let block = values.chunks(BLOCK).position(|block| {
        block
            .iter()
            .fold(false, |unfit, value| unfit | is_unfit(value))
    })?;
    let start = block * BLOCK;
    let within = values.get(start..)?.iter().position(is_unfit)?;
    Some(start + within)
}

const BLOCK: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray_npy::ReadNpyExt;
    use proptest::prelude::*;

    fn first_unfit(values: &[f32], dtype: OutDtype) -> Option<usize> {
        Values::F32(values).first_unfit(dtype)
    }

    fn encode(values: &[f32], dtype: OutDtype, bytes: &mut Vec<u8>) {
        Values::F32(values).encode(dtype, bytes);
    }

    #[test]
    fn literal_bytes() {
        let expected = b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f4', 'fortran_order': False, 'shape': (4127, 320), }                                                     \n";
        assert_eq!(header(OutDtype::F32, &[4127, 320]), Some(*expected));
        let start = |shape: &[u64]| header(OutDtype::F16, shape).unwrap()[10..].to_vec();
        assert!(
            start(&[7])
                .starts_with(b"{'descr': '<f2', 'fortran_order': False, 'shape': (7,), }   ")
        );
        assert!(start(&[6, 20, 12, 12]).starts_with(
            b"{'descr': '<f2', 'fortran_order': False, 'shape': (6, 20, 12, 12), }  "
        ));
    }

    #[test]
    fn the_largest_shapes_fit() {
        let n = u64::MAX;
        let bytes = header(OutDtype::F16, &[n, n]).unwrap();
        assert_eq!(parse_header(&bytes), Some((OutDtype::F16, vec![n, n])));
        assert_eq!(&bytes[107..], b"                    \n");
        // The largest attention maps of f16 with less than 2^64 bytes.
        assert!(header(OutDtype::F16, &[96, 128, 27_396_000, 27_396_000]).is_some());
        for shape in [&[][..], &[n, n, n], &[1, 1, 1, 1, 1]] {
            assert_eq!(header(OutDtype::F16, shape), None, "{shape:?}");
        }
    }

    #[test]
    fn another_reader_reads_it() {
        let mut bytes = header(OutDtype::F32, &[2, 3]).unwrap().to_vec();
        encode(
            &[1.0, -2.5, 3.0, 0.0, f32::MIN_POSITIVE, 6.0],
            OutDtype::F32,
            &mut bytes,
        );
        let matrix = ndarray::Array2::<f32>::read_npy(bytes.as_slice()).unwrap();
        assert_eq!(
            matrix,
            ndarray::array![[1.0, -2.5, 3.0], [0.0, f32::MIN_POSITIVE, 6.0]]
        );
    }

    #[test]
    fn half_precision_rounds_to_nearest_even() {
        let mut bytes = Vec::new();
        // 2049 lies between 2048 and 2050, 2051 between 2050 and 2052.
        encode(
            &[1.0, -2.0, 2049.0, 2051.0, 65519.996, 5.960_464_5e-8],
            OutDtype::F16,
            &mut bytes,
        );
        assert_eq!(
            bytes,
            [
                0x00, 0x3c, 0x00, 0xc0, 0x00, 0x68, 0x02, 0x68, 0xff, 0x7b, 0x01, 0x00
            ]
        );
    }

    #[test]
    fn unfit_values_are_found_where_they_stand() {
        let mut values = vec![1.0_f32; 5000];
        assert_eq!(first_unfit(&values, OutDtype::F16), None);
        values[4321] = 65520.0;
        assert_eq!(first_unfit(&values, OutDtype::F16), Some(4321));
        assert_eq!(first_unfit(&values, OutDtype::F32), None);
        values[17] = f32::NAN;
        assert_eq!(first_unfit(&values, OutDtype::F32), Some(17));
        values[16] = f32::NEG_INFINITY;
        assert_eq!(first_unfit(&values, OutDtype::F32), Some(16));
        assert_eq!(first_unfit(&[-65519.996], OutDtype::F16), None);
        assert_eq!(first_unfit(&[-65520.0], OutDtype::F16), Some(0));
    }

    #[test]
    fn halves_are_stored_as_they_come() {
        let halves = [1.0, -2.0, 65504.0, 5.960_464_5e-8].map(f16::from_f32);
        let mut bytes = vec![7];
        Values::F16(&halves).encode(OutDtype::F16, &mut bytes);
        assert_eq!(bytes, [7, 0x00, 0x3c, 0x00, 0xc0, 0xff, 0x7b, 0x01, 0x00]);
        let mut all = vec![f16::ONE; 5000];
        assert_eq!(Values::F16(&all).first_unfit(OutDtype::F16), None);
        all[4321] = f16::NEG_INFINITY;
        assert_eq!(Values::F16(&all).first_unfit(OutDtype::F16), Some(4321));
        all[9] = f16::NAN;
        assert_eq!(Values::F16(&all).first_unfit(OutDtype::F16), Some(9));
        let sizes: Vec<usize> = Values::F16(&all).chunks(2048).map(Values::len).collect();
        assert_eq!(sizes, [2048, 2048, 904]);
    }

    proptest! {
        #[test]
        fn halves_give_the_bytes_of_the_floats_that_they_were(bits in proptest::collection::vec(any::<u32>(), 0..3000)) {
            let floats: Vec<f32> = bits.into_iter().map(f32::from_bits).filter(|x| !x.is_nan()).collect();
            let halves: Vec<f16> = floats.iter().map(|x| f16::from_f32(*x)).collect();
            let (mut expected, mut found) = (Vec::new(), Vec::new());
            Values::F32(&floats).encode(OutDtype::F16, &mut expected);
            Values::F16(&halves).encode(OutDtype::F16, &mut found);
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn a_header_is_read_back(shape in proptest::collection::vec(0..1_u64 << 40, 1..=4)) {
            let bytes = header(OutDtype::F32, &shape).unwrap();
            prop_assert_eq!(parse_header(&bytes), Some((OutDtype::F32, shape)));
        }

        #[test]
        fn a_header_of_texts_is_read_back(characters: u64, rows: u64) {
            let bytes = text_header(characters, rows).unwrap();
            prop_assert_eq!(parse_text_header(&bytes), Some((characters, rows)));
            prop_assert_eq!(parse_header(&bytes), None);
        }

        #[test]
        fn a_changed_header_is_refused_or_differs(rows: u64, dim in 1..10_000_u64, at in 0..128_usize, to: u8) {
            let mut bytes = header(OutDtype::F32, &[rows, dim]).unwrap();
            prop_assume!(bytes[at] != to);
            bytes[at] = to;
            prop_assert_ne!(parse_header(&bytes), Some((OutDtype::F32, vec![rows, dim])));
        }

        #[test]
        fn a_value_fits_exactly_when_its_half_is_finite(bits: u32) {
            let value = f32::from_bits(bits);
            let fits = half::f16::from_f32(value).is_finite();
            prop_assert_eq!(first_unfit(&[value], OutDtype::F16).is_none(), fits);
        }
    }
}
