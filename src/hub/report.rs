//! What the cache holds: for `models`, and for checks without the network.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::cache::CachedRepo;
use super::error::HubError;
use super::known::{KnownModel, known_models};
use super::model_ref::ModelRef;
use super::published::verify_file;
use super::snapshot::{self, ModelKind};
use super::{Hub, LocalModel, Look, Wanted};
use crate::checkpoint::file_names::CONFIG;
use crate::checkpoint::{configured_adapter, is_esm_c};
use crate::sha256::is_sha256;

/// A model and its files in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedModel {
    /// `organisation/name`.
    pub repo: String,
    /// The published model this is, if it is one.
    pub known: Option<&'static KnownModel>,
    /// Its folder in the cache, if there is one.
    pub path: Option<PathBuf>,
    /// Bytes on disk, all revisions together and unfinished downloads included.
    pub bytes: u64,
    /// Bytes of unfinished downloads.
    pub unfinished_bytes: u64,
    /// The default branch's snapshot, if it is complete and has the shape of the published model.
    pub complete: Option<LocalModel>,
    /// Why a folder in the cache cannot be used by this name.
    pub problem: Option<String>,
}

impl Hub {
    /// The published models, cached or not, then the other ESM repositories in the cache by name. The
    /// network is not used; a cache that does not exist counts as empty.
    pub fn report(&self) -> Vec<CachedModel> {
        let known = known_models().iter().map(|model| model.repo.to_owned());
        known
            .chain(self.other_repos())
            .map(|repo| self.report_of(repo))
            .collect()
    }

    fn report_of(&self, repo: String) -> CachedModel {
        let cached = CachedRepo::new(&self.settings.cache, &repo, super::DEFAULT_REVISION);
        let (bytes, unfinished_bytes) = disk_use(&cached.folder().join("blobs"));
        let known = KnownModel::of_repo(&repo);
        let model = ModelRef::Hub { repo };
        let (complete, problem) = match self.look(&model, None, Wanted::Model) {
            Ok(Look::Found(local)) => {
                let config = local.path.join(CONFIG);
                match known.and_then(|known| known.other_shape(&config)) {
                    None => (Some(local), None),
                    Some(shape) => (None, Some(format!("another model: {shape}"))),
                }
            }
            Ok(Look::Lacking { state, .. }) => (None, Some(state)),
            Err(error) => {
                let error = error.to_string();
                (None, error.lines().next().map(str::to_owned))
            }
        };
        let path = cached.folder();
        let path = path.is_dir().then(|| path.to_path_buf());
        CachedModel {
            known,
            problem: problem.filter(|_| path.is_some()),
            path,
            bytes,
            unfinished_bytes,
            complete,
            repo: model.to_string(),
        }
    }

    fn other_repos(&self) -> BTreeSet<String> {
        let Ok(entries) = std::fs::read_dir(&self.settings.cache) else {
            return BTreeSet::new();
        };
        entries
            .flatten()
            .filter_map(|entry| {
                let repo = entry
                    .file_name()
                    .to_str()?
                    .strip_prefix("models--")?
                    .replacen("--", "/", 1);
                let cached = CachedRepo::new(&self.settings.cache, &repo, super::DEFAULT_REVISION);
                // Without refs, any commit tells the kind of model.
                let commits = cached.commit().into_iter().chain(cached.commits());
                let mut snapshots = commits.map(|commit| cached.snapshot(&commit));
                (KnownModel::of_repo(&repo).is_none() && snapshots.any(|folder| is_esm(&folder)))
                    .then_some(repo)
            })
            .collect()
    }
}

/// Whether a snapshot is of an ESM model, by its configuration, the base that its adapter names or the name of
/// the SDK's weights.
fn is_esm(folder: &Path) -> bool {
    let kind = ModelKind::read(&folder.join(CONFIG)).model_type;
    let base = configured_adapter(folder).and_then(|adapter| adapter.base);
    kind.is_some_and(|kind| snapshot::is_esm(&kind))
        || base.is_some_and(|base| KnownModel::of_repo(&base).is_some())
        || snapshot::sdk_weights_in(folder).is_some_and(|name| {
            let name = name.rsplit('/').next().unwrap_or_default();
            is_esm_c(name)
        })
}

/// Whether a download to a repository in the cache was not finished.
pub(super) fn has_unfinished(cached: &CachedRepo) -> bool {
    disk_use(&cached.folder().join("blobs")).1 > 0
}

/// Bytes in a folder of blobs, and how many of them are of unfinished downloads.
fn disk_use(blobs: &Path) -> (u64, u64) {
    let Ok(entries) = std::fs::read_dir(blobs) else {
        return (0, 0);
    };
    entries
        .flatten()
        .filter_map(|entry| Some((entry.path().metadata().ok()?.len(), entry.file_name())))
        .fold((0, 0), |(all, unfinished), (bytes, name)| {
            let name = name.to_string_lossy();
            let is_unfinished = [".incomplete", ".part"]
                .iter()
                .any(|end| name.ends_with(end));
            (
                all + bytes,
                unfinished + if is_unfinished { bytes } else { 0 },
            )
        })
}

/// Compares each cached file with the SHA-256 in the name of its blob and with the published digest.
pub(super) fn verify_blobs(local: &LocalModel) -> Result<(), HubError> {
    for file in snapshot::all_files(&local.path) {
        let name = file.strip_prefix(&local.path).ok();
        let name = name.and_then(|name| name.to_str());
        let published = match (&local.repo, &local.revision, name) {
            (Some(repo), Some(commit), Some(name)) => {
                super::published_hub_digest(repo, commit, name)
            }
            _ => None,
        };
        if let Some((sha256, bytes)) = published {
            verify_file(&file, sha256, bytes)?;
        }
        let target = file.read_link().ok();
        let named = target
            .as_deref()
            .and_then(Path::file_name)
            .and_then(|name| name.to_str());
        if let Some(sha256) = named.filter(|name| is_sha256(name)) {
            verify_file(&file, sha256, None)?;
        }
    }
    Ok(())
}
