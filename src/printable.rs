//! Text from files, users and servers, made safe for a message.
//!
//! Control characters and characters that show nothing (U+202E turns the text after it around) are
//! escaped as `\n` or `\u{202e}`, bytes that are not UTF-8 as `\xE9`. So a name cannot move the
//! cursor of a terminal or pass for another name.

use crate::invisible::is_invisible;
use crate::numerals::grouped;

/// Characters shown of a name; the longest tensor name of a published model has about 70.
const NAME: usize = 200;

/// Names shown of a list.
const LISTED: usize = 6;

/// The whole text.
pub fn text(text: &str) -> String {
    start(text, usize::MAX)
}

/// A string literal of Python.
pub fn python(literal: &str) -> String {
    let literal = text(literal);
    format!("\"{}\"", literal.replace('\\', "\\\\").replace('"', "\\\""))
}

/// The start of the text, in about `limit` characters as shown; `…` marks that there is more.
pub fn start(text: impl AsRef<[u8]>, limit: usize) -> String {
    let bytes = text.as_ref();
    // A character has at most four bytes, so nothing beyond these is shown.
    let head = bytes
        .get(..limit.saturating_mul(4).saturating_add(4))
        .unwrap_or(bytes);
    let mut text = String::new();
    let mut shown = 0;
    for chunk in head.utf8_chunks() {
        let valid = chunk.valid().chars().map(Ok);
        let invalid = chunk.invalid().iter().copied().map(Err);
        for character in valid.chain(invalid) {
            if shown >= limit {
                text.push('…');
                return text;
            }
            let piece = match character {
                Ok(character) if is_invisible(character) => character.escape_default().to_string(),
                Ok(character) => character.to_string(),
                Err(byte) => format!("\\x{byte:02X}"),
            };
            shown += piece.chars().count();
            text.push_str(&piece);
        }
    }
    text
}

/// The start of a name.
pub fn name(name: impl AsRef<[u8]>) -> String {
    start(name, NAME)
}

/// The first names of a list in backticks, and how many follow. If a setting could have one of the names,
/// as `model`, they are in quotes: in backticks, it would be printed as a flag.
pub fn list<T: AsRef<[u8]>>(names: &[T]) -> String {
    let first: Vec<String> = names.iter().take(LISTED).map(name).collect();
    let mark = match first.iter().any(|name| is_like_a_setting(name)) {
        true => '"',
        false => '`',
    };
    let quoted = first.iter().map(|name| format!("{mark}{name}{mark}"));
    let shown: Vec<String> = quoted.collect();
    match names.len().saturating_sub(LISTED) {
        0 => shown.join(", "),
        more => format!("{} and {} more", shown.join(", "), grouped(more as u64)),
    }
}

/// Whether a name is one lower-case word, or one with a value.
fn is_like_a_setting(name: &str) -> bool {
    let word = name.split('=').next().unwrap_or(name);
    let is_of_words = |byte: u8| byte.is_ascii_lowercase() || matches!(byte, b'_' | b'-');
    word.len() > 1 && word.bytes().all(is_of_words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_settings_are_not_in_backticks() {
        assert_eq!(
            list(&["fc1.weight", "X", "DMS_score"]),
            "`fc1.weight`, `X`, `DMS_score`"
        );
        for name in ["model", "out_dtype", "layer=3", "cpu-path"] {
            let quoted = format!("\"fc1.weight\", \"{name}\"");
            assert_eq!(list(&["fc1.weight", name]), quoted);
        }
    }

    #[test]
    fn a_list_is_cut_after_six_names() {
        assert_eq!(list(&["a"]), "`a`");
        assert_eq!(list(&["a", "b\n"]), "`a`, `b\\n`");
        let many: Vec<String> = (0..8).map(|i| i.to_string()).collect();
        assert_eq!(list(&many), "`0`, `1`, `2`, `3`, `4`, `5` and 2 more");
    }

    #[test]
    fn invisible_characters_are_escaped() {
        assert_eq!(text("layers.0.fc1.weight"), "layers.0.fc1.weight");
        assert_eq!(
            text("\x1b[31m\0é\n\u{9b}\u{202e}"),
            "\\u{1b}[31m\\u{0}é\\n\\u{9b}\\u{202e}"
        );
    }

    #[test]
    fn bytes_that_are_not_utf8_are_escaped() {
        assert_eq!(start(b"\x1b[31m\0\xe9", 80), "\\u{1b}[31m\\u{0}\\xE9");
        assert_eq!(start([0xFF; 1000], 8), "\\xFF\\xFF…");
    }

    #[test]
    fn long_text_is_cut() {
        assert_eq!(start("abcdef", 3), "abc…");
        assert_eq!(start("ééé", 3), "ééé");
        assert_eq!(start("\n".repeat(9), 4), "\\n\\n…");
    }
}
