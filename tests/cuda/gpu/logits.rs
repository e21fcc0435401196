//! Logits: by the GPU with the program's own products, else by the CPU from the rows of the GPU.

use crate::bench::Bench;
use crate::command::*;
use crate::common::differences;
use crate::gpu::overflow::{both, make_model};
use crate::gpu::same_bits::bits;
use crate::stand_in;

/// A small GPU, with or without own products.
fn gpu(products: &'static str) -> [Variable<'static>; 2] {
    [
        ("STAND_IN_MULTIPROCESSORS", "4"),
        ("STAND_IN_PRODUCTS", products),
    ]
}

fn bench() -> Bench {
    let bench = Bench::new();
    let mut all = records();
    all.retain(|(_, sequence)| sequence.len() < 70);
    bench.write("in.fasta", text(&all));
    all.reverse();
    bench.write("reversed.fasta", text(&all));
    bench
}

/// Whether the GPU computed the logits of a run.
fn is_by_gpu(bench: &Bench, out: &str, dim: usize) -> bool {
    let algorithms = bench.recorded(out, "/resolved/cuda/cards/0/algorithms");
    let head = algorithms.get(format!("33 x {dim}"));
    assert!(head.is_none_or(|by| by == "esm-embed"), "{head:?}");
    head.is_some()
}

#[test]
fn they_are_close_to_those_of_the_cpu() {
    let bench = bench();
    let all = [("f32", 1e-5), ("f16", 5e-3), ("bf16", 3e-2)];
    for (model, dim, formats) in [("esm2_hd24", 48, &all[..]), ("esm1b", 32, &all[..1])] {
        let line = format!("in.fasta --model ${model} --include logits --layer 0");
        let cpu = format!("{model}-cpu");
        embed(&bench, &[], &format!("{line} --device cpu --out {cpu}"));
        for &(dtype, limit) in formats {
            for (products, by_gpu) in [("even", true), ("none", false)] {
                let out = format!("{model}-{dtype}-{products}");
                let line =
                    format!("{line} --device cuda --dtype {dtype} --out {out} --check-device");
                embed(&bench, &gpu(products), &line);
                if !stand_in::is_real() {
                    assert_eq!(is_by_gpu(&bench, &out, dim), by_gpu, "{out}");
                }
                let array = |folder: &str| bench.matrix(&format!("{folder}/logits.npy"));
                let (ours, theirs) = (array(&out), array(&cpu));
                assert_eq!(ours.dim(), theirs.dim());
                let (_, off) = differences(ours.as_slice().unwrap(), theirs.as_slice().unwrap());
                assert!(off <= limit, "{out}: relative L2 {off:e}");
            }
        }
    }
}

/// More tokens than a byte can count, and more logits than a tile of the products has columns.
#[test]
fn those_of_446_tokens_are_close_to_those_of_the_cpu() {
    let bench = Bench::new();
    bench.write("in.fasta", ">a\nM#EvVpQpL#VyQdYaKv\n>b\n##YcWkApA#\n");
    let line = "in.fasta --model $saprot_hd16 --include logits --layer 0";
    embed(&bench, &[], &format!("{line} --device cpu --out cpu"));
    for products in ["even", "none"] {
        let more = format!("--device cuda --dtype f32 --out {products} --check-device");
        embed(&bench, &gpu(products), &format!("{line} {more}"));
        let array = |folder: &str| bench.matrix(&format!("{folder}/logits.npy"));
        let (ours, theirs) = (array(products), array("cpu"));
        assert_eq!(ours.dim(), (14, 446));
        let (_, off) = differences(ours.as_slice().unwrap(), theirs.as_slice().unwrap());
        assert!(off <= 1e-5, "{products}: relative L2 {off:e}");
    }
}

/// The order of the records, the batch, the number of GPUs, a remembered self-test and other products
/// change no bit.
#[test]
fn they_have_the_same_bits_in_any_batch() {
    let bench = bench();
    for dtype in ["f16", "f32"] {
        let line =
            format!("--model $esm2_hd24 --include logits --pool none --dtype {dtype} --device");
        let run = |number: usize, input: &str, more: &str| {
            let out = format!("{dtype}{number}");
            let variables = [&gpu("even")[..], &[("STAND_IN_CARDS", "2")]].concat();
            embed(
                &bench,
                &variables,
                &format!("{input} {line} {more} --out {out}"),
            );
            assert!(stand_in::is_real() || is_by_gpu(&bench, &out, 48));
            let mut all = bits(&bench, &out);
            // Logits come before residue rows, by name.
            all.values_mut().for_each(|arrays| arrays.truncate(1));
            all
        };
        let first = run(0, "in.fasta", "cuda --residues none");
        assert!(first.len() > 10);
        for (number, (input, more)) in [
            ("reversed.fasta", "cuda --residues none --max-tokens 100"),
            ("in.fasta", "cuda --residues none --deterministic"),
            ("in.fasta", "cuda --residues packed --layer 1,3"),
            ("in.fasta", "all --residues none --threads 3"),
        ]
        .into_iter()
        .enumerate()
        {
            let found = run(number + 1, input, more);
            for (id, rows) in &first {
                assert!(found[id] == *rows, "{dtype}, {input} {more}: {id}");
            }
        }
    }
}

#[test]
fn records_that_overflow_f16_have_logits_from_the_fallback() {
    if stand_in::is_real() {
        return;
    }
    let bench = Bench::new();
    make_model(&bench);
    let [small, large] = both(1, 30);
    bench.write(
        "in.fasta",
        text(&[("s".into(), small), ("l".into(), large)]),
    );
    let line =
        "run in.fasta --model model --include logits --pool none --residues none --device cuda";
    for dtype in ["f16", "bf16"] {
        let ended = run(
            &bench,
            &gpu("even"),
            &format!("{line} --dtype {dtype} --out {dtype}"),
        );
        assert_eq!(ended.code, 0, "{}", ended.err);
        assert!(is_by_gpu(&bench, dtype, 32));
    }
    assert_eq!(bench.recorded("f16", "/counts/in_bf16"), 1);
    let (mixed, exact) = (bits(&bench, "f16"), bits(&bench, "bf16"));
    assert!(mixed["l"] == exact["l"] && mixed["s"] != exact["s"]);
}

/// Masked marginals on the GPU are those of the CPU.
#[test]
fn scores_use_them() {
    let bench = Bench::new();
    bench.write("p.fasta", ">p1\nMKTAYIAKQR\n");
    bench.write("v.csv", "mutant\nM1A\nK2A:Q9W\n");
    let line = "score p.fasta --model $esm2_hd16 --variants v.csv -q --out";
    for (out, device) in [("cpu.csv", "cpu"), ("gpu.csv", "cuda --dtype f32")] {
        let ended = run(
            &bench,
            &gpu("even"),
            &format!("{line} {out} --device {device}"),
        );
        assert_eq!((ended.code, &*ended.err), (0, ""));
    }
    let scores = |name: &str| -> Vec<f64> {
        let text = bench.text(name);
        let cells = text
            .lines()
            .skip(1)
            .map(|line| line.split_once(',').unwrap().1);
        cells.map(|cell| cell.parse().unwrap()).collect()
    };
    let (cpu, gpu) = (scores("cpu.csv"), scores("gpu.csv"));
    assert_eq!(cpu.len(), 2);
    for (cpu, gpu) in cpu.iter().zip(&gpu) {
        assert!((cpu - gpu).abs() < 1e-4, "{cpu} {gpu}");
    }
}
