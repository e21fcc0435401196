//! From the hub to the cache: a file gets its name only when it is proven to be the published one.
//!
//! A transfer goes to `blobs/ETAG.incomplete`, which a later run continues. After the last byte, length,
//! SHA-256 and content are checked; only then is it renamed to `blobs/ETAG` and linked into the
//! snapshot. The branch's ref is written last, when the snapshot is complete.

use std::fs;
use std::path::{Path, PathBuf};

use super::DownloadProgress;
use super::Wanted;
use super::cache::{CachedRepo, is_commit};
use super::checks::Checks;
use super::client::{Answer, Client, Pending, RequestFailure};
use super::error::{HubError, nor_a_path};
use super::failure::{FileFailure, Missing, SnapshotFailure};
use super::headers::Metadata;
use super::known::KnownModel;
use super::lock::{self, BlobLock};
use super::published::published_hub_digest;
use super::settings::HubSettings;
use super::snapshot::{ModelKind, adapter, is_esm, sdk_weights, shards};
use super::transfer::{Attempts, Transfer};
use super::trust::is_of_certificate;
use crate::checkpoint;
use crate::checkpoint::file_names::{
    ADAPTER_CONFIG, ADDED_TOKENS, CONFIG, LORA_WEIGHTS, SDK_WEIGHTS, SPECIAL_TOKENS, TOKENIZER,
    TOKENIZER_CONFIG, VOCABULARY, VOCABULARY_JSON, WEIGHTS, is_adapter,
};
use crate::numerals::count;
use crate::sha256::is_sha256;
use crate::tokenizer;

/// Files that show weights of other frameworks, where the hub lists no files.
const OTHER_WEIGHTS: [&str; 5] = [
    "flax_model.msgpack",
    "tf_model.h5",
    "model.onnx",
    "onnx/model.onnx",
    "model.gguf",
];
/// How often a branch may move during a download.
const MAX_MOVES: usize = 3;

/// A repository at a revision, to be downloaded to the cache.
pub(super) struct WantedSnapshot<'a> {
    /// The name as given in `model`, for errors.
    pub(super) model: String,
    pub(super) repo: &'a str,
    pub(super) kind: Wanted,
    pub(super) revision: &'a str,
    /// What the cache lacks.
    pub(super) state: String,
    /// The revision as given, if it was.
    pub(super) asked_revision: Option<&'a str>,
}

/// Downloads a snapshot to the cache, or checks the existing one against the hub, and returns its
/// commit.
pub(super) fn snapshot(
    settings: &HubSettings,
    wanted: &WantedSnapshot<'_>,
    progress: &dyn DownloadProgress,
) -> Result<String, HubError> {
    let client = Client::new(settings);
    let cached = CachedRepo::new(&settings.cache, wanted.repo, wanted.revision);
    for _ in 0..MAX_MOVES {
        let mut download = Download {
            settings,
            wanted,
            client: &client,
            cached: &cached,
            progress,
            commit: is_commit(wanted.revision).then(|| wanted.revision.to_owned()),
            listing: None,
        };
        match download.files() {
            Ok(commit) => {
                cached.write_ref(&commit)?;
                return Ok(commit);
            }
            Err(SnapshotFailure::Moved) => {}
            Err(SnapshotFailure::Error(error)) => return Err(*error),
        }
    }
    Err(HubError::Moving {
        repo: wanted.repo.to_owned(),
    })
}

struct Download<'a> {
    settings: &'a HubSettings,
    wanted: &'a WantedSnapshot<'a>,
    client: &'a Client<'a>,
    cached: &'a CachedRepo,
    progress: &'a dyn DownloadProgress,
    /// The commit of all files, known after the first.
    commit: Option<String>,
    /// The names of the repository's files after they were asked for, if the hub lists them.
    listing: Option<Option<Vec<String>>>,
}

