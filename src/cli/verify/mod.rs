//! `verify`: does this build, on this machine, reproduce published numbers?

mod compare;
mod deviation;
mod names;
mod published;
mod reference;

use super::options::DisplayArgs;
use super::options::device::{self, device};
use super::options::model::{DEFAULT as DEFAULT_MODEL, ModelArg, model};
use super::progress::Progress;
use super::stdout::{self, print, print_json};
use super::{Exit, model_files};
use anyhow::{Context, bail, ensure};
use compare::{Verdict, VerdictReport};
use esm_embed::checkpoint::TRAINING_MAXIMUM;
use esm_embed::checkpoint::{Checkpoint, EsmConfig};
use esm_embed::device::{Device, DeviceChoice, Dtype, available_threads};
use esm_embed::embedder::{Embedder, EmbedderOptions, Sequence};
use esm_embed::hub::{published_digest, published_hub_digest};
use esm_embed::numerals::grouped;
use esm_embed::ops::WeightType;
use esm_embed::pipeline::{Level, Model, Reporter};
use esm_embed::printable;
use esm_embed::sha256::sha256_file;
use esm_embed::tokenizer::{UnknownPolicy, tokenize};
use reference::{Comparison, Reference};
use serde::Serialize;
use std::path::PathBuf;

/// Arguments of `verify`.
#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    /// Model: a name, a Hugging Face repository, a folder or a file
    ///
    /// Values are published for 8M, 35M, 150M, 650M and 3B. A folder or file must have the name of its
    /// model, such as esm2_t33_650M_UR50D, so that the values for it are found.
    #[arg(default_value = DEFAULT_MODEL, value_parser = model)]
    pub model: ModelArg,

    /// Branch, tag or commit of the Hugging Face repository [default: main]
    #[arg(long, value_name = "REVISION")]
    pub revision: Option<String>,

    /// Compare with the values in this file instead of the published ones
    ///
    /// A JSON file, for example:
    ///
    /// {"comparisons": [{"name": "first columns", "sequence": "MKTAYIAK", "what": "mean",
    /// "expected": [0.12, -0.4], "atol": 1e-4, "rtol": 1e-4, "source": "my notebook"}]}
    ///
    /// what: hidden_rows (row 0 is <cls>), residue_rows, residue_norms, mean, bos or mean_of_mean.
    ///
    /// layer: default -1, the last.
    ///
    /// checkpoint: the model that the values belong to; without it, they are compared with any model.
    ///
    /// stride: the values of a row are those of columns 0, stride, 2*stride, …; default 1.
    ///
    /// Tolerance: either atol and rtol, for each value (atol + rtol*|expected|), or relative_l2, for
    /// all values together; the error of a column is then relative to its size, or to scale if that
    /// is larger.
    #[arg(long, value_name = "FILE")]
    pub reference: Option<PathBuf>,

    /// Device, always in f32: cpu, auto, cuda (the first GPU), cuda:0,1,… or all (every GPU)
    #[arg(
        long,
        env = device::ENV,
        value_name = "cpu|auto|cuda[:I[,I...]]|all",
        default_value = "cpu",
        value_parser = device
    )]
    pub device: DeviceChoice,

    /// Print the report as one JSON document
    ///
    /// Fields: esm_embed, model, path, repo, revision, device, cpu_path, passed, compared, failed,
    /// files (name, passed, expected, found) and comparisons (name, checkpoint, sequence, layer, what,
    /// values, passed, measure, error, limit, source, licence). An error that is not a number is null.
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub display: DisplayArgs,
}

/// What `verify --json` prints.
#[derive(Debug, Serialize)]
struct VerifyReport {
    /// Version of the program.
    esm_embed: &'static str,
    /// The model as typed.
    model: String,
    /// Its folder or file.
    path: String,
    /// Its repository; null for a path.
    repo: Option<String>,
    /// The commit; null for a path.
    revision: Option<String>,
    /// `cpu` or the cards.
    device: String,
    /// CPU path; null on cards.
    cpu_path: Option<String>,
    /// Whether everything that was compared is right.
    passed: bool,
    /// How many comparisons, those of `files` included.
    compared: usize,
    /// How many of them failed.
    failed: usize,
    /// Files whose SHA-256 is published.
    files: Vec<FileReport>,
    /// Embeddings.
    comparisons: Vec<VerdictReport>,
}

/// A file beside its published digest.
#[derive(Debug, Serialize)]
struct FileReport {
    /// Its name without folders.
    name: String,
    /// Whether it has the published digest.
    passed: bool,
    /// The published SHA-256.
    expected: String,
    /// Its own.
    found: String,
}

