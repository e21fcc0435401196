//! The arrays of an output folder: where each is stored, its shape, and which bytes of it belong
//! to a record.

use crate::output::counts::Counts;
use crate::output::npy::HEADER_BYTES;
use crate::output::place::Place;
use crate::product::{Elements, Extent, ModelShape, OutDtype, Product};
use serde::{Deserialize, Serialize};

/// How the values of an array are divided among files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// One file: the records one after the other.
    Packed,
    /// A folder with one file per record.
    Files,
}

/// The values of one product for every record of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Array {
    /// What the values are.
    pub product: Product,
    /// How they are divided among files.
    pub storage: Storage,
    /// How numbers are stored.
    pub dtype: OutDtype,
    /// The sizes of the model.
    pub model: ModelShape,
}

impl Array {
    /// Its name, such as `mean.layer33`.
    pub fn name(&self) -> String {
        self.product.file_stem()
    }

    /// Its file, or the folder of its files.
    pub fn location(&self) -> String {
        match self.storage {
            Storage::Packed => format!("{}.npy", self.name()),
            Storage::Files => self.name(),
        }
    }

    /// The list of checksums of its files, as `sha256sum -c` reads it.
    pub fn checksum_list(&self) -> Option<String> {
        (self.storage == Storage::Files).then(|| checksum_list(&self.name()))
    }

    /// Bytes of one element of its extent.
    pub fn element_bytes(&self) -> u64 {
        (self.product.width(&self.model) as u64).saturating_mul(self.dtype.bytes())
    }

    /// Bytes of the values of a record, or `None` beyond 2^64.
    pub(super) fn record_bytes(&self, residues: u64) -> Option<u64> {
        let elements = self.product.extent().elements(residues)?;
        elements.checked_mul(self.element_bytes())
    }

    /// Its files, without the list of checksums.
    pub fn files(&self, elements: &Elements) -> u64 {
        match self.storage {
            Storage::Packed => 1,
            Storage::Files => elements.records,
        }
    }

    /// Bytes of all its files, headers included; at most 2^64 - 1.
    pub fn bytes(&self, elements: &Elements) -> u64 {
        let headers = self.files(elements).saturating_mul(HEADER_BYTES as u64);
        self.value_bytes(elements).saturating_add(headers)
    }

    /// Bytes of all its values, at most 2^64 - 1.
    pub fn value_bytes(&self, elements: &Elements) -> u64 {
        let elements = elements.of(self.product.extent());
        elements.saturating_mul(self.element_bytes())
    }

    /// First byte of the values of a record in their file, or `None` beyond 2^64.
    pub(super) fn start(&self, place: &Place) -> Option<u64> {
        match self.storage {
            Storage::Packed if self.product.extent() == Extent::Record => self.end(place.row),
            Storage::Packed => self.end(place.residue_offset),
            Storage::Files => Some(HEADER_BYTES as u64),
        }
    }

    /// Size of a packed file of `elements` elements, or `None` beyond 2^64.
    pub(super) fn end(&self, elements: u64) -> Option<u64> {
        elements
            .checked_mul(self.element_bytes())?
            .checked_add(HEADER_BYTES as u64)
    }

    /// Elements of the whole array where all records share a file.
    pub(super) fn elements(&self, counts: &Counts) -> u64 {
        match self.product.extent() {
            Extent::Record => counts.records,
            _ => counts.residues,
        }
    }

    /// Shape of a packed file of `elements` elements.
    pub(super) fn packed_shape(&self, elements: u64) -> Vec<u64> {
        let mut shape = self.record_shape(elements);
        if self.product.extent() == Extent::Record {
            shape.insert(0, elements);
        }
        shape
    }

    /// Shape of the values of a record.
    pub(crate) fn record_shape(&self, residues: u64) -> Vec<u64> {
        self.product.shape(&self.model, residues)
    }

    /// The residues of a record whose values have this shape, or `None` if no record's have.
    pub(super) fn residues_of(&self, shape: &[u64]) -> Option<u64> {
        let maybe = shape.iter().flat_map(|&n| [Some(n), n.checked_sub(2)]);
        maybe.flatten().find(|&n| self.record_shape(n) == shape)
    }

    /// Where the value number `at` of a record is, for messages: `, residue 5, column 3`.
    pub(super) fn position(&self, at: u64, residues: u64) -> String {
        let mut index = Vec::new();
        let mut rest = at;
        for size in self.record_shape(residues).iter().rev() {
            index.insert(0, rest % size.max(&1));
            rest /= size.max(&1);
        }
        match (self.product.extent(), index.as_slice()) {
            (Extent::Record, [column]) => format!(", column {column}"),
            // Residues are counted from 1, as biologists do.
            (Extent::Residues, [residue, column]) => {
                format!(", residue {}, column {column}", residue.saturating_add(1))
            }
            (_, index) => format!(", index {index:?}"),
        }
    }

    /// How `run.json` lists it.
    pub(super) fn entry(&self, counts: &Counts) -> ArrayEntry {
        let shape = match self.storage {
            Storage::Packed => {
                let shape = self.packed_shape(self.elements(counts));
                shape.into_iter().map(Dimension::Fixed).collect()
            }
            Storage::Files => {
                // A dimension that grows with the sequence is its length n, or n + 2 tokens.
                let sizes = self.record_shape(1).into_iter().zip(self.record_shape(2));
                let dimension = |(one, two)| match one {
                    _ if one == two => Dimension::Fixed(one),
                    1 => Dimension::Growing("n".into()),
                    more => Dimension::Growing(format!("n+{}", more - 1)),
                };
                sizes.map(dimension).collect()
            }
        };
        ArrayEntry {
            name: self.name(),
            dtype: self.dtype,
            shape,
            location: match self.storage {
                Storage::Packed => self.location(),
                Storage::Files => format!("{}/", self.location()),
            },
        }
    }
}

