//! The first pass over the input, before any model work: every record is checked and counted.
//!
//! A shard is known only once all lengths are. Until then, what counts of each record is kept in a
//! [`Spool`], so that the input is read once.

use crate::checkpoint::TRAINING_MAXIMUM;
use crate::output::{Ids, Journal, ShardEntry};
use crate::pipeline::input::distinct::{Amount, Distinct, Work, digest, short};
use crate::pipeline::input::findings::Findings;
use crate::pipeline::input::planned::PlannedShard;
use crate::pipeline::input::records::{Next, Records, Source};
use crate::pipeline::input::rules::Rules;
use crate::pipeline::input::shard::{Shard, Share, Survey};
use crate::pipeline::input::spool::{Embeddable, Fate, Spool, Surveyed};
use crate::pipeline::input::unique_ids::UniqueIds;
use crate::pipeline::job::Job;
use crate::pipeline::reporter::{Reporter, Totals};
use crate::product::Elements;
use anyhow::{Context, Result, bail};

/// The records of a shard.
#[derive(Clone, Debug)]
pub struct Part {
    /// Which shard, of how many records.
    pub entry: ShardEntry,
    /// Which records; None if a plan has them.
    pub share: Option<Share>,
}

/// What the first pass over the input found.
#[derive(Clone, Debug, Default)]
pub struct Scan {
    /// Records that get a row.
    pub records: u64,
    /// Their residue rows.
    pub residues: u64,
    /// What the sizes of arrays are made of.
    pub elements: Elements,
    /// Records to be skipped.
    pub skipped: u64,
    /// Records longer than the training maximum that are embedded whole.
    pub long: u64,
    /// Bytes of their headers.
    pub headers: u64,
    /// Their identifiers.
    pub ids: Ids,
    /// Records to warn about.
    pub findings: Findings,
    /// What has to be computed: each sequence once.
    pub work: Work,
    /// The part of it that the interrupted run has done.
    pub restored: Amount,
    /// The part that is left.
    pub left: Work,
    /// Tokens of the longest forward pass over one sequence.
    pub longest: usize,
    /// The inputs.
    pub sources: Vec<Source>,
    /// The shard that is counted; None for all records.
    pub part: Option<Part>,
}

impl Scan {
    /// What is to be computed, for reports.
    pub fn totals(&self) -> Totals {
        Totals {
            records: Some(self.work.records),
            residues: Some(self.work.residues),
            duplicates: self.records.saturating_sub(self.work.records),
            restored_records: self.restored.records,
            restored_residues: self.restored.residues,
            ..Totals::default()
        }
    }

    /// Nothing is left: the run had finished.
    pub fn restore_all(&mut self) {
        self.restored = Amount {
            records: self.work.records,
            residues: self.work.residues,
        };
        self.left = Work::default();
    }

    /// Tokens of the longest forward pass that is left over one sequence.
    pub fn longest_left(&self) -> usize {
        if self.left == self.work {
            return self.longest;
        }
        let last = self.left.passes.lengths().next_back();
        last.map_or(0, |(tokens, _)| tokens.ceil() as usize)
            .min(self.longest)
    }
}

/// Reads every record once, and checks and counts those of the job's shard, or all. Records that
/// `journal` lists are done.
///
/// # Errors
/// As [`Records::next`]; identifiers that the job does not allow; a journal or temporary file that
/// cannot be read or written.
pub fn scan(
    job: &Job,
    rules: Rules,
    journal: Option<&Journal>,
    reporter: &dyn Reporter,
) -> Result<Scan> {
    let mut records = Records::new(&job.inputs.paths, rules, None);
    let mut ids = UniqueIds::of(job);
    let mut shard = job.inputs.shard.map(|shard| Sharing {
        shard,
        survey: Survey::default(),
        spool: Spool::near(&job.output.folder),
    });
    let mut counter = Counter::new(rules, journal);
    while let Some(surveyed) = next(&mut records, &mut ids)? {
        report_progress(&records, reporter);
        match &mut shard {
            Some(shard) => shard.add(&surveyed)?,
            None => counter.add(surveyed)?,
        }
    }
    let part = match shard {
        Some(shard) => Some(shard.count(&mut counter)?),
        None => None,
    };
    Ok(Scan {
        sources: records.into_sources(),
        part,
        ..counter.finish()
    })
}

/// Counts the records of a planned shard, which the plan has checked. Only those are read that may be too
/// long for this machine.
///
/// # Errors
/// The plan is damaged; a record that cannot be embedded here, where those are not to be skipped; a
/// journal that cannot be read.
pub fn scan_planned(
    planned: &PlannedShard,
    rules: Rules,
    journal: Option<&Journal>,
) -> Result<Scan> {
    let mut counter = Counter::new(rules, journal);
    let long = rules.admission.policy.long;
    let mut reader = planned.section().read();
    while let Some(record) = reader.next_record()? {
        let fate = match record.fate.sequence() {
            None => Fate::Skipped,
            Some(_) if !rules.fits(record.residues) => {
                let mut one = Records::planned(planned.read_one(record), rules);
                match next(&mut one, &mut None)? {
                    Some(surveyed) => surveyed.fate,
                    None => continue,
                }
            }
            Some(key) => Fate::Embedded(Embeddable {
                residues: long.embedded(record.residues) as u64,
                digest: short(key),
                ..Embeddable::default()
            }),
        };
        let tokens = long.tokens(record.residues);
        counter.add(Surveyed { tokens, fate })?;
    }
    let facts = planned.section().facts();
    Ok(Scan {
        sources: planned.sources(),
        headers: facts.headers,
        ids: facts.ids(),
        part: Some(Part {
            entry: planned.entry(),
            share: None,
        }),
        ..counter.finish()
    })
}

