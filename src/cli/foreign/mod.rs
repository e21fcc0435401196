//! Words of other tools, and misspelt ones: what is meant here.

mod options;
mod spelling;

use super::args::Args;
use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use options::{INCLUDE, OPTIONS};
use spelling::{distance, quoted};
use std::ffi::OsString;
use std::path::Path;

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
    let answer = match error.kind() {
        ErrorKind::UnknownArgument => {
            let typed = text(ContextKind::InvalidArg);
            // In a tip, or in the usage, where clap puts what it proposes.
            let rendered = error.to_string();
            let proposes_force = rendered
                .lines()
                .skip(1)
                .any(|line| line.contains("--force"));
            let proposes = error.get(ContextKind::SuggestedArg).is_some() && !proposes_force;
            let bare = proposes_force.then(|| format!("unexpected argument '{typed}' found"));
            let most = if proposes { 0 } else { 1 };
            option(&typed, &ours(&subcommand(words)), most).or(bare)
        }
        ErrorKind::InvalidSubcommand => command(&text(ContextKind::InvalidSubcommand), words),
        _ => None,
    };
    match answer {
        Some(answer) => super::wrong_usage_of(error.kind(), &subcommand(words), answer),
        None => error,
    }
}

/// The subcommand among the words, or nothing.
fn subcommand(words: &[OsString]) -> String {
    let command = Args::command();
    let is_one = |word: &&str| command.find_subcommand(word).is_some();
    let mut words = words.iter().skip(1).filter_map(|word| word.to_str());
    words.find(is_one).unwrap_or_default().to_owned()
}

/// The long options of a subcommand; of `run` if there is none.
fn ours(subcommand: &str) -> Vec<String> {
    let command = Args::command();
    let name = if subcommand.is_empty() {
        "run"
    } else {
        subcommand
    };
    let options = command.find_subcommand(name).map(|command| {
        let names = command.get_arguments().filter_map(|arg| arg.get_long());
        names.map(str::to_owned).collect()
    });
    options.unwrap_or_default()
}

/// What an unknown option means, spelt with so many mistakes at most.
fn option(typed: &str, ours: &[String], most: usize) -> Option<String> {
    let typed = typed.split('=').next().unwrap_or(typed);
    let name = typed
        .trim_start_matches('-')
        .to_ascii_lowercase()
        .replace('_', "-");
    let answer = |what: &str| Some(format!("unexpected option {typed}: {what}"));
    if name == "include" {
        return answer(INCLUDE);
    }
    if name != "force" && ours.contains(&name) {
        return answer(&format!("the option is --{name}"));
    }
    // A mistake in a short word makes another word of it.
    let most = if name.len() > 4 { most } else { 0 };
    let is_meant = |other: &&&str| distance(&name, other) <= most;
    let known = OPTIONS
        .iter()
        .find(|(names, _)| names.contains(&name.as_str()))
        .or_else(|| {
            OPTIONS
                .iter()
                .find(|(names, _)| names.iter().any(|n| is_meant(&n)))
        });
    let (_, what) = known?;
    answer(what)
}

/// What an unknown command means, given all words.
fn command(typed: &str, words: &[OsString]) -> Option<String> {
    let at = words.iter().position(|word| word == typed)?;
    let after: Vec<String> = words
        .iter()
        .skip(at + 1)
        .map(|word| quoted(&word.to_string_lossy()))
        .collect();
    if is_fasta(typed) {
        let given = [vec![quoted(typed)], after].concat();
        return Some(format!(
            "{typed} is not a command. To embed it: {}",
            run_line(&given)
        ));
    }
    let name = nearest(&typed.to_ascii_lowercase())?;
    let line = match (name.as_str(), after.as_slice()) {
        // fair-esm's script has MODEL FASTA FOLDER.
        ("run", [model, fasta, out, ..])
            if is_fasta(fasta) && !is_fasta(model) && !out.starts_with('-') =>
        {
            format!("esm-embed run {fasta} --model {model} --out {out}")
        }
        ("run", []) => "esm-embed run proteins.fasta --out emb".to_owned(),
        ("run", given) => run_line(given),
        (name, given) => [&["esm-embed", name].map(str::to_owned)[..], given]
            .concat()
            .join(" "),
    };
    Some(format!(
        "there is no command {typed}; the command is {name}: {line}"
    ))
}

/// The command whose name, or that of another tool for it, is the word or is spelt much like it.
fn nearest(word: &str) -> Option<String> {
    let command = Args::command();
    let own = command
        .get_subcommands()
        .filter(|command| !command.is_hide_set());
    let own = own.map(|command| (command.get_name(), command.get_name()));
    let most = if word.len() > 4 { 2 } else { 1 };
    own.chain(RUN.map(|other| (other, "run")))
        .map(|(typed, meant)| (distance(word, typed), meant))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, meant)| meant.to_owned())
}

fn run_line(given: &[String]) -> String {
    let mut line = format!("esm-embed run {}", given.join(" "));
    let is_out = |word: &String| word.starts_with("--out") || word.starts_with("-o");
    if !given.iter().any(is_out) {
        line.push_str(" --out emb");
    }
    line
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
    fn our_own_options_are_still_proposed() {
        let text = answer("run a.fasta --out emb --residue none");
        assert!(
            text.contains("a similar argument exists: '--residues'"),
            "{text}"
        );
    }

    #[test]
    fn commands_of_other_tools_name_run() {
        for (line, meant) in [
            ("embed a.fasta --out x", "esm-embed run a.fasta --out x\n"),
            ("embed a.fasta", "esm-embed run a.fasta --out emb\n"),
            ("encode", "esm-embed run proteins.fasta --out emb\n"),
            ("Embedd a.fasta -o x", "esm-embed run a.fasta -o x\n"),
            (
                "extract esm2_t33_650M_UR50D a.fasta x --include mean",
                "esm-embed run a.fasta --model esm2_t33_650M_UR50D --out x\n",
            ),
            ("ebmed a.fasta", "esm-embed run a.fasta --out emb\n"),
            (
                "rnu a.fasta -o x",
                "the command is run: esm-embed run a.fasta -o x\n",
            ),
            ("ver 8M", "unrecognized subcommand 'ver'"),
            ("verfy 8M", "the command is verify: esm-embed verify 8M\n"),
            ("Doctor", "the command is doctor: esm-embed doctor\n"),
            ("nonsense a.fasta", "unrecognized subcommand 'nonsense'"),
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
