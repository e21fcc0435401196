//! Runs that copy what another folder holds, killed and resumed.

use crate::case::*;
use std::time::{Duration, Instant};

#[test]
fn killed_while_copying_and_resumed_to_the_same_bytes() {
    let mut random = Random(0x5eed_0323);
    for (options, known) in [
        ("in.fasta --max-tokens 64 --layer 0,2", "old"),
        ("in.fasta --max-tokens 64 --residues files", "old"),
    ] {
        let text = records(200);
        let mut case = Case::bare(options, &text);
        // Two thirds of the records.
        let some: String = text.split_inclusive(">").take(130).collect();
        case.bench.write("old.fasta", some.trim_end_matches('>'));
        let old = case.line.replace("in.fasta", "old.fasta");
        assert_eq!(
            case.bench
                .run(&format!("{old} --out {known} --shard 1/1"))
                .code,
            0
        );
        let more = format!("--known {known}");
        case.line = format!("{} {more}", case.line);
        assert_eq!(case.run("--out whole").code, 0);
        let whole = case.bench.tree("whole");
        let copied = case.bench.recorded("whole", "/counts/known");
        assert!(copied.as_u64().unwrap() > 80, "{copied}");
        let begin = Instant::now();
        assert_eq!(case.run("--out emb").code, 0);
        let time = begin.elapsed().as_micros() as u64;
        for _ in 0..10 {
            case.clear();
            for _ in 0..2 {
                let mut child = case.command(&[], "--out emb --resume").spawn().unwrap();
                std::thread::sleep(Duration::from_micros(random.below(time)));
                child.kill().unwrap();
                child.wait().unwrap();
            }
            let ended = case.run("--out emb --resume");
            assert_eq!(ended.code, 0, "{}", ended.err);
            assert!(case.bench.tree("emb") == whole, "{options}");
        }
    }
}
