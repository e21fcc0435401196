//! How many threads a run has when nothing is said.

use crate::support::*;
use std::process::Command;

/// What a run with this environment, behind these words, says of its threads.
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
    let fields = text.lines().find(|line| line.contains("loaded "));
    let fields = fields.unwrap().split(", ");
    let field = fields.into_iter().find(|field| field.contains(" thread"));
    field.unwrap().to_owned()
}

#[test]
fn affinity_and_the_scheduler_lower_them() {
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
