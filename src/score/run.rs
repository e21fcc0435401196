//! From a job to the files of scores.

use super::compute::Compute;
use super::job::ScoreJob;
use super::journal::Journal;
use super::landscape::{self, LETTERS, OfModel};
use super::method::Window;
use super::piece::{Answers, Computed, Pieces};
use super::protein::Protein;
use super::scorer::Scorer;
use super::table::Table;
use super::variants::{Variants, list};
use crate::admission::{MemoryBudget, ModelMemory, PassCost, PassLimits};
use crate::checkpoint::Checkpoint;
use crate::device::{Device, Dtype};
use crate::embedder::{Embedder, EmbedderOptions, OnOverflow};
use crate::memory::MemoryLimit;
use crate::model::PassMemory;
use crate::numerals::{self, count};
use crate::output::replace;
use crate::pipeline::{Caches, Computing, Level, OnVarying, Phase, Reporter, Stop};
use crate::stamp::Stamp;
use crate::threads::Threads;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thiserror::Error;

/// How a finished run went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Rows with a score.
    pub scored: u64,
    /// Rows that were left without one.
    pub skipped: u64,
}

/// A run that stopped on request, with its work saved.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("stopped; everything finished so far is kept in {journal}\nhint: use `resume` to continue")]
pub struct ScoreStopped {
    /// The signal.
    pub signal: i32,
    /// The file with the finished work.
    pub journal: String,
}

/// Tokens of a batch on the CPU by default.
const CPU_TOKENS: usize = 1024;

/// A model that was opened and checked.
struct Opened {
    name: String,
    path: PathBuf,
    checkpoint: Arc<Checkpoint>,
    window: Window,
}

/// Scores what the job asks for, unless `stop` asks it to save its work and end early.
///
/// # Errors
/// Everything that keeps the scores from being complete; nothing is written then but the journal.
pub fn run(
    job: &ScoreJob,
    caches: &Caches,
    reporter: &dyn Reporter,
    stop: &Stop,
) -> Result<Outcome> {
    reporter.phase(Phase::Reading);
    let proteins = Protein::read(&job.sequences)?;
    let variants = match &job.variants {
        Some(asked) => Some(Variants::read(asked, &proteins)?),
        None => None,
    };
    let places = Places::check(job)?;
    let device = job.compute.resolve_device()?;
    let device = Device {
        tested: caches.self_tests.clone(),
        ..device
    };
    let dtype = job.compute.dtype.unwrap_or(device.usual_dtype());
    let models = job.models.iter();
    let models = models.map(|(name, model)| open(job, &proteins, name, &model.path, reporter));
    let models: Vec<Opened> = models.collect::<Result<_>>()?;

    let journal =
        Journal::open(&places.journal).with_context(|| places.journal.display().to_string())?;
    stop.set_has_work(true);
    let mut scores = Scores::new(job, variants.as_ref(), &proteins);
    for model in &models {
        let mut pieces = Pieces::default();
        let scorers: Vec<Scorer<'_>> = proteins
            .iter()
            .zip(0..)
            .map(|(protein, number)| Scorer {
                protein,
                number,
                method: job.method,
                window: model.window,
            })
            .collect();
        scores.all(&scorers, &mut pieces);
        let shared = Shared {
            job,
            device: &device,
            dtype,
            proteins: &proteins,
            journal: &journal,
            reporter,
            stop,
        };
        let Some(kept) = shared.compute(model, &pieces)? else {
            stop.set_has_work(false);
            bail!(ScoreStopped {
                signal: stop.signal(),
                journal: places.journal.display().to_string(),
            });
        };
        let mut answers = Computed {
            pieces: &pieces,
            kept: &kept,
        };
        let found = scores.all(&scorers, &mut answers);
        scores.add(&model.name, found);
    }
    let outcome = scores.write(&places)?;
    journal
        .remove()
        .with_context(|| places.journal.display().to_string())?;
    stop.set_has_work(false);
    let wrote = count(outcome.scored, "score");
    reporter.message(Level::Info, &format!("{wrote} in {}", places.shown()));
    if let (Some(variants), Some(list)) = (&variants, &places.skipped)
        && let Some(first) = variants.skipped.first()
    {
        reporter.message(
            Level::Warning,
            &format!(
                "{} left without a score and listed in {}; the first is line {}: {}",
                match outcome.skipped {
                    1 => "1 row was".to_owned(),
                    rows => format!("{} rows were", numerals::grouped(rows)),
                },
                list.display(),
                first.line,
                first.why
            ),
        );
    }
    Ok(outcome)
}

