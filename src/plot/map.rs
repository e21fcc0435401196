//! The map of an output folder: its embeddings in two and three dimensions.

use super::error::PlotError;
use super::files::{self, Existing};
use super::map_table;
use super::projections::{Projections, Settings, Stage};
use crate::output::{Array, FinishedFolder, Record};
use crate::product::{Extent, Product};
use crate::threads::Threads;
use std::path::PathBuf;

/// Name of the table of coordinates.
pub const MAP_TSV: &str = "map.tsv";

/// What is mapped, and where to.
#[derive(Debug, Clone)]
pub struct MapPlot {
    /// The pooled array, such as `mean.layer33`; None for the mean of the highest layer.
    pub array: Option<String>,
    /// How the projections are made.
    pub settings: Settings,
    /// Folder of the files.
    pub out: PathBuf,
    /// What happens to files of the same names.
    pub existing: Existing,
}

/// A map that was made.
#[derive(Debug, Clone, PartialEq)]
pub struct PlottedMap {
    /// The array that was mapped.
    pub array: String,
    /// Number of records.
    pub records: usize,
    /// The part of the variance in each of the first three components.
    pub explained: Vec<f64>,
    /// The files.
    pub files: Vec<PathBuf>,
}

impl MapPlot {
    /// Makes the map.
    ///
    /// # Errors
    /// When the folder has no pooled array or not this one, when something in it is damaged, or when a
    /// file exists or cannot be written.
    pub fn draw(
        &self,
        folder: &FinishedFolder,
        threads: &Threads,
        stage: &(dyn Fn(Stage) + Sync),
    ) -> Result<PlottedMap, PlotError> {
        let array = self.array(folder)?;
        let table = self.out.join(MAP_TSV);
        for path in [&table] {
            files::check(path, self.existing)?;
        }
        let records: Vec<Record> = folder.records()?.collect::<Result<_, _>>()?;
        stage(Stage::Reading(records.len()));
        let values = folder.packed_values(array)?;
        let projections = Projections::of(&values, array.model.dim, &self.settings, threads, stage);
        drop(values);
        files::make_folder(&self.out)?;
        files::write(&table, &map_table::encode(&records, &projections))?;
        Ok(PlottedMap {
            array: array.name(),
            records: records.len(),
            explained: projections.explained,
            files: vec![table],
        })
    }

    fn array<'a>(&self, folder: &'a FinishedFolder) -> Result<&'a Array, PlotError> {
        let pooled = |array: &&Array| array.product.extent() == Extent::Record;
        let found = match &self.array {
            None => folder.default_pooled(),
            Some(name) => Product::from_file_stem(name)
                .and_then(|product| folder.array(product))
                .filter(pooled),
        };
        found.ok_or_else(|| PlotError::NoPooled {
            dir: folder.dir().to_path_buf(),
            name: self.array.clone(),
            pooled: folder
                .arrays()
                .iter()
                .filter(pooled)
                .map(Array::name)
                .collect(),
        })
    }
}
