//! Sequences that other output folders hold already.

use super::model_files::Digests;
use super::{Run, describe};
use crate::admission::{Admission, Gaps, Policy};
use crate::embedder::Embedder;
use crate::numerals::count;
use crate::output::{
    ArrayWriter, Entered, FinishedFolder, Journal, Key, Known, KnownBuilder, KnownError,
    KnownFolder, KnownRecord, Manifest, Record, ShardKeys, key,
};
use crate::pipeline::input::records::{Next, Records};
use crate::pipeline::input::rules::Rules;
use crate::pipeline::job::OnInvalid;
use crate::pipeline::plan::Plan;
use crate::pipeline::reporter::Level;
use crate::run_record::{RunRecord, value_differences};
use crate::sha256::hex;
use crate::tokenizer::{UnknownPolicy, bytes_of};
use anyhow::{Error, Result};
use std::path::{Path, PathBuf};

/// Opens the folders whose values are to be copied, and finds their sequences; None without such folders.
///
/// # Errors
/// A folder that is not complete or intact, that holds other values than this run would compute, or whose
/// sequences cannot be found.
pub fn open(run: Run<'_>, plan: &Plan, embedder: &Embedder) -> Result<Option<Known>> {
    let job = run.job;
    if job.inputs.known.is_empty() {
        return Ok(None);
    }
    let out = &job.output.folder;
    let mut now = describe::record(job, plan, run.checkpoint, Some(embedder), &[]);
    let cache = run.caches.checksums.as_ref();
    now.resolved.model.files = Digests::compute(cache, run.checkpoint, run.stop)?.files;
    let mut parts = Vec::new();
    for dir in &job.inputs.known {
        refuse_out(dir, out)?;
        for part in KnownFolder::parts(dir)? {
            refuse_out(part.dir(), out)?;
            refuse_other_values(&part, &now)?;
            parts.push(part);
        }
    }
    let folders = KnownFolder::open_all(parts, &plan.layout, run.threads)?;
    let sources: Vec<(PathBuf, Manifest)> = folders
        .iter()
        .map(|folder| (folder.dir().to_path_buf(), folder.manifest().clone()))
        .collect();
    let mut builder = KnownBuilder::new(folders, out)?;
    for (number, (dir, manifest)) in sources.iter().enumerate() {
        if manifest.shard.is_some() {
            let mut keys = ShardKeys::open(dir)?;
            builder.add(number, |_| keys.next_key())?;
        } else {
            let paths: Vec<PathBuf> = paths(manifest);
            let mut sequences = Sequences {
                dir,
                manifest,
                records: Records::new(&paths, rules(plan, manifest), None),
            };
            builder.add(number, |record| sequences.key(record))?;
            sequences.finish()?;
        }
    }
    let known = builder.finish()?;
    let text = format!(
        "{} known from {}",
        count(known.sequences(), "distinct sequence"),
        count(sources.len() as u64, "output folder")
    );
    run.reporter.message(Level::Info, &text);
    Ok(Some(known))
}

fn refuse_out(dir: &Path, out: &Path) -> Result<(), KnownError> {
    let real = |path: &Path| path.canonicalize().ok();
    match real(dir).is_some() && real(dir) == real(out) {
        false => Ok(()),
        true => Err(KnownError::IsOut {
            dir: dir.to_path_buf(),
        }),
    }
}

fn refuse_other_values(folder: &FinishedFolder, now: &RunRecord) -> Result<(), KnownError> {
    let differences = value_differences(&folder.manifest().record(), now);
    match differences.is_empty() {
        true => Ok(()),
        false => Err(KnownError::Differs {
            dir: folder.dir().to_path_buf(),
            differences: differences.iter().map(ToString::to_string).collect(),
        }),
    }
}

fn paths(manifest: &Manifest) -> Vec<PathBuf> {
    let inputs = manifest.resolved.inputs.iter();
    inputs.map(|input| PathBuf::from(&input.path)).collect()
}

