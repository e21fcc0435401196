//! From the name of a model to files on this machine, in the ordinary Hugging Face cache.
//!
//! [`ModelRef::parse`] reads the name, and [`Hub::resolve`] returns a [`LocalModel`]: the path of a
//! checkpoint.
//!
//! **The cache comes first.** A model that is complete in the cache is used without the network, even if
//! a branch is asked for: a compute node without network must not wait for timeouts, and a run must not
//! change because a branch moved. [`Hub::fetch`] asks the hub for the current commit of the branch, checks
//! every file against the hub's digest and repairs damaged ones. A complete model in a cache that cannot
//! be written is used as it is.
//!
//! **Incomplete files never look complete.** A transfer goes to an `.incomplete` file that a later run
//! continues; it gets its name when its length, its SHA-256 (if the hub or the publication gives one)
//! and its ends have been checked. Processes that want the same file take turns.
//!
//! **An adapter is a model too.** A repository or folder that holds a LoRA adapter and no complete weights leads
//! to both the adapter and its base ([`resolve`]). One that holds complete weights and an adapter is the model;
//! its adapter is used where it is asked for as an adapter, and its files are downloaded together.
//!
//! hf-hub lays out the cache. Requests and transfers are made here: hf-hub's `download` renames a file
//! before anything can be checked, has no time limit, sends the token to the storage host and gives up
//! after five seconds when another process downloads.

mod adapted;
mod address;
mod cache;
mod checks;
mod client;
mod download;
mod error;
mod failure;
mod headers;
mod known;
mod lock;
mod model_ref;
mod published;
mod report;
mod settings;
mod snapshot;
mod transfer;
mod trust;

use std::path::{Path, PathBuf};

use cache::{CachedRepo, checked_revision};
use snapshot::Snapshot;

use crate::checkpoint::file_names::{self, ADAPTER_CONFIG};
use crate::checkpoint::{Checkpoint, lone_adapter};

pub use adapted::{Adapted, AskedModel, fetch, resolve};
pub use error::HubError;
pub use known::{Family, KnownModel, ModelShape, known_models};
pub use model_ref::ModelRef;
pub use published::{published_digest, published_hub_digest, verify_file};
pub use report::CachedModel;
pub use settings::{HubSettings, Token};

/// The branch that is used if no revision is given.
const DEFAULT_REVISION: &str = "main";

/// Receives the progress of a download.
pub trait DownloadProgress {
    /// A file starts, or starts again after an interruption; its length in bytes if it is known.
    fn start(&self, file: &str, bytes: Option<u64>);
    /// More bytes have arrived; those of an earlier run are reported at once.
    fn advance(&self, bytes: u64);
    /// The file is complete, or its transfer was interrupted.
    fn finish(&self);
    /// A message: a retry, a wait for another process, a repair.
    fn note(&self, _text: &str) {}
}

/// Ignores the progress.
impl DownloadProgress for () {
    fn start(&self, _file: &str, _bytes: Option<u64>) {}
    fn advance(&self, _bytes: u64) {}
    fn finish(&self) {}
}

/// A model on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalModel {
    /// The folder or file that holds the checkpoint.
    pub path: PathBuf,
    /// `organisation/name`, if it came from the Hub.
    pub repo: Option<String>,
    /// The commit hash of the revision, if it came from the Hub.
    pub revision: Option<String>,
    /// Bytes of the files that are used; 0 for a path.
    pub bytes: u64,
}

/// A model hub and its cache.
#[derive(Debug, Clone)]
pub struct Hub {
    settings: HubSettings,
}

/// What is wanted of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// Its model, or its adapter if it has no complete weights.
    Model,
    /// Its adapter.
    Adapter,
}

/// Checks a file of a published name against its digest.
fn verify_published(path: &Path) -> Result<(), HubError> {
    let name = path.file_name().and_then(|name| name.to_str());
    match name.and_then(published_digest) {
        Some((sha256, bytes)) => verify_file(path, sha256, Some(bytes)),
        None => Ok(()),
    }
}

impl Hub {
    /// A hub with these settings.
    ///
    /// # Errors
    /// [`HubError::Endpoint`] if its address is not a web address.
    pub fn new(mut settings: HubSettings) -> Result<Self, HubError> {
        settings.endpoint = settings::checked_endpoint(&settings.endpoint)?;
        Ok(Hub { settings })
    }

