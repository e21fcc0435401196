//! `status`: the progress of the shards of an input.

mod next;

use super::Exit;
use super::message::Message;
use super::options::folders;
use super::quantities::{scaled, seconds};
use super::stdout::{self, print, print_json};
use anyhow::bail;
use esm_embed::device::available_threads;
use esm_embed::numerals::{bytes, count, grouped};
use esm_embed::output::{Look, Planned, ShardState, Survey, look, survey};
use esm_embed::plan::{PLAN_JSON, Plan, ShardFacts};
use esm_embed::printable;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Examples below the help.
pub const EXAMPLES: &str = "\
Examples:
  esm-embed status shard-*/
  # All output folders in a folder
  esm-embed status runs/
  # The shards of a plan, in the folders beside it
  esm-embed status --plan plan/
  # What is left to do, for a job array
  sbatch --array=$(esm-embed status runs/ --json | jq -r .again) job.sh";

/// Arguments of `status`.
#[derive(Debug, clap::Args)]
pub struct StatusArgs {
    /// Output folders of runs, finished or not, or folders with such folders in them
    ///
    /// A folder that does not exist yet counts as a shard that has not begun. Shards of which no folder is
    /// given are named. A folder that holds a plan and no output yet stands for the plan. Only small files
    /// are read, and nothing is written: run it as often as you like, from any machine, while the shards run.
    ///
    /// A shard is running if a process holds the lock of its folder, whatever the clocks say. Where locks of
    /// other machines cannot be seen, a run counts as running for a minute after its last sign of life.
    #[arg(required_unless_present = "plan", value_name = "DIR")]
    pub dirs: Vec<PathBuf>,

    /// Plan of the shards
    ///
    /// Then every shard of the plan is accounted for, with the records that it should have, and folders of
    /// other runs are named. Without DIR, the shards are looked for in the folders beside the plan. A plan
    /// among the DIRs counts as given here.
    #[arg(long, value_name = "DIR")]
    pub plan: Option<PathBuf>,

    /// Print the report as one JSON document
    ///
    /// Fields: shards (folder, shard, of, state, detail, records, residues, all_records, all_residues,
    /// residues_per_second, seconds_left, bytes, host), states (how many shards are done, running, stopped,
    /// failed and missing), records, residues, residues_per_second, seconds_left, bytes, again (the numbers
    /// of the shards to run again, as sbatch --array takes them) and next (a command).
    #[arg(long)]
    pub json: bool,
}

/// A shard in `status --json`.
#[derive(Debug, Serialize)]
struct ShardReport<'a> {
    folder: Option<String>,
    shard: Option<u64>,
    of: Option<u64>,
    state: ShardState,
    detail: Option<&'a str>,
    records: u64,
    residues: u64,
    all_records: Option<u64>,
    all_residues: Option<u64>,
    residues_per_second: Option<f64>,
    seconds_left: Option<f64>,
    bytes: u64,
    host: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct States {
    done: usize,
    running: usize,
    stopped: usize,
    failed: usize,
    missing: usize,
}

/// What `status --json` prints.
#[derive(Debug, Serialize)]
struct StatusReport<'a> {
    shards: Vec<ShardReport<'a>>,
    states: States,
    records: u64,
    residues: u64,
    residues_per_second: Option<f64>,
    seconds_left: Option<f64>,
    bytes: u64,
    again: String,
    next: Option<String>,
}

