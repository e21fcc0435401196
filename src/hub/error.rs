//! What can go wrong between a model's name and its files, each with its remedy.

use std::io;
use std::path::{Path, PathBuf};

use super::known::{KnownModel, ModelShape, known_models};
use crate::checkpoint::Adapter;
use crate::printable;

/// Why a model could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// No variable names a folder for the cache.
    #[error(
        "no folder for downloaded models: none of HF_HUB_CACHE, HF_HOME and HOME is set. Set \
         HF_HOME to a folder with room for the model, or pass --model PATH"
    )]
    NoCacheFolder,

    /// `HF_ENDPOINT` is no web address.
    #[error(
        "HF_ENDPOINT is `{0}`, which is not an address of the form https://host. Unset it for \
         the public hub, or correct it"
    )]
    Endpoint(String),

    /// A token with characters that cannot be sent.
    #[error(
        "the access token from {from} holds spaces or characters outside ASCII. Write the token \
         alone there, or remove it: the published ESM models need none"
    )]
    Token {
        /// The variable or file it came from.
        from: String,
    },

    /// `--model` is neither a known name, nor a repository, nor a path that exists.
    #[error(
        "no model is called `{name}`{}. Known names: {}. Also accepted: organisation/name of a \
         repository on the Hub, or the path of a folder, .safetensors or .pt file (`{name}` does \
         not exist here)",
        did_you_mean(.nearest),
        known_names()
    )]
    UnknownModel {
        /// What was asked for.
        name: String,
        /// The nearest known name.
        nearest: Option<&'static str>,
    },

    /// `--revision` is no name of a branch, tag or commit.
    #[error(
        "`{revision}` cannot be a revision: {why}. Give a branch, a tag or a commit hash of the \
         repository"
    )]
    Revision {
        /// What was asked for.
        revision: String,
        /// What is wrong with it.
        why: &'static str,
    },

    /// A path given as `--model` does not exist.
    #[error(
        "{} does not exist. Check the path given as the model; a model of the Hub is named as \
         650M, esm2_t33_650M_UR50D or organisation/name",
        .path.display()
    )]
    NoSuchPath {
        /// The path.
        path: PathBuf,
    },

    /// A published name that stands for a model of another shape.
    #[error(
        "{} holds a model of {found}, but {} has {}: it is another model under this name. {}",
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

    /// A repository's folder of a cache, without the revision that was asked for.
    #[error(
        "{}: {state}. Give the start of a commit's hash with --revision, or the path of its \
         folder below snapshots/",
        .path.display()
    )]
    NoCommit {
        /// The folder.
        path: PathBuf,
        /// What it holds.
        state: String,
    },

    /// The repository holds an adapter.
    #[error(
        "{repo} is {} of {}, not a whole model. {}",
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

    /// The network is switched off and the cache holds no whole copy.
    #[error(
        "{model} is not complete in the cache {} ({state}), and HF_HUB_OFFLINE forbids \
         downloads. {}",
        .cache.display(),
        elsewhere(.model, .revision)
    )]
    Offline {
        /// The model as it is given to `--model`.
        model: String,
        /// The revision asked for, if not the default.
        revision: Option<String>,
        /// The cache folder.
        cache: PathBuf,
        /// What the cache lacks.
        state: String,
    },

    /// The hub's host cannot be reached.
    #[error(
        "{endpoint} cannot be reached ({cause}), and {model} is needed from there: {state}. {} If \
         this machine has network, check the proxy variables and HF_ENDPOINT",
        elsewhere(.model, .revision)
    )]
    Unreachable {
        /// The hub's address.
        endpoint: String,
        /// The model as it is given to `--model`.
        model: String,
        /// The revision asked for, if not the default.
        revision: Option<String>,
        /// What the attempt ended with.
        cause: String,
        /// Why the cache does not do.
        state: String,
    },

    /// The hub's certificate is signed by no authority that this machine trusts.
    #[error(
        "the certificate of {endpoint} is not trusted ({cause}), neither by Mozilla's roots nor by \
         this system's: it seems that a proxy of this network answers in its place. Ask the \
         network's administrators for the certificate of their authority and name its PEM file in \
         SSL_CERT_FILE, or download {model} on another network into the same HF_HOME"
    )]
    Certificate {
        /// The hub's address.
        endpoint: String,
        /// The model as it is given to `--model`.
        model: String,
        /// What is wrong with the certificate.
        cause: String,
    },

    /// The cache lacks something of the model and cannot be written.
    #[error(
        "{model} is not complete in the cache {} ({state}), and the cache cannot be written \
         ({source}). Set HF_HOME to a folder of yours, or have `esm-embed fetch {model}` run by \
         someone who may write there",
        .cache.display()
    )]
    ReadOnlyCache {
        /// The model as it is given to `--model`.
        model: String,
        /// The cache folder.
        cache: PathBuf,
        /// Why the cache does not do.
        state: String,
        /// What the system answered.
        source: io::Error,
    },

    /// 401 or 403.
    #[error(
        "the hub refused {file} of {repo} (status {status}{said}): the repository does not exist, \
         is private or asks for its terms to be accepted, and {}",
        token_remedy(*.with_token)
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
        "the hub has no {what}{said}. Check the spelling on the hub's page of the repository; \
         `esm-embed models` lists the published ESM models"
    )]
    NotFound {
        /// What is missing, as precisely as the hub told.
        what: String,
        /// What the hub said about it.
        said: String,
    },

    /// The repository holds a `config.json` and no weights of a kind that can be read.
    #[error(
        "{repo} at revision {revision} holds none of model.safetensors, \
         model.safetensors.index.json, pytorch_model.bin and pytorch_model.bin.index.json{}",
        no_weights_remedy(.other)
    )]
    NoWeights {
        /// `organisation/name`.
        repo: String,
        /// The revision asked for.
        revision: String,
        /// A file of another framework that it holds.
        other: Option<&'static str>,
    },

    /// The repository exists, and holds no ESM model in a form that can be downloaded.
    #[error("{repo} at revision {revision} {found}. {remedy}")]
    OtherFormat {
        /// `organisation/name`.
        repo: String,
        /// The revision asked for.
        revision: String,
        /// What it holds.
        found: String,
        /// What to do.
        remedy: String,
    },

    /// The repository is of another architecture.
    #[error(
        "{repo} is a model of type `{found}`; this program computes embeddings of ESM-1b, ESM-1v \
         and ESM-2 checkpoints, whose config.json says `esm`. `esm-embed models` lists them"
    )]
    NotEsm {
        /// `organisation/name`.
        repo: String,
        /// `model_type` of its `config.json`.
        found: String,
    },

    /// An answer that no hub gives.
    #[error(
        "{url} did not answer as a Hugging Face hub does: {what}. Check HF_ENDPOINT, and that no \
         login page of a network or proxy answers in its place"
    )]
    NotAHub {
        /// The address asked.
        url: String,
        /// What was found instead.
        what: String,
    },

    /// A failure that stayed after all retries.
    #[error(
        "{file} of {repo} could not be downloaded: {cause}, {attempts} times without getting \
         further. {kept}"
    )]
    GaveUp {
        /// `organisation/name`.
        repo: String,
        /// The file.
        file: String,
        /// The last failure.
        cause: String,
        /// How often in a row.
        attempts: u32,
        /// How much of the file is kept, and how to go on.
        kept: String,
    },

    /// A file is not the one that was published.
    #[error(
        "{file} is not the file that was published ({source_of_truth}): expected {expected}, found \
         {found}. {consequence}"
    )]
    Digest {
        /// The file, and the repository it came from.
        file: String,
        /// Who says what was published.
        source_of_truth: &'static str,
        /// sha256 or bytes expected.
        expected: String,
        /// sha256 or bytes found.
        found: String,
        /// What was done about it and what to do next.
        consequence: &'static str,
    },

    /// A file whose content contradicts its name.
    #[error("{file}: {what}. {consequence}")]
    Content {
        /// The file, and the repository it came from.
        file: String,
        /// What is wrong with it.
        what: String,
        /// What was done about it and what to do next.
        consequence: &'static str,
    },

    /// The index of a sharded checkpoint names files it must not, or that are missing.
    #[error("{file}: {what}. The repository is damaged: choose another revision or repository")]
    Index {
        /// The index file, and the repository it came from.
        file: String,
        /// What is wrong with it.
        what: String,
    },

    /// The disk is too small for what is to come.
    #[error(
        "{file} needs {needed} more bytes in {}, where {free} are free. Free some space, or set \
         HF_HOME to a folder on a larger disk",
        .folder.display()
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

    /// The operating system refused something.
    #[error("cannot {action} {}: {source}. {}", .path.display(), io_remedy(.source))]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },

    /// The branch moved again and again while it was downloaded.
    #[error(
        "{repo} changed on the hub while it was downloaded, three times over. Pass --revision with \
         a commit hash"
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
            "Remove that folder and run `esm-embed fetch {}`, or pass --model {path} to use it as \
             it is",
            known.name
        ),
        false => format!("Pass --model ./{path} to use it as it is"),
    }
}