    /// The hub that the environment describes: see [`HubSettings::from_env`].
    ///
    /// # Errors
    /// As [`HubSettings::from_env`].
    pub fn from_env() -> Result<Self, HubError> {
        Hub::new(HubSettings::from_env()?)
    }

    /// The hub for a model. A path needs no hub, so the environment is not read for it.
    ///
    /// # Errors
    /// As [`Hub::from_env`].
    pub fn of(model: &ModelRef) -> Result<Self, HubError> {
        match model {
            ModelRef::Path(_) => Hub::new(HubSettings::new(PathBuf::new())),
            _ => Hub::from_env(),
        }
    }

    /// Cache folder, address, token and time limits.
    pub fn settings(&self) -> &HubSettings {
        &self.settings
    }

    /// The model's files: from the cache if it is complete there, else downloaded. Those of a LoRA adapter, if
    /// the repository holds one and no complete weights.
    ///
    /// `revision` is a branch, a tag or a commit hash, `main` if `None`; a path has no revision.
    ///
    /// # Errors
    /// Every [`HubError`] names its remedy.
    pub fn resolve(
        &self,
        model: &ModelRef,
        revision: Option<&str>,
        progress: &dyn DownloadProgress,
    ) -> Result<LocalModel, HubError> {
        let local = self.obtain(model, revision, Wanted::Model, progress)?;
        checked_shape(model, local)
    }

    /// The files of the adapter that a repository holds, as [`Hub::resolve`] finds those of a model. What a path
    /// holds is not checked.
    ///
    /// # Errors
    /// As [`Hub::resolve`].
    pub fn resolve_adapter(
        &self,
        adapter: &ModelRef,
        revision: Option<&str>,
        progress: &dyn DownloadProgress,
    ) -> Result<LocalModel, HubError> {
        self.obtain(adapter, revision, Wanted::Adapter, progress)
    }

    fn obtain(
        &self,
        model: &ModelRef,
        revision: Option<&str>,
        wanted: Wanted,
        progress: &dyn DownloadProgress,
    ) -> Result<LocalModel, HubError> {
        match self.look(model, revision, wanted)? {
            Look::Found(local) => Ok(local),
            Look::Lacking { repo, state } => {
                self.download(model, &repo, revision, wanted, state, progress)
            }
        }
    }

    /// Updates the cache to what the hub has now and checks every file against the hub's digests.
    /// Offline, or if the hub cannot be reached, the cached files are checked against the SHA-256 in
    /// their names.
    ///
    /// Of a path, the checkpoint is opened and checked, and a fair-esm file of a published name and its
    /// contact regression are compared with their published digests. The base of an adapter is not looked for;
    /// [`fetch`] does that.
    ///
    /// # Errors
    /// As [`Hub::resolve`].
    pub fn fetch(
        &self,
        model: &ModelRef,
        revision: Option<&str>,
        progress: &dyn DownloadProgress,
    ) -> Result<LocalModel, HubError> {
        let wanted = Wanted::Model;
        let local = match (self.look(model, revision, wanted)?, model.repo()) {
            (Look::Found(local), None) => {
                verify_published(&local.path)?;
                report::verify_blobs(&local)?;
                if lone_adapter(&local.path).is_some_and(|adapter| adapter.is_lora()) {
                    return Ok(local);
                }
                // A contact regression is a file beside the model's.
                let checkpoint = Checkpoint::open(&local.path)?;
                let files = checkpoint.files().iter();
                let others = files.filter(|file| **file != local.path);
                others
                    .map(PathBuf::as_path)
                    .try_for_each(verify_published)?;
                local
            }
            (Look::Found(local), Some(_)) if self.settings.offline => {
                report::verify_blobs(&local)?;
                local
            }
            (Look::Found(local), Some(repo)) => {
                let state = "the cached copy is complete".to_owned();
                match self.download(model, repo, revision, wanted, state, progress) {
                    Err(error) if error.is_of_network() => {
                        let error = error.to_string();
                        progress.note(&format!(
                            "{} could not be asked for a newer {model} ({}); checking the complete \
                             copy in the cache instead",
                            self.settings.endpoint,
                            error.lines().next().unwrap_or_default()
                        ));
                        report::verify_blobs(&local)?;
                        local
                    }
                    other => other?,
                }
            }
            (Look::Lacking { repo, state }, _) => {
                self.download(model, &repo, revision, wanted, state, progress)?
            }
        };
        checked_shape(model, local)
    }

