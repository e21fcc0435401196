//! LoRA adapters: PEFT's numbers, the base that is used, and what `run.json` records.

use crate::bench::*;
use crate::common::{
    Reference, assert_parity, differences, embed, fixture, load_checkpoint, records,
};
use esm_embed::cancel::Cancel;
use esm_embed::checkpoint::{Additions, Checkpoint};
use esm_embed::embedder::{Embedder, Sequence};
use esm_embed::ops::{CpuPath, WeightType};
use esm_embed::product::{OutDtype, Product, Request, Values};
use serde_json::Value;
use std::fs;
use std::ops::ControlFlow;

/// Adapter, base, reference.
const CASES: [(&str, &str, &str); 9] = [
    ("lora", "esm2_hd16", "adapter_lora"),
    ("rslora_bin", "esm2_hd16", "adapter_rslora_bin"),
    ("embedding", "esm2_hd16", "adapter_embedding"),
    ("one_layer", "esm2_hd16", "adapter_one_layer"),
    ("lora", "fair_esm/esm2_hd16.pt", "adapter_lora"),
    ("lora", "esm2_hd16_f16", "adapter_lora_f16"),
    ("esm_c", "esmc_1x64", "adapter_esm_c"),
    // Query, key and value are one matrix in these, and so are the gate and what it multiplies.
    ("esm_c", "esmc_1x64_sdk", "adapter_esm_c"),
    ("esm_c", "esmc_1x64_plusplus", "adapter_esm_c"),
];

fn load(adapter: &str, base: &str, path: CpuPath, lm_head: bool) -> Embedder {
    let folder = fixture(&format!("adapters/{adapter}"));
    let additions = Additions {
        adapter: Some(&folder),
        ..Additions::default()
    };
    let checkpoint = Checkpoint::open_with(&fixture(base), additions).unwrap();
    load_checkpoint(checkpoint, path, WeightType::F32, 2, lm_head)
}

#[test]
fn every_layer_has_the_numbers_of_peft() {
    for (adapter, base, reference) in CASES {
        let values = Reference::open(reference);
        assert_eq!(values.sequences(), 3);
        for path in CpuPath::ALL.into_iter().filter(|path| path.is_available()) {
            let embedder = load(adapter, base, path, false);
            for k in values.numbers() {
                let tokens = values.tokens(k);
                let sequence = Sequence {
                    tokens: &tokens,
                    windows: &[],
                };
                let hidden = embed(&embedder, &[sequence]);
                assert_parity(
                    &values,
                    k,
                    &hidden[0],
                    &format!("{adapter} on {base}, {path}"),
                );
            }
        }
    }
}

#[test]
fn logits_have_the_numbers_of_peft() {
    for (adapter, base, columns) in [
        ("lora", "esm2_hd16", 33),
        ("one_layer", "esm2_hd16", 33),
        ("esm_c", "esmc_1x64", 64),
    ] {
        let values = Reference::open(&format!("adapter_{adapter}"));
        let embedder = load(adapter, base, CpuPath::detect(), true);
        let is_kept = |k: &usize| values.f32(&format!("seq{k}.logits")).is_some();
        let k = values.numbers().find(is_kept).unwrap();
        let tokens = values.tokens(k);
        let mut found = Vec::new();
        let sequence = Sequence {
            tokens: &tokens,
            windows: &[],
        };
        let request = Request::new([Product::Logits], OutDtype::F32);
        let mut keep = |computed: esm_embed::embedder::Computed<'_>| {
            if let Values::F32(values) = computed.values {
                found.extend_from_slice(values);
            }
            ControlFlow::Continue(())
        };
        embedder
            .embed(&[sequence], &request, &Cancel::default(), &mut keep)
            .unwrap();
        let want = values.f32(&format!("seq{k}.logits")).unwrap();
        let want = &want[columns..want.len() - columns];
        let scale = want.iter().fold(1.0f64, |m, x| m.max(f64::from(x.abs())));
        let (most, relative) = differences(&found, want);
        assert!(
            most <= 2e-5 * scale && relative <= 2e-6,
            "{adapter}: {most:e} {relative:e}"
        );
    }
}

