//! No GPU, other GPUs, and several.

use crate::bench::{Bench, messages, sequence};
use crate::command::*;

const OPTIONS: &str = "run in.fasta --model $MODEL --layer 1,2 --max-tokens 200 -q";

fn bench() -> Bench {
    filled(Bench::new())
}

/// Writes the input.
fn filled(bench: Bench) -> Bench {
    let text: String = (0..60)
        .map(|i| format!(">r{i}\n{}\n", sequence(i, 3 + i as usize)))
        .collect();
    bench.write("in.fasta", text);
    bench
}

#[test]
fn two_gpus_write_the_bytes_of_one() {
    let bench = filled(tested_bench());
    let one = run(&bench, &[], &format!("{OPTIONS} --device cuda --out one"));
    assert_eq!((one.code, &*one.err), (0, ""));
    let three = [("STAND_IN_CARDS", "3")];
    for (out, device) in [("both", "cuda:0,2"), ("all", "all")] {
        for work in ["late", "now"] {
            let variables = [three[0], ("STAND_IN_WORK", work)];
            let line = format!("{OPTIONS} --device {device} --out {out}-{work}");
            let ended = run(&bench, &variables, &line);
            assert_eq!((ended.code, &*ended.err), (0, ""), "{device}");
            assert!(
                bench.tree(&format!("{out}-{work}")) == bench.tree("one"),
                "{device} {work}"
            );
        }
    }
}

#[test]
fn two_gpus_with_little_memory() {
    let bench = filled(tested_bench());
    let slabs = ("STAND_IN_MULTIPROCESSORS", "33");
    let plenty = [slabs, ("STAND_IN_MEMORY_MIB", "4096")];
    let one = run(
        &bench,
        &plenty,
        &format!("{OPTIONS} --device cuda --out one"),
    );
    assert_eq!((one.code, &*one.err), (0, ""));
    let variables = [slabs, ("STAND_IN_CARDS", "2"), ("STAND_IN_MEMORY_MIB", "9")];
    let line = format!("{OPTIONS} --device all --threads 4 --out two");
    let two = run(&bench, &variables, &line);
    assert_eq!((two.code, &*two.err), (0, ""));
    assert!(bench.tree("two") == bench.tree("one"));
}

/// A GPU that is requested but unavailable is an error with a reason.
#[test]
fn a_gpu_that_is_not_available_is_refused() {
    let bench = bench();
    let refused = |variables: &[Variable<'_>], device: &str, why: &str| {
        let ended = run(
            &bench,
            variables,
            &format!("{OPTIONS} --device {device} --out emb"),
        );
        assert_eq!((ended.code, &*ended.out), (1, ""), "{}", ended.err);
        assert!(ended.err.contains(why), "{why}: {}", ended.err);
        assert_eq!(messages(&ended.err), 1, "{}", ended.err);
        assert!(!bench.path("emb").exists());
    };
    refused(
        &[("CUDA_VISIBLE_DEVICES", "")],
        "cuda",
        "no CUDA GPU is visible",
    );
    refused(
        &[("CUDA_VISIBLE_DEVICES", "-1")],
        "cuda",
        "CUDA_VISIBLE_DEVICES",
    );
    refused(&[("STAND_IN_CARDS", "0")], "all", "no CUDA GPU is visible");
    refused(
        &[],
        "cuda:1",
        "there is no GPU 1; the visible GPUs are numbered 0 to 0",
    );
    refused(
        &[("STAND_IN_CARDS", "2"), ("CUDA_VISIBLE_DEVICES", "1")],
        "cuda:0,1",
        "there is no GPU 1",
    );
    refused(
        &[("STAND_IN_DRIVER", "11080")],
        "cuda",
        "the NVIDIA driver is too old: it supports CUDA up to 11.8, and CUDA 12.0 is needed",
    );
    refused(
        &[("STAND_IN_CAPABILITY", "70")],
        "cuda",
        "Stand-in has compute capability 7.0, and 7.5 is needed\n  hint: use --device auto, \
         which takes a newer GPU, or the CPU if there is none",
    );
    refused(
        &[("STAND_IN_CARDS", "2"), ("STAND_IN_OLD", "1")],
        "cuda:0",
        "has compute capability 7.0, and 7.5 is needed\n  hint: use --device auto",
    );
    refused(
        &[("STAND_IN_CARDS", "2"), ("STAND_IN_NAMES", "A,B")],
        "all",
        "GPUs of different kinds (A, B)",
    );
}

/// Without a usable GPU, `auto` computes on the CPU and says why.
#[test]
fn auto_uses_the_gpu_that_exists() {
    let bench = filled(tested_bench());
    let line = "run in.fasta --model $MODEL --out";
    let ended = run(&bench, &[], &format!("{line} card"));
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert_eq!(
        bench.recorded("card", "/resolved/device"),
        "cuda (Stand-in)"
    );
    let ended = run(&bench, &[("STAND_IN_CARDS", "0")], &format!("{line} none"));
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(ended.err.contains("no GPU is used: "), "{}", ended.err);
    assert_eq!(bench.recorded("none", "/resolved/device"), "cpu");
}

