//! `run`: FASTA → embeddings.

mod job;
pub mod shard;

use super::adapters::AdapterArgs;
use super::message::{Message, with_flags};
use super::options::output::{PoolArg, ResiduesArg};
use super::options::{ComputeArgs, DisplayArgs, ModelArgs, OutputArgs, RecordArgs, folders};
use super::progress::Progress;
use super::stdout::print;
use super::{Exit, signals};
use esm_embed::fasta::Input;
use esm_embed::hub::HubSettings;
use esm_embed::output::{self, OutputError, RunState};
use esm_embed::pipeline::{self, Caches, Job, Shard, Stop, Stopped};
use esm_embed::plan::Plan;
use esm_embed::product::Product;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Examples below the help.
pub const EXAMPLES: &str = "\
Examples:
  # Mean and residue embeddings of the last layer of the 650M model
  esm-embed run proteins.fasta --out emb/
  # Only one vector per protein, with the small model
  esm-embed run proteins.fasta --out emb/ --model 8M --residues none
  # Several files, two layers, mean and <cls> vectors
  esm-embed run a.fasta b.fasta.gz --out emb/ --layer 0,-1 --pool mean,bos
  # Standard input, your own checkpoint, long sequences in windows
  zcat a.fasta.gz | esm-embed run - --out emb/ --model ./my_esm2 --long window
  # Only logits
  esm-embed run a.fasta --out emb/ --include logits --pool none --residues none
  # Contact maps beside the mean embeddings; the attention of the last layer
  esm-embed run a.fasta --out emb/ --include contacts --residues none
  esm-embed run a.fasta --out emb/ --include attentions --attention-layers last
  # How long will it take, and how much disk space will it need?
  esm-embed run proteins.fasta --out emb/ --dry-run
  # One of 100 shards of a plan (esm-embed plan proteins.fasta --shards 100)
  esm-embed run --plan plan/ --shard 7/100 --out shard-7/
  # A new release: copy what the old output has, compute the rest
  esm-embed run new.fasta --known old-emb/ --out emb/
  # Resume after an interruption
  esm-embed run proteins.fasta --out emb/ --resume";

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// FASTA files, or - for standard input
    ///
    /// Plain, gzip (also bgzip and several members) or zstd, recognised by their content. Several
    /// files are one input, in the order given.
    ///
    /// With --plan, the files are those of the plan, and nothing is given here unless they were moved.
    #[arg(required_unless_present = "plan", value_name = "FASTA")]
    pub inputs: Vec<PathBuf>,

    /// Output folder
    ///
    /// After a successful run, it holds run.json, index.tsv and the arrays. A folder that already
    /// holds an output, finished or not, is left as it is without --force or --resume.
    #[arg(short, long, value_name = "DIR")]
    pub out: PathBuf,

    /// Resume an interrupted run
    ///
    /// Give the same input (standard input from its beginning), model and options; the numbers of
    /// threads and tokens in a batch may differ. Finished work is kept, and the output is the same as
    /// without the interruption, byte for byte. With nothing to resume, the run starts from the
    /// beginning; a complete run is left as it is.
    #[arg(long, conflicts_with = "force")]
    pub resume: bool,

    /// Replace an existing output, and discard the work of an interrupted run
    #[arg(long)]
    pub force: bool,

    /// Embed only part I of N; `esm-embed merge` merges the parts
    ///
    /// I counts from 1; 0 means N, so job arrays may count from 0. Every shard reads the whole input,
    /// divides it in the same way into parts with about the same number of tokens, and needs its own
    /// output folder. With --plan, a shard reads only its own records.
    #[arg(long, value_name = "I/N", value_parser = shard::shard)]
    pub shard: Option<Shard>,

    /// Embed a shard of the plan in this folder, which `esm-embed plan` wrote
    ///
    /// The FASTA files are not read to find the records of the shard: the plan has checked all of them
    /// and knows where they are. A file must have the size that it had; every record that is read is
    /// compared with the plan, and one that differs is an error. A file that was only copied or touched,
    /// so that its time differs, is still the planned one. If the files were moved, give their new paths,
    /// in the order of the plan. --long, --gaps, --unknown and --on-invalid must be those of the plan.
    #[arg(long, value_name = "DIR", requires = "shard")]
    pub plan: Option<PathBuf>,

    /// Copy the embeddings of sequences that this output folder has, instead of computing them
    ///
    /// For a new release of a database: sequences of the old release are not computed again. The folder was
    /// written with the same model, number formats, device and way of treating long sequences, and has at
    /// least the arrays of this run; the copies then have exactly the bytes that computing gives. Anything
    /// that differs is an error that names it, and so is damage: the checksums of all files that are used
    /// are compared first. A shard, or the folder of `merge --link`, has what identifies its sequences; for
    /// the output of a whole input, the FASTA files named in its run.json are read again. May be given
    /// several times. run.json counts the sequences as `known`.
    #[arg(long, value_name = "DIR")]
    pub known: Vec<PathBuf>,

    /// Report what the run would do, without doing it
    ///
    /// Prints records, tokens, memory, disk space and an estimate of the time to standard output (one
    /// JSON object with --progress json). The model is downloaded if it is not in the cache.
    #[arg(long)]
    pub dry_run: bool,

    #[command(flatten)]
    pub model: ModelArgs,

    #[command(flatten)]
    pub adapter: AdapterArgs,

    /// File of the contact regression [default: that of the model]
    ///
    /// Hugging Face checkpoints hold it. fair-esm has it in NAME-contact-regression.pt, which is found
    /// beside NAME.pt.
    #[arg(long, value_name = "FILE", help_heading = "Model")]
    pub contact_regression: Option<PathBuf>,

    #[command(flatten)]
    pub output: OutputArgs,

    #[command(flatten)]
    pub records: RecordArgs,

    #[command(flatten)]
    pub compute: ComputeArgs,

    #[command(flatten)]
    pub display: DisplayArgs,
}

