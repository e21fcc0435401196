//! Words of other tools, and misspelt ones: what is meant here.

mod command;
mod line;
mod options;
mod spelling;

use super::args::Args;
use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use options::{ForeignOption, INCLUDE, KEPT, LATER, OPTIONS};
use spelling::{distance, normal};
use std::ffi::OsString;
use std::path::Path;

/// Endings of FASTA files.
const FASTA: [&str; 9] = [
    "fasta", "fa", "faa", "fna", "ffn", "fas", "pep", "pro", "seq",
];

/// Says what is meant where that is known; and never proposes `--force`, which replaces an output.
pub(super) fn explain(error: clap::Error, words: &[OsString]) -> clap::Error {
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
                // Without the tip to write `-- -1`, which makes an input of it.
                true if is_number => Some(format!("unexpected argument '{typed}' found")),
                true if is_before(&typed, at, words) => Some(before_command(&typed, words)),
                true => Some(unknown_option(&typed, &subcommand)),
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
        Some(answer) => super::wrong_usage_of(error.kind(), &subcommand, answer),
        None => error,
    }
}

/// Where the subcommand is among the words, and its name; or nothing.
fn subcommand(words: &[OsString]) -> (Option<usize>, String) {
    let command = Args::command();
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
    let name = typed.split('=').next().unwrap_or(typed);
    let is_typed = |word: &OsString| word.to_string_lossy().starts_with(name);
    match (subcommand, words.iter().position(is_typed)) {
        (Some(subcommand), Some(option)) => option < subcommand,
        (subcommand, _) => subcommand.is_none(),
    }
}

/// What to write instead of an option before the subcommand.
fn before_command(typed: &str, words: &[OsString]) -> String {
    let typed = typed.split('=').next().unwrap_or(typed);
    let given: Vec<String> = words
        .iter()
        .skip(1)
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let (_, name) = subcommand(words);
    let place = "options come after the command";
    let line = match name.as_str() {
        "" => given
            .iter()
            .any(|word| is_fasta(word))
            .then(|| line::run(&given)),
        "run" => Some(line::run(
            &given
                .iter()
                .filter(|word| *word != "run")
                .cloned()
                .collect::<Vec<_>>(),
        )),
        name => {
            let rest: Vec<String> = given.iter().filter(|word| *word != name).cloned().collect();
            line::other(name, &rest)
        }
    };
    let command = if name.is_empty() { "run" } else { &name };
    let is_ours = takes(command, typed);
    let meant = match is_ours {
        true => String::new(),
        false => format!("; {}", meaning(typed, command)),
    };
    match line {
        Some(line) => format!("unexpected option {typed}: {place}: {line}{meant}"),
        None if name.is_empty() => format!(
            "unexpected option {typed}: {place}, and none is given. {}",
            command::all()
        ),
        None => format!("unexpected option {typed}: {place}{meant}"),
    }
}

/// Whether a subcommand has an option, long or short.
fn takes(subcommand: &str, typed: &str) -> bool {
    let command = Args::command();
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

/// The long options of a subcommand, but for the one that replaces an output.
fn ours(subcommand: &str) -> Vec<String> {
    let command = Args::command();
    let options = command.find_subcommand(subcommand).map(|command| {
        let names = command.get_arguments().filter_map(|arg| arg.get_long());
        names
            .filter(|name| *name != "force")
            .map(str::to_owned)
            .collect()
    });
    options.unwrap_or_default()
}

fn unknown_option(typed: &str, subcommand: &str) -> String {
    let typed = typed.split('=').next().unwrap_or(typed);
    format!("unexpected option {typed}: {}", meaning(typed, subcommand))
}

/// What an option means that a subcommand does not have.
fn meaning(typed: &str, subcommand: &str) -> String {
    let name = normal(typed);
    let ours = ours(subcommand);
    let lacks = format!("{subcommand} has no such option");
    let listed = format!("{lacks}; esm-embed {subcommand} --help lists its options");
    if ours.contains(&name) {
        return format!("the option is --{name}");
    }
    if KEPT.contains(&name.as_str()) {
        return match subcommand {
            "run" => {
                "an existing output is not touched: choose another folder with --out, or resume \
                      an interrupted run with --resume"
                    .to_owned()
            }
            "merge" => {
                "an existing output is not touched: choose another folder with --out".to_owned()
            }
            _ => listed,
        };
    }
    if subcommand == "run" && name == "include" {
        return INCLUDE.to_owned();
    }
    if subcommand == "run" && LATER.contains(&name.as_str()) {
        return format!("this version does not compute {name}");
    }
    if let Some(positive) = name
        .strip_prefix("no-")
        .filter(|name| ours.iter().any(|o| o == name))
    {
        return format!("{lacks}; leave --{positive} out");
    }
    let is_of_run = name != "force" && self::ours("run").contains(&name);
    // What is spelt as one of ours is not a misspelt word of another tool.
    let foreign = match is_of_run {
        true => None,
        false => foreign(&name),
    };
    if let Some(option) = foreign {
        return match option.needs {
            Some(needs) if !ours.iter().any(|o| o == needs) => listed,
            None if option.only_run && subcommand != "run" => listed,
            _ => option.what.to_owned(),
        };
    }
    if is_of_run {
        return format!("{lacks}; it is one of run");
    }
    match ours.iter().find(|own| is_near(&name, own)) {
        Some(own) => format!("the option is --{own}"),
        None => listed,
    }
}

/// The option of another tool that is spelt so, or with one mistake.
fn foreign(name: &str) -> Option<&'static ForeignOption> {
    let spelt = |most: usize| {
        OPTIONS.iter().find(|option| {
            option
                .names
                .iter()
                .any(|other| distance(name, other) <= most)
        })
    };
    // A mistake in a short word makes another word of it.
    spelt(0).or_else(|| spelt(usize::from(name.len() > 4)))
}

