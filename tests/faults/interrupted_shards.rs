//! Shards that are killed or run out of disk, are resumed, and then merged.

use crate::bench::*;
use crate::case::*;
use std::time::{Duration, Instant};

/// Kills a resumed run at a random moment of the time that a whole one takes.
fn kill_while_going_on(case: &Case, random: &mut Random, whole: u64) {
    let mut child = case.command(&[], "--out emb --resume").spawn().unwrap();
    std::thread::sleep(Duration::from_micros(random.below(whole)));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn interrupted_shards_merge_to_the_bytes_of_a_single_run() {
    let mut random = Random(0x5eed_0103);
    let text = format!("{}>odd\nmkj*\n>empty\n>last\nMKT\n", records(120));
    for options in [
        "in.fasta --layer 0,2 --pool mean,bos,max --max-tokens 64 --on-invalid skip",
        "in.fasta --residues files --max-tokens 40 --on-invalid skip",
    ] {
        let plain = Case::new(options, &text);
        let mut merge = plain.bench.command();
        merge.arg("merge").args(["--out", "merged", "-q"]);
        let shards: Vec<Case> = (1..=3)
            .map(|i| Case::new(&format!("{options} --shard {i}/3"), &text))
            .collect();
        for case in &shards {
            let begin = Instant::now();
            if options.contains("files") {
                case.run("--out emb --resume");
                case.clear();
            } else {
                case.starve(200, "--out emb");
                assert_eq!(case.bench.names("emb"), [".partial"]);
            }
            let whole = begin.elapsed().as_micros() as u64;
            for _ in 0..3 {
                kill_while_going_on(case, &mut random, whole);
                case.assert_honest(&case.line);
            }
            case.go_on(&case.line);
            merge.arg(case.bench.path("emb"));
        }
        assert_eq!(ended(&mut merge).code, 0);
        let merged = plain.bench.tree("merged");
        assert!(merged.keys().eq(plain.whole.keys()), "{:?}", merged.keys());
        for (name, bytes) in &merged {
            assert!(*bytes == plain.whole[name], "{options}: {name} differs");
        }
    }
}

const BEFORE: &str = "error: emb holds the unfinished work of another run, which this run cannot \
                      resume: ";
const AFTER: &str = "\n  hint: give the same input, model and options again\n  \
                     hint: choose another folder with --out, or rename or remove this one\n";

#[test]
fn another_shard_is_not_resumed() {
    let options = "in.fasta --max-tokens 16";
    let of = |shard: &str| match shard {
        "none" => String::new(),
        shard => format!(" --shard {shard}"),
    };
    for (before, others) in [
        ("1/3", ["2/3", "1/4", "none"]),
        ("none", ["1/3", "1/1", "0/2"]),
    ] {
        let case = Case::new(&format!("{options}{}", of(before)), &records(120));
        case.starve(200, "--out emb");
        let work = case.bench.tree("emb");
        for now in others {
            let line = format!("{options}{} --model ./model -q --out emb --resume", of(now));
            let ended = case.bench.run(&line);
            let now = if now == "0/2" { "2/2" } else { now };
            let difference = format!("--shard was {before} and is {now}");
            assert_eq!(
                (ended.code, ended.err),
                (1, format!("{BEFORE}{difference}{AFTER}"))
            );
            assert!(case.bench.tree("emb") == work, "{now}");
        }
        // Nor does a finished shard pass for another one.
        case.go_on(before);
        for now in others {
            let line = format!("{options}{} --model ./model -q --out emb --resume", of(now));
            let ended = case.bench.run(&line);
            let now = if now == "0/2" { "2/2" } else { now };
            assert_eq!(ended.code, 1);
            let difference = format!("resume: --shard was {before} and is {now}\n");
            assert!(ended.err.contains(&difference), "{}", ended.err);
        }
        case.go_on("a finished shard is left as it is");
    }
}
