//! Checksums of model files that are remembered from run to run.

use crate::bench::Bench;
use crate::common::fixture;
use esm_embed::device::DeviceChoice;
use esm_embed::output::{Existing, OutDtype, Pool, Residues};
use esm_embed::pipeline::{
    self, Caches, ChecksumCache, ComputeOptions, Computing, Inputs, Job, Level, MapOptions, Model,
    OnVarying, Outcome, OutputOptions, Reporter, SequenceOptions, Silent, Stop, Totals,
};
use sha2::{Digest, Sha256};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{BufWriter, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

const SHA256: &str = "5865c261c401fa1905ed09eda511d26e8868e08173e5d79a1cee8b1733ad692e";

/// A checksum that no file has.
const OTHER: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

const NOTE: &str =
    "model: sha256 remembered from an earlier run (`check_model` reads the files again)";

/// Keeps the messages.
#[derive(Default)]
struct Messages(Mutex<Vec<(Level, String)>>);

impl Reporter for Messages {
    fn message(&self, level: Level, text: &str) {
        self.0.lock().unwrap().push((level, text.to_owned()));
    }
    fn start(&self, _: Computing<'_>, _: Totals) {}
    fn advance(&self, _: u64, _: u64) {}
    fn finish(&self) {}
}

fn remembering(checksums: ChecksumCache) -> Caches {
    Caches {
        checksums: Some(checksums),
        ..Caches::default()
    }
}

/// A bench with a model and a FASTA file, where checksums even of small and recent files are
/// remembered.
struct Case {
    bench: Bench,
}

impl Case {
    fn new() -> Case {
        let bench = Bench::new();
        fs::create_dir(bench.path("model")).unwrap();
        for name in ["config.json", "model.safetensors", "vocab.txt"] {
            let to = bench.path("model").join(name);
            fs::copy(fixture("esm2_hd16").join(name), to).unwrap();
        }
        bench.write("a.fasta", ">a\nMKTV\n");
        Case { bench }
    }

    fn remembered(&self) -> ChecksumCache {
        ChecksumCache {
            least_bytes: 10_000,
            least_age: Duration::ZERO,
            ..ChecksumCache::new(self.bench.path("remembered"))
        }
    }

    fn job(&self) -> Job {
        Job {
            inputs: Inputs {
                paths: vec![self.bench.path("a.fasta")],
                ..Inputs::default()
            },
            model: Model {
                asked: "model".into(),
                path: self.bench.path("model"),
                repo: None,
                revision: None,
                contact_regression: None,
                adapter: None,
            },
            output: OutputOptions {
                include: Vec::new(),
                maps: MapOptions::default(),
                folder: self.bench.path("emb"),
                existing: Existing::Replace,
                layers: vec![],
                pools: vec![Pool::Mean],
                stack_layers: false,
                residues: Residues::None,
                dtype: OutDtype::F32,
            },
            sequences: SequenceOptions::default(),
            compute: ComputeOptions {
                device: DeviceChoice::Cpu,
                dtype: None,
                cpu_path: None,
                threads: 1,
                max_tokens: None,
                deterministic: false,
                on_varying: OnVarying::default(),
            },
        }
    }

    /// Runs; returns the SHA-256 of the weights in `run.json`, and whether it was remembered.
    fn run(&self, remembered: ChecksumCache) -> (String, bool) {
        let messages = Messages::default();
        let caches = remembering(remembered);
        let outcome = pipeline::run(&self.job(), &caches, &messages, &Stop::default()).unwrap();
        let one = Outcome {
            records: 1,
            skipped: 0,
        };
        assert_eq!(outcome, one);
        let messages = messages.0.into_inner().unwrap();
        let note = messages.contains(&(Level::Info, NOTE.into()));
        let read = (
            Level::Detail,
            "model: sha256 computed from its files".into(),
        );
        assert_ne!(note, messages.contains(&read), "{messages:?}");
        let name = self.bench.recorded("emb", "/resolved/model/files/1/name");
        assert_eq!(name, "model.safetensors");
        let sha256 = self.bench.recorded("emb", "/resolved/model/files/1/sha256");
        (sha256.as_str().unwrap().to_owned(), note)
    }

    /// Puts another checksum into every entry, which stays valid: a run that reports it did not read the
    /// file.
    fn poison(&self) {
        for name in self.bench.names("remembered") {
            let path = self.bench.path("remembered").join(name);
            let text = fs::read_to_string(&path).unwrap();
            let (text, _) = text.split_once("entry ").unwrap();
            let text = text.replace(SHA256, OTHER);
            let own = Sha256::digest(text.as_bytes());
            let own: String = own.iter().map(|b| format!("{b:02x}")).collect();
            fs::write(&path, format!("{text}entry {own}\n")).unwrap();
        }
    }
}

#[test]
fn a_checksum_is_reused_until_the_file_changes() {
    let case = Case::new();
    let weights = case.bench.path("model/model.safetensors");
    let read = (SHA256.to_owned(), false);
    let found = (OTHER.to_owned(), true);

    assert_eq!(case.run(case.remembered()), read);
    let first = case.bench.text("emb/run.json");
    assert_eq!(case.run(case.remembered()), (SHA256.to_owned(), true));
    assert_eq!(case.bench.text("emb/run.json"), first);
    case.poison();
    assert_eq!(case.run(case.remembered()), found);
    // The same file under another name.
    let elsewhere = case.bench.path("elsewhere");
    fs::rename(case.bench.path("model"), &elsewhere).unwrap();
    fs::rename(&elsewhere, case.bench.path("model")).unwrap();
    assert_eq!(case.run(case.remembered()), found);

    // Read on request, and remembered again.
    let again = ChecksumCache {
        again: true,
        ..case.remembered()
    };
    assert_eq!(case.run(again), read);
    assert_eq!(case.run(case.remembered()), (SHA256.to_owned(), true));

    let changes: [&dyn Fn(); 4] = [
        &|| fs::set_permissions(&weights, Permissions::from_mode(0o640)).unwrap(),
        &|| {
            let file = OpenOptions::new().write(true).open(&weights).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        },
        // Written in place, with the modification time set back.
        &|| {
            let modified = weights.metadata().unwrap().modified().unwrap();
            fs::write(&weights, fs::read(&weights).unwrap()).unwrap();
            let file = OpenOptions::new().write(true).open(&weights).unwrap();
            file.set_modified(modified).unwrap();
        },
        // Replaced by a copy.
        &|| {
            fs::copy(&weights, &elsewhere).unwrap();
            fs::rename(&elsewhere, &weights).unwrap();
        },
    ];
    for (i, change) in changes.iter().enumerate() {
        case.poison();
        assert_eq!(case.run(case.remembered()), found, "{i}");
        change();
        assert_eq!(case.run(case.remembered()), read, "{i}");
    }
}

#[test]
fn recent_and_small_files_are_not_remembered() {
    let case = Case::new();
    let read = (SHA256.to_owned(), false);
    let young = ChecksumCache {
        least_age: Duration::from_secs(3600),
        ..case.remembered()
    };
    let small = ChecksumCache {
        least_bytes: 64 << 20,
        ..case.remembered()
    };
    for remembered in [young, small] {
        for _ in 0..2 {
            assert_eq!(case.run(remembered.clone()), read);
        }
    }
    pipeline::run(&case.job(), &Caches::default(), &Silent, &Stop::default()).unwrap();
    assert!(!case.bench.path("remembered").exists());
}

#[test]
fn without_a_writable_cache_files_are_read() {
    let case = Case::new();
    case.bench.write("remembered", "a file");
    for _ in 0..2 {
        assert_eq!(case.run(case.remembered()), (SHA256.to_owned(), false));
    }
    assert_eq!(case.bench.text("remembered"), "a file");
}

/// `--resume` compares the remembered checksum too, and refuses a different one.
#[test]
fn a_finished_run_is_compared_by_remembered_checksum() {
    let case = Case::new();
    assert_eq!(case.run(case.remembered()).0, SHA256);
    let mut job = case.job();
    job.output.existing = Existing::Resume;
    let caches = remembering(case.remembered());
    let messages = Messages::default();
    pipeline::run(&job, &caches, &messages, &Stop::default()).unwrap();
    let messages = messages.0.into_inner().unwrap();
    assert!(
        messages.contains(&(Level::Info, NOTE.into())),
        "{messages:?}"
    );
    case.poison();
    let error = pipeline::run(&job, &caches, &Silent, &Stop::default()).unwrap_err();
    let says = format!("bytes with SHA-256 {SHA256} and is ");
    assert!(error.to_string().contains(&says), "{error}");
    assert!(error.to_string().contains(OTHER), "{error}");
}

/// Touches the weights once they are loaded.
struct Touching<'a>(&'a Path);

impl Reporter for Touching<'_> {
    fn message(&self, _: Level, text: &str) {
        if text.starts_with("loaded ") {
            let file = OpenOptions::new().write(true).open(self.0).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        }
    }
    fn start(&self, _: Computing<'_>, _: Totals) {}
    fn advance(&self, _: u64, _: u64) {}
    fn finish(&self) {}
}

/// A model that changes during a run ends it, however much input there is.
#[test]
fn a_model_that_changes_ends_the_run_at_once() {
    use rustix::fs::{CWD, Mode, mkfifoat};
    let case = Case::new();
    let pipe = case.bench.path("pipe");
    mkfifoat(CWD, &pipe, Mode::RUSR | Mode::WUSR).unwrap();
    let mut job = case.job();
    job.inputs.paths = vec![pipe.clone()];
    let weights = case.bench.path("model/model.safetensors");
    // The writer can begin and end even if the run never opens the pipe.
    let both_ends = File::options().read(true).write(true).open(&pipe).unwrap();
    let writer = std::thread::spawn(move || {
        let mut pipe = BufWriter::new(File::options().write(true).open(pipe).unwrap());
        (0..5_000_000).try_for_each(|i| writeln!(pipe, ">{i}\nMKTV"))
    });
    let touching = Touching(&weights);
    let error = pipeline::run(&job, &Caches::default(), &touching, &Stop::default()).unwrap_err();
    let says =
        "model.safetensors: changed while it was read\nhint: wait until nothing writes to it";
    assert!(error.to_string().contains(says), "{error}");
    drop(both_ends);
    let end = writer.join().unwrap().unwrap_err();
    assert_eq!(end.kind(), ErrorKind::BrokenPipe);
}
