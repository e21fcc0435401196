//! Standard output: a report as text, or as one JSON document and nothing else.

use anyhow::Context;
use serde::Serialize;
use std::io::{self, Write};
use std::path::Path;

/// Prints a report. If the reader has closed the pipe, that is not an error.
///
/// # Errors
/// Standard output cannot be written to.
pub fn print(report: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    let written = out.write_all(report.as_bytes()).and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written
            .context("cannot write to standard output\nhint: check where it is redirected to"),
    }
}

/// Prints a report as one JSON document.
///
/// # Errors
/// Standard output cannot be written to.
pub fn print_json(report: &impl Serialize) -> anyhow::Result<()> {
    print(&document(report)?)
}

/// The document, indented, with a line feed at its end.
fn document(report: &impl Serialize) -> anyhow::Result<String> {
    let text = serde_json::to_string_pretty(report)?;
    let mut document = String::with_capacity(text.len() + 1);
    for character in text.chars() {
        // JSON leaves DEL and the controls of 0x80 to 0x9f as they are; a terminal obeys them. They
        // occur only within strings, where the escape means the same.
        match character {
            '\u{7f}'..='\u{9f}' => {
                document.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            _ => document.push(character),
        }
    }
    document.push('\n');
    Ok(document)
}

/// A path as text. Bytes that are not UTF-8 become U+FFFD, because JSON cannot hold them.
pub fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        let text = document(&["a\u{1b}\u{7f}\u{9b}é\n"]).unwrap();
        assert_eq!(text, "[\n  \"a\\u001b\\u007f\\u009bé\\n\"\n]\n");
        let back: Vec<String> = serde_json::from_str(&text).unwrap();
        assert_eq!(back, ["a\u{1b}\u{7f}\u{9b}é\n"]);
    }

    #[test]
    fn nan_is_null() {
        assert_eq!(document(&f64::NAN).unwrap(), "null\n");
    }
}
