//! Characters at the start of a line that cannot be seen.

use super::is_blank;
use crate::invisible::is_unseen;

/// What a line starts with, as far as nothing of it can be seen.
#[derive(Clone, Copy)]
pub(super) struct Lead {
    /// Whether nothing that can be seen has come yet.
    pub(super) holds: bool,
    pub(super) characters: u64,
    /// The first invisible character, with its column.
    pub(super) unseen: Option<(u64, char)>,
}

impl Default for Lead {
    fn default() -> Self {
        Lead {
            holds: true,
            characters: 0,
            unseen: None,
        }
    }
}

impl Lead {
    /// Passes the last `count` bytes of a sequence: one character beyond ASCII, or some of ASCII.
    pub(super) fn pass(&mut self, sequence: &[u8], count: usize) {
        if !self.holds {
            return;
        }
        let start = sequence.len().saturating_sub(count);
        let text = sequence.get(start..).and_then(|s| str::from_utf8(s).ok());
        match text.and_then(|text| text.chars().next()) {
            Some(character) if is_unseen(character) => {
                self.characters += 1;
                self.unseen.get_or_insert((self.characters, character));
            }
            _ => self.holds = false,
        }
    }
}

/// The first invisible character before a `>` that would start a line, and how many characters are
/// before it.
pub(super) fn unseen_before_header(line: &[u8]) -> Option<(u64, char)> {
    let text = line.utf8_chunks().next()?.valid();
    let is_passed = |c: char| is_unseen(c) || u8::try_from(c).is_ok_and(is_blank);
    let rest = text.trim_start_matches(is_passed);
    let lead = text.strip_suffix(rest)?;
    let (before, character) = (0..).zip(lead.chars()).find(|&(_, c)| is_unseen(c))?;
    rest.starts_with('>').then_some((before, character))
}
