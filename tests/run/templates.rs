//! `template`: each is the file beside its source, and fits the program that it starts.

use crate::bench::*;
use crate::tools;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Name and file of each template.
const TEMPLATES: [(&str, &str); 7] = [
    ("slurm", "slurm.sh"),
    ("snakemake", "Snakefile"),
    ("nextflow", "nextflow/main.nf"),
    ("docker", "Dockerfile"),
    ("apptainer", "apptainer.def"),
    ("systemd", "esm-embed.service"),
    ("kubernetes", "kubernetes.yaml"),
];

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/template")
}

fn source(file: &str) -> String {
    std::fs::read_to_string(sources().join(file)).unwrap()
}

#[test]
fn templates_are_the_tested_files() {
    let bench = Bench::new();
    for (name, file) in TEMPLATES {
        let ended = bench.call(&format!("template {name}"));
        assert_eq!((ended.code, &*ended.err), (0, ""));
        let source = source(file);
        assert!(ended.out == source, "{name}");
        // Text that every editor and shell accepts.
        assert!(source.ends_with('\n') && source.is_ascii(), "{name}");
        assert!(!source.contains(['\r', '\t']), "{name}");
        // The way in which it is printed is in it.
        assert!(
            source.contains(&format!("esm-embed template {name}")),
            "{name}"
        );
    }
    for (name, file) in &TEMPLATES[..3] {
        for words in ["run ", "--shard ", "--out ", "merge "] {
            assert!(source(file).contains(words), "{name}: {words}");
        }
    }
}

#[test]
fn the_files_of_a_module_are_written_once() {
    let bench = Bench::new();
    let ended = bench.call("template nextflow --out modules/esmembed");
    assert_eq!((ended.code, &*ended.out, &*ended.err), (0, "", ""));
    let written = bench.tree("modules/esmembed");
    let names: Vec<_> = written.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "environment.yml",
            "main.nf",
            "meta.yml",
            "tests/main.nf.test",
            "tests/nextflow.config"
        ]
    );
    for (name, bytes) in &written {
        assert!(
            *bytes == source(&format!("nextflow/{name}")).into_bytes(),
            "{name}"
        );
    }
    let module = source("nextflow/main.nf");
    let processes = module.matches("\nprocess ").count();
    assert_eq!(processes, 3);
    let versions =
        "eval(\"esm-embed --version | sed 's/.* //'\"), topic: versions, emit: versions_esmembed";
    for each in [
        versions,
        "conda \"${moduleDir}/environment.yml\"",
        "\n    container \"",
        "\n    stub:",
    ] {
        assert_eq!(module.matches(each).count(), processes, "{each}");
    }
    assert!(module.contains("NOT EXECUTED"));
    let version = env!("CARGO_PKG_VERSION");
    for (name, text) in [
        (
            "main.nf",
            format!("'esm-embed:{version}-cuda' : 'esm-embed:{version}'"),
        ),
        ("environment.yml", format!("esm-embed={version}\"")),
    ] {
        assert!(
            source(&format!("nextflow/{name}")).contains(&text),
            "{name}"
        );
    }
    // What the version printed by the program is: the last word.
    assert_eq!(
        bench.call("--version").out,
        format!("esm-embed {version}\n")
    );
    let before = bench.bytes("modules/esmembed/main.nf");
    let ended = bench.call("template nextflow --out modules/esmembed");
    let what = "error: modules/esmembed/main.nf: already exists\n  hint: choose another folder with --out\n";
    assert_eq!((ended.code, &*ended.err), (1, what));
    assert_eq!(bench.bytes("modules/esmembed/main.nf"), before);
}