fn no_weights_remedy(other: &Option<&'static str>) -> String {
    match other {
        None => ". Choose another revision, or a repository with PyTorch or safetensors weights"
            .to_owned(),
        Some(file) => format!(
            ", but {}. Convert them to PyTorch weights in Python, or choose a repository that has \
             some",
            match file.rsplit('.').next() {
                Some("msgpack") => format!("Flax weights ({file})"),
                Some("h5") => format!("TensorFlow weights ({file})"),
                Some("onnx") => format!("an ONNX graph ({file})"),
                _ => format!("GGUF weights ({file})"),
            }
        ),
    }
}

fn did_you_mean(nearest: &Option<&'static str>) -> String {
    nearest.map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
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

/// What to run where when this machine cannot download.
fn elsewhere(model: &str, revision: &Option<String>) -> String {
    let revision = revision
        .as_ref()
        .map_or_else(String::new, |r| format!(" --revision {r}"));
    format!(
        "On a machine with network run `esm-embed fetch {model}{revision}` with HF_HOME set to a \
         folder that both machines see, then run here with the same HF_HOME; or copy the model's \
         folder here and pass --model PATH."
    )
}

fn token_remedy(with_token: bool) -> &'static str {
    if with_token {
        "the token that was sent does not open it. Check HF_TOKEN or the token file, accept the \
         terms on the repository's page, or remove the token if the repository is public"
    } else {
        "no token was sent. Check the name; if it is right, accept the terms on the repository's \
         page and set HF_TOKEN"
    }
}

fn io_remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "Set HF_HOME to a folder of yours, or have the permissions changed by its owner"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "Free some space, or set HF_HOME to a folder on a larger disk; the download goes on \
             where it stopped"
        }
        _ => "Check the folder, or set HF_HOME to another one",
    }
}
