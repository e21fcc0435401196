//! The map of an output folder: its embeddings in two and three dimensions.

use super::annotations::{self, Annotation};
use super::bundle;
use super::error::PlotError;
use super::files::{self, Existing};
use super::map_page::{self, Contents};
use super::map_table;
use super::projections::{Projections, Settings, Stage};
use crate::output::{Array, FinishedFolder, Record};
use crate::printable;
use crate::product::{Extent, Product};
use crate::threads::Threads;
use std::path::PathBuf;

/// Name of the table of coordinates.
pub const MAP_TSV: &str = "map.tsv";

/// Name of the page.
pub const MAP_HTML: &str = "map.html";

/// Name of the bundle for ProtSpace.
pub const MAP_BUNDLE: &str = "map.parquetbundle";

/// What is mapped, and where to.
#[derive(Debug, Clone)]
pub struct MapPlot {
    /// The pooled array, such as `mean.layer33`; None for the mean of the highest layer.
    pub array: Option<String>,
    /// How the projections are made.
    pub settings: Settings,
    /// A table about the records, whose columns can give the colours.
    pub table: Option<PathBuf>,
    /// The column of the table that gives the colours at first; None for the first one.
    pub color_by: Option<String>,
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
    /// How many of the records the table has, if there is one.
    pub annotated: Option<usize>,
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
        let array = pooled_array(folder, self.array.as_ref())?;
        files::check_is_folder(&self.out)?;
        let names = [MAP_HTML, MAP_TSV, MAP_BUNDLE];
        let [page, table, bundle] = names.map(|name| self.out.join(name));
        for path in [&page, &table, &bundle] {
            files::check(path, self.existing)?;
        }
        let records: Vec<Record> = folder.records()?.collect::<Result<_, _>>()?;
        stage(Stage::Reading(records.len()));
        let (annotations, annotated) = self.annotations(&records)?;
        let values = folder.pooled_rows(array)?;
        let projections = Projections::of(&values, array.model.dim, &self.settings, threads, stage);
        drop(values);
        let colour = self.color_by.as_deref();
        let colour = colour.or_else(|| annotations.first().map(|one| one.name.as_str()));
        let contents = Contents {
            title: &folder.name(),
            model: &printable::text(&folder.model_name()),
            array: &array.name(),
            records: &records,
            projections: &projections,
            settings: &self.settings,
            annotations: &annotations,
            colour,
        };
        files::make_folder(&self.out)?;
        files::write(&table, &map_table::encode(&records, &projections))?;
        let model = contents.model;
        let bytes = bundle::encode(&records, model, &projections, &self.settings, &annotations);
        files::write(&bundle, &bytes)?;
        files::write(&page, map_page::encode(&contents).as_bytes())?;
        Ok(PlottedMap {
            array: array.name(),
            records: records.len(),
            explained: projections.explained,
            annotated,
            files: vec![page, table, bundle],
        })
    }

    /// The columns of the table, and how many records it has.
    fn annotations(
        &self,
        records: &[Record],
    ) -> Result<(Vec<Annotation>, Option<usize>), PlotError> {
        let Some(path) = &self.table else {
            return Ok((Vec::new(), None));
        };
        let (annotations, known) = annotations::read(path, records)?;
        if let Some(name) = &self.color_by
            && !annotations.iter().any(|one| one.name == *name)
        {
            return Err(PlotError::NoColumn {
                path: path.clone(),
                name: name.clone(),
                columns: annotations.into_iter().map(|one| one.name).collect(),
            });
        }
        Ok((annotations, Some(known)))
    }
}

