//! What `run.json` says of a run: everything that can change a byte of its files, and nothing
//! that cannot (threads, batch size, time).

use crate::checkpoint::{Checkpoint, InvFreqSource, Positions};
use crate::embedder::Embedder;
use crate::pipeline::checksum_cache::ChecksumCache;
use crate::pipeline::input::records::Source;
use crate::pipeline::job::{Job, Layers, OnInvalid};
use crate::pipeline::plan::Plan;
use crate::pipeline::reporter::{Level, Reporter};
use crate::pipeline::stop::Stop;
use crate::sha256::{hex, sha256_read};
use crate::tokenizer::{UnknownPolicy, VOCABULARY};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::io::{self, Read};
use std::path::Path;
use std::time::SystemTime;

/// The part `asked`.
pub fn asked(job: &Job) -> Value {
    json!({
        "inputs": job.inputs.paths.iter().map(|p| p.to_string_lossy()).collect::<Vec<_>>(),
        "model": job.model.asked,
        "layer": Layers::canonical(&job.output.layers),
        "pool": job.output.pools,
        "residues": job.output.residues,
        "dtype": job.compute.dtype.map(|d| d.to_string()),
        "out_dtype": job.output.dtype,
        "long": job.sequences.long.map(|l| l.to_string()),
        "unknown": unknown(job.sequences.unknown),
        "gaps": job.sequences.gaps.to_string(),
        "on_invalid": match job.sequences.on_invalid {
            OnInvalid::Fail => "fail",
            OnInvalid::Skip => "skip",
        },
    })
}

fn unknown(policy: UnknownPolicy) -> &'static str {
    match policy {
        UnknownPolicy::Unk => "unk",
        UnknownPolicy::Error => "error",
    }
}

/// The part `resolved`.
pub fn resolved(
    job: &Job,
    plan: &Plan,
    checkpoint: &Checkpoint,
    embedder: Option<&Embedder>,
    digests: &[FileDigest],
    sources: &[Source],
) -> Value {
    let config = checkpoint.config();
    let files: Vec<Value> = digests
        .iter()
        .map(|f| json!({ "name": f.name, "bytes": f.bytes, "sha256": f.sha256 }))
        .collect();
    let cpu_path = (!plan.device.is_cuda()).then(|| plan.device.path.to_string());
    let inputs: Vec<Value> = sources
        .iter()
        .map(|s| {
            json!({
                "path": s.path.to_string_lossy(),
                "records": s.records,
                "bytes": s.digest.bytes,
                "sha256": hex(&s.digest.sha256),
            })
        })
        .collect();
    let mut all = json!({
        "model": {
            "repo": job.model.repo,
            "revision": job.model.revision,
            "layout": checkpoint.naming().to_string(),
            "stored_dtype": checkpoint.stored_dtype().to_string(),
            "layers": config.layers,
            "dim": config.dim,
            "heads": config.heads,
            "alphabet_size": VOCABULARY.len(),
            "alphabet_proof": checkpoint.alphabet().to_string(),
            "embedding_rows": config.vocab,
            "positions": match config.positions {
                Positions::Rotary => "rotary",
                Positions::Learned { .. } => "learned",
            },
            "token_dropout": config.token_dropout,
            "inv_freq": match embedder.and_then(Embedder::inv_freq) {
                Some(InvFreqSource::Stored) => Some("checkpoint"),
                Some(InvFreqSource::Computed) => Some("computed"),
                None => None,
            },
            "files": files,
        },
        "layers": plan.layout.layers,
        "device": plan.device.to_string(),
        "cpu_path": cpu_path,
        "arch": std::env::consts::ARCH,
        "dtype": plan.dtype.to_string(),
        "long": plan.admission.policy.long.to_string(),
        "gaps": plan.admission.policy.gaps.to_string(),
        "inputs": inputs,
    });
    if let Some(about) = embedder.and_then(Embedder::about) {
        all["cuda"] = json!(about);
    }
    all
}

/// A file of the checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileDigest {
    /// Its name without folders.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
    /// Whether the SHA-256 was remembered, and the file not read for it.
    pub remembered: bool,
}

/// Reads the checkpoint's files once more for their digests, but for those that are remembered.
///
/// Either way a digest is that of the file that was opened, and the file has not changed since.
///
/// # Errors
/// A file that cannot be read or was written to since the checkpoint was opened, or a request to
/// stop.
pub fn digests(
    checksums: Option<&ChecksumCache>,
    checkpoint: &Checkpoint,
    stop: &Stop,
) -> Result<Vec<FileDigest>> {
    let files = checkpoint.files().iter();
    let digests = files
        .map(|path| {
            digest(checksums, checkpoint, path, stop)
                .with_context(|| format!("{}: cannot be read", path.display()))
        })
        .collect();
    checkpoint.check_unchanged()?;
    digests
}

fn digest(
    checksums: Option<&ChecksumCache>,
    checkpoint: &Checkpoint,
    path: &Path,
    stop: &Stop,
) -> io::Result<FileDigest> {
    let name = path.file_name().unwrap_or(Path::new("").as_os_str());
    let digest = |bytes, sha256, remembered| FileDigest {
        name: name.to_string_lossy().into_owned(),
        bytes,
        sha256,
        remembered,
    };
    let began = SystemTime::now();
    let memory = checksums.zip(checkpoint.stamp(path));
    if let Some((remembered, stamp)) = &memory
        && let Some(sha256) = remembered.find(stamp)
    {
        return Ok(digest(stamp.bytes, sha256, true));
    }
    let file = checkpoint.read_file(path)?;
    let (sha256, bytes) = sha256_read(&mut Heeding { file, stop })?;
    if let Some((remembered, stamp)) = &memory
        && bytes == stamp.bytes
        && checkpoint.stamp(path).as_ref() == Some(stamp)
    {
        remembered.record(stamp, began, &sha256);
    }
    Ok(digest(bytes, sha256, false))
}

/// Says where the digests are from.
pub fn tell(digests: &[FileDigest], reporter: &dyn Reporter) {
    match digests.iter().any(|digest| digest.remembered) {
        true => reporter.message(
            Level::Info,
            "model: sha256 remembered from an earlier run (--check-model reads the files again)",
        ),
        false => reporter.message(Level::Detail, "model: sha256 computed from its files"),
    }
}

/// A file that ends with an error once the run is asked to stop.
struct Heeding<'a> {
    file: Box<dyn Read + 'a>,
    stop: &'a Stop,
}

impl Read for Heeding<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.stop.is_asked() {
            return Err(io::Error::other("asked to stop"));
        }
        self.file.read(into)
    }
}
