//! Contact maps of the records of an output folder: for each a picture as PNG and as SVG, and a table
//! of the marked pairs.

use super::contact_figure::{Contents, draw};
use super::contact_map::{ContactMap, Top, table};
use super::error::PlotError;
use super::files::{self, Existing};
use super::{png, svg};
use crate::output::{Array, FinishedFolder, ReadError, Record};
use crate::printable;
use crate::product::Product;
use std::path::{Path, PathBuf};

/// Which records are drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chosen {
    /// The only one.
    Only,
    /// All.
    All,
    /// Every record with one of these identifiers.
    Ids(Vec<Vec<u8>>),
}

/// What is drawn, and where to.
#[derive(Debug, Clone)]
pub struct ContactPlots {
    /// Which records.
    pub chosen: Chosen,
    /// How many pairs are marked.
    pub top: Top,
    /// Pairs that are closer in the sequence are left out.
    pub min_separation: usize,
    /// Folder of the files.
    pub out: PathBuf,
    /// What happens to files of the same names.
    pub existing: Existing,
}

/// A contact map that was drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlottedContacts {
    /// Row of the record.
    pub row: u64,
    /// Its identifier, any bytes.
    pub id: Vec<u8>,
    /// The picture as pixels.
    pub png: PathBuf,
    /// The picture as vectors.
    pub svg: PathBuf,
    /// The marked pairs.
    pub tsv: PathBuf,
}

impl PlottedContacts {
    fn new(record: &Record, out: &Path) -> Option<Self> {
        let stem = record.file_stem()?;
        let path = |ending| out.join(format!("{stem}.{ending}"));
        Some(Self {
            row: record.row,
            id: record.id.clone(),
            png: path("png"),
            svg: path("svg"),
            tsv: path("tsv"),
        })
    }
}

impl ContactPlots {
    /// Draws the contact maps. Files are named as those of the contacts.
    ///
    /// # Errors
    /// When the folder has no contacts or no such record, when something in it is damaged, or when a
    /// file exists or cannot be written.
    pub fn draw(&self, folder: &FinishedFolder) -> Result<Vec<PlottedContacts>, PlotError> {
        let contacts = folder.array(Product::Contacts);
        let contacts = contacts.ok_or_else(|| PlotError::NoContacts {
            dir: folder.dir().to_path_buf(),
            arrays: folder.arrays().iter().map(Array::name).collect(),
        })?;
        files::check_is_folder(&self.out)?;
        let mut plotted = Vec::new();
        for record in self.records(folder)? {
            let Some(files) = PlottedContacts::new(&record, &self.out) else {
                continue;
            };
            for path in [&files.png, &files.svg, &files.tsv] {
                files::check(path, self.existing)?;
            }
            plotted.push((record, files));
        }
        files::make_folder(&self.out)?;
        for (record, files) in &plotted {
            self.draw_record(folder, contacts, record, files)?;
        }
        Ok(plotted.into_iter().map(|(_, files)| files).collect())
    }

    fn draw_record(
        &self,
        folder: &FinishedFolder,
        contacts: &Array,
        record: &Record,
        files: &PlottedContacts,
    ) -> Result<(), PlotError> {
        let values = folder.record_values(contacts, record)?;
        let residues = usize::try_from(record.length).unwrap_or(usize::MAX);
        let map = ContactMap::new(residues, values).ok_or_else(|| ReadError::Damaged {
            path: folder.dir().join(contacts.location()),
            what: format!("the map of the record in row {} is not square", record.row),
        })?;
        let marked = map.top_pairs(self.top.pairs(residues), self.min_separation);
        let drawing = draw(&Contents {
            id: &printable::start(&record.id, usize::MAX),
            model: &printable::text(&folder.model_name()),
            map: &map,
            marked: &marked,
            min_separation: self.min_separation,
        });
        files::write(&files.tsv, table(&marked).as_bytes())?;
        files::write(&files.svg, svg::encode(&drawing).as_bytes())?;
        files::write(&files.png, &png::encode(&drawing))
    }

