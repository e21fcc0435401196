//! `--stack-layers`: the pooled rows of all layers in one array.

use crate::bench::*;
use ndarray::{Array3, Axis};
use ndarray_npy::read_npy;
use serde_json::Value;

fn bench() -> Bench {
    let bench = Bench::new();
    bench.write(
        "in.fasta",
        ">a\nMKTAYIAKQR\n>b\nGSHMASMTGGQQMGR\n>copy_of_a\nMKTAYIAKQR\n>c\nK\n",
    );
    bench
}

fn stack(bench: &Bench, name: &str) -> Array3<f32> {
    read_npy(bench.path(name)).unwrap()
}

#[test]
fn each_layer_of_the_stack_has_the_bytes_of_its_array() {
    let bench = bench();
    let what = "in.fasta --model $MODEL --residues none --pool mean,max";
    bench.embed(&format!("{what} --layer all --out single"));
    bench.embed(&format!("{what} --layer all --stack-layers --out stacked"));
    assert_eq!(
        bench.names("stacked"),
        [
            "ids.npy",
            "index.tsv",
            "max.layers.npy",
            "mean.layers.npy",
            "run.json"
        ]
    );
    for pool in ["mean", "max"] {
        let all = stack(&bench, &format!("stacked/{pool}.layers.npy"));
        assert_eq!(all.shape(), [4, 3, 32]);
        for layer in 0..3 {
            let one = bench.matrix(&format!("single/{pool}.layer{layer}.npy"));
            assert_eq!(all.index_axis(Axis(1), layer), one, "{pool}, layer {layer}");
        }
    }
    let json: Value = serde_json::from_str(&bench.text("stacked/run.json")).unwrap();
    assert_eq!(json["resolved"]["layers"], serde_json::json!([0, 1, 2]));
    assert_eq!(json["asked"]["stack_layers"], true);
    assert_eq!(
        json["arrays"][0],
        serde_json::json!({"name": "mean.layers", "dtype": "f32", "shape": [4, 3, 32], "location": "mean.layers.npy"})
    );
    let shown = bench.call("inspect stacked --check");
    assert_eq!((shown.code, &*shown.err), (0, ""));
    assert!(
        shown.out.contains("mean.layers.npy: [4, 3, 32] f32"),
        "{}",
        shown.out
    );
}

#[test]
fn batches_threads_and_shards_give_the_same_stack() {
    let bench = bench();
    let what = "in.fasta --model $MODEL --layer all --stack-layers";
    bench.check_batches_and_shards(&format!("{what} --residues none"));
    bench.embed("in.fasta --model $MODEL --stack-layers --layer 0,2 --out-dtype f16 --out two");
    let json: Value = serde_json::from_str(&bench.text("two/run.json")).unwrap();
    assert_eq!(json["arrays"][2]["shape"], serde_json::json!([4, 2, 32]));
}

#[test]
fn long_records_in_windows_are_stacked_too() {
    let bench = Bench::new();
    bench.write(
        "in.fasta",
        format!(">long\n{}\n", "MKTAYIAKQRQISFVK".repeat(80)),
    );
    let what = "in.fasta --model $MODEL --layer all --residues none --long window";
    for (options, out) in [("", "single"), ("--stack-layers", "stacked")] {
        let ended = bench.run(&format!("{what} {options} --out {out} -q"));
        assert_eq!(ended.code, 0, "{}", ended.err);
    }
    let all = stack(&bench, "stacked/mean.layers.npy");
    for layer in 0..3 {
        let one = bench.matrix(&format!("single/mean.layer{layer}.npy"));
        assert_eq!(all.index_axis(Axis(1), layer), one);
    }
}

#[test]
fn a_finished_stack_is_left_as_it_is_and_not_taken_for_single_arrays() {
    let bench = bench();
    let what = "in.fasta --model $MODEL --layer all --residues none";
    bench.embed(&format!("{what} --stack-layers --out emb"));
    let whole = bench.tree("emb");
    let again = bench.run(&format!("{what} --stack-layers --out emb --resume -q"));
    assert_eq!(again.code, 0, "{}", again.err);
    assert!(bench.tree("emb") == whole);
    let other = bench.run(&format!("{what} --out emb --resume -q"));
    assert_eq!(other.code, 1);
    assert!(other.err.contains("--stack-layers"), "{}", other.err);
    let none = bench.run("in.fasta --model $MODEL --stack-layers --pool none --out x");
    assert_eq!(none.code, 2);
    assert!(
        none.err
            .contains("--stack-layers is about pooled embeddings"),
        "{}",
        none.err
    );
}

#[test]
fn a_map_is_drawn_from_the_highest_layer_of_a_stack() {
    let bench = bench();
    let what = "in.fasta --model $MODEL --residues none";
    bench.embed(&format!("{what} --layer all --stack-layers --out stacked"));
    bench.embed(&format!("{what} --out single"));
    for folder in ["stacked", "single"] {
        let ended = bench.call(&format!("plot map {folder} --out {folder}-map -q"));
        assert_eq!(ended.code, 0, "{}", ended.err);
    }
    assert_eq!(
        bench.text("stacked-map/map.tsv"),
        bench.text("single-map/map.tsv")
    );
}
