//! Words of other tools, and misspelt ones: what is meant here.

use super::args::Args;
use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use std::ffi::OsString;
use std::path::Path;

/// Options of fair-esm's script and of other tools, and what to write instead.
const OPTIONS: &[(&[&str], &str)] = &[
    (
        &[
            "batch-size",
            "batchsize",
            "batch",
            "bs",
            "toks-per-batch",
            "tokens-per-batch",
            "max-tokens-per-batch",
            "max-batch-tokens",
            "max-residues",
            "max-batch",
        ],
        "batches are formed for you and do not change the results; --max-tokens N limits the tokens \
         of one batch",
    ),
    (
        &[
            "repr-layers",
            "repr-layer",
            "layers",
            "representation-layers",
            "embedding-layer",
        ],
        "the option is --layer, with commas: --layer 0,32,33, or 3-5, all, last",
    ),
    (
        &["fp16", "half", "float16", "half-precision", "use-fp16"],
        "the option is --dtype f16 (and --out-dtype f16 for the files)",
    ),
    (&["bf16", "bfloat16"], "the option is --dtype bf16"),
    (&["fp32", "float32", "f32"], "the option is --dtype f32"),
    (&["f16"], "the option is --dtype f16"),
    (
        &["precision", "data-type", "torch-dtype"],
        "the option is --dtype f32, f16 or bf16",
    ),
    (
        &[
            "format",
            "output-format",
            "out-format",
            "fmt",
            "save-format",
            "h5",
            "hdf5",
            "npz",
        ],
        "this version writes .npy files, which numpy.load reads, and index.tsv; there is nothing to \
         choose",
    ),
    (
        &[
            "truncation-seq-length",
            "truncation-length",
            "truncate",
            "truncation",
            "max-length",
            "max-len",
            "max-seq-len",
            "max-seq-length",
            "maxlen",
        ],
        "the option is --long truncate:N, which keeps the first N residues; if it is left out, ESM-2 \
         embeds sequences whole",
    ),
    (
        &["nogpu", "no-gpu", "no-cuda", "cpu", "use-cpu", "cpu-only"],
        "the option is --device cpu",
    ),
    (
        &["gpu", "gpus", "cuda", "use-gpu", "use-cuda", "gpu-id"],
        "the option is --device cuda, or cuda:0,1 for cards by number",
    ),
    (
        &[
            "fasta",
            "input",
            "in",
            "i",
            "fasta-file",
            "input-file",
            "fasta-path",
            "sequences",
            "seqs",
            "f",
        ],
        "FASTA files are given without an option: esm-embed run proteins.fasta --out emb",
    ),
    (
        &[
            "output",
            "output-dir",
            "out-dir",
            "outdir",
            "output-folder",
            "output-path",
            "output-file",
            "save-dir",
            "save-path",
        ],
        "the option is --out, and names a folder",
    ),
    (
        &[
            "model-name",
            "model-path",
            "model-location",
            "model-name-or-path",
            "model-id",
            "checkpoint",
            "pretrained",
            "weights",
            "model-dir",
        ],
        "the option is --model, with a name, a repository of the Hub or a path",
    ),
    (
        &[
            "pooling",
            "pool-type",
            "pooling-type",
            "pooling-mode",
            "reduce",
            "aggregate",
        ],
        "the option is --pool mean, bos, max or none",
    ),
    (
        &[
            "mean",
            "per-protein",
            "per-sequence",
            "average",
            "protein-level",
        ],
        "the option is --pool mean, which is the default; --residues none leaves out residue rows",
    ),
    (&["bos", "cls"], "the option is --pool bos"),
    (
        &[
            "per-tok",
            "per-token",
            "per-residue",
            "per-res",
            "residue-level",
            "token-embeddings",
        ],
        "the option is --residues packed, which is the default, or files for one file a record",
    ),
    (
        &[
            "workers",
            "num-workers",
            "num-threads",
            "nthreads",
            "n-threads",
            "jobs",
            "n-jobs",
            "cpus",
            "num-cpus",
            "ncpu",
            "cores",
            "nproc",
            "j",
            "nt",
        ],
        "the option is --threads N",
    ),
    (
        &["cache-dir", "cache", "hub-cache", "torch-home"],
        "the cache is that of Hugging Face: set the environment variable HF_HOME",
    ),
    (
        &["offline", "local-files-only"],
        "set the environment variable HF_HUB_OFFLINE=1; a model given as a path needs no network",
    ),
];

