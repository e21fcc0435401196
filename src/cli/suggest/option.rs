//! Options that a command does not have.

use super::super::command_line::Cli;
use super::other_tools::{ForeignOption, KEPT, OF_EXPORT, OPTIONS};
use super::spelling::normal;
use clap::CommandFactory;
use strsim::osa_distance;

/// What to say about an option that a command does not have.
pub enum Remedy {
    /// Why there is nothing to write instead.
    Reason(String),
    /// What to write instead.
    Hint(String),
}

impl Remedy {
    /// The end of a message.
    pub fn as_lines(&self) -> String {
        match self {
            Remedy::Reason(reason) => format!(": {reason}"),
            Remedy::Hint(hint) => format!("\nhint: {hint}"),
        }
    }
}

/// The option without its value.
pub fn name(typed: &str) -> &str {
    typed.split('=').next().unwrap_or(typed)
}

/// The answer to an option that a subcommand does not have.
pub fn unknown(typed: &str, subcommand: &str) -> String {
    let typed = name(typed);
    let remedy = remedy(typed, subcommand);
    format!("unexpected option {typed}{}", remedy.as_lines())
}

/// What to say about an option that a subcommand does not have.
pub fn remedy(typed: &str, subcommand: &str) -> Remedy {
    let name = normal(typed);
    let ours = ours(subcommand);
    let hint = |text: &str| Remedy::Hint(text.to_owned());
    let listed = Remedy::Hint(format!(
        "esm-embed {subcommand} --help lists the options of {subcommand}"
    ));
    if ours.contains(&name) {
        return Remedy::Hint(format!("write --{name}"));
    }
    if KEPT.contains(&name.as_str()) {
        return match subcommand {
            "run" => hint(
                "choose another folder with --out, or resume an interrupted run with --resume; an \
                 existing output is not replaced",
            ),
            "merge" => hint("choose another folder with --out; an existing output is not replaced"),
            _ => listed,
        };
    }
    if let Some(positive) = name
        .strip_prefix("no-")
        .filter(|name| ours.iter().any(|o| o == name))
    {
        return Remedy::Hint(format!("leave --{positive} out"));
    }
    if subcommand == "export"
        && let Some((_, what)) = OF_EXPORT.iter().find(|(names, _)| names.contains(&&*name))
    {
        return hint(what);
    }
    // An option of run is not a misspelt word of another tool.
    if name != "force" && self::ours("run").contains(&name) {
        return Remedy::Reason(format!("it is an option of run, not of {subcommand}"));
    }
    if let Some(option) = foreign(&name) {
        return match option.needs {
            Some(needs) if !ours.iter().any(|o| o == needs) => listed,
            None if option.only_run && subcommand != "run" => listed,
            _ => hint(option.what),
        };
    }
    match ours.iter().find(|own| is_near(&name, own)) {
        Some(own) => Remedy::Hint(format!("write --{own}")),
        None => listed,
    }
}

/// Whether a subcommand has an option, long or short.
pub fn takes(subcommand: &str, typed: &str) -> bool {
    let command = Cli::command();
    let Some(command) = command.find_subcommand(subcommand) else {
        return false;
    };
    command
        .get_arguments()
        .any(|arg| match typed.strip_prefix("--") {
            Some(name) => arg.get_long() == Some(name),
            None => arg
                .get_short()
                .is_some_and(|short| typed.chars().nth(1) == Some(short)),
        })
}

/// The long options of a subcommand, except the one that replaces an output.
fn ours(subcommand: &str) -> Vec<String> {
    let command = Cli::command();
    let options = command.find_subcommand(subcommand).map(|command| {
        let names = command.get_arguments().filter_map(|arg| arg.get_long());
        names
            .filter(|name| *name != "force")
            .map(str::to_owned)
            .collect()
    });
    options.unwrap_or_default()
}

/// The option of another tool with this name, or with one typing mistake in it.
pub fn foreign(name: &str) -> Option<&'static ForeignOption> {
    let spelt = |most: usize| {
        OPTIONS.iter().find(|option| {
            option
                .names
                .iter()
                .any(|other| osa_distance(name, other) <= most)
        })
    };
    // A mistake in a short word makes another word of it.
    spelt(0).or_else(|| spelt(usize::from(name.len() > 4)))
}

/// Whether a word is an option with a typing mistake, or its beginning.
fn is_near(word: &str, own: &str) -> bool {
    let most = match word.len() {
        0..4 => 0,
        4..8 => 1,
        _ => 2,
    };
    osa_distance(word, own) <= most || word.len() >= 4 && own.starts_with(word)
}