/// How the run that wrote a folder judged its records; what it left out is not in its index.
fn rules(plan: &Plan, manifest: &Manifest) -> Rules {
    let gaps = match manifest.resolved.gaps == Gaps::Drop.to_string() {
        true => Gaps::Drop,
        false => Gaps::Keep,
    };
    let unknown = match manifest.asked.unknown == UnknownPolicy::Error.to_string() {
        true => UnknownPolicy::Error,
        false => UnknownPolicy::Unk,
    };
    Rules {
        admission: Admission {
            policy: Policy {
                gaps,
                unknown,
                ..plan.admission.policy
            },
            memory: None,
            maps: None,
        },
        on_invalid: OnInvalid::Skip,
        left_out_beyond: None,
    }
}

/// The sequences of an output of a whole input, read again.
struct Sequences<'a> {
    dir: &'a Path,
    manifest: &'a Manifest,
    records: Records<'a>,
}

impl Sequences<'_> {
    fn error(&self, what: String) -> Error {
        let error = KnownError::Sequences {
            dir: self.dir.to_path_buf(),
            what,
        };
        error.into()
    }

    fn next(&mut self) -> Result<Next> {
        let next = self.records.next();
        next.map_err(|error| {
            let text = format!("{error:#}");
            self.error(text.lines().next().unwrap_or_default().to_owned())
        })
    }

    /// The key of the sequence of the next record of the index; what the run left out is passed over.
    fn key(&mut self, record: &Record) -> Result<Key> {
        loop {
            let prepared = match self.next()? {
                Next::Ready(prepared) => prepared,
                Next::Skipped(_) | Next::Refused(_) => continue,
                Next::End => {
                    let row = record.row;
                    let what = format!("its FASTA files have no record for row {row} of index.tsv");
                    return Err(self.error(what));
                }
            };
            let found = self.records.record();
            if found.id == record.id
                && found.description == record.description
                && prepared.residues() as u64 == record.length
            {
                return Ok(key(&bytes_of(&prepared.tokens)));
            }
        }
    }

    /// Reads what is left, so that every file is known to be that of the run.
    fn finish(mut self) -> Result<()> {
        while !matches!(self.next()?, Next::End) {}
        let inputs = &self.manifest.resolved.inputs;
        let mut files = self.records.sources().iter().zip(inputs);
        let other = files.find(|(found, input)| hex(&found.digest.sha256) != input.sha256);
        match other {
            None => Ok(()),
            Some((_, input)) => {
                let what = format!("{} is not the file that its run read", input.path);
                Err(self.error(what))
            }
        }
    }
}

/// Copies what is known, record by record.
pub struct KnownRows<'a> {
    known: &'a Known,
    rows: &'a ArrayWriter,
    journal: &'a Journal,
    count: u64,
}

impl<'a> KnownRows<'a> {
    /// Nothing is copied yet.
    pub fn new(known: &'a Known, rows: &'a ArrayWriter, journal: &'a Journal) -> KnownRows<'a> {
        KnownRows {
            known,
            rows,
            journal,
            count: 0,
        }
    }

    /// Distinct sequences that were found.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Where the values of a sequence are. It is counted, whether or not an interrupted run has copied it.
    ///
    /// # Errors
    /// Temporary files cannot be read.
    pub fn find(&mut self, sequence: Key) -> Result<Option<KnownRecord>, KnownError> {
        let found = self.known.find(sequence)?;
        self.count += u64::from(found.is_some());
        Ok(found)
    }

    /// Copies the values of a record, and enters it as done.
    ///
    /// # Errors
    /// The values are damaged, or cannot be written.
    pub fn copy(&self, found: &KnownRecord, entered: &Entered) -> Result<(), KnownError> {
        let proof = self.known.copy(found, &entered.place, self.rows)?;
        self.journal
            .enter(entered.place.row, entered.input, &proof)?;
        Ok(())
    }
}
