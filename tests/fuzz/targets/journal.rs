//! Files that a run leaves behind and a later one reads: the journal, `begun.json`, `run.json` and the
//! tables. Whatever they contain, a resumed run ends with the files of an undisturbed one, or is
//! refused.
//!
//! The first byte of an input chooses the file that the rest replaces.

#![no_main]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use esm_embed::output::{
    Existing, OutputError, Residues, RunIdentity, SLOT_BYTES, Shards, State, Target, inspect,
    merge, read_journal,
};
use esm_embed::run_record::{Asked, Resolved};
use esm_embed_fuzz::work::{self, RECORDS, Tree};
use esm_embed_fuzz::{memory, message, scratch};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

const MOST_MEMORY: usize = 32 << 20;

/// The runs that inputs are inserted into, with packed residues and with residue files.
struct Runs {
    finished: [Tree; 2],
    interrupted: [Tree; 2],
    shards: [Tree; 2],
}

const KINDS: [Residues; 2] = [Residues::Packed, Residues::Files];

/// The parent of all folders that are written. It also holds somebody else's file.
fn home() -> PathBuf {
    scratch().join("home")
}

fn runs() -> &'static Runs {
    static RUNS: OnceLock<Runs> = OnceLock::new();
    RUNS.get_or_init(|| {
        fs::create_dir_all(home()).unwrap();
        fs::write(home().join("theirs"), "theirs").unwrap();
        let dir = home().join("emb");
        Runs {
            finished: KINDS.map(|kind| work::finished(&dir, kind)),
            interrupted: KINDS.map(|kind| work::interrupted(&dir, kind)),
            shards: KINDS.map(|kind| work::shards(&dir, kind)),
        }
    })
}

/// Resumes the run in `dir`, as `--resume` does.
fn resume(dir: &Path, kind: usize) {
    let layout = work::layout(KINDS[kind]);
    let result = Target::examine(dir, &layout, Existing::Resume).and_then(|target| {
        match target.state() {
            State::Interrupted(_) => {
                let mut folder = target.resume()?;
                assert!(folder.parts().journal.count()? <= folder.parts().journal.before());
                work::resume_work(&mut folder, &RECORDS)?;
                folder.finish(Asked::default(), Resolved::default())?;
                assert_eq!(work::tree(dir), runs().finished[kind]);
            }
            State::Sealed(_) | State::Complete(_) => {
                target.complete()?;
                assert!(!dir.join(".partial").exists());
            }
            State::Fresh => {}
        }
        Ok(())
    });
    match result {
        Ok(()) => {}
        Err(OutputError::OtherInput) => assert!(!dir.join("run.json").exists()),
        Err(error) => message::check(&error),
    }
}

fn look(dir: &Path) {
    match inspect(dir, true) {
        Ok(report) => report.problems.iter().for_each(message::check),
        Err(error) => message::check(&error),
    }
}

/// Enters size and checksum of a changed file into the `run.json` beside it.
fn seal(files: &mut Tree, name: &str, bytes: &[u8]) {
    let run = Path::new(name).with_file_name("run.json");
    let file = Path::new(name).file_name().unwrap().to_str().unwrap();
    let Ok(mut manifest) = serde_json::from_slice::<Value>(&files[&run]) else {
        return;
    };
    for entry in manifest["files"].as_array_mut().into_iter().flatten() {
        if entry["name"] == file {
            entry["bytes"] = json!(bytes.len());
            entry["sha256"] = json!(esm_embed_fuzz::sha256(bytes));
        }
    }
    files.insert(run, manifest.to_string().into_bytes());
    files.insert(name.into(), bytes.to_vec());
}

fn check(tag: u8, rest: &[u8]) {
    let dir = home().join("emb");
    let kind = usize::from(tag.is_ascii_lowercase());
    let with = |trees: &[Tree; 2], name: &str| {
        let mut files = trees[kind].clone();
        files.insert(name.into(), rest.to_vec());
        work::put(&dir, &files);
    };
    match tag.to_ascii_uppercase() {
        b'J' => {
            for (row, done) in read_journal(3, rest) {
                let slot = row as usize - 3;
                assert_eq!(done.to_slot(row), rest[slot * SLOT_BYTES..][..SLOT_BYTES]);
            }
            with(&runs().interrupted, ".partial/journal");
            resume(&dir, kind);
        }
        b'E' => {
            let mut files = runs().interrupted[kind].clone();
            let mut journal = files.remove(Path::new(".partial/journal")).unwrap();
            let names = |path: &Path| path.extension().is_some_and(|extension| extension == "npy");
            let mut rows: Vec<_> = files
                .iter_mut()
                .filter_map(|(path, bytes)| names(path).then_some(bytes))
                .collect();
            work::edit(&mut journal, &mut rows, rest);
            files.insert(".partial/journal".into(), journal);
            work::put(&dir, &files);
            resume(&dir, kind);
        }
        b'B' => {
            if let Err(what) = RunIdentity::parse(rest) {
                assert!(!what.is_empty());
            }
            with(&runs().interrupted, ".partial/begun.json");
            resume(&dir, kind);
        }
        b'S' => {
            // Sealed: nothing has been moved into place yet.
            let finished = &runs().finished[kind];
            let mut files: Tree = finished
                .iter()
                .map(|(path, bytes)| (Path::new(".partial").join(path), bytes.clone()))
                .collect();
            files.insert(".partial/run.json".into(), rest.to_vec());
            work::put(&dir, &files);
            resume(&dir, kind);
            look(&dir);
        }
        b'R' => {
            with(&runs().finished, "run.json");
            look(&dir);
            let layout = work::layout(KINDS[kind]);
            if let Err(error) = Target::examine(&dir, &layout, Existing::Replace) {
                message::check(&error);
            }
        }
        b'I' => {
            let mut files = runs().finished[kind].clone();
            seal(&mut files, "index.tsv", rest);
            work::put(&dir, &files);
            look(&dir);
        }
        b'L' => {
            let mut files = runs().finished[1].clone();
            seal(&mut files, "residues.layer1.sha256", rest);
            work::put(&dir, &files);
            look(&dir);
        }
        table @ (b'T' | b'X' | b'N') => {
            let mut files = runs().shards[kind].clone();
            match table {
                b'T' => seal(&mut files, "1/shard.tsv", rest),
                b'X' => seal(&mut files, "1/index.tsv", rest),
                _ => drop(files.insert("1/run.json".into(), rest.to_vec())),
            }
            work::put(&dir, &files);
            let out = dir.join("out");
            match merge(
                &[dir.join("2"), dir.join("1")],
                &out,
                Shards::Keep,
                false,
                1,
            ) {
                Ok(_) => assert!(inspect(&out, true).unwrap().is_sound()),
                Err(error) => {
                    message::check(&error);
                    assert!(!out.join("run.json").exists());
                }
            }
        }
        _ => return,
    }
    let mut names: Vec<_> = fs::read_dir(home())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["emb", "theirs"]);
    assert_eq!(fs::read(home().join("theirs")).unwrap(), b"theirs");
}

fuzz_target!(|data: &[u8]| {
    let Some((tag, rest)) = data.split_first() else {
        return;
    };
    runs();
    memory::bounded(MOST_MEMORY, || check(*tag, rest));
});
