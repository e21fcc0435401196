//! The projections of embeddings: principal components, and UMAP from them.

use super::neighbours::{self, Neighbours};
use super::pca::{Pca, pca};
use super::umap::umap;
use crate::threads::Threads;
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Principal components among which neighbours are searched.
const COMPONENTS: usize = 50;
/// Components that are shown.
const SHOWN: usize = 3;

/// How projections are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Dimensions of the maps of UMAP: 2, 3 or both.
    pub dims: Vec<usize>,
    /// Neighbours of UMAP, a point itself included, as umap-learn counts them.
    pub neighbours: usize,
    /// The seed of the random numbers.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            dims: vec![2, 3],
            neighbours: 15,
            seed: 0,
        }
    }
}

/// What is being computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Reads the embeddings of this many records.
    Reading(usize),
    /// Computes principal components.
    Components,
    /// Searches neighbours.
    Neighbours {
        /// Records that are done.
        done: usize,
        /// All records.
        all: usize,
    },
    /// Optimises the map of UMAP.
    Layout {
        /// Its dimensions.
        dims: usize,
        /// Epochs that are done.
        done: usize,
        /// All epochs.
        all: usize,
    },
}

/// One projection.
#[derive(Debug, Clone, PartialEq)]
pub struct Projection {
    /// `PCA` or `UMAP`.
    pub method: &'static str,
    /// 2 or 3.
    pub dims: usize,
    /// The coordinates, `[records, dims]`.
    pub values: Vec<f32>,
}

impl Projection {
    /// Its name: `UMAP 2`.
    pub fn name(&self) -> String {
        format!("{} {}", self.method, self.dims)
    }
}

/// All projections of some embeddings.
#[derive(Debug, Clone, PartialEq)]
pub struct Projections {
    /// The projections: UMAP in the dimensions that were asked for, then PCA in two and three.
    pub all: Vec<Projection>,
    /// The fraction of the variance in each of the first three components.
    pub explained: Vec<f64>,
}

impl Projections {
    /// Projects rows of numbers.
    pub fn of(
        values: &[f32],
        columns: usize,
        settings: &Settings,
        threads: &Threads,
        stage: &(dyn Fn(Stage) + Sync),
    ) -> Self {
        stage(Stage::Components);
        let pca = pca(values, columns, COMPONENTS, settings.seed, threads);
        let mut all = Vec::new();
        if !settings.dims.is_empty() {
            let neighbours = neighbours(&pca, settings.neighbours, threads, stage);
            let maps = threads.map(settings.dims.len(), |at| {
                let dims = settings.dims.get(at).copied().unwrap_or_default();
                let progress = |done, all| stage(Stage::Layout { dims, done, all });
                let initial = first_components(&pca, dims);
                let map = umap(&neighbours, &initial, dims, settings.seed, &progress);
                Ok::<_, Infallible>(projection("UMAP", dims, map))
            });
            match maps {
                Ok(maps) => all.extend(maps),
                Err(never) => match never {},
            }
        }
        for dims in [2, SHOWN] {
            all.push(projection("PCA", dims, first_components(&pca, dims)));
        }
        Self {
            all,
            explained: (0..SHOWN).map(|k| pca.explained(k)).collect(),
        }
    }

    /// A projection by its method and dimensions.
    pub fn get(&self, method: &str, dims: usize) -> Option<&Projection> {
        self.all
            .iter()
            .find(|one| (one.method, one.dims) == (method, dims))
    }
}

fn projection(method: &'static str, dims: usize, values: Vec<f64>) -> Projection {
    Projection {
        method,
        dims,
        values: values.into_iter().map(|value| value as f32).collect(),
    }
}

fn neighbours(
    pca: &Pca,
    number: usize,
    threads: &Threads,
    stage: &(dyn Fn(Stage) + Sync),
) -> Neighbours {
    let points: Vec<f32> = pca.scores.iter().map(|&score| score as f32).collect();
    let all = points.len() / pca.components.max(1);
    let count = AtomicUsize::new(0);
    stage(Stage::Neighbours { done: 0, all });
    let advance = |more| {
        let done = count.fetch_add(more, Ordering::Relaxed) + more;
        stage(Stage::Neighbours { done, all });
    };
    let others = number.saturating_sub(1);
    neighbours::nearest(&points, pca.components, others, threads, &advance)
}

/// The first components of each row; 0 where there are fewer.
fn first_components(pca: &Pca, dims: usize) -> Vec<f64> {
    let rows = pca.scores.chunks(pca.components.max(1));
    let of_row = |row: &[f64]| -> Vec<f64> {
        (0..dims)
            .map(|dim| row.get(dim).copied().unwrap_or(0.0))
            .collect()
    };
    rows.flat_map(of_row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn projections_and_stages() {
        let values: Vec<f32> = (0..40_usize).map(|at| ((at * at) % 17) as f32).collect();
        let stages = Mutex::new(Vec::new());
        let stage = |one| stages.lock().unwrap().push(one);
        let settings = Settings::default();
        let found = Projections::of(&values, 4, &settings, &Threads::new(1), &stage);
        let names: Vec<String> = found.all.iter().map(Projection::name).collect();
        assert_eq!(names, ["UMAP 2", "UMAP 3", "PCA 2", "PCA 3"]);
        for one in &found.all {
            assert_eq!(one.values.len(), 10 * one.dims);
        }
        let (flat, deep) = (found.get("PCA", 2).unwrap(), found.get("PCA", 3).unwrap());
        assert_eq!(flat.values[2..4], deep.values[3..5]);
        assert!(found.explained[0] > found.explained[1]);
        assert!(found.explained.iter().sum::<f64>() <= 1.0 + 1e-12);
        let stages = stages.into_inner().unwrap();
        assert_eq!(stages[0], Stage::Components);
        let last = Stage::Layout {
            dims: 3,
            done: 500,
            all: 500,
        };
        assert_eq!(stages.last(), Some(&last));
        let other = Settings {
            dims: vec![],
            ..Settings::default()
        };
        let found = Projections::of(&values[..8], 8, &other, &Threads::new(1), &|_| {});
        assert_eq!(found.all.len(), 2);
        assert_eq!(found.all[1].values, [0.0; 3]);
    }
}