/// A GPU that is too old is skipped, and one that cannot hold the model counts as absent.
#[test]
fn auto_ignores_an_unusable_gpu() {
    let bench = bench();
    let line = "run in.fasta --model $MODEL --out";
    let two = [("STAND_IN_CARDS", "2"), ("STAND_IN_OLD", "1")];
    let ended = run(&bench, &two, &format!("{line} newer"));
    assert_eq!(ended.code, 0, "{}", ended.err);
    let capability = "/resolved/cuda/cards/0/compute_capability";
    assert_eq!(bench.recorded("newer", capability), "9.0");
    embed(&bench, &[], &format!("{} cpu --device cpu", &line[4..]));
    let old = [("STAND_IN_CAPABILITY", "70")];
    let ended = run(&bench, &old, &format!("{line} old"));
    let said = "\nno GPU is used: Stand-in has compute capability 7.0, and 7.5 is needed\n";
    assert!(ended.err.contains(said), "{}", ended.err);
    assert!(bench.tree("old") == bench.tree("cpu"));
    for (number, (variable, why)) in [
        (
            ("STAND_IN_MEMORY_MIB", "1"),
            "the GPU has no memory left for ",
        ),
        (
            ("STAND_IN_FAIL", "cuDevicePrimaryCtxRetain:1:46"),
            "CUDA failed while opening the GPU",
        ),
        (
            ("STAND_IN_ALGORITHMS", "broken"),
            "cuBLASLt has no algorithm for ",
        ),
        (
            ("NVIDIA_TF32_OVERRIDE", "1"),
            "the environment variable NVIDIA_TF32_OVERRIDE is set",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let ended = run(&bench, &[variable], &format!("{line} auto{number} -q"));
        assert_eq!(ended.code, 0, "{}", ended.err);
        let said = format!("no GPU is used: {why}");
        assert!(ended.err.contains(&said), "{}", ended.err);
        let out = format!("auto{number}");
        assert_eq!(bench.recorded(&out, "/resolved/device"), "cpu");
        assert_eq!(bench.recorded(&out, "/resolved/dtype"), "f32");
        assert!(bench.tree(&out) == bench.tree("cpu"), "{why}");
        for asked in ["--device cuda", "--dtype tf32"] {
            let ended = run(&bench, &[variable], &format!("{line} no {asked} -q"));
            assert_eq!((ended.code, &*ended.out), (1, ""), "{}", ended.err);
            assert!(ended.err.contains(why), "{asked}: {}", ended.err);
            assert!(!bench.path("no").exists());
        }
    }
    let off = [("NVIDIA_TF32_OVERRIDE", "0")];
    embed(&bench, &off, &format!("{} off --device cuda", &line[4..]));
}

/// A run begun on a GPU is not resumed on the CPU.
#[test]
fn a_run_begun_on_a_gpu_is_not_resumed_on_the_cpu() {
    let bench = bench();
    let line = "run in.fasta --model $MODEL --layer 1,2 --max-tokens 60 --out emb -q";
    let failing = [("STAND_IN_FAIL", "cuLaunchKernel:300:700")];
    let ended = run(&bench, &failing, line);
    assert_eq!(ended.code, 1, "{}", ended.err);
    let none = [("STAND_IN_MEMORY_MIB", "1")];
    let ended = run(&bench, &none, &format!("{line} --resume"));
    assert_eq!(ended.code, 1, "{}", ended.err);
    assert!(ended.err.contains("no memory left for"), "{}", ended.err);
    let ended = run(&bench, &[], &format!("{line} --resume"));
    assert_eq!((ended.code, &*ended.err), (0, ""));
}

/// A GPU has its own bits, whatever the number format.
#[test]
fn shards_of_a_gpu_and_of_a_cpu_are_not_merged() {
    let bench = filled(tested_bench());
    let line = "in.fasta --model $MODEL --dtype f32 --residues none";
    for (number, device) in [(1, "cpu"), (1, "cuda"), (2, "cpu"), (2, "cuda")] {
        let out = format!("--device {device} --out {device}{number}");
        embed(&bench, &[], &format!("{line} --shard {number}/2 {out}"));
    }
    for (shards, devices) in [
        ("cpu1 cuda2", "cpu and cuda (Stand-in)"),
        ("cuda1 cpu2", "cuda (Stand-in) and cpu"),
    ] {
        let ended = run(&bench, &[], &format!("merge {shards} --out merged -q"));
        assert_eq!(ended.code, 1, "{}", ended.err);
        let (first, second) = shards.split_once(' ').unwrap();
        let why = format!(
            "error: {first} and {second} are not shards of one run: --device ({devices})\n"
        );
        assert!(ended.err.starts_with(&why), "{}", ended.err);
        assert!(!bench.path("merged").exists());
    }
    for device in ["cpu", "cuda"] {
        let line = format!("merge {device}1 {device}2 --out {device} -q");
        let ended = run(&bench, &[], &line);
        assert_eq!((ended.code, &*ended.err), (0, ""));
    }
}

#[test]
fn doctor_lists_the_visible_gpus() {
    let bench = Bench::new();
    let variables = [("STAND_IN_CARDS", "3"), ("STAND_IN_NAMES", "A,B,C")];
    let said = run(&bench, &variables, "doctor");
    assert_eq!(said.code, 0, "{}", said.err);
    for line in [
        "0: A, compute capability 9.0, 4.0 GiB, driver for CUDA 13.0",
        "1: B, compute capability 9.0, 4.0 GiB, driver for CUDA 13.0",
        "2: C, compute capability 9.0, 4.0 GiB, driver for CUDA 13.0",
    ] {
        assert!(said.out.contains(line), "{}", said.out);
    }
    let some = [variables[0], variables[1], ("CUDA_VISIBLE_DEVICES", "2,0")];
    let said = run(&bench, &some, "doctor");
    assert!(
        said.out.contains("0: C, ") && said.out.contains("1: A, "),
        "{}",
        said.out
    );
    assert!(!said.out.contains(": B, "), "{}", said.out);
    let said = run(&bench, &[("STAND_IN_CARDS", "0")], "doctor");
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.out.contains("no CUDA GPU is visible"), "{}", said.out);
}

