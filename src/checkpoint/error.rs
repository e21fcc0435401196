//! What can be wrong with a checkpoint: where, what was found, what to do.

use std::borrow::Cow;
use std::path::PathBuf;

use super::adapter::Adapter;
use crate::printable;

/// Why a checkpoint cannot be used. Every message names the file, says what was found there
/// and ends with what to do about it. Of what the file itself says, a message shows the start, with
/// control characters escaped.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// Nothing stands at this path.
    #[error(
        "{path}: no such file or folder. Give a Hugging Face folder, a .safetensors beside its \
         config.json, or a fair-esm .pt"
    )]
    NotFound {
        /// The path that was asked for.
        path: PathBuf,
    },
    /// The system would not read the file.
    #[error("{path}: cannot be read: {source}. Check its permissions and its disk")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's own words.
        source: std::io::Error,
    },
    /// The path holds something, but not weights that can be loaded.
    #[error("{path}: {}. {remedy}", finding(.found))]
    NotWeights {
        /// The file or folder.
        path: PathBuf,
        /// What was found there.
        found: String,
        /// What to do.
        remedy: Cow<'static, str>,
    },
    /// The file contradicts itself or ends too early.
    #[error(
        "{path}: {}. The file is damaged or was not copied whole; fetch it again",
        finding(.found)
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found there.
        found: String,
    },
    /// Somebody wrote into the file after it was opened.
    #[error("{path}: changed while it was read. Wait until nothing writes to it, then run again")]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The pickle names something that is code, not data. It is never called or imported.
    #[error(
        "{path}: its pickle asks for {}, which no checkpoint needs; nothing was run. Do not load \
         this file with other programs either; if it is your own, save the state dict alone",
        finding(.global)
    )]
    Refused {
        /// The file.
        path: PathBuf,
        /// `module.name` as the pickle spells it.
        global: String,
    },
    /// A sound checkpoint of a model that is not ESM-2, ESM-1b or ESM-1v.
    #[error(
        "{path}: {} is not supported. Use an ESM-2, ESM-1b or ESM-1v checkpoint",
        finding(.found)
    )]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// Which model or feature it is.
        found: String,
    },
    /// Nothing proves that the rows of the embedding stand for ESM's 33 tokens.
    #[error(
        "{path}: another alphabet ({}): the model has {tokens} token{}, and nothing proves that they \
         are ESM's 33 in ESM's order; structure-aware, codon and RNA models share ESM's layout. If \
         it is an ESM model, put the vocab.txt or tokenizer.json of its repository, which lists \
         ESM's 33 tokens first, beside the weights",
        finding(.found),
        if *.tokens == 1 { "" } else { "s" }
    )]
    Alphabet {
        /// The file that says otherwise, or the weights.
        path: PathBuf,
        /// Tokens that it has.
        tokens: usize,
        /// What was found there.
        found: String,
    },
    /// An adapter, which is a difference to another model.
    #[error(
        "{path}: is {} of {}, not a whole model. {}",
        .adapter.kind(),
        printable::name(.adapter.base_or_unknown()),
        .adapter.remedy()
    )]
    Adapter {
        /// The folder or file.
        path: PathBuf,
        /// What its configuration says.
        adapter: Box<Adapter>,
    },
    /// Trained tensors of the encoder that belong to no known layout.
    #[error(
        "{path}: {} of the encoder belong{} to no known layout of ESM, and the embeddings would \
         be those of another model without {}: {}. If they are an adapter, merge it into the \
         weights in the program that trained it (PEFT: model.merge_and_unload(), then \
         model.save_pretrained(FOLDER)); otherwise compute these embeddings with that program",
        if .tensors.len() == 1 { "1 tensor".to_owned() } else { format!("{} tensors", .tensors.len()) },
        if .tensors.len() == 1 { "s" } else { "" },
        if .tensors.len() == 1 { "it" } else { "them" },
        printable::list(.tensors)
    )]
    Unexplained {
        /// The file that holds the first of them.
        path: PathBuf,
        /// Their names, sorted.
        tensors: Vec<String>,
    },
    /// The configuration is impossible or contradicts the weights.
    #[error(
        "{path}: {}. Use the configuration that was published with these weights",
        finding(.found)
    )]
    Config {
        /// `config.json`, or the `.pt` that carries its own arguments.
        path: PathBuf,
        /// The setting, its value, and what contradicts it.
        found: String,
    },
    /// The index lists a shard that is not there.
    #[error("{path}: this shard is missing, but {index} lists it. Download it again")]
    MissingShard {
        /// Where the shard should be.
        path: PathBuf,
        /// The index that lists it.
        index: PathBuf,
    },
    /// A needed tensor is in no file.
    #[error(
        "{path}: the tensor `{}` is missing. Fetch the checkpoint again, or save all of the \
         model's weights",
        printable::name(.tensor)
    )]
    MissingTensor {
        /// The name as this layout spells it.
        tensor: String,
        /// The file that should hold it.
        path: PathBuf,
    },
    /// A needed tensor has another shape than the configuration asks for.
    #[error(
        "{path}: the tensor `{}` has shape {found:?}, but {wanted:?} is needed. The configuration \
         belongs to other weights, or the file is damaged; fetch both again",
        printable::name(.tensor)
    )]
    Shape {
        /// The name as the file spells it.
        tensor: String,
        /// The file.
        path: PathBuf,
        /// The shape in the file.
        found: Vec<usize>,
        /// The shape that the configuration and the other tensors ask for.
        wanted: Vec<usize>,
    },
    /// A needed tensor cannot be read as floating point numbers.
    #[error(
        "{path}: the tensor `{}` {}. Save it as float32, float16 or bfloat16",
        printable::name(.tensor),
        finding(.found)
    )]
    Unreadable {
        /// The name as the file spells it.
        tensor: String,
        /// The file.
        path: PathBuf,
        /// Why it cannot be read.
        found: String,
    },
    /// The same name stands for two tensors.
    #[error(
        "{path}: the tensor `{}` is already in {first}. Keep one of the two",
        printable::name(.tensor)
    )]
    Duplicate {
        /// The name as the files spell it.
        tensor: String,
        /// The file that holds it first.
        first: PathBuf,
        /// The file that holds it again (may be the same).
        path: PathBuf,
    },
    /// A weight is NaN or infinite.
    #[error(
        "{path}: the tensor `{}` holds {value} at row {row}, column {column}. The checkpoint is \
         damaged or its training diverged; use another copy",
        printable::name(.tensor)
    )]
    NonFinite {
        /// The name as the file spells it.
        tensor: String,
        /// The file.
        path: PathBuf,
        /// Row from 0, of the weight as it is used (0 for a vector).
        row: usize,
        /// Column from 0.
        column: usize,
        /// The value.
        value: f32,
    },
    /// A caller asked for a weight or a row that this model does not have.
    #[error("{path}: this model has no {asked}")]
    NoSuchWeight {
        /// The checkpoint.
        path: PathBuf,
        /// What was asked for.
        asked: String,
    },
}

impl CheckpointError {
    /// What was found, where the reader knows the file.
    pub(crate) fn found(&self) -> String {
        match self {
            Self::NotWeights { found, .. }
            | Self::Damaged { found, .. }
            | Self::Config { found, .. } => finding(found),
            other => other.to_string(),
        }
    }
}

/// Characters shown of what was found.
const FOUND: usize = 2000;

fn finding(text: &str) -> String {
    printable::start(text, FOUND)
}
