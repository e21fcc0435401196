use super::compare::embed;
use super::comparison::Comparison;
use super::comparison::Expected;
use super::*;
use esm_embed::checkpoint::Checkpoint;
use esm_embed::device::Device;
use esm_embed::hub::published_hub_digest;
use esm_embed::ops::CpuPath;
use half::f16;
use safetensors::tensor::{Dtype as Stored, TensorView};
use std::collections::HashMap;
use std::path::Path;

const SEQUENCES: [&str; 2] = ["MKTAYIAKQRQISFVK", "GLDALQITV"];
const STRIDE: usize = 5;

fn embedder() -> Embedder {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/esm2_hd16");
    let checkpoint = Checkpoint::open(&path).unwrap();
    let device = Device::cpu(CpuPath::detect());
    let options = EmbedderOptions::new(device, Dtype::F32, checkpoint.config().layers);
    Embedder::load(&Arc::new(checkpoint), &options).unwrap()
}

/// Files in the form of the published ones, from the stand-in's own outputs, changed by `change`.
fn published_of(embedder: &Embedder, change: impl Fn(&str, &mut Vec<f32>)) -> (String, Vec<u8>) {
    let (dim, last) = (embedder.config().dim, embedder.config().layers);
    let (mut rows, mut norms, mut means) = (Vec::new(), Vec::new(), Vec::new());
    for sequence in SEQUENCES {
        let (_, residues) = embed(embedder, &[last], sequence).unwrap().remove(0);
        means.extend(esm_embed::pooling::mean(&residues, dim));
        for row in residues.chunks(dim) {
            rows.extend(row.iter().copied().step_by(STRIDE));
            norms.push(row.iter().map(|v| v * v).sum::<f32>().sqrt());
        }
    }
    change("rows", &mut rows);
    change("norms", &mut norms);
    change("mean", &mut means);
    let halves: Vec<u8> = rows
        .iter()
        .flat_map(|v| f16::from_f32(*v).to_le_bytes())
        .collect();
    let bytes =
        |values: &[f32]| -> Vec<u8> { values.iter().flat_map(|v| v.to_le_bytes()).collect() };
    let (norms, means) = (bytes(&norms), bytes(&means));
    let count = norms.len() / 4;
    let columns = dim.div_ceil(STRIDE);
    let view = |dtype, shape, data| TensorView::new(dtype, shape, data).unwrap();
    let tensors = HashMap::from([
        ("m.rows", view(Stored::F16, vec![count, columns], &halves)),
        ("m.norms", view(Stored::F32, vec![count], &norms)),
        ("m.mean", view(Stored::F32, vec![2, dim], &means)),
    ]);
    let index = serde_json::json!({
        "source": "s", "licence": "l", "sequences": SEQUENCES,
        "models": {"m": {
            "checkpoint": "m", "golden": "g", "dim": dim, "columns": columns, "stride": STRIDE,
            "relative_l2": 0.03,
        }},
    });
    let bytes = safetensors::serialize(tensors, None).unwrap();
    (index.to_string(), bytes)
}

/// How many comparisons pass, and the names of those that fail.
fn outcome(embedder: &Embedder, index: &str, tensors: &[u8]) -> (usize, Vec<String>) {
    let comparisons = published::parse(index, tensors).unwrap();
    let comparisons: Vec<&Comparison> = comparisons.iter().collect();
    let (mut passed, mut failed) = (0, Vec::new());
    compare(
        embedder,
        &[embedder.config().layers],
        &comparisons,
        |verdict| {
            match verdict.passed() {
                true => passed += 1,
                false => failed.push(verdict.to_string().lines().next().unwrap().to_owned()),
            }
            Ok(())
        },
    )
    .unwrap();
    (passed, failed)
}

#[test]
fn right_values_pass_and_each_wrong_one_fails() {
    let embedder = embedder();
    let (index, tensors) = published_of(&embedder, |_, _| {});
    assert_eq!(outcome(&embedder, &index, &tensors), (6, vec![]));
    // A deviation of 2 %, as bfloat16 has, passes; one of 10 % does not.
    for (percent, passing) in [(2, 6), (10, 0)] {
        let factor = 1.0 + percent as f32 / 100.0;
        let grow = |_: &str, values: &mut Vec<f32>| values.iter_mut().for_each(|v| *v *= factor);
        let (index, tensors) = published_of(&embedder, grow);
        let (passed, failed) = outcome(&embedder, &index, &tensors);
        assert_eq!(passed, passing, "{percent} %: {failed:?}");
    }
    for wrong in ["rows", "norms", "mean"] {
        let (index, tensors) = published_of(&embedder, |what, values| {
            if what == wrong {
                values[0] += 2.0 * values.iter().fold(0.0, |m: f32, v| m.max(v.abs()));
            }
        });
        let (passed, failed) = outcome(&embedder, &index, &tensors);
        assert_eq!(passed, 5, "{failed:?}");
        assert_eq!(failed, [format!("FAIL  FastPLMs m, sequence 1, {wrong}")]);
    }
}

