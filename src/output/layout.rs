//! The arrays and files of an output folder.

use crate::output::array::{Array, ArrayEntry, Storage};
use crate::output::counts::Counts;
use crate::output::folder_files::{IDS_NPY, LINKS_NPY};
pub use crate::output::folder_files::{INDEX_TSV, PARTIAL, RUN_JSON, SHARD_TSV, SKIPPED_TSV};
pub use crate::product::Residues;
use crate::product::{Elements, Extent, ModelShape, OutDtype, Pool, Product};
use serde::{Deserialize, Serialize};

/// Files in each sub-folder of a folder with one file per record.
const FILES_PER_FOLDER: u64 = 1000;

/// What a run writes: enough to name every file and to find every value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layout {
    /// Layers, counted from the scaled embedding (0); never negative.
    pub layers: Vec<usize>,
    /// One file per layer for each of these.
    pub pools: Vec<Pool>,
    /// Where per-residue rows go.
    pub residues: Residues,
    /// How numbers are stored.
    pub dtype: OutDtype,
    /// Width of the rows of a layer.
    pub dim: usize,
    /// What is written besides the rows of layers.
    #[serde(default, skip_serializing_if = "Include::is_empty")]
    pub include: Include,
}

/// Products that do not belong to one layer, and the sizes of the model that their shapes need.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Include {
    /// The products.
    pub products: Vec<Product>,
    /// Tokens of the alphabet that have a logit.
    pub vocab: usize,
    /// Transformer blocks whose attention maps are written.
    pub layers: usize,
    /// Attention heads of a block; None where their mean is written.
    pub heads: Option<usize>,
}

impl Include {
    /// These products of a model.
    pub fn new(products: Vec<Product>, model: &ModelShape) -> Self {
        Self {
            products,
            vocab: model.vocab,
            layers: model.layers,
            heads: model.heads,
        }
    }

    /// Whether nothing is included.
    pub fn is_empty(&self) -> bool {
        self.products.is_empty()
    }
}

/// Which tables a folder has besides those that follow from its counts.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tables {
    /// `shard.tsv`.
    pub(super) shard: bool,
    /// `ids.npy`.
    pub(super) ids: bool,
    /// `links.npy`.
    pub(super) links: bool,
}

impl Layout {
    /// The arrays of a run: layer by layer, pooled rows before residue rows, then the others.
    pub fn arrays(&self) -> Vec<Array> {
        let per_layer = |&layer: &usize| {
            let pooled = self.pools.iter();
            let pooled = pooled.map(move |&pool| Product::Pooled { layer, pool });
            let has_residues = self.residues != Residues::None;
            pooled.chain(has_residues.then_some(Product::Residues { layer }))
        };
        let products = self.layers.iter().flat_map(per_layer);
        products
            .chain(self.include.products.iter().copied())
            .map(|product| self.array(product))
            .collect()
    }

    fn array(&self, product: Product) -> Array {
        let storage = match product.extent() {
            Extent::Record => Storage::Packed,
            Extent::Residues if self.residues != Residues::Files => Storage::Packed,
            Extent::Residues | Extent::Pairs | Extent::TokenPairs => Storage::Files,
        };
        Array {
            product,
            storage,
            dtype: self.dtype,
            model: ModelShape {
                dim: self.dim,
                vocab: self.include.vocab,
                layers: self.include.layers,
                heads: self.include.heads,
                stacked: self.layers.len(),
            },
        }
    }

    /// The arrays with one file per record.
    pub fn file_arrays(&self) -> Vec<Array> {
        let mut arrays = self.arrays();
        arrays.retain(|array| array.storage == Storage::Files);
        arrays
    }

    /// Whether each record has a file name.
    pub fn has_files(&self) -> bool {
        !self.file_arrays().is_empty()
    }

    /// Bytes of all arrays, headers included; at most 2^64 - 1.
    pub fn bytes(&self, elements: &Elements) -> u64 {
        let arrays = self.arrays();
        let bytes = arrays.iter().map(|array| array.bytes(elements));
        bytes.fold(0, u64::saturating_add)
    }