/// Opens a model and checks that it can score these proteins.
fn open(
    job: &ScoreJob,
    proteins: &[Protein],
    name: &str,
    path: &Path,
    reporter: &dyn Reporter,
) -> Result<Opened> {
    let checkpoint = Checkpoint::open(path)?;
    for warning in checkpoint.warnings() {
        reporter.message(Level::Warning, warning);
    }
    checkpoint.lm_head()?;
    let positions = checkpoint.config().positions;
    let window = Window::resolve(job.window, job.method, positions)?;
    if let (Window::None, Some(most)) = (window, positions.max_residues())
        && let Some(long) = proteins.iter().find(|protein| protein.residues() > most)
    {
        bail!(
            "{} has {}, but {} takes {} at most\n\
             hint: leave out `window=none`",
            long.shown(),
            count(long.residues() as u64, "residue"),
            path.display(),
            numerals::grouped(most as u64)
        );
    }
    Ok(Opened {
        name: name.to_owned(),
        path: path.to_path_buf(),
        checkpoint: Arc::new(checkpoint),
        window,
    })
}

/// What all models share.
struct Shared<'a> {
    job: &'a ScoreJob,
    device: &'a Device,
    dtype: Dtype,
    proteins: &'a [Protein],
    journal: &'a Journal,
    reporter: &'a dyn Reporter,
    stop: &'a Stop,
}

impl Shared<'_> {
    /// Loads a model and computes all pieces; None if it was asked to stop.
    fn compute(&self, model: &Opened, pieces: &Pieces) -> Result<Option<Vec<Box<[f64]>>>> {
        let compute = &self.job.compute;
        let (memory, cost) = self.memory(model, pieces)?;
        self.reporter.phase(Phase::Loading(&model.name));
        let layers = model.checkpoint.config().layers;
        let options = EmbedderOptions {
            lm_head: true,
            threads: Threads::new(compute.threads),
            max_tokens: match compute.deterministic {
                true => 0,
                false => cost.max_tokens(),
            },
            fill_memory: compute.max_tokens.is_none() && !compute.deterministic,
            on_overflow: OnOverflow::Fallback {
                may_vary: compute.on_varying != OnVarying::Fail,
            },
            ..EmbedderOptions::new(self.device.clone(), self.dtype, layers)
        };
        let embedder = Embedder::load(&model.checkpoint, &options)?;
        let computed_by = self.identity(model, &embedder)?;
        Compute {
            embedder: &embedder,
            computed_by,
            computing: Computing {
                device: self.device,
                dtype: self.dtype,
            },
            proteins: self.proteins,
            threads: compute.threads,
            max_tokens: match self.device.is_gpu() {
                true => compute.max_tokens,
                false => Some(cost.max_tokens()),
            },
            one_each: compute.deterministic,
            cost,
            memory,
            journal: Some(self.journal),
            reporter: self.reporter,
            stop: self.stop,
        }
        .all(pieces)
    }

    /// Bytes for passes, if there is a limit, and what they take.
    fn memory(&self, model: &Opened, pieces: &Pieces) -> Result<(Option<u64>, PassCost)> {
        let compute = &self.job.compute;
        let config = model.checkpoint.config();
        let weight_type = self.dtype.weight_type();
        let limits = PassLimits {
            max_tokens: compute.max_tokens.unwrap_or(CPU_TOKENS),
            threads: compute.threads,
            one_each: compute.deterministic,
        };
        let memory = PassMemory::new(config, self.device.path, weight_type);
        let cost = PassCost::new(config, memory, 1, limits).with_logits(config);
        let limit = match self.device.is_gpu() {
            true => None,
            false => MemoryLimit::here(),
        };
        let Some(limit) = limit else {
            return Ok((None, cost));
        };
        let weights = ModelMemory::new(config, config.layers, weight_type, compute.threads);
        let weights = weights.with_lm_head(config);
        let budget = MemoryBudget::new(limit, &weights, cost, compute.max_tokens.is_none())
            .with_context(|| model.name.clone())?;
        let longest = pieces.all.iter().map(|piece| piece.window.len()).max();
        let needed = budget.cost.record(longest.unwrap_or(0), &[]);
        if needed > budget.bytes {
            bail!(
                "a pass over the longest protein takes {} of memory, but {} are left beside the model\n\
                 hint: use `window=optimal`, or a machine with more memory",
                numerals::bytes(needed),
                numerals::bytes(budget.bytes)
            );
        }
        Ok((Some(budget.bytes), budget.cost))
    }

    /// Everything that numbers depend on besides tokens.
    fn identity(&self, model: &Opened, embedder: &Embedder) -> Result<String> {
        let mut text = format!(
            "{} {} {}",
            env!("CARGO_PKG_VERSION"),
            self.dtype,
            self.device
        );
        if self.dtype == Dtype::F16 && !self.device.is_gpu() {
            text += &format!(" {}", self.device.path);
        }
        if let Some(gpus) = embedder.engine().about().gpus {
            text += &serde_json::to_string(&gpus)?;
        }
        for file in model.checkpoint.files() {
            let metadata = file
                .metadata()
                .with_context(|| file.display().to_string())?;
            let Stamp {
                bytes, modified, ..
            } = Stamp::of(&metadata);
            text += &format!("\n{} {bytes} {modified:?}", file.display());
        }
        text += &format!("\n{}", model.path.display());
        Ok(text)
    }
}

