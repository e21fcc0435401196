//! How two runs differ in what can change a byte of their output.

use super::{Asked, CudaFacts, GpuFacts, ModelFile, Resolved, RunRecord};
use crate::numerals::count;
use crate::product::Product;
use serde::Serialize;
use std::fmt::{self, Display};

/// This version.
const CURRENT: &str = env!("CARGO_PKG_VERSION");

/// Versions that write the same bits for the same run, on any processor. A version that changes a
/// number removes the earlier ones.
const SAME_BITS: [&str; 2] = ["0.2.0", CURRENT];

/// Versions with other bits whose folders hold what this version writes into a merged one.
const MERGED_AMONG_THEMSELVES: [&str; 1] = ["0.1.0"];

/// A setting or circumstance in which two runs differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What it is; a setting in backticks: `` `dtype` ``.
    pub what: String,
    /// What it was in one run.
    pub before: String,
    /// What it is in the other.
    pub now: String,
}

impl Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} was {} and is {}", self.what, self.before, self.now)
    }
}

/// How two runs differ; empty if they write the same bytes.
///
/// What is not known of one of them is not compared: the inputs of a stream, model files without
/// checksums, and GPUs before the model is loaded.
pub fn differences(before: &RunRecord, now: &RunRecord) -> Vec<Difference> {
    let mut all = Vec::new();
    if !same_bits(&before.esm_embed, &now.esm_embed) {
        all.push(Difference {
            what: "the version of esm-embed".into(),
            before: before.esm_embed.clone(),
            now: now.esm_embed.clone(),
        });
    }
    compare(&mut all, &inputs(before), &inputs(now));
    compare(&mut all, &before.settings(), &now.settings());
    let (was, is) = (&before.resolved, &now.resolved);
    if let (Some(was), Some(is)) = (&was.cuda, &is.cuda) {
        compare(&mut all, &was.settings(), &is.settings());
    }
    if !was.model.files.is_empty() && !is.model.files.is_empty() {
        compare(&mut all, &files(&was.model.files), &files(&is.model.files));
    }
    all
}

/// How two runs differ in what can change a bit of the values of a sequence, whatever they are written for and
/// in which arrays.
pub fn value_differences(before: &RunRecord, now: &RunRecord) -> Vec<Difference> {
    let has_attentions = now.asked.include.contains(&Product::Attentions);
    let values = |run: &RunRecord| {
        let mut run = run.clone();
        (run.shard, run.plan) = (None, None);
        run.asked.inputs.clear();
        run.resolved.inputs.clear();
        // These say which tokens are embedded, not what comes out for them.
        run.asked.on_invalid.clone_from(&now.asked.on_invalid);
        run.asked.unknown.clone_from(&now.asked.unknown);
        run.resolved.gaps.clone_from(&now.resolved.gaps);
        // Which arrays there are is compared array by array.
        run.asked.include.clone_from(&now.asked.include);
        run.asked.pool.clone_from(&now.asked.pool);
        run.asked.residues = now.asked.residues;
        run.asked.stack_layers = now.asked.stack_layers;
        run.resolved.layers.clone_from(&now.resolved.layers);
        if !has_attentions {
            run.asked.attention_heads = now.asked.attention_heads;
            let layers = &now.resolved.attention_layers;
            run.resolved.attention_layers.clone_from(layers);
        }
        run
    };
    differences(&values(before), &values(now))
}

/// Whether these two versions write the same bits for the same run.
pub fn same_bits(one: &str, other: &str) -> bool {
    one == other || SAME_BITS.contains(&one) && SAME_BITS.contains(&other)
}

/// Whether shards of this version can be merged, with others of the same bits.
pub fn can_be_merged(version: &str) -> bool {
    same_bits(version, CURRENT) || MERGED_AMONG_THEMSELVES.contains(&version)
}

/// What it is, and its value; `None` if that is not known.
type Setting = (String, Option<String>);

fn setting(what: &str, value: impl Display) -> Setting {
    (what.into(), Some(value.to_string()))
}

