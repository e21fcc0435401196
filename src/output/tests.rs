//! Any product, from its values to a merged folder: what is stored depends only on its extent.

use super::*;
use crate::product::{Extent, ModelShape, Product};
use crate::run_record::{Asked, Resolved};
use ndarray_npy::ReadNpyExt;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Identifier and sequence of each record; two of them have the same sequence.
const RECORDS: [(&str, &str); 6] = [
    ("P1", "MKTAY"),
    ("a/b", "G"),
    ("P2", "MKTAY"),
    ("P1", "AG"),
    ("long", "MKTAYIAKQRQISFVK"),
    ("P3", "VV"),
];

const MODEL: ModelShape = ModelShape {
    dim: 2,
    vocab: 5,
    layers: 2,
    heads: Some(3),
    stacked: 0,
};

const INVENTED: [Product; 2] = [
    Product::Invented(Extent::Residues),
    Product::Invented(Extent::Pairs),
];

/// Layouts of products that exist, alone and with rows of layers, and of products that do not.
fn layouts() -> Vec<Layout> {
    let included = [Product::Logits, Product::Contacts, Product::Attentions];
    let layout = |residues, dtype, products: &[Product]| Layout {
        layers: vec![1, 2],
        pools: vec![Pool::Mean],
        residues,
        dtype,
        dim: MODEL.dim,
        include: Include::new(products.to_vec(), &MODEL),
    };
    let mut layouts = Vec::new();
    for residues in [Residues::None, Residues::Packed, Residues::Files] {
        layouts.push(layout(residues, OutDtype::F32, &included));
        layouts.push(layout(residues, OutDtype::F16, &INVENTED));
    }
    let mut alone = layout(Residues::None, OutDtype::F32, &included[..1]);
    (alone.layers, alone.pools) = (Vec::new(), Vec::new());
    layouts.push(alone);
    layouts
}

/// The values of a record in an array: no two of them are the same.
fn values(array: &Array, sequence: &str) -> Vec<f32> {
    let shape = array.record_shape(sequence.len() as u64);
    let count: u64 = shape.iter().product();
    let name: u32 = array.name().bytes().map(u32::from).sum();
    let first = name + sequence.bytes().map(u32::from).sum::<u32>();
    (0..count).map(|i| first as f32 + i as f32 / 8.0).collect()
}

/// Enters records with their number in the whole input, and writes the first `limit` of those that
/// are not written. Returns how many were found to be written already.
fn write(folder: &mut OutputFolder, records: &[(u64, (&str, &str))], limit: usize) -> usize {
    let arrays = folder.layout().arrays();
    let Parts {
        ledger,
        rows,
        journal,
        ..
    } = folder.parts();
    let (mut held, mut written) = (0, 0);
    for &(ordinal, (id, sequence)) in records {
        let entry = Entry {
            ordinal,
            id: id.as_bytes(),
            length: sequence.len() as u64,
            sequence: key(sequence.as_bytes()),
            ..Entry::default()
        };
        let entered = ledger.enter(&entry).unwrap();
        let place = &entered.place;
        let done = journal.find(place.row).unwrap();
        if done.is_some_and(|done| rows.holds(place, done.rows).unwrap()) {
            held += 1;
        } else if entered.duplicate_of.is_none() && written < limit {
            let mut proof = Proof::default();
            // An engine may compute the products in another order than the layout's.
            for array in arrays.iter().rev() {
                let values = values(array, sequence);
                if array.product.is_streamed() {
                    let mut record = rows.begin(array.product, place).unwrap();
                    let parts = values.chunks(7);
                    parts.for_each(|part| record.push(part).unwrap());
                    proof.add(record.finish().unwrap());
                    continue;
                }
                proof.add(rows.write(array.product, place, &values[..]).unwrap());
            }
            journal.enter(place.row, entered.input, &proof).unwrap();
            written += 1;
        }
    }
    held
}

fn records() -> Vec<(u64, (&'static str, &'static str))> {
    (0..).zip(RECORDS).collect()
}

fn finished(dir: &Path, layout: &Layout) -> Manifest {
    let mut folder = OutputFolder::create(dir, layout.clone(), false).unwrap();
    write(&mut folder, &records(), usize::MAX);
    folder
        .finish(Asked::default(), Resolved::default())
        .unwrap()
}

