//! Reads an input once and shares its records out, for tasks that each embed one shard.

mod space;

use crate::admission::{Admission, Long, Policy};
use crate::checkpoint::TRAINING_MAXIMUM;
use crate::fasta::{Compression, Input, Reader, Record, RecordStart};
use crate::output::{Ids, id_text, key, noted_id};
use crate::pipeline::input::check::{check_records, warn_of_empty};
use crate::pipeline::input::planned::settings;
use crate::pipeline::input::records::{Next, Planning, Records, Source, shown};
use crate::pipeline::input::rules::Rules;
use crate::pipeline::input::scan::Scan;
use crate::pipeline::input::unique_ids::refusal;
use crate::pipeline::input::warnings::{warn_of_findings, warn_of_long};
use crate::pipeline::job::{Model, OnDuplicateId, SequenceOptions};
use crate::pipeline::reporter::{Phase, Reporter};
use crate::pipeline::run::notices::warn_of_reused_ids;
use crate::plan::{
    Blocks, Builder, CostModel, Embedded, Found, Plan, PlanFolder, ReadInput, Reused, Stored, Work,
};
use crate::stamp::Stamp;
use crate::tokenizer::{Alphabet, bytes_of};
use anyhow::{Context, Result, bail};
use space::Contents;
use std::cell::Cell;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

/// Width of esm2_t33_650M_UR50D, whose costs count if no model is given.
const DIM: usize = 1280;

/// A plan, as requested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanJob {
    /// FASTA files in their order.
    pub paths: Vec<PathBuf>,
    /// Number of shards.
    pub shards: u32,
    /// The folder of the plan.
    pub out: PathBuf,
    /// Whether a plan in that folder is replaced.
    pub force: bool,
    /// Whether files in which no record can be found without reading all before it are written into
    /// the folder, decompressed.
    pub rewrite: bool,
    /// The model; None for the rules of ESM-2.
    pub model: Option<Model>,
    /// How sequences are treated.
    pub sequences: SequenceOptions,
    /// Records with the identifier of an earlier one and another sequence.
    pub on_duplicate_id: OnDuplicateId,
}

/// Reads the input, checks every record as a run does, and writes the plan.
///
/// # Errors
/// What a run would refuse; an input that cannot be read in parts; a folder that cannot be written.
pub fn plan_shards(job: &PlanJob, reporter: &dyn Reporter) -> Result<Plan> {
    let (policy, dim) = policy(job)?;
    let mut contents = Contents::default();
    for path in &job.paths {
        let compression = check_input(path, job.rewrite)?;
        contents.add(path, compression)?;
    }
    PlanFolder::check(&job.out, job.force)?;
    contents.check_space(&job.out)?;
    let folder = PlanFolder::begin(&job.out, job.force)?;
    let work = Work {
        long: policy.long,
        costs: CostModel::new(dim),
    };
    let temporary = || format!("{}: the temporary files of the plan", job.out.display());
    let mut builder = Builder::near(folder.partial(), job.shards, work).with_context(temporary)?;
    reporter.phase(Phase::Reading);
    let read = read(job, policy, &folder, &mut builder, reporter)?;
    reporter.phase(Phase::Planning);
    let built = builder.finish().with_context(temporary)?;
    if let Some(reused) = &built.reused {
        tell_of_reused(job, &folder, &read, reused, reporter)?;
    }
    let settings = settings(
        &policy,
        job.sequences.on_invalid,
        job.on_duplicate_id,
        dim as u64,
    );
    let facts = folder.finish(&built, settings, &read)?;
    Ok(Plan {
        dir: job.out.clone(),
        facts,
    })
}

