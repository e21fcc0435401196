//! The page of a report, which needs no network. The page and its script are beside this file; the
//! data are put into it as JSON.

use super::map_page::{escape, fill, json};
use crate::admission::Long;
use crate::numerals::{bytes, count};
use crate::output::{FinishedFolder, Manifest, Record, remarks};
use crate::product::Product;
use crate::settings;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;
use std::path::Path;

const PAGE: &str = include_str!("report_page/page.html");
const STYLE: &str = include_str!("report_page/page.css");
const SCRIPT: &str = include_str!("report_page/page.js");
/// Bars of the histogram.
const BARS: u64 = 40;

/// What a page shows.
pub(super) struct Contents<'a> {
    pub(super) folder: &'a FinishedFolder,
    /// Of all records.
    pub(super) lengths: &'a [u64],
    /// The records that are listed: the first.
    pub(super) records: &'a [Record],
    pub(super) embeddings: Option<&'a Embeddings>,
    pub(super) maps: &'a [ContactMap],
}

/// Components and neighbours of the records that are listed.
pub(super) struct Embeddings {
    pub(super) array: String,
    /// Two coordinates for each record.
    pub(super) points: Vec<f32>,
    /// The part of the variance in each.
    pub(super) explained: Vec<f64>,
    pub(super) neighbours: Vec<Vec<Neighbour>>,
    /// Whether every pair was compared.
    pub(super) exact: bool,
}

/// A near record.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Neighbour {
    pub(super) row: u32,
    pub(super) cosine: f64,
}

/// The contacts of a record, probabilities `[residues, residues]`.
pub(super) struct ContactMap {
    pub(super) row: u64,
    pub(super) residues: u64,
    pub(super) values: Vec<f32>,
}

/// The data as the script reads them.
#[derive(Serialize)]
struct Data {
    ids: Vec<String>,
    descriptions: Vec<String>,
    lengths: Vec<u64>,
    /// First and last length of each bar, and its records.
    histogram: Vec<(u64, u64, u64)>,
    embeddings: Option<EmbeddingData>,
    maps: Vec<MapData>,
}

/// Numbers are little-endian, in Base64.
#[derive(Serialize)]
struct EmbeddingData {
    array: String,
    explained: Vec<f64>,
    /// f32
    points: String,
    /// Neighbours of each record.
    number: usize,
    /// u32
    rows: String,
    /// f32
    cosines: String,
}

#[derive(Serialize)]
struct MapData {
    row: u64,
    residues: u64,
    /// One byte for each pair: 255 is certain.
    values: String,
}

fn base64(parts: impl Iterator<Item = [u8; 4]>) -> String {
    BASE64_STANDARD.encode(parts.flatten().collect::<Vec<u8>>())
}

impl From<&Embeddings> for EmbeddingData {
    fn from(one: &Embeddings) -> Self {
        let all = || one.neighbours.iter().flatten();
        Self {
            array: one.array.clone(),
            explained: one.explained.clone(),
            points: base64(one.points.iter().map(|point| point.to_le_bytes())),
            number: one.neighbours.first().map_or(0, Vec::len),
            rows: base64(all().map(|neighbour| neighbour.row.to_le_bytes())),
            cosines: base64(all().map(|neighbour| (neighbour.cosine as f32).to_le_bytes())),
        }
    }
}

impl From<&ContactMap> for MapData {
    fn from(map: &ContactMap) -> Self {
        let level = |&value: &f32| (value.clamp(0.0, 1.0) * 255.0).round() as u8;
        let levels: Vec<u8> = map.values.iter().map(level).collect();
        Self {
            row: map.row,
            residues: map.residues,
            values: BASE64_STANDARD.encode(levels),
        }
    }
}

/// The page.
pub(super) fn encode(contents: &Contents) -> String {
    let manifest = contents.folder.manifest();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let data = Data {
        ids: contents
            .records
            .iter()
            .map(|record| text(&record.id))
            .collect(),
        descriptions: contents
            .records
            .iter()
            .map(|record| text(&record.description))
            .collect(),
        lengths: contents
            .records
            .iter()
            .map(|record| record.length)
            .collect(),
        histogram: histogram(contents.lengths),
        embeddings: contents.embeddings.map(EmbeddingData::from),
        maps: contents.maps.iter().map(MapData::from).collect(),
    };
    let name = contents.folder.name();
    fill(
        PAGE,
        &[
            ("title", &escape(&format!("{name}: report"))),
            ("style", STYLE),
            ("name", &escape(&name)),
            ("run", &run(contents.folder)),
            ("counts", &counts(manifest)),
            ("scope", &scope(contents)),
            ("map_scope", &map_scope(contents)),
            ("files", &file_table(manifest)),
            ("load", &escape(&how_to_load(&name, contents))),
            ("data", &json(&data)),
            ("script", SCRIPT),
        ],
    )
}