/// The bytes of every file below a folder.
fn tree(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![dir.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(dir).unwrap().to_path_buf();
                files.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    files
}

fn problems(dir: &Path) -> Vec<String> {
    let report = inspect(dir, true).unwrap();
    report.problems.iter().map(Problem::to_string).collect()
}

/// One file with values of an array.
fn some_file(dir: &Path, array: &Array) -> PathBuf {
    match array.storage {
        Storage::Packed => dir.join(array.location()),
        Storage::Files => dir.join(array.location()).join("000000/long.npy"),
    }
}

#[test]
fn arrays_have_the_shapes_of_their_products() {
    let home = tempfile::tempdir().unwrap();
    for (i, layout) in layouts().iter().enumerate() {
        let dir = home.path().join(i.to_string());
        let manifest = finished(&dir, layout);
        assert_eq!(problems(&dir), [""; 0], "{layout:?}");
        assert_eq!(manifest.format_version, 2);
        assert_eq!(manifest.arrays.len(), layout.arrays().len());
        for array in layout
            .arrays()
            .iter()
            .filter(|_| layout.dtype == OutDtype::F32)
        {
            let expected = match array.storage {
                Storage::Packed => {
                    let all = RECORDS.iter().map(|(_, sequence)| values(array, sequence));
                    (
                        array.packed_shape(array.elements(&manifest.counts)),
                        all.flatten().collect(),
                    )
                }
                Storage::Files => (array.record_shape(16), values(array, RECORDS[4].1)),
            };
            let file = fs::File::open(some_file(&dir, array)).unwrap();
            let read = ndarray::ArrayD::<f32>::read_npy(file).unwrap();
            let shape: Vec<u64> = read.shape().iter().map(|&n| n as u64).collect();
            assert_eq!((shape, read.into_raw_vec_and_offset().0), expected);
        }
    }
}

#[test]
fn an_interrupted_run_of_any_product_is_resumed() {
    let home = tempfile::tempdir().unwrap();
    for (i, layout) in layouts().iter().enumerate() {
        let whole = home.path().join(format!("{i} whole"));
        finished(&whole, layout);
        for array in layout.arrays() {
            let dir = home.path().join(format!("{i} {}", array.name()));
            let mut folder = OutputFolder::create(&dir, layout.clone(), false).unwrap();
            write(&mut folder, &records(), 4);
            drop(folder);
            // One value of the longest record is damaged, and nothing else.
            let path = some_file(&dir.join(".partial"), &array);
            let mut bytes = fs::read(&path).unwrap();
            let last = bytes.len() - 2;
            bytes[last] ^= 1;
            fs::write(&path, bytes).unwrap();

            let target = Target::examine(&dir, layout, Existing::Resume).unwrap();
            let mut folder = target.resume().unwrap();
            assert_eq!(
                write(&mut folder, &records(), usize::MAX),
                3,
                "{}",
                array.name()
            );
            folder
                .finish(Asked::default(), Resolved::default())
                .unwrap();
            assert!(tree(&dir) == tree(&whole), "{} of {layout:?}", array.name());
        }
    }
}

#[test]
fn inspect_finds_damage_in_any_product() {
    let home = tempfile::tempdir().unwrap();
    for (i, layout) in layouts().iter().enumerate() {
        let dir = home.path().join(i.to_string());
        finished(&dir, layout);
        for array in layout.arrays() {
            let path = some_file(&dir, &array);
            let name = path.strip_prefix(&dir).unwrap().display().to_string();
            let sound = fs::read(&path).unwrap();
            let damaged = |change: &dyn Fn(&mut Vec<u8>)| {
                let mut bytes = sound.clone();
                change(&mut bytes);
                fs::write(&path, bytes).unwrap();
                problems(&dir)
            };
            let found = damaged(&|bytes| *bytes.last_mut().unwrap() ^= 1);
            let start = format!("{name}: its SHA-256 is ");
            assert!(found[0].starts_with(&start), "{found:?}");
            let found = damaged(&|bytes| bytes.truncate(sound.len() - 1));
            assert!(found[0].starts_with(&format!("{name}: ")), "{found:?}");
            let (dtype, mut shape) = parse_header(sound.first_chunk().unwrap()).unwrap();
            shape.rotate_left(1);
            shape.push(1);
            let found = damaged(&|bytes| {
                let header = header(dtype, &shape).or(header(dtype, &[1, 1])).unwrap();
                bytes[..HEADER_BYTES].copy_from_slice(&header);
            });
            let start = format!("{name}: its header says shape [");
            assert!(found[0].starts_with(&start), "{found:?}");
            fs::write(&path, sound).unwrap();
        }
        assert_eq!(problems(&dir), [""; 0]);
    }
}

#[test]
fn shards_of_any_product_are_merged_to_the_bytes_of_one_run() {
    let home = tempfile::tempdir().unwrap();
    for (i, layout) in layouts().iter().enumerate() {
        let at = |name: &str| home.path().join(format!("{i} {name}"));
        finished(&at("whole"), layout);
        let dirs = [at("shard 1"), at("shard 2")];
        for (number, dir) in (1..).zip(&dirs) {
            let mut folder = OutputFolder::create(dir, layout.clone(), false).unwrap();
            let shard = ShardEntry {
                plan: None,
                number,
                of: 2,
                input_records: RECORDS.len() as u64,
            };
            folder.set_shard(shard).unwrap();
            let share: Vec<_> = records()
                .into_iter()
                .filter(|(ordinal, _)| (ordinal % 2 == 0) == (number == 1))
                .collect();
            write(&mut folder, &share, usize::MAX);
            folder
                .finish(Asked::default(), Resolved::default())
                .unwrap();
        }
        merge(&dirs, &at("merged"), Shards::Keep, false, 2).unwrap();
        assert!(tree(&at("merged")) == tree(&at("whole")), "{layout:?}");
        merge(&dirs, &at("linked"), Shards::Remove, false, 1).unwrap();
        assert!(tree(&at("linked")) == tree(&at("whole")), "{layout:?}");
    }
}
