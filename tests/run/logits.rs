//! Logits: fair-esm's numbers in every layout that holds the head, the same bits in any batch, and the
//! files of a run.

use crate::bench::*;
use crate::common::{MODELS, Reference, differences, fixture, load_with, records};
use esm_embed::cancel::Cancel;
use esm_embed::embedder::{Computed, Embedder, Sequence};
use esm_embed::ops::{CpuPath, WeightType};
use esm_embed::product::{OutDtype, Pool, Product, Request, Values};
use esm_embed::tokenizer::{TokenId, UnknownPolicy, tokenize};
use half::f16;
use std::ops::{ControlFlow, Range};

/// Bound of the largest difference, relative to the largest logit.
const BOUND: f64 = 2e-5;

/// Fixtures, and whose logits they have.
const LAYOUTS: [(&str, &str); 23] = [
    ("esm2_hd16", "esm2_hd16"),
    ("esm2_hd24", "esm2_hd24"),
    ("esm2_hd32", "esm2_hd32"),
    ("esm2_hd64", "esm2_hd64"),
    ("esm2_hd128", "esm2_hd128"),
    ("esm1b", "esm1b"),
    ("esm1v", "esm1v"),
    ("esm2_hd16_f16", "esm2_hd16_f16"),
    ("esm2_hd16_bf16", "esm2_hd16_bf16"),
    ("esm2_hd16_noinvfreq", "esm2_hd16_noinvfreq"),
    ("esm2_hd16_untied", "esm2_hd16_untied"),
    ("esm2_hd16_sharded", "esm2_hd16"),
    ("esm2_hd16_bin", "esm2_hd16"),
    ("esm2_hd16_bin_sharded", "esm2_hd16"),
    ("esm2_hd16_v5", "esm2_hd16"),
    ("esm2_hd16_v5_shared", "esm2_hd16"),
    ("esm2_hd16_te", "esm2_hd16_noinvfreq"),
    ("esm2_hd16_te_old", "esm2_hd16_noinvfreq"),
    ("fair_esm/esm2_hd16.pt", "esm2_hd16"),
    ("nemo/esm2_hd16.nemo", "esm2_hd16"),
    ("fair_esm/esm2_hd24.pt", "esm2_hd24"),
    ("fair_esm/esm1b.pt", "esm1b"),
    ("fair_esm/esm1v.pt", "esm1v"),
];

fn load(model: &str, path: CpuPath) -> Embedder {
    load_with(&fixture(model), path, WeightType::F32, 1, true)
}

/// The logits of every sequence of a batch, `[n, 33]` each.
fn logits(embedder: &Embedder, batch: &[Sequence<'_>], request: &Request) -> Vec<Vec<f32>> {
    let mut all = vec![Vec::new(); batch.len()];
    let mut keep = |computed: Computed<'_>| {
        let Values::F32(values) = computed.values else {
            panic!("f32 was requested");
        };
        if computed.product == Product::Logits {
            all[computed.sequence] = values.to_vec();
        }
        ControlFlow::Continue(())
    };
    let done = embedder.embed(batch, request, &Cancel::default(), &mut keep);
    done.unwrap();
    all
}

fn only_logits() -> Request {
    Request::new([Product::Logits], OutDtype::F32)
}

fn whole(tokens: &[TokenId]) -> Sequence<'_> {
    Sequence {
        tokens,
        windows: &[],
    }
}

/// The tokens of every reference sequence.
fn reference_tokens() -> Vec<Vec<TokenId>> {
    let tokens = |(_, text): &(String, Vec<u8>)| tokenize(text, UnknownPolicy::Unk).unwrap().ids;
    records("reference/sequences.fasta")
        .iter()
        .map(tokens)
        .collect()
}

fn check(model: &str, reference: &str, path: CpuPath) {
    let embedder = load(model, path);
    let values = Reference::open("logits");
    let mut sequences = 0;
    for (k, tokens) in reference_tokens().iter().enumerate() {
        let Some((rows, wanted)) = values.logits(reference, k) else {
            continue;
        };
        sequences += 1;
        let found = &logits(&embedder, &[whole(tokens)], &only_logits())[0];
        assert_eq!(found.len(), (tokens.len() - 2) * 33);
        let rows = rows.iter().map(|row| &found[(row - 1) * 33..row * 33]);
        let found: Vec<f32> = rows.flatten().copied().collect();
        let size = wanted.iter().fold(0.0f64, |m, x| m.max(f64::from(x.abs())));
        let (most, _) = differences(&found, &wanted);
        assert!(
            most <= BOUND * size,
            "{model} on {path}, sequence {k}: max |Δ| {most:e} at magnitude {size}"
        );
    }
    assert!(sequences >= 3, "{model}");
}

#[test]
fn logits_equal_fair_esm_in_every_layout() {
    for (model, reference) in LAYOUTS {
        check(model, reference, CpuPath::detect());
    }
}