impl Download<'_> {
    fn files(&mut self) -> Result<String, SnapshotFailure> {
        if self.wanted.kind == Wanted::Adapter {
            if let Err(missing) = self.file(ADAPTER_CONFIG)? {
                return Err(self.not_found(missing, ADAPTER_CONFIG).into());
            }
            self.has_lora()?;
        }
        let config = match self.file(CONFIG)? {
            Ok(config) => config,
            Err(missing) => {
                if matches!(missing.code.as_str(), "EntryNotFound" | "") {
                    if self.sdk_weights()? || self.lone_adapter()? {
                        return self.commit.clone().ok_or(SnapshotFailure::Moved);
                    }
                    self.refuse_other_format()?;
                }
                return Err(self.not_found(missing, CONFIG).into());
            }
        };
        self.check_model_type(&config)?;
        self.alphabet(&config)?;
        if self.weights()? && !self.is_published() {
            self.adapter_beside()?;
        }
        self.commit.clone().ok_or(SnapshotFailure::Moved)
    }

    /// Downloads what proves the alphabet and what may contradict it.
    fn alphabet(&mut self, config: &Path) -> Result<(), SnapshotFailure> {
        let has_vocabulary = self.file(VOCABULARY)?.is_ok();
        if !self.is_published() {
            for name in [
                TOKENIZER,
                ADDED_TOKENS,
                TOKENIZER_CONFIG,
                SPECIAL_TOKENS,
                VOCABULARY_JSON,
            ] {
                let listing = self.listing();
                if listing.is_none_or(|names| names.iter().any(|there| there == name)) {
                    let _ = self.file(name)?;
                }
            }
            return Ok(());
        }
        if !has_vocabulary {
            let _ = self.file(TOKENIZER)?;
        }
        let tokens = ModelKind::read(config).vocab_size;
        if !has_vocabulary || tokens != Some(tokenizer::VOCABULARY.len()) {
            for name in [ADDED_TOKENS, TOKENIZER_CONFIG] {
                let _ = self.file(name)?;
            }
        }
        Ok(())
    }

    /// Downloads the LoRA adapter of a repository without complete weights; false if it has none. Others are
    /// refused by name.
    fn lone_adapter(&mut self) -> Result<bool, SnapshotFailure> {
        if !self.has_lora()? {
            return Ok(false);
        }
        match self.lora_weights()? {
            true => Ok(true),
            false => Err(HubError::NoAdapterWeights {
                repo: self.wanted.repo.to_owned(),
                revision: self.wanted.revision.to_owned(),
            }
            .into()),
        }
    }

    /// Whether the repository describes a LoRA adapter. Others are refused by name.
    fn has_lora(&mut self) -> Result<bool, SnapshotFailure> {
        match self.adapter()? {
            Some(found) if !found.is_lora() => Err(HubError::Adapter {
                repo: self.wanted.repo.to_owned(),
                adapter: Box::new(found),
            }
            .into()),
            found => Ok(found.is_some()),
        }
    }

    /// The adapter beside complete weights: it has to be reported, and `adapter` can name it.
    fn adapter_beside(&mut self) -> Result<(), SnapshotFailure> {
        match self.adapter()? {
            Some(found) if found.is_lora() => {
                self.lora_weights()?;
            }
            Some(_) => {}
            None => {
                let names = self.listing().unwrap_or_default();
                if let Some(name) = names.iter().find(|name| is_adapter(name)) {
                    let _ = self.file(name)?;
                }
            }
        }
        Ok(())
    }

    /// The adapter that the repository's configuration describes.
    fn adapter(&mut self) -> Result<Option<checkpoint::Adapter>, SnapshotFailure> {
        let path = self.file(ADAPTER_CONFIG)?.ok();
        let folder = path.as_deref().and_then(Path::parent);
        Ok(folder.and_then(|folder| adapter(folder, self.wanted.repo)))
    }

    fn lora_weights(&mut self) -> Result<bool, SnapshotFailure> {
        for name in LORA_WEIGHTS {
            if self.file(name)?.is_ok() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Refuses a repository without a supported model, and says what it holds.
    fn refuse_other_format(&mut self) -> Result<(), SnapshotFailure> {
        let repo = self.wanted.repo;
        let names = self.listing().unwrap_or_else(|| {
            let is_there = |name: &&str| matches!(self.ask(name), Ok(Ok(_)));
            let found = OTHER_WEIGHTS.into_iter().find(is_there);
            found.map(str::to_owned).into_iter().collect()
        });
        if names.is_empty() {
            return Ok(());
        }
        if names.iter().any(|name| is_adapter(name)) {
            return Err(HubError::Adapter {
                repo: repo.to_owned(),
                adapter: Box::new(checkpoint::Adapter::unknown(Path::new(repo))),
            }
            .into());
        }
        let (found, remedy) = checkpoint::describe_repository(repo, &names);
        Err(HubError::OtherFormat {
            repo: repo.to_owned(),
            revision: self.wanted.revision.to_owned(),
            found,
            remedy,
        }
        .into())
    }

    fn is_published(&self) -> bool {
        KnownModel::of_repo(self.wanted.repo).is_some()
    }

    /// The names of the repository's files, if the hub lists them.
    fn listing(&mut self) -> Option<Vec<String>> {
        if self.listing.is_none() {
            let revision = self.commit.as_deref().unwrap_or(self.wanted.revision);
            self.listing = Some(self.client.list(self.wanted.repo, revision));
        }
        self.listing.clone().flatten()
    }

    /// Downloads the weights; without any, the adapter that the repository holds instead, and returns false.
    fn weights(&mut self) -> Result<bool, SnapshotFailure> {
        for (single, index) in WEIGHTS {
            if self.file(single)?.is_ok() {
                return Ok(true);
            }
            let Ok(path) = self.file(index)? else {
                continue;
            };
            let damaged = |what: String| HubError::Index {
                file: self.describe(index),
                what,
            };
            for shard in shards(&path).map_err(damaged)? {
                if self.file(&shard)?.is_err() {
                    let what = format!("lists the shard {shard}, which the repository lacks");
                    return Err(HubError::Index {
                        file: self.describe(index),
                        what,
                    }
                    .into());
                }
            }
            return Ok(true);
        }
        if self.sdk_weights()? {
            return Ok(true);
        }
        if self.lone_adapter()? {
            return Ok(false);
        }
        self.refuse_other_format()?;
        Err(HubError::NoWeights {
            repo: self.wanted.repo.to_owned(),
            revision: self.wanted.revision.to_owned(),
        }
        .into())
    }

    /// Downloads the weights of ESM C as its SDK keeps them, if the repository has them.
    fn sdk_weights(&mut self) -> Result<bool, SnapshotFailure> {
        let name = match self.listing() {
            Some(names) => sdk_weights(names.iter().map(String::as_str)).map(str::to_owned),
            // `esmc-300m-2024-12` → `esmc_300m_2024_12_v0.pth`.
            None => {
                let name = self.wanted.repo.rsplit('/').next().unwrap_or_default();
                let name = name.to_ascii_lowercase().replace('-', "_");
                let is_esm_c = checkpoint::is_esm_c(&name);
                is_esm_c.then(|| format!("{SDK_WEIGHTS}/{name}_v0.pth"))
            }
        };
        match name {
            Some(name) => Ok(self.file(&name)?.is_ok()),
            None => Ok(false),
        }
    }

    /// A language model of another kind is refused before its weights are downloaded.
    fn check_model_type(&self, config: &Path) -> Result<(), HubError> {
        match ModelKind::read(config).model_type {
            Some(kind) if !is_esm(&kind) => Err(HubError::NotEsm {
                repo: self.wanted.repo.to_owned(),
                found: kind.chars().take(100).collect(),
            }),
            _ => Ok(()),
        }
    }

    /// One file of the snapshot: its path, or that the repository does not have it.
    fn file(&mut self, name: &str) -> Result<Result<PathBuf, Missing>, SnapshotFailure> {
        let mut attempts = Attempts::new(self.settings);
        let mut may_restart = true;
        loop {
            match self.attempt(name, &mut attempts, &mut may_restart) {
                Ok(done) => return Ok(done),
                Err(FileFailure::Snapshot(stop)) => return Err(stop),
                Err(FileFailure::Request(RequestFailure::Fatal(error))) => {
                    return Err(SnapshotFailure::Error(error));
                }
                Err(FileFailure::Request(RequestFailure::Unreachable(cause))) => {
                    return Err(self.unreachable(cause).into());
                }
                Err(FileFailure::Request(RequestFailure::Transient(cause))) => {
                    let Some(wait) = attempts.next_wait() else {
                        return Err(self.gave_up(name, cause, &attempts).into());
                    };
                    self.progress
                        .note(&format!("{name}: {cause}; trying again"));
                    std::thread::sleep(wait);
                }
                Err(FileFailure::Restart(why)) => {
                    self.progress.note(&format!("{name}: {why}; starting over"));
                }
            }
        }
    }

    fn attempt(
        &mut self,
        name: &str,
        attempts: &mut Attempts,
        may_restart: &mut bool,
    ) -> Result<Result<PathBuf, Missing>, FileFailure> {
        let (metadata, pending) = match self.ask(name)? {
            Ok(found) => found,
            Err(missing) => return Ok(Err(missing)),
        };
        let sha256 = metadata.etag.as_deref().filter(|etag| is_sha256(etag));
        // Without an ETag the file is named by its content, once it is complete.
        let etag = metadata
            .etag
            .clone()
            .unwrap_or_else(|| format!("unnamed-{}-{}", metadata.commit, name.replace('/', "-")));
        let blob = self.cached.blob(&etag);
        let folder = blob.parent().unwrap_or(&blob).to_path_buf();
        fs::create_dir_all(&folder).map_err(HubError::io("create", &folder))?;

        let lock_path = self.cached.lock(&etag);
        let lock = lock::acquire(&lock_path, || {
            self.progress.note(&format!(
                "{name}: waiting for another process that downloads it"
            ));
        })
        .map_err(HubError::io("lock", &lock_path))?;
        let checks = Checks {
            name,
            file: self.describe(name),
            size: metadata.linked_size.or(pending.size()),
            sha256,
            published: published_hub_digest(self.wanted.repo, &metadata.commit, name),
        };
        if let Some(path) = self.already_there(&blob, &etag, &metadata, &checks)? {
            return Ok(Ok(path));
        }

        let part = match &lock {
            BlobLock::Held { .. } => folder.join(format!("{etag}.incomplete")),
            // Other processes are not excluded from that file: use one that only this process knows.
            BlobLock::Unsupported => {
                folder.join(format!("{etag}.{}.incomplete", std::process::id()))
            }
        };
        let pending = match lock {
            // The connection may have timed out while another process downloaded.
            BlobLock::Held { waited: true, .. } => match self.ask(name)? {
                Ok((again, pending)) if again == metadata => pending,
                _ => return Err(FileFailure::Snapshot(SnapshotFailure::Moved)),
            },
            _ => pending,
        };
        let transfer = Transfer {
            client: self.client,
            checks: &checks,
            progress: self.progress,
        };
        let was_resumed = transfer.run(pending, &part, attempts)?;
        match checks.run(&part)? {
            Ok(found) => {
                let etag = metadata.etag.as_deref().unwrap_or(&found);
                let blob = self.cached.blob(etag);
                fs::rename(&part, &blob).map_err(HubError::io("write", &blob))?;
                Ok(Ok(self.cached.link(etag, &metadata.commit, name)?))
            }
            Err(wrong) => {
                fs::remove_file(&part).map_err(HubError::io("remove", &part))?;
                if was_resumed && std::mem::take(may_restart) {
                    return Err(FileFailure::Restart("the two parts do not fit together"));
                }
                Err(wrong.into())
            }
        }
    }

    /// Asks the hub for the file, which must belong to the commit of the files before.
    fn ask(&mut self, name: &str) -> Result<Result<(Metadata, Pending), Missing>, FileFailure> {
        let (metadata, pending) =
            match self
                .client
                .ask(self.wanted.repo, self.wanted.revision, name)?
            {
                Answer::File(metadata, pending) => (metadata, pending),
                Answer::Missing { code, said } => return Ok(Err(Missing { code, said })),
                Answer::Refused { status, said } => {
                    return Err(HubError::Refused {
                        repo: self.wanted.repo.to_owned(),
                        file: name.to_owned(),
                        status,
                        said,
                        with_token: self.settings.token.is_some(),
                    }
                    .into());
                }
            };
        match &self.commit {
            None => self.commit = Some(metadata.commit.clone()),
            Some(commit) if *commit == metadata.commit => {}
            Some(commit) if is_commit(self.wanted.revision) => {
                return Err(HubError::NotAHub {
                    url: self.settings.endpoint.clone(),
                    what: format!("asked for commit {commit} it sent {}", metadata.commit),
                }
                .into());
            }
            Some(_) => return Err(FileFailure::Snapshot(SnapshotFailure::Moved)),
        }
        Ok(Ok((metadata, pending)))
    }

    /// The file that another run or tool has put into the cache, if it passes the checks; otherwise it
    /// is removed.
    fn already_there(
        &self,
        blob: &Path,
        etag: &str,
        metadata: &Metadata,
        checks: &Checks<'_>,
    ) -> Result<Option<PathBuf>, HubError> {
        let pointer = self.cached.snapshot(&metadata.commit).join(checks.name);
        let is_own_file = pointer
            .symlink_metadata()
            .is_ok_and(|metadata| metadata.is_file());
        let present = if blob.exists() {
            blob
        } else if is_own_file {
            &pointer
        } else {
            return Ok(None);
        };
        match checks.run(present)? {
            Ok(_) if present == blob => self
                .cached
                .link(etag, &metadata.commit, checks.name)
                .map(Some),
            Ok(_) => Ok(Some(pointer)),
            Err(wrong) => {
                fs::remove_file(present).map_err(HubError::io("remove", present))?;
                let wrong = wrong.to_string();
                self.progress.note(&format!(
                    "{}; removed from the cache, downloading again",
                    wrong.lines().next().unwrap_or_default()
                ));
                Ok(None)
            }
        }
    }

    fn describe(&self, name: &str) -> String {
        format!("{name} of {}", self.wanted.repo)
    }

    fn unreachable(&self, cause: String) -> HubError {
        let endpoint = self.settings.endpoint.clone();
        let model = self.wanted.model.clone();
        if is_of_certificate(&cause) {
            return HubError::Certificate {
                endpoint,
                model,
                cause,
            };
        }
        HubError::Unreachable {
            endpoint,
            model,
            is_adapter: self.wanted.kind == Wanted::Adapter,
            revision: self.wanted.asked_revision.map(str::to_owned),
            cause: cause.into(),
            state: self.wanted.state.clone(),
        }
    }

    /// The error of a repository without a file that it must have.
    fn not_found(&self, missing: Missing, file: &str) -> HubError {
        let WantedSnapshot { repo, revision, .. } = self.wanted;
        HubError::NotFound {
            what: match missing.code.as_str() {
                "RepoNotFound" => format!("repository {repo}{}", nor_a_path(repo)),
                "RevisionNotFound" => format!("revision `{revision}` of {repo}"),
                "EntryNotFound" => format!("{file} in {repo} at revision `{revision}`"),
                _ => format!(
                    "{file} of {repo} at revision `{revision}`: the repository, the revision or \
                     the file does not exist"
                ),
            },
            said: missing.said,
        }
    }

    fn gave_up(&self, name: &str, cause: String, attempts: &Attempts) -> HubError {
        HubError::GaveUp {
            repo: self.wanted.repo.to_owned(),
            file: name.to_owned(),
            cause,
            attempts: attempts.failed,
            kept: match attempts.furthest {
                0 => "run the same command again later".to_owned(),
                kept => format!(
                    "run the same command again later: it continues after the {} that are kept",
                    count(kept, "byte")
                ),
            },
        }
    }
}