/// Compares, prints every comparison, and fails if one of them does.
pub fn execute(args: &VerifyArgs) -> anyhow::Result<Exit> {
    let progress = Progress::new(args.display);
    let device = Device::resolve(&args.device, None, Some(Dtype::F32))?;
    if let Some(why) = &device.why_cpu {
        progress.message(Level::Info, &format!("no CUDA card is used: {why}"));
    }
    let reference = Reference::open(args.reference.as_deref())?;
    let names = names::names(&args.model.reference);
    let comparisons = reference.for_model(&names);
    if comparisons.is_empty() {
        let (model, file) = (&args.model.text, args.reference.as_ref());
        bail!(names::nothing_to_compare(model, &names, &reference, file));
    }
    let model = model_files::resolve(&args.model, args.revision.as_deref(), &progress)?;
    let checkpoint = Checkpoint::open(&model.path)?;
    for warning in checkpoint.warnings() {
        progress.message(Level::Warning, warning);
    }
    let show = |text: String| if args.json { Ok(()) } else { print(&text) };
    let cpu_path = (!device.is_cuda()).then(|| device.path.to_string());
    show(format!(
        "esm-embed {} on {}: {}\n",
        env!("CARGO_PKG_VERSION"),
        cpu_path.clone().unwrap_or_else(|| device.to_string()),
        printable::text(&model.path.display().to_string())
    ))?;
    let files = digests(&model, &checkpoint, |file| show(file.to_string()))?;
    let options = EmbedderOptions {
        layers: layers(&comparisons, checkpoint.config())?,
        weight_type: WeightType::F32,
        path: device.path,
        threads: available_threads(),
        max_tokens: TRAINING_MAXIMUM + 2,
    };
    let layers = options.layers.clone();
    let embedder = Embedder::load_on(&checkpoint, options, &device, Dtype::F32)?;
    let mut verdicts = Vec::new();
    compare(&embedder, &layers, &comparisons, |verdict| {
        verdicts.push(verdict.report());
        show(verdict.to_string())
    })?;
    let failed_files = files.iter().filter(|file| !file.passed).count();
    let failed = failed_files + verdicts.iter().filter(|verdict| !verdict.passed()).count();
    let compared = files.len() + verdicts.len();
    show(conclusion(compared, failed, failed_files, &args.model.text))?;
    if args.json {
        print_json(&VerifyReport {
            esm_embed: env!("CARGO_PKG_VERSION"),
            model: args.model.text.clone(),
            path: stdout::path(&model.path),
            repo: model.repo,
            revision: model.revision,
            device: device.to_string(),
            cpu_path,
            passed: failed == 0,
            compared,
            failed,
            files,
            comparisons: verdicts,
        })?;
    }
    Ok(match failed {
        0 => Exit::Done,
        _ => Exit::Failed,
    })
}

/// The last lines of the report: the outcome and, if it is bad, what it means.
fn conclusion(compared: usize, failed: usize, failed_files: usize, model: &str) -> String {
    let all = grouped(compared as u64);
    let noun = match compared {
        1 => "comparison",
        _ => "comparisons",
    };
    if failed == 0 {
        return match compared {
            1 => "the comparison passed\n".to_owned(),
            _ => format!("all {all} comparisons passed\n"),
        };
    }
    let meaning = match failed_files {
        0 => "Either these are not the weights that the values belong to, or this build does not \
             compute them correctly on this machine. If the files are intact (`esm-embed fetch` \
             checks them), please report this with what `esm-embed doctor` prints."
            .to_owned(),
        _ => format!(
            "A file of {} is not the published one: download it again, or give a changed model a \
             name of its own.",
            printable::text(model)
        ),
    };
    format!(
        "{} of {all} {noun} failed\n{meaning}\n",
        grouped(failed as u64)
    )
}

impl std::fmt::Display for FileReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let word = if self.passed { "pass" } else { "FAIL" };
        writeln!(f, "{word}  SHA-256 of {}", printable::text(&self.name))?;
        writeln!(f, "      expected  {}", self.expected)?;
        writeln!(f, "      found     {}", self.found)
    }
}

/// Compares the files with the digests published for them, where there are any.
fn digests(
    model: &Model,
    checkpoint: &Checkpoint,
    show: impl Fn(&FileReport) -> anyhow::Result<()>,
) -> anyhow::Result<Vec<FileReport>> {
    let mut files = Vec::new();
    for file in checkpoint.files() {
        let Some(name) = file.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        let of_hub = match (&model.repo, &model.revision) {
            (Some(repo), Some(commit)) => published_hub_digest(repo, commit, name),
            _ => None,
        };
        let of_file = published_digest(name).map(|(sha256, bytes)| (sha256, Some(bytes)));
        let Some((expected, _)) = of_hub.or(of_file) else {
            continue;
        };
        let (found, _) =
            sha256_file(file).with_context(|| format!("cannot read {}", file.display()))?;
        let report = FileReport {
            name: name.to_owned(),
            passed: found == expected,
            expected: expected.to_owned(),
            found,
        };
        show(&report)?;
        files.push(report);
    }
    Ok(files)
}