    /// The model, if it is complete on this machine. The network is not used.
    pub fn cached(&self, model: &ModelRef, revision: Option<&str>) -> Option<LocalModel> {
        match self.look(model, revision, Wanted::Model) {
            Ok(Look::Found(local)) => Some(local),
            _ => None,
        }
    }

    fn look(
        &self,
        model: &ModelRef,
        revision: Option<&str>,
        wanted: Wanted,
    ) -> Result<Look, HubError> {
        let revision = revision.unwrap_or(DEFAULT_REVISION);
        checked_revision(revision)?;
        let repo = match model {
            ModelRef::Path(path) => return local_path(path, revision).map(Look::Found),
            ModelRef::Known(known) => known.repo,
            ModelRef::Hub { repo } => repo,
        };
        let cached = CachedRepo::new(&self.settings.cache, repo, revision);
        let lacking = |state: String| {
            Ok(Look::Lacking {
                repo: repo.to_owned(),
                state,
            })
        };
        let Some(commit) = cached.commit() else {
            return lacking(cached.without_commit());
        };
        let path = cached.snapshot(&commit);
        let found = match wanted {
            Wanted::Model => snapshot::inspect(&path),
            Wanted::Adapter => Snapshot::Incomplete(format!("{ADAPTER_CONFIG} is missing")),
        };
        let found = match (found, snapshot::adapter(&path, repo)) {
            (Snapshot::Incomplete(_), Some(adapter)) if !adapter.is_lora() => {
                return Err(HubError::Adapter {
                    repo: repo.to_owned(),
                    adapter: Box::new(adapter),
                });
            }
            (Snapshot::Incomplete(what), Some(_)) => {
                // The download of a model beside the adapter may have been interrupted.
                let is_begun = wanted == Wanted::Model
                    && path.join(file_names::CONFIG).exists()
                    && report::has_unfinished(&cached);
                match is_begun {
                    true => Snapshot::Incomplete(what),
                    false => snapshot::inspect_adapter(&path),
                }
            }
            (found, _) => found,
        };
        match found {
            Snapshot::Complete { bytes, .. } => Ok(Look::Found(LocalModel {
                path,
                repo: Some(repo.to_owned()),
                revision: Some(commit),
                bytes,
            })),
            Snapshot::Incomplete(what) => lacking(what),
        }
    }

    fn download(
        &self,
        model: &ModelRef,
        repo: &str,
        revision: Option<&str>,
        wanted: Wanted,
        state: String,
        progress: &dyn DownloadProgress,
    ) -> Result<LocalModel, HubError> {
        if self.settings.offline {
            // For a published model, the hub has better files than this copy.
            let cached = CachedRepo::new(
                &self.settings.cache,
                repo,
                revision.unwrap_or(DEFAULT_REVISION),
            );
            let folder = cached.commit().map(|commit| cached.snapshot(&commit));
            let other = folder.as_deref().and_then(crate::checkpoint::other_format);
            if let (Some((found, remedy)), None) = (other, KnownModel::of_repo(repo)) {
                return Err(HubError::OtherFormat {
                    repo: repo.to_owned(),
                    revision: revision.unwrap_or(DEFAULT_REVISION).to_owned(),
                    found: format!("{found} in the cache {}", self.settings.cache.display()),
                    remedy,
                });
            }
            return Err(HubError::Offline {
                model: model.to_string(),
                is_adapter: wanted == Wanted::Adapter,
                revision: revision.map(str::to_owned),
                cache: self.settings.cache.clone(),
                state,
            });
        }
        let wanted = download::WantedSnapshot {
            model: model.to_string(),
            repo,
            kind: wanted,
            revision: revision.unwrap_or(DEFAULT_REVISION),
            state,
            asked_revision: revision,
        };
        let commit = download::snapshot(&self.settings, &wanted, progress)
            .map_err(|error| self.with_state(error, &wanted))?;
        let path = CachedRepo::new(&self.settings.cache, repo, wanted.revision).snapshot(&commit);
        let bytes = match (wanted.kind, snapshot::inspect(&path)) {
            (Wanted::Model, Snapshot::Complete { bytes, .. }) => bytes,
            _ => match snapshot::inspect_adapter(&path) {
                Snapshot::Complete { bytes, .. } => bytes,
                Snapshot::Incomplete(_) => 0,
            },
        };
        Ok(LocalModel {
            path,
            repo: Some(repo.to_owned()),
            revision: Some(commit),
            bytes,
        })
    }
}

