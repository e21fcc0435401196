//! `template`: job scripts for schedulers, recipes for containers, and services that run `serve`. They
//! are beside this file, as users get them.

use super::Exit;
use super::stdout::{print, print_json};
use clap::ValueEnum;
use serde::Serialize;

/// Examples below the help.
pub const EXAMPLES: &str = "\
Example:
  esm-embed template slurm > embed.sh
  SHARDS=16 bash embed.sh emb proteins.fasta --model 650M

Each template says at its top how to use it, and what of it is not tested.";

/// Arguments of `template`.
#[derive(Debug, clap::Args)]
pub struct TemplateArgs {
    /// What to print it for
    #[arg(value_enum)]
    pub scheduler: Scheduler,

    /// Print the template as one JSON document
    ///
    /// Fields: scheduler (the name as typed) and script.
    #[arg(long)]
    pub json: bool,
}

/// What runs the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scheduler {
    /// An array of jobs that queue themselves again if they are stopped, and a job that merges
    Slurm,
    /// A Snakefile
    Snakemake,
    /// A module in the style of nf-core (not covered by our tests)
    Nextflow,
    /// A Dockerfile that builds the program, for an image that serves a model
    Docker,
    /// The same as an Apptainer definition file
    Apptainer,
    /// A unit that serves a model
    Systemd,
    /// A deployment that serves a model, with its volume and service
    Kubernetes,
}

/// What `template --json` prints.
#[derive(Debug, Serialize)]
struct TemplateReport {
    /// The scheduler as typed.
    scheduler: String,
    /// The template.
    script: &'static str,
}

/// Prints a template.
pub fn execute(args: &TemplateArgs) -> anyhow::Result<Exit> {
    let script = match args.scheduler {
        Scheduler::Slurm => include_str!("slurm.sh"),
        Scheduler::Snakemake => include_str!("Snakefile"),
        Scheduler::Nextflow => include_str!("main.nf"),
        Scheduler::Docker => include_str!("Dockerfile"),
        Scheduler::Apptainer => include_str!("apptainer.def"),
        Scheduler::Systemd => include_str!("esm-embed.service"),
        Scheduler::Kubernetes => include_str!("kubernetes.yaml"),
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
