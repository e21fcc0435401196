//! `template`: ready scripts for schedulers, kept beside this file as users get them.

use super::args::{Scheduler, TemplateArgs};
use super::{Exit, print};

/// Prints a script.
pub fn execute(args: &TemplateArgs) -> anyhow::Result<Exit> {
    print(match args.scheduler {
        Scheduler::Slurm => include_str!("slurm.sh"),
        Scheduler::Snakemake => include_str!("Snakefile"),
        Scheduler::Nextflow => include_str!("main.nf"),
    })?;
    Ok(Exit::Done)
}