impl HubError {
    /// Whether the hub did not answer: there is no network, or something else answers instead.
    fn is_of_network(&self) -> bool {
        matches!(
            self,
            HubError::Unreachable { .. } | HubError::Certificate { .. } | HubError::NotAHub { .. }
        )
    }
}

impl Hub {
    /// The error of a cache that cannot be written says what the cache lacks.
    fn with_state(&self, error: HubError, wanted: &download::WantedSnapshot<'_>) -> HubError {
        use std::io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
        match error {
            HubError::Io { source, .. }
                if matches!(source.kind(), PermissionDenied | ReadOnlyFilesystem) =>
            {
                HubError::ReadOnlyCache {
                    model: wanted.model.clone(),
                    cache: self.settings.cache.clone(),
                    state: wanted.state.clone(),
                    source,
                }
            }
            other => other,
        }
    }
}

/// What this machine has of a model.
enum Look {
    Found(LocalModel),
    /// The repository, and what is missing.
    Lacking {
        repo: String,
        state: String,
    },
}

/// A path as it is, or the snapshot in the cache folder of a repository (`models--org--name`).
fn local_path(path: &Path, revision: &str) -> Result<LocalModel, HubError> {
    if !path.exists() {
        return Err(HubError::NoSuchPath {
            path: path.to_path_buf(),
        });
    }
    let mut local = LocalModel {
        path: path.to_path_buf(),
        repo: None,
        revision: None,
        bytes: 0,
    };
    let is_cache_folder = path.join("snapshots").is_dir() && !path.join("config.json").exists();
    if is_cache_folder
        && let Some(parent) = path.parent()
        && let Some(name) = path.file_name().and_then(|name| name.to_str())
        && let Some(repo) = name
            .strip_prefix("models--")
            .map(|n| n.replacen("--", "/", 1))
    {
        let cached = CachedRepo::new(parent, &repo, revision);
        let Some(commit) = cached.commit() else {
            return Err(HubError::NoCommit {
                path: path.to_path_buf(),
                state: cached.without_commit(),
            });
        };
        local.path = cached.snapshot(&commit);
        local.repo = Some(repo);
        local.revision = Some(commit);
    }
    Ok(local)
}

/// Refuses a model with a published name that does not have the published shape.
fn checked_shape(model: &ModelRef, local: LocalModel) -> Result<LocalModel, HubError> {
    let known = match model {
        ModelRef::Known(known) => Some(*known),
        ModelRef::Hub { repo } => KnownModel::of_repo(repo),
        // A folder of that name in the current folder.
        ModelRef::Path(path) => path.to_str().and_then(KnownModel::of_text),
    };
    let found = known.and_then(|known| {
        let found = known.other_shape(&local.path.join(file_names::CONFIG))?;
        Some((known, found))
    });
    match found {
        None => Ok(local),
        Some((known, found)) => Err(HubError::OtherShape {
            is_cached: local.repo.is_some(),
            path: local.path,
            known,
            found,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_that_cannot_be_written_is_named_with_what_it_lacks() {
        let hub = Hub::new(HubSettings::new("/c")).unwrap();
        let wanted = download::WantedSnapshot {
            model: "8M".to_owned(),
            repo: "o/n",
            kind: Wanted::Model,
            revision: "main",
            state: "config.json is missing".to_owned(),
            asked_revision: None,
        };
        let error = HubError::Io {
            action: "lock",
            path: PathBuf::from("/c/.locks"),
            source: std::io::ErrorKind::ReadOnlyFilesystem.into(),
        };
        assert_eq!(
            hub.with_state(error, &wanted).to_string(),
            "8M is not complete in the cache /c (config.json is missing), and the cache cannot be \
             written (read-only filesystem or storage medium)\n\
             hint: set HF_HOME to a folder that you can write to\n\
             hint: or ask someone who can write there to run `esm-embed fetch 8M`"
        );
    }
}
