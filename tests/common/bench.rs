//! A temporary folder, the program run in it, and readers of its output.

use crate::common::fixture;
use assert_cmd::Command;
use ndarray::Array2;
use ndarray_npy::read_npy;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// A folder in which commands run. It also holds their cache.
pub struct Bench {
    home: TempDir,
}

impl Bench {
    pub fn new() -> Bench {
        Bench {
            home: tempfile::tempdir().unwrap(),
        }
    }

    /// On a file system in memory, if there is one, for hundreds of runs that sync.
    pub fn in_memory() -> Bench {
        match tempfile::tempdir_in("/dev/shm") {
            Ok(home) => Bench { home },
            Err(_) => Bench::new(),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).unwrap();
    }

    /// A command that sees no home, network, GPU or variables of the caller.
    pub fn command(&self) -> Command {
        let mut command = Command::cargo_bin("esm-embed").unwrap();
        command
            .current_dir(self.home.path())
            .env_clear()
            .env("CUDA_VISIBLE_DEVICES", "")
            .env("HF_HOME", self.path("hf"))
            .env("HF_HUB_OFFLINE", "1");
        command
    }

    /// The folder itself.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// A command line of any subcommand.
    pub fn call(&self, line: &str) -> Ended {
        self.call_with(line, &[])
    }

    /// The same with variables.
    pub fn call_with(&self, line: &str, variables: &[(&str, &str)]) -> Ended {
        let mut command = self.command();
        command.args(line.split_whitespace());
        ended(command.envs(variables.iter().copied()))
    }

    /// `run` with the words of `line`, where `$MODEL` is the fixture esm2_hd16 and `$NAME` any other.
    pub fn run(&self, line: &str) -> Ended {
        self.pipe(line, b"")
    }

    /// The same with bytes on standard input.
    pub fn pipe(&self, line: &str, stdin: &[u8]) -> Ended {
        let words = line.split_whitespace().map(expand);
        let mut command = self.command();
        command.arg("run").args(words).write_stdin(stdin);
        ended(&mut command)
    }

    /// Runs and expects success without any message.
    pub fn embed(&self, line: &str) {
        let ended = self.run(&format!("{line} -q"));
        assert_eq!((ended.code, &*ended.err), (0, ""), "{line}");
        assert_eq!(ended.out, "", "{line}");
    }

    pub fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    pub fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// A matrix as NumPy would read it.
    pub fn matrix(&self, name: &str) -> Array2<f32> {
        read_npy(self.path(name)).unwrap()
    }

    /// The bits of one row of a matrix.
    pub fn row(&self, name: &str, row: usize) -> Vec<u32> {
        bits(&self.matrix(name), row..row + 1)
    }

    /// Names of everything in a folder, including hidden files.
    pub fn names(&self, folder: &str) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.path(folder))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// Checks that a run in other batches, on other numbers of threads and in two shards gives the files
    /// of a plain one.
    pub fn check_batches_and_shards(&self, run: &str) {
        self.embed(&format!("{run} --out emb"));
        for options in ["--threads 1 --deterministic", "--threads 3 --max-tokens 64"] {
            self.embed(&format!("{run} --out other --force {options}"));
            assert!(self.tree("other") == self.tree("emb"), "{options}");
        }
        for part in 1..=2 {
            self.embed(&format!("{run} --shard {part}/2 --out part-{part}"));
        }
        let merged = self.call("merge part-1 part-2 --out merged -q");
        assert_eq!((merged.code, &*merged.err), (0, ""));
        assert!(self.tree("merged") == self.tree("emb"));
    }

    /// Every file below a folder, with its bytes.
    pub fn tree(&self, folder: &str) -> BTreeMap<String, Vec<u8>> {
        let root = self.path(folder);
        let mut files = BTreeMap::new();
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let name = path.strip_prefix(&root).unwrap().to_str().unwrap();
                    files.insert(name.to_owned(), fs::read(&path).unwrap());
                }
            }
        }
        files
    }

    /// One value of `run.json`, by its JSON pointer.
    pub fn recorded(&self, folder: &str, pointer: &str) -> serde_json::Value {
        let text = self.text(&format!("{folder}/run.json"));
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        json.pointer(pointer).unwrap().clone()
    }
}

