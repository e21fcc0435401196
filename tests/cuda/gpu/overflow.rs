//! Records whose numbers do not fit f16.

use crate::bench::{Bench, first_byte, sequence};
use crate::command::*;
use crate::common::fixture;
use crate::gpu::same_bits::bits;
use crate::stand_in;
use std::fs;

/// The token of tryptophan.
const W: usize = 22;
/// Width of the model.
const DIM: usize = 32;

/// A copy of a model in which only tryptophan makes a number of the first block too large for f16.
pub fn make_model(bench: &Bench) {
    fs::create_dir(bench.path("model")).unwrap();
    let from = fixture("esm2_hd16");
    for name in ["config.json", "vocab.txt"] {
        fs::copy(from.join(name), bench.path("model").join(name)).unwrap();
    }
    let mut bytes = fs::read(from.join("model.safetensors")).unwrap();
    let mut put = |tensor: &str, at: usize, values: &[f32]| {
        let start = first_byte(&bytes, tensor) + 4 * at;
        let values: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        bytes[start..start + values.len()].copy_from_slice(&values);
    };
    // Its embedding has one large number, which a LayerNorm of 32 maps to 5.57; no other is larger.
    let mut row = [0.0; DIM];
    row[0] = 1e4;
    put("esm.embeddings.word_embeddings.weight", W * DIM, &row);
    put("esm.encoder.layer.0.LayerNorm.weight", 0, &[1.0]);
    put("esm.encoder.layer.0.LayerNorm.bias", 0, &[0.0]);
    // 5.57 times this is 72,400, and f16 ends at 65,504.
    row[0] = 13_000.0;
    put("esm.encoder.layer.0.intermediate.dense.weight", 0, &row);
    put("esm.encoder.layer.0.intermediate.dense.bias", 0, &[0.0]);
    bench.write("model/model.safetensors", &bytes);
}

/// A sequence without tryptophan, and the same with one.
pub fn both(seed: u64, residues: usize) -> [String; 2] {
    let without = sequence(seed, residues).replace('W', "A");
    let mut with = without.clone();
    with.replace_range(residues / 2..residues / 2 + 1, "W");
    [without, with]
}

pub const OPTIONS: &str = "--model model --layer 0,1,2 --pool mean,bos,max --device cuda";

#[test]
fn records_that_overflow_f16_are_computed_in_bf16_and_no_others() {
    let bench = tested_bench();
    make_model(&bench);
    let [a, a_large] = both(1, 30);
    let [b, b_large] = both(2, 200);
    let fits = [("a", &a), ("b", &b)];
    let large = [("al", &a_large), ("again", &a_large), ("bl", &b_large)];
    let of = |records: &[(&str, &String)]| {
        let owned = records.iter().map(|(id, s)| ((*id).into(), (*s).clone()));
        text(&owned.collect::<Vec<_>>())
    };
    bench.write(
        "all.fasta",
        of(&[fits[0], large[0], fits[1], large[1], large[2]]),
    );
    bench.write("fits.fasta", of(&fits));
    bench.write("large.fasta", of(&large));
    for dtype in ["f16", "bf16"] {
        let line = format!("{OPTIONS} --dtype {dtype}");
        embed(
            &bench,
            &[],
            &format!("fits.fasta {line} --out fits-{dtype}"),
        );
    }
    embed(
        &bench,
        &[],
        &format!("large.fasta {OPTIONS} --dtype bf16 --out large"),
    );
    let line = format!("run all.fasta {OPTIONS} --dtype f16 --out all");
    let ended = run(&bench, &[], &line);
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(
        ended.err.contains(
            "3 records were computed in bf16 because their numbers do not fit f16 (--dtype bf16 \
             computes all records in bf16)"
        ),
        "{}",
        ended.err
    );
    let all = bits(&bench, "all");
    let (fits, large) = (bits(&bench, "fits-f16"), bits(&bench, "large"));
    assert_eq!((all.len(), fits.len(), large.len()), (5, 2, 3));
    for (id, rows) in fits.iter().chain(&large) {
        assert!(all[id] == *rows, "{id}");
    }
    assert!(bits(&bench, "fits-bf16") != fits);
    assert_eq!(bench.recorded("all", "/counts/in_bf16"), 3);
    assert_eq!(bench.recorded("all", "/resolved/dtype"), "f16");
    assert!(!bench.text("fits-f16/run.json").contains("in_bf16"));
    // Neither the batch nor anything else that is requested changes it.
    for (number, more) in [
        "--deterministic",
        "--max-tokens 40",
        "--out-dtype f32 --threads 3",
    ]
    .into_iter()
    .enumerate()
    {
        let line = format!("all.fasta {OPTIONS} --dtype f16 --out again{number} {more}");
        let ended = run(&bench, &[], &format!("run {line}"));
        assert_eq!(ended.code, 0, "{}", ended.err);
        assert!(
            bench.tree(&format!("again{number}")) == bench.tree("all"),
            "{more}"
        );
    }
}