/// Bars of equal widths from the shortest to the longest.
fn histogram(lengths: &[u64]) -> Vec<(u64, u64, u64)> {
    let (Some(&low), Some(&high)) = (lengths.iter().min(), lengths.iter().max()) else {
        return Vec::new();
    };
    let width = (high - low + 1).div_ceil(BARS).max(1);
    let bars = (high - low) / width + 1;
    let mut all: Vec<(u64, u64, u64)> = (0..bars)
        .map(|bar| (low + bar * width, high.min(low + (bar + 1) * width - 1), 0))
        .collect();
    for length in lengths {
        if let Some((_, _, records)) = all.get_mut(((length - low) / width) as usize) {
            *records += 1;
        }
    }
    all
}

/// Rows of a table with what was run. Paths are left out: only names of files are shown.
fn run(folder: &FinishedFolder) -> String {
    let Manifest {
        resolved,
        layout,
        esm_embed,
        shard,
        ..
    } = folder.manifest();
    let file_name = |path: &str| match Path::new(path).file_name() {
        Some(name) if path != "-" => name.to_string_lossy().into_owned(),
        _ => "standard input".into(),
    };
    let list = |items: Vec<String>| items.join(", ");
    let mut device = resolved.device.clone();
    if let Some(cuda) = &resolved.cuda {
        let cards: Vec<String> = cuda.cards.iter().map(|card| card.card.clone()).collect();
        device = format!("{device} ({})", list(cards));
    }
    let mut rows = vec![
        ("Model", folder.model_name()),
        (
            "Revision",
            resolved.model.revision.clone().unwrap_or_default(),
        ),
        (
            "Layers",
            list(layout.layers.iter().map(usize::to_string).collect()),
        ),
        (
            "Arrays",
            list(folder.arrays().iter().map(|array| array.name()).collect()),
        ),
        (
            "Computed in",
            format!("{}, stored as {}", resolved.dtype, layout.dtype.name()),
        ),
        ("Device", device),
        ("Long records", long_records(&resolved.long)),
        (
            "Input",
            list(
                resolved
                    .inputs
                    .iter()
                    .map(|input| file_name(&input.path))
                    .collect(),
            ),
        ),
        ("Version", format!("esm-embed {esm_embed}")),
    ];
    if let Some(shard) = shard {
        rows.push(("Shard", format!("{} of {}", shard.number, shard.of)));
    }
    let filled = rows.iter().filter(|(_, value)| !value.is_empty());
    filled
        .map(|(label, value)| format!("<dt>{label}</dt><dd>{}</dd>\n", escape(value)))
        .collect()
}

/// What was done to records of more residues than ESM's training maximum.
fn long_records(long: &str) -> String {
    match settings::long(long) {
        Ok(Long::Full) => "embedded whole".into(),
        Ok(Long::Truncate(size)) => format!("cut to {}", count(size as u64, "residue")),
        Ok(Long::Window { size, overlap }) => {
            let size = count(size as u64, "residue");
            format!("in windows of {size}, of which neighbors share {overlap}")
        }
        Ok(Long::Error) => "refused".into(),
        Err(_) => long.to_owned(),
    }
}

/// The counts of a run as a list.
fn counts(manifest: &Manifest) -> String {
    let counts = &manifest.counts;
    let mut lines = vec![format!(
        "{} with {}",
        count(counts.records, "record"),
        count(counts.residues, "residue")
    )];
    let remarks = remarks(counts);
    if remarks.is_empty() {
        lines.push("nothing unusual about any of them".into());
    }
    lines.extend(remarks);
    lines
        .iter()
        .map(|line| format!("<li>{}</li>\n", escape(line)))
        .collect()
}

/// What components and neighbours are about.
fn scope(contents: &Contents) -> String {
    let Some(one) = contents.embeddings else {
        return "The run wrote no array with one row for each record (pool none), so there are no \
                components and no neighbors."
            .into();
    };
    let mut text = format!("From {}, by cosine.", escape(&one.array));
    if !one.exact {
        text.push_str(
            " Each record was compared with the 50 that are nearest in 50 principal components; \
             cosines are exact.",
        );
    }
    let (listed, all) = (contents.records.len(), contents.lengths.len());
    if listed < all {
        let listed = count(listed as u64, "record");
        text.push_str(&format!(
            " This page covers the first {listed} of {}; the arrays hold all of them.",
            count(all as u64, "record")
        ));
    }
    text
}

