//! The scores of all models, and the files made of them.

use super::job::ScoreJob;
use super::landscape::{self, LETTERS, OfModel};
use super::piece::Answers;
use super::places::{Places, remove_old_list};
use super::protein::Protein;
use super::proteins::Proteins;
use super::run::Outcome;
use super::scorer::Scorer;
use super::skipped::{LeftOut, list};
use super::table::{Table, free_name};
use super::variants::Variants;
use crate::output::replace;
use anyhow::{Context, Result};

/// The scores of all models.
pub(super) struct Scores<'a> {
    job: &'a ScoreJob,
    variants: Option<&'a Variants>,
    proteins: &'a Proteins,
    columns: Vec<(String, Vec<Option<f64>>)>,
    landscapes: Vec<OfModel>,
}

/// What one model gives.
pub(super) struct Found {
    scores: Vec<Option<f64>>,
    arrays: Vec<Vec<f32>>,
}

impl<'a> Scores<'a> {
    pub(super) fn new(
        job: &'a ScoreJob,
        variants: Option<&'a Variants>,
        proteins: &'a Proteins,
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
    pub(super) fn all(&self, scorers: &[Scorer<'_>], answers: &mut dyn Answers) -> Found {
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
            (None, _) => self
                .proteins
                .records
                .iter()
                .map(|record| {
                    let number = *record.protein.as_ref().ok()?;
                    Some(scorers.get(number)?.pll(&[], answers))
                })
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

    pub(super) fn add(&mut self, name: &str, found: Found) {
        self.columns.push((name.to_owned(), found.scores));
        self.landscapes.push(OfModel {
            name: self.free_folder(name),
            arrays: found.arrays,
        });
    }

    /// A name for the folder of a landscape.
    fn free_folder(&self, name: &str) -> String {
        let taken = self.landscapes.iter().map(|model| &model.name);
        free_name(name, |name| !taken.clone().any(|other| other == name))
    }

    /// Writes everything; the table last.
    pub(super) fn write(mut self, places: &Places, left_out: &LeftOut) -> Result<Outcome> {
        if let Some(folder) = &places.landscape {
            if self.landscapes.len() > 1 {
                let ensemble = self.mean_landscape();
                self.landscapes.push(ensemble);
            }
            let ids: Vec<&str> = self.proteins.sound.iter().map(Protein::id).collect();
            let method = self.job.method.to_string();
            landscape::write(folder, &method, &ids, &self.landscapes)?;
        }
        let mut outcome = Outcome {
            skipped: left_out.count(),
            ..Outcome::default()
        };
        let lists = [
            (&places.skipped, left_out.of_table()),
            (&places.skipped_arrays, left_out.of_arrays()),
        ];
        for (path, skipped) in lists {
            match (path, skipped) {
                (Some(path), Some((header, skipped))) => {
                    let text = list(header, skipped);
                    replace(path, text.as_bytes()).with_context(|| path.display().to_string())?;
                }
                (Some(path), None) if self.job.force => remove_old_list(path)?,
                _ => {}
            }
        }
        let Some(out) = &places.out else {
            let arrays = self.landscapes.iter().flat_map(|model| &model.arrays);
            outcome.scored = arrays.map(|array| array.len() as u64).sum();
            return Ok(outcome);
        };
        let lengths: Vec<String> = self
            .lengths()
            .map(|length| length.map_or_else(String::new, |length| length.to_string()))
            .collect();
        let (table, columns) = match self.variants {
            Some(variants) => (variants.table.clone(), self.columns_of_variants(variants)),
            None => {
                let rows = self.proteins.records.iter().zip(&lengths);
                let rows = rows.map(|(record, length)| vec![&*record.id, &**length]);
                (
                    Table::new(&["id", "length"], rows),
                    self.columns_of_proteins(),
                )
            }
        };
        let bytes = table.with_columns(&columns)?;
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

    /// Residues of each record that has scores.
    fn lengths(&self) -> impl Iterator<Item = Option<usize>> {
        self.proteins.records.iter().map(|record| {
            let number = *record.protein.as_ref().ok()?;
            Some(self.proteins.sound.get(number)?.residues())
        })
    }

    /// Two columns for each model: its name is in theirs if there are several.
    fn columns_of_proteins(&self) -> Vec<(String, Vec<Option<f64>>)> {
        let several = self.columns.len() > 1;
        let mut columns = Vec::new();
        let mut taken: Vec<String> = Vec::new();
        for (model, plls) in &self.columns {
            let model = free_name(model, |name| !taken.iter().any(|other| other == name));
            taken.push(model.clone());
            let perplexity = plls
                .iter()
                .zip(self.lengths())
                .map(|(pll, length)| Some(libm::exp(-(*pll)? / length? as f64)));
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
        let arrays = (0..self.proteins.sound.len()).map(|protein| {
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
            name: self.free_folder("ensemble"),
            arrays: arrays.collect(),
        }
    }
}
