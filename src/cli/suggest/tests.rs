use super::*;
use clap::Parser;

/// The error that a line of words ends with.
fn answer(line: &str) -> String {
    let words: Vec<OsString> = ["esm-embed"]
        .into_iter()
        .chain(line.split_whitespace())
        .map(OsString::from)
        .collect();
    let error = Cli::try_parse_from(&words).unwrap_err();
    let error = explain(error, &words);
    assert_eq!(error.exit_code(), 2, "{line}");
    error.to_string()
}

#[test]
fn options_of_other_tools_are_answered_with_ours() {
    for (typed, ours) in [
        ("--batch-size 8", "--max-tokens N"),
        ("--toks-per-batch 4096", "--max-tokens N"),
        ("--toks_per_batch=4096", "--max-tokens N"),
        ("--repr-layers 33", "--layer"),
        ("--repr_layers 0 32", "--layer"),
        ("--fp16", "--dtype f16"),
        ("--format h5", ".npy files"),
        ("--truncation_seq_length 1022", "--long truncate:N"),
        ("--nogpu", "--device cpu"),
        ("--gpu", "--device cuda"),
        ("-i b.fasta", "give FASTA files without an option"),
        ("--output-dir x", "--out"),
        ("--model_name 8M", "--model"),
        ("--max_tokens 9", "--max-tokens"),
        ("--OUT-DTYPE f16", "--out-dtype"),
        ("--num-workers 4", "--threads N"),
        ("--residue none", "hint: write --residues\n"),
        ("--overwrite", "choose another folder with --out, or resume"),
        ("--no-resume", "leave --resume out"),
        ("--logits", "use --include logits\n"),
        ("--perplexity", "use another command: esm-embed score\n"),
        ("--contacts", "use --include contacts\n"),
        ("--output-attentions", "use --include attentions\n"),
        (
            "--foo",
            "hint: esm-embed run --help lists the options of run\n",
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
fn options_that_a_command_lacks_are_not_proposed() {
    for (line, what) in [
        (
            "verify --fp16",
            "--fp16\n  hint: esm-embed verify --help lists the options of verify",
        ),
        (
            "inspect e --batch-size 8",
            "--batch-size\n  hint: esm-embed inspect --help",
        ),
        (
            "fetch 8M --output x",
            "--output\n  hint: esm-embed fetch --help",
        ),
        ("models --gpu", "--gpu\n  hint: esm-embed models --help"),
        (
            "template slurm --cpu",
            "--cpu\n  hint: esm-embed template --help",
        ),
        (
            "merge a --out b --fp16",
            "--fp16\n  hint: esm-embed merge --help",
        ),
        (
            "inspect e --threads 2",
            "--threads: it is an option of run, not of inspect\n",
        ),
        (
            "fetch 8M --force",
            "--force\n  hint: esm-embed fetch --help",
        ),
        ("verify --gpu", "--gpu\n  hint: use --device cuda"),
        ("merge a --output b", "--output\n  hint: use --out"),
    ] {
        let text = answer(line);
        assert!(text.contains(what), "{line}: {text}");
        assert!(!text.contains("as a value"), "{line}: {text}");
    }
}

#[test]
fn options_come_after_the_command() {
    for (line, rest) in [
        (
            "--model 8M x.fasta",
            "\n  hint: put options after the command: esm-embed run x.fasta --model 8M --out emb",
        ),
        (
            "--out o x.fasta",
            "\n  hint: put options after the command: esm-embed run x.fasta --out o",
        ),
        (
            "--layer -1 x.fasta",
            "\n  hint: put options after the command: esm-embed run x.fasta --layer -1 --out emb",
        ),
        (
            "-q run x.fasta",
            "\n  hint: put options after the command: esm-embed run x.fasta -q --out emb",
        ),
        (
            "--threads 2 merge a -o b",
            ": it is an option of run, not of merge\n  hint: put options after merge",
        ),
        (
            "--check inspect e",
            "\n  hint: put options after the command: esm-embed inspect --check e",
        ),
        (
            "--model 8M",
            "\n  hint: give a command first: run, score, serve, fetch, models, inspect, plan, merge, status, export, plot, report, verify, doctor, template, demo, completions or man",
        ),
    ] {
        let text = answer(line);
        let option = line.split(' ').next().unwrap();
        let start = format!("error: unexpected option {option} before the command{rest}\n");
        assert!(text.starts_with(&start), "{line}: {text}");
    }
}

#[test]
fn commands_of_other_tools_are_answered_with_run() {
    for (line, meant) in [
        ("embed a.fasta --out x", "esm-embed run a.fasta --out x\n"),
        ("embed a.fasta", "esm-embed run a.fasta --out emb\n"),
        ("encode", "esm-embed run proteins.fasta --out emb\n"),
        ("Embedd a.fasta -o x", "esm-embed run a.fasta --out x\n"),
        (
            "extract esm2_t33_650M_UR50D a.fasta x --include mean",
            "esm-embed run a.fasta --model esm2_t33_650M_UR50D --out x\n",
        ),
        ("ebmed a.fasta", "esm-embed run a.fasta --out emb\n"),
        (
            "rnu a.fasta -o x",
            "hint: use run: esm-embed run a.fasta --out x\n",
        ),
        (
            "ver 8M",
            "there is no command ver\n  hint: the commands are run, score, serve, fetch,",
        ),
        ("em a", "there is no command em\n  hint: the commands are"),
        (
            "version",
            "there is no command version\n  hint: esm-embed --version",
        ),
        ("stauts emb", "hint: use status: esm-embed status emb\n"),
        ("verfy 8M", "hint: use verify: esm-embed verify 8M\n"),
        ("Doctor", "hint: use doctor: esm-embed doctor\n"),
        ("nonsense a.fasta", "there is no command nonsense\n"),
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
