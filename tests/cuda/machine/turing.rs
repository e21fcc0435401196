//! GPUs of compute capability 7.5, such as the T4: f16 and f32 only.

use crate::bench::{Bench, messages};
use crate::command::*;
use crate::gpu::overflow::{OPTIONS, both, make_model};
use crate::gpu::same_bits::bits;

const T4: [Variable<'static>; 3] = [
    ("STAND_IN_CAPABILITY", "75"),
    ("STAND_IN_NAMES", "Tesla T4"),
    ("STAND_IN_MULTIPROCESSORS", "40"),
];

/// Records of which every other one does not fit f16.
fn write_records(bench: &Bench) -> Vec<(String, String)> {
    let pairs = (1..4).flat_map(|seed| both(seed, 20 + 50 * seed as usize));
    let numbered = pairs.enumerate();
    let records: Vec<_> = numbered.map(|(i, s)| (format!("r{i}"), s)).collect();
    bench.write("in.fasta", text(&records));
    records
}

#[test]
fn its_kernels_are_used_and_recorded() {
    let bench = tested_bench();
    bench.write("in.fasta", text(&few_records()));
    embed(
        &bench,
        &T4,
        "in.fasta --model $MODEL --out emb --device cuda",
    );
    let gpu = bench.recorded("emb", "/resolved/cuda/cards/0");
    assert_eq!(gpu["card"], "Tesla T4");
    assert_eq!(gpu["compute_capability"], "7.5");
    assert_eq!(gpu["image"], "sm_75");
    assert_eq!(bench.recorded("emb", "/resolved/dtype"), "f16");
    let said = run(&bench, &T4, "doctor");
    let line = "0: Tesla T4, compute capability 7.5, 4.0 GiB, driver for CUDA 13.0";
    assert!(said.out.contains(line), "{}", said.out);
}

#[test]
fn formats_that_it_lacks_are_refused() {
    let bench = Bench::new();
    bench.write("in.fasta", text(&few_records()));
    let line = "run in.fasta --model $MODEL --out emb";
    for dtype in ["bf16", "tf32"] {
        let ended = run(
            &bench,
            &T4,
            &format!("{line} --device cuda --dtype {dtype}"),
        );
        assert_eq!((ended.code, &*ended.out), (1, ""), "{}", ended.err);
        let why =
            format!("error: --dtype {dtype} needs compute capability 8.0, and Tesla T4 has 7.5");
        assert!(ended.err.contains(&why), "{}", ended.err);
        assert!(
            ended.err.contains("hint: use --dtype f16 or --dtype f32"),
            "{}",
            ended.err
        );
        assert_eq!(messages(&ended.err), 1, "{}", ended.err);
        assert!(!bench.path("emb").exists());
    }
    // The CPU has bf16.
    let ended = run(&bench, &T4, &format!("{line} --dtype bf16"));
    assert_eq!(ended.code, 0, "{}", ended.err);
    let why = "no GPU is used: --dtype bf16 needs compute capability 8.0, and Tesla T4 has 7.5";
    assert!(ended.err.contains(why), "{}", ended.err);
    assert_eq!(bench.recorded("emb", "/resolved/device"), "cpu");
}

#[test]
fn records_that_overflow_f16_are_computed_in_f32() {
    let bench = tested_bench();
    make_model(&bench);
    let records = write_records(&bench);
    for dtype in ["f16", "f32"] {
        let line = format!("run in.fasta {OPTIONS} --dtype {dtype} --out {dtype}");
        let ended = run(&bench, &T4, &line);
        assert_eq!(ended.code, 0, "{}", ended.err);
        let said = "3 records were computed in f32 because their numbers do not fit f16 (--dtype f32 \
                    computes all records in f32)";
        assert_eq!(ended.err.contains(said), dtype == "f16", "{}", ended.err);
    }
    let (found, exact) = (bits(&bench, "f16"), bits(&bench, "f32"));
    for (number, (id, _)) in records.iter().enumerate() {
        assert_eq!(found[id] == exact[id], number % 2 == 1, "{id}");
    }
    assert_eq!(bench.recorded("f16", "/counts/in_f32"), 3);
    assert!(!bench.text("f16/run.json").contains("in_bf16"));
    assert!(!bench.text("f32/run.json").contains("in_f32"));
    let said = run(&bench, &[], "inspect f16");
    let line = "3 records computed in f32, with numbers too large for f16";
    assert!(said.out.contains(line), "{}", said.out);
    // Nothing else that is requested changes it, nor does the batch or the memory.
    let little = [T4[0], T4[1], T4[2], ("STAND_IN_MEMORY_MIB", "32")];
    for (number, (variables, more)) in [
        (&T4[..], "--deterministic"),
        (&T4, "--max-tokens 40 --threads 3"),
        (&little, ""),
    ]
    .into_iter()
    .enumerate()
    {
        let line = format!("run in.fasta {OPTIONS} --dtype f16 --out again{number} {more}");
        let ended = run(&bench, variables, &line);
        assert_eq!(ended.code, 0, "{}", ended.err);
        assert!(
            bench.tree(&format!("again{number}")) == bench.tree("f16"),
            "{more}"
        );
    }
}

#[test]
fn windows_and_shards_with_records_in_f32() {
    let bench = tested_bench();
    make_model(&bench);
    write_records(&bench);
    let line = format!("run in.fasta {OPTIONS} --long window:40:30 --max-tokens 90 -q --out");
    for (out, more) in [
        ("whole", ""),
        ("s1", "--shard 1/2"),
        ("s2", "--shard 2/2"),
        ("f32", "--dtype f32"),
    ] {
        let ended = run(&bench, &T4, &format!("{line} {out} {more}"));
        assert_eq!(ended.code, 0, "{}", ended.err);
    }
    let (found, exact) = (bits(&bench, "whole"), bits(&bench, "f32"));
    assert!(["r1", "r3", "r5"].iter().all(|id| found[*id] == exact[*id]));
    let ended = run(&bench, &[], "merge s1 s2 --out merged -q");
    assert_eq!((ended.code, &*ended.err), (0, ""));
    assert_eq!(bench.recorded("whole", "/counts/in_f32"), 3);
    assert!(bench.tree("merged") == bench.tree("whole"));
}

#[test]
fn bits_in_f32_that_depend_on_the_batch_are_not_trusted() {
    let bench = Bench::new();
    make_model(&bench);
    write_records(&bench);
    let offered = ("STAND_IN_ALGORITHMS", "restless@f32,even@f16");
    let variables = [T4[0], T4[1], T4[2], offered];
    let line = format!("run in.fasta {OPTIONS} -q --out");
    let ended = run(&bench, &variables, &format!("{line} alone"));
    assert_eq!(ended.code, 0, "{}", ended.err);
    let said = "in f32 the bits of a sequence depend on its batch; each record in f32";
    assert!(ended.err.contains(said), "{}", ended.err);
    assert_eq!(bench.recorded("alone", "/counts/in_f32"), 3);
    let ended = run(&bench, &variables, &format!("{line} no --on-varying fail"));
    assert_eq!((ended.code, &*ended.out), (1, ""), "{}", ended.err);
    let why = "records whose numbers do not fit f16 are computed in f32, and a self-test";
    assert!(ended.err.contains(why), "{}", ended.err);
    assert!(
        ended.err.contains("hint: do not set --on-varying"),
        "{}",
        ended.err
    );
    assert!(!bench.path("no/run.json").exists());
}
