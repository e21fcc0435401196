//! `verify`: does this build, on this machine, reproduce published numbers?

mod compare;
mod reference;

use super::args::VerifyArgs;
use super::progress::Progress;
use super::run::look_for_cards;
use super::text::printable;
use super::{Exit, print, source};
use anyhow::{Context, bail, ensure};
use compare::Verdict;
use esm_embed::checkpoint::{Checkpoint, EsmConfig};
use esm_embed::device::{Device, Dtype, available_threads};
use esm_embed::embedder::{Embedder, EmbedderOptions, Sequence};
use esm_embed::hub::{ModelRef, published_digest, published_hub_digest, sha256_file};
use esm_embed::ops::WeightType;
use esm_embed::pipeline::{Level, Model, Reporter, USUAL_LIMIT};
use esm_embed::tokenizer::{UnknownPolicy, tokenize};
use reference::{Comparison, Reference};
use std::path::Path;

/// Compares, prints every comparison, and fails if one of them does.
pub fn execute(args: &VerifyArgs) -> anyhow::Result<Exit> {
    let progress = Progress::new(args.show);
    look_for_cards(&args.device, None, &progress)?;
    let device = Device::resolve(&args.device, None, Some(Dtype::F32))?;
    let reference = Reference::open(args.reference.as_deref())?;
    let comparisons = reference.for_model(&names(&args.model.reference));
    if comparisons.is_empty() {
        bail!(
            "there are no values to compare {} with: those at hand are for {}. Give values of your \
             own with --reference FILE; `esm-embed fetch` checks the files of a model against \
             their digests",
            args.model.text,
            reference.checkpoints().join(", ")
        );
    }
    let model = source::resolve(&args.model, args.revision.as_deref(), &progress)?;
    let checkpoint = Checkpoint::open(&model.path)?;
    for warning in checkpoint.warnings() {
        progress.message(Level::Warning, warning);
    }
    print(&format!(
        "esm-embed {} on {}: {}\n",
        env!("CARGO_PKG_VERSION"),
        match device.is_cuda() {
            true => device.to_string(),
            false => device.path.to_string(),
        },
        printable(&model.path.display().to_string())
    ))?;
    let (mut compared, mut failed) = digests(&model, &checkpoint)?;
    let layers = layers(&comparisons, checkpoint.config())?;
    let options = EmbedderOptions {
        layers: layers.clone(),
        weight_type: WeightType::F32,
        path: device.path,
        threads: available_threads(),
        max_tokens: USUAL_LIMIT + 2,
    };
    let embedder = Embedder::load_on(&checkpoint, options, &device, Dtype::F32)?;
    for comparison in comparisons {
        let verdict = compare(&embedder, &layers, comparison)?;
        print(&verdict.to_string())?;
        compared += 1;
        failed += usize::from(!verdict.passed());
    }
    if failed == 0 {
        print(&format!("all {compared} comparisons passed\n"))?;
        return Ok(Exit::Done);
    }
    print(&format!("{failed} of {compared} comparisons failed\n"))?;
    Ok(Exit::Failed)
}

/// The names that values for this model may be kept under: its repository, or what its folder or
/// file is called.
fn names(model: &ModelRef) -> Vec<String> {
    let of_path = |path: &Path| {
        // Through links and `.`: the name that the folder really has.
        let path = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        [path.file_name(), path.file_stem()]
            .into_iter()
            .flatten()
            .map(|name| name.to_string_lossy().into_owned())
            .collect()
    };
    match model {
        ModelRef::Known(known) => vec![known.repo.to_owned(), known.name.to_owned()],
        ModelRef::Hub { repo } => vec![repo.clone()],
        ModelRef::Path(path) => of_path(path),
    }
}

/// Compares the files with the digests published for them, where there are any. Returns how many
/// were compared and how many differ.
fn digests(model: &Model, checkpoint: &Checkpoint) -> anyhow::Result<(usize, usize)> {
    let (mut compared, mut failed) = (0, 0);
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
        let is_same = found == expected;
        let word = if is_same { "pass" } else { "FAIL" };
        print(&format!(
            "{word}  sha256 of {}\n      expected  {expected}\n      found     {found}\n",
            printable(name)
        ))?;
        compared += 1;
        failed += usize::from(!is_same);
    }
    Ok((compared, failed))
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

/// Embeds the sequence of a comparison and holds the wanted one of `layers` against it.
fn compare<'a>(
    embedder: &Embedder,
    layers: &[usize],
    comparison: &'a Comparison,
) -> anyhow::Result<Verdict<'a>> {
    let name = &comparison.name;
    let wanted = layer(comparison, embedder.config())?;
    let tokens = tokenize(comparison.sequence.as_bytes(), UnknownPolicy::Error)
        .with_context(|| format!("comparison `{name}`"))?;
    let residues = tokens.residues();
    ensure!(
        residues > 0,
        "comparison `{name}` has an empty sequence. Write its residues"
    );
    let sequence = Sequence {
        tokens: &tokens.ids,
        windows: &[],
    };
    let mut verdict = None;
    embedder.embed(&[sequence], |found| -> anyhow::Result<()> {
        if layers.get(found.layer) == Some(&wanted) {
            verdict = Some(Verdict::new(comparison, found.bos, found.residues)?);
        }
        Ok(())
    })?;
    verdict.with_context(|| format!("comparison `{name}`: the model gave no layer {wanted}"))
}