/// Which contact maps are shown.
fn map_scope(contents: &Contents) -> String {
    if contents.folder.array(Product::Contacts).is_none() {
        return "The run wrote no contacts.".into();
    }
    match (contents.maps.len(), contents.lengths.len()) {
        (0, 0) => "There are no records.".into(),
        (0, _) => {
            "Every record is longer than 600 residues; plot contacts draws any length.".into()
        }
        (shown, all) if shown < all => format!(
            "The first {} of at most 600 residues, out of {}; plot contacts draws any of them.",
            count(shown as u64, "record"),
            count(all as u64, "record")
        ),
        _ => "Probability that two residues are in contact.".into(),
    }
}

fn file_table(manifest: &Manifest) -> String {
    let shape = |shape: &Option<Vec<u64>>| {
        shape
            .as_ref()
            .map_or_else(String::new, |all| format!("{all:?}"))
    };
    let files = manifest
        .files
        .iter()
        .map(|file| (file.name.clone(), shape(&file.shape), file.bytes));
    let folders = manifest.folders.iter().map(|one| {
        (
            format!("{}/", one.name),
            count(one.files, "file"),
            one.bytes,
        )
    });
    files
        .chain(folders)
        .map(|(name, shape, size)| {
            format!(
                "<tr><td>{}</td><td>{shape}</td><td>{}</td></tr>\n",
                escape(&name),
                bytes(size)
            )
        })
        .collect()
}

/// Python that reads the folder.
fn how_to_load(name: &str, contents: &Contents) -> String {
    let folder = contents.folder;
    let path = |file: &str| format!("{:?}", format!("{name}/{file}"));
    let mut lines = vec!["import numpy as np".to_owned()];
    if let Some(one) = contents.embeddings {
        let array = path(&format!("{}.npy", one.array));
        lines.push(format!("rows = np.load({array})  # a row for each record"));
    }
    if folder
        .manifest()
        .files
        .iter()
        .any(|file| file.name == "ids.npy")
    {
        lines.push(format!("ids = np.load({})", path("ids.npy")));
    }
    let mut packed = folder
        .manifest()
        .files
        .iter()
        .filter(|file| file.name.starts_with("residues.") && file.name.ends_with(".npy"));
    if let Some(file) = packed.next() {
        let index = path("index.tsv");
        lines.extend([
            String::new(),
            "import pandas as pd".into(),
            format!(
                "index = pd.read_csv({index}, sep=\"\\t\", quoting=3, keep_default_na=False, dtype={{\"id\": str}})"
            ),
            format!("residues = np.load({}, mmap_mode=\"r\")", path(&file.name)),
            "first = index.residue_offset[0]".into(),
            "of_first_record = residues[first : first + index.length[0]]".into(),
        ]);
    }
    lines.extend([
        String::new(),
        "from esm_embed import open_folder  # pip install esm-embed".into(),
        format!("emb = open_folder({name:?})"),
    ]);
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::report::NEIGHBOURS;

    #[test]
    fn bars_cover_all_lengths() {
        assert_eq!(histogram(&[]), []);
        assert_eq!(histogram(&[7, 7]), [(7, 7, 2)]);
        let bars = histogram(&[1, 2, 50, 100]);
        assert_eq!(
            (bars.len(), bars[0], bars[33]),
            (34, (1, 3, 2), (100, 100, 1))
        );
        assert_eq!(bars.iter().map(|(_, _, records)| records).sum::<u64>(), 4);
        assert_eq!(histogram(&[1, u64::MAX / 2]).len() as u64, BARS);
    }

    #[test]
    fn what_was_done_to_long_records() {
        for (long, text) in [
            ("full", "embedded whole"),
            ("truncate:1022", "cut to 1,022 residues"),
            (
                "window:1022:256",
                "in windows of 1,022 residues, of which neighbors share 256",
            ),
            ("error", "refused"),
            ("later", "later"),
        ] {
            assert_eq!(long_records(long), text);
        }
    }

    #[test]
    fn the_number_of_neighbours_is_that_of_the_text() {
        assert!(PAGE.contains(&format!("{NEIGHBOURS} nearest")));
    }
}
