//! The arguments as they are typed.

mod compute;
mod doctor;
mod fetch;
mod inspect;
mod merge;
mod model;
mod models;
mod out;
mod output;
mod records;
mod run;
mod show;
mod template;
mod verify;

pub use compute::{ComputeArgs, OnVaryingArg};
pub use doctor::DoctorArgs;
pub use fetch::FetchArgs;
pub use inspect::InspectArgs;
pub use merge::MergeArgs;
pub use model::ModelArgs;
pub use models::ModelsArgs;
pub use output::OutputArgs;
pub use records::{GapsArg, OnDuplicateIdArg, OnInvalidArg, RecordArgs, UnknownArg};
pub use run::RunArgs;
pub use show::{ProgressArg, ShowArgs};
pub use template::{Scheduler, TemplateArgs};
pub use verify::VerifyArgs;

use clap::{Parser, Subcommand};

const EXAMPLES: &str = "\
Example:
  esm-embed run proteins.fasta --out emb/

In Python:
  numpy.load(\"emb/mean.layer33.npy\")      one row per record, in the order of the FASTA

Exit status: 0 done, 1 failed, 2 wrong usage, 3 done but records were skipped, 128 and the number
of a signal (129 SIGHUP, 130 SIGINT, 138 SIGUSR1, 143 SIGTERM) stopped; resume with --resume.";

const RUN_EXAMPLES: &str = "\
Examples:
  esm-embed run proteins.fasta --out emb/
  esm-embed run a.fasta b.fasta.gz --model 3B --layer 0,-1 --pool mean,bos --out emb/
  zcat proteins.fasta.gz | esm-embed run - --model ./my_checkpoint --residues none --out emb/";

const TEMPLATE_EXAMPLES: &str = "\
Example:
  esm-embed template slurm > embed.sh
  SHARDS=16 bash embed.sh emb proteins.fasta --model 650M";

const MERGE_EXAMPLES: &str = "\
Example:
  for i in 1 2 3; do esm-embed run proteins.fasta --shard $i/3 --out shard-$i/; done
  esm-embed merge shard-1/ shard-2/ shard-3/ --out emb/";

/// FASTA in, exact ESM protein embeddings out as .npy
#[derive(Debug, Parser)]
#[command(name = "esm-embed", version, after_help = EXAMPLES, arg_required_else_help = true)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Embed the records of FASTA files
    #[command(after_help = RUN_EXAMPLES)]
    Run(Box<RunArgs>),
    /// Download a model to the cache and check its files, for use without network
    Fetch(FetchArgs),
    /// List the published ESM models and what the cache holds of them
    Models(ModelsArgs),
    /// Report what an output folder holds, and whether it is sound
    Inspect(InspectArgs),
    /// Join the folders of all shards into one for the whole input
    #[command(after_help = MERGE_EXAMPLES)]
    Merge(MergeArgs),
    /// Compare the embeddings of a model with published values
    Verify(VerifyArgs),
    /// Report processor, memory, cards, cache and network as this program sees them
    Doctor(DoctorArgs),
    /// Print a ready script for SLURM, Snakemake or Nextflow
    #[command(after_help = TEMPLATE_EXAMPLES)]
    Template(TemplateArgs),
}

impl Args {
    /// What is to be shown on standard error.
    pub fn show(&self) -> ShowArgs {
        match &self.command {
            Command::Run(args) => args.show,
            Command::Fetch(args) => args.show,
            Command::Merge(args) => args.show,
            Command::Verify(args) => args.show,
            Command::Models(_)
            | Command::Inspect(_)
            | Command::Doctor(_)
            | Command::Template(_) => ShowArgs::default(),
        }
    }

    /// The subcommand and what contradicts itself in its arguments.
    pub fn contradiction(&self) -> Option<(&'static str, String)> {
        match &self.command {
            Command::Run(args) => args.contradiction().map(|what| ("run", what)),
            Command::Merge(args) => args.contradiction().map(|what| ("merge", what)),
            _ => None,
        }
    }
}
