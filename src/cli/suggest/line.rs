//! Command lines to type instead, which the program accepts.

use super::super::command_line::Cli;
use super::is_fasta;
use super::option::foreign;
use super::spelling::{normal, quoted};
use clap::{CommandFactory, Parser};
use std::path::Path;

/// What to propose if the input is not known.
const EXAMPLE: &str = "esm-embed run proteins.fasta --out emb";

/// The parts of a command line for `run`.
#[derive(Default)]
struct RunWords {
    inputs: Vec<String>,
    options: Vec<String>,
    model: Option<String>,
    out: Option<String>,
    dropped: Vec<String>,
}

/// A command line for `run` from the words given after it. Options that `run` does not have are left
/// out and named.
pub fn run(words: &[String]) -> String {
    let given = sorted(words);
    let model = given.model.map(|model| vec!["--model".to_owned(), model]);
    let model = model.unwrap_or_default();
    let out = given.out.unwrap_or_else(|| "emb".to_owned());
    // Values that are not accepted are left out.
    let middles = [
        [model.clone(), given.options.clone()].concat(),
        given.options,
        model,
        Vec::new(),
    ];
    let mut lines = middles.iter().map(|middle| {
        let start = ["esm-embed", "run"].map(str::to_owned);
        let end = ["--out".to_owned(), out.clone()];
        [&start[..], &given.inputs[..], &middle[..], &end[..]].concat()
    });
    let text = match given.inputs.first() {
        None => EXAMPLE.to_owned(),
        Some(input) => match lines.find(|line| is_accepted(line)) {
            Some(line) => joined(&line),
            None => format!("esm-embed run {} --out emb", quoted(input)),
        },
    };
    match given.dropped.as_slice() {
        [] => text,
        dropped => format!(
            "{text} (without {}, which run does not have)",
            dropped.join(", ")
        ),
    }
}

/// A command line for another command, if the program accepts it.
pub fn other(name: &str, words: &[String]) -> Option<String> {
    let mut line = vec!["esm-embed".to_owned(), name.to_owned()];
    line.extend(words.iter().cloned());
    is_accepted(&line).then(|| joined(&line))
}

fn is_accepted(line: &[String]) -> bool {
    Cli::try_parse_from(line).is_ok_and(|args| args.contradiction().is_none())
}

fn joined(line: &[String]) -> String {
    let line: Vec<String> = line.iter().map(|word| quoted(word)).collect();
    line.join(" ")
}

/// Sorts words into inputs, options and their values.
fn sorted(words: &[String]) -> RunWords {
    let mut given = RunWords::default();
    let mut rest = Vec::new();
    let mut words = words.iter().peekable();
    while let Some(word) = words.next() {
        if !word.starts_with('-') || word == "-" {
            rest.push(word.clone());
            continue;
        }
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (word.as_str(), None),
        };
        let is_value = |next: &&String| !next.starts_with('-') && !is_fasta(next);
        match own(name) {
            Some((long, true)) => {
                let attached = !name.starts_with("--") && name.len() > 2;
                let value = match (value, attached) {
                    (Some(value), false) => Some(value),
                    (_, true) => word.get(2..).map(str::to_owned),
                    (None, false) => words.next().cloned(),
                };
                match (long.as_str(), value) {
                    (_, None) => {}
                    ("out", Some(value)) => given.out = Some(folder(&value)),
                    (_, Some(value)) => {
                        let name = if attached {
                            name.get(..2).unwrap_or(name)
                        } else {
                            name
                        };
                        given.options.extend([name.to_owned(), value]);
                    }
                }
            }
            Some((_, false)) => given.options.push(word.clone()),
            // Never proposed.
            None if name == "--force" => {}
            None => {
                let value = value.or_else(|| words.next_if(is_value).cloned());
                match (
                    foreign(&normal(name)).and_then(|option| option.needs),
                    value,
                ) {
                    (Some("out"), Some(value)) => given.out = Some(folder(&value)),
                    (Some("model"), Some(value)) => given.model = Some(value),
                    _ => given.dropped.push(name.to_owned()),
                }
            }
        }
    }
    place(rest, &mut given);
    given
}

/// Sorts words that are not options into model, inputs and output.
fn place(rest: Vec<String>, given: &mut RunWords) {
    match rest.as_slice() {
        // fair-esm's script has MODEL FASTA FOLDER.
        [model, fasta, tail @ ..] if is_fasta(fasta) && !is_fasta(model) => {
            given.model.get_or_insert_with(|| model.clone());
            given.inputs.push(fasta.clone());
            if let [out, ..] = tail {
                given.out.get_or_insert_with(|| folder(out));
            }
        }
        [inputs @ .., out] if !inputs.is_empty() && given.out.is_none() && !is_fasta(out) => {
            given.inputs.extend(inputs.iter().cloned());
            given.out = Some(folder(out));
        }
        _ => given.inputs.extend(rest),
    }
}

/// The long name of an option of `run`, and whether it takes a value; None for `--force`.
fn own(name: &str) -> Option<(String, bool)> {
    let command = Cli::command();
    let run = command.find_subcommand("run")?;
    let is_it = |arg: &&clap::Arg| match name.strip_prefix("--") {
        Some(long) => arg.get_long() == Some(long),
        None => arg
            .get_short()
            .is_some_and(|short| name.chars().nth(1) == Some(short)),
    };
    let arg = run.get_arguments().find(is_it)?;
    let long = arg.get_long().filter(|long| *long != "force")?;
    Some((long.to_owned(), arg.get_action().takes_values()))
}

/// The folder to write, where the name of a file was given.
fn folder(out: &str) -> String {
    match Cli::try_parse_from(["esm-embed", "run", "a.fasta", "--out", out]) {
        Ok(args) if args.contradiction().is_none() => out.to_owned(),
        _ => match Path::new(out).file_stem().and_then(|stem| stem.to_str()) {
            Some(stem) if !stem.starts_with(['.', '-']) => {
                Path::new(out).with_file_name(stem).display().to_string()
            }
            _ => "emb".to_owned(),
        },
    }
}
