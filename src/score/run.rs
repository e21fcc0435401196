//! From a job to the files of scores.

use super::job::ScoreJob;
use super::journal::Journal;
use super::model::{Opened, Shared, open};
use super::piece::{Computed, Pieces};
use super::places::Places;
use super::protein::Protein;
use super::scorer::Scorer;
use super::scores::Scores;
use super::variants::Variants;
use crate::device::Device;
use crate::numerals::{self, count};
use crate::pipeline::{Caches, Level, Phase, Reporter, Stop};
use anyhow::{Context, Result, bail};
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
    let skips = variants.as_ref().is_some_and(|all| !all.skipped.is_empty());
    let places = Places::check(job, skips)?;
    let device = job.compute.resolve_device()?;
    let device = Device {
        tested: caches.self_tests.clone(),
        ..device
    };
    let dtype = job.compute.dtype.unwrap_or(device.usual_dtype());
    let models = job.models.iter();
    let models = models.map(|(name, model)| open(job, &proteins, name, model, reporter));
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
    // From here on, files that exist are those of this run.
    let begun = journal.enter(std::iter::empty());
    begun.with_context(|| places.journal.display().to_string())?;
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
