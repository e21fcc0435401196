//! The record that was meant by an identifier that no record has.

use super::ReadError;
use super::finished::FinishedFolder;
use strsim::osa_distance;

/// Changed characters up to which another identifier is similar.
const SIMILAR: usize = 3;

impl FinishedFolder {
    /// The identifier that looks most like this one, if any does. Reads the whole index.
    ///
    /// # Errors
    /// When the index cannot be read, or is not that of a run.
    pub fn similar_id(&self, id: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        let text = String::from_utf8_lossy(id).to_lowercase();
        let most = SIMILAR.min(text.chars().count() / 2);
        let mut best = None;
        for record in self.records()? {
            let other = record?.id;
            let other_text = String::from_utf8_lossy(&other).to_lowercase();
            // The accession within sp|P12345|NAME is what people copy.
            let distance = match other_text.split('|').any(|part| part == text) {
                true => 0,
                // Comparing takes the product of both lengths.
                false if other_text.len() > 4 * text.len().max(16) => continue,
                false => osa_distance(&text, &other_text),
            };
            if distance <= most && best.as_ref().is_none_or(|(least, _)| distance < *least) {
                best = Some((distance, other));
            }
        }
        Ok(best.map(|(_, other)| other))
    }
}