/// `$MODEL` and `$NAME` are fixtures.
pub fn expand(word: &str) -> String {
    let path = |name: &str| fixture(name).to_str().unwrap().to_owned();
    match word.strip_prefix('$') {
        Some("MODEL") => path("esm2_hd16"),
        Some(name) => path(name),
        None => word.to_owned(),
    }
}

pub fn ended(command: &mut Command) -> Ended {
    let output = command.output().unwrap();
    Ended {
        code: output.status.code().expect("not ended by a signal"),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The bits of some rows.
pub fn bits(matrix: &Array2<f32>, rows: std::ops::Range<usize>) -> Vec<u32> {
    let rows = matrix.slice(ndarray::s![rows, ..]);
    rows.iter().map(|value| value.to_bits()).collect()
}

pub fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

pub fn zstd(text: &[u8]) -> Vec<u8> {
    zstd::encode_all(text, 1).unwrap()
}

/// A sequence of the twenty residues that depends only on the seed.
pub fn sequence(seed: u64, residues: usize) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let letters = b"ACDEFGHIKLMNPQRSTVWY";
    (0..residues)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            char::from(letters[(state >> 32) as usize % letters.len()])
        })
        .collect()
}

/// FASTA of some records, 60 residues in a line.
pub fn fasta<'a>(records: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut text = String::new();
    for (header, sequence) in records {
        text += &format!(">{header}\n");
        for line in sequence.as_bytes().chunks(60) {
            text += &format!("{}\n", str::from_utf8(line).unwrap());
        }
    }
    text
}

/// The fields of the lines of a table, without its first line.
pub fn rows(table: &str) -> Vec<Vec<&str>> {
    let lines = table.lines().skip(1);
    lines.map(|line| line.split('\t').collect()).collect()
}

/// Ends with 1, prints only this error, and leaves no trace of the output; of a shard, only what `status`
/// reads.
pub fn assert_fails(bench: &Bench, line: &str, error: &str) {
    let ended = bench.run(&format!("{line} --out refused -q"));
    assert_eq!(ended.err, format!("error: {error}\n"), "{line}");
    assert_eq!((ended.code, &*ended.out), (1, ""), "{line}");
    if line.contains("--shard ") {
        let left: Vec<String> = bench.tree("refused").into_keys().collect();
        assert_eq!(left, [".partial/lock", ".partial/status.json"], "{line}");
        fs::remove_dir_all(bench.path("refused")).unwrap();
    }
    assert!(
        !exists(&bench.path("refused")),
        "{line}: touched the output"
    );
}

/// Lines that a program wrote to standard error, its hints aside.
pub fn messages(err: &str) -> usize {
    let lines = err.lines();
    lines.filter(|line| !line.starts_with("  hint: ")).count()
}

pub fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// Where a tensor's data begins in a .safetensors file.
pub fn first_byte(bytes: &[u8], tensor: &str) -> usize {
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let json: serde_json::Value = serde_json::from_slice(&bytes[8..8 + header]).unwrap();
    let offset = json[tensor]["data_offsets"][0].as_u64().unwrap();
    8 + header + offset as usize
}

/// Makes a named pipe.
pub fn make_pipe(path: &Path) {
    use rustix::fs::{CWD, Mode, mkfifoat};
    mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR).unwrap();
}

/// Sends a signal.
pub fn kill(child: &std::process::Child, signal: &str) {
    use rustix::process::{Pid, Signal, kill_process};
    let signal = match signal {
        "HUP" => Signal::HUP,
        "INT" => Signal::INT,
        "TERM" => Signal::TERM,
        "USR1" => Signal::USR1,
        "STOP" => Signal::STOP,
        "CONT" => Signal::CONT,
        "KILL" => Signal::KILL,
        other => panic!("no signal {other} in these tests"),
    };
    kill_process(Pid::from_child(child), signal).unwrap();
}