/// Compares item by item. A value that only one run recorded is not a difference.
fn compare(all: &mut Vec<Difference>, before: &[Setting], now: &[Setting]) {
    let given = |value: &Option<String>| value.clone().unwrap_or_else(|| "given".into());
    for i in 0..before.len().max(now.len()) {
        let (what, before, now) = match (before.get(i), now.get(i)) {
            (Some((what, Some(was))), Some((_, Some(is)))) if was != is => {
                (what, was.clone(), is.clone())
            }
            (None, Some((what, is))) => (what, "not given".into(), given(is)),
            (Some((what, was)), None) => (what, given(was), "not given".into()),
            _ => continue,
        };
        let what = what.clone();
        all.push(Difference { what, before, now });
    }
}

impl RunRecord {
    /// The settings that can change a byte of the output. Inputs, model files and GPUs are listed
    /// separately.
    fn settings(&self) -> Vec<Setting> {
        let Asked {
            attention_heads,
            include,
            on_invalid,
            out_dtype,
            pool,
            residues,
            stack_layers,
            unknown,
            other: asked,
            // What these resolved to is compared instead.
            attention_layers: _,
            dtype: _,
            gaps: _,
            layer: _,
            long: _,
            // The contents of these files are compared instead.
            adapter: _,
            contact_regression: _,
            inputs: _,
            model: _,
        } = &self.asked;
        let Resolved {
            arch,
            attention_layers,
            cpu_path,
            cuda: _,
            device,
            dtype,
            gaps,
            inputs: _,
            layers,
            // They follow from what is included.
            letters: _,
            long,
            // All else that is recorded of the model follows from its files.
            model: _,
            other,
        } = &self.resolved;
        let shard = self.shard.map(|shard| shard.to_string());
        let plan = self.plan.map(|plan| plan.to_string());
        vec![
            setting("`shard`", shard.as_deref().unwrap_or("none")),
            setting("the digest of the plan", plan.as_deref().unwrap_or("none")),
            setting("`layer`", list(layers)),
            setting("`pool`", list(pool.iter().map(|pool| pool.name()))),
            setting("`stack_layers`", stack_layers),
            setting("`residues`", residues.name()),
            setting(
                "`include`",
                list(include.iter().map(|product| product.file_stem())),
            ),
            setting("`attention_layers`", list(attention_layers)),
            setting("`attention_heads`", attention_heads.name()),
            setting("`out_dtype`", out_dtype.name()),
            setting("`dtype`", dtype),
            setting("`device`", device),
            // Versions with the same bits on every processor do not record it.
            ("`cpu_path`".into(), cpu_path.clone()),
            ("the processor".into(), arch.clone()),
            setting("`long`", long),
            setting("`unknown`", unknown),
            setting("`gaps`", gaps),
            setting("`on_invalid`", on_invalid),
            setting("what another version recorded", json([asked, other])),
        ]
    }
}

impl CudaFacts {
    /// What can change a bit of the output.
    fn settings(&self) -> Vec<Setting> {
        let CudaFacts {
            cards,
            cublaslt,
            cublaslt_path: _,
            in_slabs_only,
            kernels,
            rows_of_a_product,
            same_bits_in_any_batch,
            other,
        } = self;
        let mut all = vec![
            setting(
                "cuBLASLt",
                cublaslt.map_or("none".to_owned(), |version| version.to_string()),
            ),
            setting("the kernels' SHA-256", kernels),
            setting("the heights of matrix products", json(rows_of_a_product)),
            setting(
                "whether all of them are those of a slab",
                json(in_slabs_only),
            ),
            setting(
                "whether bits are the same in any batch",
                same_bits_in_any_batch,
            ),
            setting("what another version recorded of CUDA", json(other)),
        ];
        all.extend(cards.iter().enumerate().map(|(i, card)| {
            let GpuFacts {
                algorithms,
                card,
                compute_capability,
                driver,
                driver_version: _,
                image,
            } = card;
            let image = image.as_deref().unwrap_or("unknown");
            setting(
                &format!("GPU {}", i + 1),
                format!(
                    "{card} (compute capability {compute_capability}, driver for CUDA {driver}, \
                     image {image}, algorithms {})",
                    json(algorithms)
                ),
            )
        }));
        all
    }
}

/// The contents of each input; those of a stream are not known before it has been read.
fn inputs(run: &RunRecord) -> Vec<Setting> {
    (0..run.asked.inputs.len())
        .map(|i| {
            let known = run.resolved.inputs.get(i);
            let value = known.map(|input| content(input.bytes, &input.sha256));
            (format!("input {}", i + 1), value)
        })
        .collect()
}