impl RunArgs {
    /// What is contradictory in the arguments, with hints.
    pub fn contradiction(&self) -> Option<String> {
        let is_stdin = |path: &&PathBuf| *path == Path::new("-");
        let stdin = self.inputs.iter().filter(is_stdin).count();
        if stdin > 1 {
            return Some("standard input (-) is given more than once".to_owned());
        }
        if self.plan.is_some() && stdin > 0 {
            return Some(
                "standard input (-) is not a planned file, because `plan` reads only parts of files"
                    .to_owned(),
            );
        }
        if self.shard.is_some() && stdin > 0 {
            return Some(
                "standard input (-) can be read only once, but `shard` reads the input twice\n\
                 hint: give a file"
                    .to_owned(),
            );
        }
        if let Some(what) = folders::not_a_folder(&self.out) {
            return Some(what);
        }
        let has_maps =
            !self.output.attention_layers.is_empty() || self.output.attention_heads.is_some();
        if has_maps && !self.output.include.contains(&Product::Attentions) {
            return Some(
                "`attention_layers` and `attention_heads` say which attention maps are written, but \
                 none are\nhint: use `include=attentions`"
                    .to_owned(),
            );
        }
        let pools = &self.output.pools;
        if self.output.stack_layers && pools.contains(&PoolArg::None) {
            return Some(
                "`stack_layers` is about pooled embeddings, but `pool=none` leaves them out"
                    .to_owned(),
            );
        }
        if pools.contains(&PoolArg::None) {
            if pools.iter().any(|pool| *pool != PoolArg::None) {
                return Some("`pool=none` cannot be combined with other pools".to_owned());
            }
            if self.output.residues == ResiduesArg::None && self.output.include.is_empty() {
                return Some(
                    "with `pool=none` and `residues=none`, there is nothing to write".to_owned(),
                );
            }
        }
        None
    }
}

/// Embeds, or with `--dry-run` reports what would be done. How the run ended is recorded for `status`.
pub fn execute(args: &RunArgs) -> anyhow::Result<Exit> {
    let ended = execute_run(args);
    if let Err(error) = &ended
        && !args.dry_run
        && !is_refusal(error)
    {
        let what = format!("{error:#}");
        output::record_end(&args.out, args.shard, RunState::Failed, what);
    }
    ended
}

/// Whether an error only says that the output folder is not this run's to touch.
fn is_refusal(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<OutputError>();
    error.is_some_and(OutputError::is_refusal)
}

fn execute_run(args: &RunArgs) -> anyhow::Result<Exit> {
    let progress = Arc::new(Progress::new(args.display));
    let stop = signals::listen(&progress)?;
    // What is sure to fail fails before a model is downloaded.
    args.compute.options().resolve_device()?;
    let plan = args
        .plan
        .as_deref()
        .map(Plan::open)
        .transpose()?
        .map(Arc::new);
    check_inputs(&args.inputs)?;
    for dir in args.known.iter().filter(|dir| dir.exists()) {
        folders::check_is_folder(dir, "give the folder that a run wrote")?;
    }
    let revision = args.model.revision.as_deref();
    let model = args
        .adapter
        .resolve(&args.model.model, revision, &progress)?;
    let cache = HubSettings::from_env().ok();
    let caches = job::caches(args, cache.map(|cache| cache.remembered()));
    let job = job::job(args, plan, model);
    if args.dry_run {
        let forecast = pipeline::dry_run(&job, &caches, progress.as_ref());
        progress.clear();
        let forecast = forecast?;
        match progress.is_json() {
            true => print(&format!("{}\n", forecast.json()))?,
            false => print(&with_flags(&forecast.to_string()))?,
        }
        return Ok(Exit::Done);
    }
    embed(&job, &caches, &progress, &stop)
}

/// Carries a job out, and reports a stop.
///
/// # Errors
/// As [`pipeline::run()`], except for a stop.
pub fn embed(job: &Job, caches: &Caches, progress: &Progress, stop: &Stop) -> anyhow::Result<Exit> {
    let outcome = pipeline::run(job, caches, progress, stop);
    progress.clear();
    let outcome = match outcome {
        Err(error) if error.is::<Stopped>() => {
            let folder = &job.output.folder;
            output::record_end(folder, None, RunState::Stopped, format!("{error:#}"));
            progress.error(&Message::of_error(&error));
            return Ok(Exit::Stopped(stop.signal()));
        }
        outcome => outcome?,
    };
    Ok(if outcome.skipped > 0 {
        Exit::Skipped
    } else {
        Exit::Done
    })
}

/// Opens every input that can be opened twice: files, and paths that do not exist.
fn check_inputs(inputs: &[PathBuf]) -> anyhow::Result<()> {
    for path in inputs {
        if path == Path::new("-") {
            continue;
        }
        let is_stream = path
            .metadata()
            .is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir());
        if !is_stream {
            Input::open(path)?;
        }
    }
    Ok(())
}
