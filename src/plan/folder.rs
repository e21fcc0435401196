//! Writes the folder of a plan.

use super::facts::{self, Counts, FORMAT};
use super::{
    Blocks, Built, INDEX, PLAN_JSON, PlanError, PlanFacts, PlanFile, PlannedInput, SHARDS_TSV,
    Settings, ShardFacts, Stored, shards,
};
use crate::fasta::Block;
use crate::output::{LOCK, Lock, OutputError, PARTIAL, UNNAMED, remove_if_there, sync_folder};
use crate::sha256::{hex, sha256_file, sha256_of};
use crate::stamp::Stamp;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// What was found of an input that has been read to its end.
#[derive(Clone, Debug)]
pub struct ReadInput {
    /// The path as given.
    pub path: PathBuf,
    /// How it is stored.
    pub stored: Stored,
    /// Size and times of the file.
    pub stamp: Stamp,
    /// Decompressed bytes.
    pub bytes: u64,
    /// Their SHA-256.
    pub sha256: [u8; 32],
    /// Records.
    pub records: u64,
    /// The blocks of a bgzip file.
    pub blocks: Vec<Block>,
}

/// The folder of a plan that is being made. Until it is finished, nothing looks like a plan.
#[derive(Debug)]
pub struct PlanFolder {
    dir: PathBuf,
    partial: PathBuf,
    lock: Lock,
}