fn files(files: &[ModelFile]) -> Vec<Setting> {
    files
        .iter()
        .map(|file| {
            let what = format!("model file {}", file.name);
            setting(&what, content(file.bytes, &file.sha256))
        })
        .collect()
}

fn content(bytes: u64, sha256: &str) -> String {
    format!("{} with SHA-256 {sha256}", count(bytes, "byte"))
}

fn list<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    match items.is_empty() {
        true => "none".into(),
        false => items.join(","),
    }
}

/// JSON on one line.
fn json(value: impl Serialize) -> String {
    // Values of these types always have a JSON form.
    serde_json::to_string(&value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::{InputFacts, Shard};
    use super::*;
    use crate::product::{OutDtype, Pool, Residues};

    fn words(before: &RunRecord, now: &RunRecord) -> Vec<String> {
        let differences = differences(before, now);
        differences.iter().map(ToString::to_string).collect()
    }

    /// A run of two inputs and a model of one file, changed.
    fn run(change: impl FnOnce(&mut RunRecord)) -> RunRecord {
        let input = |sha256: &str| InputFacts {
            bytes: 1_200,
            sha256: sha256.into(),
            ..InputFacts::default()
        };
        let mut run = RunRecord {
            esm_embed: env!("CARGO_PKG_VERSION").into(),
            ..RunRecord::default()
        };
        run.asked.inputs = vec!["a.fasta".into(), "b.fasta".into()];
        run.resolved.inputs = vec![input("aa"), input("bb")];
        run.resolved.model.files = vec![ModelFile {
            bytes: 1,
            name: "config.json".into(),
            sha256: "cc".into(),
        }];
        change(&mut run);
        run
    }

    #[test]
    fn settings_are_named_with_both_values() {
        let before = run(|_| {});
        assert!(words(&before, &before).is_empty());
        let now = run(|now| {
            now.esm_embed = "9.9.9".into();
            now.shard = Some(Shard { number: 1, of: 3 });
            now.asked.pool = vec![Pool::Mean, Pool::Max];
            now.asked.residues = Residues::Files;
            now.asked.out_dtype = OutDtype::F16;
            now.asked.unknown = "error".into();
            now.asked.on_invalid = "skip".into();
            now.resolved.arch = Some("aarch64".into());
            now.resolved.cpu_path = Some("neon".into());
            now.resolved.device = "cuda (H100)".into();
            now.resolved.dtype = "f16".into();
            now.resolved.gaps = "drop".into();
            now.resolved.long = "window:9:2".into();
            now.resolved.layers = vec![0, 6];
            now.resolved.inputs[1].sha256 = "dd".into();
            now.resolved.model.files[0].bytes = 2;
        });
        let before = run(|before| {
            before.asked.unknown = "unk".into();
            before.asked.on_invalid = "fail".into();
            before.resolved.arch = Some("x86_64".into());
            before.resolved.cpu_path = Some("portable".into());
            before.resolved.device = "cpu".into();
            before.resolved.dtype = "f32".into();
            before.resolved.gaps = "keep".into();
            before.resolved.long = "full".into();
        });
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            words(&before, &now),
            [
                &*format!("the version of esm-embed was {version} and is 9.9.9"),
                "input 2 was 1,200 bytes with SHA-256 bb and is 1,200 bytes with SHA-256 dd",
                "`shard` was none and is 1/3",
                "`layer` was none and is 0,6",
                "`pool` was none and is mean,max",
                "`residues` was packed and is files",
                "`out_dtype` was f32 and is f16",
                "`dtype` was f32 and is f16",
                "`device` was cpu and is cuda (H100)",
                "`cpu_path` was portable and is neon",
                "the processor was x86_64 and is aarch64",
                "`long` was full and is window:9:2",
                "`unknown` was unk and is error",
                "`gaps` was keep and is drop",
                "`on_invalid` was fail and is skip",
                "model file config.json was 1 byte with SHA-256 cc and is 2 bytes with SHA-256 cc",
            ]
        );
    }

    #[test]
    fn what_cannot_change_a_byte_is_not_compared() {
        let now = run(|now| {
            now.asked.model = "elsewhere".into();
            now.asked.inputs = vec!["c.fasta".into(), "d.fasta".into()];
            now.asked.dtype = Some("f32".into());
            now.resolved.inputs[0].path = "c.fasta".into();
            now.resolved.model.repo = Some("facebook/esm2_t6_8M_UR50D".into());
            now.resolved.model.alphabet_size = Some(33);
        });
        assert!(words(&run(|_| {}), &now).is_empty());
    }

    #[test]
    fn versions_with_other_bits_differ_and_the_processor_does_not() {
        let old = |path: &str| {
            run(|run| {
                run.esm_embed = "0.1.0".into();
                run.resolved.arch = Some("x86_64".into());
                run.resolved.cpu_path = Some(path.into());
            })
        };
        assert!(words(&old("avx2"), &old("avx2")).is_empty());
        assert_eq!(
            words(&old("avx2"), &old("avx512")),
            ["`cpu_path` was avx2 and is avx512"]
        );
        let now = run(|run| run.esm_embed = "0.2.0".into());
        assert_eq!(
            words(&old("avx2"), &now),
            ["the version of esm-embed was 0.1.0 and is 0.2.0"]
        );
        assert!(same_bits("0.2.0", CURRENT) && !same_bits("0.1.0", CURRENT));
        assert!(["0.1.0", "0.2.0", CURRENT].into_iter().all(can_be_merged));
        assert!(!can_be_merged("0.0.9") && !can_be_merged("9.9.9"));
    }

    #[test]
    fn what_is_not_known_is_not_compared() {
        let stream = run(|run| {
            run.resolved.inputs.clear();
            run.resolved.model.files.clear();
        });
        assert!(words(&run(|_| {}), &stream).is_empty());
        assert!(words(&stream, &run(|_| {})).is_empty());
        let more = run(|run| run.asked.inputs.push("c.fasta".into()));
        assert_eq!(
            words(&stream, &more),
            ["input 3 was not given and is given"]
        );
        assert_eq!(
            words(&more, &stream),
            ["input 3 was given and is not given"]
        );
    }

    #[test]
    fn libraries_and_drivers_that_compute_alike() {
        let on_gpu = |change: fn(&mut CudaFacts)| {
            let mut cuda = CudaFacts {
                cards: vec![GpuFacts {
                    card: "H100".into(),
                    ..GpuFacts::default()
                }],
                cublaslt: Some(130_400),
                ..CudaFacts::default()
            };
            change(&mut cuda);
            run(|run| run.resolved.cuda = Some(cuda))
        };
        let before = on_gpu(|_| {});
        let same = on_gpu(|cuda| {
            cuda.cublaslt_path = Some("/opt/libcublasLt.so.13".into());
            cuda.cards[0].driver_version = Some("580.65".into());
        });
        assert!(words(&before, &same).is_empty());
        // Before the model is loaded nothing is known of it.
        assert!(words(&before, &run(|_| {})).is_empty());
        let own = on_gpu(|cuda| cuda.cublaslt = None);
        assert_eq!(words(&before, &own), ["cuBLASLt was 130400 and is none"]);
        let other = on_gpu(|cuda| {
            cuda.cublaslt = Some(130_100);
            cuda.cards[0].driver = 12_080;
        });
        assert_eq!(
            words(&before, &other),
            [
                "cuBLASLt was 130400 and is 130100",
                "GPU 1 was H100 (compute capability , driver for CUDA 0, image unknown, algorithms \
                 {}) and is H100 (compute capability , driver for CUDA 12080, image unknown, \
                 algorithms {})",
            ]
        );
    }

    #[test]
    fn keys_of_a_newer_version_are_kept_and_compared() {
        let text = serde_json::to_string(&run(|_| {})).unwrap();
        let newer = text.replacen(r#""device""#, r#""adapter":{"sha256":"ee"},"device""#, 1);
        assert_ne!(text, newer);
        let read = |text: &str| serde_json::from_str::<RunRecord>(text).unwrap();
        assert_eq!(read(&text), run(|_| {}));
        assert_eq!(
            words(&read(&text), &read(&newer)),
            [
                "what another version recorded was [{},{}] and is [{},{\"adapter\":{\"sha256\":\"ee\"}}]"
            ]
        );
        let kept = serde_json::to_string(&read(&newer)).unwrap();
        assert!(kept.contains(r#""adapter":{"sha256":"ee"}"#), "{kept}");
    }
}
