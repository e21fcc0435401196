//! Answers as lists of numbers, as an array of NumPy, or as an archive of such arrays.

use super::accept::Format;
use super::send::{Encode, send};
use crate::output::header as npy_header;
use crate::product::{OutDtype, Product};
use crate::server::facts::Facts;
use crate::server::notes::Notes;
use crate::server::refusal::{Kind, Refusal};
use crate::server::service::Answer;
use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response};
use serde::Serialize;
use std::borrow::Cow;
use std::io::{self, Write};
use zip::write::{SimpleFileOptions, ZipWriter};

/// What was done to sequences, as JSON: a list of objects with the `index` of the input.
pub const NOTES: HeaderName = HeaderName::from_static("x-sequence-notes");
/// How many sequences with notes did not fit the header.
pub const MORE_NOTES: HeaderName = HeaderName::from_static("x-sequence-notes-omitted");
/// Tokens of the passes over the sequences of the request.
pub const TOKENS: HeaderName = HeaderName::from_static("x-compute-tokens");

/// Bytes of notes in a header: clients and proxies allow about 8 KB for all of them.
const NOTES_BYTES: usize = 4000;
/// Bytes of a number in JSON, about.
const DIGITS: u64 = 12;

/// The answers to a request, and how they are sent.
pub struct Arrays {
    /// One for each input.
    pub answers: Vec<Answer>,
    /// The product that is sent.
    pub product: Product,
    /// The shape of each array.
    pub shapes: Vec<Vec<u64>>,
    /// Whether rows are divided by their lengths.
    pub normalize: bool,
    /// Whether the request was a list.
    pub is_list: bool,
    /// The key of the arrays in an object, beside `notes`; None for a bare list.
    pub key: Option<&'static str>,
}

/// The notes of one input.
#[derive(Serialize)]
pub struct NotesOf<'a> {
    /// Its place in the request.
    pub index: usize,
    /// What was done.
    #[serde(flatten)]
    pub notes: &'a Notes,
}

impl Arrays {
    /// Answers of this product.
    pub fn new(answers: Vec<Answer>, product: Product, facts: &Facts) -> Arrays {
        let shape = |answer: &Answer| facts.shape_of(product, answer.residues());
        Arrays {
            shapes: answers.iter().map(shape).collect(),
            answers,
            product,
            normalize: false,
            is_list: true,
            key: None,
        }
    }

    /// Sends them. `held` is dropped when they have been written.
    ///
    /// # Errors
    /// They are not one array.
    pub fn send(
        self,
        format: Format,
        held: impl Send + 'static,
    ) -> Result<Response<Body>, Refusal> {
        if format == Format::Npy && self.npy_shape().is_none() {
            return Err(Refusal::new(
                Kind::NotAcceptable,
                "the answers have different lengths and are not one array: accept application/zip, \
                 an npz with one array for each input",
            ));
        }
        let tokens: usize = self.answers.iter().map(Answer::tokens).sum();
        let (notes, more) = notes_header(&self.answers);
        let mut response = match format {
            Format::Json => send("application/json", Json(self), held),
            Format::Npy => send("application/x-npy", Npy(self), held),
            Format::Npz => send("application/zip", Npz(self), held),
        };
        let headers = response.headers_mut();
        headers.insert(TOKENS, HeaderValue::from(tokens));
        if let Some(notes) = notes {
            headers.insert(NOTES, notes);
        }
        if more > 0 {
            headers.insert(MORE_NOTES, HeaderValue::from(more));
        }
        Ok(response)
    }

    fn values<'a>(&self, answer: &'a Answer) -> Cow<'a, [f32]> {
        let values = answer.values(self.product);
        match self.normalize {
            true => Cow::Owned(normalized(values)),
            false => Cow::Borrowed(values),
        }
    }

    /// The shape of all answers as one array.
    fn npy_shape(&self) -> Option<Vec<u64>> {
        let first = self.shapes.first()?;
        match (self.is_list, first.len(), self.shapes.len()) {
            (false, _, _) => Some(first.clone()),
            (true, 1, count) => Some([&[count as u64], first.as_slice()].concat()),
            (true, _, 1) => Some(first.clone()),
            (true, ..) => None,
        }
    }

    fn numbers(&self) -> u64 {
        let answers = self.answers.iter();
        answers
            .map(|answer| answer.values(self.product).len() as u64)
            .sum()
    }
}

