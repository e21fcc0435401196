//! Planning that is killed or fails, plans that are damaged or incomplete, and shards of a plan that are
//! killed.

use crate::bench::*;
use crate::case::*;
use crate::injected::{assert_resumed_after_kills, few_records};
use crate::tools;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};

/// `plan in.fasta --shards 3 --out plan` behind these words.
fn plan(bench: &Bench, wrapper: &[&str], more: &str) -> Output {
    let mut words: Vec<String> = wrapper.iter().map(|word| word.to_string()).collect();
    words.push(env!("CARGO_BIN_EXE_esm-embed").to_owned());
    let line = format!("plan in.fasta --shards 3 --out plan -q {more}");
    words.extend(line.split_whitespace().map(str::to_owned));
    let mut command = Command::new(&words[0]);
    command
        .args(&words[1..])
        .current_dir(bench.path("."))
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.output().unwrap()
}

fn planned(bench: &Bench, more: &str) -> Tree {
    let output = plan(bench, &[], more);
    assert!(output.status.success(), "{output:?}");
    bench.tree("plan")
}

fn inject(bench: &Bench, call: &str, what: &str, number: u32, more: &str) -> Output {
    tools::with_fault(call, what, number, |strace| plan(bench, strace, more))
}

/// Two files, one of which is written again.
fn bench() -> Bench {
    let bench = Bench::in_memory();
    bench.write("in.fasta", gzip(records(14).as_bytes()));
    bench
}

/// Whatever looks like a plan is one: the new one or, before it is replaced, the old one.
fn assert_honest(bench: &Bench, wholes: &[&Tree], what: &str) {
    if exists(&bench.path("plan/plan.json")) {
        let mut found = bench.tree("plan");
        found.retain(|name, _| !name.starts_with(".partial"));
        assert!(
            wholes.contains(&&found),
            "{what}: looks like a plan and is not one"
        );
    }
}

/// The next call makes the plan. Unfinished work needs no force, and a finished plan is refused.
fn assert_planned_again(bench: &Bench, whole: &Tree, what: &str) {
    let force = if exists(&bench.path("plan/plan.json")) {
        "--force"
    } else {
        ""
    };
    let found = planned(bench, &format!("--rewrite {force}"));
    assert!(found == *whole, "{what}");
}

#[test]
fn planning_killed_at_each_call() {
    if !tools::has_strace() {
        return;
    }
    let bench = bench();
    let whole = planned(&bench, "--rewrite");
    assert!(whole.contains_key("input-1.fasta"));
    for (call, least) in [
        ("write", 4),
        ("openat", 10),
        ("rename", 4),
        ("unlink", 3),
        ("mkdir", 2),
        ("fsync", 5),
    ] {
        for number in 1.. {
            let _ = fs::remove_dir_all(bench.path("plan"));
            let what = format!("killed at {call} number {number}");
            let killed = inject(&bench, call, "signal=SIGKILL", number, "--rewrite");
            if killed.status.success() {
                assert!(number > least, "{call}: only {number}");
                break;
            }
            assert_eq!(killed.status.signal(), Some(9), "{what}: {killed:?}");
            assert_honest(&bench, &[&whole], &what);
            assert_planned_again(&bench, &whole, &what);
        }
    }
}

#[test]
fn killed_at_each_call_while_another_plan_is_replaced() {
    if !tools::has_strace() {
        return;
    }
    let bench = bench();
    let whole = planned(&bench, "--rewrite");
    let other = planned(&bench, "--rewrite --force --long truncate:9");
    assert!(whole != other);
    for (call, least) in [("rename", 5), ("unlink", 5), ("fsync", 5)] {
        for number in 1.. {
            let _ = fs::remove_dir_all(bench.path("plan"));
            assert!(planned(&bench, "--rewrite --long truncate:9") == other);
            let what = format!("killed at {call} number {number}");
            let killed = inject(&bench, call, "signal=SIGKILL", number, "--rewrite --force");
            assert_honest(&bench, &[&whole, &other], &what);
            if killed.status.success() {
                assert!(number > least, "{call}: only {number}");
                break;
            }
            assert!(planned(&bench, "--rewrite --force") == whole, "{what}");
        }
    }
}