/// What fair-esm's script includes.
const INCLUDE: &str = "there is no such option in this version. For what fair-esm's script includes: \
                       mean is --pool mean, bos is --pool bos, per_tok is --residues packed; all can \
                       be combined. Logits, contacts and attentions come in a later version";

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
pub(super) fn explain(mut error: clap::Error, words: &[OsString]) -> clap::Error {
    let text = |kind: ContextKind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        _ => String::new(),
    };
    let answer = match error.kind() {
        ErrorKind::UnknownArgument => {
            option(&text(ContextKind::InvalidArg), &ours(&subcommand(words)))
        }
        ErrorKind::InvalidSubcommand => command(&text(ContextKind::InvalidSubcommand), words),
        _ => None,
    };
    if let Some(answer) = answer {
        return super::wrong_usage_of(error.kind(), &subcommand(words), answer);
    }
    if text(ContextKind::SuggestedArg).contains("--force") {
        error.insert(ContextKind::SuggestedArg, ContextValue::None);
    }
    error
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

/// What an unknown option means.
fn option(typed: &str, ours: &[String]) -> Option<String> {
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
    let known = OPTIONS
        .iter()
        .find(|(names, _)| names.contains(&name.as_str()));
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
    let lower = typed.to_ascii_lowercase();
    let is_meant =
        |name: &&&str| lower == ***name || (lower.len() > 3 && distance(&lower, name) < 3);
    RUN.iter().find(is_meant)?;
    // fair-esm's script has MODEL FASTA FOLDER.
    let line = match after.as_slice() {
        [model, fasta, out, ..] if is_fasta(fasta) && !is_fasta(model) && !out.starts_with('-') => {
            format!("esm-embed run {fasta} --model {model} --out {out}")
        }
        [] => "esm-embed run proteins.fasta --out emb".to_owned(),
        given => run_line(given),
    };
    Some(format!(
        "there is no command {typed}; the command is run: {line}"
    ))
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

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_./,:=@%+-".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// Letters to put in, take out or replace to make one word of another.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut next = vec![i + 1];
        for ((b, diagonal), above) in other.iter().zip(&row).zip(row.iter().skip(1)) {
            let left = next.last().copied().unwrap_or(0);
            let changed = diagonal + usize::from(a != *b);
            next.push(changed.min(above + 1).min(left + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
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
        let text = answer("rnu a.fasta --out emb");
        assert!(
            text.contains("a similar subcommand exists: 'run'"),
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
            ("a.fasta", "esm-embed run a.fasta --out emb\n"),
            ("dir/a.FA.gz --out x", "esm-embed run dir/a.FA.gz --out x\n"),
            ("- --out x", "esm-embed run - --out x\n"),
        ] {
            let text = answer(line);
            assert!(text.contains(meant), "{line}: {text}");
            assert!(text.contains("--help"), "{line}: {text}");
        }
    }

    #[test]
    fn words_are_quoted_for_a_shell() {
        assert_eq!(quoted("a b'c"), r"'a b'\''c'");
        assert_eq!(quoted(""), "''");
        assert_eq!(quoted("x/y-1.fa"), "x/y-1.fa");
    }

    #[test]
    fn distances() {
        assert_eq!(distance("embed", "embed"), 0);
        assert_eq!(distance("ebmed", "embed"), 2);
        assert_eq!(distance("", "run"), 3);
        assert_eq!(distance("extrct", "extract"), 1);
    }
}