/// The representations that the comparisons need, ascending, each once.
fn layers(comparisons: &[&Comparison], config: &EsmConfig) -> anyhow::Result<Vec<usize>> {
    let mut layers = comparisons
        .iter()
        .map(|comparison| layer(comparison, config))
        .collect::<anyhow::Result<Vec<usize>>>()?;
    layers.sort_unstable();
    layers.dedup();
    Ok(layers)
}

/// The representation that a comparison means in a model.
fn layer(comparison: &Comparison, config: &EsmConfig) -> anyhow::Result<usize> {
    let last = config.layers as i64;
    let asked = comparison.layer;
    let layer = if asked < 0 { asked + last + 1 } else { asked };
    ensure!(
        (0..=last).contains(&layer),
        "comparison `{}` asks for layer {asked}, but the model has layers 0 to {last}. Its values \
         are of another model",
        comparison.name
    );
    Ok(usize::try_from(layer)?)
}

/// The `<cls>` row and the residue rows of a sequence, layer by layer.
type Hidden = Vec<(Vec<f32>, Vec<f32>)>;

/// Embeds the sequence of each comparison, holds the layer that it asks for against its values, and
/// passes the verdict on. Neighbours with the same sequence share one pass through the model.
fn compare<'a>(
    embedder: &Embedder,
    layers: &[usize],
    comparisons: &[&'a Comparison],
    mut pass_on: impl FnMut(Verdict<'a>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut embedded: Option<(&str, Hidden)> = None;
    for comparison in comparisons {
        let wanted = layer(comparison, embedder.config())?;
        let sequence = comparison.sequence.as_str();
        let hidden = match embedded.take() {
            Some((of, hidden)) if of == sequence => hidden,
            _ => embed(embedder, layers, sequence)
                .with_context(|| format!("comparison `{}`", comparison.name))?,
        };
        let of_layer = layers
            .iter()
            .position(|layer| *layer == wanted)
            .and_then(|place| hidden.get(place));
        let (bos, residues) = of_layer.with_context(|| {
            format!(
                "comparison `{}`: the model gave no layer {wanted}",
                comparison.name
            )
        })?;
        pass_on(Verdict::new(comparison, bos, residues)?)?;
        embedded = Some((sequence, hidden));
    }
    Ok(())
}

fn embed(embedder: &Embedder, layers: &[usize], sequence: &str) -> anyhow::Result<Hidden> {
    let tokens = tokenize(sequence.as_bytes(), UnknownPolicy::Error)?;
    ensure!(
        tokens.residues() > 0,
        "its sequence is empty. Write its residues"
    );
    let sequence = Sequence {
        tokens: &tokens.ids,
        windows: &[],
    };
    let mut hidden = vec![(Vec::new(), Vec::new()); layers.len()];
    embedder.embed(&[sequence], |found| -> anyhow::Result<()> {
        if let Some(layer) = hidden.get_mut(found.layer) {
            *layer = (found.bos.to_vec(), found.residues.to_vec());
        }
        Ok(())
    })?;
    Ok(hidden)
}

#[cfg(test)]
mod tests {
    use super::reference::Expected;
    use super::*;
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
        let options = EmbedderOptions {
            layers: vec![checkpoint.config().layers],
            weight_type: WeightType::F32,
            path: CpuPath::detect(),
            threads: 1,
            max_tokens: 1024,
        };
        Embedder::load(&checkpoint, options).unwrap()
    }

    /// Files in the form of the published ones, from the stand-in's own outputs, changed by `change`.
    fn published_of(
        embedder: &Embedder,
        change: impl Fn(&str, &mut Vec<f32>),
    ) -> (String, Vec<u8>) {
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
            let grow =
                |_: &str, values: &mut Vec<f32>| values.iter_mut().for_each(|v| *v *= factor);
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
    fn values_that_are_damaged_are_refused() {
        let embedder = embedder();
        let refused = |index: &str, tensors: &[u8]| {
            crate::cli::message::Message::of_error(&published::parse(index, tensors).unwrap_err())
                .text
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
        let found =
            esm_embed::sha256::sha256_of(include_bytes!("published/last_layer.safetensors"));
        assert_eq!(index["sha256"], found);
        let bytes = include_bytes!("published/last_layer.safetensors").len();
        assert!(bytes < 200_000, "every program carries {bytes} bytes");
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
    fn the_published_values_are_of_whole_models() {
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

    #[test]
    fn the_last_lines() {
        assert_eq!(conclusion(1, 0, 0, "8M"), "the comparison passed\n");
        assert_eq!(conclusion(16, 0, 0, "8M"), "all 16 comparisons passed\n");
        assert_eq!(
            conclusion(17, 1, 1, "8M"),
            "1 of 17 comparisons failed\nA file of 8M is not the published one: download it again, \
             or give a changed model a name of its own.\n"
        );
        assert!(
            conclusion(1, 1, 0, "8M").starts_with("1 of 1 comparison failed\nEither these are")
        );
    }
}
