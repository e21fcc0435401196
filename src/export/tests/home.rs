//! An output folder with known numbers, and exports of it.

use crate::export::*;
use crate::output::{Entry, Include, Layout, OutputFolder, Pool, Residues, key};
use crate::product::{ModelShape, Product};
use crate::run_record::{Asked, InputFacts, ModelFacts, Resolved};
use crate::sha256::sha256_of;
use half::f16;
use std::fs;
use std::ops::ControlFlow;

pub(super) const FASTA: &str = ">a/b one\nMKV\n>dup\nM-kV*\n>dup\nWW\n>\nMKV\n>__metadata__\nJ\n";
/// Identifier, description and length of each record, with gaps dropped.
pub(super) const RECORDS: [(&str, &str, u64); 5] = [
    ("a/b", "one", 3),
    ("dup", "", 3),
    ("dup", "", 2),
    ("", "", 3),
    ("__metadata__", "", 1),
];

pub(super) struct Home {
    pub(super) dir: tempfile::TempDir,
    pub(super) folder: FinishedFolder,
}

/// The numbers of a record in an array.
pub(super) fn numbers(row: u64, array: &crate::output::Array, length: u64) -> Vec<f32> {
    let number: u64 = array.record_shape(length).iter().product();
    let layer = arrays::layer(array.product).unwrap_or(9) as f32;
    (0..number)
        .map(|at| layer + row as f32 / 3.0 - at as f32 / 7.0)
        .collect()
}

pub(super) fn home(residues: Residues, dtype: OutDtype) -> Home {
    let dir = tempfile::tempdir().unwrap();
    let fasta = dir.path().join("in.fasta");
    fs::write(&fasta, FASTA).unwrap();
    let model = ModelShape {
        dim: 3,
        vocab: 2,
        ..ModelShape::default()
    };
    let layout = Layout {
        layers: vec![1, 2],
        pools: vec![Pool::Mean, Pool::Bos, Pool::Max],
        residues,
        dtype,
        dim: 3,
        include: Include::new(vec![Product::Logits, Product::Contacts], &model),
    };
    let emb = dir.path().join("emb");
    let mut output = OutputFolder::create(&emb, layout.clone(), false).unwrap();
    let (ledger, rows) = output.split();
    for (row, (id, description, length)) in (0..).zip(RECORDS) {
        let entry = Entry {
            id: id.as_bytes(),
            description: description.as_bytes(),
            length,
            sequence: key(&[row as u8]),
            ..Entry::default()
        };
        let place = ledger.enter(&entry).unwrap().place;
        for array in layout.arrays() {
            let values = numbers(row, &array, length);
            rows.write(array.product, &place, &values[..]).unwrap();
        }
    }
    let resolved = Resolved {
        gaps: "drop".into(),
        inputs: vec![InputFacts {
            bytes: FASTA.len() as u64,
            path: fasta.to_str().unwrap().to_owned(),
            records: 5,
            sha256: sha256_of(FASTA),
        }],
        model: ModelFacts {
            repo: Some("facebook/esm2_t6_8M_UR50D".into()),
            revision: Some("abc".into()),
            ..ModelFacts::default()
        },
        ..Resolved::default()
    };
    output.finish(Asked::default(), resolved).unwrap();
    let folder = FinishedFolder::open(&emb).unwrap();
    Home { dir, folder }
}

impl Home {
    pub(super) fn out(&self) -> PathBuf {
        self.dir.path().join("out")
    }

    pub(super) fn export(&self, format: Format) -> Export {
        Export {
            format,
            array: None,
            residues: false,
            keys: None,
            dtype: None,
            fasta: Vec::new(),
            out: self.out(),
            force: true,
        }
    }

    pub(super) fn write(&self, export: &Export) -> Result<Exported, ExportError> {
        let mut last = 0;
        let exported = export.write(&self.folder, &mut |done, all| {
            assert!(done <= all && all == 5);
            last = done;
            ControlFlow::Continue(())
        })?;
        assert_eq!(last, 5, "progress");
        assert!(!self.dir.path().join("out.new").exists());
        Ok(exported)
    }

    pub(super) fn why(&self, export: &Export) -> String {
        let error = self.write(export).unwrap_err().to_string();
        assert!(!self.dir.path().join("out.new").exists());
        error.replace(self.dir.path().to_str().unwrap(), "")
    }

    /// The numbers of an array, record by record, as bytes.
    pub(super) fn expected(&self, name: &str, dtype: OutDtype) -> Vec<Vec<u8>> {
        let array = self
            .folder
            .arrays()
            .iter()
            .find(|array| array.name() == name)
            .unwrap();
        (0..)
            .zip(RECORDS)
            .map(|(row, (_, _, length))| {
                let values = numbers(row, array, length).into_iter();
                match dtype {
                    OutDtype::F32 => values.flat_map(f32::to_le_bytes).collect(),
                    OutDtype::F16 => values
                        .flat_map(|v| f16::from_f32(v).to_le_bytes())
                        .collect(),
                }
            })
            .collect()
    }
}
