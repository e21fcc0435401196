//! The report of an output folder: a page that describes a run and its results.

use super::error::PlotError;
use super::files::{self, Existing};
use super::map::pooled_array;
use super::neighbours::nearest;
use super::pca::pca;
use super::projections::Stage;
use super::report_page::{self, ContactMap, Contents, Embeddings, Neighbour};
use crate::output::{Array, FinishedFolder, Record};
use crate::product::Product;
use crate::threads::Threads;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Nearest neighbours of a record that are shown.
pub const NEIGHBOURS: usize = 10;
/// Records up to which every pair is compared in all columns.
const EXACT: usize = 5_000;
/// Beyond it: principal components among which candidates are searched, and candidates of a record.
const COMPONENTS: usize = 50;
const CANDIDATES: usize = 50;
/// Records that the page lists; with more, it would be too large for a browser.
const MOST_RECORDS: usize = 100_000;
/// Contact maps that are shown, and the residues of the longest.
const MOST_MAPS: usize = 24;
const LONGEST_MAP: u64 = 600;

/// What is reported, and where to.
#[derive(Debug, Clone)]
pub struct ReportPlot {
    /// The pooled array, such as `mean.layer33`; None for the mean of the highest layer.
    pub array: Option<String>,
    /// The page.
    pub out: PathBuf,
    /// What happens to a file of the same name.
    pub existing: Existing,
}

/// A report that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reported {
    /// The array whose components and neighbours are shown; None if the folder has none.
    pub array: Option<String>,
    /// Number of records of the folder.
    pub records: u64,
    /// Records that the page lists with components and neighbours: the first.
    pub listed: usize,
    /// Contact maps that are shown.
    pub maps: usize,
}

impl ReportPlot {
    /// Makes the report.
    ///
    /// # Errors
    /// When something in the folder is damaged, when it does not have the array, or when the page
    /// exists or cannot be written.
    pub fn draw(
        &self,
        folder: &FinishedFolder,
        threads: &Threads,
        stage: &(dyn Fn(Stage) + Sync),
    ) -> Result<Reported, PlotError> {
        let array = match (&self.array, folder.default_pooled()) {
            (None, None) => None,
            (name, _) => Some(*pooled_array(folder, name.as_ref())?),
        };
        files::check(&self.out, self.existing)?;
        let mut lengths = Vec::new();
        let mut records = Vec::new();
        for record in folder.records()? {
            let record = record?;
            lengths.push(record.length);
            if records.len() < MOST_RECORDS {
                records.push(record);
            }
        }
        let embeddings = match &array {
            None => None,
            Some(array) => {
                stage(Stage::Reading(records.len()));
                let mut values = folder.pooled_rows(array)?;
                values.truncate(records.len().saturating_mul(array.model.dim));
                Some(embeddings(values, array, threads, stage))
            }
        };
        let maps = contact_maps(folder, &records)?;
        let reported = Reported {
            array: array.map(|array| array.name()),
            records: lengths.len() as u64,
            listed: records.len(),
            maps: maps.len(),
        };
        let page = report_page::encode(&Contents {
            folder,
            lengths: &lengths,
            records: &records,
            embeddings: embeddings.as_ref(),
            maps: &maps,
        });
        if let Some(parent) = self
            .out
            .parent()
            .filter(|path| !path.as_os_str().is_empty())
        {
            files::make_folder(parent)?;
        }
        files::write(&self.out, page.as_bytes())?;
        Ok(reported)
    }
}

/// Components and neighbours of rows of numbers.
fn embeddings(
    mut values: Vec<f32>,
    array: &Array,
    threads: &Threads,
    stage: &(dyn Fn(Stage) + Sync),
) -> Embeddings {
    let columns = array.model.dim.max(1);
    stage(Stage::Components);
    let components = pca(&values, columns, 2, 0, threads);
    let shown = components.components.max(1);
    let points = components.scores.chunks(shown).flat_map(|scores| {
        let at = |component| scores.get(component).copied().unwrap_or(0.0) as f32;
        [at(0), at(1)]
    });
    let points = points.collect();
    let explained = (0..2).map(|at| components.explained(at)).collect();
    normalise(&mut values, columns);
    let (neighbours, exact) = neighbours(&values, columns, threads, stage);
    Embeddings {
        array: array.name(),
        points,
        explained,
        neighbours,
        exact,
    }
}

/// Divides each row by its length.
fn normalise(values: &mut [f32], columns: usize) {
    for row in values.chunks_mut(columns) {
        let square: f64 = row.iter().map(|&value| f64::from(value).powi(2)).sum();
        if square > 0.0 {
            let factor = 1.0 / square.sqrt();
            row.iter_mut()
                .for_each(|value| *value = (f64::from(*value) * factor) as f32);
        }
    }
}