impl PlanFolder {
    /// Refuses a folder that holds anything, except a plan that may be replaced.
    ///
    /// # Errors
    /// It holds something, or cannot be read.
    pub fn check(dir: &Path, force: bool) -> Result<(), PlanError> {
        let entries = match std::fs::read_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(|cause| PlanError::io("reading", dir, cause))?,
        };
        let is_plan = dir.join(PLAN_JSON).is_file();
        let own = own_names(dir);
        for entry in entries {
            let entry = entry.map_err(|cause| PlanError::io("reading", dir, cause))?;
            let name = entry.file_name();
            let is_own = match name == PARTIAL {
                true => is_work_of_a_plan(&entry.path())?,
                false => own.iter().any(|own| name == **own),
            };
            if !is_own || is_plan && !force {
                return Err(PlanError::Exists {
                    dir: dir.to_path_buf(),
                    is_plan: is_plan && is_own,
                });
            }
        }
        Ok(())
    }

    /// Makes the folder, with its working folder empty.
    ///
    /// # Errors
    /// As [`Self::check`]; another process is writing there; it cannot be made.
    pub fn begin(dir: &Path, force: bool) -> Result<PlanFolder, PlanError> {
        PlanFolder::check(dir, force)?;
        std::fs::create_dir_all(dir).map_err(|cause| PlanError::io("making", dir, cause))?;
        let lock = Lock::take(dir).map_err(|error| match error {
            OutputError::Busy { dir } => PlanError::Busy { dir },
            other => PlanError::Output(other),
        })?;
        let partial = dir.join(PARTIAL);
        let folder = PlanFolder {
            dir: dir.to_path_buf(),
            partial,
            lock,
        };
        if !dir.join(PLAN_JSON).exists() {
            // An earlier attempt ended while it replaced a plan.
            folder.remove_listed()?;
        }
        folder.clear()?;
        Ok(folder)
    }

    /// Removes the files of the plan that was in the folder, and of one that ended before it was there.
    fn remove_listed(&self) -> Result<(), PlanError> {
        for name in own_names(&self.dir) {
            let path = self.dir.join(name);
            remove_if_there(&path).map_err(|cause| PlanError::io("removing", &path, cause))?;
        }
        Ok(())
    }

    /// Removes what an earlier attempt left.
    fn clear(&self) -> Result<(), PlanError> {
        let reading = |cause| PlanError::io("reading", &self.partial, cause);
        for entry in std::fs::read_dir(&self.partial).map_err(reading)? {
            let entry = entry.map_err(reading)?;
            if entry.file_name() != LOCK {
                let path = entry.path();
                let removed = std::fs::remove_file(&path);
                removed.map_err(|cause| PlanError::io("removing", &path, cause))?;
            }
        }
        Ok(())
    }

    /// The working folder.
    pub fn partial(&self) -> &Path {
        &self.partial
    }

    /// A new file for the decompressed bytes of an input, counted from 1.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn rewritten(&self, input: usize) -> Result<File, PlanError> {
        let path = self.rewritten_path(input);
        File::create(&path).map_err(|cause| PlanError::io("making", &path, cause))
    }

    /// The path of that file while the plan is made.
    pub fn rewritten_path(&self, input: usize) -> PathBuf {
        self.partial.join(rewritten_name(input))
    }

    /// Writes the rest, syncs everything and moves it to its place.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn finish(
        self,
        built: &Built,
        settings: Settings,
        inputs: &[ReadInput],
    ) -> Result<PlanFacts, PlanError> {
        let firsts = facts::firsts(inputs.iter().map(|input| input.records));
        let path = self.partial.join(INDEX);
        let writing = |cause| PlanError::io("writing", &path, cause);
        let file = File::create(&path).map_err(writing)?;
        let mut index = BufWriter::with_capacity(1 << 20, file);
        let shards = built.write(&firsts, &mut index).map_err(writing)?;
        let file = index
            .into_inner()
            .map_err(|error| writing(error.into_error()))?;
        file.sync_all().map_err(writing)?;
        let mut files = vec![PlanFile {
            name: INDEX.into(),
            bytes: shards.iter().map(|shard| shard.bytes).sum(),
            sha256: None,
        }];
        files.push(self.write(SHARDS_TSV, shards::to_text(&shards).as_bytes())?);
        let mut planned = Vec::new();
        for (i, input) in inputs.iter().enumerate() {
            let file = self.write_input(i + 1, input)?;
            planned.push(planned_input(input, file.as_ref()));
            files.extend(file);
        }
        let mut plan = PlanFacts {
            format: FORMAT,
            esm_embed: env!("CARGO_PKG_VERSION").into(),
            digest: String::new(),
            shards: shards.len() as u64,
            settings,
            counts: counts(&shards, built),
            inputs: planned,
            files,
        };
        plan.digest = plan.digest_now();
        let mut bytes = serde_json::to_vec_pretty(&plan)
            .map_err(|cause| PlanError::io("encoding", &self.partial, cause.into()))?;
        bytes.push(b'\n');
        self.write(PLAN_JSON, &bytes)?;
        self.publish(&plan)?;
        Ok(plan)
    }

    /// What a plan holds of an input besides its records.
    fn write_input(&self, number: usize, input: &ReadInput) -> Result<Option<PlanFile>, PlanError> {
        match input.stored {
            Stored::Plain => Ok(None),
            Stored::Bgzip => {
                let mut bytes = Vec::new();
                // Writing into memory does not fail.
                let _ = Blocks::write(&input.blocks, &mut bytes);
                self.write(&format!("input-{number}.gzi"), &bytes).map(Some)
            }
            Stored::Rewritten => {
                let name = rewritten_name(number);
                let path = self.partial.join(&name);
                let synced = File::open(&path).and_then(|file| file.sync_all());
                synced.map_err(|cause| PlanError::io("syncing", &path, cause))?;
                // What was written is what was read.
                let (sha256, bytes) =
                    sha256_file(&path).map_err(|cause| PlanError::io("reading", &path, cause))?;
                match sha256 == hex(&input.sha256) {
                    true => Ok(Some(PlanFile {
                        name,
                        bytes,
                        sha256: Some(sha256),
                    })),
                    false => Err(PlanError::Damaged {
                        path,
                        what: "does not hold what was written to it".into(),
                    }),
                }
            }
        }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<PlanFile, PlanError> {
        let path = self.partial.join(name);
        let write = || {
            let mut file = File::create(&path)?;
            file.write_all(bytes)?;
            file.sync_all()
        };
        write().map_err(|cause| PlanError::io("writing", &path, cause))?;
        Ok(PlanFile {
            name: name.into(),
            bytes: bytes.len() as u64,
            sha256: Some(sha256_of(bytes)),
        })
    }

    /// Moves everything to its place, `plan.json` last; an older plan is gone before.
    fn publish(self, plan: &PlanFacts) -> Result<(), PlanError> {
        PlanFolder::check(&self.dir, true)?;
        let syncing = |cause| PlanError::io("syncing", &self.dir, cause);
        let moving = |path: &Path, cause| PlanError::io("moving", path, cause);
        let (old, replaced) = (self.dir.join(PLAN_JSON), self.partial.join(REPLACED));
        match std::fs::rename(&old, &replaced) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            renamed => renamed.map_err(|cause| moving(&old, cause))?,
        }
        sync_folder(&self.partial).map_err(syncing)?;
        sync_folder(&self.dir).map_err(syncing)?;
        self.remove_listed()?;
        let names = plan.files.iter().map(|file| file.name.as_str());
        for name in names.chain([PLAN_JSON]) {
            if name == PLAN_JSON {
                sync_folder(&self.dir).map_err(syncing)?;
            }
            let path = self.dir.join(name);
            let moved = std::fs::rename(self.partial.join(name), &path);
            moved.map_err(|cause| moving(&path, cause))?;
        }
        sync_folder(&self.dir).map_err(syncing)?;
        // What is left of the working folder is of no use to anyone.
        let _ = remove_if_there(&replaced);
        self.lock.release();
        Ok(())
    }
}