#[test]
fn planning_failed_at_each_call() {
    if !tools::has_strace() {
        return;
    }
    let bench = bench();
    let whole = planned(&bench, "--rewrite");
    for (call, error) in [
        ("write", "ENOSPC"),
        ("openat", "ENOSPC"),
        ("fsync", "EIO"),
        ("rename", "EDQUOT"),
    ] {
        let mut failed = 0;
        for number in 1..400 {
            let _ = fs::remove_dir_all(bench.path("plan"));
            let what = format!("{error} at {call} number {number}");
            let output = inject(&bench, call, &format!("error={error}"), number, "--rewrite");
            let text = String::from_utf8_lossy(&output.stderr);
            assert_honest(&bench, &[&whole], &what);
            match output.status.code() {
                // The end of the calls, or one that the program does without.
                Some(0) if bench.tree("plan") == whole && number > 60 => break,
                Some(0) => continue,
                // The loader cannot open a library.
                Some(127) if call == "openat" => continue,
                Some(1) => {}
                other => panic!("{what}: {other:?}: {text}"),
            }
            failed += 1;
            assert!(text.starts_with("error: "), "{what}: {text}");
            assert_eq!(messages(&text), 1, "{what}: {text}");
            assert!(text.contains("(os error "), "{what}: {text}");
            assert_planned_again(&bench, &whole, &what);
        }
        assert!(failed > 2, "{call} {error}: only {failed}");
    }
}

/// A limit on file sizes, as a full disk: the error says what could not be written.
#[test]
fn no_space_for_a_plan() {
    let bench = Bench::in_memory();
    let text = records(1000);
    for (input, more, error) in [
        (
            text.clone().into_bytes(),
            "",
            "error: plan: the temporary files of the plan: File too large",
        ),
        (
            gzip(text.as_bytes()),
            "--rewrite",
            "error: in.fasta: the copy of it cannot be written: File too large",
        ),
    ] {
        let _ = fs::remove_dir_all(bench.path("plan"));
        bench.write("in.fasta", input);
        let whole = planned(&bench, more);
        fs::remove_dir_all(bench.path("plan")).unwrap();
        let output = plan(
            &bench,
            &["sh", "-c", "ulimit -f 8; exec \"$@\"", "sh"],
            more,
        );
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.starts_with(error), "{text}");
        assert!(!exists(&bench.path("plan/plan.json")));
        assert!(planned(&bench, more) == whole);
    }
}

/// Plans into a small file system, and lists what is left there in `left`.
const IN_LITTLE_SPACE: &str = r#"
mkdir -p plan
mount -t tmpfs -o size=64k tmpfs plan
code=0
"$@" || code=$?
ls -A plan > left
exit $code
"#;

#[test]
fn a_plan_that_does_not_fit_is_refused_before_anything_is_written() {
    if !tools::can_mount() {
        tools::skip("a file system to mount");
        return;
    }
    let bench = Bench::in_memory();
    let text = records(3000);
    let end = ", but only 65.5 kB are free there\n  hint: choose another folder with --out\n";
    let convert =
        "  hint: convert the files to bgzip, which needs no copies: `gzip -dc FILE | bgzip`\n";
    for (input, more, start, hint) in [
        (
            text.clone().into_bytes(),
            "",
            "error: plan: the plan needs about ",
            "",
        ),
        (
            gzip(text.as_bytes()),
            "--rewrite",
            "error: plan: the plan with its decompressed files needs about ",
            convert,
        ),
    ] {
        bench.write("in.fasta", input);
        let wrapper = ["unshare", "-rm", "sh", "-c", IN_LITTLE_SPACE, "sh"];
        let output = plan(&bench, &wrapper, more);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.starts_with(start), "{said}");
        assert!(said.ends_with(&format!("{end}{hint}")), "{said}");
        assert_eq!(bench.text("left"), "");
        // It is as large as predicted, roughly.
        let whole = planned(&bench, more);
        let bytes: usize = whole.values().map(Vec::len).sum();
        assert!(bytes > 64 << 10, "{bytes}");
        fs::remove_dir_all(bench.path("plan")).unwrap();
    }
}

