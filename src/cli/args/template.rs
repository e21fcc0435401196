//! What `template` is given.

use clap::ValueEnum;

/// Arguments of `template`.
#[derive(Debug, clap::Args)]
pub struct TemplateArgs {
    /// The scheduler
    #[arg(value_enum)]
    pub scheduler: Scheduler,

    /// Print the script within one JSON document
    ///
    /// Fields: scheduler and script.
    #[arg(long)]
    pub json: bool,
}

/// What starts the shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scheduler {
    /// A job array with requeue, and a merge job that depends on it
    Slurm,
    /// A Snakefile
    Snakemake,
    /// A module after nf-core's conventions (not executed by this project's tests)
    Nextflow,
}