/// Own products round in other places, and notice the same records.
#[test]
fn own_products_notice_what_does_not_fit() {
    if stand_in::is_real() {
        return;
    }
    let bench = Bench::new();
    make_model(&bench);
    let [small, large] = both(1, 30);
    for (name, records) in [
        ("all", &[("s", &small), ("l", &large)][..]),
        ("small", &[("s", &small)]),
        ("large", &[("l", &large)]),
    ] {
        let owned = records.iter().map(|(id, s)| ((*id).into(), (*s).clone()));
        bench.write(&format!("{name}.fasta"), text(&owned.collect::<Vec<_>>()));
    }
    let variables = [
        ("LD_LIBRARY_PATH", stand_in::folder().to_str().unwrap()),
        ("STAND_IN_MULTIPROCESSORS", "2"),
        ("STAND_IN_PRODUCTS", "even"),
    ];
    for (name, dtype) in [("all", "f16"), ("small", "f16"), ("large", "bf16")] {
        let line = format!("run {name}.fasta {OPTIONS} --dtype {dtype} --out {name}");
        let ended = run(&bench, &variables, &line);
        assert_eq!(ended.code, 0, "{}", ended.err);
    }
    assert_eq!(bench.recorded("all", "/counts/in_bf16"), 1);
    let all = bits(&bench, "all");
    assert!(all["s"] == bits(&bench, "small")["s"]);
    assert!(all["l"] == bits(&bench, "large")["l"]);
}

/// The bf16 model uses the memory of the other one for its passes.
#[test]
fn both_models_share_the_gpu() {
    let bench = tested_bench();
    make_model(&bench);
    let [small, large] = both(4, 40);
    let records = [("s", small), ("l", large)];
    bench.write("in.fasta", text(&records.map(|(id, s)| (id.into(), s))));
    for (out, memory) in [("plenty", "4096"), ("little", "8")] {
        let variables = [
            ("STAND_IN_MULTIPROCESSORS", "33"),
            ("STAND_IN_MEMORY_MIB", memory),
        ];
        let line = format!("run in.fasta {OPTIONS} --residues none --out {out}");
        let ended = run(&bench, &variables, &line);
        assert_eq!(ended.code, 0, "{}", ended.err);
        assert_eq!(bench.recorded(out, "/counts/in_bf16"), 1);
    }
    assert!(bench.tree("little") == bench.tree("plenty"));
}

/// If only bf16 products depend on the batch, only the records recomputed in bf16 get a separate pass
/// each, and the run reports it or is refused.
#[test]
fn bits_in_bf16_that_depend_on_the_batch_are_not_trusted() {
    let bench = Bench::new();
    make_model(&bench);
    let records: Vec<(String, String)> = both(6, 40)
        .into_iter()
        .enumerate()
        .map(|(i, s)| (format!("r{i}"), s))
        .collect();
    bench.write("in.fasta", text(&records));
    let variables = [("STAND_IN_ALGORITHMS", "restless@bf16,even@f16")];
    let line = format!("run in.fasta {OPTIONS} -q --out");
    let ended = run(&bench, &variables, &format!("{line} alone"));
    assert_eq!(ended.code, 0, "{}", ended.err);
    let said = "in bf16 the bits of a sequence depend on its batch; each record";
    assert!(ended.err.contains(said), "{}", ended.err);
    assert_eq!(bench.recorded("alone", "/counts/in_bf16"), 1);
    let same = "/resolved/cuda/same_bits_in_any_batch";
    assert_eq!(bench.recorded("alone", same), true);
    let ended = run(&bench, &variables, &format!("{line} no --on-varying fail"));
    assert_eq!((ended.code, &*ended.out), (1, ""), "{}", ended.err);
    let why = "records whose numbers do not fit f16 are computed in bf16, and a self-test";
    assert!(ended.err.contains(why), "{}", ended.err);
    assert!(ended.err.contains("r1"), "{}", ended.err);
    assert!(!bench.path("no/run.json").exists());
}

#[test]
fn all_windows_of_a_record_have_one_format() {
    let bench = tested_bench();
    make_model(&bench);
    let [_, large] = both(3, 150);
    bench.write("in.fasta", text(&[("large".into(), large)]));
    let line = format!("in.fasta {OPTIONS} --long window:40:30 --max-tokens 90");
    for dtype in ["f16", "bf16"] {
        let ended = run(
            &bench,
            &[],
            &format!("run {line} --dtype {dtype} --out {dtype}"),
        );
        assert_eq!(ended.code, 0, "{}", ended.err);
    }
    assert!(bits(&bench, "f16") == bits(&bench, "bf16"));
    assert_eq!(bench.recorded("f16", "/counts/in_bf16"), 1);
}

#[test]
fn shards_add_up() {
    let bench = tested_bench();
    make_model(&bench);
    let records: Vec<(String, String)> = (0..4)
        .flat_map(|seed| both(seed, 20 + seed as usize))
        .enumerate()
        .map(|(i, s)| (format!("r{i}"), s))
        .collect();
    bench.write("in.fasta", text(&records));
    for (out, more) in [("whole", ""), ("s1", "--shard 1/2"), ("s2", "--shard 2/2")] {
        let line = format!("run in.fasta {OPTIONS} --out {out} {more}");
        let ended = run(&bench, &[], &line);
        assert_eq!(ended.code, 0, "{}", ended.err);
    }
    let ended = run(&bench, &[], "merge s1 s2 --out merged -q");
    assert_eq!((ended.code, &*ended.err), (0, ""));
    assert_eq!(bench.recorded("whole", "/counts/in_bf16"), 4);
    assert!(bench.tree("merged") == bench.tree("whole"));
}