/// Whether a working folder holds nothing but what planning leaves there: not the work of a run.
fn is_work_of_a_plan(partial: &Path) -> Result<bool, PlanError> {
    let reading = |cause| PlanError::io("reading", partial, cause);
    for entry in std::fs::read_dir(partial).map_err(reading)? {
        let name = entry.map_err(reading)?.file_name();
        let name = name.to_string_lossy();
        let is_own = name == LOCK || name == REPLACED || is_file_of_a_plan(&name);
        if !is_own && !name.starts_with(UNNAMED) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The `plan.json` of a plan while it is replaced, in the working folder.
const REPLACED: &str = "replaced.json";

/// The files in a folder that belong to its plan, to one that is being replaced, or to one whose making
/// ended before its `plan.json` was in its place.
fn own_names(dir: &Path) -> Vec<String> {
    let partial = dir.join(PARTIAL);
    let lists = [
        dir.join(PLAN_JSON),
        partial.join(REPLACED),
        partial.join(PLAN_JSON),
    ];
    #[derive(serde::Deserialize)]
    struct Listed {
        files: Vec<PlanFile>,
    }
    let names = lists.iter().flat_map(|list| {
        let listed = super::read_all(list).ok();
        let listed = listed.and_then(|bytes| serde_json::from_slice::<Listed>(&bytes).ok());
        let files = listed.map_or_else(Vec::new, |listed| listed.files);
        files.into_iter().map(|file| file.name)
    });
    let names = names.filter(|name| is_file_of_a_plan(name));
    let plan = lists.first().is_some_and(|list| list.is_file());
    names.chain(plan.then(|| PLAN_JSON.to_owned())).collect()
}

fn rewritten_name(input: usize) -> String {
    format!("input-{input}.fasta")
}

/// Whether a plan may have a file of this name.
fn is_file_of_a_plan(name: &str) -> bool {
    let is_number = |stem: &str| !stem.is_empty() && stem.bytes().all(|b| b.is_ascii_digit());
    let numbered = name.strip_prefix("input-");
    let stem = numbered.and_then(|n| n.strip_suffix(".gzi").or(n.strip_suffix(".fasta")));
    [PLAN_JSON, SHARDS_TSV, INDEX].contains(&name) || stem.is_some_and(is_number)
}

fn planned_input(input: &ReadInput, file: Option<&PlanFile>) -> PlannedInput {
    let absolute = std::path::absolute(&input.path).unwrap_or_else(|_| input.path.clone());
    PlannedInput {
        path: input.path.to_string_lossy().into(),
        absolute: absolute.to_string_lossy().into(),
        stored: input.stored,
        file: file.map(|file| file.name.clone()),
        file_bytes: input.stamp.bytes,
        modified: input.stamp.modified,
        bytes: input.bytes,
        sha256: hex(&input.sha256),
        records: input.records,
    }
}

fn counts(shards: &[ShardFacts], built: &Built) -> Counts {
    let mut all = Counts {
        reused_ids: built.reused.map_or(0, |reused| reused.records),
        ..Counts::default()
    };
    for shard in shards {
        all.records += shard.records;
        all.skipped += shard.skipped;
        all.distinct += shard.distinct;
        all.residues += shard.residues;
        all.tokens += shard.tokens;
        all.cost += shard.cost;
    }
    all
}
