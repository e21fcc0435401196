//! The number of threads of a run.

use crate::bench::*;
use crate::tools;
use std::process::Command;

/// The threads that a run with this environment, behind these words, reports.
fn threads(bench: &Bench, wrapper: &[&str], slurm: Option<&str>) -> String {
    let program = env!("CARGO_BIN_EXE_esm-embed");
    let line = "run in.fasta --model $MODEL --out emb --force";
    let mut words: Vec<String> = wrapper.iter().map(|word| word.to_string()).collect();
    words.push(program.to_owned());
    words.extend(line.split_whitespace().map(expand));
    let mut command = Command::new(&words[0]);
    command
        .args(&words[1..])
        .current_dir(bench.path("."))
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default());
    if let Some(number) = slurm {
        command.env("SLURM_CPUS_PER_TASK", number);
    }
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{text}");
    let mut fields = text.lines().flat_map(|line| line.split(", "));
    let field = fields.find(|field| field.ends_with(" thread") || field.ends_with(" threads"));
    field.unwrap().to_owned()
}

#[test]
fn affinity_and_scheduler_limit_the_threads() {
    if !tools::has(&["taskset"]) {
        return;
    }
    let bench = Bench::new();
    bench.write("in.fasta", ">a\nMKT\n");
    let all = threads(&bench, &[], None);
    assert_eq!(threads(&bench, &[], Some("1")), "1 thread");
    assert_eq!(threads(&bench, &[], Some("4096")), all);
    assert_eq!(threads(&bench, &[], Some("0")), all);
    // The first of the CPUs that the test itself may use.
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let list = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let first: String = list
        .unwrap()
        .trim()
        .chars()
        .take_while(|c| c.is_ascii_digit())
        .collect();
    let one = ["taskset", "-c", &first];
    assert_eq!(threads(&bench, &one, None), "1 thread");
    assert_eq!(threads(&bench, &one, Some("64")), "1 thread");
}

/// Counts the threads that a process starts, and how many run at the same time.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

static atomic_long started;

__attribute__((destructor)) static void tell(void) {
    FILE *file = fopen(getenv("THREADS_STARTED"), "w");
    if (file) { fprintf(file, "%ld", started); fclose(file); }
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg) {
    static int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    if (!real) real = dlsym(RTLD_NEXT, "pthread_create");
    atomic_fetch_add(&started, 1);
    return real(thread, attr, run, arg);
}
"#;

/// Threads that a command starts besides the main one.
fn started(bench: &Bench, line: &str, slurm: Option<&str>) -> usize {
    let mut command = Command::new(env!("CARGO_BIN_EXE_esm-embed"));
    command
        .args(line.split_whitespace().map(expand))
        .current_dir(bench.path("."))
        .env_clear()
        .env("LD_PRELOAD", bench.path("shim.so"))
        .env("THREADS_STARTED", bench.path("started"));
    if let Some(number) = slurm {
        command.env("SLURM_CPUS_PER_TASK", number);
    }
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    bench.text("started").parse().unwrap()
}

/// Sealing syncs and reads many files: two layers of four arrays each.
#[test]
fn sealing_uses_only_the_threads_of_the_run() {
    let bench = Bench::new();
    bench.write("in.fasta", ">a\nMKT\n>b\nMKTAYIA\n");
    bench.write("shim.c", SHIM);
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .args([bench.path("shim.so"), bench.path("shim.c")])
        .arg("-ldl")
        .status();
    // A C compiler is needed to build the crate.
    assert!(compiled.unwrap().success());
    let run = "run in.fasta --model $MODEL --out emb --force -q --residues packed";
    for (more, slurm, expected) in [
        // One for signals, status.json, checksums of the model, syncing now and then, and work.
        ("--threads 1 --pool mean,bos,max --layer 1,2", None, 5),
        ("--pool mean,bos,max --layer 1,2", Some("1"), 5),
        // The same four, three for work, and a pool of three that loads the model, shares long
        // records, syncs and takes checksums.
        ("--threads 3 --pool mean,bos,max --layer 1,2", None, 10),
        ("--threads 40 --pool mean --layer 2", None, 84),
    ] {
        assert_eq!(
            started(&bench, &format!("{run} {more}"), slurm),
            expected,
            "{more}"
        );
    }
    assert_eq!(started(&bench, "inspect emb --check", Some("1")), 0);
}
