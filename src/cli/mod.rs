//! The command line: arguments as typed → work resolved, and reports on standard output.
//!
//! Standard output carries data and reports, standard error messages and progress.

mod args;
mod doctor;
mod fetch;
mod foreign;
mod inspect;
mod json;
mod merge;
mod message;
mod models;
mod progress;
#[cfg(test)]
mod readme_tests;
mod run;
mod signals;
mod source;
mod template;
mod text;
mod values;
mod verify;

pub use args::Args;
pub use signals::fail_on_full_files;

use anyhow::Context;
use args::Command;
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use message::Message;
use progress::Progress;
use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

/// How a command ended that did what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Everything is done and in order.
    Done,
    /// A check found something wrong, which stands in the report.
    Failed,
    /// Everything is done, but records were skipped.
    Skipped,
    /// Stopped by this signal, with the work so far put away.
    Stopped(i32),
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Skipped => 3,
            Exit::Stopped(signal) => signals::exit_code(signal),
        })
    }
}

/// Reads the command line. Help and version are printed here, as is what is wrong with it.
///
/// # Errors
/// The exit code to end with: 0 after help or version, 2 after wrong usage.
pub fn parse() -> Result<Args, ExitCode> {
    let words: Vec<OsString> = std::env::args_os().collect();
    let parsed = Args::try_parse_from(&words).map_err(|error| foreign::explain(error, &words));
    let args = parsed.and_then(|args| match args.contradiction() {
        None => Ok(args),
        Some((subcommand, what)) => Err(wrong_usage(subcommand, what)),
    });
    args.map_err(|error| {
        // A closed pipe is the reader's choice, and there is nowhere else to say it.
        let _ = error.print();
        ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
    })
}

/// An error in clap's words with the usage of a subcommand.
fn wrong_usage(subcommand: &str, what: String) -> clap::Error {
    wrong_usage_of(ErrorKind::ArgumentConflict, subcommand, what)
}

fn wrong_usage_of(kind: ErrorKind, subcommand: &str, what: String) -> clap::Error {
    let mut command = Args::command();
    command.build();
    match command.find_subcommand_mut(subcommand) {
        Some(command) => command.error(kind, what),
        None => command.error(kind, what),
    }
}

/// Carries out a command.
///
/// # Errors
/// What kept it from being carried out.
pub fn execute(args: &Args) -> anyhow::Result<Exit> {
    match &args.command {
        Command::Run(args) => run::execute(args),
        Command::Fetch(args) => fetch::execute(args),
        Command::Models(args) => models::execute(args),
        Command::Inspect(args) => inspect::execute(args),
        Command::Merge(args) => merge::execute(args),
        Command::Verify(args) => verify::execute(args),
        Command::Doctor(args) => doctor::execute(args),
        Command::Template(args) => template::execute(args),
    }
}

/// Writes an error to standard error: one paragraph with its causes, then its hints.
pub fn tell_error(args: &Args, error: &anyhow::Error) {
    Progress::new(args.show()).error(&Message::of_error(error));
}

/// Writes a report to standard output. A reader that has gone away ends it quietly.
fn print(report: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    let written = out.write_all(report.as_bytes()).and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to standard output; check where it is sent"),
    }
}
