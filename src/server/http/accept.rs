//! The format of an answer, by the header `Accept`.

use crate::server::refusal::{Kind, Refusal};
use axum::http::HeaderMap;
use axum::http::header::ACCEPT;

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
        let mut is_said = false;
        for value in headers.get_all(ACCEPT) {
            is_said = true;
            for part in value.as_bytes().split(|&byte| byte == b',') {
                let mut parameters = part.split(|&byte| byte == b';');
                let name = parameters.next().unwrap_or_default().trim_ascii();
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
        }
        match best {
            Some((_, format)) => Ok(format),
            None if !is_said => Ok(Format::Json),
            None => Err(Refusal::new(
                Kind::NotAcceptable,
                "the header accept names no format of this answer: they are application/json, \
                 application/x-npy and application/zip (npz)",
            )),
        }
    }
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
}
