//! What `run.json` records of a run: everything that can change a byte of its files, and nothing
//! that cannot (processor, threads, batch size, time).

use crate::checkpoint::{Checkpoint, InvFreqSource, Positions};
use crate::embedder::Embedder;
use crate::pipeline::input::records::Source;
use crate::pipeline::job::{Job, Layers};
use crate::pipeline::plan::Plan;
use crate::product::Product;
use crate::run_record::{
    AdapterFacts, Asked, AskedLayer, InputFacts, ModelFacts, Resolved, RunRecord,
};
use crate::sha256::hex;

/// This run, as far as it is known. Checksums of the model are never included; what shows only once
/// the model is loaded needs the embedder.
pub fn record(
    job: &Job,
    plan: &Plan,
    checkpoint: &Checkpoint,
    embedder: Option<&Embedder>,
    sources: &[Source],
) -> RunRecord {
    RunRecord {
        esm_embed: env!("CARGO_PKG_VERSION").into(),
        shard: job.inputs.shard,
        plan: job
            .inputs
            .plan
            .as_ref()
            .and_then(|plan| plan.facts.digest.parse().ok()),
        asked: asked(job),
        resolved: Resolved {
            attention_layers: match plan.has(Product::Attentions) {
                true => plan.maps.layers.clone(),
                false => Vec::new(),
            },
            cuda: embedder.and_then(|embedder| embedder.engine().about().gpus),
            device: plan.device.to_string(),
            dtype: plan.dtype.to_string(),
            gaps: plan.admission.policy.gaps.to_string(),
            inputs: inputs(sources),
            layers: plan.layout.layers.clone(),
            letters: match plan.has(Product::Logits) {
                true => {
                    let rows = checkpoint.config().alphabet.rows().iter();
                    rows.map(|&token| token.to_owned()).collect()
                }
                false => Vec::new(),
            },
            long: plan.admission.policy.long.to_string(),
            model: model(job, checkpoint, embedder),
            ..Resolved::default()
        },
    }
}

fn asked(job: &Job) -> Asked {
    let layer = |layers: Layers| match layers {
        Layers::One(layer) => AskedLayer::Index(layer),
        span => AskedLayer::Span(span.to_string()),
    };
    let layers = Layers::canonical(&job.output.layers);
    let regression = job.model.contact_regression.as_ref();
    let paths = job.inputs.paths.iter();
    let maps = &job.output.maps;
    let layers_of_maps = Layers::canonical(&maps.layers);
    let adapter = job.model.adapter.as_ref();
    Asked {
        adapter: adapter.map(|adapter| adapter.asked.clone()),
        attention_heads: maps.heads,
        attention_layers: layers_of_maps.into_iter().map(layer).collect(),
        contact_regression: regression.map(|path| path.to_string_lossy().into()),
        dtype: job.compute.dtype.map(|dtype| dtype.to_string()),
        gaps: job.sequences.gaps.to_string(),
        include: job.output.include.clone(),
        inputs: paths.map(|path| path.to_string_lossy().into()).collect(),
        layer: layers.into_iter().map(layer).collect(),
        long: job.sequences.long.map(|long| long.to_string()),
        model: job.model.asked.clone(),
        on_invalid: job.sequences.on_invalid.to_string(),
        out_dtype: job.output.dtype,
        pool: job.output.pools.clone(),
        residues: job.output.residues,
        stack_layers: job.output.stack_layers,
        unknown: job.sequences.unknown.to_string(),
        ..Asked::default()
    }
}

/// The inputs once they have been read.
pub fn inputs(sources: &[Source]) -> Vec<InputFacts> {
    let facts = |source: &Source| InputFacts {
        bytes: source.digest.bytes,
        path: source.path.to_string_lossy().into(),
        records: source.records,
        sha256: hex(&source.digest.sha256),
    };
    sources.iter().map(facts).collect()
}

fn model(job: &Job, checkpoint: &Checkpoint, embedder: Option<&Embedder>) -> ModelFacts {
    let config = checkpoint.config();
    let given = job.model.adapter.as_ref();
    let inv_freq = embedder.and_then(|embedder| embedder.engine().about().inv_freq);
    ModelFacts {
        adapter: checkpoint.adapter().map(|applied| AdapterFacts {
            base: applied.adapter.base.clone(),
            method: applied.adapter.method.clone().unwrap_or_default(),
            repo: given.and_then(|given| given.repo.clone()),
            revision: given.and_then(|given| given.revision.clone()),
            weights: applied.weights,
        }),
        alphabet_proof: Some(checkpoint.alphabet().to_string()),
        alphabet_size: Some(config.logits()),
        dim: config.dim,
        embedding_rows: Some(config.vocab),
        files: Vec::new(),
        heads: config.heads,
        inv_freq: inv_freq.map(|source| match source {
            InvFreqSource::Stored => "checkpoint".into(),
            InvFreqSource::Computed => "computed".into(),
        }),
        layers: config.layers,
        layout: checkpoint.naming().to_string(),
        positions: match config.positions {
            Positions::Rotary => "rotary".into(),
            Positions::Learned { .. } => "learned".into(),
        },
        repo: job.model.repo.clone(),
        revision: job.model.revision.clone(),
        stored_dtype: checkpoint.stored_dtype().to_string(),
        token_dropout: config.token_dropout,
        ..ModelFacts::default()
    }
}
