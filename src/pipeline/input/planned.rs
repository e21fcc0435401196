//! The records of one shard of a plan, read where they are.

use crate::admission::Policy;
use crate::fasta::{BadRecord, FastaError, Input, Reader, Record};
use crate::output::ShardEntry;
use crate::pipeline::input::records::Source;
use crate::pipeline::job::{Job, OnDuplicateId, OnInvalid};
use crate::pipeline::reporter::{Level, Reporter};
use crate::plan::record::{bad_content, content};
use crate::plan::{
    Blocks, Plan, PlanError, PlannedInput, PlannedRecord, Section, SectionReader, Settings, Stored,
};
use crate::printable;
use crate::run_record::Shard;
use crate::stamp::Stamp;
use crate::tokenizer::Alphabet;
use anyhow::{Result, bail};
use std::collections::VecDeque;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes between two records that are read rather than skipped.
const GAP: u64 = 32 << 10;

/// Bytes of records that are read as one part of a file, unless a single record has more.
const MOST: u64 = 4 << 20;

/// Bytes read at a time.
const CAPACITY: u64 = 256 << 10;

/// How records are treated, as a plan records it.
pub fn settings(
    policy: &Policy,
    on_invalid: OnInvalid,
    on_duplicate_id: OnDuplicateId,
    dim: u64,
) -> Settings {
    Settings {
        alphabet: match policy.alphabet {
            Alphabet::Esm => "ESM-2".into(),
            Alphabet::EsmC => "ESM C".into(),
            Alphabet::SaProt => "SaProt".into(),
        },
        gaps: policy.gaps.to_string(),
        long: policy.long.to_string(),
        on_duplicate_id: on_duplicate_id.to_string(),
        on_invalid: on_invalid.to_string(),
        unknown: policy.unknown.to_string(),
        dim,
    }
}

/// A shard whose files are open and have their planned sizes.
#[derive(Debug)]
pub struct PlannedShard {
    plan: Arc<Plan>,
    section: Section,
    files: Vec<PlannedFile>,
    shard: Shard,
}

/// One input of a plan.
#[derive(Debug)]
struct PlannedFile {
    /// As given.
    path: PathBuf,
    /// The file that is read.
    at: PathBuf,
    /// Whether that is the decompressed copy in the plan.
    is_copy: bool,
    /// The path as given, for messages.
    name: String,
    file: File,
    blocks: Blocks,
}

impl PlannedShard {
    /// Opens the shard of a job; None if the job has no plan.
    ///
    /// # Errors
    /// The plan has other shards or files, or is damaged; a file is missing or has another size.
    pub fn open(job: &Job, reporter: &dyn Reporter) -> Result<Option<PlannedShard>> {
        let Some(plan) = &job.inputs.plan else {
            return Ok(None);
        };
        let Some(shard) = job.inputs.shard else {
            bail!("a plan is for the shards of an input\nhint: use `shard` to choose one of them");
        };
        let Plan { dir, facts } = &**plan;
        if facts.shards != shard.of {
            bail!(PlanError::OtherShards {
                dir: dir.clone(),
                shards: facts.shards,
                number: shard.number.min(facts.shards),
                of: shard.of,
            });
        }
        if facts.inputs.len() != job.inputs.paths.len() {
            bail!(PlanError::OtherInputs {
                dir: dir.clone(),
                planned: facts.inputs.len(),
                given: job.inputs.paths.len(),
            });
        }
        let files = facts.inputs.iter().zip(&job.inputs.paths);
        let files = files.map(|(input, path)| PlannedFile::open(plan, input, path, reporter));
        Ok(Some(PlannedShard {
            files: files.collect::<Result<_, _>>()?,
            section: plan.section(shard.number)?,
            plan: Arc::clone(plan),
            shard,
        }))
    }

