//! The command with the variables that define the stand-in's GPUs.

use crate::bench::{Bench, Ended, ended, expand, fasta, sequence};
use crate::stand_in;
use assert_cmd::Command;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// A variable of the stand-in, or CUDA_VISIBLE_DEVICES.
pub type Variable<'a> = (&'a str, &'a str);

/// A bench for tests of anything but self-tests and the choice of algorithms: what a self-test finds there is
/// remembered for all of them, so that each kind of GPU, model and number format is tested once.
pub fn tested_bench() -> Bench {
    static TESTED: OnceLock<PathBuf> = OnceLock::new();
    let tested = TESTED.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("self-tests");
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    });
    let bench = Bench::new();
    symlink(tested, bench.path("hf")).unwrap();
    bench
}

/// The command with the words of `line`, and a driver for CUDA 13.
pub fn command(bench: &Bench, variables: &[Variable<'_>], line: &str) -> Command {
    let mut command = bench.command();
    command.env_remove("CUDA_VISIBLE_DEVICES");
    if stand_in::is_real() {
        for name in [
            "LD_LIBRARY_PATH",
            "CUDA_HOME",
            "PATH",
            "CUDA_VISIBLE_DEVICES",
        ] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
    } else {
        command.env("LD_LIBRARY_PATH", stand_in::library_path("13"));
        // A small GPU, whose slabs of 1,152 rows take little time, unless its memory matters.
        let is_memory = |(name, _): &Variable<'_>| name.ends_with("_MIB");
        if !variables.iter().any(is_memory) {
            command.env("STAND_IN_MULTIPROCESSORS", "9");
        }
    }
    command
        .envs(variables.iter().copied())
        .args(line.split_whitespace().map(expand));
    command
}

/// Its outcome.
pub fn run(bench: &Bench, variables: &[Variable<'_>], line: &str) -> Ended {
    ended(&mut command(bench, variables, line))
}

/// The warning about the one `<mask>` of [`records`].
pub const OF_MASK: &str = "warning: 1 <mask> token was embedded and has a row\n";

/// Runs and expects success without any message but [`OF_MASK`].
pub fn embed(bench: &Bench, variables: &[Variable<'_>], line: &str) {
    let ended = run(bench, variables, &format!("run {line} -q"));
    let err = ended.err.replacen(OF_MASK, "", 1);
    assert_eq!((ended.code, &*err), (0, ""), "{line}, {variables:?}");
}

/// Whether a file of a run is an array of numbers.
pub fn is_matrix(name: &str) -> bool {
    name.ends_with(".npy") && name != "ids.npy"
}

/// Records of many lengths around the tiles of the kernels, some repeated.
pub fn records() -> Vec<(String, String)> {
    of_lengths(&[
        1, 2, 3, 5, 14, 29, 30, 31, 62, 63, 64, 65, 126, 127, 190, 254, 300, 511, 700,
    ])
}

/// Fewer of them, for tests that are not about attention.
pub fn few_records() -> Vec<(String, String)> {
    of_lengths(&[1, 2, 5, 30, 62, 63, 64, 127, 200])
}

/// Records of these lengths, the last but one twice, and one with a mask.
fn of_lengths(lengths: &[usize]) -> Vec<(String, String)> {
    let numbered = (0..).zip(lengths);
    let mut all: Vec<_> = numbered
        .map(|(seed, &length)| (format!("s{length}"), sequence(seed, length)))
        .collect();
    let (_, twice) = &all[all.len() - 2];
    all.push(("again".to_owned(), twice.clone()));
    all.push(("mask".to_owned(), format!("MK<mask>{}", sequence(7, 40))));
    all
}

pub fn text(records: &[(String, String)]) -> String {
    fasta(records.iter().map(|(id, s)| (id.as_str(), s.as_str())))
}
