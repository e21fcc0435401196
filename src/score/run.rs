//! From a job to the files of scores.

use super::job::ScoreJob;
use super::journal::Journal;
use super::model::{Opened, Shared, check_alphabet};
use super::piece::{Computed, Pieces};
use super::places::Places;
use super::proteins::Proteins;
use super::scorer::Scorer;
use super::scores::Scores;
use super::skipped::LeftOut;
use super::variants::Variants;
use crate::device::Device;
use crate::numerals::count;
use crate::pipeline::{Caches, Level, Phase, Reporter, Stop, tell_of_checkpoint};
use anyhow::{Context, Result, bail};
use thiserror::Error;

/// How a finished run went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Rows with a score.
    pub scored: u64,
    /// Rows and records that were left without one.
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
    let models = job.models.iter();
    let checkpoints = models.map(|(name, model)| Ok((name.as_str(), model, model.open()?)));
    let checkpoints: Vec<_> = checkpoints.collect::<Result<_>>()?;
    for (_, _, checkpoint) in &checkpoints {
        check_alphabet(checkpoint)?;
    }
    let of_models = checkpoints.iter();
    let alphabets: Vec<_> = of_models
        .map(|(_, _, found)| found.config().alphabet)
        .collect();
    let all = Proteins::read(&job.sequences, &alphabets, job.on_invalid)?;
    let variants = match &job.variants {
        Some(asked) => Some(Variants::read(asked, &all, job.on_invalid)?),
        None => None,
    };
    let skipped = LeftOut::new(job, variants.as_ref(), &all);
    let places = Places::check(job, &skipped)?;
    let proteins = &all.sound;
    let device = job.compute.resolve_device()?;
    let device = Device {
        tested: caches.self_tests.clone(),
        ..device
    };
    let dtype = job.compute.dtype.unwrap_or(device.usual_dtype());
    let models = checkpoints.into_iter().map(|(name, model, checkpoint)| {
        tell_of_checkpoint(&checkpoint, reporter);
        Opened::new(job, proteins, name, &model.path, checkpoint)
    });
    let models: Vec<Opened> = models.collect::<Result<_>>()?;

    let journal =
        Journal::open(&places.journal).with_context(|| places.journal.display().to_string())?;
    stop.set_has_work(true);
    let mut scores = Scores::new(job, variants.as_ref(), &all);
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
            proteins,
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
    let outcome = scores.write(&places, &skipped)?;
    journal
        .remove()
        .with_context(|| places.journal.display().to_string())?;
    stop.set_has_work(false);
    let wrote = count(outcome.scored, "score");
    reporter.message(Level::Info, &format!("{wrote} in {}", places.shown()));
    for warning in skipped.warnings(&places) {
        reporter.message(Level::Warning, &warning);
    }
    Ok(outcome)
}
