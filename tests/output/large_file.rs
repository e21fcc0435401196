//! The checksum of a file of more than 64 MiB.

use esm_embed::output::*;
use esm_embed::product::Product;
use esm_embed::run_record::{Asked, Resolved};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::Path;

/// Bytes of a piece.
const PIECE: usize = 64 << 20;

/// Rows and columns of a matrix of 66.4 MiB.
const SHAPE: (u64, usize) = (17_000, 1024);

fn make(dir: &Path) -> Manifest {
    let layout = Layout {
        layers: vec![6],
        pools: vec![Pool::Mean],
        residues: Residues::Packed,
        dtype: OutDtype::F32,
        dim: SHAPE.1,
        include: Include::default(),
    };
    let mut folder = OutputFolder::create(dir, layout, false).unwrap();
    let (ledger, rows) = folder.split();
    let entry = Entry {
        id: b"titin",
        length: SHAPE.0,
        sequence: key(b"titin"),
        ..Entry::default()
    };
    let place = ledger.enter(&entry).unwrap().place;
    let values: Vec<f32> = (0..SHAPE.0 as usize * SHAPE.1).map(|i| i as f32).collect();
    let mean = Product::Pooled {
        layer: 6,
        pool: Pool::Mean,
    };
    rows.write(mean, &place, &values[..SHAPE.1]).unwrap();
    let residues = Product::Residues { layer: 6 };
    rows.write(residues, &place, &values[..]).unwrap();
    folder
        .finish(Asked::default(), Resolved::default())
        .unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_large_file_has_the_digest_of_its_pieces() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("emb");
    let manifest = make(&dir);
    let entry = |name: &str| manifest.files.iter().find(|f| f.name == name).unwrap();

    let mean = entry("mean.layer6.npy");
    let bytes = fs::read(dir.join(&mean.name)).unwrap();
    assert_eq!(mean.pieces, None);
    assert_eq!(mean.sha256, hex(&Sha256::digest(bytes)));

    let residues = entry("residues.layer6.npy");
    let path = dir.join(&residues.name);
    let mut bytes = fs::read(&path).unwrap();
    assert_eq!(bytes.len(), 128 + 17_000 * 1024 * 4);
    let (first, second) = bytes.split_at(PIECE);
    let digests = [Sha256::digest(first), Sha256::digest(second)].concat();
    assert_eq!(residues.pieces, Some(PIECE as u64));
    assert_eq!(residues.sha256, hex(&Sha256::digest(digests)));

    let problems = || -> Vec<String> {
        let found = inspect(&dir, true).unwrap().problems;
        found.iter().map(ToString::to_string).collect()
    };
    assert_eq!(problems(), Vec::<String>::new());
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&path, bytes).unwrap();
    let found = problems();
    assert_eq!(found.len(), 1);
    assert!(
        found[0].starts_with("residues.layer6.npy: its SHA-256 is "),
        "{}",
        found[0]
    );

    let run_json = dir.join("run.json");
    let text = fs::read_to_string(&run_json).unwrap();
    fs::write(
        &run_json,
        text.replace("\"pieces\": 67108864", "\"pieces\": 0"),
    )
    .unwrap();
    assert_eq!(
        problems(),
        [
            "residues.layer6.npy: run.json says pieces of 0 bytes for its checksum; a run uses 67,108,864 bytes"
        ]
    );
}