/// Where everything goes.
struct Places {
    out: Option<PathBuf>,
    landscape: Option<PathBuf>,
    skipped: Option<PathBuf>,
    journal: PathBuf,
}

impl Places {
    /// Refuses to replace what exists.
    fn check(job: &ScoreJob) -> Result<Places> {
        let beside = |path: &Path, ending: &str| {
            let mut name = path.file_name().unwrap_or_default().to_owned();
            name.push(ending);
            path.with_file_name(name)
        };
        let places = Places {
            out: job.out.clone(),
            landscape: job.landscape.clone(),
            skipped: job
                .out
                .as_ref()
                .map(|out| out.with_extension("skipped.tsv")),
            journal: match (&job.out, &job.landscape) {
                (Some(path), _) | (None, Some(path)) => beside(path, ".partial"),
                (None, None) => {
                    bail!("there is nowhere to write scores\nhint: name a file with `out`")
                }
            },
        };
        let exists = |path: &Path| path.symlink_metadata().is_ok();
        if !job.force {
            let outputs = [&places.out, &places.landscape].into_iter().flatten();
            if let Some(taken) = outputs.into_iter().find(|path| exists(path)) {
                bail!(
                    "{}: it exists already\nhint: choose another name, or use `force` to replace it",
                    taken.display()
                );
            }
        }
        match (exists(&places.journal), job.resume) {
            (true, false) if !job.force => bail!(
                "{}: an interrupted run has left its work here\n\
                 hint: use `resume` to continue it, or `force` to begin again",
                places.journal.display()
            ),
            (true, false) => std::fs::remove_file(&places.journal)
                .with_context(|| places.journal.display().to_string())?,
            _ => {}
        }
        Ok(places)
    }

    fn shown(&self) -> String {
        let path = self.out.as_ref().or(self.landscape.as_ref());
        path.map_or_else(String::new, |path| path.display().to_string())
    }
}

/// The scores of all models.
struct Scores<'a> {
    job: &'a ScoreJob,
    variants: Option<&'a Variants>,
    proteins: &'a [Protein],
    columns: Vec<(String, Vec<Option<f64>>)>,
    landscapes: Vec<OfModel>,
}

/// What one model gives.
struct Found {
    scores: Vec<Option<f64>>,
    arrays: Vec<Vec<f32>>,
}

