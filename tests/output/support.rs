//! A small output, the files and bytes of its folder, and refusals.

use esm_embed::output::*;
use esm_embed::product::Product;
use esm_embed::run_record::{Asked, Resolved};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

pub const SEQUENCES: [(&str, &str); 5] = [
    ("P1", "MKT"),
    ("p1", "MKTAY"),
    ("../../etc/passwd", "AG"),
    ("P1", "MKT"),
    ("CON", "AG"),
];

pub fn layout(residues: Residues) -> Layout {
    Layout {
        layers: vec![1, 6],
        pools: vec![Pool::Mean, Pool::Max],
        residues,
        dtype: OutDtype::F32,
        dim: 2,
        include: Include::default(),
    }
}

/// Residue rows of a sequence: the letter and its position.
pub fn residue_rows(layer: usize, sequence: &str) -> Vec<f32> {
    let row = |(i, letter): (usize, u8)| [f32::from(letter) + layer as f32 / 4.0, i as f32];
    sequence.bytes().enumerate().flat_map(row).collect()
}

/// Enters everything, then writes rows in reverse order, as batches do.
pub fn write(folder: &mut OutputFolder, sequences: &[(&str, &str)]) {
    let layout = folder.layout().clone();
    let (ledger, rows) = folder.split();
    let mut todo = Vec::new();
    for (id, sequence) in sequences {
        let entry = Entry {
            id: id.as_bytes(),
            description: b"a \"b\"",
            length: sequence.len() as u64,
            sequence: key(sequence.as_bytes()),
            ..Entry::default()
        };
        let entered = ledger.enter(&entry).unwrap();
        if entered.duplicate_of.is_none() {
            todo.push((entered.place, sequence));
        }
    }
    for (place, sequence) in todo.iter().rev() {
        for (number, &layer) in layout.layers.iter().enumerate() {
            for &pool in &layout.pools {
                let values = [sequence.len() as f32, number as f32];
                let product = Product::Pooled { layer, pool };
                rows.write(product, place, &values).unwrap();
            }
            let product = Product::Residues { layer };
            if rows.has(product) {
                let values = residue_rows(number, sequence);
                rows.write(product, place, &values[..]).unwrap();
            }
        }
    }
}

pub fn make(dir: &Path, residues: Residues, force: bool) -> Manifest {
    let mut folder = OutputFolder::create(dir, layout(residues), force).unwrap();
    write(&mut folder, &SEQUENCES);
    let mut resolved = Resolved::default();
    resolved.model.repo = Some("tiny".into());
    folder.finish(Asked::default(), resolved).unwrap()
}

pub fn refused(dir: &Path, force: bool) -> String {
    let before = tree(dir);
    let error = OutputFolder::create(dir, layout(Residues::Packed), force).unwrap_err();
    assert_eq!(tree(dir), before, "a refusal changes nothing");
    error.to_string()
}

/// Every path below a folder, with the bytes of files.
pub fn tree(dir: &Path) -> BTreeSet<(PathBuf, Option<Vec<u8>>)> {
    let mut found = BTreeSet::new();
    let mut folders = vec![dir.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries.map(Result::unwrap) {
            let path = entry.path();
            let kind = entry.file_type().unwrap();
            found.insert((
                path.clone(),
                kind.is_file().then(|| fs::read(&path).unwrap()),
            ));
            if kind.is_dir() {
                folders.push(path);
            }
        }
    }
    found
}

pub fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
