//! What is reported about an output before the work, and aliases of options.

use crate::bench::*;
use crate::written::{INPUT, bench, embed};

#[test]
fn the_output_is_described_before_the_work() {
    let bench = bench();
    for (options, text) in [
        (
            "",
            "4 records; 3.8 kB, of which residue rows 2.4 kB (--residues none leaves them out)",
        ),
        ("--residues none", "4 records; 1.3 kB"),
        (
            "--pool none",
            "4 records; 3.2 kB, of which residue rows 2.4 kB",
        ),
    ] {
        let ended = bench.run(&format!(
            "in.fasta --model $MODEL --out emb --force {options}"
        ));
        let line = format!("emb will hold {text}\n");
        let at = ended.err.find(&line).expect(&ended.err);
        assert!(at < ended.err.find("loaded").unwrap(), "{}", ended.err);
    }
    let ended = bench.pipe(
        "- --model $MODEL --out stream --layer 0,2",
        INPUT.as_bytes(),
    );
    let line = "stream will hold a stream of records; 256 bytes for each, and 256 bytes \
                for each residue (--residues none leaves them out)\n";
    assert!(ended.err.contains(line), "{}", ended.err);
}

#[test]
fn layers_by_range_and_by_name() {
    let bench = bench();
    for (layer, asked, resolved) in [
        ("all", serde_json::json!(["all"]), vec![0, 1, 2]),
        ("0-1", serde_json::json!([0, 1]), vec![0, 1]),
        ("last", serde_json::json!([-1]), vec![2]),
        (
            "0,1-2,last",
            serde_json::json!([0, 1, 2, -1]),
            vec![0, 1, 2],
        ),
        ("-2-last", serde_json::json!(["-2-last"]), vec![1, 2]),
        ("-3--2", serde_json::json!(["-3--2"]), vec![0, 1]),
    ] {
        embed(
            &bench,
            &format!("--out emb --force --residues none --layer {layer}"),
        );
        assert_eq!(bench.recorded("emb", "/asked/layer"), asked, "{layer}");
        assert_eq!(
            bench.recorded("emb", "/resolved/layers"),
            serde_json::json!(resolved)
        );
    }
    for (layer, error) in [
        (
            "1-7",
            "--layer 1-7: this model has layers 0 to 2 (or -3 to -1, counted from the end)",
        ),
        (
            "-9-last",
            "--layer -9-last: this model has layers 0 to 2 (or -3 to -1, counted from the end)",
        ),
        (
            "-1-0",
            "--layer -1-0: layer 2 comes after layer 0\n  hint: write the lower one first",
        ),
    ] {
        assert_fails(
            &bench,
            &format!("in.fasta --model $MODEL --layer {layer}"),
            error,
        );
    }
}

#[test]
fn aliases_are_recorded_under_their_main_name() {
    let bench = bench();
    embed(
        &bench,
        "--out emb --pool cls,mean --dtype bfloat16 --out-dtype half --device cpu",
    );
    assert_eq!(
        bench.recorded("emb", "/asked/pool"),
        serde_json::json!(["mean", "bos"])
    );
    assert_eq!(bench.recorded("emb", "/asked/dtype"), "bf16");
    assert_eq!(bench.recorded("emb", "/asked/out_dtype"), "f16");
    assert!(exists(&bench.path("emb/bos.layer2.npy")));
}
