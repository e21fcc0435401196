//! What `run.json` notes about the records, for programs to read.

use crate::output::escape::escaped;
use crate::output::index::Entry;
use serde::{Deserialize, Serialize};

/// Characters of an identifier in a note.
const SHOWN: usize = 80;

/// What a note is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Remark {
    /// Records that look like nucleotides and were embedded as proteins.
    Nucleotides,
    /// Records with the identifier of an earlier record but another sequence.
    ReusedIds,
    /// Records with characters outside the alphabet, which were embedded as `<unk>`.
    Unknown,
}

/// Something about records that the user should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// What the note is about.
    pub about: Remark,
    /// How many records.
    pub records: u64,
    /// Row of the first.
    pub first_row: u64,
    /// Up to 80 characters of the identifier of the first, escaped as in `index.tsv`.
    pub first_id: String,
}

/// An identifier as a note has it.
pub(crate) fn noted_id(id: &[u8]) -> String {
    // A character has at most four bytes.
    let start = id.get(..4 * SHOWN).unwrap_or(id);
    let text = String::from_utf8_lossy(start);
    let text: String = text.chars().take(SHOWN).collect();
    escaped(&text)
}

/// The notes of a run, one for each remark, in the order of their first records.
#[derive(Debug, Default)]
pub(super) struct Notes(Vec<Note>);

impl Notes {
    /// Notes a record.
    pub(super) fn add(&mut self, about: Remark, row: u64, entry: &Entry) {
        match self.0.iter_mut().find(|note| note.about == about) {
            Some(note) => note.records += 1,
            None => {
                self.0.push(Note {
                    about,
                    records: 1,
                    first_row: row,
                    first_id: noted_id(entry.id),
                });
            }
        }
    }

    /// All notes.
    pub(super) fn into_inner(self) -> Vec<Note> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_counted_and_the_first_is_named() {
        let id = [b"a\tb".to_vec(), vec![b'x'; 500]].concat();
        let mut notes = Notes::default();
        for (row, id) in [(3, &id[..]), (5, b"second")] {
            let entry = Entry {
                id,
                ..Entry::default()
            };
            notes.add(Remark::ReusedIds, row, &entry);
        }
        assert_eq!(
            serde_json::to_string(&notes.into_inner()).unwrap(),
            format!(
                r#"[{{"about":"reused_ids","records":2,"first_row":3,"first_id":"a\\tb{}"}}]"#,
                "x".repeat(77)
            )
        );
    }
}
