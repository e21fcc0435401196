//! The format and the encoding of an answer, by the headers `Accept` and `Accept-Encoding`.

use crate::server::refusal::{Kind, Refusal};
use axum::http::header::{ACCEPT, ACCEPT_ENCODING};
use axum::http::{HeaderMap, HeaderName};

/// What arrays are sent as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Lists of numbers.
    Json,
    /// One array of NumPy.
    Npy,
    /// A zip archive of such arrays.
    Npz,
}

/// The media types of each.
const TYPES: [(&str, Format); 5] = [
    ("application/json", Format::Json),
    ("application/x-npy", Format::Npy),
    ("application/zip", Format::Npz),
    ("application/x-npz", Format::Npz),
    ("application/npy", Format::Npy),
];

impl Format {
    /// The format with the highest weight; of equal ones, the first. JSON if nothing is said.
    ///
    /// # Errors
    /// None of those that the client accepts.
    pub fn accepted(headers: &HeaderMap) -> Result<Format, Refusal> {
        let mut best: Option<(f32, Format)> = None;
        for (name, mut parameters) in items(headers, ACCEPT) {
            let weight = parameters.find_map(weight).unwrap_or(1.0);
            let format = match name {
                b"*/*" | b"application/*" | b"" => Some(Format::Json),
                name => TYPES
                    .iter()
                    .find(|(text, _)| name.eq_ignore_ascii_case(text.as_bytes()))
                    .map(|(_, format)| *format),
            };
            if let Some(format) = format
                && weight > best.map_or(0.0, |(most, _)| most)
            {
                best = Some((weight, format));
            }
        }
        match best {
            Some((_, format)) => Ok(format),
            None if !headers.contains_key(ACCEPT) => Ok(Format::Json),
            None => Err(Refusal::new(
                Kind::NotAcceptable,
                "the header accept names no format of this answer: they are application/json, \
                 application/x-npy and application/zip (npz)",
            )),
        }
    }
}

/// Whether a client takes gzip: it names it, or everything, and does not give it the weight 0.
pub fn takes_gzip(headers: &HeaderMap) -> bool {
    let weight_of = |names: &[&str]| {
        let is_named = |name: &[u8]| {
            let mut names = names.iter();
            names.any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
        };
        let mut found = items(headers, ACCEPT_ENCODING).filter(|(name, _)| is_named(name));
        let (_, mut parameters) = found.next()?;
        Some(parameters.next().map_or(Some(1.0), weight).unwrap_or(0.0))
    };
    // Its own weight counts, not that of everything.
    let weight = weight_of(&["gzip", "x-gzip"]).or_else(|| weight_of(&["*"]));
    weight.is_some_and(|weight| weight > 0.0)
}

/// What the headers of this name list, each item with its parameters.
fn items(
    headers: &HeaderMap,
    name: HeaderName,
) -> impl Iterator<Item = (&[u8], impl Iterator<Item = &[u8]>)> {
    let lists = headers.get_all(name).into_iter();
    let items = lists.flat_map(|list| list.as_bytes().split(|&byte| byte == b','));
    items.map(|item| {
        let mut parameters = item.split(|&byte| byte == b';');
        let name = parameters.next().unwrap_or_default().trim_ascii();
        (name, parameters)
    })
}

/// The value of `q=…`.
fn weight(parameter: &[u8]) -> Option<f32> {
    let text = std::str::from_utf8(parameter).ok()?.trim();
    let value = text
        .strip_prefix("q=")
        .or_else(|| text.strip_prefix("Q="))?;
    value
        .parse()
        .ok()
        .filter(|weight| (0.0..=1.0).contains(weight))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn accepted(values: &[&str]) -> Option<Format> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(ACCEPT, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        Format::accepted(&headers).ok()
    }

    #[test]
    fn the_heaviest_format_is_chosen() {
        for (values, format) in [
            (&[][..], Format::Json),
            (&["*/*"], Format::Json),
            (&[""], Format::Json),
            (&[";;;"], Format::Json),
            (&["application/x-npy"], Format::Npy),
            (&["Application/X-NPY"], Format::Npy),
            (&["application/zip"], Format::Npz),
            (&["application/x-npy;q=0.5, application/zip"], Format::Npz),
            (&["application/x-npy, application/zip"], Format::Npy),
            (
                &["text/html, application/xhtml+xml, */*;q=0.8"],
                Format::Json,
            ),
            (&["text/html", "application/zip ; q=0.1"], Format::Npz),
            (&["application/zip;q=2"], Format::Npz),
        ] {
            assert_eq!(accepted(values), Some(format), "{values:?}");
        }
        for value in ["text/html", "application/x-npy;q=0", "é/é"] {
            assert_eq!(accepted(&[value]), None, "{value:?}");
        }
    }
    #[test]
    fn clients_that_take_gzip_say_so() {
        for (encodings, takes) in [
            ("gzip", true),
            ("deflate, GZIP;q=0.5", true),
            ("br;q=1.0, *;q=0.1", true),
            ("", false),
            ("identity", false),
            ("gzip;q=0", false),
            ("*, gzip;q=0.0", false),
            ("*;q=0", false),
            ("gzip;q=x", false),
        ] {
            let asked = HeaderMap::from_iter([(ACCEPT_ENCODING, encodings.parse().unwrap())]);
            assert_eq!(takes_gzip(&asked), takes, "{encodings}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }
}
