//! Commands of other tools and of later versions, and misspelt ones.

use super::super::args::Args;
use super::spelling::distance;
use super::{is_fasta, line};
use clap::CommandFactory;
use std::ffi::OsString;

/// Names that other tools have for `run`.
const RUN: [&str; 10] = [
    "embed",
    "extract",
    "encode",
    "embedding",
    "embeddings",
    "compute",
    "infer",
    "inference",
    "predict",
    "represent",
];

/// Commands that this version does not have.
const LATER: [&str; 10] = [
    "serve",
    "score",
    "plot",
    "export",
    "report",
    "plan",
    "status",
    "demo",
    "completions",
    "man",
];

/// What an unknown command means, given all words.
pub(super) fn unknown(typed: &str, words: &[OsString]) -> String {
    let at = words.iter().position(|word| word == typed).unwrap_or(0);
    let after: Vec<String> = words
        .iter()
        .skip(at + 1)
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let base = script(typed);
    if LATER.contains(&typed) {
        return format!("this version has no command {typed}. {}", all());
    }
    if typed == "version" {
        return format!("there is no command {typed}: esm-embed --version prints the version");
    }
    if base.is_none() && is_fasta(typed) {
        let given = [vec![typed.to_owned()], after].concat();
        return format!(
            "{typed} is not a command. To embed it: {}",
            line::run(&given)
        );
    }
    let base = base.unwrap_or_else(|| typed.to_ascii_lowercase());
    let none = format!("there is no command {typed}");
    match nearest(&base) {
        None => format!("{none}. {}", all()),
        Some(name) if name == "run" => {
            format!("{none}; the command is run: {}", line::run(&after))
        }
        Some(name) => match line::other(&name, &after) {
            Some(line) => format!("{none}; the command is {name}: {line}"),
            None => format!("{none}; the command is {name}"),
        },
    }
}

/// The names of all commands, as a sentence.
pub(super) fn all() -> String {
    let command = Args::command();
    let own = command.get_subcommands().filter(|one| !one.is_hide_set());
    let names: Vec<&str> = own.map(|one| one.get_name()).collect();
    match names.split_last() {
        Some((last, rest)) => format!("The commands are {} and {last}", rest.join(", ")),
        None => String::new(),
    }
}

/// The name of a script or program of another tool without its marks: `extract` for
/// `scripts/extract.py` and `esm-extract`.
fn script(typed: &str) -> Option<String> {
    let name = typed.rsplit('/').next()?.to_ascii_lowercase();
    let bare = name.strip_suffix(".py");
    let base = bare.unwrap_or(&name);
    let short = ["esm-", "esm_", "esm2-", "esm2_"]
        .iter()
        .find_map(|start| base.strip_prefix(start));
    match (bare, short) {
        (None, None) => None,
        (_, short) => Some(short.unwrap_or(base).to_owned()),
    }
}

/// The command whose name, or that of another tool for it, is the word or is spelt much like it.
fn nearest(word: &str) -> Option<String> {
    let command = Args::command();
    let own = command
        .get_subcommands()
        .filter(|command| !command.is_hide_set());
    let own = own.map(|command| (command.get_name(), command.get_name()));
    let most = match word.len() {
        0..3 => 0,
        3..6 => 1,
        _ => 2,
    };
    own.chain(RUN.map(|other| (other, "run")))
        .map(|(typed, meant)| (distance(word, typed), meant))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, meant)| meant.to_owned())
}
