//! All inputs of a run as one stream of records, each ready to embed or refused.

use crate::admission::{Prepared, Unfit};
use crate::cancel::Cancel;
use crate::fasta::{BadRecord, Digest, FastaError, Input, Reader, Record};
use crate::output::key;
use crate::pipeline::input::planned::PlannedReader;
use crate::pipeline::input::rules::{Refusal, Rules};
use crate::pipeline::input::shard::Share;
use crate::pipeline::job::OnInvalid;
use crate::plan::record::{bad_content, content};
use crate::plan::{Content, Fate, PlanError, ReadInput};
use crate::printable;
use crate::tokenizer::bytes_of;
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};

/// What to do about records that cannot be embedded.
const SKIP_HINT: &str =
    "hint: use `on_invalid=skip` to leave such records out and list them in skipped.tsv";

/// What one input was, once it has been read to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The path as given; `-` for standard input.
    pub path: PathBuf,
    /// Decompressed bytes and their SHA-256.
    pub digest: Digest,
    /// Records, including those that cannot be embedded.
    pub records: u64,
}

/// A record that cannot be embedded and is to be skipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The path as given.
    pub path: PathBuf,
    /// Line of the header.
    pub line: u64,
    /// Number in its file.
    pub number: u64,
    /// First word of the header.
    pub id: Vec<u8>,
    /// Why.
    pub reason: String,
}

/// The next record of the input.
#[derive(Debug)]
pub enum Next {
    /// Ready to embed; its names are in [`Records::record`].
    Ready(Prepared),
    /// To be skipped.
    Skipped(Skipped),
    /// Ends the run, with this message, unless it belongs to another shard.
    Refused(String),
    /// No more records.
    End,
}

/// What a plan does with the inputs.
pub trait Planning {
    /// Before the input of this number, from 0, is read.
    ///
    /// # Errors
    /// It cannot be planned.
    fn prepare(&self, number: usize, path: &Path, input: &mut Input) -> Result<()>;

    /// After it was read to its end.
    ///
    /// # Errors
    /// It has changed, or what was made of it cannot be written.
    fn finish(&self, source: &Source, input: &mut Input) -> Result<ReadInput>;
}