/// Name of the list of checksums of a folder.
pub(super) fn checksum_list(folder: &str) -> String {
    format!("{folder}.sha256")
}

/// An array as `run.json` lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArrayEntry {
    /// Its name.
    pub name: String,
    /// How its numbers are stored.
    pub dtype: OutDtype,
    /// Its shape; where each record has a file, the shape of a record of n residues.
    pub shape: Vec<Dimension>,
    /// Its file; or, with a slash at the end, the folder of the files that column `file` of
    /// `index.tsv` names.
    pub location: String,
}

/// A dimension of an array.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Dimension {
    /// The same for every record.
    Fixed(u64),
    /// `n` or `n+2`, for a record of n residues.
    Growing(String),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::product::Pool;

    fn array(product: Product, storage: Storage) -> Array {
        Array {
            product,
            storage,
            dtype: OutDtype::F16,
            model: ModelShape {
                dim: 320,
                vocab: 33,
                layers: 6,
                heads: Some(20),
                stacked: 7,
            },
        }
    }

    const MEAN: Product = Product::Pooled {
        layer: 6,
        pool: Pool::Mean,
    };

    #[test]
    fn run_json_names_shape_and_location() {
        let counts = Counts {
            records: 3,
            residues: 40,
            ..Counts::default()
        };
        for (product, storage, expected) in [
            (
                MEAN,
                Storage::Packed,
                r#"{"name":"mean.layer6","dtype":"f16","shape":[3,320],"location":"mean.layer6.npy"}"#,
            ),
            (
                Product::Logits,
                Storage::Packed,
                r#"{"name":"logits","dtype":"f16","shape":[40,33],"location":"logits.npy"}"#,
            ),
            (
                Product::Logits,
                Storage::Files,
                r#"{"name":"logits","dtype":"f16","shape":["n",33],"location":"logits/"}"#,
            ),
            (
                Product::Contacts,
                Storage::Files,
                r#"{"name":"contacts","dtype":"f16","shape":["n","n"],"location":"contacts/"}"#,
            ),
            (
                Product::Attentions,
                Storage::Files,
                r#"{"name":"attentions","dtype":"f16","shape":[6,20,"n+2","n+2"],"location":"attentions/"}"#,
            ),
        ] {
            let entry = array(product, storage).entry(&counts);
            let text = serde_json::to_string(&entry).unwrap();
            assert_eq!(text, expected);
            assert_eq!(serde_json::from_str::<ArrayEntry>(&text).unwrap(), entry);
        }
    }

    #[test]
    fn records_follow_the_header_and_one_another() {
        let place = Place {
            row: 2,
            residue_offset: 40,
            length: 10,
            file: None,
        };
        let mean = array(MEAN, Storage::Packed);
        assert_eq!(mean.start(&place), Some(128 + 2 * 640));
        assert_eq!(mean.record_bytes(10), Some(640));
        let residues = array(Product::Residues { layer: 6 }, Storage::Packed);
        assert_eq!(residues.start(&place), Some(128 + 40 * 640));
        assert_eq!(residues.record_bytes(10), Some(6400));
        let maps = array(Product::Attentions, Storage::Files);
        assert_eq!(maps.start(&place), Some(128));
        assert_eq!(maps.record_bytes(10), Some(6 * 20 * 12 * 12 * 2));
        assert_eq!(mean.end(u64::MAX / 640 + 1), None);
        assert_eq!(maps.record_bytes(1 << 32), None);
    }

    #[test]
    fn the_length_of_a_record_follows_from_its_shape() {
        for (product, n) in [
            (Product::Residues { layer: 6 }, 7),
            (Product::Contacts, 0),
            (Product::Attentions, 6),
            (Product::Attentions, 20),
        ] {
            let array = array(product, Storage::Files);
            let shape = array.record_shape(n);
            assert_eq!(array.residues_of(&shape), Some(n));
            assert_eq!(array.residues_of(&[shape, vec![1]].concat()), None);
        }
        let contacts = array(Product::Contacts, Storage::Files);
        assert_eq!(contacts.residues_of(&[3, 4]), None);
        assert_eq!(contacts.residues_of(&[]), None);
    }

    #[test]
    fn values_are_named_by_their_position() {
        let position = |product, at| array(product, Storage::Files).position(at, 10);
        assert_eq!(position(MEAN, 7), ", column 7");
        assert_eq!(position(Product::Logits, 35), ", residue 2, column 2");
        assert_eq!(position(Product::Contacts, 35), ", index [3, 5]");
        assert_eq!(position(Product::Attentions, 145), ", index [0, 1, 0, 1]");
    }

    #[test]
    fn sizes_follow_from_the_elements_of_all_records() {
        let mut elements = Elements::default();
        elements.add(3);
        elements.add(5);
        let mean = array(MEAN, Storage::Packed);
        let residues = array(Product::Residues { layer: 6 }, Storage::Packed);
        let contacts = array(Product::Contacts, Storage::Files);
        assert_eq!(mean.bytes(&elements), 128 + 2 * 640);
        assert_eq!(residues.bytes(&elements), 128 + 8 * 640);
        assert_eq!(contacts.bytes(&elements), 2 * 128 + 34 * 2);
        assert_eq!(
            (residues.files(&elements), contacts.files(&elements)),
            (1, 2)
        );
        elements.add(u64::MAX);
        assert_eq!(contacts.bytes(&elements), u64::MAX);
    }
}