    /// Compares the settings of the plan with those of the run.
    ///
    /// # Errors
    /// The first difference.
    pub fn check_settings(&self, job: &Job, policy: &Policy) -> Result<(), PlanError> {
        let planned = &self.plan.facts.settings;
        let dir = &self.plan.dir;
        let (on_invalid, on_duplicate_id) = (job.sequences.on_invalid, job.inputs.on_duplicate_id);
        let now = settings(policy, on_invalid, on_duplicate_id, planned.dim);
        if planned.alphabet != now.alphabet {
            return Err(PlanError::OtherAlphabet {
                dir: dir.clone(),
                planned: planned.alphabet.clone(),
                asked: now.alphabet,
            });
        }
        // A plan that refused reused identifiers has compared more than this run asks for.
        let is_compared = planned.on_duplicate_id == "fail" && now.on_duplicate_id == "warn";
        let all = [
            ("long", &planned.long, now.long),
            ("unknown", &planned.unknown, now.unknown),
            ("gaps", &planned.gaps, now.gaps),
            ("on_invalid", &planned.on_invalid, now.on_invalid),
            (
                "on_duplicate_id",
                &planned.on_duplicate_id,
                match is_compared {
                    true => planned.on_duplicate_id.clone(),
                    false => now.on_duplicate_id,
                },
            ),
        ];
        match all.into_iter().find(|(_, planned, now)| *planned != now) {
            None => Ok(()),
            Some((setting, planned, asked)) => Err(PlanError::OtherSetting {
                dir: dir.clone(),
                setting,
                planned: planned.clone(),
                asked,
            }),
        }
    }

    /// The records of the shard in the index.
    pub fn section(&self) -> &Section {
        &self.section
    }

    /// Which shard it is.
    pub fn entry(&self) -> ShardEntry {
        ShardEntry {
            number: self.shard.number,
            of: self.shard.of,
            input_records: self.plan.facts.input_records(),
            plan: self.plan.facts.digest.parse().ok(),
        }
    }

    /// The inputs as they were when they were planned.
    pub fn sources(&self) -> Vec<Source> {
        let inputs = self.plan.facts.inputs.iter().zip(&self.files);
        let source = |(input, file): (&PlannedInput, &PlannedFile)| Source {
            path: file.path.clone(),
            digest: crate::fasta::Digest {
                bytes: input.bytes,
                sha256: crate::sha256::parse(&input.sha256).unwrap_or_default(),
            },
            records: input.records,
        };
        inputs.map(source).collect()
    }

    /// Reads all records of the shard.
    pub fn read(&self) -> PlannedReader<'_> {
        PlannedReader {
            shard: self,
            left: Left::Section(self.section.read()),
            ahead: None,
            part: VecDeque::new(),
            open: None,
            hash_is_letter: false,
        }
    }

    /// Reads one record of the shard.
    pub fn read_one(&self, record: PlannedRecord) -> PlannedReader<'_> {
        PlannedReader {
            left: Left::One(Some(record)),
            ..self.read()
        }
    }
}

impl PlannedFile {
    fn open(
        plan: &Plan,
        input: &PlannedInput,
        path: &Path,
        reporter: &dyn Reporter,
    ) -> Result<PlannedFile, PlanError> {
        let typed = || open_planned(path.to_path_buf(), input.file_bytes);
        let (at, file, stamp) = match (input.stored, &input.file) {
            (Stored::Rewritten, Some(name)) => {
                let copy = open_planned(plan.dir.join(name), input.bytes);
                copy.map_err(PlanError::of_copy)?
            }
            // As it was typed, it may be relative to another folder; or everything was moved, and it is
            // relative to this one.
            _ if path == Path::new(&input.path) => {
                let planned = open_planned(input.absolute.clone().into(), input.file_bytes);
                planned.or_else(|error| typed().map_err(|_| error))?
            }
            _ => typed()?,
        };
        if input.stored != Stored::Rewritten && stamp.modified != input.modified {
            let text = format!(
                "{}: was written or copied after it was planned; its size is the same, and each \
                 record is compared with the plan",
                at.display()
            );
            reporter.message(Level::Info, &text);
        }
        Ok(PlannedFile {
            is_copy: input.stored == Stored::Rewritten,
            at,
            path: path.to_path_buf(),
            name: printable::start(path.as_os_str().as_encoded_bytes(), 4096),
            file,
            blocks: plan.blocks(input)?,
        })
    }
}

/// Opens a file that has to have this size.
fn open_planned(at: PathBuf, planned: u64) -> Result<(PathBuf, File, Stamp), PlanError> {
    let opened = File::open(&at).and_then(|file| {
        let stamp = Stamp::of(&file.metadata()?);
        Ok((file, stamp))
    });
    match opened {
        Err(cause) => Err(PlanError::Missing { path: at, cause }),
        Ok((_, stamp)) if stamp.bytes != planned => Err(PlanError::OtherSize {
            path: at,
            found: stamp.bytes,
            planned,
        }),
        Ok((file, stamp)) => Ok((at, file, stamp)),
    }
}