/// The pooled array of this name, or else the mean of the highest layer.
pub(super) fn pooled_array<'a>(
    folder: &'a FinishedFolder,
    name: Option<&String>,
) -> Result<&'a Array, PlotError> {
    let pooled = |array: &&Array| array.product.extent() == Extent::Record;
    let found = match name {
        None => folder.default_pooled(),
        Some(name) => Product::from_file_stem(name)
            .and_then(|product| folder.array(product))
            .filter(pooled),
    };
    found.ok_or_else(|| PlotError::NoPooled {
        dir: folder.dir().to_path_buf(),
        name: name.cloned(),
        pooled: folder
            .arrays()
            .iter()
            .filter(pooled)
            .map(Array::name)
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Entry, Include, Layout, OutDtype, OutputFolder, Pool, Residues, key};
    use crate::run_record::{Asked, Resolved};
    use std::fs;
    use std::path::Path;

    fn folder(dir: &Path, pools: Vec<Pool>) -> FinishedFolder {
        let layout = Layout {
            layers: vec![3],
            pools,
            residues: Residues::Packed,
            dtype: OutDtype::F32,
            dim: 4,
            include: Include::default(),
        };
        let mut output = OutputFolder::create(dir, layout.clone(), false).unwrap();
        let (ledger, rows) = output.split();
        for row in 0..20_u8 {
            let id = format!("P{row}");
            let entry = Entry {
                id: id.as_bytes(),
                length: 1,
                sequence: key(&[row]),
                ..Entry::default()
            };
            let place = ledger.enter(&entry).unwrap().place;
            let value = |at: u8| f32::from(row % 2 * 9) + f32::from(row * at % 7);
            let values: Vec<f32> = (0..4).map(value).collect();
            for array in layout.arrays() {
                rows.write(array.product, &place, &values[..]).unwrap();
            }
        }
        output
            .finish(Asked::default(), Resolved::default())
            .unwrap();
        FinishedFolder::open(dir).unwrap()
    }

    fn plot(out: PathBuf) -> MapPlot {
        MapPlot {
            array: None,
            settings: Settings::default(),
            table: None,
            color_by: None,
            out,
            existing: Existing::Keep,
        }
    }

    fn draw(
        plot: &MapPlot,
        folder: &FinishedFolder,
        threads: usize,
    ) -> Result<PlottedMap, PlotError> {
        plot.draw(folder, &Threads::new(threads), &|_| {})
    }

    #[test]
    fn the_same_embeddings_give_the_same_files() {
        let home = tempfile::tempdir().unwrap();
        let folder = folder(&home.path().join("emb"), vec![Pool::Max, Pool::Mean]);
        let [one, two] = [1, 3].map(|threads| {
            let plotted = draw(
                &plot(home.path().join(threads.to_string())),
                &folder,
                threads,
            )
            .unwrap();
            assert_eq!(
                (plotted.array.as_str(), plotted.records),
                ("mean.layer3", 20)
            );
            let names: Vec<_> = plotted
                .files
                .iter()
                .filter_map(|path| path.file_name())
                .collect();
            assert_eq!(names, [MAP_HTML, MAP_TSV, MAP_BUNDLE]);
            plotted
                .files
                .iter()
                .map(|path| fs::read(path).unwrap())
                .collect::<Vec<_>>()
        });
        assert_eq!(one, two);
        let page = String::from_utf8_lossy(&one[0]);
        assert!(page.contains("<title>emb</title>"), "{page}");
        assert!(!page.contains(home.path().to_str().unwrap()));
        let table = String::from_utf8_lossy(&one[1]);
        assert_eq!(table.lines().count(), 21);
        assert!(
            table.starts_with("id\tlength\tumap2_1\tumap2_2\tumap3_1\tumap3_2\tumap3_3\tpca_1\t")
        );
    }

    #[test]
    fn what_cannot_be_mapped_is_explained() {
        let home = tempfile::tempdir().unwrap();
        let pooled = folder(&home.path().join("emb"), vec![Pool::Max]);
        let rows = folder(&home.path().join("rows"), vec![]);
        let mut plot = plot(home.path().join("map"));
        let why = |plot: &MapPlot, folder: &FinishedFolder| {
            let error = draw(plot, folder, 1).unwrap_err().to_string();
            error.replace(home.path().to_str().unwrap(), "")
        };
        assert_eq!(
            why(&plot, &rows),
            "/rows has no array with one row for each record\n\
             hint: run again with `pool=mean`, into another folder"
        );
        plot.array = Some("residues.layer3".into());
        assert_eq!(
            why(&plot, &pooled),
            "/emb has no array residues.layer3 with one row for each record\nhint: it has max.layer3"
        );
        plot.array = Some("max.layer3".into());
        let table = home.path().join("t.tsv");
        fs::write(&table, "id\tfamily\nP3\ta\n").unwrap();
        plot.table = Some(table);
        plot.color_by = Some("kind".into());
        assert_eq!(
            why(&plot, &pooled),
            "/t.tsv has no column kind\nhint: its columns are family"
        );
        plot.color_by = None;
        assert!(!home.path().join("map").exists());
        assert_eq!(draw(&plot, &pooled, 1).unwrap().annotated, Some(1));
        assert!(why(&plot, &pooled).starts_with("/map/map.html already exists\nhint: "));
    }
}
