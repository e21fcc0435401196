//! Linked folders: made from shards, and taken apart into them.

use super::agree::Part;
use super::{MergeError, Shards};
use crate::output::error::OutputError;
use crate::output::folder_files::{IDS_NPY, INDEX_TSV, RUN_JSON, SHARD_TSV, SKIPPED_TSV};
use crate::output::link::{Link, relative};
use crate::output::manifest::Manifest;
use crate::output::read::linked;
use crate::sha256::sha256_file;
use std::path::{Path, PathBuf};

/// The folders of all shards: a linked folder counts as those that it refers to.
pub(super) fn shard_folders(dirs: &[PathBuf], shards: Shards) -> Result<Vec<PathBuf>, MergeError> {
    let mut all = Vec::new();
    for dir in dirs {
        match Manifest::read(dir) {
            Ok(Some(whole)) if !whole.links.is_empty() => {
                if shards == Shards::Remove {
                    return Err(MergeError::RemovesLinked { dir: dir.clone() });
                }
                all.extend(linked::shard_folders(dir, &whole)?);
            }
            // Whatever is wrong is found when the shard is opened.
            _ => all.push(dir.clone()),
        }
    }
    Ok(all)
}

/// How the `run.json` of a folder lists the shards, which are all there.
pub(super) fn links(parts: &[Part], out: &Path) -> Result<Vec<Link>, MergeError> {
    let real = |path: &Path| {
        let real = path.canonicalize();
        real.map_err(|e| OutputError::io("reading", path, e))
    };
    let out = real(out)?;
    let link = |part: &Part| {
        let path = relative(&out, &real(&part.dir)?);
        let (run_json, _) = sha256_file(&part.dir.join(RUN_JSON))
            .map_err(|cause| part.unreadable(RUN_JSON, cause))?;
        let files = part.manifest.files.iter();
        let arrays = files.filter(|file| !is_table(&file.name));
        Ok(Link {
            path: path.ok_or_else(|| MergeError::Unlinkable {
                dir: part.dir.clone(),
            })?,
            run_json,
            records: part.manifest.counts.records,
            residues: part.manifest.counts.residues,
            arrays: arrays
                .map(|file| (file.name.clone(), file.sha256.clone()))
                .collect(),
        })
    };
    parts.iter().map(link).collect()
}

/// Whether a file of a shard is a table, which a linked folder has itself.
pub(super) fn is_table(name: &str) -> bool {
    [INDEX_TSV, SKIPPED_TSV, SHARD_TSV, IDS_NPY].contains(&name)
}
