//! The model's embeddings against the values of comparisons.

use super::comparison::{Comparison, Expected};
use super::verdict::Verdict;
use anyhow::{Context, anyhow, ensure};
use esm_embed::cancel::Cancel;
use esm_embed::checkpoint::EsmConfig;
use esm_embed::embedder::{Computed, Embedder, Sequence};
use esm_embed::product::{OutDtype, Pool, Product, Request, Values};
use esm_embed::score::{Protein, UnmaskedPass, Variant};
use esm_embed::tokenizer::UnknownPolicy;
use std::ops::ControlFlow;

/// The layers that the comparisons need, ascending, each once.
pub fn layers(comparisons: &[&Comparison], config: &EsmConfig) -> anyhow::Result<Vec<usize>> {
    let mut layers = comparisons
        .iter()
        .map(|comparison| layer(comparison, config))
        .collect::<anyhow::Result<Vec<usize>>>()?;
    layers.sort_unstable();
    layers.dedup();
    Ok(layers)
}

/// The layer of the model that a comparison is for.
fn layer(comparison: &Comparison, config: &EsmConfig) -> anyhow::Result<usize> {
    config.layer_index(comparison.layer).with_context(|| {
        format!(
            "comparison '{}' is for layer {}, but the model has layers 0 to {}\nhint: its values may \
             be of another model",
            comparison.name, comparison.layer, config.layers
        )
    })
}

/// The `<cls>` row and the residue rows of a sequence, layer by layer.
pub(super) type Hidden = Vec<(Vec<f32>, Vec<f32>)>;

/// Embeds the sequence of each comparison, compares the layer that it is for with its values, and
/// passes the verdict on. Neighbours with the same sequence share one pass through the model.
pub fn compare<'a>(
    embedder: &Embedder,
    layers: &[usize],
    comparisons: &[&'a Comparison],
    mut pass_on: impl FnMut(Verdict<'a>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut embedded: Option<(&str, Hidden)> = None;
    for comparison in comparisons {
        if comparison.expected.needs_logits() {
            let found = scores(embedder, comparison)
                .with_context(|| format!("comparison '{}'", comparison.name))?;
            pass_on(Verdict::of_scores(comparison, &found))?;
            continue;
        }
        let wanted = layer(comparison, embedder.config())?;
        let sequence = comparison.sequence.as_str();
        let hidden = match embedded.take() {
            Some((of, hidden)) if of == sequence => hidden,
            _ => embed(embedder, layers, sequence)
                .with_context(|| format!("comparison '{}'", comparison.name))?,
        };
        let of_layer = layers
            .iter()
            .position(|layer| *layer == wanted)
            .and_then(|place| hidden.get(place));
        let (bos, residues) = of_layer.with_context(|| {
            format!(
                "comparison '{}': the model did not return layer {wanted}",
                comparison.name
            )
        })?;
        pass_on(Verdict::new(comparison, bos, residues)?)?;
        embedded = Some((sequence, hidden));
    }
    Ok(())
}

/// The scores that a comparison expects, by one unmasked pass.
pub(super) fn scores(embedder: &Embedder, comparison: &Comparison) -> anyhow::Result<Vec<f64>> {
    let alphabet = embedder.config().alphabet;
    let protein = Protein::new("sequence", comparison.sequence.as_bytes(), alphabet)?;
    let sequence = Sequence {
        tokens: protein.tokens(),
        windows: &[],
    };
    let request = Request::new([Product::Logits], OutDtype::F32);
    let mut logits = Vec::new();
    let mut keep = |computed: Computed<'_>| {
        if let Values::F32(values) = computed.values {
            logits = values.to_vec();
        }
        ControlFlow::Continue(())
    };
    embedder.embed(&[sequence], &request, &Cancel::default(), &mut keep)?;
    let pass = UnmaskedPass::new(&protein, &logits).context("its sequence is empty")?;
    match &comparison.expected {
        Expected::LogOdds(scores) => scores
            .keys()
            .map(|text| {
                let variant = Variant::parse(text, &protein, 1).map_err(|why| anyhow!(why))?;
                Ok(pass.log_odds(&variant))
            })
            .collect(),
        _ => Ok(vec![pass.pll()]),
    }
}

pub(super) fn embed(
    embedder: &Embedder,
    layers: &[usize],
    sequence: &str,
) -> anyhow::Result<Hidden> {
    let alphabet = embedder.config().alphabet;
    let tokens = alphabet.tokenize(sequence.as_bytes(), UnknownPolicy::Error);
    let tokens = tokens.map_err(|error| {
        // Its hints are for a FASTA file.
        let text = error.to_string();
        let text = text.lines().next().unwrap_or_default();
        anyhow!("{text}\nhint: correct the sequence in the reference file")
    })?;
    ensure!(tokens.residues() > 0, "its sequence is empty");
    let sequence = Sequence {
        tokens: &tokens.ids,
        windows: &[],
    };
    let products = layers.iter().flat_map(|&layer| {
        let pool = Pool::Bos;
        [Product::Pooled { layer, pool }, Product::Residues { layer }]
    });
    let request = Request::new(products, OutDtype::F32);
    let mut hidden = vec![(Vec::new(), Vec::new()); layers.len()];
    let mut keep = |computed: Computed<'_>| {
        let (Product::Pooled { layer, .. } | Product::Residues { layer }, Values::F32(values)) =
            (computed.product, computed.values)
        else {
            return ControlFlow::Continue(());
        };
        let place = layers.iter().position(|found| *found == layer);
        if let Some((bos, residues)) = place.and_then(|place| hidden.get_mut(place)) {
            match computed.product {
                Product::Residues { .. } => *residues = values.to_vec(),
                _ => *bos = values.to_vec(),
            }
        }
        ControlFlow::Continue(())
    };
    embedder.embed(&[sequence], &request, &Cancel::default(), &mut keep)?;
    Ok(hidden)
}