/// Every option that a template gives to a command is one of that command.
#[test]
fn schedulers_give_options_that_exist() {
    let bench = Bench::new();
    for (name, file) in &TEMPLATES[..3] {
        let source = source(file).replace("\\\\\n", " ").replace("\\\n", " ");
        for command in ["plan", "run", "merge", "status"] {
            let help = bench.call(&format!("{command} --help")).out;
            let code = source
                .lines()
                .filter(|line| !line.trim_start().starts_with(['#', '/']));
            for line in code {
                let start = [
                    "esm-embed ",
                    "\"$ESM_EMBED\" ",
                    "{params.program:q} ",
                    "{ESM_EMBED:q} ",
                ]
                .iter()
                .find_map(|program| line.split_once(&format!("{program}{command} ")));
                let Some((_, words)) = start else { continue };
                let options = words.split([' ', '"', '=', '&', '|']);
                for option in options.filter(|word| word.starts_with("--") && word.len() > 2) {
                    assert!(help.contains(option), "{name}, {command}: {option}");
                }
            }
        }
    }
}

#[test]
fn the_slurm_template_is_a_script_with_usage() {
    if !tools::has(&["bash"]) {
        return;
    }
    let script = Command::new("bash")
        .arg("-n")
        .arg(sources().join("slurm.sh"))
        .output()
        .unwrap();
    assert!(script.status.success(), "{script:?}");
    let usage = Command::new("bash")
        .arg(sources().join("slurm.sh"))
        .arg("emb")
        .output()
        .unwrap();
    assert_eq!(usage.status.code(), Some(2));
    let usage = String::from_utf8(usage.stderr).unwrap();
    assert!(
        usage.starts_with("usage: [SHARDS=N] bash ")
            && usage.ends_with(" OUT FASTA... [options of esm-embed run]\n"),
        "{usage}"
    );
}

/// Every option after `serve` in a template is one of `serve`, and has a value that it takes.
#[test]
fn servers_are_started_with_options_that_exist() {
    let bench = Bench::new();
    let help = bench.call("serve --help").out;
    for (name, file) in &TEMPLATES[3..] {
        let source = source(file);
        let line = source
            .lines()
            .find(|line| line.contains("serve") && line.contains("--listen"));
        // As a list in JSON or YAML, or as words.
        let line = line
            .unwrap_or_else(|| panic!("{name}"))
            .replace(['[', ']', ',', '"'], " ");
        let (_, words) = line.split_once("serve").unwrap();
        for option in words
            .split_whitespace()
            .filter(|word| word.starts_with("--"))
        {
            assert!(help.contains(&format!("{option} <")), "{name}: {option}");
        }
        let address = words.split_once("--listen").unwrap().1.trim();
        let open = match *name {
            "docker" | "kubernetes" => "0.0.0.0:8080",
            _ => "127.0.0.1:8080",
        };
        assert_eq!(address, open, "{name}");
    }
}

#[test]
fn images_are_built_with_the_compiler_and_the_files_that_the_program_needs() {
    let compiler = format!("rust:{}-bookworm", env!("CARGO_PKG_RUST_VERSION"));
    for (name, file) in [("docker", "Dockerfile"), ("apptainer", "apptainer.def")] {
        let source = source(file);
        assert!(source.contains(&compiler), "{name}");
        for path in ["Cargo.toml", "Cargo.lock", "LICENSE", "src", "benches"] {
            let copied = source.lines().any(|line| {
                let mut words = line.split_whitespace();
                words.any(|word| word == path) && !line.starts_with('#')
            });
            assert!(copied, "{name}: {path}");
            assert!(
                Path::new(env!("CARGO_MANIFEST_DIR")).join(path).exists(),
                "{path}"
            );
        }
    }
    let image = format!("image: esm-embed:{}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(source("kubernetes.yaml").matches(&image).count(), 2);
}

#[test]
fn systemd_accepts_the_unit() {
    if !tools::has(&["systemd-analyze"]) {
        return;
    }
    let bench = Bench::new();
    // The program has to exist.
    let program = PathBuf::from(bench.command().get_program());
    let unit = source("esm-embed.service");
    assert!(unit.contains("\nExecStart=/usr/local/bin/esm-embed serve "));
    let unit = unit.replace("/usr/local/bin/esm-embed", program.to_str().unwrap());
    bench.write("esm-embed.service", unit);
    let verified = Command::new("systemd-analyze")
        .arg("verify")
        .arg(bench.path("esm-embed.service"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&verified.stderr);
    assert!(verified.status.success() && said.is_empty(), "{said}");
}