impl<'a> Scores<'a> {
    fn new(
        job: &'a ScoreJob,
        variants: Option<&'a Variants>,
        proteins: &'a [Protein],
    ) -> Scores<'a> {
        Scores {
            job,
            variants,
            proteins,
            columns: Vec::new(),
            landscapes: Vec::new(),
        }
    }

    /// Every score that was asked for.
    fn all(&self, scorers: &[Scorer<'_>], answers: &mut dyn Answers) -> Found {
        let scores = match (self.variants, &self.job.out) {
            (_, None) => Vec::new(),
            (Some(variants), _) => variants
                .rows
                .iter()
                .map(|row| {
                    let (number, variant) = row.as_ref()?;
                    Some(scorers.get(*number)?.score(variant, answers))
                })
                .collect(),
            (None, _) => scorers
                .iter()
                .map(|scorer| Some(scorer.pll(&[], answers)))
                .collect(),
        };
        let arrays = match self.job.landscape {
            None => Vec::new(),
            Some(_) => scorers
                .iter()
                .map(|scorer| scorer.landscape(&LETTERS, answers))
                .collect(),
        };
        Found { scores, arrays }
    }

    fn add(&mut self, name: &str, found: Found) {
        self.columns.push((name.to_owned(), found.scores));
        self.landscapes.push(OfModel {
            name: name.to_owned(),
            arrays: found.arrays,
        });
    }

    /// Writes everything; the table last.
    fn write(mut self, places: &Places) -> Result<Outcome> {
        if let Some(folder) = &places.landscape {
            if self.landscapes.len() > 1 {
                let ensemble = self.mean_landscape();
                self.landscapes.push(ensemble);
            }
            let ids: Vec<&str> = self.proteins.iter().map(Protein::id).collect();
            let method = self.job.method.to_string();
            landscape::write(folder, &method, &ids, &self.landscapes)?;
        }
        let mut outcome = Outcome::default();
        let Some(out) = &places.out else {
            let arrays = self.landscapes.iter().flat_map(|model| &model.arrays);
            outcome.scored = arrays.map(|array| array.len() as u64).sum();
            return Ok(outcome);
        };
        let lengths: Vec<String> = self
            .proteins
            .iter()
            .map(|protein| protein.residues().to_string())
            .collect();
        let (table, columns) = match self.variants {
            Some(variants) => (variants.table.clone(), self.columns_of_variants(variants)),
            None => {
                let rows = self.proteins.iter().zip(&lengths);
                let rows = rows.map(|(protein, length)| vec![protein.id(), &**length]);
                (
                    Table::new(&["id", "length"], rows),
                    self.columns_of_proteins(),
                )
            }
        };
        let bytes = table.with_columns(&columns)?;
        if let (Some(variants), Some(path)) = (self.variants, &places.skipped)
            && !variants.skipped.is_empty()
        {
            outcome.skipped = variants.skipped.len() as u64;
            let text = list(&variants.skipped);
            replace(path, text.as_bytes()).with_context(|| path.display().to_string())?;
        }
        replace(out, &bytes).with_context(|| out.display().to_string())?;
        let first = columns.first().map(|(_, scores)| scores.iter().flatten());
        outcome.scored = first.map_or(0, |scores| scores.count() as u64);
        Ok(outcome)
    }

    /// A column for each model, and their mean.
    fn columns_of_variants(&self, variants: &Variants) -> Vec<(String, Vec<Option<f64>>)> {
        let mut taken = Vec::new();
        let mut columns = Vec::new();
        for (name, scores) in &self.columns {
            let name = variants.table.free_name(name, &taken);
            taken.push(name.clone());
            columns.push((name, scores.clone()));
        }
        if columns.len() > 1 {
            let means = (0..variants.rows.len()).map(|row| {
                let scores = self.columns.iter().map(|(_, scores)| *scores.get(row)?);
                let scores: Option<Vec<f64>> = scores.collect();
                scores.map(|scores| scores.iter().sum::<f64>() / scores.len() as f64)
            });
            let means = means.collect();
            columns.push((variants.table.free_name("ensemble", &taken), means));
        }
        columns
    }

    /// Two columns for each model: its name is in theirs if there are several.
    fn columns_of_proteins(&self) -> Vec<(String, Vec<Option<f64>>)> {
        let several = self.columns.len() > 1;
        let mut columns = Vec::new();
        for (model, plls) in &self.columns {
            let perplexity = plls
                .iter()
                .zip(self.proteins)
                .map(|(pll, protein)| pll.map(|pll| libm::exp(-pll / protein.residues() as f64)));
            let name = |column: &str| match several {
                true => format!("{column}.{model}"),
                false => column.to_owned(),
            };
            columns.push((name("pll"), plls.clone()));
            columns.push((name("pseudo_perplexity"), perplexity.collect()));
        }
        columns
    }

    /// The plain mean of the arrays of all models.
    fn mean_landscape(&self) -> OfModel {
        let count = self.landscapes.len() as f64;
        let arrays = (0..self.proteins.len()).map(|protein| {
            let all: Vec<&[f32]> = self
                .landscapes
                .iter()
                .filter_map(|model| model.arrays.get(protein).map(Vec::as_slice))
                .collect();
            let length = all.first().map_or(0, |array| array.len());
            let mean = |i: usize| {
                let values = all.iter().filter_map(|array| array.get(i));
                (values.map(|&x| f64::from(x)).sum::<f64>() / count) as f32
            };
            (0..length).map(mean).collect()
        });
        OfModel {
            name: "ensemble".to_owned(),
            arrays: arrays.collect(),
        }
    }
}
