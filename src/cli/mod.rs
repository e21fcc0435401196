//! The command line: reads the arguments, carries out a command, and prints.
//!
//! Standard output is for data and reports, standard error for messages and progress. The program and
//! the Python package call [`main`]; nothing else of it is public.

mod adapters;
mod command_line;
mod completions;
mod demo;
mod doctor;
mod export;
mod fetch;
mod inspect;
mod man;
mod merge;
mod message;
mod models;
mod options;
mod plan;
mod plot;
mod progress;
mod quantities;
#[cfg(test)]
mod readme_tests;
mod report;
mod run;
mod score;
mod serve;
mod signals;
mod status;
mod stdout;
mod suggest;
mod template;
mod verify;

use clap::CommandFactory;
use clap::error::ErrorKind;
use command_line::{Cli, Command};
use esm_embed::output;
use message::Message;
use progress::Progress;
use std::ffi::OsString;

/// Carries out a command line, whose first word is the name of the program: parse, run, exit code. It
/// handles signals, and one that cannot wait ends the process.
pub fn main(words: impl IntoIterator<Item = OsString>) -> u8 {
    signals::fail_on_full_files();
    let words: Vec<OsString> = words.into_iter().collect();
    let typed = words.iter().map(|word| word.to_string_lossy().into_owned());
    output::set_command(typed.collect());
    let args = match parse(words) {
        Ok(args) => args,
        Err(code) => return code,
    };
    match execute(&args) {
        Ok(exit) => exit.into(),
        Err(error) => {
            report_error(&args, &error);
            Exit::Failed.into()
        }
    }
}

/// How a command ended that was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exit {
    /// Everything is done and in order.
    Done,
    /// A check found something wrong, which is in the report.
    Failed,
    /// Everything is done, but records were skipped.
    Skipped,
    /// Stopped by this signal, with the finished work saved.
    Stopped(i32),
}

impl From<Exit> for u8 {
    fn from(exit: Exit) -> u8 {
        match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Skipped => 3,
            Exit::Stopped(signal) => signals::exit_code(signal),
        }
    }
}

/// Reads the command line. Prints help, version, or what is wrong with it.
///
/// # Errors
/// The exit code to end with: 0 after help or version, 2 after wrong usage.
fn parse(words: Vec<OsString>) -> Result<Cli, u8> {
    message::spell_flags_of(&Cli::command());
    let parsed = Cli::read(&words).map_err(|error| {
        let error = options::variables::name_variable(error, Cli::command(), &words);
        suggest::explain(error, &words)
    });
    let args = parsed.and_then(|args| match args.contradiction() {
        None => Ok(args),
        Some((subcommand, what)) => {
            Err(wrong_usage(ErrorKind::ArgumentConflict, subcommand, &what))
        }
    });
    args.map_err(|error| {
        // If this cannot be printed, there is nowhere to report it.
        let _ = error.print();
        u8::try_from(error.exit_code()).unwrap_or(2)
    })
}

/// An error in clap's form, with the usage of a subcommand.
fn wrong_usage(kind: ErrorKind, subcommand: &str, what: &str) -> clap::Error {
    let what = Message::of(what).plain();
    let mut command = Cli::command();
    command.build();
    match command.find_subcommand_mut(subcommand) {
        Some(command) => command.error(kind, what),
        None => command.error(kind, what),
    }
}

/// Carries out a command.
///
/// # Errors
/// Why it could not be carried out.
fn execute(args: &Cli) -> anyhow::Result<Exit> {
    match &args.command {
        Command::Run(args) => run::execute(args),
        Command::Score(args) => score::execute(args),
        Command::Serve(args) => serve::execute(args),
        Command::Fetch(args) => fetch::execute(args),
        Command::Models(args) => models::execute(args),
        Command::Inspect(args) => inspect::execute(args),
        Command::Plan(args) => plan::execute(args),
        Command::Merge(args) => merge::execute(args),
        Command::Status(args) => status::execute(args),
        Command::Export(args) => export::execute(args),
        Command::Plot(args) => plot::execute(args),
        Command::Report(args) => report::execute(args),
        Command::Verify(args) => verify::execute(args),
        Command::Doctor(args) => doctor::execute(args),
        Command::Template(args) => template::execute(args),
        Command::Demo(args) => demo::execute(args),
        Command::Completions(args) => completions::execute(args),
        Command::Man(args) => man::execute(args),
    }
}

/// Writes an error to standard error: one paragraph with its causes, then its hints.
fn report_error(args: &Cli, error: &anyhow::Error) {
    Progress::new(args.display()).error(&Message::of_error(error));
}
