//! Inputs far larger than memory: the memory used does not grow with them. `benches/giants.py` has the
//! same kinds at full size.

use crate::bench::*;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::fs::read_to_string;
use std::io::Write;
use std::process::{Child, Command, Stdio};

/// The largest peak memory that any of these runs may have.
const MOST_KIB: u64 = 96 << 10;
/// Bytes of the giants: more than the memory limit.
const GIANT: usize = 300 << 20;

/// A run over standard input.
struct Fed {
    bench: Bench,
    child: Child,
}

impl Fed {
    fn new(options: &str) -> Fed {
        let bench = Bench::in_memory();
        let line = format!("run - --model $MODEL --out emb -q --threads 1 {options}");
        let child = Command::new(env!("CARGO_BIN_EXE_esm-embed"))
            .args(line.split_whitespace().map(expand))
            .current_dir(bench.path("."))
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Fed { bench, child }
    }

    /// Sends bytes, unless the run has ended.
    fn send(&mut self, bytes: &[u8]) -> bool {
        self.child.stdin.as_mut().unwrap().write_all(bytes).is_ok()
    }

    /// Sends a byte many times.
    fn send_many(&mut self, byte: u8, count: usize) {
        let block = vec![byte; 1 << 20];
        for _ in 0..count >> 20 {
            if !self.send(&block) {
                break;
            }
        }
    }

    /// Ends the stream and, if it is to be read to its end, checks the memory against the bound.
    fn end(mut self, code: i32) -> (Bench, String) {
        if code != 1 {
            let status = read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
            let peak = status.lines().find_map(|line| {
                let kib = line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?;
                kib.parse::<u64>().ok()
            });
            assert!(peak.unwrap() < MOST_KIB, "{peak:?} KiB");
        }
        drop(self.child.stdin.take());
        let output = self.child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{text}");
        (self.bench, text)
    }
}

const COLUMNS: &str = "row\tid\tlength\tresidue_offset\tflags\tdescription\n";
const TOO_LONG: &str = "the sequence has more than 16,777,216 characters";
const HEADER: &str = "the header has more than 16,777,216 bytes";

/// Only the giant between two records is skipped.
fn assert_one_skipped(bench: &Bench, id: &str, reason: &str) {
    assert_eq!(
        bench.text("emb/index.tsv"),
        format!("{COLUMNS}0\ta\t3\t0\t\t\n1\tb\t3\t3\t\t\n")
    );
    assert_eq!(
        bench.text("emb/skipped.tsv"),
        format!("file\tline\trecord\tid\treason\n-\t3\t2\t{id}\t{reason}\n")
    );
    let plain = Bench::new();
    plain.write("in.fasta", ">a\nMKT\n>b\nMKV\n");
    plain.embed("in.fasta --model $MODEL --out emb");
    for name in ["mean.layer2.npy", "residues.layer2.npy"] {
        let path = format!("emb/{name}");
        assert!(
            std::fs::read(bench.path(&path)).unwrap() == std::fs::read(plain.path(&path)).unwrap()
        );
    }
}

#[test]
fn a_line_larger_than_memory() {
    for (options, code) in [("--on-invalid skip", 3), ("", 1)] {
        let mut fed = Fed::new(options);
        fed.send(b">a\nMKT\n>giant\n");
        fed.send_many(b'A', GIANT);
        fed.send(b"\n>b\nMKV\n");
        let (bench, text) = fed.end(code);
        match code {
            3 => assert_one_skipped(&bench, "giant", TOO_LONG),
            _ => {
                let place = "error: <stdin>, line 4, record 2 (`giant`): ";
                assert!(
                    text.starts_with(&format!("{place}{TOO_LONG}\n  hint: check that")),
                    "{text}"
                );
                assert_eq!(bench.names("emb"), [".partial"]);
            }
        }
    }
}

#[test]
fn a_header_larger_than_memory() {
    for (options, code) in [("--on-invalid skip", 3), ("", 1)] {
        let mut fed = Fed::new(options);
        fed.send(b">a\nMKT\n>");
        fed.send_many(b'h', GIANT);
        fed.send(b"\nMKL\n>b\nMKV\n");
        let (bench, text) = fed.end(code);
        match code {
            3 => assert_one_skipped(&bench, &"h".repeat(1024), HEADER),
            _ => {
                let place = format!("<stdin>, line 3, record 2 (`{}…`): ", "h".repeat(80));
                assert!(
                    text.starts_with(&format!("error: {place}{HEADER}\n  hint: check that")),
                    "{text}"
                );
            }
        }
    }
}

