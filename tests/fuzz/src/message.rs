//! Messages about hostile input must be safe for a terminal and a log.

use std::fmt::Display;

/// More bytes than any message needs, paths included.
const LONGEST: usize = 4096;

/// Checks that a message holds no control characters but the ends of lines before its hints.
pub fn check(message: &impl Display) {
    let text = message.to_string();
    assert!(!text.is_empty(), "an empty message");
    let unfit = |c: char| c.is_control() || matches!(c, '\u{2028}'..='\u{202E}');
    let line = text.replace("\nhint: ", "; ");
    assert!(!line.contains(unfit), "not fit for print: {text:?}");
}

/// Checks also that it is short, whatever it quotes.
pub fn check_short(message: &impl Display) {
    check(message);
    let text = message.to_string();
    assert!(
        text.len() <= LONGEST,
        "a message of {} bytes: {text:.200}",
        text.len()
    );
}