/// `doctor --gpu` times every product, kernel and length, and fails where nothing can be measured.
#[test]
fn doctor_measures_the_gpu() {
    let bench = Bench::new();
    let variables = [
        ("STAND_IN_MULTIPROCESSORS", "3"),
        ("STAND_IN_ALGORITHMS", "uneven,even,broken,even"),
        ("STAND_IN_PRODUCTS", "even"),
        ("STAND_IN_WORK", "now"),
    ];
    let said = run(&bench, &variables, "doctor --gpu=8M --json");
    assert_eq!(said.code, 0, "{}", said.err);
    let report: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    let gpus = report["computation"]["gpus"].as_array().unwrap();
    assert_eq!(gpus.len(), 1);
    let all = report["gpu"].as_array().unwrap();
    assert_eq!(all.len(), 1);
    let found = &all[0];
    let shape = ["size", "dim", "heads", "tokens"].map(|name| found[name].clone());
    let expected = serde_json::json!(["8M", 320, 20, 1536]);
    assert_eq!(serde_json::json!(shape), expected);
    let is_positive = |value: &serde_json::Value| value.as_f64().unwrap() > 0.0;
    let products = found["products"].as_array().unwrap();
    let shapes = products
        .iter()
        .map(|p| [p["outputs"].clone(), p["inputs"].clone()]);
    let shapes: Vec<_> = shapes.collect();
    let expected = serde_json::json!([[960, 320], [320, 320], [1280, 320], [320, 1280]]);
    assert_eq!(serde_json::json!(shapes), expected);
    for product in products {
        let counts = ["offered", "tested", "passed"].map(|name| product[name].as_u64().unwrap());
        assert_eq!(counts, [4, 4, 2]);
        let used = product["used"].as_str().unwrap();
        assert!(
            used.starts_with("id 0, tile 20") || used == "esm-embed",
            "{used}"
        );
        assert!(is_positive(&product["milliseconds_with_next"]));
        let own = product["own"].as_array().unwrap();
        assert!(own.iter().all(|tiles| is_positive(&tiles["milliseconds"])));
        let times = product["times"].as_array().unwrap();
        let rows: Vec<_> = times.iter().map(|time| time["rows"].as_u64()).collect();
        assert_eq!(rows, [Some(256), Some(384)]);
        assert!(
            times
                .iter()
                .all(|time| is_positive(&time["tflop_per_second"]))
        );
    }
    let rows = found["rows"].as_array().unwrap();
    let names: Vec<_> = rows
        .iter()
        .map(|row| row["kernel"].as_str().unwrap())
        .collect();
    let expected = [
        "embed",
        "bias_rotary",
        "add_norm",
        "bias_gelu",
        "final_norm",
        "pool",
        "take_rows_f32",
        "take_rows_f16",
    ];
    assert_eq!(names, expected);
    assert!(rows.iter().all(|row| is_positive(&row["gb_per_second"])));
    let attention = found["attention"].as_array().unwrap();
    let lengths = attention
        .iter()
        .map(|each| [&each["length"], &each["sequences"]]);
    let lengths: Vec<_> = lengths.collect();
    let expected = serde_json::json!([[128, 12], [300, 5], [1000, 1]]);
    assert_eq!(serde_json::json!(lengths), expected);
    assert!(
        attention
            .iter()
            .all(|each| is_positive(&each["tflop_per_second"]))
    );

    let said = run(&bench, &[("STAND_IN_CARDS", "0")], "doctor --gpu=8M");
    assert_eq!(said.code, 1, "{}", said.out);
    assert!(
        said.err
            .contains("--gpu cannot be measured: no CUDA GPU is visible"),
        "{}",
        said.err
    );
    let said = run(&bench, &[], "doctor --gpu=7M");
    assert_eq!(said.code, 2, "{}", said.err);
    assert!(
        said.err.contains("not a size of ESM-2, such as 8M or 650M"),
        "{}",
        said.err
    );
}
