//! `status`: the progress of the shards of an input.

use crate::bench::{ended as ended_of, *};
use crate::shards::{INPUTS, OPTIONS, bench, embed_shards};
use serde_json::{Value, json};
use std::fs;

fn report(bench: &Bench, dirs: &str) -> (i32, Value) {
    let ended = bench.call(&format!("status {dirs} --json"));
    assert_eq!(ended.err, "");
    (ended.code, serde_json::from_str(&ended.out).unwrap())
}

#[test]
fn of_finished_shards_the_next_step_is_to_merge() {
    let bench = bench();
    embed_shards(&bench, 5, "");
    let (code, found) = report(&bench, "s4of5 s1of5 s2of5 s3of5 s5of5");
    assert_eq!(code, 0);
    let mut sum = (0, 0);
    for (at, shard) in found["shards"].as_array().unwrap().iter().enumerate() {
        let dir = format!("s{}of5", at + 1);
        assert_eq!(shard["folder"], dir);
        assert_eq!((&shard["shard"], &shard["of"]), (&json!(at + 1), &json!(5)));
        assert_eq!(shard["state"], "done");
        assert_eq!(shard["records"], bench.recorded(&dir, "/counts/records"));
        assert_eq!(shard["residues"], bench.recorded(&dir, "/counts/residues"));
        let files = bench.tree(&dir);
        let bytes = files.iter().filter(|(name, _)| *name != "run.json");
        let bytes: usize = bytes.map(|(_, bytes)| bytes.len()).sum();
        assert_eq!(shard["bytes"], bytes);
        sum.0 += shard["records"].as_u64().unwrap();
        sum.1 += shard["residues"].as_u64().unwrap();
    }
    assert_eq!(sum, (10, 500));
    assert_eq!(
        (&found["records"], &found["residues"]),
        (&10.into(), &500.into())
    );
    assert_eq!(found["states"]["done"], 5);
    assert_eq!(found["again"], "");
    assert_eq!(found["next"], "esm-embed merge s*of5/ --out emb/");
    let text = bench.call("status s1of5 s2of5 s3of5 s4of5 s5of5").out;
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 8, "{text}");
    assert!(lines[0].starts_with("1/5  s1of5  done  "), "{text}");
    assert_eq!(lines[5], "5 shards: 5 done");
    assert!(lines[6].starts_with("10 records, 500 residues, "), "{text}");
    assert_eq!(lines[7], "next: esm-embed merge s*of5/ --out emb/");
}

#[test]
fn missing_shards_and_those_that_have_not_begun_are_named() {
    let bench = bench();
    embed_shards(&bench, 5, "");
    for gone in ["s2of5", "s3of5", "s5of5"] {
        fs::remove_dir_all(bench.path(gone)).unwrap();
    }
    // One of them by its folder, which is not there.
    let (code, found) = report(&bench, "s1of5 s4of5 s-3");
    assert_eq!(code, 0);
    assert_eq!(
        found["states"],
        json!({"done": 2, "running": 0, "stopped": 0, "failed": 0, "missing": 3})
    );
    assert_eq!(found["again"], "2-3,5");
    assert_eq!(found["shards"][1]["state"], "missing");
    assert_eq!(found["shards"][1]["shard"], 3);
    let text = bench.call("status s1of5 s4of5 s-3").out;
    assert!(text.contains("5 shards: 2 done, 3 missing\n"), "{text}");
    assert!(text.contains("not done and not running: 2-3,5\n"), "{text}");
    // Of a folder of folders, those that are outputs.
    fs::create_dir_all(bench.path("runs/notes")).unwrap();
    for dir in ["s1of5", "s4of5"] {
        fs::rename(bench.path(dir), bench.path(&format!("runs/{dir}"))).unwrap();
    }
    let (_, found) = report(&bench, "runs");
    assert_eq!(found["shards"].as_array().unwrap().len(), 2);
    assert_eq!(found["shards"][0]["folder"], "runs/s1of5");
    // Nothing at all.
    let (code, found) = report(&bench, "nowhere");
    assert_eq!((code, &found["states"]["missing"]), (0, &json!(1)));
}