/// How sequences are treated, and the width of the model.
fn policy(job: &PlanJob) -> Result<(Policy, usize)> {
    let SequenceOptions {
        long,
        unknown,
        gaps,
        ..
    } = job.sequences;
    let Some(model) = &job.model else {
        let policy = Policy {
            alphabet: Alphabet::Esm,
            unknown,
            gaps,
            long: long.unwrap_or(Long::Full),
            model_limit: None,
        };
        return Ok((policy, DIM));
    };
    let checkpoint = model.open()?;
    let config = checkpoint.config();
    Ok((Policy::new(config, unknown, gaps, long)?, config.dim))
}

/// Refuses an input whose records cannot be found again.
fn check_input(path: &Path, rewrite: bool) -> Result<Compression> {
    let shown = path.display();
    if path == Path::new("-") {
        bail!(
            "standard input (-) cannot be planned: every task reads its own part of a file\n\
             hint: write it to a file first"
        );
    }
    let is_stream = path.metadata().is_ok_and(|m| !m.is_file() && !m.is_dir());
    if is_stream {
        bail!(
            "{shown}: is not a regular file, and every task reads its own part of a file\n\
             hint: write it to a file first"
        );
    }
    let compression = Input::open(path)?.compression();
    let (what, command) = match compression {
        Compression::None | Compression::Bgzip => return Ok(compression),
        _ if rewrite => return Ok(compression),
        Compression::Gzip => ("gzip", "gzip -dc"),
        Compression::Zstd => ("zstd", "zstd -dc"),
    };
    let name = path.with_extension("");
    bail!(
        "{shown}: is {what}, which can be read only from its beginning, and every task reads its own \
         part of a file\n\
         hint: convert it to bgzip: `{command} {shown} | bgzip > {}.bgz`\n\
         hint: use `rewrite` to write it decompressed into the folder of the plan",
        name.display()
    )
}

/// Reads every record and adds it to the plan.
fn read(
    job: &PlanJob,
    policy: Policy,
    folder: &PlanFolder,
    builder: &mut Builder,
    reporter: &dyn Reporter,
) -> Result<Vec<ReadInput>> {
    let rules = Rules {
        admission: Admission {
            policy,
            memory: None,
            maps: None,
        },
        on_invalid: job.sequences.on_invalid,
        left_out_beyond: None,
    };
    let inputs = Inputs {
        folder,
        opened: Cell::default(),
    };
    let mut records = Records::new(&job.paths, rules, None).planning(&inputs);
    let mut scan = Scan::default();
    // A record ends where the next one begins.
    let mut open: Option<(usize, Found)> = None;
    loop {
        let next = records.next()?;
        let (input, start) = records.start();
        if let Some((of, mut found)) = open.take() {
            let end = match records.sources().get(of) {
                Some(source) => source.digest.bytes,
                None => start,
            };
            found.bytes = end.saturating_sub(found.offset);
            builder.add(&found).with_context(|| {
                format!("{}: the temporary files of the plan", job.out.display())
            })?;
        }
        let record = records.record();
        let mut found = Found {
            offset: start,
            line: record.line,
            content: records.content(),
            ..Found::default()
        };
        match next {
            Next::End => break,
            Next::Refused(message) => bail!(message),
            Next::Skipped(_) => {}
            Next::Ready(prepared) => {
                found.residues = prepared.original_residues() as u64;
                found.embedded = Some(Embedded {
                    sequence: key(&bytes_of(&prepared.tokens)),
                    id: key(&id_text(&record.id)),
                    id_length: Ids::length(&record.id),
                    header: (record.id.len() + record.description.len()) as u64,
                });
                scan.records += 1;
                let residues = prepared.residues();
                let is_long = prepared.windows.is_empty() && residues > TRAINING_MAXIMUM;
                scan.long += u64::from(is_long);
                let place = || records.shown();
                scan.findings
                    .add(prepared.nucleotides, prepared.gaps, place);
            }
        }
        open = Some((input, found));
        let met = records.ordinal() + 1;
        if met.is_multiple_of(256) {
            reporter.checked(met);
        }
    }
    check_records(&job.paths, records.sources())?;
    warn_of_empty(records.sources(), reporter);
    warn_of_long(&scan, reporter);
    warn_of_findings(&scan.findings, job.sequences.gaps, reporter);
    Ok(records.into_read())
}

