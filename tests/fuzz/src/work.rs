//! A small run in each of its states: interrupted, sealed, finished, in two shards.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use esm_embed::output::{
    Done, Entered, Entry, Existing, Include, Layout, OutDtype, OutputError, OutputFolder, Pool,
    Proof, Residues, RunIdentity, SLOT_BYTES, ShardEntry, Target, key,
};
use esm_embed::product::Product;
use esm_embed::run_record::{Asked, Resolved, RunRecord};

/// Identifier and sequence of each record.
pub const RECORDS: [(&str, &str); 8] = [
    ("P1", "MKT"),
    ("../../etc/passwd", "MKTAY"),
    ("CON", "AG"),
    ("P1", "MKT"),
    ("", "W"),
    ("a\tb", "GAVL"),
    ("A\tB", "AG"),
    ("last", "MKTAYIAK"),
];

/// Records that the interrupted run has finished.
const DONE: usize = 5;

/// Paths below a folder, and the bytes of each file.
pub type Tree = BTreeMap<PathBuf, Vec<u8>>;

/// What the run writes.
pub fn layout(residues: Residues) -> Layout {
    Layout {
        layers: vec![1],
        pools: vec![Pool::Mean, Pool::Bos],
        residues,
        dtype: OutDtype::F32,
        dim: 2,
        include: Include::default(),
    }
}

/// The files of a finished run.
pub fn finished(dir: &Path, residues: Residues) -> Tree {
    let mut folder = begun(dir, residues);
    resume_work(&mut folder, &RECORDS).unwrap();
    folder
        .finish(Asked::default(), Resolved::default())
        .unwrap();
    take(dir)
}

/// The files of a run that was interrupted after some records.
pub fn interrupted(dir: &Path, residues: Residues) -> Tree {
    let mut folder = begun(dir, residues);
    resume_work(&mut folder, &RECORDS[..DONE]).unwrap();
    drop(folder);
    take(dir)
}

/// The files of two shards, in folders `1` and `2`.
pub fn shards(dir: &Path, residues: Residues) -> Tree {
    for number in [1, 2] {
        let mut folder = begun(&dir.join(number.to_string()), residues);
        let shard = ShardEntry {
            plan: None,
            number,
            of: 2,
            input_records: RECORDS.len() as u64,
        };
        folder.set_shard(shard).unwrap();
        let records = RECORDS.iter().zip(0..).filter(|(_, i)| i % 2 + 1 == number);
        enter(&mut folder, records.map(|(record, i)| (*record, i))).unwrap();
        folder
            .finish(Asked::default(), Resolved::default())
            .unwrap();
    }
    take(dir)
}

fn begun(dir: &Path, residues: Residues) -> OutputFolder {
    let target = Target::examine(dir, &layout(residues), Existing::Refuse).unwrap();
    let mut run = RunRecord::default();
    run.resolved.layers = vec![1];
    target
        .begin(RunIdentity::new(run, Vec::new(), None))
        .unwrap()
}

/// Enters the records of an input and writes the rows of unfinished ones, as a run does.
pub fn resume_work(folder: &mut OutputFolder, records: &[(&str, &str)]) -> Result<(), OutputError> {
    enter(folder, records.iter().copied().zip(0..))?;
    let (journal, mut row) = (folder.parts().journal, records.len() as u64);
    while row < journal.before() {
        if journal.find(row)?.is_some() {
            journal.refuse_input()?;
            return Err(OutputError::OtherInput);
        }
        row += 1;
    }
    journal.trust_input();
    Ok(())
}

