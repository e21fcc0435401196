//! One input with one set of options, and the output of an undisturbed run.

use crate::bench::*;
use crate::common::fixture;
use esm_embed::output::read_journal;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

pub type Tree = BTreeMap<String, Vec<u8>>;

/// Records of many lengths, some repeated, some unusual.
pub fn records(count: u64) -> String {
    let mut text = String::new();
    for i in 0..count {
        let length = 1 + (i * 37) as usize % 90;
        text += &match i % 11 {
            3 => format!(">r{i} again\n{}\n", sequence(3, 40)),
            7 => format!(">R{i}/../x\n{}\n", sequence(i, length)),
            9 if i == 9 => format!(">\t\n{}\n", sequence(i, length)),
            _ => format!(">r{i} d {i}\n{}\n", sequence(i, length)),
        };
    }
    text
}

/// A bench with `in.fasta`, and a line of options.
pub struct Case {
    pub bench: Bench,
    pub line: String,
    input: Vec<u8>,
    pub whole: Tree,
    /// The warnings of a run.
    pub warnings: String,
    /// Exit status of a complete run: 3 if it skips records.
    code: i32,
}

impl Case {
    /// Runs once, undisturbed, for the files that every other run must end with.
    pub fn new(options: &str, text: &str) -> Case {
        let mut case = Case::bare(options, text);
        let ended = case.run("--out whole");
        assert!([0, 3].contains(&ended.code), "{}", ended.err);
        case.code = ended.code;
        case.warnings = ended.err;
        case.whole = case.bench.tree("whole");
        assert!(case.whole.contains_key("run.json"));
        case
    }

    /// Without a run.
    pub fn bare(options: &str, text: &str) -> Case {
        let bench = Bench::in_memory();
        bench.write("in.fasta", text);
        std::fs::create_dir(bench.path("model")).unwrap();
        for name in ["config.json", "model.safetensors"] {
            let from = fixture(&format!("esm2_hd16/{name}"));
            std::fs::copy(from, bench.path(&format!("model/{name}"))).unwrap();
        }
        let line = format!("{options} --model ./model --threads 1 -q");
        let input = if line.starts_with("- ") {
            text.into()
        } else {
            Vec::new()
        };
        Case {
            bench,
            line,
            input,
            whole: Tree::new(),
            warnings: String::new(),
            code: 0,
        }
    }

    /// Runs to the end.
    pub fn run(&self, more: &str) -> Ended {
        let line = format!("{} {more}", self.line);
        self.bench.pipe(&line, &self.input)
    }

    /// The outcome of the command behind these words.
    pub fn ended(&self, wrapper: &[&str], more: &str) -> Ended {
        let output = self.command(wrapper, more).output().unwrap();
        Ended {
            code: output.status.code().expect("not ended by a signal"),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The command, with the input on its standard input.
    pub fn command(&self, wrapper: &[&str], more: &str) -> Command {
        let program = env!("CARGO_BIN_EXE_esm-embed");
        let mut words: Vec<String> = wrapper.iter().map(|word| word.to_string()).collect();
        words.push(program.to_owned());
        words.push("run".to_owned());
        words.extend(self.line.split_whitespace().map(expand));
        words.extend(more.split_whitespace().map(str::to_owned));
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .current_dir(self.bench.path("."))
            .env_clear()
            .env("HF_HUB_OFFLINE", "1")
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .stdin(File::open(self.bench.path("in.fasta")).unwrap())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Resumes `emb` to its end, which must be that of the undisturbed run.
    pub fn go_on(&self, what: &str) {
        let is_over = |name: &str| exists(&self.bench.path(&format!("emb/{name}")));
        // A run that only has to be moved into place does not read its records again.
        let warnings = match is_over("run.json") || is_over(".partial/run.json") {
            true => "",
            false => &self.warnings,
        };
        let ended = self.run("--out emb --resume");
        assert_eq!((ended.code, &*ended.err), (self.code, warnings), "{what}");
        self.assert_whole(what);
    }

    pub fn assert_whole(&self, what: &str) {
        let found = self.bench.tree("emb");
        let names = |tree: &Tree| tree.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&found), names(&self.whole), "{what}");
        for (name, bytes) in &found {
            assert!(*bytes == self.whole[name], "{what}: {name} differs");
        }
    }

    /// A folder that looks finished must be finished.
    pub fn assert_honest(&self, what: &str) {
        if exists(&self.bench.path("emb/run.json")) {
            let mut found = self.bench.tree("emb");
            found.retain(|name, _| !name.starts_with(".partial/"));
            assert!(found == self.whole, "{what}: looks finished and is not");
        }
    }

    pub fn clear(&self) {
        let _ = std::fs::remove_dir_all(self.bench.path("emb"));
    }
}

/// Numbers that depend only on the seed.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 11) % limit.max(1)
    }
}

/// A run over a stream that stalls: everything was sent, but the stream was not closed.
pub struct Stalled {
    pub child: Child,
    stdin: Option<ChildStdin>,
}

impl Stalled {
    /// Sends more.
    pub fn send(&mut self, text: &str) {
        // The run may have ended.
        let _ = self.stdin.as_mut().unwrap().write_all(text.as_bytes());
    }

    /// Lets the stream end.
    pub fn close(&mut self) {
        self.stdin = None;
    }
}

impl Case {
    /// Sends the whole input of a case on standard input, leaves it open, and waits until `records`
    /// records are in the journal.
    pub fn stall(&self, more: &str, records: usize) -> Stalled {
        self.stall_in(&[], more, records)
    }

    /// The same behind these words.
    pub fn stall_in(&self, wrapper: &[&str], more: &str, records: usize) -> Stalled {
        let mut command = self.command(wrapper, more);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(&self.input).unwrap();
        let journal = self.bench.path("emb/.partial/journal");
        loop {
            let bytes = std::fs::read(&journal).unwrap_or_default();
            if read_journal(0, &bytes).count() >= records {
                break;
            }
            assert_eq!(child.try_wait().unwrap(), None, "ended early");
            std::thread::sleep(Duration::from_millis(5));
        }
        let stdin = Some(stdin);
        Stalled { child, stdin }
    }

    /// A run that ended with 1 because no file may grow beyond `blocks` blocks of 512 bytes.
    pub fn starve(&self, blocks: u32, more: &str) -> String {
        let limit = format!("ulimit -f {blocks}; exec \"$@\"");
        let mut command = self.command(&["sh", "-c", &limit, "sh"], more);
        let output = command.output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{text}");
        text
    }

    /// An interrupted run over a stream that finished at least `records` records.
    pub fn interrupt(&self, records: usize) {
        self.clear();
        let mut stalled = self.stall("--out emb", records);
        stalled.child.kill().unwrap();
        stalled.child.wait().unwrap();
    }
}