/// Reads the inputs one after the other.
pub struct Records<'a> {
    paths: std::slice::Iter<'a, PathBuf>,
    rules: Rules,
    share: Option<Share>,
    met: u64,
    tokens: u64,
    open: Option<(&'a Path, Reader<Input>)>,
    /// Reads the records of a planned shard instead, with the file of the last one.
    planned: Option<(PlannedReader<'a>, &'a Path, &'a str)>,
    /// Prepares inputs for a plan as they are opened, and keeps what it needs to know of them.
    planning: Option<&'a dyn Planning>,
    read: Vec<ReadInput>,
    content: Content,
    record: Record,
    sources: Vec<Source>,
    spared: u64,
    cancel: Cancel,
}

impl<'a> Records<'a> {
    /// Inputs are opened when their first record is needed. With a share, all records are read and
    /// those of other shards passed over.
    pub fn new(paths: &'a [PathBuf], rules: Rules, share: Option<Share>) -> Records<'a> {
        Records {
            paths: paths.iter(),
            rules,
            share,
            met: 0,
            tokens: 0,
            open: None,
            planned: None,
            planning: None,
            read: Vec::new(),
            content: Content::default(),
            record: Record::default(),
            sources: Vec::new(),
            spared: 0,
            cancel: Cancel::default(),
        }
    }

    /// The records of a planned shard.
    pub fn planned(shard: PlannedReader<'a>, rules: Rules) -> Records<'a> {
        Records {
            planned: Some((shard.of(rules.admission.policy.alphabet), Path::new(""), "")),
            ..Records::new(&[], rules, None)
        }
    }

    /// Prepares the inputs for a plan.
    pub fn planning(mut self, planning: &'a dyn Planning) -> Records<'a> {
        self.planning = Some(planning);
        self
    }

    /// Stops waiting for a stream on request.
    pub fn until(mut self, cancel: Cancel) -> Records<'a> {
        self.cancel = cancel;
        self
    }

    /// The record that was read last.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Number of the record that was read last among all records of all inputs, from 0.
    pub fn ordinal(&self) -> u64 {
        self.met.saturating_sub(1)
    }

    /// Tokens that the record that was read last costs, whether or not it can be embedded.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Where the record that was read last is, for messages.
    pub fn shown(&self) -> String {
        let id = shown(&self.record.id);
        let name = match (&self.open, &self.planned) {
            (Some((_, reader)), _) => reader.get_ref().name(),
            (None, Some((_, _, name))) => name,
            (None, None) => return id,
        };
        let Record { line, number, .. } = self.record;
        format!("{name}, line {line}, record {number} ({id})")
    }

    /// Number of the file of the record that was read last, from 0, and the byte of its `>` there,
    /// decompressed.
    pub fn start(&self) -> (usize, u64) {
        let offset = self.open.as_ref().map(|(_, reader)| reader.record_offset());
        (self.sources.len(), offset.unwrap_or(0))
    }

    /// Records left out for lack of memory when the run began, for which there is enough now.
    pub fn spared(&self) -> u64 {
        self.spared
    }

    /// The inputs that have been read to their end.
    pub fn into_sources(self) -> Vec<Source> {
        match &self.planned {
            Some((planned, ..)) => planned.sources(),
            None => self.sources,
        }
    }

    /// The inputs that have been read to their end so far.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// For a plan, what the record that was read last is, whether or not it can be used.
    pub fn content(&self) -> Content {
        self.content
    }

    /// What a plan needs to know of them.
    pub fn into_read(self) -> Vec<ReadInput> {
        self.read
    }

    /// The next record of the share, or of all.
    ///
    /// # Errors
    /// An input that cannot be read, or a record that cannot be embedded when those are not to be
    /// skipped.
    pub fn next(&mut self) -> Result<Next> {
        if self.planned.is_some() {
            return self.next_planned();
        }
        while self.open_next()? {
            let Some((path, reader)) = &mut self.open else {
                continue;
            };
            match reader.read(&mut self.record) {
                Ok(true) => {
                    if self.planning.is_some() {
                        self.content = content(&self.record);
                    }
                    let judged = self.rules.judge(&self.record.sequence);
                    let residues = match &judged {
                        Ok(prepared) => prepared.original_residues(),
                        Err(refusal) => refusal.residues(),
                    };
                    if self.is_own(residues) {
                        return self.judged(judged);
                    }
                }
                Err(FastaError::Record(bad)) => {
                    if self.planning.is_some() {
                        self.content = bad_content(&bad);
                    }
                    let path = *path;
                    if self.is_own(0) {
                        return self.unreadable(path, *bad);
                    }
                }
                Ok(false) => self.close()?,
                Err(fatal) => return Err(fatal.into()),
            }
        }
        Ok(Next::End)
    }

    /// The next record of a planned shard.
    fn next_planned(&mut self) -> Result<Next> {
        let Some((reader, path, name)) = &mut self.planned else {
            return Ok(Next::End);
        };
        let Some((planned, bad)) = reader.next(&mut self.record)? else {
            return Ok(Next::End);
        };
        (*path, *name) = reader.file(&planned);
        let path = *path;
        self.met = planned.ordinal + 1;
        if let Some(bad) = bad {
            return self.unreadable(path, *bad);
        }
        let judged = self.rules.judge(&self.record.sequence);
        let tokens = judged
            .as_ref()
            .ok()
            .map(|prepared| key(&bytes_of(&prepared.tokens)));
        let is_planned = match (&judged, planned.fate) {
            (Err(Refusal::Unfit(unfit)), Fate::Skipped) => !unfit.is_of_machine(),
            (Err(Refusal::Unfit(unfit)), _) => unfit.is_of_machine(),
            (Err(_), _) => true,
            (Ok(_), fate) => tokens == fate.sequence(),
        };
        if !is_planned {
            bail!(PlanError::OtherRecord {
                path: path.to_path_buf(),
                line: planned.line,
                what: "its tokens are others than those that were planned",
            });
        }
        self.judged(judged)
    }

    /// Opens the next input unless one is open; false if there is none.
    fn open_next(&mut self) -> Result<bool> {
        if self.open.is_none() {
            let Some(path) = self.paths.next() else {
                return Ok(false);
            };
            let mut input = Input::open_until(path, self.cancel.clone())?;
            if let Some(planning) = self.planning {
                planning.prepare(self.sources.len(), path, &mut input)?;
            }
            let alphabet = self.rules.admission.policy.alphabet;
            let reader = Reader::new(input).hash_is_letter(alphabet.has_hash());
            self.open = Some((path, reader));
        }
        Ok(true)
    }

    /// Closes an input that has been read to its end.
    fn close(&mut self) -> Result<()> {
        if let Some((path, mut reader)) = self.open.take() {
            let source = Source {
                path: path.to_path_buf(),
                digest: reader.get_ref().digest(),
                records: reader.records(),
            };
            if let Some(planning) = self.planning {
                let read = planning.finish(&source, reader.get_mut())?;
                self.read.push(read);
            }
            self.sources.push(source);
        }
        Ok(())
    }

    /// Counts a record of this length; whether it belongs to the share.
    fn is_own(&mut self, residues: usize) -> bool {
        self.met += 1;
        self.tokens = self.rules.admission.policy.long.tokens(residues);
        let tokens = self.tokens;
        self.share.as_mut().is_none_or(|share| share.takes(tokens))
    }

    fn judged(&mut self, judged: Result<Prepared, Refusal>) -> Result<Next> {
        let refusal = match judged {
            Ok(prepared) => return Ok(Next::Ready(prepared)),
            Err(refusal) => refusal,
        };
        match refusal {
            Refusal::LessMemory { .. } => {
                return Ok(Next::Refused(format!("{}: {refusal}", self.shown())));
            }
            Refusal::LeftOut { fits, .. } => self.spared += u64::from(fits),
            Refusal::Unfit(_) => {}
        }
        if self.rules.on_invalid == OnInvalid::Fail {
            let correct = match refusal {
                Refusal::Unfit(Unfit::Empty | Unfit::OnlyGaps) => "\nhint: correct the record",
                _ => "",
            };
            bail!("{}: {refusal}{correct}\n{SKIP_HINT}", self.shown());
        }
        Ok(Next::Skipped(Skipped {
            path: self.path(),
            line: self.record.line,
            number: self.record.number,
            id: self.record.id.clone(),
            reason: refusal.listed(),
        }))
    }

    /// The path of the record that was read last, as given.
    fn path(&self) -> PathBuf {
        let path = match (&self.open, &self.planned) {
            (Some((path, _)), _) | (None, Some((_, path, _))) => *path,
            (None, None) => Path::new(""),
        };
        path.to_path_buf()
    }

    fn unreadable(&self, path: &Path, bad: BadRecord) -> Result<Next> {
        if self.rules.on_invalid == OnInvalid::Fail {
            bail!("{bad}\n{SKIP_HINT}");
        }
        Ok(Next::Skipped(Skipped {
            path: path.to_path_buf(),
            line: bad.line,
            number: bad.number,
            // Without the hints.
            reason: bad
                .fault
                .to_string()
                .lines()
                .next()
                .unwrap_or_default()
                .to_owned(),
            id: bad.id,
        }))
    }
}

/// An identifier for messages: escaped, and at most 80 characters of it.
pub fn shown(id: &[u8]) -> String {
    if id.is_empty() {
        return "no identifier".into();
    }
    printable::start(id, 80)
}
