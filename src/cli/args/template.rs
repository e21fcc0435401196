//! What `template` is given.

use clap::ValueEnum;

/// Arguments of `template`.
#[derive(Debug, clap::Args)]
pub struct TemplateArgs {
    /// Scheduler that the script is for
    #[arg(value_enum)]
    pub scheduler: Scheduler,

    /// Print the script in one JSON document
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
    /// A module in the style of nf-core (the tests of this project do not execute it)
    Nextflow,
}
