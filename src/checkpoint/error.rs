//! What can be wrong with a checkpoint: where, what was found, and `hint:` lines that say what to do.

use std::borrow::Cow;
use std::path::PathBuf;

use super::adapter::Adapter;
use crate::numerals::count;
use crate::printable;

/// Why a checkpoint cannot be used. Every message names the file and says what was found there, and
/// ends in `hint:` lines. Text from the file is escaped and cut.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// There is nothing at this path.
    #[error(
        "{path}: no such file or folder\n\
         hint: name a Hugging Face folder, a .safetensors file beside its config.json, or a fair-esm \
         .pt file"
    )]
    NotFound {
        /// The path that was asked for.
        path: PathBuf,
    },
    /// The file cannot be read.
    #[error("{path}: cannot be read: {source}\nhint: check its permissions and its disk")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The error of the system.
        source: std::io::Error,
    },
    /// The path holds something, but not weights that can be loaded.
    #[error("{path}: {}\nhint: {remedy}", finding(.found))]
    NotWeights {
        /// The file or folder.
        path: PathBuf,
        /// What was found there.
        found: String,
        /// What to do, as a hint.
        remedy: Cow<'static, str>,
    },
    /// The file contradicts itself or ends too early.
    #[error(
        "{path}: {}\nhint: the file is damaged or was not copied completely: download or copy it again",
        finding(.found)
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found there.
        found: String,
    },
    /// The file was written to after it was opened.
    #[error(
        "{path}: changed while it was read\nhint: wait until nothing writes to it, then run again"
    )]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The pickle names code. It is never called or imported.
    #[error(
        "{path}: its pickle asks to run {}, which no checkpoint needs; it was not run\n\
         hint: do not load this file with other programs either; if it is your own, save only its \
         state dict",
        finding(.global)
    )]
    Refused {
        /// The file.
        path: PathBuf,
        /// `module.name` as the pickle spells it.
        global: String,
    },
    /// A sound checkpoint of a model that is not ESM-2, ESM-1b, ESM-1v or ESM C.
    #[error(
        "{path}: {} is not supported\nhint: use an ESM-2, ESM-1b, ESM-1v or ESM C checkpoint",
        finding(.found)
    )]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// Which model or feature it is.
        found: String,
    },
    /// Nothing proves that the rows of the embedding are ESM's 33 tokens or SaProt's.
    #[error(
        "{path}: another alphabet{than} ({}): the model has {}, and nothing proves that they are {ours}; \
         structure-aware, codon and RNA models have the same layout\n\
         hint: if it is an ESM model or SaProt, put the vocab.txt or tokenizer.json of its repository, \
         which lists its tokens, beside the weights",
        finding(.found),
        count(*.tokens as u64, "token")
    )]
    Alphabet {
        /// ` than that of ESM C` or of SaProt, or nothing for the other models.
        than: &'static str,
        /// The tokens that it should have.
        ours: &'static str,
        /// The file that says otherwise, or the weights.
        path: PathBuf,
        /// Tokens that it has.
        tokens: usize,
        /// What was found there.
        found: String,
    },
    /// An adapter, which is a difference to another model.
    #[error(
        "{path}: is {} of {}, not a complete model\nhint: {}",
        .adapter.kind(),
        printable::name(.adapter.base_or_unknown()),
        .adapter.hint()
    )]
    Adapter {
        /// The folder or file.
        path: PathBuf,
        /// What its configuration says.
        adapter: Box<Adapter>,
    },
    /// An adapter of a kind that cannot be added to weights here.
    #[error(
        "{path}: {} of {} cannot be applied: {why}\nhint: {}",
        .adapter.kind(),
        printable::name(.adapter.base_or_unknown()),
        .adapter.remedy()
    )]
    OtherAdapter {
        /// Its configuration.
        path: PathBuf,
        /// What that says.
        adapter: Box<Adapter>,
        /// The setting or the kind.
        why: String,
    },
    /// An adapter of another model than the one it was given with.
    #[error(
        "{path}: the adapter does not fit the model {base}: {}\n\
         hint: give the model that it was trained on with `model`{}",
        finding(.found),
        match &.adapter.base {
            Some(base) => format!(": {}", printable::name(base)),
            None => String::new(),
        }
    )]
    AdapterMisfit {
        /// Its weights.
        path: PathBuf,
        /// The folder or file of the model.
        base: PathBuf,
        /// What its configuration says.
        adapter: Box<Adapter>,
        /// What contradicts what.
        found: String,
    },
    /// Trained tensors of the encoder that belong to no known layout.
    #[error(
        "{path}: {} of the encoder {} not part of any known ESM layout, and without {} the embeddings \
         would be those of another model: {}\n\
         hint: if this is an adapter, merge it into the weights with the program that trained it \
         (PEFT: model.merge_and_unload(), then model.save_pretrained(FOLDER))\n\
         hint: otherwise compute these embeddings with that program",
        count(.tensors.len() as u64, "tensor"),
        if .tensors.len() == 1 { "is" } else { "are" },
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
        "{path}: {}\nhint: use the configuration that was published with these weights",
        finding(.found)
    )]
    Config {
        /// `config.json`, or the `.pt` that carries its own arguments.
        path: PathBuf,
        /// The setting, its value, and what contradicts it.
        found: String,
    },
    /// The index lists a shard that does not exist.
    #[error("{path}: this shard is missing, but {index} lists it\nhint: download it again")]
    MissingShard {
        /// Where the shard should be.
        path: PathBuf,
        /// The index that lists it.
        index: PathBuf,
    },
    /// A needed tensor is not in any file.
    #[error(
        "{path}: the tensor `{}`{of} is missing\n\
         hint: download the checkpoint again, or save all weights of the model",
        printable::name(.tensor)
    )]
    MissingTensor {
        /// ` of ESM C`, or nothing for the other models.
        of: &'static str,
        /// The name as this layout spells it.
        tensor: String,
        /// The file that should hold it.
        path: PathBuf,
    },
    /// A needed tensor does not have the shape that the configuration calls for.
    #[error(
        "{path}: the tensor `{}`{of} has shape {found:?}, but {wanted:?} is needed\n\
         hint: the configuration belongs to other weights, or the file is damaged: download both again",
        printable::name(.tensor)
    )]
    Shape {
        /// ` of ESM C`, or nothing for the other models.
        of: &'static str,
        /// The name as the file spells it.
        tensor: String,
        /// The file.
        path: PathBuf,
        /// The shape in the file.
        found: Vec<usize>,
        /// The shape that the configuration and the other tensors call for.
        wanted: Vec<usize>,
    },
    /// A needed tensor cannot be read as floating point numbers.
    #[error(
        "{path}: the tensor `{}` {}\nhint: save it as float32, float16 or bfloat16",
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
    /// Two tensors have the same name.
    #[error(
        "{path}: the tensor `{}` is already in {first}\nhint: keep one of the two",
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
        "{path}: the tensor `{}` holds {value} at row {row}, column {column}\n\
         hint: the checkpoint is damaged, or its training diverged: use another copy",
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
    /// The sum of a weight and what an adapter adds to it is NaN or infinite.
    #[error(
        "{path}: with the adapter's `{}` the weight `{}` of its base is {value} at row {row}, column \
         {column}\n\
         hint: the adapter is damaged, or its training diverged: use another copy",
        printable::name(.added),
        printable::name(.tensor)
    )]
    AdapterOverflow {
        /// The file of the adapter.
        path: PathBuf,
        /// Its tensor.
        added: String,
        /// The tensor of the base.
        tensor: String,
        /// Row from 0, of the weight as it is used (0 for a vector).
        row: usize,
        /// Column from 0.
        column: usize,
        /// The value.
        value: f32,
    },
    /// Contacts need a regression.
    #[error(
        "{path}: contacts cannot be computed: {}\n\
         {}hint: use a model that has the regression: ESM-2 or ESM-1b from Hugging Face\n\
         hint: use `include=attentions` for the attention maps that contacts are computed from",
        finding(.why),
        match .has_file {
            true => {
                "hint: name the file that fair-esm publishes for this model with `contact_regression`\n"
            }
            false => "",
        }
    )]
    NoContacts {
        /// The checkpoint.
        path: PathBuf,
        /// What is missing or wrong.
        why: String,
        /// Whether fair-esm publishes a regression for such a model.
        has_file: bool,
    },
    /// Logits and scores need the language-model head.
    #[error(
        "{path}: this checkpoint has no language-model head that can be used, which logits and scores \
         need: {}\n\
         hint: use the model as it was trained (in transformers: `EsmForMaskedLM`)",
        finding(.why)
    )]
    NoLmHead {
        /// The checkpoint.
        path: PathBuf,
        /// What is missing or wrong.
        why: String,
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
    /// What was found, without the path and without hints.
    pub(crate) fn found(&self) -> String {
        match self {
            Self::NotWeights { found, .. }
            | Self::Damaged { found, .. }
            | Self::Config { found, .. } => finding(found),
            other => other.to_string().lines().take(1).collect(),
        }
    }
}

/// Characters shown of what was found.
const FOUND: usize = 2000;

fn finding(text: &str) -> String {
    printable::start(text, FOUND)
}
