//! A GPU computes what the CPU computes.

use crate::bench::Bench;
use crate::command::*;
use crate::common::differences;

/// Relative L2 of every file of a run on the GPU against the CPU in f32.
fn assert_near(model: &str, dtype: &str, limit: f64) {
    let bench = Bench::new();
    let mut all = records();
    // It equals another record.
    all.retain(|(id, _)| id != "again");
    bench.write("in.fasta", text(&all));
    let options = format!("in.fasta --model ${model} --layer 0,1,2 --pool mean,bos,max");
    embed(&bench, &[], &format!("{options} --out cpu --device cpu"));
    let line = format!("{options} --out card --device cuda --dtype {dtype}");
    // Numbers do not need large slabs.
    embed(&bench, &[("STAND_IN_MULTIPROCESSORS", "3")], &line);
    let files = bench.names("cpu");
    assert_eq!(bench.names("card"), files);
    let mut compared = 0;
    for file in files.iter().filter(|name| is_matrix(name)) {
        let ours = bench.matrix(&format!("card/{file}"));
        let theirs = bench.matrix(&format!("cpu/{file}"));
        let (ours, theirs) = (ours.as_slice().unwrap(), theirs.as_slice().unwrap());
        let (_, off) = differences(ours, theirs);
        assert!(off <= limit, "{model} {dtype}, {file}: relative L2 {off:e}");
        compared += 1;
    }
    assert_eq!(compared, 4 * 3, "{files:?}");
}

#[test]
fn f32_on_a_gpu_equals_the_cpu() {
    for model in [
        "esm2_hd16",
        "esm2_hd24",
        "esm2_hd32",
        "esm2_hd64",
        "esm2_hd128",
    ] {
        assert_near(model, "f32", 1e-5);
    }
    for model in ["esm1b", "esm1v"] {
        assert_near(model, "f32", 1e-5);
    }
}

#[test]
fn f16_on_a_gpu_is_close_to_f32() {
    for model in ["esm2_hd24", "esm2_hd64", "esm2_hd128", "esm1b"] {
        assert_near(model, "f16", 5e-3);
    }
}

#[test]
fn bf16_on_a_gpu_is_close_to_f32() {
    for model in ["esm2_hd16", "esm2_hd32", "esm1v"] {
        assert_near(model, "bf16", 3e-2);
    }
}

#[test]
fn f16_is_the_default_on_a_gpu() {
    let bench = tested_bench();
    bench.write("in.fasta", ">a\nMKTAYIAK\n");
    embed(&bench, &[], "in.fasta --model $MODEL --out a --device cuda");
    embed(
        &bench,
        &[],
        "in.fasta --model $MODEL --out b --device cuda --dtype f16",
    );
    assert_eq!(bench.recorded("a", "/resolved/dtype"), "f16");
    assert_eq!(
        bench.recorded("a", "/resolved/cuda/same_bits_in_any_batch"),
        true
    );
    // Only the request differs.
    let numbers = |out: &str| {
        let mut files = bench.tree(out);
        files.remove("run.json").unwrap();
        files
    };
    assert!(numbers("a") == numbers("b"));
}

/// Windows are blended on the CPU from passes on the GPU.
#[test]
fn windows_of_long_records() {
    let bench = tested_bench();
    bench.write("in.fasta", text(&records()));
    let options = "run in.fasta --model $MODEL --long window:64:16 --layer 2 -q";
    for (out, device) in [("cpu", "cpu"), ("card", "cuda --dtype f32")] {
        let ended = run(
            &bench,
            &[],
            &format!("{options} --out {out} --device {device}"),
        );
        let warnings = format!("{OF_MASK}warning: 9 sequences were embedded in windows\n");
        assert_eq!((ended.code, &*ended.err), (0, &*warnings), "{device}");
    }
    let matrix = |folder: &str| bench.matrix(&format!("{folder}/residues.layer2.npy"));
    let (ours, theirs) = (matrix("card"), matrix("cpu"));
    let (_, off) = differences(ours.as_slice().unwrap(), theirs.as_slice().unwrap());
    assert!(off <= 1e-5, "relative L2 {off:e}");
}
