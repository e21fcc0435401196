//! Text that a file gives, as a message shows it.

use crate::invisible::is_invisible;

/// Bytes shown of a name; the longest tensor name of a published model has about 70.
const NAME: usize = 200;

/// Bytes shown of a whole finding.
const FINDING: usize = 2000;

/// The start of a name, fit for print.
pub(super) fn name(text: &str) -> String {
    start(text, NAME)
}

/// The start of what was found, fit for print.
pub(super) fn finding(text: &str) -> String {
    start(text, FINDING)
}

/// Names shown of a list.
const LISTED: usize = 6;

/// The first names of a list in quotes, and how many follow.
pub(super) fn list<T: AsRef<str>>(names: &[T]) -> String {
    let shown: Vec<String> = names
        .iter()
        .take(LISTED)
        .map(|text| format!("`{}`", name(text.as_ref())))
        .collect();
    match names.len().saturating_sub(LISTED) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// A text as Python spells it.
pub(super) fn python(text: &str) -> String {
    format!(
        "\"{}\"",
        finding(text).replace('\\', "\\\\").replace('"', "\\\"")
    )
}

/// The start of `text` in about `limit` bytes, with characters escaped that could move the cursor of
/// a terminal.
fn start(text: &str, limit: usize) -> String {
    let mut shown = String::new();
    for character in text.chars() {
        if shown.len() >= limit {
            shown.push('…');
            break;
        }
        if is_invisible(character) {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_cut_after_six_names() {
        assert_eq!(list(&["a"]), "`a`");
        assert_eq!(list(&["a", "b\n"]), "`a`, `b\\n`");
        let many: Vec<String> = (0..8).map(|i| i.to_string()).collect();
        assert_eq!(list(&many), "`0`, `1`, `2`, `3`, `4`, `5` and 2 more");
    }

    #[test]
    fn text_of_a_file_is_short_and_moves_no_cursor() {
        assert_eq!(name("layers.0.fc1.weight"), "layers.0.fc1.weight");
        assert_eq!(name("\x1b[31m\0é\u{202e}"), "\\u{1b}[31m\\u{0}é\\u{202e}");
        assert_eq!(name(&"x".repeat(200)), "x".repeat(200));
        assert_eq!(name(&"é".repeat(101)), "é".repeat(100) + "…");
        assert_eq!(finding(&"\n".repeat(1001)), "\\n".repeat(1000) + "…");
    }
}