/// Whether a word is another with a mistake, or its beginning.
fn is_near(word: &str, own: &str) -> bool {
    let most = match word.len() {
        0..4 => 0,
        4..8 => 1,
        _ => 2,
    };
    distance(word, own) <= most || word.len() >= 4 && own.starts_with(word)
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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    /// The error that a line of words ends with.
    fn answer(line: &str) -> String {
        let words: Vec<OsString> = ["esm-embed"]
            .into_iter()
            .chain(line.split_whitespace())
            .map(OsString::from)
            .collect();
        let error = Args::try_parse_from(&words).unwrap_err();
        let error = explain(error, &words);
        assert_eq!(error.exit_code(), 2, "{line}");
        error.to_string()
    }

    #[test]
    fn options_of_other_tools_name_ours() {
        for (typed, ours) in [
            ("--batch-size 8", "--max-tokens N"),
            ("--toks-per-batch 4096", "--max-tokens N"),
            ("--toks_per_batch=4096", "--max-tokens N"),
            ("--repr-layers 33", "--layer"),
            ("--repr_layers 0 32", "--layer"),
            ("--include mean per_tok", "--residues packed"),
            ("--include logits", "a later version"),
            ("--fp16", "--dtype f16"),
            ("--format h5", ".npy files"),
            ("--truncation_seq_length 1022", "--long truncate:N"),
            ("--nogpu", "--device cpu"),
            ("--gpu", "--device cuda"),
            ("-i b.fasta", "without an option"),
            ("--output-dir x", "--out"),
            ("--model_name 8M", "--model"),
            ("--max_tokens 9", "--max-tokens"),
            ("--OUT-DTYPE f16", "--out-dtype"),
            ("--num-workers 4", "--threads N"),
            ("--residue none", "the option is --residues\n"),
            ("--overwrite", "choose another folder with --out, or resume"),
            ("--no-resume", "leave --resume out"),
            ("--logits", "this version does not compute logits\n"),
            (
                "--foo",
                "run has no such option; esm-embed run --help lists",
            ),
            ("--forma h5", ".npy files"),
            ("--batch-sise 8", "--max-tokens N"),
        ] {
            let text = answer(&format!("run a.fasta --out emb {typed}"));
            assert!(text.contains("unexpected option -"), "{typed}: {text}");
            assert!(text.contains(ours), "{typed}: {text}");
            assert!(text.contains("Usage: esm-embed run"), "{typed}: {text}");
            assert!(!text.contains("--force"), "{typed}: {text}");
        }
    }

    #[test]
    fn force_is_never_proposed() {
        for typed in [
            "--format",
            "--forc",
            "--Force",
            "--froce",
            "--for",
            "--forced",
            "--fore",
            "--force-download",
            "--from",
        ] {
            for line in [
                format!("run a.fasta --out emb {typed}"),
                format!("run a.fasta --out emb {typed}=x"),
                format!("merge a --out emb {typed}"),
                format!("{typed} run a.fasta --out emb"),
                format!("fetch 8M {typed}"),
            ] {
                let text = answer(&line);
                assert!(!text.contains("--force'"), "{line}: {text}");
                assert!(!text.contains("--force "), "{line}: {text}");
            }
        }
    }

    #[test]
    fn options_that_a_command_lacks_are_not_advised() {
        for (line, what) in [
            (
                "verify --fp16",
                "--fp16: verify has no such option; esm-embed verify --help",
            ),
            (
                "inspect e --batch-size 8",
                "--batch-size: inspect has no such option;",
            ),
            ("fetch 8M --output x", "--output: fetch has no such option;"),
            ("models --gpu", "--gpu: models has no such option;"),
            (
                "template slurm --cpu",
                "--cpu: template has no such option;",
            ),
            (
                "merge a --out b --fp16",
                "--fp16: merge has no such option;",
            ),
            (
                "inspect e --threads 2",
                "--threads: inspect has no such option; it is one of run\n",
            ),
            (
                "fetch 8M --force",
                "--force: fetch has no such option; esm-embed fetch --help",
            ),
            ("verify --gpu", "--gpu: the option is --device cuda"),
            ("merge a --output b", "--output: the option is --out"),
        ] {
            let text = answer(line);
            assert!(text.contains(what), "{line}: {text}");
            assert!(!text.contains("as a value"), "{line}: {text}");
        }
    }

    #[test]
    fn options_come_after_the_command() {
        let place = "options come after the command";
        for (line, what) in [
            (
                "--model 8M x.fasta",
                ": esm-embed run x.fasta --model 8M --out emb\n",
            ),
            ("--out o x.fasta", ": esm-embed run x.fasta --out o\n"),
            (
                "--layer -1 x.fasta",
                ": esm-embed run x.fasta --layer -1 --out emb\n",
            ),
            ("-q run x.fasta", ": esm-embed run x.fasta -q --out emb\n"),
            ("--threads 2 merge a -o b", "\n"),
            ("--check inspect e", ": esm-embed inspect --check e\n"),
            (
                "--model 8M",
                ", and none is given. The commands are run, fetch,",
            ),
        ] {
            let text = answer(line);
            assert!(
                text.contains(&format!("{place}{what}")) || what == "\n",
                "{line}: {text}"
            );
            assert!(text.contains(place), "{line}: {text}");
        }
    }

    #[test]
    fn commands_of_other_tools_name_run() {
        for (line, meant) in [
            ("embed a.fasta --out x", "esm-embed run a.fasta --out x\n"),
            ("embed a.fasta", "esm-embed run a.fasta --out emb\n"),
            ("encode", "esm-embed run proteins.fasta --out emb\n"),
            ("Embedd a.fasta -o x", "esm-embed run a.fasta --out x\n"),
            (
                "extract esm2_t33_650M_UR50D a.fasta x --include mean",
                "esm-embed run a.fasta --model esm2_t33_650M_UR50D --out x (without --include, which run \
                 does not have)\n",
            ),
            ("ebmed a.fasta", "esm-embed run a.fasta --out emb\n"),
            (
                "rnu a.fasta -o x",
                "the command is run: esm-embed run a.fasta --out x\n",
            ),
            (
                "ver 8M",
                "there is no command ver. The commands are run, fetch,",
            ),
            ("em a", "there is no command em. The commands are"),
            (
                "version",
                "there is no command version: esm-embed --version",
            ),
            (
                "serve --model M",
                "this version has no command serve. The commands are run, fetch, models",
            ),
            ("plan a.fasta", "this version has no command plan."),
            ("verfy 8M", "the command is verify: esm-embed verify 8M\n"),
            ("Doctor", "the command is doctor: esm-embed doctor\n"),
            ("nonsense a.fasta", "there is no command nonsense."),
            (
                "extract.py 8M a.fasta x",
                "esm-embed run a.fasta --model 8M --out x\n",
            ),
            (
                "extract.py esm9 a.fasta x",
                "esm-embed run a.fasta --out x\n",
            ),
            ("esm-extract a.fasta", "esm-embed run a.fasta --out emb\n"),
            ("a.fasta out", "esm-embed run a.fasta --out out\n"),
            ("a.fasta --out a.npy", "esm-embed run a.fasta --out a\n"),
            (
                "embed a.fasta --fp16 --batch-size 8",
                "esm-embed run a.fasta --out emb (without --fp16, --batch-size, which run does not have)\n",
            ),
            (
                "a.fasta b.fasta -t 2",
                "esm-embed run a.fasta b.fasta -t 2 --out emb\n",
            ),
            ("a.fasta --out", "esm-embed run a.fasta --out emb\n"),
            ("a.fasta", "esm-embed run a.fasta --out emb\n"),
            ("dir/a.FA.gz --out x", "esm-embed run dir/a.FA.gz --out x\n"),
            ("- --out x", "esm-embed run - --out x\n"),
        ] {
            let text = answer(line);
            assert!(text.contains(meant), "{line}: {text}");
            assert!(text.contains("--help"), "{line}: {text}");
        }
    }
}