/// A row divided by its length, computed in f64.
pub fn normalized(values: &[f32]) -> Vec<f32> {
    let squares = values.iter().map(|x| f64::from(*x) * f64::from(*x));
    let length = squares.sum::<f64>().sqrt();
    match length > 0.0 {
        true => values
            .iter()
            .map(|x| (f64::from(*x) / length) as f32)
            .collect(),
        false => values.to_vec(),
    }
}

/// The inputs to which something was done.
fn noted(answers: &[Answer]) -> impl Iterator<Item = NotesOf<'_>> {
    let all = answers.iter().enumerate();
    all.filter(|(_, answer)| !answer.notes.is_empty())
        .map(|(index, answer)| NotesOf {
            index,
            notes: &answer.notes,
        })
}

/// The value of the header [`NOTES`], and how many notes did not fit.
pub fn notes_header(answers: &[Answer]) -> (Option<HeaderValue>, usize) {
    let mut text = String::new();
    let mut more = 0;
    for notes in noted(answers) {
        let one = serde_json::to_string(&notes).unwrap_or_default();
        match text.len() + one.len() < NOTES_BYTES {
            true => {
                text.push(if text.is_empty() { '[' } else { ',' });
                text.push_str(&one);
            }
            false => more += 1,
        }
    }
    if text.is_empty() {
        return (None, more);
    }
    text.push(']');
    (HeaderValue::from_str(&text).ok(), more)
}

struct Json(Arrays);

impl Encode for Json {
    fn size(&self) -> u64 {
        DIGITS * self.0.numbers()
    }

    fn encode(&self, out: &mut dyn Write) -> io::Result<()> {
        let Json(arrays) = self;
        if let Some(key) = arrays.key {
            write!(out, "{{\"{key}\":")?;
        }
        for (i, (answer, shape)) in arrays.answers.iter().zip(&arrays.shapes).enumerate() {
            out.write_all(if i == 0 { b"[" } else { b"," })?;
            write_array(out, &arrays.values(answer), shape)?;
        }
        out.write_all(b"]")?;
        if arrays.key.is_some() {
            out.write_all(b",\"notes\":[")?;
            for (i, notes) in noted(&arrays.answers).enumerate() {
                if i > 0 {
                    out.write_all(b",")?;
                }
                serde_json::to_writer(&mut *out, &notes)?;
            }
            out.write_all(b"]}")?;
        }
        Ok(())
    }
}

/// A vector, or a matrix row by row. Each number is the shortest text that reads back as its bits.
pub fn write_array(out: &mut dyn Write, values: &[f32], shape: &[u64]) -> io::Result<()> {
    let width = match shape {
        [_, width] => *width as usize,
        _ => return write_row(out, values.iter().copied()),
    };
    out.write_all(b"[")?;
    for (i, row) in values.chunks_exact(width.max(1)).enumerate() {
        if i > 0 {
            out.write_all(b",")?;
        }
        write_row(out, row.iter().copied())?;
    }
    out.write_all(b"]")
}

/// Numbers of a row that are formatted together.
const TOGETHER: usize = 4096;

/// The one magnitude whose shortest text, `7.038531e-26`, is read as another 32-bit number by clients
/// that read 64-bit numbers and round them. All others were tried.
const ROUNDED_TWICE: u32 = 0x15ae_43fd;

/// The shortest text that reads back as the bits of the number, also through 64 bits.
fn write_number(text: &mut Vec<u8>, value: f32) -> io::Result<()> {
    Ok(match value.abs().to_bits() {
        ROUNDED_TWICE => serde_json::to_writer(text, &f64::from(value)),
        _ => serde_json::to_writer(text, &value),
    }?)
}

/// A list of numbers.
///
/// # Errors
/// Those of `out`.
pub fn write_row(out: &mut dyn Write, row: impl ExactSizeIterator<Item = f32>) -> io::Result<()> {
    let mut text = Vec::with_capacity(row.len().min(TOGETHER) * DIGITS as usize);
    text.push(b'[');
    for (i, value) in row.enumerate() {
        if i > 0 {
            text.push(b',');
        }
        write_number(&mut text, value)?;
        if text.len() > TOGETHER * DIGITS as usize {
            out.write_all(&text)?;
            text.clear();
        }
    }
    text.push(b']');
    out.write_all(&text)
}