/// Prints how far the shards are.
pub fn execute(args: &StatusArgs) -> anyhow::Result<Exit> {
    // One that does not exist may be that of a shard that has not begun.
    for dir in args.dirs.iter().filter(|dir| dir.exists()) {
        folders::check_is_folder(
            dir,
            "give the folders that `run` writes, or a folder of them",
        )?;
    }
    let (mut plans, mut dirs): (Vec<PathBuf>, Vec<PathBuf>) =
        args.dirs.iter().cloned().partition(|dir| is_plan(dir));
    if let (None, [], [home]) = (&args.plan, plans.as_slice(), dirs.as_slice())
        && let Some(plan) = plan_before_shards(home)
    {
        plans.push(plan);
        dirs.clear();
    }
    let plan = one_plan(args.plan.iter().chain(&plans))?;
    let planned = plan.as_ref().map(|plan| Planned {
        dir: plan.dir.clone(),
        digest: plan.facts.digest.clone(),
        shards: plan.facts.shards,
    });
    let mut survey = survey(&dirs, planned.as_ref(), available_threads());
    if let Some(plan) = &plan {
        expect(&mut survey, &plan.shards()?);
    }
    let next = next::next(&survey, planned.as_ref());
    match args.json {
        true => print_json(&report(&survey, next))?,
        false => print(&text(&survey, next.as_deref()))?,
    }
    Ok(match survey.number(ShardState::Failed) {
        0 => Exit::Done,
        _ => Exit::Failed,
    })
}

/// The only plan that was given, if one was.
fn one_plan<'a>(dirs: impl Iterator<Item = &'a PathBuf>) -> anyhow::Result<Option<Plan>> {
    let mut plan: Option<Plan> = None;
    for dir in dirs {
        let next = Plan::open(dir)?;
        if let Some(first) = &plan
            && first.facts != next.facts
        {
            bail!(
                "{} and {} are different plans\nhint: give one of them",
                first.dir.display(),
                dir.display()
            );
        }
        plan = plan.or(Some(next));
    }
    Ok(plan)
}

/// The only plan in a folder in which no shard has begun.
fn plan_before_shards(home: &Path) -> Option<PathBuf> {
    let inside = std::fs::read_dir(home).ok()?.flatten();
    let inside = inside.map(|entry| entry.path());
    let inside: Vec<PathBuf> = inside.filter(|path| path.is_dir()).collect();
    let is_begun = |dir: &PathBuf| look(dir).state != ShardState::Missing;
    let mut plans = inside.iter().filter(|dir| is_plan(dir));
    match (plans.next(), plans.next()) {
        (Some(plan), None) if !inside.iter().any(is_begun) => Some(plan.clone()),
        _ => None,
    }
}

/// Whether a folder is that of a plan, given as if it were an output.
fn is_plan(dir: &Path) -> bool {
    dir.join(PLAN_JSON).is_file()
}

/// Fills in what each shard should have, where its run has not recorded it.
fn expect(survey: &mut Survey, shards: &[ShardFacts]) {
    for look in &mut survey.looks {
        let number = look
            .shard
            .and_then(|shard| usize::try_from(shard.number).ok());
        let planned = number.and_then(|number| shards.get(number.checked_sub(1)?));
        let Some(planned) = planned else { continue };
        match look.state {
            ShardState::Done => {
                look.all_records = Some(planned.records);
                look.all_residues = Some(planned.residues);
            }
            _ => look.all_records = look.all_records.or(Some(planned.distinct)),
        }
    }
}

fn shard(look: &Look) -> ShardReport<'_> {
    ShardReport {
        folder: (!look.folder.as_os_str().is_empty()).then(|| stdout::path(&look.folder)),
        shard: look.shard.map(|shard| shard.number),
        of: look.shard.map(|shard| shard.of),
        state: look.state,
        detail: look.detail.as_deref(),
        records: look.records,
        residues: look.residues,
        all_records: look.all_records,
        all_residues: look.all_residues,
        residues_per_second: look.residues_per_second,
        seconds_left: look.seconds_left,
        bytes: look.bytes,
        host: look.host.as_deref(),
    }
}