#[test]
fn a_failed_shard_leaves_its_error_and_the_command_to_repeat() {
    let bench = bench();
    let ended = bench.run(&format!(
        "a.fasta nothing.fasta --shard 2/3 --out shards/s2 {OPTIONS}"
    ));
    assert_eq!(ended.code, 1);
    let (code, found) = report(&bench, "shards/s2");
    assert_eq!(code, 1);
    let shard = &found["shards"][0];
    assert_eq!(shard["state"], "failed");
    let detail = shard["detail"].as_str().unwrap();
    assert!(
        ended.err.contains(detail.lines().next().unwrap()),
        "{detail}"
    );
    let next = found["next"].as_str().unwrap();
    assert!(
        next.contains(" run a.fasta nothing.fasta --shard 2/3 --out shards/s2 "),
        "{next}"
    );
    assert!(next.ends_with(" --resume"), "{next}");
    let text = bench.call("status shards/s2").out;
    assert!(
        text.contains("failed") && text.contains("nothing.fasta"),
        "{text}"
    );
    // The folder is not in the way of the next attempt, and the error is forgotten when that succeeds.
    let line = format!("{INPUTS} --shard 2/3 --out shards/s2 {OPTIONS}");
    let ended = bench.run(&line);
    assert!([0, 3].contains(&ended.code), "{}", ended.err);
    assert!(!exists(&bench.path("shards/s2/.partial")));
    assert_eq!(report(&bench, "shards/s2").1["shards"][0]["state"], "done");
    // Refusing a finished output is not a failure of the shard.
    assert_eq!(bench.run(&line).code, 1);
    assert_eq!(report(&bench, "shards/s2").1["shards"][0]["state"], "done");
    // A run that is not a shard leaves no folder.
    assert_eq!(
        bench.run("nothing.fasta --model $MODEL --out emb -q").code,
        1
    );
    assert!(!exists(&bench.path("emb")));
}

#[test]
fn odd_folders_are_no_more_than_odd() {
    let bench = bench();
    embed_shards(&bench, 2, "");
    fs::create_dir_all(bench.path("broken")).unwrap();
    bench.write("broken/run.json", "{\"counts\": 3");
    let (code, found) = report(&bench, "broken s1of2");
    assert_eq!(code, 1);
    assert_eq!(found["states"]["failed"], 1);
    std::os::unix::fs::symlink(bench.path("s1of2"), bench.path("link")).unwrap();
    let (_, found) = report(&bench, "link s2of2");
    assert_eq!(found["states"]["done"], 2);
    // A file is a mistake, and a folder that does not exist is a shard that has not begun.
    bench.write("file", "x");
    for line in ["file", "s1of2 file s2of2 --json", "s1of2/run.json"] {
        let ended = bench.call(&format!("status {line}"));
        let file = if line.contains("run.json") {
            line
        } else {
            "file"
        };
        let error = format!(
            "error: {file} is not a folder\n  \
             hint: give the folders that `run` writes, or a folder of them\n"
        );
        assert_eq!(
            (ended.code, &*ended.out, ended.err),
            (1, "", error),
            "{line}"
        );
    }
    let ended = bench.call("status --plan nowhere");
    let error =
        "error: nowhere: does not exist\n  hint: give the folder that `esm-embed plan` wrote\n";
    assert_eq!((ended.code, &*ended.err), (1, error));
    let ended = bench.call("status --plan file");
    let error =
        "error: file: is not a folder\n  hint: give the folder that `esm-embed plan` wrote\n";
    assert_eq!((ended.code, &*ended.err), (1, error));
    fs::create_dir_all(bench.path("other/things")).unwrap();
    std::os::unix::fs::symlink(bench.path("gone"), bench.path("dangling")).unwrap();
    for (dir, what) in [
        ("other", "nothing of a run is in it"),
        ("gone", "there is no such folder"),
        ("dangling", "there is no such folder"),
    ] {
        let (code, found) = report(&bench, dir);
        assert_eq!((code, &found["states"]["missing"]), (0, &json!(1)), "{dir}");
        assert_eq!(found["shards"][0]["detail"], what, "{dir}");
        let text = bench.call(&format!("status {dir}")).out;
        assert!(text.starts_with(&format!("  {dir}  missing ")), "{text}");
        assert!(
            text.contains(&format!(" {what}\n1 shard: 1 missing\n")),
            "{text}"
        );
    }
    let (_, found) = report(&bench, "link s1of2");
    let detail = found["shards"][1]["detail"].as_str().unwrap();
    assert!(detail.ends_with(" has this shard, too"), "{detail}");
    assert_eq!(found["again"], "2");
    let ended = bench.call("status");
    assert_eq!(ended.code, 2);
    // A name cannot write into the table.
    fs::create_dir(bench.path("a\n\u{1b}[31m")).unwrap();
    let mut command = bench.command();
    let ended = ended_of(command.args(["status", "a\n\u{1b}[31m"]));
    assert!(
        ended.out.starts_with("  a\\n\\u{1b}[31m  missing "),
        "{}",
        ended.out
    );
}

