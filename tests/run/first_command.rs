//! The README's first command. `.ci/check_output.py` checks what it writes: the files, the columns of
//! the index, the checksums and the values.

use crate::bench::*;
use crate::tools;
use std::fs;
use std::path::Path;
use std::process::Command;

const BEFORE: &str = "cargo run --release -- ";
const OUT: &str = " --out emb";

#[test]
fn the_output_of_the_readmes_first_command_passes_the_check_of_ci() {
    if !tools::has(&["python3"]) {
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let line = readme
        .lines()
        .find_map(|line| line.strip_prefix(BEFORE)?.strip_suffix(OUT))
        .expect("the README's first command");
    let bench = Bench::new();
    let out = bench.path("emb");
    let mut command = bench.command();
    command.current_dir(root);
    command.args(line.split_whitespace()).arg("--out").arg(&out);
    command.assert().success();

    let check = Command::new("python3")
        .arg(root.join(".ci/check_output.py"))
        .arg(&out)
        .output()
        .unwrap();
    let faults = String::from_utf8_lossy(&check.stderr);
    assert!(check.status.success(), "{faults}");
}