/// A bench with an adapter whose configuration names `base`.
fn bench(base: &str) -> Bench {
    let bench = Bench::new();
    let folder = bench.path("adapter");
    fs::create_dir(&folder).unwrap();
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        let bytes = fs::read(fixture("adapters/one_layer").join(name)).unwrap();
        fs::write(folder.join(name), bytes).unwrap();
    }
    let config = bench.text("adapter/adapter_config.json");
    let named = config.replace("fixtures/esm2_hd16", base);
    bench.write("adapter/adapter_config.json", named);
    let some = records("reference/sequences.fasta");
    let short = some
        .iter()
        .filter(|(id, text)| id.starts_with("len") && text.len() < 200);
    let fasta = short.map(|(id, text)| format!(">{id}\n{}\n", String::from_utf8_lossy(text)));
    bench.write("in.fasta", fasta.collect::<String>());
    bench
}

fn model(bench: &Bench, folder: &str) -> Value {
    let json: Value = serde_json::from_str(&bench.text(&format!("{folder}/run.json"))).unwrap();
    json["resolved"]["model"].clone()
}

#[test]
fn the_base_is_the_model_else_what_the_adapter_names() {
    let base = fixture("esm2_hd16");
    let bench = bench(base.to_str().unwrap());
    let loaded = bench.run("in.fasta --model ./adapter --out as-model --progress plain");
    let says = format!(
        "loaded {} with the adapter ./adapter, which changes 7 weights (2 layers of 32, huggingface) in ",
        base.display()
    );
    assert!(loaded.err.contains(&says), "{}", loaded.err);
    let planned = bench.run("in.fasta --adapter adapter --out planned --dry-run");
    let says = format!("model         {}\nadapter       adapter\n", base.display());
    assert!(
        planned.out.starts_with(&says),
        "{}{}",
        planned.out,
        planned.err
    );
    bench.embed("in.fasta --adapter adapter --out named");
    bench.embed("in.fasta --adapter adapter --model $MODEL --out given");
    bench.embed("in.fasta --model $MODEL --out base");
    for file in ["mean.layer2.npy", "residues.layer2.npy"] {
        let of = |folder: &str| bench.bytes(&format!("{folder}/{file}"));
        assert!(
            of("as-model") == of("named") && of("named") == of("given"),
            "{file}"
        );
        assert!(of("as-model") != of("base"), "{file}");
    }
    let files = model(&bench, "given")["files"].clone();
    let names: Vec<&str> = files
        .as_array()
        .unwrap()
        .iter()
        .map(|f| f["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "config.json",
            "model.safetensors",
            "adapter_config.json",
            "adapter_model.safetensors"
        ]
    );
    assert_eq!(files[3]["sha256"].as_str().unwrap().len(), 64);
    assert_eq!(
        model(&bench, "given")["adapter"],
        serde_json::json!({"base": base.to_str().unwrap(), "method": "LoRA", "weights": 7})
    );
    assert_eq!(model(&bench, "base")["adapter"], Value::Null);
    let shown = bench.call("inspect given").out;
    assert!(
        shown.contains(&format!(
            "\n  adapter: LoRA of {}, 7 weights\n",
            base.display()
        )),
        "{shown}"
    );
}

#[test]
fn another_base_than_the_named_one_is_a_warning() {
    let bench = bench("lab/other");
    let ended = bench.run("in.fasta --adapter adapter --model $MODEL --out emb");
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(
        ended
            .err
            .contains("warning: adapter: this adapter was trained on lab/other, not on "),
        "{}",
        ended.err
    );
    for words in ["--adapter adapter", "--model ./adapter"] {
        let ended = bench.run(&format!("in.fasta {words} --out none"));
        assert_eq!(ended.code, 1);
        assert!(
            ended.err.contains("adapter: the adapter names lab/other as its base model: lab/other is not complete in the cache")
                && ended.err.contains("hint: give that model, or a copy of it on this machine, with --model"),
            "{}",
            ended.err
        );
        assert!(!exists(&bench.path("none")));
    }
}