#[test]
fn every_shard_of_a_plan_is_accounted_for() {
    let bench = bench();
    let ended = bench.call(&format!(
        "plan {INPUTS} --shards 4 --out all/plan --rewrite --on-invalid skip -q"
    ));
    assert_eq!(ended.code, 0, "{}", ended.err);
    let found = bench.call("status --plan all/plan --json");
    let found: Value = serde_json::from_str(&found.out).unwrap();
    assert_eq!(
        (&found["again"], &found["states"]["missing"]),
        (&"1-4".into(), &4.into())
    );
    assert_eq!(
        found["next"],
        "esm-embed run --plan all/plan --shard 1/4 --out shard-1/"
    );
    bench.write("all/plan.log", "planned");
    // A plan is known as one wherever it is named, and in the folder in which its shards are going to be.
    for named in ["all/plan", "all"] {
        let named = bench.call(&format!("status {named} --json"));
        assert_eq!(serde_json::from_str::<Value>(&named.out).unwrap(), found);
    }
    for number in [1, 3] {
        let ended = bench.run(&format!(
            "--plan all/plan --shard {number}/4 --out all/s{number} --model $MODEL --on-invalid skip -q"
        ));
        assert!([0, 3].contains(&ended.code), "{}", ended.err);
    }
    // What is next has the options of those that are done.
    let next = bench.call("status --plan all/plan --json");
    let next: Value = serde_json::from_str(&next.out).unwrap();
    let words = format!(
        "esm-embed run --plan all/plan --shard 2/4 --out all/s2 --model={} --on-invalid=skip",
        expand("$MODEL")
    );
    assert_eq!(next["next"], words);
    // A shard of the same input without the plan, and one that failed before it began.
    let ended = bench.run(&format!("{INPUTS} --shard 2/4 --out all/other {OPTIONS}"));
    assert!([0, 3].contains(&ended.code), "{}", ended.err);
    let line = "--plan all/plan --shard 4/4 --out all/bad --model all --on-invalid skip -q";
    assert_eq!(bench.run(line).code, 1);
    let found = bench.call("status --plan all/plan --json");
    assert_eq!(found.code, 1);
    let found: Value = serde_json::from_str(&found.out).unwrap();
    let shards = found["shards"].as_array().unwrap();
    let numbers: Vec<_> = shards
        .iter()
        .map(|shard| shard["shard"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, [1, 3, 4]);
    assert_eq!(shards[0]["folder"], "all/s1");
    assert_eq!(shards[0]["records"], shards[0]["all_records"]);
    assert_eq!(shards[2]["state"], "failed");
    assert_eq!(found["again"], "2,4");
    // Named, the folder of another run is not taken for one of the plan.
    let found = bench.call("status --plan all/plan all/s1 all/s3 all/other --json");
    let found: Value = serde_json::from_str(&found.out).unwrap();
    assert_eq!(found["again"], "2,4");
    let other = found["shards"]
        .as_array()
        .unwrap()
        .iter()
        .find(|shard| shard["folder"] == "all/other");
    assert_eq!(
        other.unwrap()["detail"],
        "it is not a shard of the plan in all/plan"
    );
}

#[test]
fn shards_that_do_not_belong_together_are_not_called_complete() {
    let bench = bench();
    let plans = [("one", ""), ("two", "--long truncate:9")];
    for (plan, more) in plans {
        let line =
            format!("plan {INPUTS} --shards 2 --out {plan} --rewrite --on-invalid skip -q {more}");
        assert_eq!(bench.call(&line).code, 0);
        for number in [1, 2] {
            let ended = bench.run(&format!(
                "--plan {plan} --shard {number}/2 --out {plan}-{number} --model $MODEL --on-invalid skip -q \
                 {more}"
            ));
            assert!([0, 3].contains(&ended.code), "{}", ended.err);
        }
    }
    embed_shards(&bench, 2, "");
    embed_shards(&bench, 3, "");
    let next = |dirs: &str| report(&bench, dirs).1["next"].clone();
    assert_eq!(
        next("one-1 one-2"),
        "esm-embed merge one-1 one-2 --out emb/"
    );
    for (dirs, detail) in [
        ("one-1 two-2", "it is a shard of another plan than one-1"),
        ("one-1 s2of2", "it is a shard of no plan, unlike one-1"),
        ("s1of2 two-2", "it is a shard of a plan, unlike s1of2"),
    ] {
        let (code, found) = report(&bench, dirs);
        assert_eq!(code, 0);
        assert_eq!(found["states"]["done"], 2);
        assert_eq!(found["shards"][1]["detail"], detail, "{dirs}");
        assert_eq!(found["next"], Value::Null, "{dirs}");
    }
    // Of two and of three shards.
    assert_eq!(next("s1of2 s2of3"), Value::Null);
    assert_eq!(next("one-1 one-1"), Value::Null);
    // Two plans cannot both be the one to account for; the same one may be named twice.
    let ended = bench.call("status --plan one two");
    let error = "error: one and two are different plans\n  hint: give one of them\n";
    assert_eq!((ended.code, &*ended.err), (1, error));
    assert_eq!(bench.call("status one --plan one one-1 one-2").code, 0);
}
