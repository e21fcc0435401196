//! The score of every letter at every position of a protein, as arrays for NumPy.

use crate::output::{OutDtype, file_names, header, replace};
use crate::tokenizer::{TokenId, VOCABULARY};
use anyhow::{Context, Result};
use serde::Serialize;
use std::path::Path;

/// The twenty amino acids in the order of ESM's alphabet, which is that of columns 4 to 23 of logits.
pub const LETTERS: [TokenId; 20] = {
    let mut letters = [0; 20];
    let mut i = 0;
    while i < 20 {
        letters[i] = 4 + i as TokenId;
        i += 1;
    }
    letters
};

/// What `landscape.json` says of the arrays.
#[derive(Debug, Serialize)]
struct About<'a> {
    esm_embed: &'static str,
    method: String,
    /// The columns of each array.
    letters: String,
    /// One folder of arrays for each.
    models: Vec<&'a str>,
    sequences: Vec<Sequence<'a>>,
}

#[derive(Debug, Serialize)]
struct Sequence<'a> {
    id: &'a str,
    file: String,
    residues: usize,
}

/// The arrays of one model, `[residues, 20]` for each protein.
pub struct OfModel {
    /// Name of the model's column.
    pub name: String,
    /// The values, protein by protein.
    pub arrays: Vec<Vec<f32>>,
}

/// Writes `MODEL/ID.npy` for each model and protein, and `landscape.json` last.
///
/// # Errors
/// The folder cannot be written.
pub fn write(folder: &Path, method: &str, ids: &[&str], models: &[OfModel]) -> Result<()> {
    let files = file_names(ids.iter().copied());
    let width = LETTERS.len();
    let lengths = models.first().map(|model| model.arrays.iter());
    let lengths = lengths.into_iter().flatten().map(|all| all.len() / width);
    let sequences = ids.iter().zip(&files).zip(lengths);
    let about = About {
        esm_embed: env!("CARGO_PKG_VERSION"),
        method: method.to_owned(),
        letters: LETTERS
            .iter()
            .filter_map(|&letter| VOCABULARY.get(usize::from(letter)))
            .copied()
            .collect(),
        models: models.iter().map(|model| &*model.name).collect(),
        sequences: sequences
            .map(|((id, file), residues)| Sequence {
                id,
                file: file.clone(),
                residues,
            })
            .collect(),
    };
    for model in models {
        let below = folder.join(&model.name);
        std::fs::create_dir_all(&below).with_context(|| below.display().to_string())?;
        for (file, values) in files.iter().zip(&model.arrays) {
            let path = below.join(file);
            let shape = [(values.len() / width) as u64, width as u64];
            let mut bytes = header(OutDtype::F32, &shape).map_or_else(Vec::new, Vec::from);
            bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
            replace(&path, &bytes).with_context(|| path.display().to_string())?;
        }
    }
    let path = folder.join("landscape.json");
    let text = serde_json::to_string_pretty(&about)? + "\n";
    replace(&path, text.as_bytes()).with_context(|| path.display().to_string())
}
