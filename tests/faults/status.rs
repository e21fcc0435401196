//! What `status` says of runs that are killed, fail, or run beside each other.

use crate::case::*;
use serde_json::Value;
use std::fs::File;
use std::process::Child;
use std::time::{Duration, Instant, SystemTime};

const STREAM: &str = "- --pool mean --residues packed --max-tokens 16";

fn status(case: &Case) -> Value {
    let ended = case.bench.call("status emb --json");
    assert_eq!(ended.err, "");
    serde_json::from_str(&ended.out).unwrap()
}

/// State, message and records of the only folder.
fn seen(case: &Case) -> (String, String, u64) {
    let found = status(case);
    let one = &found["shards"][0];
    let text = |name: &str| one[name].as_str().unwrap_or_default().to_owned();
    (
        text("state"),
        text("detail"),
        one["records"].as_u64().unwrap(),
    )
}

fn kill(child: &mut Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

const KILLED: &str = "it ended without a message: it was killed, or its machine failed";

#[test]
fn killed_at_any_moment_a_shard_is_never_called_done_or_running() {
    let mut random = Random(0x5eed_0223);
    let case = Case::new("in.fasta --max-tokens 64 --shard 1/2", &records(120));
    let begin = Instant::now();
    assert_eq!(case.run("--out emb --resume").code, 0);
    let whole = begin.elapsed().as_micros() as u64;
    let mut stopped = 0;
    for _ in 0..12 {
        case.clear();
        let mut child = case.command(&[], "--out emb --resume").spawn().unwrap();
        std::thread::sleep(Duration::from_micros(random.below(whole)));
        let before = seen(&case).0;
        assert!(
            ["missing", "running", "done", "stopped"].contains(&before.as_str()),
            "{before}"
        );
        kill(&mut child);
        let is_done = case.bench.path("emb/run.json").exists();
        let (state, detail, _) = seen(&case);
        match state.as_str() {
            "done" => assert!(is_done),
            "missing" => assert!(!is_done && !case.bench.path("emb/.partial/begun.json").exists()),
            state => {
                assert_eq!((state, &*detail), ("stopped", KILLED));
                assert!(!is_done);
                let found = status(&case);
                let next = found["next"].as_str().unwrap_or_default();
                assert!(
                    next.is_empty() || next.ends_with("--out emb --resume"),
                    "{next}"
                );
                stopped += 1;
            }
        }
        case.go_on("after a look");
        assert_eq!(seen(&case).0, "done");
    }
    assert!(stopped > 0);
}

#[test]
fn the_times_of_files_do_not_matter_where_the_lock_is_seen() {
    let case = Case::new(STREAM, &records(40));
    let mut stalled = case.stall("--out emb", 20);
    let file = case.bench.path("emb/.partial/status.json");
    let touch = |time: SystemTime| {
        let file = File::options().write(true).open(&file).unwrap();
        file.set_modified(time).unwrap();
    };
    let day = Duration::from_secs(86_400);
    let times = [SystemTime::now() - day, SystemTime::now() + day];
    for time in times {
        touch(time);
        let (state, detail, _) = seen(&case);
        assert_eq!((&*state, &*detail), ("running", ""));
    }
    kill(&mut stalled.child);
    for time in times.into_iter().chain([SystemTime::now()]) {
        touch(time);
        let (state, detail, _) = seen(&case);
        assert_eq!((&*state, &*detail), ("stopped", KILLED));
    }
    // The same work as another machine left it, of which no lock is seen.
    let text = std::fs::read_to_string(&file).unwrap();
    let mut of_other: Value = serde_json::from_str(&text).unwrap();
    of_other["host"] = "node7".into();
    std::fs::write(&file, of_other.to_string()).unwrap();
    let (state, detail, _) = seen(&case);
    assert_eq!(state, "running");
    assert!(
        detail.starts_with("its last sign of life came from node7 "),
        "{detail}"
    );
    for (time, what) in times.into_iter().zip([
        "no sign of life from node7 for 24 hours, by the clocks of node7 and of this machine",
        "its lock is free; when it was last alive is unknown, because the clocks of node7 and of this \
         machine differ",
    ]) {
        touch(time);
        let (state, detail, _) = seen(&case);
        assert_eq!((&*state, &*detail), ("stopped", what));
    }
    case.go_on("after all that");
}

#[test]
fn of_two_tasks_for_one_shard_the_second_is_refused_and_leaves_no_trace() {
    let case = Case::new(STREAM, &records(40));
    let mut stalled = case.stall("--out emb", 20);
    let before = case.bench.bytes("emb/.partial/status.json");
    for more in ["--out emb --resume", "--out emb --force", "--out emb"] {
        let ended = case.run(more);
        assert_eq!(ended.code, 1, "{more}: {}", ended.err);
    }
    assert_eq!(seen(&case).0, "running");
    // The first beat comes after five seconds.
    let after = case.bench.bytes("emb/.partial/status.json");
    let process = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap()["process"].clone();
    assert_eq!(process(&before), process(&after));
    stalled.close();
    assert!(stalled.child.wait().unwrap().success());
    assert_eq!(seen(&case).0, "done");
    case.assert_whole("two tasks");
}

#[test]
fn a_stop_and_a_failure_are_told_until_the_run_is_resumed() {
    let case = Case::new(STREAM, &records(40));
    let mut stalled = case.stall("--out emb", 20);
    crate::bench::kill(&stalled.child, "TERM");
    assert_eq!(stalled.child.wait().unwrap().code(), Some(143));
    let (state, detail, records_done) = seen(&case);
    assert_eq!(state, "stopped");
    assert!(detail.starts_with("stopped by SIGTERM; "), "{detail}");
    assert!(records_done >= 20, "{records_done}");
    case.go_on("stopped");

    let case = Case::new("in.fasta --max-tokens 16", &records(120));
    let text = case.starve(200, "--out emb");
    let (state, detail, _) = seen(&case);
    assert_eq!(state, "failed");
    let first = detail.lines().next().unwrap();
    assert!(
        text.starts_with(&format!("error: {first}")),
        "{text}: {detail}"
    );
    let ended = case.bench.call("status emb");
    assert_eq!(ended.code, 1);
    assert!(ended.out.contains(&format!("  {first}\n")), "{}", ended.out);
    assert!(ended.out.contains("\nnext: "), "{}", ended.out);
    case.go_on("failed");
    assert_eq!(seen(&case).0, "done");
}

#[test]
fn ten_thousand_folders() {
    let case = Case::new(
        "in.fasta --pool mean --residues none --shard 1/10000",
        &records(1),
    );
    let text = String::from_utf8(case.whole["run.json"].clone()).unwrap();
    for number in 1..=10_000 {
        let dir = case.bench.path(&format!("shards/{number:05}"));
        std::fs::create_dir_all(&dir).unwrap();
        let own = text.replacen("\"number\": 1,", &format!("\"number\": {number},"), 1);
        if number != 4711 {
            std::fs::write(dir.join("run.json"), own).unwrap();
        }
    }
    let ended = case.bench.call("status shards --json");
    let found: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!((ended.code, &found["states"]["done"]), (0, &9999.into()));
    assert_eq!(found["states"]["missing"], 1);
    assert_eq!(found["again"], "4711");
    let ended = case.bench.call("status shards");
    assert_eq!(ended.out.lines().count(), 9999 + 3);
}