fn report(survey: &Survey, next: Option<String>) -> StatusReport<'_> {
    StatusReport {
        shards: survey.looks.iter().map(shard).collect(),
        states: States {
            done: survey.number(ShardState::Done),
            running: survey.number(ShardState::Running),
            stopped: survey.number(ShardState::Stopped),
            failed: survey.number(ShardState::Failed),
            missing: survey.number(ShardState::Missing),
        },
        records: survey.records(),
        residues: survey.residues(),
        residues_per_second: survey.residues_per_second(),
        seconds_left: survey.seconds_left(),
        bytes: survey.bytes(),
        again: survey.again(),
        next,
    }
}

/// The report for people: a line for each shard, and a summary.
fn text(survey: &Survey, next: Option<&str>) -> String {
    let rows: Vec<[String; 7]> = survey.looks.iter().map(columns).collect();
    let mut widths = [0; 7];
    for row in &rows {
        for (width, text) in widths.iter_mut().zip(row) {
            *width = (*width).max(text.chars().count());
        }
    }
    let mut all = String::new();
    for (row, look) in rows.iter().zip(&survey.looks) {
        let mut line = String::new();
        for (at, (text, width)) in row.iter().zip(widths).enumerate() {
            let space = " ".repeat(width - text.chars().count());
            // Names to the left, numbers to the right.
            match at < 3 {
                true => line.extend([text, space.as_str(), "  "]),
                false => line.extend([space.as_str(), text, "  "]),
            }
        }
        if let Some(detail) = &look.detail {
            let first = Message::of(detail).plain();
            line.push_str(first.lines().next().unwrap_or_default());
        }
        all.push_str(line.trim_end());
        all.push('\n');
    }
    all + &summary(survey, next)
}

/// Shard, folder, state, records, residues, rate and time left, size.
fn columns(look: &Look) -> [String; 7] {
    let shard = look.shard.map(|shard| shard.to_string());
    let of = |done: u64, all: Option<u64>| match all {
        Some(all) if look.state != ShardState::Done => {
            format!("{}/{}", grouped(done), grouped(all))
        }
        _ => grouped(done),
    };
    let is_there = look.state != ShardState::Missing;
    let there = |text: String| if is_there { text } else { String::new() };
    let rate = look
        .residues_per_second
        .map(|rate| format!("{}/s", scaled(rate)));
    let left = look
        .seconds_left
        .map(|left| format!(", {} left", seconds(left)));
    [
        shard.unwrap_or_default(),
        printable::text(&stdout::path(&look.folder)),
        look.state.name().to_owned(),
        there(format!("{} records", of(look.records, look.all_records))),
        there(format!("{} residues", of(look.residues, look.all_residues))),
        rate.unwrap_or_default() + &left.unwrap_or_default(),
        there(bytes(look.bytes)),
    ]
}

fn summary(survey: &Survey, next: Option<&str>) -> String {
    let states = [
        ShardState::Done,
        ShardState::Running,
        ShardState::Stopped,
        ShardState::Failed,
        ShardState::Missing,
    ];
    let numbers = states.map(|state| (survey.number(state), state.name()));
    let numbers = numbers.into_iter().filter(|(number, _)| *number > 0);
    let numbers: Vec<_> = numbers
        .map(|(number, name)| format!("{} {name}", grouped(number as u64)))
        .collect();
    let all = survey.looks.len() + survey.absent.len();
    let mut text = format!("{}: {}\n", count(all as u64, "shard"), numbers.join(", "));
    text += &format!(
        "{}, {}, {}",
        count(survey.records(), "record"),
        count(survey.residues(), "residue"),
        bytes(survey.bytes())
    );
    if let Some(free) = survey.free {
        text += &format!(" ({} free)", bytes(free));
    }
    if let Some(rate) = survey.residues_per_second() {
        text += &format!("; {} residues a second", scaled(rate));
    }
    if let Some(left) = survey.seconds_left() {
        text += &format!(", {} left for those that run", seconds(left));
    }
    text.push('\n');
    let again = survey.again();
    if !again.is_empty() {
        text += &format!("not done and not running: {again}\n");
    }
    if let Some(next) = next {
        text += &format!("next: {}\n", printable::text(next));
    }
    text
}
