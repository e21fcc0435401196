//! What a run is predicted to do, and what it reports while it works.

use crate::bench::*;
use crate::written::bench;
use esm_embed::ops::CpuPath;

#[test]
fn a_dry_run_says_what_would_be_done_and_does_nothing() {
    let bench = bench();
    let ended = bench.run("in.fasta --model $MODEL --out emb --layer 0,-1 --dry-run -q");
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert_eq!(bench.names("."), ["in.fasta"]);
    let lines: Vec<_> = ended.out.lines().map(|line| line.split_once(' ')).collect();
    let said = |name: &str| {
        let line = lines.iter().flatten().find(|(first, _)| *first == name);
        line.unwrap_or_else(|| panic!("{name}: {}", ended.out))
            .1
            .trim()
    };
    assert_eq!(said("layers"), "0, 2");
    assert_eq!(said("records"), "4");
    assert_eq!(said("residues"), "19");
    // One of the four is a copy.
    assert_eq!(
        said("distinct"),
        "3 (the other records are copies: not computed again)"
    );
    assert_eq!(said("tokens"), "19");
    assert_eq!(said("longest"), "8 tokens");
    assert!(said("disk").starts_with("7.0 kB"), "{}", said("disk"));
    for name in ["memory", "time", "padding"] {
        assert!(!said(name).is_empty());
    }
}

#[test]
fn a_dry_run_for_programs_is_one_object() {
    let bench = bench();
    let line = "in.fasta --model $MODEL --out emb --dry-run --progress json --threads 2";
    let ended = bench.run(line);
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert_eq!(ended.out.lines().count(), 1, "{}", ended.out);
    let object: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
    let said = |name: &str| object.get(name).unwrap().as_u64().unwrap();
    assert_eq!(object["event"], "forecast");
    assert_eq!((said("records"), said("distinct_records")), (4, 3));
    assert_eq!((said("residues"), said("tokens")), (19, 19));
    assert_eq!((said("longest"), said("threads")), (8, 2));
    assert!(said("memory_bytes") > 0 && object["seconds"].as_f64().unwrap() > 0.0);
    for line in ended.err.lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(
            ["phase", "message"].contains(&event["event"].as_str().unwrap()),
            "{line}"
        );
    }
}

/// The events of a run, by kind.
fn events(err: &str) -> Vec<serde_json::Value> {
    err.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn copies_are_not_counted_as_work() {
    let bench = Bench::new();
    let one: String = (0..30)
        .map(|i| format!(">r{i}\n{}\n", sequence(i, 40)))
        .collect();
    bench.write("in.fasta", one.repeat(20));
    let ended = bench.run("in.fasta --model $MODEL --out emb --progress json");
    assert_eq!(ended.code, 0, "{}", ended.err);
    let events = events(&ended.err);
    let of_kind = |kind: &str| events.iter().find(|event| event["event"] == kind).unwrap();
    let start = of_kind("start");
    assert_eq!(
        (&start["records_total"], &start["residues_total"]),
        (&30.into(), &1200.into())
    );
    assert_eq!(start["duplicates"], 570);
    assert_eq!(
        (&start["device"], &start["cpu_path"], &start["dtype"]),
        (
            &"cpu".into(),
            &CpuPath::detect().to_string().into(),
            &"f32".into()
        )
    );
    let end = of_kind("end");
    assert_eq!(
        (&end["records"], &end["residues"]),
        (&30.into(), &1200.into())
    );
    assert_eq!(
        (&end["records_total"], &end["residues_total"]),
        (&30.into(), &1200.into())
    );
    let phases: Vec<_> = events
        .iter()
        .filter_map(|event| event["phase"].as_str())
        .collect();
    assert_eq!(phases, ["reading", "loading", "finishing"]);

    let ended = bench.run("in.fasta --model $MODEL --out emb --dry-run --force -q");
    for line in [
        "records       600",
        "distinct      30 (",
        "residues      24,000",
        "tokens        1,260",
    ] {
        assert!(ended.out.contains(&format!("\n{line}")), "{}", ended.out);
    }
}

/// The length of a stream is known only once it has been read.
#[test]
fn a_stream_reports_totals_at_its_end() {
    let bench = bench();
    let line = "- --model $MODEL --out emb --progress json";
    let ended = bench.pipe(line, bench.text("in.fasta").as_bytes());
    let events = events(&ended.err);
    let of_kind = |kind: &str| events.iter().find(|event| event["event"] == kind).unwrap();
    assert_eq!(of_kind("start")["residues_total"], serde_json::Value::Null);
    assert_eq!(of_kind("end")["residues_total"], 13);
}
