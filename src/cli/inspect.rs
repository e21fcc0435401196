//! `inspect`: what an output folder holds.

use super::Exit;
use super::message::with_flags;
use super::options::folders;
use super::stdout::{self, print, print_json};
use esm_embed::device::available_threads;
use esm_embed::output::{self, Manifest, Problem, Report};
use serde::Serialize;
use std::path::PathBuf;

/// Arguments of `inspect`.
#[derive(Debug, clap::Args)]
pub struct InspectArgs {
    /// Output folder of a run or of merge
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,

    /// Recompute the checksum of every file, and compare it with run.json
    #[arg(long)]
    pub check: bool,

    /// Print the report as one JSON document
    ///
    /// Fields: dir, complete, sound, unfinished, checked, problem_count, problems (file, what; the
    /// first 50) and run, the contents of run.json (null if it cannot be read).
    #[arg(long)]
    pub json: bool,
}

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
            dir: stdout::path(&report.dir),
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
    folders::check_is_folder(&args.dir, "give the folder that a run wrote")?;
    let report = output::inspect_with_threads(&args.dir, args.check, available_threads())?;
    if args.json {
        print_json(&InspectReport::of(&report))?;
    } else {
        print(&with_flags(&report.to_string()))?;
    }
    Ok(if report.is_sound() {
        Exit::Done
    } else {
        Exit::Failed
    })
}
