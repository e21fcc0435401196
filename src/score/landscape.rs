//! The score of every letter at every position of a protein, as arrays for NumPy.

use crate::output::{OutDtype, file_names, header, replace};
use crate::tokenizer::{TokenId, VOCABULARY};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Component, Path};

/// What says which arrays there are.
const ABOUT: &str = "landscape.json";

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

/// What is read of the `landscape.json` of an earlier run.
#[derive(Debug, Deserialize)]
struct Earlier {
    models: Vec<String>,
    sequences: Vec<EarlierSequence>,
}

#[derive(Debug, Deserialize)]
struct EarlierSequence {
    file: String,
}

/// Removes the arrays of an earlier run, and the folders that are empty without them. Other files stay.
fn remove_earlier(folder: &Path) {
    let text = fs::read(folder.join(ABOUT)).unwrap_or_default();
    let Ok(earlier) = serde_json::from_slice::<Earlier>(&text) else {
        return;
    };
    let is_below = |path: &Path| {
        let mut parts = path.components();
        parts.all(|part| matches!(part, Component::Normal(_)))
    };
    for model in earlier
        .models
        .iter()
        .map(Path::new)
        .filter(|model| is_below(model))
    {
        for sequence in &earlier.sequences {
            let file = Path::new(&sequence.file);
            if is_below(file) && file.extension().is_some_and(|ending| ending == "npy") {
                // One that cannot be removed is in the way of nothing.
                let _ = fs::remove_file(folder.join(model).join(file));
            }
        }
        let _ = fs::remove_dir(folder.join(model));
    }
}

/// Writes `MODEL/ID.npy` for each model and protein, and `landscape.json` last. The arrays of an earlier
/// run do not stay beside them.
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
    remove_earlier(folder);
    for model in models {
        let below = folder.join(&model.name);
        fs::create_dir_all(&below).with_context(|| below.display().to_string())?;
        for (file, values) in files.iter().zip(&model.arrays) {
            let path = below.join(file);
            let shape = [(values.len() / width) as u64, width as u64];
            let mut bytes = header(OutDtype::F32, &shape).map_or_else(Vec::new, Vec::from);
            bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
            replace(&path, &bytes).with_context(|| path.display().to_string())?;
        }
    }
    let path = folder.join(ABOUT);
    let text = serde_json::to_string_pretty(&about)? + "\n";
    replace(&path, text.as_bytes()).with_context(|| path.display().to_string())
}
