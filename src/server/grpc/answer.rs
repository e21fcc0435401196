//! The answer to one sequence as a message.

use super::proto::esm_embed::{Array, Embedding, Error, Notes};
use super::status;
use crate::server::facts::Facts;
use crate::server::notes;
use crate::server::refusal::Refusal;
use crate::server::service::Answer;
use crate::server::wire::little_endian;

/// What NumPy calls the numbers.
const DTYPE: &str = "<f4";

/// The arrays of a sequence.
pub fn embedding(id: String, index: u64, answer: &Answer, facts: &Facts) -> Embedding {
    let residues = answer.residues();
    let arrays = answer.products().iter().map(|&product| Array {
        name: product.file_stem(),
        dtype: DTYPE.to_owned(),
        shape: facts.shape_of(product, residues),
        data: little_endian(answer.values(product)),
    });
    Embedding {
        id,
        index,
        residues: residues as u64,
        arrays: arrays.collect(),
        notes: notes(&answer.notes),
        error: None,
    }
}

/// Why there are none.
pub fn failed(id: String, index: u64, refusal: Refusal) -> Embedding {
    Embedding {
        id,
        index,
        error: Some(Error {
            code: status::code(refusal.kind) as i32,
            message: refusal.message,
        }),
        ..Embedding::default()
    }
}

fn notes(notes: &notes::Notes) -> Option<Notes> {
    let is_worth_telling = !notes.is_empty();
    is_worth_telling.then(|| Notes {
        unknown: notes.unknown,
        lower: notes.lower,
        masks: notes.masks,
        gaps: notes.gaps,
        invisible: notes.invisible,
        stop_dropped: notes.stop_dropped,
        nucleotides: notes.nucleotides,
        truncated_from: notes.truncated_from.unwrap_or(0),
        windows: notes.windows,
        computed_in: notes.computed_in.clone().unwrap_or_default(),
    })
}
