//! Why a model cannot be found or downloaded: one sentence, then `hint:` lines.

use std::io;
use std::path::{Path, PathBuf};

use super::known::{KnownModel, ModelShape, known_models};
use crate::checkpoint::file_names::{ADAPTER_CONFIG, LORA_WEIGHTS};
use crate::checkpoint::{Adapter, CheckpointError};
use crate::numerals::bytes;
use crate::printable;

/// Why a model could not be obtained.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// No variable names a folder for the cache.
    #[error(
        "there is no folder for downloaded models: none of HF_HUB_CACHE, HF_HOME and HOME is set\n\
         hint: set HF_HOME to a folder with enough space for the model\n\
         hint: use the path of the model as `model`"
    )]
    NoCacheFolder,

    /// `HF_ENDPOINT` is not a web address.
    #[error(
        "HF_ENDPOINT is `{0}`, which is not an address of the form https://host\n\
         hint: unset it to use the public hub, or correct it"
    )]
    Endpoint(String),

    /// A token with characters that cannot be sent.
    #[error(
        "the access token from {from} contains spaces or characters outside ASCII\n\
         hint: write only the token there, or remove it: the published ESM models need none"
    )]
    Token {
        /// The variable or file it came from.
        from: String,
    },

    /// `model` is neither a known name, nor a repository, nor a path that exists.
    #[error(
        "no model is called `{name}`, and no such path exists\n{}\
         hint: known names are {}\n\
         hint: use the organisation/name of a repository on the Hub, or the path of a folder, \
         .safetensors or .pt file",
        did_you_mean(.nearest),
        known_names()
    )]
    UnknownModel {
        /// The name as given.
        name: String,
        /// The nearest known name.
        nearest: Option<&'static str>,
    },

    /// `revision` cannot be the name of a branch, tag or commit.
    #[error(
        "`{revision}` cannot be a revision: {why}\n\
         hint: use a branch, a tag or a commit hash of the repository"
    )]
    Revision {
        /// The revision as given.
        revision: String,
        /// What is wrong with it.
        why: &'static str,
    },

    /// The path given as `model` does not exist.
    #[error(
        "{} does not exist\n\
         hint: check the path given as `model`; a model of the Hub is named like 650M, \
         esm2_t33_650M_UR50D or organisation/name",
        .path.display()
    )]
    NoSuchPath {
        /// The path.
        path: PathBuf,
    },

    /// What has a published name is a model of another shape.
    #[error(
        "{} holds a model of {found}, but {} has {}: it is another model of the same name\nhint: {}",
        .path.display(),
        .known.name,
        .known.shape(),
        other_shape_remedy(.path, .known, *.is_cached)
    )]
    OtherShape {
        /// The folder that was found.
        path: PathBuf,
        /// The model that was asked for.
        known: &'static KnownModel,
        /// The shape that its `config.json` gives.
        found: ModelShape,
        /// Whether it came from the cache.
        is_cached: bool,
    },

    /// The cache folder of a repository lacks the revision that was asked for.
    #[error(
        "{}: {state}\n\
         hint: use the start of a commit hash as `revision`, or the path of its folder below \
         snapshots/ as `model`",
        .path.display()
    )]
    NoCommit {
        /// The folder.
        path: PathBuf,
        /// What it holds.
        state: String,
    },

    /// The repository holds an adapter that cannot be applied.
    #[error(
        "{repo} is {} of {}, not a complete model\nhint: {}",
        .adapter.kind(),
        printable::name(.adapter.base_or_unknown()),
        .adapter.remedy()
    )]
    Adapter {
        /// `organisation/name`.
        repo: String,
        /// What its configuration says.
        adapter: Box<Adapter>,
    },

    /// The repository holds the configuration of an adapter and no weights.
    #[error(
        "{repo} at revision {revision} holds {ADAPTER_CONFIG}, but neither {} nor {}\n\
         hint: choose another revision, or ask its author to save the adapter again with PEFT",
        LORA_WEIGHTS[0],
        LORA_WEIGHTS[1]
    )]
    NoAdapterWeights {
        /// `organisation/name`.
        repo: String,
        /// The revision asked for.
        revision: String,
    },

    /// The configuration of an adapter names no base.
    #[error(
        "{adapter}: the adapter does not name its base model\nhint: give that model with `model`, and \
         the adapter with `adapter`"
    )]
    NoBase {
        /// The adapter as given.
        adapter: String,
    },

    /// The base that an adapter names could not be obtained.
    #[error(
        "{adapter}: the adapter names {} as its base model: {source}\n\
         hint: give that model, or a copy of it on this machine, with `model`, and the adapter with \
         `adapter`",
        printable::name(.base)
    )]
    Base {
        /// The adapter as given.
        adapter: String,
        /// The base that it names.
        base: String,
        /// Why it could not be obtained.
        source: Box<HubError>,
    },

    /// A revision of a file or folder was asked for.
    #[error(
        "{} is a file or folder, which has no revisions\n\
         hint: leave out `revision`, or give a Hugging Face repository",
        .path.display()
    )]
    NoRevisions {
        /// The file or folder.
        path: PathBuf,
    },

    /// Downloads are forbidden and the cache holds no complete copy.
    #[error(
        "{model} is not complete in the cache {} ({state}), and HF_HUB_OFFLINE forbids downloads\n{}",
        .cache.display(),
        elsewhere(.model, .revision, *.is_adapter)
    )]
    Offline {
        /// The model as given in `model`, or in `adapter`.
        model: String,
        /// Whether it was given in `adapter`.
        is_adapter: bool,
        /// The revision asked for, if not the default.
        revision: Option<String>,
        /// The cache folder.
        cache: PathBuf,
        /// What is missing in the cache.
        state: String,
    },

    /// The hub's host cannot be reached.
    #[error(
        "{endpoint} cannot be reached ({cause}), and {model} is needed from there: {state}\n{}\n\
         hint: if this machine has network, check the proxy variables and HF_ENDPOINT",
        elsewhere(.model, .revision, *.is_adapter)
    )]
    Unreachable {
        /// The hub's address.
        endpoint: String,
        /// The model as given in `model`, or in `adapter`.
        model: String,
        /// Whether it was given in `adapter`.
        is_adapter: bool,
        /// The revision asked for, if not the default.
        revision: Option<String>,
        /// The error of the attempt.
        cause: Box<str>,
        /// Why the cache is not enough.
        state: String,
    },

    /// The hub's certificate is not signed by an authority that this machine trusts.
    #[error(
        "the certificate of {endpoint} is not trusted ({cause}), neither by Mozilla's roots nor by \
         this system's: a proxy of this network seems to answer instead\n\
         hint: ask the network's administrators for the certificate of their authority, and name its \
         PEM file in SSL_CERT_FILE\n\
         hint: or download {model} on another network into the same HF_HOME"
    )]
    Certificate {
        /// The hub's address.
        endpoint: String,
        /// The model as given in `model`.
        model: String,
        /// What is wrong with the certificate.
        cause: String,
    },

    /// The cache lacks something of the model and cannot be written.
    #[error(
        "{model} is not complete in the cache {} ({state}), and the cache cannot be written \
         ({source})\n\
         hint: set HF_HOME to a folder that you can write to\n\
         hint: or ask someone who can write there to run `esm-embed fetch {model}`",
        .cache.display()
    )]
    ReadOnlyCache {
        /// The model as given in `model`.
        model: String,
        /// The cache folder.
        cache: PathBuf,
        /// Why the cache is not enough.
        state: String,
        /// The error of the system.
        source: io::Error,
    },

    /// 401 or 403.
    #[error(
        "the hub refused {file} of {repo} (status {status}{said}): the repository does not exist, is \
         private or requires its terms to be accepted, and {}{}",
        token_remedy(*.with_token),
        or_a_path(.repo)
    )]
    Refused {
        /// `organisation/name`.
        repo: String,
        /// The file asked for.
        file: String,
        /// 401 or 403.
        status: u16,
        /// What the hub said about it.
        said: String,
        /// Whether a token was sent.
        with_token: bool,
    },

    /// 404 for the repository, the revision or its `config.json`.
    #[error(
        "the hub has no {what}{said}\n\
         hint: check the spelling on the hub's page of the repository; `esm-embed models` lists the \
         published ESM models"
    )]
    NotFound {
        /// What is missing, as precisely as the hub says.
        what: String,
        /// What the hub said about it.
        said: String,
    },

    /// The repository holds a `config.json` and no weights.
    #[error(
        "{repo} at revision {revision} holds none of model.safetensors, \
         model.safetensors.index.json, pytorch_model.bin and pytorch_model.bin.index.json\n\
         hint: choose another revision, or a repository with PyTorch or safetensors weights"
    )]
    NoWeights {
        /// `organisation/name`.
        repo: String,
        /// The revision asked for.
        revision: String,
    },

    /// The repository holds no ESM model in a form that can be downloaded.
    #[error("{repo} at revision {revision} {found}\nhint: {remedy}")]
    OtherFormat {
        /// `organisation/name`.
        repo: String,
        /// The revision asked for.
        revision: String,
        /// What it holds.
        found: String,
        /// What to do, as a hint.
        remedy: String,
    },

    /// The repository holds a model of another architecture.
    #[error(
        "{repo} is a model of type `{found}`, not `esm`, which is that of ESM-1b, ESM-1v and ESM-2\n\
         hint: `esm-embed models` lists the published ESM models"
    )]
    NotEsm {
        /// `organisation/name`.
        repo: String,
        /// `model_type` of its `config.json`.
        found: String,
    },

    /// The answer is not that of a hub.
    #[error(
        "{url} did not answer like a Hugging Face hub: {what}\n\
         hint: check HF_ENDPOINT, and whether the login page of a network or proxy answers instead"
    )]
    NotAHub {
        /// The address asked.
        url: String,
        /// What is wrong with the answer.
        what: String,
    },

    /// A download failed after all retries.
    #[error(
        "{file} of {repo} could not be downloaded: {cause}; {attempts} attempts in a row got no \
         further\nhint: {kept}"
    )]
    GaveUp {
        /// `organisation/name`.
        repo: String,
        /// The file.
        file: String,
        /// The last failure.
        cause: String,
        /// Failures in a row.
        attempts: u32,
        /// How much of the file is kept and how to continue, as a hint.
        kept: String,
    },

    /// A file is not the one that was published.
    #[error(
        "{file} is not the published file, according to {source_of_truth}: expected {expected}, \
         found {found}\nhint: {consequence}"
    )]
    Digest {
        /// The file, and the repository it came from.
        file: String,
        /// Where the expected value comes from.
        source_of_truth: &'static str,
        /// sha256 or bytes expected.
        expected: String,
        /// sha256 or bytes found.
        found: String,
        /// What to do, as a hint.
        consequence: &'static str,
    },

    /// The content of a file is not what its name says.
    #[error("{file}: {what}\nhint: {consequence}")]
    Content {
        /// The file, and the repository it came from.
        file: String,
        /// What is wrong with it.
        what: String,
        /// What to do, as a hint.
        consequence: &'static str,
    },

    /// The index of a sharded checkpoint lists files that are missing or have impossible names.
    #[error(
        "{file}: {what}\n\
         hint: the repository is damaged: choose another revision or repository"
    )]
    Index {
        /// The index file, and the repository it came from.
        file: String,
        /// What is wrong with it.
        what: String,
    },

    /// The disk is too small for the file.
    #[error(
        "{file} needs {} more in {}, where {} are free\n\
         hint: free some space, or set HF_HOME to a folder on a larger disk",
        bytes(*.needed),
        .folder.display(),
        bytes(*.free)
    )]
    NoSpace {
        /// The file to be downloaded.
        file: String,
        /// Bytes still to come.
        needed: u64,
        /// Bytes free.
        free: u64,
        /// The folder of the cache.
        folder: PathBuf,
    },

    /// An operation on a file failed.
    #[error("cannot {action} {}: {source}\nhint: {}", .path.display(), io_remedy(.source))]
    Io {
        /// The operation.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },

    /// The path holds no checkpoint that can be used.
    #[error(transparent)]
    Unusable(#[from] CheckpointError),

    /// The branch moved repeatedly while it was downloaded.
    #[error(
        "{repo} changed on the hub three times while it was downloaded\n\
         hint: use a commit hash as `revision`"
    )]
    Moving {
        /// `organisation/name`.
        repo: String,
    },
}

