//! `plan`: FASTA → a plan for tasks that each embed one shard.

use super::Exit;
use super::adapters::resolve;
use super::options::model::{ModelArg, model};
use super::options::{DisplayArgs, RecordArgs, folders, variables};
use super::progress::Progress;
use super::run::shard::MAX_SHARDS;
use super::signals;
use super::stdout::{self, print_json};
use esm_embed::numerals::{count, grouped};
use esm_embed::pipeline::{self, Level, PlanJob, Reporter, SequenceOptions};
use esm_embed::plan::{Plan, PlanFacts};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Examples below the help.
pub const EXAMPLES: &str = "\
Example:
  esm-embed plan proteins.fasta --shards 100 --out plan/
  # in 100 tasks, I from 1 to 100
  esm-embed run --plan plan/ --shard $I/100 --out shard-$I/ --resume
  # when all of them are done
  esm-embed merge shard-*/ --out emb/";

/// Arguments of `plan`.
#[derive(Debug, clap::Args)]
pub struct PlanArgs {
    /// FASTA files
    ///
    /// Plain or bgzip, so that every task can read its own part; several files are one input, in the
    /// order given. Other gzip files and zstd are refused unless --rewrite is given, and so is standard
    /// input.
    #[arg(required = true, value_name = "FASTA")]
    pub inputs: Vec<PathBuf>,

    /// Number of parts
    ///
    /// Each is for one `esm-embed run --shard I/N`. Records with the same sequence are in the same shard,
    /// so that none is computed twice, and the shards have about the same amount of work: tokens, and
    /// attention, which grows with the square of the length. The same input gives the same shards.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=MAX_SHARDS as i64))]
    pub shards: u32,

    /// Folder to write
    ///
    /// It gets plan.json, shards.tsv (what each shard holds) and index (about 35 bytes for each record).
    /// While planning, temporary files of about 200 bytes for each record are needed there.
    #[arg(short, long, value_name = "DIR")]
    pub out: PathBuf,

    /// Replace an existing plan
    #[arg(long)]
    pub force: bool,

    /// Write gzip and zstd files decompressed into the folder of the plan
    ///
    /// The tasks then read these copies.
    #[arg(long)]
    pub rewrite: bool,

    /// Model whose limits are checked and whose attention is counted
    ///
    /// A name, a repository, a folder or a file, as for `run`; it is downloaded if it is not in the
    /// cache. It matters for ESM-1b and ESM-1v, which embed up to 1,022 residues, and for ESM C. Without
    /// it, the rules are those of ESM-2 of any size, and no model is needed.
    #[arg(short, long, env = variables::MODEL, value_parser = model, help_heading = "Model")]
    pub model: Option<ModelArg>,

    /// Branch, tag or commit of the Hugging Face repository [default: main]
    #[arg(
        long,
        value_name = "REVISION",
        requires = "model",
        help_heading = "Model"
    )]
    pub revision: Option<String>,

    #[command(flatten)]
    pub records: RecordArgs,

    /// Print a report as one JSON document
    ///
    /// Fields: out, least_cost and most_cost (of a shard, in tokens) and plan, the contents of plan.json.
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub display: DisplayArgs,
}

impl PlanArgs {
    /// What is contradictory in the arguments, with hints.
    pub fn contradiction(&self) -> Option<String> {
        if self.inputs.iter().any(|path| path == Path::new("-")) {
            return Some(
                "standard input (-) cannot be planned: every task reads its own part of a file\n\
                 hint: write it to a file first"
                    .to_owned(),
            );
        }
        folders::not_a_folder(&self.out)
    }
}

/// What `plan --json` prints.
#[derive(Debug, Serialize)]
struct PlanReport<'a> {
    out: String,
    least_cost: u64,
    most_cost: u64,
    plan: &'a PlanFacts,
}

/// Plans.
pub fn execute(args: &PlanArgs) -> anyhow::Result<Exit> {
    let progress = Arc::new(Progress::new(args.display));
    // There is nothing to save: a signal ends the process at once.
    let _stop = signals::listen(&progress)?;
    let records = &args.records;
    let revision = args.revision.as_deref();
    let model = args.model.as_ref();
    let model = model.map(|model| resolve(model, revision, &progress));
    let job = PlanJob {
        paths: args.inputs.clone(),
        shards: args.shards,
        out: args.out.clone(),
        force: args.force,
        rewrite: args.rewrite,
        model: model.transpose()?,
        sequences: SequenceOptions {
            long: records.sequences.long,
            unknown: records.sequences.unknown.into(),
            gaps: records.sequences.gaps.into(),
            on_invalid: records.on_invalid.into(),
        },
        on_duplicate_id: records.on_duplicate_id.into(),
    };
    let plan = pipeline::plan_shards(&job, progress.as_ref());
    progress.clear();
    report(args, &plan?, &progress)
}

fn report(args: &PlanArgs, plan: &Plan, progress: &Progress) -> anyhow::Result<Exit> {
    let facts = &plan.facts;
    let counts = &facts.counts;
    if counts.skipped > 0 {
        let text = format!(
            "{} cannot be embedded; the shards list them in skipped.tsv",
            count(counts.skipped, "record")
        );
        progress.message(Level::Warning, &text);
    }
    let costs: Vec<u64> = plan.shards()?.iter().map(|shard| shard.cost).collect();
    let least_cost = costs.iter().copied().min().unwrap_or(0);
    let most_cost = costs.iter().copied().max().unwrap_or(0);
    let text = format!(
        "{}: {} ({}), {}, in {} of {} to {} tokens",
        args.out.display(),
        count(counts.records, "record"),
        count(counts.distinct, "distinct sequence"),
        count(counts.residues, "residue"),
        count(facts.shards, "shard"),
        grouped(least_cost),
        grouped(most_cost)
    );
    progress.message(Level::Info, &text);
    if args.json {
        print_json(&PlanReport {
            out: stdout::path(&args.out),
            least_cost,
            most_cost,
            plan: facts,
        })?;
    }
    Ok(Exit::Done)
}