fn enter<'a>(
    folder: &mut OutputFolder,
    records: impl Iterator<Item = ((&'a str, &'a str), u64)>,
) -> Result<(), OutputError> {
    let parts = folder.parts();
    for ((id, sequence), ordinal) in records {
        let entered = parts.ledger.enter(&Entry {
            ordinal,
            id: id.as_bytes(),
            description: b"a \"b\"",
            length: sequence.len() as u64,
            sequence: key(sequence.as_bytes()),
            ..Entry::default()
        })?;
        if entered.duplicate_of.is_some() {
            continue;
        }
        let row = entered.place.row;
        if row >= parts.journal.before() {
            parts.journal.trust_input();
        } else if let Some(done) = parts.journal.find(row)? {
            if done.input != entered.input {
                parts.journal.refuse_input()?;
                return Err(OutputError::OtherInput);
            }
            if parts.rows.holds(&entered.place, done.rows)? {
                continue;
            }
        }
        let proof = write(parts.rows, &entered, sequence)?;
        parts.journal.enter(row, entered.input, &proof)?;
    }
    Ok(())
}

fn write(
    rows: &esm_embed::output::ArrayWriter,
    entered: &Entered,
    sequence: &str,
) -> Result<Proof, OutputError> {
    let mut proof = Proof::default();
    for pool in [Pool::Mean, Pool::Bos] {
        let values = [sequence.len() as f32, f32::from(sequence.as_bytes()[0])];
        let product = Product::Pooled { layer: 1, pool };
        proof.add(rows.write(product, &entered.place, &values)?);
    }
    let row = |(i, letter): (usize, u8)| [f32::from(letter), i as f32];
    let values: Vec<f32> = sequence.bytes().enumerate().flat_map(row).collect();
    let product = Product::Residues { layer: 1 };
    if rows.has(product) {
        proof.add(rows.write(product, &entered.place, &values[..])?);
    }
    Ok(proof)
}

/// The files below a folder.
pub fn tree(dir: &Path) -> Tree {
    fn walk(dir: &Path, top: &Path, files: &mut Tree) {
        for entry in fs::read_dir(dir).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, top, files);
            } else {
                let name = path.strip_prefix(top).unwrap().to_path_buf();
                files.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    let mut files = Tree::new();
    walk(dir, dir, &mut files);
    files
}

fn take(dir: &Path) -> Tree {
    let files = tree(dir);
    fs::remove_dir_all(dir).unwrap();
    files
}

/// Makes a folder hold exactly these files.
pub fn put(dir: &Path, files: &Tree) {
    if dir.exists() {
        fs::remove_dir_all(dir).unwrap();
    }
    for (name, bytes) in files {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// Edits a journal and its rows by a list of edits of four bytes each: change a byte, move slots,
/// truncate, or change a slot and recompute its checksum.
pub fn edit(journal: &mut Vec<u8>, rows: &mut [&mut Vec<u8>], edits: &[u8]) {
    for &[what, row, place, value] in edits.as_chunks::<4>().0 {
        let slot = usize::from(row) * SLOT_BYTES;
        let at = slot + usize::from(place) % SLOT_BYTES;
        match what % 7 {
            0 => {
                if let Some(byte) = journal.get_mut(at) {
                    *byte ^= value;
                }
            }
            1 => journal.truncate(at),
            2 => journal.resize(at, value),
            3 => resign(journal, row, |done| {
                done.rows ^= u32::from(value) << (place % 32)
            }),
            4 => resign(journal, row, |done| {
                done.input[usize::from(place % 16)] ^= value
            }),
            5 => {
                let count = rows.len().max(1);
                if let Some(bytes) = rows.get_mut(usize::from(row) % count)
                    && let Some(byte) = bytes.get_mut(usize::from(place))
                {
                    *byte ^= value;
                }
            }
            _ => {
                let count = rows.len().max(1);
                if let Some(bytes) = rows.get_mut(usize::from(row) % count) {
                    bytes.resize(2 * usize::from(place), value);
                }
            }
        }
    }
}

fn resign(journal: &mut [u8], row: u8, change: impl FnOnce(&mut Done)) {
    let (slots, _) = journal.as_chunks_mut::<SLOT_BYTES>();
    if let Some(slot) = slots.get_mut(usize::from(row))
        && let Some(mut done) = Done::from_slot(row.into(), slot)
    {
        change(&mut done);
        *slot = done.to_slot(row.into());
    }
}