/// The neighbours of each row of length 1 by cosine, the nearest first; and whether every pair was
/// compared. Of rows of length 1, the nearest are those with the largest cosine.
fn neighbours(
    rows: &[f32],
    columns: usize,
    threads: &Threads,
    stage: &(dyn Fn(Stage) + Sync),
) -> (Vec<Vec<Neighbour>>, bool) {
    let all = rows.len() / columns;
    let finished = AtomicUsize::new(0);
    let done = |more: usize| {
        let done = finished.fetch_add(more, Ordering::Relaxed) + more;
        stage(Stage::Neighbours { done, all });
    };
    let exact = all <= EXACT;
    let found = match exact {
        true => nearest(rows, columns, NEIGHBOURS, threads, &done),
        false => {
            let components = pca(rows, columns, COMPONENTS, 0, threads);
            let points: Vec<f32> = components
                .scores
                .iter()
                .map(|&score| score as f32)
                .collect();
            nearest(&points, components.components, CANDIDATES, threads, &done)
        }
    };
    let row = |at: usize| {
        rows.get(at * columns..(at + 1) * columns)
            .unwrap_or_default()
    };
    let cosine = |one: usize, other: usize| {
        let products = row(one).iter().zip(row(other));
        products
            .map(|(&a, &b)| f64::from(a) * f64::from(b))
            .sum::<f64>()
    };
    let ranked = |at: usize| {
        let candidates = found
            .indices
            .iter()
            .skip(at * found.number)
            .take(found.number);
        let mut ranked: Vec<Neighbour> = candidates
            .map(|&row| Neighbour {
                row,
                cosine: cosine(at, row as usize),
            })
            .collect();
        ranked.sort_by(|a, b| b.cosine.total_cmp(&a.cosine).then(a.row.cmp(&b.row)));
        ranked.truncate(NEIGHBOURS);
        ranked
    };
    ((0..all).map(ranked).collect(), exact)
}

/// The contact maps that are shown: of the first records that are not too long.
fn contact_maps(folder: &FinishedFolder, records: &[Record]) -> Result<Vec<ContactMap>, PlotError> {
    let Some(array) = folder.array(Product::Contacts) else {
        return Ok(Vec::new());
    };
    let short = records.iter().filter(|record| record.length <= LONGEST_MAP);
    short
        .take(MOST_MAPS)
        .map(|record| {
            let values = folder.record_values(array, record)?;
            Ok(ContactMap {
                row: record.row,
                residues: record.length,
                values,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_those_with_the_largest_cosine() {
        let threads = Threads::new(2);
        let mut rows = vec![3.0, 0.0, 1.0, 0.1, -2.0, 0.0, 0.0, 0.5, 0.0, 0.0];
        normalise(&mut rows, 2);
        let (found, exact) = neighbours(&rows, 2, &threads, &|_| {});
        assert!(exact);
        let order: Vec<u32> = found[0].iter().map(|one| one.row).collect();
        assert_eq!(order, [1, 3, 4, 2]);
        assert!((found[0][0].cosine - 1.0 / 1.01_f64.sqrt()).abs() < 1e-7);
        assert_eq!(found[0][3].cosine, -1.0);
    }

    #[test]
    fn many_records_have_the_exact_cosines_of_their_candidates() {
        let threads = Threads::new(2);
        let mut random = super::super::random::Random::new(1);
        let mut rows: Vec<f32> = (0..(EXACT + 50) * 3)
            .map(|_| random.signed() as f32)
            .collect();
        normalise(&mut rows, 3);
        let (found, exact) = neighbours(&rows, 3, &threads, &|_| {});
        assert!(!exact);
        let row = |at: usize| &rows[3 * at..3 * at + 3];
        for at in (0..found.len()).step_by(500) {
            let cosine = |other: usize| -> f64 {
                row(at)
                    .iter()
                    .zip(row(other))
                    .map(|(&a, &b)| f64::from(a) * f64::from(b))
                    .sum()
            };
            let mut all: Vec<f64> = (0..found.len())
                .filter(|&other| other != at)
                .map(cosine)
                .collect();
            all.sort_by(|a, b| b.total_cmp(a));
            // All three components are kept, so the candidates include every neighbour.
            let cosines: Vec<f64> = found[at].iter().map(|one| one.cosine).collect();
            assert_eq!(cosines, all[..NEIGHBOURS]);
        }
    }
}