    /// How `run.json` lists the arrays.
    pub(super) fn entries(&self, counts: &Counts) -> Vec<ArrayEntry> {
        let arrays = self.arrays();
        arrays.iter().map(|array| array.entry(counts)).collect()
    }

    /// The sub-folder with the file of a row; each sub-folder has the files of 1,000 rows.
    pub fn sub_folder(row: u64) -> String {
        format!("{:06}", row / FILES_PER_FOLDER)
    }

    /// The rows whose files are in the sub-folder of this number.
    pub(super) fn rows_of_folder(number: u64) -> Option<std::ops::Range<u64>> {
        let first = number.checked_mul(FILES_PER_FOLDER)?;
        Some(first..first.checked_add(FILES_PER_FOLDER)?)
    }

    /// The same without arrays: what is in a linked folder itself.
    pub(super) fn without_arrays(&self) -> Self {
        Self {
            layers: Vec::new(),
            include: Include::default(),
            ..self.clone()
        }
    }

    /// Every file that `run.json` lists for these counts, with its array.
    pub(super) fn files(&self, counts: &Counts, optional: Tables) -> Vec<(String, Option<Array>)> {
        let tables = [
            (INDEX_TSV, true),
            (SKIPPED_TSV, counts.skipped > 0),
            (SHARD_TSV, optional.shard),
            (IDS_NPY, optional.ids),
            (LINKS_NPY, optional.links),
        ];
        let tables = tables.into_iter().filter(|(_, is_there)| *is_there);
        let tables = tables.map(|(name, _)| (name.to_owned(), None));
        let of_array = |array: Array| match array.checksum_list() {
            Some(list) => (list, None),
            None => (array.location(), Some(array)),
        };
        tables
            .chain(self.arrays().into_iter().map(of_array))
            .collect()
    }

    /// Everything that a run may put directly into its output folder.
    pub fn names(&self) -> Vec<String> {
        let tables = [
            RUN_JSON,
            INDEX_TSV,
            SKIPPED_TSV,
            SHARD_TSV,
            IDS_NPY,
            LINKS_NPY,
        ];
        let arrays = self.arrays();
        let lists = arrays.iter().filter_map(Array::checksum_list);
        tables
            .into_iter()
            .map(String::from)
            .chain(arrays.iter().map(Array::location))
            .chain(lists)
            .collect()
    }
}

/// Whether `name` is that of a file, `run.json` aside, that some layout puts directly into the
/// output folder. No other file is ever read or removed because a `run.json` names it.
pub(super) fn is_file_name(name: &str) -> bool {
    if [INDEX_TSV, SKIPPED_TSV, SHARD_TSV, IDS_NPY, LINKS_NPY].contains(&name) {
        return true;
    }
    let extent = |stem| Product::from_file_stem(stem).map(Product::extent);
    match (name.strip_suffix(".npy"), name.strip_suffix(".sha256")) {
        (Some(stem), _) => matches!(extent(stem), Some(Extent::Record | Extent::Residues)),
        (_, Some(stem)) => is_folder_name(stem),
        _ => false,
    }
}

/// Whether `name` is that of a folder of per-record files.
pub(super) fn is_folder_name(name: &str) -> bool {
    Product::from_file_stem(name).is_some_and(|product| product.extent() != Extent::Record)
}