#[test]
fn damaged_values_are_refused() {
    let embedder = embedder();
    let refused = |index: &str, tensors: &[u8]| {
        crate::cli::message::Message::of_error(&published::parse(index, tensors).unwrap_err()).text
    };
    let (index, tensors) = published_of(&embedder, |_, _| {});
    let cut = refused(&index, &tensors[..tensors.len() - 1]);
    assert!(cut.starts_with("last_layer.safetensors: "), "{cut}");
    for wrong in ["rows", "norms", "mean"] {
        let (index, tensors) = published_of(&embedder, |what, values| {
            if what == wrong {
                values[0] = f32::NAN;
            }
        });
        assert_eq!(
            refused(&index, &tensors),
            format!("m.{wrong} holds a value that is not finite")
        );
    }
    let other = index.replace("GLDALQITV", "GLDALQIT");
    assert!(refused(&other, &tensors).contains("has shape"));
    let other = index.replace(r#""m":"#, r#""n":"#);
    assert!(refused(&other, &tensors).contains("n.rows"));
}

#[test]
fn the_published_files_have_their_digests() {
    let index: serde_json::Value =
        serde_json::from_str(include_str!("published/last_layer.json")).unwrap();
    let found = esm_embed::sha256::sha256_of(include_bytes!("published/last_layer.safetensors"));
    assert_eq!(index["sha256"], found);
    let bytes = include_bytes!("published/last_layer.safetensors").len()
        + include_bytes!("published/last_layer.json").len()
        + include_bytes!("published/values.json").len();
    assert!(bytes < 450_000, "every program carries {bytes} bytes");
    // What `fetch` and `verify` hold the files of the same commits against.
    for model in index["models"].as_object().unwrap().values() {
        let text = |key: &str| model[key].as_str().unwrap();
        for (file, sha256) in model["weights"].as_object().unwrap() {
            let known = published_hub_digest(text("checkpoint"), text("revision"), file);
            assert_eq!(known.map(|k| k.0), sha256.as_str(), "{file}");
        }
    }
}

#[test]
fn the_published_values_cover_whole_sequences() {
    for comparison in published::comparisons().unwrap() {
        let residues = comparison.sequence.len();
        match &comparison.expected {
            Expected::ResidueRows(rows) => {
                assert_eq!(rows.len(), residues);
                assert!(rows.iter().all(|row| row.len() == 64));
            }
            Expected::ResidueNorms(norms) => assert_eq!(norms.len(), residues),
            Expected::Mean(mean) => assert!(mean.len() >= 320),
            other => panic!("{other:?}"),
        }
    }
}

/// A stand-in for ESM-1b: its own scores pass, and scores that are off by more than the tolerance fail.
#[test]
fn published_scores_are_compared() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/esm1b");
    let checkpoint = Checkpoint::open(&path).unwrap();
    let options = EmbedderOptions {
        lm_head: true,
        ..EmbedderOptions::new(
            Device::cpu(CpuPath::detect()),
            Dtype::F32,
            checkpoint.config().layers,
        )
    };
    let embedder = Embedder::load(&Arc::new(checkpoint), &options).unwrap();
    let published = Reference::open(None).unwrap();
    let names = ["esm1b_t33_650M_UR50S".to_owned()];
    for published in published.for_model(&names) {
        let found = compare::scores(&embedder, published).unwrap();
        for (off, passes) in [(0.0, true), (0.005, true), (0.05, false), (-0.05, false)] {
            let mut wanted = published.clone();
            match &mut wanted.expected {
                Expected::LogOdds(scores) => {
                    assert_eq!(scores.len(), 3);
                    for (score, found) in scores.values_mut().zip(&found) {
                        *score = found + off;
                    }
                }
                Expected::PllUnmasked(value) => *value = found[0] + off,
                other => panic!("{other:?}"),
            }
            let mut verdicts = Vec::new();
            compare(&embedder, &[2], &[&wanted], |verdict| {
                verdicts.push((verdict.passed(), verdict.to_string()));
                Ok(())
            })
            .unwrap();
            let [(passed, text)] = &verdicts[..] else {
                panic!("{verdicts:?}");
            };
            assert_eq!(*passed, passes, "{text}");
            assert!(text.contains("one unmasked pass: "), "{text}");
        }
        // The published values are of other weights.
        let mut verdicts = Vec::new();
        compare(&embedder, &[2], &[published], |verdict| {
            verdicts.push(verdict.passed());
            Ok(())
        })
        .unwrap();
        assert_eq!(verdicts, [false]);
    }
}
