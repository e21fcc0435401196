//! Commands of other tools and of later versions, and misspelt ones.

use super::super::command_line::Cli;
use super::{is_fasta, line};
use clap::CommandFactory;
use std::ffi::OsString;
use strsim::osa_distance;

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

/// The answer to an unknown command, given all words.
pub fn unknown(typed: &str, words: &[OsString]) -> String {
    let at = words.iter().position(|word| word == typed).unwrap_or(0);
    let after: Vec<String> = words
        .iter()
        .skip(at + 1)
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let base = script(typed);
    if base.is_none() && is_fasta(typed) {
        let given = [vec![typed.to_owned()], after].concat();
        let line = line::run(&given);
        return format!("{typed} is not a command\nhint: to embed it: {line}");
    }
    let base = base.unwrap_or_else(|| typed.to_ascii_lowercase());
    let hint = match nearest(&base) {
        _ if typed == "version" => "esm-embed --version prints the version".to_owned(),
        None => format!("the commands are {}", names("and")),
        Some(name) if name == "run" => format!("use run: {}", line::run(&after)),
        Some(name) => match line::other(&name, &after) {
            Some(line) => format!("use {name}: {line}"),
            None => format!("use {name}"),
        },
    };
    format!("there is no command {typed}\nhint: {hint}")
}

/// The names of all commands: `run, fetch, … or template` with `or` as the conjunction.
pub fn names(conjunction: &str) -> String {
    let command = Cli::command();
    let own = command.get_subcommands().filter(|one| !one.is_hide_set());
    let names: Vec<&str> = own.map(|one| one.get_name()).collect();
    match names.split_last() {
        Some((last, rest)) => format!("{} {conjunction} {last}", rest.join(", ")),
        None => String::new(),
    }
}

/// The bare name of a script or program of another tool: `extract` for `scripts/extract.py` and
/// `esm-extract`.
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

/// The command that the word names, here or in another tool, or nearly names.
fn nearest(word: &str) -> Option<String> {
    let command = Cli::command();
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
        .map(|(typed, meant)| (osa_distance(word, typed), meant))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, meant)| meant.to_owned())
}