#[test]
fn a_mistyped_path_is_said_not_to_exist() {
    let bench = bench("lab/base");
    for (words, says) in [
        (
            "--adapter adaptre",
            "error: adaptre: no such file or folder\n",
        ),
        (
            "--adapter my/adaptre",
            "  hint: if my/adaptre is meant as a path, check it: no such path exists\n",
        ),
        (
            "--model my/adaptre",
            "  hint: if my/adaptre is meant as a path, check it: no such path exists\n",
        ),
        (
            "--adapter my/adaptre",
            "copy the adapter's folder here and use its path as --adapter\n",
        ),
        // The base that the adapter names may be a path too.
        (
            "--adapter adapter",
            "  hint: if lab/base is meant as a path, check it: no such path exists\n",
        ),
    ] {
        let ended = bench.run(&format!("in.fasta {words} --out none"));
        assert_eq!(ended.code, 1);
        assert!(ended.err.contains(says), "{words}: {}", ended.err);
        assert!(!exists(&bench.path("none")));
    }
    // A published model is not a path.
    let ended = bench.run("in.fasta --model facebook/esm2_t6_8M_UR50D --out none");
    assert!(!ended.err.contains("such path"), "{}", ended.err);
}

#[test]
fn another_adapter_is_not_resumed_or_merged() {
    let base = fixture("esm2_hd16");
    let bench = bench(base.to_str().unwrap());
    bench.embed("in.fasta --adapter adapter --shard 1/2 --out one");
    let config = bench.text("adapter/adapter_config.json");
    bench.write(
        "adapter/adapter_config.json",
        config.replace("\"lora_alpha\": 8", "\"lora_alpha\": 9"),
    );
    bench.embed("in.fasta --adapter adapter --shard 2/2 --out two");
    let merged = bench.call("merge one two --out merged");
    assert_eq!(merged.code, 1);
    assert!(merged.err.contains("adapter_config.json"), "{}", merged.err);
    let resumed = bench.run("in.fasta --adapter adapter --shard 1/2 --out one --resume");
    assert_eq!(resumed.code, 1);
    assert!(
        resumed.err.contains("adapter_config.json"),
        "{}",
        resumed.err
    );
    let without = bench.run("in.fasta --model $MODEL --shard 1/2 --out one --resume");
    assert_eq!(without.code, 1, "{}", without.err);
}

#[test]
fn batches_threads_and_shards_change_no_bit() {
    let base = fixture("esm2_hd16");
    let bench = bench(base.to_str().unwrap());
    bench.check_batches_and_shards("in.fasta --adapter adapter --layer all");
}

#[test]
fn scores_are_those_of_the_adapter() {
    let base = fixture("esm2_hd16");
    let bench = bench(base.to_str().unwrap());
    bench.write("p.fasta", ">p\nMKTAYIAKQR\n");
    for (words, out) in [
        (format!("--model {}", base.display()), "base.csv"),
        ("--model ./adapter".to_owned(), "model.csv"),
        ("--adapter adapter".to_owned(), "adapter.csv"),
    ] {
        let ended = bench.call(&format!(
            "score p.fasta --method pll --out {out} {words} -q"
        ));
        assert_eq!(ended.code, 0, "{}", ended.err);
    }
    let numbers = |file: &str| bench.text(file).lines().nth(1).unwrap().to_owned();
    assert_eq!(numbers("model.csv"), numbers("adapter.csv"));
    assert_ne!(numbers("model.csv"), numbers("base.csv"));
    bench.write("v.csv", "mutant\nK2A\n");
    for (words, column) in [
        ("--adapter adapter".to_owned(), "adapter"),
        ("--model ./adapter".to_owned(), "adapter"),
        (
            format!("--adapter adapter --model {}", base.display()),
            "esm2_hd16",
        ),
    ] {
        let line = format!("score p.fasta --variants v.csv --out v-out.csv --force -q {words}");
        let ended = bench.call(&line);
        assert_eq!(ended.code, 0, "{}", ended.err);
        let header = format!("mutant,{column}\n");
        assert!(bench.text("v-out.csv").starts_with(&header), "{words}");
    }
    // The model that is given counts, not the one that the adapter names.
    let line = "score p.fasta --method pll --out x.csv --adapter adapter --model";
    let other = bench.call(&format!("{line} {}", fixture("esm2_hd24").display()));
    assert_eq!(other.code, 1);
    let says = "the adapter does not fit the model";
    assert!(other.err.contains(says), "{}", other.err);
    let two = bench.call("score p.fasta --method pll --out x.csv --adapter adapter --model 8M,35M");
    assert_eq!(two.code, 2);
    assert!(
        two.err.contains("--adapter belongs to one model"),
        "{}",
        two.err
    );
}