/// What a plan does with its inputs.
struct Inputs<'a> {
    folder: &'a PlanFolder,
    /// How the input that is open is stored, and its size and times.
    opened: Cell<Option<(Stored, Stamp)>>,
}

impl Planning for Inputs<'_> {
    fn prepare(&self, number: usize, path: &Path, input: &mut Input) -> Result<()> {
        let stored = match input.compression() {
            Compression::None => Stored::Plain,
            Compression::Bgzip => Stored::Bgzip,
            Compression::Gzip | Compression::Zstd => Stored::Rewritten,
        };
        match stored {
            Stored::Plain => {}
            Stored::Bgzip => input.note_blocks(),
            Stored::Rewritten => {
                let file = self.folder.rewritten(number + 1)?;
                input.copy_to(Box::new(BufWriter::with_capacity(1 << 20, file)));
            }
        }
        self.opened.set(Some((stored, stamp(path)?)));
        Ok(())
    }

    fn finish(&self, source: &Source, input: &mut Input) -> Result<ReadInput> {
        let path = &source.path;
        let Some((stored, before)) = self.opened.take() else {
            bail!("an input was closed before it was opened: this is a defect");
        };
        if !stamp(path)?.is_as_written(&before) {
            bail!(
                "{}: changed while it was read\n\
                 hint: wait until nothing writes to it, then plan again",
                path.display()
            );
        }
        if let Some(copy) = input.copy() {
            copy.flush()
                .with_context(|| format!("{}: the copy of it cannot be written", path.display()))?;
        }
        Ok(ReadInput {
            path: path.clone(),
            stored,
            stamp: before,
            bytes: source.digest.bytes,
            sha256: source.digest.sha256,
            records: source.records,
            blocks: input.blocks().to_vec(),
        })
    }
}

fn stamp(path: &Path) -> Result<Stamp> {
    let metadata = path.metadata();
    let metadata = metadata.with_context(|| format!("{}: cannot be examined", path.display()))?;
    Ok(Stamp::of(&metadata))
}

/// Records with the id of an earlier one and another sequence: an error, or a warning.
fn tell_of_reused(
    job: &PlanJob,
    folder: &PlanFolder,
    inputs: &[ReadInput],
    reused: &Reused,
    reporter: &dyn Reporter,
) -> Result<()> {
    let mut first = 0;
    for (number, input) in inputs.iter().enumerate() {
        if reused.ordinal >= first + input.records {
            first += input.records;
            continue;
        }
        let path = match input.stored {
            Stored::Rewritten => folder.rewritten_path(number + 1),
            Stored::Plain | Stored::Bgzip => input.path.clone(),
        };
        let start = RecordStart {
            offset: reused.place.0,
            line: reused.line,
            number: reused.ordinal - first + 1,
        };
        let record = read_record(&path, input, start, reused.place.1)?;
        if job.on_duplicate_id == OnDuplicateId::Fail {
            bail!(refusal(&format!(
                "{}, line {}, record {} ({})",
                input.path.display(),
                record.line,
                record.number,
                shown(&record.id)
            )));
        }
        let id = noted_id(&record.id);
        warn_of_reused_ids(reused.records, &id, reused.row, "", reporter);
        return Ok(());
    }
    Ok(())
}

/// Reads one record of an input again.
fn read_record(path: &Path, input: &ReadInput, start: RecordStart, bytes: u64) -> Result<Record> {
    let name = input.path.to_string_lossy();
    let file = File::open(path).with_context(|| format!("{name}: cannot be opened again"))?;
    let blocks = Blocks::new(input.blocks.clone());
    let part = Input::part(&file, &name, blocks.part(start.offset, bytes))?;
    let mut record = Record::default();
    Reader::at_record(name, part, 1 << 16, start).read(&mut record)?;
    Ok(record)
}
