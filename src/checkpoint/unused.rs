//! Tensors that no weight of the model comes from: harmless, or a sign that the file holds another
//! model than the one that would be computed.

use std::collections::HashSet;
use std::path::Path;

use super::adapter::is_adapter_tensor;
use super::error::CheckpointError;
use super::names::{Names, Standing};
use super::shown;
use super::tensors::TensorSet;

/// Ends of names that carry nothing trained for the embeddings: buffers, states of libraries, and
/// the position table that a rotary model may still have.
const HARMLESS: [&str; 9] = [
    "_extra_state",
    "_float_tensor",
    "cos_cached",
    "embeddings.position_embeddings.weight",
    "inv_freq",
    "num_batches_tracked",
    "position_ids",
    "sin_cached",
    "sentence_encoder.version",
];

/// Beginnings of words in the names of modules above an encoder.
const HEADS: [&str; 18] = [
    "classif",
    "contact",
    "criterion",
    "decoder",
    "dense",
    "fc",
    "head",
    "linear",
    "lm",
    "logit",
    "loss",
    "metric",
    "mlp",
    "norm",
    "pool",
    "predict",
    "proj",
    "regress",
];
/// Such words as a whole.
const HEAD_WORDS: [&str; 8] = [
    "cls", "ffn", "out", "output", "outputs", "qa", "score", "version",
];

/// Words in the names of what changes an encoder from outside.
const TELLING: [&str; 7] = [
    "adapter",
    "bottleneck",
    "delta",
    "lora",
    "prefix",
    "prompt",
    "virtual",
];

/// What a name tells of a tensor that is not in the encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// Of a module above the encoder, which embeddings do not need.
    Head,
    /// Of something that changes the encoder.
    Change,
    Unknown,
}

/// The outermost module that tells decides.
fn role(name: &str) -> Role {
    let name = name.to_ascii_lowercase();
    let mut parts = name.split('.').peekable();
    while let Some(part) = parts.next() {
        let is_module = parts.peek().is_some();
        let is_head = |word: &str| {
            HEADS.iter().any(|head| word.starts_with(head)) || HEAD_WORDS.contains(&word)
        };
        if TELLING.iter().any(|word| part.contains(word)) {
            return Role::Change;
        }
        if is_module && part.split('_').any(is_head) {
            return Role::Head;
        }
    }
    Role::Unknown
}

/// Refuses tensors of an adapter, whatever they belong to but heads. Comes before any look at single
/// weights: those that an adapter wraps have other names.
pub(super) fn refuse_adapters(tensors: &TensorSet, names: &Names) -> Result<(), CheckpointError> {
    let found = tensors.names().filter(|name| {
        is_adapter_tensor(name)
            && (names.standing(name) == Standing::Inside || role(name) != Role::Head)
    });
    refuse(tensors, found)
}

/// Refuses what the encoder holds beside the weights that are `used`, and returns a warning for what
/// may change the model from elsewhere.
pub(super) fn check(
    tensors: &TensorSet,
    names: &Names,
    used: &HashSet<String>,
    main: &Path,
) -> Result<Option<String>, CheckpointError> {
    let is_unknown =
        |name: &&str| !used.contains(*name) && !HARMLESS.iter().any(|end| name.ends_with(end));
    let unknown: Vec<&str> = tensors.names().filter(is_unknown).collect();
    refuse(
        tensors,
        unknown
            .iter()
            .copied()
            .filter(|name| names.standing(name) == Standing::Inside),
    )?;
    let mut elsewhere: Vec<&str> = unknown
        .into_iter()
        .filter(|name| match names.standing(name) {
            Standing::Inside => false,
            Standing::Beside => role(name) != Role::Head,
            Standing::Outside => role(name) == Role::Change,
        })
        .collect();
    elsewhere.sort_unstable();
    Ok((!elsewhere.is_empty()).then(|| {
        format!(
            "{}: {} not used: {}. If {} part of the encoder, these are the embeddings of another \
             model",
            main.display(),
            match elsewhere.len() {
                1 => "1 tensor beside the encoder is".to_owned(),
                count => format!("{count} tensors beside the encoder are"),
            },
            shown::list(&elsewhere),
            if elsewhere.len() == 1 {
                "it is"
            } else {
                "they are"
            }
        )
    }))
}

fn refuse<'a>(
    tensors: &TensorSet,
    found: impl Iterator<Item = &'a str>,
) -> Result<(), CheckpointError> {
    let mut found: Vec<String> = found.map(str::to_owned).collect();
    found.sort_unstable();
    match found.first() {
        None => Ok(()),
        Some(first) => Err(CheckpointError::Unexplained {
            path: tensors.home(first).to_path_buf(),
            tensors: found,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outermost_module_tells_what_a_tensor_is_for() {
        for (name, is) in [
            ("classifier.weight", Role::Head),
            ("classifier.adapter.weight", Role::Head),
            ("esm.pooler.dense.bias", Role::Head),
            ("encoder.lm_head.weight", Role::Head),
            ("net.fc_out.weight", Role::Head),
            ("fc1.weight", Role::Head),
            ("soft_prompt", Role::Change),
            ("prompt_proj.weight", Role::Change),
            ("adapter.fc.weight", Role::Change),
            ("encoder_Adapter.0.weight", Role::Change),
            ("prefix_tokens", Role::Change),
            ("router.weight", Role::Unknown),
            ("gate", Role::Unknown),
            ("a.head", Role::Unknown),
        ] {
            assert_eq!(role(name), is, "{name}");
        }
    }
}