/// 300 MiB in 300 KB of gzip (one member), as the sequence of one record.
#[test]
fn a_gzip_bomb() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(b">a\nMKT\n>giant\n").unwrap();
    let block = vec![b'A'; 1 << 20];
    for _ in 0..GIANT >> 20 {
        encoder.write_all(&block).unwrap();
    }
    encoder.write_all(b"\n>b\nMKV\n").unwrap();
    let bomb = encoder.finish().unwrap();
    assert!(bomb.len() < GIANT / 100);
    let mut fed = Fed::new("--on-invalid skip");
    // All but the last bytes, so that memory is measured once the giant has been read.
    let (most, rest) = bomb.split_at(bomb.len() - 100);
    fed.send(most);
    wait_for_sleep(&fed.child);
    fed.send(rest);
    let (bench, _) = fed.end(3);
    assert_one_skipped(&bench, "giant", TOO_LONG);
    // As a file it is refused before any work.
    bench.write("bomb.gz", &bomb);
    assert_fails(
        &bench,
        "bomb.gz --model $MODEL",
        &format!(
            "bomb.gz, line 4, record 2 (`giant`): {TOO_LONG}\n\
             \x20 hint: check that the file is protein FASTA and that no header lost its `>`\n\
             \x20 hint: cut the sequence\n\
             \x20 hint: use --on-invalid skip to leave such records out and list them in skipped.tsv"
        ),
    );
}

/// Waits until a run has read everything: all its threads sleep.
fn wait_for_sleep(child: &Child) {
    let mut asleep = 0;
    while asleep < 20 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", child.id())).unwrap();
        let sleeps = |task: std::io::Result<std::fs::DirEntry>| {
            let stat = read_to_string(task.unwrap().path().join("stat")).unwrap_or_default();
            stat.rsplit(')')
                .next()
                .is_some_and(|rest| rest.starts_with(" S"))
        };
        asleep = match tasks.into_iter().all(sleeps) {
            true => asleep + 1,
            false => 0,
        };
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

/// Identifiers of one megabyte each, of which thousands may wait for their batch.
#[test]
fn many_one_megabyte_identifiers() {
    let mut fed = Fed::new("--residues none");
    let name = "x".repeat(1_000_000);
    for i in 0..200 {
        fed.send(format!(">{i:06}{name}\nMKT{}\n", sequence(i, 20)).as_bytes());
    }
    let (bench, _) = fed.end(0);
    let index = bench.text("emb/index.tsv");
    let ids = rows(&index);
    assert_eq!(ids.len(), 200);
    assert!(
        ids.iter()
            .enumerate()
            .all(|(i, row)| row[1] == format!("{i:06}{name}"))
    );
    assert_eq!(bench.matrix("emb/mean.layer2.npy").dim(), (200, 32));
}

/// Records of one residue in both layouts: twenty distinct ones and their duplicates.
#[test]
fn many_records_of_one_residue() {
    for (options, count) in [("", 100_000), ("--residues files --pool none", 5_000)] {
        let mut fed = Fed::new(options);
        let letters = b"ACDEFGHIKLMNPQRSTVWY";
        for first in (0..count).step_by(1000) {
            let record = |i: usize| format!(">r{i}\n{}\n", char::from(letters[i % 20]));
            let text: String = (first..first + 1000).map(record).collect();
            fed.send(text.as_bytes());
        }
        let (bench, _) = fed.end(0);
        let index = bench.text("emb/index.tsv");
        let found = rows(&index);
        assert_eq!(found.len(), count);
        for (i, row) in found.iter().enumerate() {
            let same = match i {
                0..20 => String::new(),
                _ => format!("duplicate_of={}", i % 20),
            };
            let expected = [&i.to_string(), &format!("r{i}"), "1", &i.to_string(), &same];
            assert_eq!(row[..5], expected);
        }
        if options.is_empty() {
            let mean = bench.matrix("emb/mean.layer2.npy");
            let residues = bench.matrix("emb/residues.layer2.npy");
            assert_eq!((mean.dim(), residues.dim()), ((count, 32), (count, 32)));
            assert_eq!(bits(&mean, 19..20), bits(&mean, count - 1..count));
            assert_eq!(bits(&residues, 0..20), bits(&residues, count - 20..count));
        } else {
            let list = bench.text("emb/residues.layer2.sha256");
            assert_eq!(list.lines().count(), count);
            assert_eq!(bench.names("emb/residues.layer2").len(), count / 1000);
            let one = |i: usize| format!("emb/residues.layer2/{:06}/r{i}.npy", i / 1000);
            assert_eq!(bench.row(&one(7), 0), bench.row(&one(count - 13), 0));
        }
    }
}
