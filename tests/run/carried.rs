//! What the program brings along: the demo, completions and manual pages. No network, no home.

use crate::bench::*;
use crate::common::fixture;
use crate::tools;
use std::fs;
use std::process::Command;

/// The commands with pages, below `esm-embed`.
const PAGES: [&str; 5] = ["run", "score", "plot-contacts", "demo", "man"];

#[test]
fn a_demo_is_a_run_over_the_fixtures() {
    let bench = Bench::new();
    let temporary = bench.path("tmp");
    fs::create_dir(&temporary).unwrap();
    let variables = [
        ("TMPDIR", temporary.to_str().unwrap()),
        // Neither matters to a demo.
        ("ESM_EMBED_MODEL", "nothing"),
        ("ESM_EMBED_DEVICE", "cuda:7"),
    ];
    let demo = bench.call_with("demo", &variables);
    assert_eq!(demo.code, 0, "{}", demo.err);
    assert_eq!(
        demo.out,
        "\nemb-demo holds embeddings of 8 made-up proteins, by a tiny model that is not trained:\n\n  \
         mean.layer2.npy      [8, 32]\n  \
         residues.layer2.npy  [642, 32]\n\n\
         In Python, with NumPy:\n\n  \
         import numpy as np\n  \
         by_id = dict(zip(np.load(\"emb-demo/ids.npy\"), np.load(\"emb-demo/mean.layer2.npy\")))\n\n\
         With pandas, after `pip install esm-embed pandas`:\n\n  \
         from esm_embed import open_folder\n  \
         frame = open_folder(\"emb-demo\").to_pandas()\n\n\
         Your own proteins, with a published model:\n\n  \
         esm-embed run proteins.fasta --model 8M --out emb\n"
    );
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0);

    let line = format!(
        "run {} --model {} --out emb",
        fixture("demo.fasta").display(),
        fixture("esm2_hd16_f16").display()
    );
    let run = bench.call(&line);
    assert_eq!(run.code, 0, "{}", run.err);
    for name in [
        "mean.layer2.npy",
        "residues.layer2.npy",
        "ids.npy",
        "index.tsv",
    ] {
        let bytes = |folder: &str| fs::read(bench.path(folder).join(name)).unwrap();
        assert!(bytes("emb-demo") == bytes("emb"), "{name}");
    }
    let checked = bench.call("inspect emb-demo --check");
    assert_eq!(checked.code, 0, "{}", checked.out);

    // An existing folder, as `run` has it.
    let again = bench.call_with("demo", &variables);
    let run = bench.call(&line.replace("--out emb", "--out emb-demo"));
    assert_eq!((again.code, again.out.as_str()), (1, ""));
    assert!(again.err.contains("emb-demo"), "{}", again.err);
    assert_eq!(again.err, run.err);
    for flag in ["--resume", "--force"] {
        let ended = bench.call_with(&format!("demo {flag}"), &variables);
        assert_eq!((ended.code, &ended.out), (0, &demo.out), "{}", ended.err);
    }
    let file = bench.call("demo --out emb.npy");
    assert_eq!(file.code, 2);
    assert!(
        file.err.contains("--out emb.npy is the name of a file"),
        "{}",
        file.err
    );
}

#[test]
fn a_demo_is_exported_with_its_sequences() {
    let bench = Bench::new();
    let temporary = bench.path("tmp");
    fs::create_dir(&temporary).unwrap();
    let variables = [("TMPDIR", temporary.to_str().unwrap())];
    assert_eq!(bench.call_with("demo -q", &variables).code, 0);
    let fasta = fixture("demo.fasta");
    for format in ["skbio", "h5 --keys hash"] {
        let line = format!("export emb-demo --to {format} --force -q --out");
        let carried = bench.call_with(&format!("{line} carried"), &variables);
        assert_eq!((carried.code, &*carried.err), (0, ""), "{format}");
        let given = bench.call(&format!("{line} given --fasta {}", fasta.display()));
        assert_eq!((given.code, &*given.err), (0, ""), "{format}");
        assert_eq!(bench.bytes("carried"), bench.bytes("given"), "{format}");
    }
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0);
}

#[test]
fn a_demo_needs_a_folder_for_temporary_files() {
    let bench = Bench::new();
    let ended = bench.call_with("demo", &[("TMPDIR", "/proc/none")]);
    assert_eq!(ended.code, 1);
    assert!(
        ended
            .err
            .starts_with("error: /proc/none cannot be written: ")
            && ended
                .err
                .ends_with("\n  hint: set TMPDIR to a folder that you can write to\n"),
        "{}",
        ended.err
    );
}

#[test]
fn completions_complete() {
    let bench = Bench::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let ended = bench.call(&format!("completions {shell}"));
        assert_eq!((ended.code, &*ended.err), (0, ""), "{shell}");
        for word in ["esm-embed", "score", "out-dtype", "completions"] {
            assert!(ended.out.contains(word), "{shell}: {word}");
        }
    }
    assert_eq!(bench.call("completions tcsh").code, 2);
    if !tools::has(&["bash"]) {
        return;
    }
    let script = bench.call("completions bash").out;
    let complete = |words: &str, at: usize| {
        let line = format!(
            "{script}\nCOMP_WORDS=({words}); COMP_CWORD={at}\n\
             _esm__embed esm-embed \"${{COMP_WORDS[{at}]}}\" \"${{COMP_WORDS[{}]}}\"\n\
             printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            at - 1
        );
        let ran = Command::new("bash").args(["-c", &line]).output().unwrap();
        String::from_utf8(ran.stdout).unwrap()
    };
    assert_eq!(complete("esm-embed de", 1), "demo\n");
    assert_eq!(complete("esm-embed run --out-d", 2), "--out-dtype\n");
    assert_eq!(complete("esm-embed run --out-dtype ''", 3), "f32\nf16\n");
}

#[test]
fn every_command_has_a_manual_page() {
    let bench = Bench::new();
    let ended = bench.call("man share/man1");
    assert_eq!((ended.code, &*ended.err), (0, ""));
    let folder = bench.path("share/man1");
    let pages = fs::read_dir(&folder).unwrap().count();
    assert_eq!(
        ended.out,
        format!(
            "{pages} manual pages in share/man1; read the first with: man -l share/man1/esm-embed.1\n"
        )
    );
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    let main = read("esm-embed.1");
    assert!(main.contains(".TH esm-embed 1"), "{main}");
    assert!(main.contains("esm\\-embed\\-run(1)"), "{main}");
    for name in PAGES {
        let page = read(&format!("esm-embed-{name}.1"));
        assert!(page.contains(&format!(".TH esm-embed-{name} 1")), "{name}");
        assert!(page.contains(".SH SYNOPSIS"), "{name}");
    }
    assert!(read("esm-embed-run.1").contains("\\-\\-out\\-dtype"));
    // Once more: pages are replaced.
    assert_eq!(bench.call("man share/man1").code, 0);
    bench.write("file", "");
    let refused = bench.call("man file");
    assert_eq!(refused.code, 1);
    assert_eq!(refused.err, "error: file is not a folder\n");
}