impl HubError {
    /// An [`HubError::Io`] maker for `map_err`.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> HubError {
        let path = path.to_path_buf();
        move |source| HubError::Io {
            action,
            path,
            source,
        }
    }
}

fn other_shape_remedy(path: &Path, known: &KnownModel, is_cached: bool) -> String {
    let path = path.display();
    match is_cached {
        true => format!(
            "remove that folder and run `esm-embed fetch {}`\n\
             hint: or use `model={path}` to use it as it is",
            known.name
        ),
        false => format!("use `model=./{path}` to use it as it is"),
    }
}

fn did_you_mean(nearest: &Option<&'static str>) -> String {
    nearest.map_or_else(String::new, |name| {
        format!("hint: did you mean `{name}`?\n")
    })
}

fn known_names() -> String {
    let names: Vec<String> = known_models()
        .iter()
        .map(|model| match model.short {
            Some(short) => format!("{} ({short})", model.name),
            None => model.name.to_owned(),
        })
        .collect();
    names.join(", ")
}

/// Hints for a machine that cannot download.
fn elsewhere(model: &str, revision: &Option<String>, is_adapter: bool) -> String {
    let setting = if is_adapter { "adapter" } else { "model" };
    let revision = revision.as_ref();
    let revision = revision.map_or_else(String::new, |r| format!(" (with `revision={r}`)"));
    format!(
        "hint: run `esm-embed fetch {model}`{revision} on a machine with network and with HF_HOME set \
         to a folder that both machines see, then run here with the same HF_HOME\n\
         hint: or copy the {setting}'s folder here and use its path as `{setting}`{}",
        or_a_path(model)
    )
}