/// The work of an interrupted run is not that of a plan.
#[test]
fn the_work_of_a_run_is_not_discarded() {
    let case = Case::bare("in.fasta --max-tokens 16", &records(120));
    case.starve(200, "--out emb");
    let work = case.bench.tree("emb");
    for force in ["", "--force"] {
        let ended = case
            .bench
            .call(&format!("plan in.fasta --shards 2 --out emb -q {force}"));
        assert_eq!(ended.code, 1, "{}", ended.err);
        assert!(case.bench.tree("emb") == work);
    }
}

#[test]
fn a_shard_of_a_plan_killed_at_each_call() {
    if !tools::has_strace() {
        return;
    }
    let options = "--plan plan --shard 2/3 --pool mean --residues packed --max-tokens 40";
    let mut case = Case::bare(options, &few_records());
    planned(&case.bench, "");
    assert_eq!(case.run("--out whole").code, 0);
    case.whole = case.bench.tree("whole");
    let calls = [
        ("write", 1),
        ("pwrite64", 4),
        ("fsync", 5),
        ("rename", 5),
        ("openat", 20),
        ("unlink", 5),
    ];
    assert_resumed_after_kills(&case, &calls);
}

/// Shards of a plan that are killed at random moments and resumed merge to the bytes of one run.
#[test]
fn killed_shards_of_a_plan_merge_to_the_bytes_of_a_single_run() {
    let text = format!("{}>odd\nmkj*\n>last\nMKT\n", records(120));
    let options = "--layer 0,2 --pool mean,bos,max --max-tokens 64";
    let whole = Case::new(&format!("in.fasta {options}"), &text);
    planned(&whole.bench, "");
    let mut random = Random(0x5eed_0023);
    for i in 1..=3 {
        let line = format!("--plan plan --shard {i}/3 {options} --model ./model --threads 1 -q");
        let command = || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_esm-embed"));
            command.arg("run").args(line.split(' '));
            command.args(["--out", &format!("s{i}"), "--resume"]);
            command.current_dir(whole.bench.path(".")).env_clear();
            command.stderr(std::process::Stdio::null());
            command
        };
        for _ in 0..4 {
            let mut child = command().spawn().unwrap();
            std::thread::sleep(std::time::Duration::from_micros(random.below(60_000)));
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert!(command().status().unwrap().success());
    }
    let merged = whole.bench.call("merge s1 s2 s3 --out merged -q");
    assert_eq!(merged.code, 0, "{}", merged.err);
    assert!(whole.bench.tree("merged") == whole.whole);
}

#[test]
fn two_tasks_do_not_embed_one_shard_at_the_same_time() {
    let case = Case::bare("--plan plan --shard 2/3", &few_records());
    planned(&case.bench, "");
    fs::create_dir_all(case.bench.path("emb/.partial")).unwrap();
    let lock = fs::File::create(case.bench.path("emb/.partial/lock")).unwrap();
    lock.lock().unwrap();
    let ended = case.run("--out emb --resume");
    assert_eq!(ended.code, 1);
    assert!(
        ended.err.contains("another run is writing"),
        "{}",
        ended.err
    );
    drop(lock);
    assert_eq!(case.run("--out emb --resume").code, 0);
    // Nor do two plans go to one folder.
    fs::create_dir_all(case.bench.path("plan/.partial")).unwrap();
    let lock = fs::File::create(case.bench.path("plan/.partial/lock")).unwrap();
    lock.lock().unwrap();
    let busy = plan(&case.bench, &[], "--force");
    let text = String::from_utf8_lossy(&busy.stderr);
    let error = "error: plan: another process is making a plan there\n";
    assert!(text.starts_with(error), "{text}");
}

