//! `template`: ready scripts for schedulers, kept beside this file as users get them.

use super::args::{Scheduler, TemplateArgs};
use super::json::print_json;
use super::{Exit, print};
use clap::ValueEnum;
use serde::Serialize;

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
