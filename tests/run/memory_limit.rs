//! A hard limit on memory: records that are too large for it are named before any work, or skipped on
//! request.

use crate::bench::*;
use crate::common::fixture;
use std::fmt::Write;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Runs under `ulimit -v`, in KiB.
fn run_within(bench: &Bench, kib: u64, line: &str) -> Ended {
    run_model_within(bench, &fixture("esm2_hd16"), kib, line)
}

fn run_model_within(bench: &Bench, model: &Path, kib: u64, line: &str) -> Ended {
    let mut command = assert_cmd::Command::new("sh");
    let limit = format!("ulimit -v {kib}; exec \"$@\"");
    command
        .args(["-c", &limit, "sh"])
        .arg(env!("CARGO_BIN_EXE_esm-embed"))
        .args(["run", "--model"])
        .arg(model)
        .args(line.split_whitespace())
        .current_dir(bench.path(""))
        .env_clear()
        .env("PATH", "/usr/bin:/bin");
    ended(&mut command)
}

/// Two ordinary records around one of three million residues.
fn bench() -> Bench {
    let bench = Bench::new();
    let mut text = ">a\nMKTAYIAKQR\n>huge protein\n".to_owned();
    for _ in 0..50_000 {
        writeln!(text, "{}", "ACDEFGHIKLMNPQRSTVWY".repeat(3)).unwrap();
    }
    text += ">b\nMKV\n";
    bench.write("in.fasta", text);
    bench
}

const LIMIT: u64 = 3 << 19;

#[test]
fn a_record_too_large_is_named_before_any_work() {
    let bench = bench();
    let ended = run_within(
        &bench,
        LIMIT,
        "in.fasta --out emb --threads 2 -q --cpu-path portable",
    );
    assert_eq!(ended.code, 1, "{}", ended.err);
    let start = "error: in.fasta, line 3, record 2 (huge): the sequence has 3,000,000 \
                 residues, which need about 3.1 GB of memory; ";
    let end = " are left beside the model (ulimit -v)\n\
     \x20 hint: raise the limit\n\
     \x20 hint: use --long window or --long truncate\n\
     \x20 hint: use --on-invalid skip to leave such records out and list them in skipped.tsv\n";
    assert!(ended.err.starts_with(start), "{}", ended.err);
    assert!(ended.err.ends_with(end), "{}", ended.err);
    assert!(!exists(&bench.path("emb")));
}

#[test]
fn a_record_too_large_is_skipped_and_the_rest_is_embedded() {
    let bench = bench();
    let line = "in.fasta --out emb --threads 2 -q --on-invalid skip";
    let ended = run_within(&bench, LIMIT, line);
    assert_eq!(ended.code, 3, "{}", ended.err);
    assert_eq!(
        bench.text("emb/index.tsv"),
        "row\tid\tlength\tresidue_offset\tflags\tdescription\n0\ta\t10\t0\t\t\n1\tb\t3\t10\t\t\n"
    );
    assert_eq!(
        bench.text("emb/skipped.tsv"),
        "file\tline\trecord\tid\treason\nin.fasta\t3\t2\thuge\tthe sequence has 3,000,000 residues, \
         too many for the memory of the run\n"
    );
    // In windows it needs no more than the others.
    bench.write("short.fasta", ">a\nMKTAYIAKQR\n>b\nMKV\n");
    bench.embed("short.fasta --model $MODEL --out short");
    let row = |folder: &str| bench.row(&format!("{folder}/mean.layer2.npy"), 1);
    assert_eq!(row("emb"), row("short"));
}

#[test]
fn an_ordinary_input_runs_in_one_and_a_half_gib() {
    let bench = Bench::new();
    let text: String = (0..60)
        .map(|i| format!(">r{i}\n{}\n", sequence(i, 1 + (i as usize * 137) % 2400)))
        .collect();
    bench.write("in.fasta", text);
    for threads in [1, 4] {
        let line = format!("in.fasta --out emb{threads} --threads {threads} -q");
        let ended = run_within(&bench, LIMIT, &line);
        assert_eq!(ended.code, 0, "{}", ended.err);
    }
    assert!(bench.tree("emb1") == bench.tree("emb4"));
}