/// Whether a name may be a mistyped path: it was taken for a repository because nothing here has it.
fn may_be_path(name: &str) -> bool {
    name.contains('/') && KnownModel::of_repo(name).is_none()
}

/// The end of a sentence that says that a repository does not exist.
pub(super) fn nor_a_path(repo: &str) -> &'static str {
    match may_be_path(repo) {
        true => ", and no such path exists",
        false => "",
    }
}

/// The same as a hint, where it is not certain that the repository does not exist.
fn or_a_path(name: &str) -> String {
    match may_be_path(name) {
        true => format!("\nhint: if {name} is meant as a path, check it: no such path exists"),
        false => String::new(),
    }
}

fn token_remedy(with_token: bool) -> &'static str {
    if with_token {
        "the token that was sent gives no access\n\
         hint: check HF_TOKEN or the token file, and accept the terms on the repository's page\n\
         hint: remove the token if the repository is public"
    } else {
        "no token was sent\n\
         hint: check the name\n\
         hint: if it is right, accept the terms on the repository's page and set HF_TOKEN"
    }
}

fn io_remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "set HF_HOME to a folder that you can write to, or ask its owner to change the permissions"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free some space, or set HF_HOME to a folder on a larger disk; the download then \
             continues where it stopped"
        }
        _ => "check the folder, or set HF_HOME to another one",
    }
}