    /// The chosen records in order.
    fn records(&self, folder: &FinishedFolder) -> Result<Vec<Record>, PlotError> {
        let dir = folder.dir().to_path_buf();
        let ids = match &self.chosen {
            Chosen::All => None,
            Chosen::Only => match folder.manifest().counts.records {
                0 | 1 => None,
                records => return Err(PlotError::NotChosen { dir, records }),
            },
            Chosen::Ids(ids) => Some(ids),
        };
        let Some(ids) = ids else {
            return Ok(folder.records()?.collect::<Result<_, _>>()?);
        };
        let mut records = Vec::new();
        for record in folder.records()? {
            let record = record?;
            if ids.contains(&record.id) {
                records.push(record);
            }
        }
        let is_found = |id: &&Vec<u8>| records.iter().any(|record| record.id == **id);
        match ids.iter().find(|id| !is_found(id)) {
            None => Ok(records),
            Some(id) => Err(PlotError::NoRecord {
                dir,
                similar: folder.similar_id(id)?,
                id: id.clone(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Entry, Include, Layout, OutDtype, OutputFolder, Pool, Residues, key};
    use crate::product::ModelShape;
    use crate::run_record::{Asked, ModelFacts, Resolved};
    use std::fs;

    /// A folder with the contacts of these records.
    fn folder(dir: &Path, records: &[(&str, u64)], products: Vec<Product>) -> FinishedFolder {
        let layout = Layout {
            layers: vec![1],
            pools: vec![Pool::Mean],
            residues: Residues::None,
            dtype: OutDtype::F32,
            dim: 1,
            include: Include::new(products, &ModelShape::default()),
        };
        let mut output = OutputFolder::create(dir, layout.clone(), false).unwrap();
        let (ledger, rows) = output.split();
        for (row, &(id, length)) in records.iter().enumerate() {
            let entry = Entry {
                id: id.as_bytes(),
                length,
                sequence: key(format!("{row}").as_bytes()),
                ..Entry::default()
            };
            let place = ledger.enter(&entry).unwrap().place;
            let n = length as usize;
            let value = |at: usize| 1.0 / (1.0 + (at / n).abs_diff(at % n) as f32);
            let map: Vec<f32> = (0..n * n).map(value).collect();
            for array in layout.arrays() {
                let values = match array.product {
                    Product::Contacts => &map[..],
                    _ => &[0.5],
                };
                rows.write(array.product, &place, values).unwrap();
            }
        }
        let resolved = Resolved {
            model: ModelFacts {
                repo: Some("facebook/tiny".into()),
                ..ModelFacts::default()
            },
            ..Resolved::default()
        };
        output.finish(Asked::default(), resolved).unwrap();
        FinishedFolder::open(dir).unwrap()
    }

    fn plots(out: &Path, chosen: Chosen) -> ContactPlots {
        ContactPlots {
            chosen,
            top: Top::LENGTH,
            min_separation: 6,
            out: out.to_path_buf(),
            existing: Existing::Keep,
        }
    }

    #[test]
    fn files_are_named_as_those_of_the_contacts() {
        let home = tempfile::tempdir().unwrap();
        let records = [("a/b", 9), ("P1", 8), ("蛋白", 7), ("P1", 10)];
        let folder = folder(&home.path().join("emb"), &records, vec![Product::Contacts]);
        let out = home.path().join("maps/of it");
        let plotted = plots(&out, Chosen::All).draw(&folder).unwrap();
        let names: Vec<&str> = plotted
            .iter()
            .map(|files| files.png.file_name().unwrap().to_str().unwrap())
            .collect();
        assert_eq!(
            names[..3],
            ["a_b-c14cddc033f64b9d.png", "P1.png", "蛋白.png"]
        );
        assert!(names[3].starts_with("P1-"), "{}", names[3]);
        assert_eq!(fs::read_dir(&out).unwrap().count(), 12);
        assert_eq!(
            fs::read_to_string(&plotted[0].tsv).unwrap(),
            "i\tj\tprobability\n1\t7\t0.14285715\n2\t8\t0.14285715\n3\t9\t0.14285715\n\
             1\t8\t0.125\n2\t9\t0.125\n1\t9\t0.11111111\n"
        );
        let svg = fs::read_to_string(&plotted[2].svg).unwrap();
        assert!(svg.contains(
            "<title>Contact map of 蛋白, 7 residues, predicted by facebook/tiny</title>"
        ));
        assert!(fs::read(&plotted[1].png).unwrap().starts_with(b"\x89PNG"));
    }

    #[test]
    fn the_same_folder_gives_the_same_bytes() {
        let home = tempfile::tempdir().unwrap();
        let records = [("P1", 20), ("P2", 8)];
        let folder = folder(&home.path().join("emb"), &records, vec![Product::Contacts]);
        let chosen = Chosen::Ids(vec![b"P1".to_vec()]);
        let [one, two] = ["one", "two"].map(|name| {
            let plotted = plots(&home.path().join(name), chosen.clone()).draw(&folder);
            let plotted = plotted.unwrap();
            assert_eq!((plotted.len(), plotted[0].row), (1, 0));
            [&plotted[0].png, &plotted[0].svg, &plotted[0].tsv].map(|path| fs::read(path).unwrap())
        });
        assert_eq!(one, two);
    }

    #[test]
    fn what_cannot_be_drawn_is_explained() {
        let home = tempfile::tempdir().unwrap();
        let out = home.path().join("out");
        let records = [("sp|P12345|X", 8), ("P2", 8)];
        let emb = home.path().join("emb");
        let with = folder(&emb, &records, vec![Product::Contacts]);
        let without = folder(&home.path().join("plain"), &records, vec![]);
        let why = |folder: &FinishedFolder, chosen| {
            let error = plots(&out, chosen).draw(folder).unwrap_err().to_string();
            error.replace(home.path().to_str().unwrap(), "")
        };
        let ids = |id: &str| Chosen::Ids(vec![id.into()]);
        assert_eq!(
            why(&without, Chosen::All),
            "/plain has no contacts, only mean.layer1\n\
             hint: run again with `include=contacts`, into another folder"
        );
        assert_eq!(
            why(&with, Chosen::Only),
            "/emb has 2 records\nhint: choose one with `id`, which can be given several times\n\
             hint: draw every record with `all`"
        );
        assert_eq!(
            why(&with, ids("p12345")),
            "/emb has no record \"p12345\"\nhint: there is a record \"sp|P12345|X\""
        );
        assert_eq!(
            why(&with, ids("Q9")),
            "/emb has no record \"Q9\"\nhint: index.tsv lists the records in its column id"
        );
        assert!(!out.exists());
        let mut again = plots(&out, ids("P2"));
        again.draw(&with).unwrap();
        assert_eq!(
            why(&with, ids("P2")),
            "/out/P2.png already exists\nhint: choose another place with `out`\n\
             hint: replace it with `force`"
        );
        again.existing = Existing::Replace;
        again.draw(&with).unwrap();
    }
}
