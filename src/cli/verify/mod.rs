//! `verify`: does this build, on this machine, reproduce published numbers?

mod compare;
mod comparison;
mod conclusion;
mod deviation;
mod file_digests;
mod names;
mod published;
mod reference;
#[cfg(test)]
mod tests;
mod verdict;

use super::Exit;
use super::adapters::AdapterArgs;
use super::options::DisplayArgs;
use super::options::model::{DEFAULT as DEFAULT_MODEL, ModelArg, model};
use super::options::variables;
use super::progress::Progress;
use super::stdout::{self, print, print_json};
use anyhow::bail;
use compare::{compare, layers};
use comparison::Comparison;
use conclusion::conclusion;
use esm_embed::checkpoint::TRAINING_MAXIMUM;
use esm_embed::device::{DeviceChoice, Dtype, available_threads};
use esm_embed::embedder::{self, Embedder, EmbedderOptions};
use esm_embed::pipeline::{Level, Reporter, tell_of_checkpoint};
use esm_embed::printable;
use esm_embed::settings::device;
use esm_embed::threads::Threads;
use file_digests::{FileReport, digests};
use reference::Reference;
use serde::Serialize;
use std::path::PathBuf;
use std::sync::Arc;
use verdict::VerdictReport;

/// Arguments of `verify`.
#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    /// Model: a name, a Hugging Face repository, a folder or a file
    ///
    /// Values are published for 8M, 35M, 150M, 650M, 3B, esm1b, esmc_300m, esmc_600m, esmc_6b, dplm_150m,
    /// dplm_650m and dplm_3b. A folder or file must have the name of its
    /// model, such as esm2_t33_650M_UR50D, so that the values for it are found.
    #[arg(default_value = DEFAULT_MODEL, value_parser = model)]
    pub model: ModelArg,

    /// Branch, tag or commit of the Hugging Face repository [default: main]
    #[arg(long, value_name = "REVISION")]
    pub revision: Option<String>,

    #[command(flatten)]
    pub adapter: AdapterArgs,

    /// Compare with the values in this file instead of the published ones
    ///
    /// A JSON file, for example:
    ///
    /// {"comparisons": [{"name": "first columns", "sequence": "MKTAYIAK", "what": "mean",
    /// "expected": [0.12, -0.4], "atol": 1e-4, "rtol": 1e-4, "source": "my notebook"}]}
    ///
    /// what: hidden_rows (row 0 is `<cls>`), residue_rows, residue_norms, mean, bos, mean_of_mean,
    /// log_odds (an object: {"F1K": -3.2}, by one unmasked pass) or pll_unmasked.
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
        env = variables::DEVICE,
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
    /// `cpu` or the GPUs.
    device: String,
    /// CPU path; null on GPUs.
    cpu_path: Option<String>,
    /// Whether all comparisons passed.
    passed: bool,
    /// Number of comparisons, including those of `files`.
    compared: usize,
    /// Number of comparisons that failed.
    failed: usize,
    /// Files with a published SHA-256.
    files: Vec<FileReport>,
    /// Embeddings.
    comparisons: Vec<VerdictReport>,
}

/// Compares, prints every comparison, and fails if one of them fails.
pub fn execute(args: &VerifyArgs) -> anyhow::Result<Exit> {
    let progress = Progress::new(args.display);
    let device = embedder::resolve(&args.device, None, Some(Dtype::F32))?;
    if let Some(why) = &device.why_cpu {
        progress.message(Level::Info, &format!("no GPU is used: {why}"));
    }
    let reference = Reference::open(args.reference.as_deref())?;
    let called = args.adapter.called(&args.model);
    let names = names::names(&called.reference);
    let comparisons = reference.for_model(&names);
    if comparisons.is_empty() {
        let (model, file) = (&called.text, args.reference.as_ref());
        bail!(names::nothing_to_compare(model, &names, &reference, file));
    }
    let revision = args.revision.as_deref();
    let model = args.adapter.resolve(&args.model, revision, &progress)?;
    let checkpoint = model.open()?;
    tell_of_checkpoint(&checkpoint, &progress);
    let show = |text: String| if args.json { Ok(()) } else { print(&text) };
    let cpu_path = (!device.is_gpu()).then(|| device.path.to_string());
    show(format!(
        "esm-embed {} on {}: {}\n",
        env!("CARGO_PKG_VERSION"),
        cpu_path.clone().unwrap_or_else(|| device.to_string()),
        printable::text(&model.path.display().to_string())
    ))?;
    let files = digests(&model, &checkpoint, |file| show(file.to_string()))?;
    let layers = layers(&comparisons, checkpoint.config())?;
    let needs_logits = |comparison: &&Comparison| comparison.expected.needs_logits();
    let options = EmbedderOptions {
        lm_head: comparisons.iter().any(needs_logits),
        threads: Threads::new(available_threads()),
        max_tokens: TRAINING_MAXIMUM + 2,
        ..EmbedderOptions::new(
            device.clone(),
            Dtype::F32,
            layers.last().copied().unwrap_or(0),
        )
    };
    let embedder = Embedder::load(&Arc::new(checkpoint), &options)?;
    let mut verdicts = Vec::new();
    compare(&embedder, &layers, &comparisons, |verdict| {
        verdicts.push(verdict.report());
        show(verdict.to_string())
    })?;
    let failed_files = files.iter().filter(|file| !file.passed).count();
    let failed = failed_files + verdicts.iter().filter(|verdict| !verdict.passed()).count();
    let compared = files.len() + verdicts.len();
    show(conclusion(compared, failed, failed_files, &called.text))?;
    if args.json {
        print_json(&VerifyReport {
            esm_embed: env!("CARGO_PKG_VERSION"),
            model: called.text.clone(),
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