struct Npy(Arrays);

impl Encode for Npy {
    fn size(&self) -> u64 {
        4 * self.0.numbers()
    }

    fn encode(&self, out: &mut dyn Write) -> io::Result<()> {
        let Npy(arrays) = self;
        write_header(out, &arrays.npy_shape().unwrap_or_default())?;
        for answer in &arrays.answers {
            write_bytes(out, &arrays.values(answer))?;
        }
        Ok(())
    }
}

struct Npz(Arrays);

impl Encode for Npz {
    fn size(&self) -> u64 {
        4 * self.0.numbers()
    }

    fn encode(&self, out: &mut dyn Write) -> io::Result<()> {
        let Npz(arrays) = self;
        let all = arrays.answers.iter().zip(&arrays.shapes).enumerate();
        let all = all
            .map(|(i, (answer, shape))| (i.to_string(), shape.as_slice(), arrays.values(answer)));
        write_npz(out, all)
    }
}

/// An npz of arrays with their names and shapes.
pub fn write_npz<'a>(
    out: &mut dyn Write,
    arrays: impl Iterator<Item = (String, &'a [u64], Cow<'a, [f32]>)>,
) -> io::Result<()> {
    let mut zip = ZipWriter::new_stream(out);
    for (name, shape, values) in arrays {
        let large = values.len() >= 1 << 29;
        let options = SimpleFileOptions::default().large_file(large);
        zip.start_file(format!("{name}.npy"), options)?;
        write_header(&mut zip, shape)?;
        write_bytes(&mut zip, &values)?;
    }
    zip.finish()?;
    Ok(())
}

/// The header of a NumPy array of 32-bit floats.
///
/// # Errors
/// Those of `out`, or a shape of more than four dimensions.
pub fn write_header(out: &mut dyn Write, shape: &[u64]) -> io::Result<()> {
    let header = npy_header(OutDtype::F32, shape).ok_or(io::ErrorKind::InvalidInput)?;
    out.write_all(&header)
}

/// The numbers, little-endian.
pub fn write_bytes(out: &mut dyn Write, values: &[f32]) -> io::Result<()> {
    for part in values.chunks(TOGETHER) {
        let bytes: Vec<u8> = part.iter().flat_map(|x| x.to_le_bytes()).collect();
        out.write_all(&bytes)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(values: &[f32]) -> String {
        let mut out = Vec::new();
        write_row(&mut out, values.iter().copied()).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(written(&[]), "[]");
        assert_eq!(
            written(&[0.1, -0.0, 1e20, 1.0e-45]),
            "[0.1,-0.0,1e+20,1e-45]"
        );
        // The shortest text would be 7.038531e-26, which is nearer to the next 32-bit number when it is
        // read as a 64-bit one.
        let odd = f32::from_bits(ROUNDED_TWICE);
        assert_ne!((7.038531e-26_f64 as f32).to_bits(), odd.to_bits());
        assert_eq!(
            written(&[odd, -odd]),
            "[7.038530691851209e-26,-7.038530691851209e-26]"
        );
    }

    proptest! {
        #[test]
        fn numbers_read_back_to_their_bits(
            bits in proptest::collection::vec(any::<u32>(), 0..300),
        ) {
            let finite = bits.into_iter().map(f32::from_bits).filter(|x| x.is_finite());
            let values: Vec<f32> = finite.chain([f32::from_bits(ROUNDED_TWICE)]).collect();
            let text = written(&values);
            let inner = text.strip_prefix('[').unwrap().strip_suffix(']').unwrap();
            let read: Vec<f64> = inner.split(',').map(|one| one.parse().unwrap()).collect();
            prop_assert_eq!(values.len(), read.len());
            for (value, read) in values.iter().zip(read) {
                prop_assert_eq!(value.to_bits(), (read as f32).to_bits());
            }
        }

        #[test]
        fn a_normalized_row_has_the_length_one(
            values in proptest::collection::vec(-1e3f32..1e3, 1..200),
        ) {
            let squares = normalized(&values).iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
            let expected = if values.iter().all(|x| *x == 0.0) { 0.0 } else { 1.0 };
            prop_assert!((squares - expected).abs() < 1e-5);
        }
    }
}