#[test]
fn a_model_that_does_not_fit_is_refused() {
    let bench = Bench::new();
    bench.write("in.fasta", ">a\nMKT\n");
    let ended = run_within(&bench, 60 << 10, "in.fasta --out emb --threads 1 -q");
    assert_eq!(ended.code, 1, "{}", ended.err);
    assert!(
        ended.err.contains(
            "this process may use 62.9 MB (ulimit -v)\n\
             \x20 hint: raise the limit\n\
             \x20 hint: choose a smaller model\n\
             \x20 hint: use --dtype f16, which halves the memory of the weights\n"
        ),
        "{}",
        ended.err
    );
}

/// An ESM-2 of four layers as wide as those of 650M, all zeros: its 300 MiB of weights take no space
/// on disk.
fn wide_model(bench: &Bench) -> PathBuf {
    let folder = bench.path("wide");
    std::fs::create_dir(&folder).unwrap();
    let config = r#"{"model_type": "esm", "hidden_size": 1280, "num_attention_heads": 20,
        "num_hidden_layers": 4, "intermediate_size": 5120, "vocab_size": 33, "mask_token_id": 32,
        "pad_token_id": 1, "max_position_embeddings": 1026, "layer_norm_eps": 1e-05,
        "position_embedding_type": "rotary", "token_dropout": true, "hidden_act": "gelu",
        "emb_layer_norm_before": false}"#;
    std::fs::write(folder.join("config.json"), config).unwrap();
    let mut header = String::new();
    let mut end = 0;
    let mut tensor = |name: &str, shape: &[u64]| {
        let begin = end;
        end += 4 * shape.iter().product::<u64>();
        let comma = if header.is_empty() { "{" } else { "," };
        let entry = r#""dtype":"F32","shape":"#;
        write!(
            header,
            r#"{comma}"{name}":{{{entry}{shape:?},"data_offsets":[{begin},{end}]}}"#
        )
        .unwrap();
    };
    tensor("esm.embeddings.word_embeddings.weight", &[33, 1280]);
    let mut both = |module: &str, weight: &[u64]| {
        tensor(&format!("esm.encoder.{module}.weight"), weight);
        tensor(&format!("esm.encoder.{module}.bias"), &weight[..1]);
    };
    for i in 0..4 {
        for name in ["self.query", "self.key", "self.value", "output.dense"] {
            both(&format!("layer.{i}.attention.{name}"), &[1280, 1280]);
        }
        both(&format!("layer.{i}.intermediate.dense"), &[5120, 1280]);
        both(&format!("layer.{i}.output.dense"), &[1280, 5120]);
        both(&format!("layer.{i}.attention.LayerNorm"), &[1280]);
        both(&format!("layer.{i}.LayerNorm"), &[1280]);
    }
    both("emb_layer_norm_after", &[1280]);
    header.push('}');
    let mut file = File::create(folder.join("model.safetensors")).unwrap();
    let length = header.len() as u64;
    file.write_all(&length.to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.set_len(8 + length + end).unwrap();
    assert_eq!(end >> 20, 300);
    folder
}

#[test]
fn weights_take_address_space_once() {
    let bench = Bench::new();
    let model = wide_model(&bench);
    bench.write("in.fasta", format!(">a\n{}\n>b\nMKV\n", sequence(1, 300)));
    // 300 MiB of weights and 260 MiB more: less than twice the weights.
    for threads in [1, 4] {
        let line = format!("in.fasta --out emb{threads} --threads {threads} --pool mean -q");
        let ended = run_model_within(&bench, &model, 560 << 10, &line);
        assert_eq!(ended.code, 0, "{}", ended.err);
        let means = bench.matrix(&format!("emb{threads}/mean.layer4.npy"));
        assert_eq!(means.dim(), (2, 1280));
        assert!(means.iter().all(|x| *x == 0.0));
    }
    // Less memory than the weights is an error before loading.
    let ended = run_model_within(&bench, &model, 290 << 10, "in.fasta --out less -q");
    assert_eq!(ended.code, 1, "{}", ended.err);
    assert!(
        ended
            .err
            .contains("this process may use 304.1 MB (ulimit -v)"),
        "{}",
        ended.err
    );
}
