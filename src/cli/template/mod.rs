//! `template`: job scripts for schedulers. They are beside this file, as users get them.

use super::Exit;
use super::stdout::{print, print_json};
use clap::ValueEnum;
use serde::Serialize;

/// Examples below the help.
pub const EXAMPLES: &str = "\
Example:
  esm-embed template slurm > embed.sh
  SHARDS=16 bash embed.sh emb proteins.fasta --model 650M";

/// Arguments of `template`.
#[derive(Debug, clap::Args)]
pub struct TemplateArgs {
    /// The scheduler or workflow manager
    #[arg(value_enum)]
    pub scheduler: Scheduler,

    /// Print the script as one JSON document
    ///
    /// Fields: scheduler and script.
    #[arg(long)]
    pub json: bool,
}

/// What runs the shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scheduler {
    /// An array of jobs that queue themselves again if they are stopped, and a job that merges
    Slurm,
    /// A Snakefile
    Snakemake,
    /// A module in the style of nf-core (not covered by our tests)
    Nextflow,
}

/// What `template --json` prints.
#[derive(Debug, Serialize)]
struct TemplateReport {
    /// The scheduler as typed.
    scheduler: String,
    /// The script.
    script: &'static str,
}

/// Prints a script.
pub fn execute(args: &TemplateArgs) -> anyhow::Result<Exit> {
    let script = match args.scheduler {
        Scheduler::Slurm => include_str!("slurm.sh"),
        Scheduler::Snakemake => include_str!("Snakefile"),
        Scheduler::Nextflow => include_str!("main.nf"),
    };
    if args.json {
        let value = args.scheduler.to_possible_value();
        print_json(&TemplateReport {
            scheduler: value.map_or_else(String::new, |value| value.get_name().to_owned()),
            script,
        })?;
    } else {
        print(script)?;
    }
    Ok(Exit::Done)
}