/// Whether `name` is that of a sub-folder of such a folder.
pub(super) fn is_sub_folder_name(name: &str) -> bool {
    name.len() >= 6 && name.len() <= 20 && name.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(residues: Residues) -> Layout {
        Layout {
            layers: vec![6, 33],
            pools: vec![Pool::Mean, Pool::Max],
            residues,
            dtype: OutDtype::F16,
            dim: 320,
            include: Include::default(),
        }
    }

    #[test]
    fn names_of_a_packed_run() {
        assert_eq!(
            layout(Residues::Packed).names(),
            [
                "run.json",
                "index.tsv",
                "skipped.tsv",
                "shard.tsv",
                "ids.npy",
                "links.npy",
                "mean.layer6.npy",
                "max.layer6.npy",
                "residues.layer6.npy",
                "mean.layer33.npy",
                "max.layer33.npy",
                "residues.layer33.npy"
            ]
        );
    }

    #[test]
    fn names_of_a_run_with_files() {
        let names = layout(Residues::Files).names();
        assert_eq!(
            names[6..],
            [
                "mean.layer6.npy",
                "max.layer6.npy",
                "residues.layer6",
                "mean.layer33.npy",
                "max.layer33.npy",
                "residues.layer33",
                "residues.layer6.sha256",
                "residues.layer33.sha256"
            ]
        );
        assert_eq!(layout(Residues::None).names().len(), 10);
    }

    #[test]
    fn included_products_have_their_files() {
        let names = |residues, products: &[Product]| {
            let mut layout = layout(residues);
            (layout.layers, layout.pools) = (Vec::new(), Vec::new());
            layout.include.products = products.to_vec();
            layout.names().split_off(6)
        };
        let all = [Product::Logits, Product::Contacts, Product::Attentions];
        for residues in [Residues::None, Residues::Packed] {
            assert_eq!(
                names(residues, &all),
                [
                    "logits.npy",
                    "contacts",
                    "attentions",
                    "contacts.sha256",
                    "attentions.sha256"
                ]
            );
        }
        assert_eq!(
            names(Residues::Files, &all[..1]),
            ["logits", "logits.sha256"]
        );
    }

    #[test]
    fn what_is_included_is_read_back_and_unknown_products_are_refused() {
        let plain = layout(Residues::None);
        let text = serde_json::to_string(&plain).unwrap();
        assert!(!text.contains("include"), "{text}");
        let mut with = plain;
        with.include = Include {
            products: vec![Product::Logits, Product::Contacts],
            vocab: 33,
            layers: 6,
            heads: Some(20),
        };
        let text = serde_json::to_string(&with).unwrap();
        assert!(
            text.ends_with(
                r#""include":{"products":["logits","contacts"],"vocab":33,"layers":6,"heads":20}}"#
            ),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<Layout>(&text).unwrap(), with);
        let other = text.replace("contacts", "gradients");
        assert!(serde_json::from_str::<Layout>(&other).is_err());
    }

    #[test]
    fn a_thousand_rows_share_a_folder() {
        assert_eq!(Layout::sub_folder(0), "000000");
        assert_eq!(Layout::sub_folder(999), "000000");
        assert_eq!(Layout::sub_folder(1000), "000001");
        assert_eq!(Layout::sub_folder(1_234_567_890), "1234567");
    }

    #[test]
    fn every_name_of_a_layout_is_known_and_no_other() {
        for residues in [Residues::Packed, Residues::Files, Residues::None] {
            let mut layout = layout(residues);
            layout.include.products = Product::WITHOUT_LAYER.to_vec();
            let folders: Vec<String> = layout.file_arrays().iter().map(Array::location).collect();
            for name in layout.names().iter().filter(|name| *name != RUN_JSON) {
                assert!(
                    is_file_name(name) || folders.contains(name) && is_folder_name(name),
                    "{name}"
                );
            }
        }
        for name in [
            "",
            ".",
            "..",
            "run.json",
            "thesis.doc",
            "mean.layer.npy",
            "mean.layer06.npy",
            "mean.layer+6.npy",
            "mean.layer-1.npy",
            "mean.layer6.npy/..",
            "../mean.layer6.npy",
            "mean.layer6.npy.npy",
            "min.layer6.npy",
            "mean.layer6.sha256",
            "residues.layer6",
            "logits",
            "contacts.npy",
            "logits.layer6.npy",
            "/etc/passwd",
            "mean.layer6/../../x.npy",
        ] {
            assert!(!is_file_name(name), "{name}");
        }
        for name in [
            "residues.layer",
            "residues.layer6/..",
            "residues.layer6.npy",
            "residues.layer٣",
            "mean.layer6",
            "contact",
        ] {
            assert!(!is_folder_name(name), "{name}");
        }
    }
}
