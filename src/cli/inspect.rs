//! `inspect`: what an output folder holds.

use super::args::InspectArgs;
use super::json::{self, print_json};
use super::{Exit, print};
use anyhow::ensure;
use esm_embed::device::available_threads;
use esm_embed::output::{self, Manifest, Problem, Report};
use serde::Serialize;

/// What `inspect --json` prints.
#[derive(Debug, Serialize)]
struct InspectReport<'a> {
    /// The folder.
    dir: String,
    /// Whether it has a `run.json` that can be read.
    complete: bool,
    /// Whether nothing is wrong with it.
    sound: bool,
    /// Whether the working folder of a run is in it.
    unfinished: bool,
    /// Whether the checksums were recomputed.
    checked: bool,
    /// Number of all problems.
    problem_count: u64,
    /// The first 50 of them.
    problems: &'a [Problem],
    /// The contents of `run.json`; null if it cannot be read.
    run: Option<&'a Manifest>,
}

impl<'a> InspectReport<'a> {
    fn of(report: &'a Report) -> Self {
        InspectReport {
            dir: json::path(&report.dir),
            complete: report.manifest.is_some(),
            sound: report.is_sound(),
            unfinished: report.unfinished,
            checked: report.checked,
            problem_count: report.problem_count,
            problems: &report.problems,
            run: report.manifest.as_ref(),
        }
    }
}

/// Prints the report on a folder.
pub fn execute(args: &InspectArgs) -> anyhow::Result<Exit> {
    ensure!(
        args.dir.exists(),
        "{} does not exist: give the folder that a run wrote",
        args.dir.display()
    );
    ensure!(
        args.dir.is_dir(),
        "{} is not a folder: give the folder that a run wrote",
        args.dir.display()
    );
    let report = output::inspect_with_threads(&args.dir, args.check, available_threads())?;
    if args.json {
        print_json(&InspectReport::of(&report))?;
    } else {
        print(&report.to_string())?;
    }
    Ok(if report.is_sound() {
        Exit::Done
    } else {
        Exit::Failed
    })
}