/// Reads records of a shard in their order.
pub struct PlannedReader<'a> {
    shard: &'a PlannedShard,
    left: Left<'a>,
    /// The first record of the next part.
    ahead: Option<PlannedRecord>,
    /// Records of the part of a file that is open.
    part: VecDeque<PlannedRecord>,
    open: Option<Reader<Input>>,
    hash_is_letter: bool,
}

/// Which records are to be read.
enum Left<'a> {
    Section(SectionReader<'a>),
    One(Option<PlannedRecord>),
}

impl Left<'_> {
    fn next(&mut self) -> Result<Option<PlannedRecord>, PlanError> {
        match self {
            Left::Section(section) => section.next_record(),
            Left::One(record) => Ok(record.take()),
        }
    }
}

impl<'a> PlannedReader<'a> {
    /// For a model with this alphabet.
    pub fn of(self, alphabet: Alphabet) -> PlannedReader<'a> {
        PlannedReader {
            hash_is_letter: alphabet.has_hash(),
            ..self
        }
    }

    /// The path of a record's file as given, and the same for messages.
    pub fn file(&self, record: &PlannedRecord) -> (&'a Path, &'a str) {
        let file = self.shard.files.get(record.input);
        file.map_or((Path::new(""), ""), |file| (&file.path, &file.name))
    }

    /// The inputs as they were when they were planned.
    pub fn sources(&self) -> Vec<Source> {
        self.shard.sources()
    }

    /// Reads the next record into `record`, or what is wrong with it; None at the end.
    ///
    /// # Errors
    /// The file cannot be read, or its record is not the planned one; the index is damaged.
    pub fn next(
        &mut self,
        record: &mut Record,
    ) -> Result<Option<(PlannedRecord, Option<Box<BadRecord>>)>> {
        if self.part.is_empty() && !self.open_part()? {
            return Ok(None);
        }
        let (Some(planned), Some(reader)) = (self.part.pop_front(), &mut self.open) else {
            return Ok(None);
        };
        let other = |what| {
            let file = self.shard.files.get(planned.input);
            match file.filter(|file| file.is_copy) {
                Some(copy) => PlanError::Damaged {
                    path: copy.at.clone(),
                    what: format!("line {}: {what}", planned.line),
                },
                None => PlanError::OtherRecord {
                    path: file.map_or_else(PathBuf::new, |file| file.path.clone()),
                    line: planned.line,
                    what,
                },
            }
        };
        if !reader.pass_to(planned.start())? {
            bail!(other("no record starts where one did"));
        }
        let (found, bad) = match reader.read(record) {
            Ok(true) if reader.offset() != planned.end() => {
                bail!(other("the record does not end where it did"))
            }
            Ok(true) => (content(record), None),
            Err(FastaError::Record(bad)) => (bad_content(&bad), Some(bad)),
            Ok(false) => bail!(other("no record starts where one did")),
            Err(fatal) => return Err(fatal.into()),
        };
        if found != planned.content {
            bail!(other("the record there is another one, or has changed"));
        }
        Ok(Some((planned, bad)))
    }

    /// Opens the part of a file with the next records; false if there are none.
    fn open_part(&mut self) -> Result<bool> {
        let first = match self.ahead.take() {
            Some(first) => Some(first),
            None => self.left.next()?,
        };
        let Some(first) = first else {
            return Ok(false);
        };
        let mut end = first.end();
        self.part.push_back(first);
        while let Some(next) = self.left.next()? {
            let is_near = next.input == first.input
                && next.offset.saturating_sub(end) <= GAP
                && next.end().saturating_sub(first.offset) <= MOST;
            if !is_near {
                self.ahead = Some(next);
                break;
            }
            end = next.end();
            self.part.push_back(next);
        }
        let Some(file) = self.shard.files.get(first.input) else {
            bail!("a record of no file: this is a defect");
        };
        let bytes = end.saturating_sub(first.offset);
        let part = file.blocks.part(first.offset, bytes);
        let input = Input::part(&file.file, &file.name, part)?;
        let capacity = bytes.min(CAPACITY) as usize;
        let reader = Reader::at_record(&file.name, input, capacity, first.start());
        self.open = Some(reader.hash_is_letter(self.hash_is_letter));
        Ok(true)
    }
}