#[test]
fn a_damaged_or_incomplete_plan_is_refused() {
    let case = Case::bare("--plan plan --shard 2/3 --residues none", &records(30));
    let whole = planned(&case.bench, "");
    let run = || {
        case.clear();
        let ended = case.run("--out emb");
        assert!(!exists(&case.bench.path("emb/run.json")) || ended.code == 0);
        ended
    };
    let refused = |what: &str, error: &str| {
        let ended = run();
        assert_eq!(ended.code, 1, "{what}");
        assert!(ended.err.starts_with(error), "{what}: {}", ended.err);
    };
    assert_eq!(run().code, 0);
    let good = case.bench.tree("emb");
    let restore = |name: &str| case.bench.write(&format!("plan/{name}"), &whole[name]);
    // The part of the second shard.
    let table = String::from_utf8(whole["shards.tsv"].clone()).unwrap();
    let fields: Vec<usize> = rows(&table)[1][9..11]
        .iter()
        .map(|n| n.parse().unwrap())
        .collect();
    let own = fields[0]..fields[0] + fields[1];
    for at in (0..whole["index"].len()).step_by(5) {
        let mut bytes = whole["index"].clone();
        bytes[at] ^= 1 << (at % 8);
        case.bench.write("plan/index", bytes);
        if own.contains(&at) {
            refused(&format!("byte {at}"), "error: plan/index: ");
        } else {
            assert_eq!(run().code, 0, "byte {at} is of another shard");
            assert!(case.bench.tree("emb") == good);
        }
    }
    for length in [0, 1, own.start, own.end - 1, whole["index"].len() - 1] {
        case.bench.write("plan/index", &whole["index"][..length]);
        refused(&format!("{length} bytes"), "error: plan/index: has ");
    }
    restore("index");
    for name in ["shards.tsv", "plan.json"] {
        for at in (0..whole[name].len()).step_by(11) {
            let mut bytes = whole[name].clone();
            bytes[at] ^= 1;
            case.bench.write(&format!("plan/{name}"), bytes);
            let ended = run();
            if ended.code == 0 {
                // Only in plan.json: a path, a time or a number that no record depends on.
                assert_eq!(name, "plan.json");
                assert_eq!(
                    case.bench.bytes("emb/mean.layer2.npy"),
                    good["mean.layer2.npy"]
                );
            } else {
                assert!(
                    ended.err.starts_with("error: "),
                    "{name} {at}: {}",
                    ended.err
                );
            }
        }
        restore(name);
    }
    for name in ["index", "shards.tsv"] {
        fs::remove_file(case.bench.path(&format!("plan/{name}"))).unwrap();
        let ended = run();
        assert!(
            ended.err.contains(&format!("plan/{name} failed: ")),
            "{}",
            ended.err
        );
        restore(name);
    }
    fs::remove_file(case.bench.path("plan/plan.json")).unwrap();
    let error = "error: plan: is not a plan: it has no plan.json\n  \
                 hint: give the folder that `esm-embed plan` wrote\n";
    refused("no plan.json", error);
    fs::create_dir(case.bench.path("plan/.partial")).unwrap();
    refused(
        "unfinished",
        "error: plan: is not a plan: it has no plan.json, only the unfinished work",
    );
    // The index of another plan of the same input.
    fs::remove_dir_all(case.bench.path("plan")).unwrap();
    planned(&case.bench, "");
    let own = case.bench.bytes("plan/index");
    planned(&case.bench, "--force --gaps drop --long truncate:20");
    case.bench.write("plan/index", &own);
    let line = case
        .line
        .replace("-q", "-q --gaps drop --long truncate:20 --out emb");
    case.clear();
    let ended = case.bench.run(&line);
    assert!(
        ended.err.starts_with("error: plan/index: "),
        "{}",
        ended.err
    );
}
