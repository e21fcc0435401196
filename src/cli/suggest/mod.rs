//! Usage errors that say what is meant: words of other tools, words in the wrong place, and
//! misspelt ones. `--force`, which replaces an output, is never proposed.

mod command;
mod line;
mod option;
mod other_tools;
mod spelling;
#[cfg(test)]
mod tests;

use super::command_line::Cli;
use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use std::ffi::OsString;
use std::path::Path;

/// Endings of FASTA files.
const FASTA: [&str; 9] = [
    "fasta", "fa", "faa", "fna", "ffn", "fas", "pep", "pro", "seq",
];

/// The same error, or one that says what is meant where that is known.
pub fn explain(error: clap::Error, words: &[OsString]) -> clap::Error {
    let text = |kind: ContextKind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        _ => String::new(),
    };
    let (at, subcommand) = subcommand(words);
    let answer = match error.kind() {
        ErrorKind::UnknownArgument => {
            let typed = text(ContextKind::InvalidArg);
            let is_number = typed.parse::<f64>().is_ok();
            match typed.starts_with('-') {
                // Without clap's tip to write `-- -1`, which would make it an input.
                true if is_number => Some(format!("unexpected argument '{typed}' found")),
                true if is_before(&typed, at, words) => Some(before_command(&typed, words)),
                true => Some(option::unknown(&typed, &subcommand)),
                false => None,
            }
        }
        ErrorKind::InvalidSubcommand => Some(command::unknown(
            &text(ContextKind::InvalidSubcommand),
            words,
        )),
        _ => None,
    };
    match answer {
        Some(answer) => super::wrong_usage(error.kind(), &subcommand, &answer),
        None => error,
    }
}

/// Position and name of the subcommand among the words; the name is empty if there is none.
fn subcommand(words: &[OsString]) -> (Option<usize>, String) {
    let command = Cli::command();
    let is_one = |word: &OsString| {
        word.to_str()
            .is_some_and(|word| command.find_subcommand(word).is_some())
    };
    let at = words.iter().skip(1).position(is_one).map(|at| at + 1);
    let name = at
        .and_then(|at| words.get(at)?.to_str())
        .unwrap_or_default();
    (at, name.to_owned())
}

/// Whether an option was typed before the subcommand, or without any.
fn is_before(typed: &str, subcommand: Option<usize>, words: &[OsString]) -> bool {
    let name = option::name(typed);
    let is_typed = |word: &OsString| word.to_string_lossy().starts_with(name);
    match (subcommand, words.iter().position(is_typed)) {
        (Some(subcommand), Some(option)) => option < subcommand,
        (subcommand, _) => subcommand.is_none(),
    }
}

/// The answer to an option before the subcommand.
fn before_command(typed: &str, words: &[OsString]) -> String {
    let typed = option::name(typed);
    let (_, name) = subcommand(words);
    let others: Vec<String> = words
        .iter()
        .skip(1)
        .map(|word| word.to_string_lossy().into_owned())
        .filter(|word| *word != name)
        .collect();
    let line = match name.as_str() {
        "" if !others.iter().any(|word| is_fasta(word)) => None,
        "" | "run" => Some(line::run(&others)),
        name => line::other(name, &others),
    };
    let command = if name.is_empty() { "run" } else { &name };
    let mut answer = format!("unexpected option {typed} before the command");
    if !option::takes(command, typed) {
        answer += &option::remedy(typed, command).as_lines();
    }
    answer += &match line {
        Some(line) => format!("\nhint: put options after the command: {line}"),
        None if name.is_empty() => {
            format!("\nhint: give a command first: {}", command::names("or"))
        }
        None => format!("\nhint: put options after {name}"),
    };
    answer
}

/// Whether a word names FASTA input rather than a command.
fn is_fasta(word: &str) -> bool {
    let path = Path::new(word);
    let has_ending = |path: &Path| {
        path.extension()
            .and_then(|ending| ending.to_str())
            .is_some_and(|ending| FASTA.contains(&ending.to_ascii_lowercase().as_str()))
    };
    word == "-"
        || has_ending(path)
        || ["gz", "zst", "bz2", "xz"].iter().any(|packed| {
            path.extension().is_some_and(|ending| ending == *packed)
                && has_ending(&path.with_extension(""))
        })
        || path.is_file()
}
