//! Words of a command line.

/// A word, quoted for a shell if it needs that.
pub fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_./,:=@%+-".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// The name of an option in our spelling: without leading dashes, in lower case, with hyphens.
pub fn normal(typed: &str) -> String {
    typed
        .trim_start_matches('-')
        .to_ascii_lowercase()
        .replace('_', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_a_shell() {
        assert_eq!(quoted("a b'c"), r"'a b'\''c'");
        assert_eq!(quoted(""), "''");
        assert_eq!(quoted("x/y-1.fa"), "x/y-1.fa");
    }
}