#[test]
fn logits_equal_fair_esm_on_every_path() {
    for path in CpuPath::ALL.into_iter().filter(|path| path.is_available()) {
        for model in MODELS {
            check(model, model, path);
        }
    }
}

#[test]
fn logits_have_the_same_bits_in_any_batch_with_anything_else_and_on_threads() {
    let tokens = reference_tokens();
    for model in ["esm2_hd24", "esm2_hd64"] {
        let embedder = load(model, CpuPath::detect());
        let last = embedder.config().layers;
        let single: Vec<Vec<f32>> = tokens
            .iter()
            .map(|tokens| logits(&embedder, &[whole(tokens)], &only_logits()).remove(0))
            .collect();
        let batch: Vec<_> = tokens.iter().map(|tokens| whole(tokens)).collect();
        assert!(logits(&embedder, &batch, &only_logits()) == single);
        let backwards: Vec<_> = batch.iter().rev().copied().collect();
        let mut found = logits(&embedder, &backwards, &only_logits());
        found.reverse();
        assert!(found == single);
        let pool = Pool::Mean;
        let others = [
            Product::Logits,
            Product::Residues { layer: last },
            Product::Residues { layer: 0 },
            Product::Pooled { layer: 1, pool },
        ];
        let request = Request::new(others, OutDtype::F32);
        assert!(logits(&embedder, &batch, &request) == single);
    }
    // Shared by the threads of a pool.
    let long = &[&[0][..], &[7, 12, 5, 19].repeat(700), &[2]].concat();
    let [one, three] = [1, 3].map(|threads| {
        let path = fixture("esm2_hd16");
        let embedder = load_with(&path, CpuPath::detect(), WeightType::F32, threads, true);
        logits(&embedder, &[whole(long)], &only_logits())
    });
    assert_eq!(one[0].len(), 2800 * 33);
    assert!(one == three);
}

/// The head stays f32, and so close to the logits of f32 as the model is.
#[test]
fn logits_of_half_precision_stay_near_f32() {
    let tokens = &reference_tokens()[5];
    let exact = &logits(
        &load("esm2_hd64", CpuPath::detect()),
        &[whole(tokens)],
        &only_logits(),
    )[0];
    let path = fixture("esm2_hd64");
    let half = load_with(&path, CpuPath::detect(), WeightType::F16, 1, true);
    let (_, relative) = differences(&logits(&half, &[whole(tokens)], &only_logits())[0], exact);
    assert!(relative <= 1e-3, "{relative:e}");
}

#[test]
fn logits_of_windows_are_blended() {
    let embedder = load("esm2_hd16", CpuPath::detect());
    let tokens = &reference_tokens()[5][..12];
    let tokens = [tokens, &[2]].concat();
    let windows: [Range<usize>; 2] = [0..8, 3..11];
    let sequence = Sequence {
        tokens: &tokens,
        windows: &windows,
    };
    let found = &logits(&embedder, &[sequence], &only_logits())[0];
    let of_window = |window: Range<usize>| {
        let inner = &tokens[window.start + 1..window.end + 1];
        let piece = [&[0][..], inner, &[2]].concat();
        logits(&embedder, &[whole(&piece)], &only_logits()).remove(0)
    };
    let (first, second) = (of_window(0..8), of_window(3..11));
    assert!(found[..3 * 33] == first[..3 * 33]);
    assert!(found[8 * 33..] == second[5 * 33..]);
    // Residue 4 is the fifth of the first window, 4 from its nearer end, and the second of the other.
    for v in 0..33 {
        let blended = (4.0 * first[4 * 33 + v] + 2.0 * second[33 + v]) / 6.0;
        assert!((found[4 * 33 + v] - blended).abs() < 1e-5);
    }
}

/// Every row of the packed logits of a run, from the library.
fn expected(bench: &Bench, model: &str, names: &[&str]) -> Vec<f32> {
    let embedder = load(model, CpuPath::detect());
    let mut all = Vec::new();
    for name in names {
        let tokens = tokenize(bench.text(name).trim().as_bytes(), UnknownPolicy::Unk).unwrap();
        all.extend(logits(&embedder, &[whole(&tokens.ids)], &only_logits()).remove(0));
    }
    all
}

fn two_proteins() -> Bench {
    let bench = Bench::new();
    bench.write("a", "MKTVRQERLKXBAGA");
    bench.write("b", sequence(4, 70));
    let (a, b) = (bench.text("a"), bench.text("b"));
    bench.write(
        "in.fasta",
        format!(">a\n{a}\n>b\n{b}\n>a/again same as a\n{a}\n"),
    );
    bench
}