/// Reads every record once, only to learn what the inputs are.
///
/// # Errors
/// As [`Records::next`].
pub fn read_sources(job: &Job, rules: Rules, reporter: &dyn Reporter) -> Result<Vec<Source>> {
    let mut records = Records::new(&job.inputs.paths, rules, None);
    while next(&mut records, &mut None)?.is_some() {
        report_progress(&records, reporter);
    }
    Ok(records.into_sources())
}

/// What counts of the next record; None at the end.
fn next(records: &mut Records<'_>, ids: &mut Option<UniqueIds>) -> Result<Option<Surveyed>> {
    let fate = match records.next()? {
        Next::End => return Ok(None),
        Next::Skipped(_) => Fate::Skipped,
        Next::Refused(message) => Fate::Refused(message),
        Next::Ready(prepared) => {
            if let Some(ids) = ids {
                ids.check(records, &prepared.tokens)?;
            }
            let record = records.record();
            let is_listed = Findings::counts(prepared.nucleotides, prepared.gaps);
            Fate::Embedded(Embeddable {
                residues: prepared.residues() as u64,
                header: (record.id.len() + record.description.len()) as u64,
                id: Ids::length(&record.id),
                digest: digest(&prepared.tokens),
                gaps: prepared.gaps,
                nucleotides: prepared.nucleotides,
                place: is_listed.then(|| records.shown()),
            })
        }
    };
    let tokens = records.tokens();
    Ok(Some(Surveyed { tokens, fate }))
}

/// Reports now and then how far the pass is.
fn report_progress(records: &Records<'_>, reporter: &dyn Reporter) {
    let met = records.ordinal() + 1;
    if met.is_multiple_of(256) {
        reporter.checked(met);
    }
}

/// Records that are shared out once all of them are known.
struct Sharing {
    shard: Shard,
    survey: Survey,
    spool: Spool,
}

impl Sharing {
    fn add(&mut self, surveyed: &Surveyed) -> Result<()> {
        self.survey.add(surveyed.tokens);
        self.spool.push(surveyed).with_context(|| self.failure())
    }

    /// Counts the records of the shard.
    fn count(self, counter: &mut Counter<'_>) -> Result<Part> {
        let failure = self.failure();
        let share = self.survey.share(self.shard);
        let mut own = share.clone();
        for surveyed in self.spool.replay().context(failure.clone())? {
            let surveyed = surveyed.context(failure.clone())?;
            if own.takes(surveyed.tokens) {
                counter.add(surveyed)?;
            }
        }
        Ok(Part {
            entry: ShardEntry {
                number: self.shard.number,
                of: self.shard.of,
                input_records: self.survey.records(),
                plan: None,
            },
            share: Some(share),
        })
    }

    fn failure(&self) -> String {
        format!(
            "the temporary file for `shard={}` cannot be used",
            self.shard
        )
    }
}

/// Counts records.
struct Counter<'a> {
    rules: Rules,
    journal: Option<&'a Journal>,
    distinct: Distinct,
    scan: Scan,
}

impl<'a> Counter<'a> {
    fn new(rules: Rules, journal: Option<&'a Journal>) -> Counter<'a> {
        Counter {
            rules,
            journal,
            distinct: Distinct::new(),
            scan: Scan::default(),
        }
    }

    fn add(&mut self, surveyed: Surveyed) -> Result<()> {
        let found = match surveyed.fate {
            Fate::Embedded(found) => found,
            Fate::Skipped => {
                self.scan.skipped += 1;
                return Ok(());
            }
            Fate::Refused(message) => bail!(message),
        };
        let is_restored = match self.journal {
            Some(journal) => journal.find(self.scan.records)?.is_some(),
            None => false,
        };
        let windows = self
            .rules
            .admission
            .policy
            .long
            .windows(found.residues as usize);
        let passes: Vec<usize> = match windows.is_empty() {
            true => vec![found.residues as usize + 2],
            false => windows.iter().map(|window| window.len() + 2).collect(),
        };
        let scan = &mut self.scan;
        scan.records += 1;
        scan.residues += found.residues;
        scan.elements.add(found.residues);
        scan.headers += found.header;
        scan.ids.add_length(found.id);
        let is_long = found.residues > TRAINING_MAXIMUM as u64;
        scan.long += u64::from(windows.is_empty() && is_long);
        scan.longest = passes.iter().copied().fold(scan.longest, usize::max);
        scan.findings.add(found.nucleotides, found.gaps, || {
            found.place.clone().unwrap_or_default()
        });
        self.distinct.add(
            found.digest,
            found.residues,
            passes.into_iter(),
            is_restored,
        );
        Ok(())
    }

    fn finish(mut self) -> Scan {
        let scan = &mut self.scan;
        scan.work = self.distinct.work(scan.records, scan.residues);
        scan.left = self.distinct.left(&scan.work);
        scan.restored = self.distinct.restored();
        self.scan
    }
}