#[test]
fn a_run_writes_packed_logits_and_records_them() {
    let bench = two_proteins();
    bench.embed("in.fasta --model $MODEL --include logits --out emb");
    let found = bench.matrix("emb/logits.npy");
    assert_eq!(found.dim(), (15 + 70 + 15, 33));
    assert_eq!(
        found.iter().copied().collect::<Vec<_>>(),
        expected(&bench, "esm2_hd16", &["a", "b", "a"])
    );
    assert_eq!(
        bench.recorded("emb", "/asked/include"),
        serde_json::json!(["logits"])
    );
    let letters = bench.recorded("emb", "/resolved/letters");
    let letters: Vec<&str> = letters
        .as_array()
        .unwrap()
        .iter()
        .map(|letter| letter.as_str().unwrap())
        .collect();
    assert_eq!(
        letters.join(" "),
        "<cls> <pad> <eos> <unk> L A G V S E R T I D P K Q N F Y M H W C X B U Z O . - <null_1> <mask>"
    );
    assert_eq!(bench.recorded("emb", "/format_version"), 2);
    assert_eq!(
        bench.recorded("emb", "/layout/include"),
        serde_json::json!({"products": ["logits"], "vocab": 33, "layers": 2, "heads": 2})
    );
    // The arrays beside them are those of a run without logits.
    bench.embed("in.fasta --model $MODEL --out plain");
    let mut with = bench.tree("emb");
    let mut plain = bench.tree("plain");
    with.remove("logits.npy").unwrap();
    assert!(with.remove("run.json") != plain.remove("run.json"));
    assert!(with == plain);
    assert!(
        !bench.text("plain/run.json").contains("letters")
            && !bench.text("plain/run.json").contains("include")
    );
    let inspected = bench.call("inspect emb --check");
    assert_eq!(inspected.code, 0, "{}", inspected.err);
    assert!(inspected.out.contains("logits.npy"), "{}", inspected.out);
}

#[test]
fn logits_by_themselves_in_files_and_in_f16() {
    let bench = two_proteins();
    let only = "in.fasta --model $esm1b --include logits --pool none --residues";
    bench.embed(&format!("{only} none --out emb"));
    assert_eq!(
        bench.names("emb"),
        ["ids.npy", "index.tsv", "logits.npy", "run.json"]
    );
    let wanted = expected(&bench, "esm1b", &["a", "b", "a"]);
    let found = bench.matrix("emb/logits.npy");
    assert_eq!(found.iter().copied().collect::<Vec<_>>(), wanted);

    let files = "in.fasta --model $esm1b --include logits --pool none --residues files --layer 0";
    bench.embed(&format!("{files} --out files"));
    let a = bench.matrix("files/logits/000000/a.npy");
    assert_eq!(a.iter().copied().collect::<Vec<_>>(), wanted[..15 * 33]);
    let names = bench.names("files/logits/000000");
    assert_eq!((names.len(), &*names[0], &*names[2]), (3, "a.npy", "b.npy"));
    assert_eq!(
        bench.matrix(&format!("files/logits/000000/{}", names[1])),
        a
    );

    bench.embed(&format!("{only} none --out-dtype f16 --out half"));
    let bytes = std::fs::read(bench.path("half/logits.npy")).unwrap();
    let halves = bytes[bytes.len() - wanted.len() * 2..].chunks_exact(2);
    let halves: Vec<f16> = halves
        .map(|b| f16::from_le_bytes(b.try_into().unwrap()))
        .collect();
    let rounded: Vec<f16> = wanted.iter().map(|x| f16::from_f32(*x)).collect();
    assert_eq!(halves, rounded);
}

#[test]
fn logits_of_shards_and_of_any_batch_are_those_of_one_run() {
    let bench = two_proteins();
    let run = "in.fasta --model $MODEL --include logits --residues none";
    bench.check_batches_and_shards(run);
}

#[test]
fn a_checkpoint_without_a_head_is_refused_with_the_reason() {
    let bench = two_proteins();
    for (model, why) in [
        ("esm2_hd16_noprefix", "it holds no `lm_head.dense.weight`"),
        (
            "esm2_hd16_noprefix_v5",
            "it holds no `lm_head.dense.weight`",
        ),
    ] {
        let path = fixture(model);
        let path = path.display();
        assert_fails(
            &bench,
            &format!("in.fasta --model {path} --include logits"),
            &format!(
                "{path}: this checkpoint has no language-model head that can be used, which logits and \
                 scores need: {why}\n  \
                 hint: use the model as it was trained (in transformers: `EsmForMaskedLM`)"
            ),
        );
        // Embeddings do not need it.
        bench.embed(&format!("in.fasta --model {path} --out emb --force"));
    }
}

#[test]
fn a_resumed_run_must_include_the_same() {
    let bench = two_proteins();
    bench.embed("in.fasta --model $MODEL --out emb");
    let ended = bench.run("in.fasta --model $MODEL --include logits --out emb --resume -q");
    assert_eq!(ended.code, 1);
    assert!(
        ended.err.contains("--include was none and is logits"),
        "{}",
        ended.err
    );
}
