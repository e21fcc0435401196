//! What a model can produce, and how large each product is. This is the one list of products: the
//! engines compute what a [`Request`] names, and the output folder stores it by [`Extent`].
//!
//! For a sequence of n residues, a model of width D with V tokens in its alphabet:
//!
//! | product | shape of one record | file |
//! |---|---|---|
//! | [`Product::Pooled`] | `[D]` | `mean.layer33.npy` |
//! | [`Product::Stacked`] | `[layers, D]` | `mean.layers.npy` |
//! | [`Product::Residues`] | `[n, D]` | `residues.layer33.npy` |
//! | [`Product::Logits`] | `[n, V]` | `logits.npy` |
//! | [`Product::Contacts`] | `[n, n]` | `contacts/…/ID.npy` |
//! | [`Product::Attentions`] | `[layers, heads, n + 2, n + 2]` | `attentions/…/ID.npy` |
//!
//! A request may name some of the layers, and the mean over the heads instead of all of them: the
//! shape is then `[layers, n + 2, n + 2]`.

mod extent;
mod maps;
mod options;

pub use extent::{Elements, Extent};
pub use maps::{AttentionMaps, MapHeads};
pub use options::{OutDtype, Pool, Residues};

use half::f16;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// The number format in which a GPU computes a sequence whose numbers do not fit f16.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// bfloat16.
    Bf16,
    /// 32-bit floats, on GPUs without bfloat16.
    F32,
}

impl fmt::Display for Fallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bf16 => "bf16",
            Self::F32 => "f32",
        })
    }
}

/// The numbers of a product of one sequence, row by row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Values<'a> {
    /// As computed.
    F32(&'a [f32]),
    /// Rounded by the engine, for a request with [`OutDtype::F16`]. A number beyond the range of
    /// f16 is infinite.
    F16(&'a [f16]),
}

impl<'a> From<&'a [f32]> for Values<'a> {
    fn from(values: &'a [f32]) -> Self {
        Values::F32(values)
    }
}

impl<'a, const N: usize> From<&'a [f32; N]> for Values<'a> {
    fn from(values: &'a [f32; N]) -> Self {
        Values::F32(values)
    }
}

impl<'a> From<&'a [f16]> for Values<'a> {
    fn from(values: &'a [f16]) -> Self {
        Values::F16(values)
    }
}

/// Something a model computes for a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Product {
    /// One row for the record.
    Pooled {
        /// Layer, counted from the scaled embedding (0).
        layer: usize,
        /// How the rows become one.
        pool: Pool,
    },
    /// One row for each residue.
    Residues {
        /// Layer, counted from the scaled embedding (0).
        layer: usize,
    },
    /// The pooled rows of several layers, one after another. Engines compute the rows one by one, as
    /// [`Product::Pooled`].
    Stacked {
        /// How the rows of a layer become one.
        pool: Pool,
    },
    /// For each residue, one number for each token of the alphabet.
    Logits,
    /// For each pair of residues, the probability of a contact.
    Contacts,
    /// Every attention map, `<cls>` and `<eos>` included.
    Attentions,
    /// A product that no model computes. Tests store it to show that storage needs no code for a
    /// new product.
    #[cfg(test)]
    Invented(Extent),
}

/// The sizes of a model that shapes of products are made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ModelShape {
    /// Width of a hidden state, D.
    pub dim: usize,
    /// Tokens of the alphabet that have a logit, V.
    pub vocab: usize,
    /// Transformer blocks whose attention maps are stored.
    pub layers: usize,
    /// Attention heads of a block; None where their mean is stored.
    pub heads: Option<usize>,
    /// Layers whose pooled rows are stacked.
    pub stacked: usize,
}

impl Product {
    /// The products that do not belong to one layer.
    pub const WITHOUT_LAYER: &[Self] = &[
        Self::Stacked { pool: Pool::Mean },
        Self::Stacked { pool: Pool::Bos },
        Self::Stacked { pool: Pool::Max },
        Self::Logits,
        Self::Contacts,
        Self::Attentions,
        #[cfg(test)]
        Self::Invented(Extent::Residues),
        #[cfg(test)]
        Self::Invented(Extent::Pairs),
    ];

    /// How its size grows with the sequence.
    pub fn extent(self) -> Extent {
        match self {
            Product::Pooled { .. } | Product::Stacked { .. } => Extent::Record,
            Product::Residues { .. } | Product::Logits => Extent::Residues,
            Product::Contacts => Extent::Pairs,
            Product::Attentions => Extent::TokenPairs,
            #[cfg(test)]
            Product::Invented(extent) => extent,
        }
    }

    /// Whether it is handed over in parts: all maps of a sequence together may be larger than memory,
    /// and stacked rows are computed layer by layer.
    pub fn is_streamed(self) -> bool {
        matches!(self, Product::Attentions | Product::Stacked { .. })
    }

    /// Numbers for each element of its extent.
    pub fn width(self, model: &ModelShape) -> usize {
        match self {
            Product::Pooled { .. } | Product::Residues { .. } => model.dim,
            Product::Stacked { .. } => model.stacked.saturating_mul(model.dim),
            Product::Logits => model.vocab,
            Product::Contacts => 1,
            Product::Attentions => model.layers.saturating_mul(model.heads.unwrap_or(1)),
            #[cfg(test)]
            Product::Invented(_) => 3,
        }
    }

    /// Shape of one record's array.
    pub fn shape(self, model: &ModelShape, residues: u64) -> Vec<u64> {
        let n = residues;
        match self {
            Product::Pooled { .. } => vec![model.dim as u64],
            Product::Residues { .. } => vec![n, model.dim as u64],
            Product::Stacked { .. } => vec![model.stacked as u64, model.dim as u64],
            Product::Logits => vec![n, model.vocab as u64],
            Product::Contacts => vec![n, n],
            Product::Attentions => {
                let tokens = n.saturating_add(2);
                let maps = [Some(model.layers), model.heads];
                let maps = maps.into_iter().flatten().map(|count| count as u64);
                maps.chain([tokens, tokens]).collect()
            }
            #[cfg(test)]
            Product::Invented(Extent::Pairs) => vec![n, n, 3],
            #[cfg(test)]
            Product::Invented(_) => vec![n, 3],
        }
    }

    /// Name of its file or folder without an ending.
    pub fn file_stem(self) -> String {
        match self {
            Product::Pooled { layer, pool } => format!("{}.layer{layer}", pool.name()),
            Product::Residues { layer } => format!("residues.layer{layer}"),
            Product::Stacked { pool } => format!("{}.layers", pool.name()),
            Product::Logits => "logits".into(),
            Product::Contacts => "contacts".into(),
            Product::Attentions => "attentions".into(),
            #[cfg(test)]
            Product::Invented(extent) => format!("invented{}", extent as u8),
        }
    }

    /// The product with this [`file_stem`](Self::file_stem).
    pub fn from_file_stem(stem: &str) -> Option<Product> {
        let stacked = stem.ends_with(".layers");
        let product = match stem.split_once(".layer").filter(|_| !stacked) {
            None => *Self::WITHOUT_LAYER
                .iter()
                .find(|product| product.file_stem() == stem)?,
            Some((name, layer)) => {
                let layer = layer.parse().ok()?;
                match Pool::ALL.into_iter().find(|pool| pool.name() == name) {
                    Some(pool) => Product::Pooled { layer, pool },
                    None => Product::Residues { layer },
                }
            }
        };
        // `mean.layer06` and `+6` are not names that a run gives.
        (product.file_stem() == stem).then_some(product)
    }
}

impl Serialize for Product {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.file_stem())
    }
}

impl<'de> Deserialize<'de> for Product {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let stem = String::deserialize(deserializer)?;
        Product::from_file_stem(&stem)
            .ok_or_else(|| D::Error::custom(format!("there is no product {stem:?}")))
    }
}

/// What is asked of a model for every sequence of a batch: products, each once, and how residue
/// rows are to be rounded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    products: Vec<Product>,
    dtype: OutDtype,
    maps: AttentionMaps,
    ends: bool,
}

impl Request {
    /// The products in a fixed order: layer by layer, pooled rows before residue rows, then the
    /// others. A product that is named twice is computed once.
    pub fn new(products: impl IntoIterator<Item = Product>, dtype: OutDtype) -> Request {
        let mut products: Vec<Product> = products.into_iter().collect();
        products.sort_by_key(|&product| match product {
            Product::Pooled { layer, pool } => (0, layer, 0, Some(pool)),
            Product::Residues { layer } => (0, layer, 1, None),
            Product::Stacked { pool } => (1, 4, 0, Some(pool)),
            Product::Logits => (1, 0, 0, None),
            Product::Contacts => (1, 1, 0, None),
            Product::Attentions => (1, 2, 0, None),
            #[cfg(test)]
            Product::Invented(extent) => (1, 3, extent as usize, None),
        });
        products.dedup();
        Request {
            products,
            dtype,
            maps: AttentionMaps::default(),
            ends: false,
        }
    }

    /// The same request with these maps as its [`Product::Attentions`].
    pub fn with_maps(self, maps: AttentionMaps) -> Request {
        Request { maps, ..self }
    }

    /// The maps of [`Product::Attentions`].
    pub fn maps(&self) -> &AttentionMaps {
        &self.maps
    }

    /// The same request without the products that are made of attention maps.
    pub fn without_maps(&self) -> Request {
        let mut request = self.clone();
        request
            .products
            .retain(|product| !matches!(product, Product::Contacts | Product::Attentions));
        request
    }

    /// The number of the highest block whose attention maps are wanted, counted from 1; 0 for none.
    pub fn top_of_maps(&self) -> usize {
        let last = self.maps.layers.last().map_or(0, |block| block + 1);
        match self.has(Product::Attentions) {
            true => last,
            false => 0,
        }
    }

    /// Whether a product is wanted.
    pub fn has(&self, product: Product) -> bool {
        self.products.contains(&product)
    }

    /// The same with rows for the first and the last token, which are otherwise left out: an inner
    /// piece of a sequence begins and ends with residues. Only [`Product::Residues`] and
    /// [`Product::Logits`] may be asked for in this way.
    pub fn with_ends(self) -> Request {
        Request { ends: true, ..self }
    }

    /// Whether there are rows for the first and the last token.
    pub fn has_ends(&self) -> bool {
        self.ends
    }

    /// The products, each once.
    pub fn products(&self) -> &[Product] {
        &self.products
    }

    /// How the numbers are to be stored. An engine may round them itself.
    pub fn dtype(&self) -> OutDtype {
        self.dtype
    }

    /// The layers whose rows are wanted, ascending, each once.
    pub fn layers(&self) -> Vec<usize> {
        let mut layers: Vec<usize> = self
            .products
            .iter()
            .filter_map(|product| match product {
                Product::Pooled { layer, .. } | Product::Residues { layer } => Some(*layer),
                _ => None,
            })
            .collect();
        layers.dedup();
        layers
    }

    /// The pools that are wanted of a layer.
    pub fn pools(&self, layer: usize) -> impl Iterator<Item = Pool> {
        self.products
            .iter()
            .filter_map(move |product| match product {
                Product::Pooled { layer: of, pool } if *of == layer => Some(*pool),
                _ => None,
            })
    }

    /// Whether the residue rows of a layer are wanted.
    pub fn has_residues(&self, layer: usize) -> bool {
        self.has(Product::Residues { layer })
    }

    /// The highest representation that has to be computed, in a model of `layers` blocks.
    pub fn top_layer(&self, layers: usize) -> usize {
        let top = |product: &Product| match product {
            Product::Pooled { layer, .. } | Product::Residues { layer } => *layer,
            Product::Attentions => self.top_of_maps(),
            _ => layers,
        };
        self.products.iter().map(top).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODEL: ModelShape = ModelShape {
        dim: 320,
        vocab: 33,
        layers: 6,
        heads: Some(20),
        stacked: 7,
    };

    #[test]
    fn shapes_names_and_sizes() {
        let mean = Product::Pooled {
            layer: 6,
            pool: Pool::Mean,
        };
        let residues = Product::Residues { layer: 6 };
        for (product, shape, stem) in [
            (mean, vec![320], "mean.layer6"),
            (residues, vec![10, 320], "residues.layer6"),
            (Product::Logits, vec![10, 33], "logits"),
            (Product::Contacts, vec![10, 10], "contacts"),
            (Product::Attentions, vec![6, 20, 12, 12], "attentions"),
        ] {
            assert_eq!(product.shape(&MODEL, 10), shape);
            assert_eq!(product.file_stem(), stem);
            assert_eq!(Product::from_file_stem(stem), Some(product));
            assert_eq!(serde_json::to_value(product).unwrap(), stem);
            let elements = product.extent().elements(10).unwrap();
            let values = elements * product.width(&MODEL) as u64;
            assert_eq!(values, shape.iter().product::<u64>());
        }
        let mean = ModelShape {
            layers: 2,
            heads: MapHeads::Mean.stored(20),
            ..MODEL
        };
        assert_eq!(Product::Attentions.shape(&mean, 10), [2, 12, 12]);
        assert_eq!(Product::Attentions.width(&mean), 2);
        assert_eq!(MapHeads::All.stored(20), Some(20));
        assert_eq!(Extent::Pairs.elements(1 << 33), None);
        assert_eq!(Extent::TokenPairs.elements(u64::MAX), None);
    }

    #[test]
    fn other_stems_name_no_product() {
        for stem in [
            "",
            "mean",
            "mean.layer",
            "mean.layer06",
            "mean.layer+6",
            "mean.layer-1",
            "min.layer6",
            "residues.layer٣",
            "mean.layer6.npy",
            "logits.layer6",
            "Logits",
        ] {
            assert_eq!(Product::from_file_stem(stem), None, "{stem}");
        }
    }

    #[test]
    fn a_request_is_ordered_and_names_each_product_once() {
        let pooled = |layer, pool| Product::Pooled { layer, pool };
        let residues = |layer| Product::Residues { layer };
        let request = Request::new(
            [
                Product::Contacts,
                residues(33),
                pooled(33, Pool::Max),
                pooled(6, Pool::Mean),
                Product::Logits,
                pooled(33, Pool::Mean),
                residues(33),
            ],
            OutDtype::F32,
        );
        assert_eq!(
            request.products(),
            [
                pooled(6, Pool::Mean),
                pooled(33, Pool::Mean),
                pooled(33, Pool::Max),
                residues(33),
                Product::Logits,
                Product::Contacts,
            ]
        );
        assert_eq!(request.layers(), [6, 33]);
        assert_eq!(
            request.pools(33).collect::<Vec<_>>(),
            [Pool::Mean, Pool::Max]
        );
        assert!(request.has_residues(33) && !request.has_residues(6));
        assert_eq!(request.top_layer(36), 36);
        let rows = Request::new([pooled(6, Pool::Bos)], OutDtype::F16);
        assert_eq!((rows.top_layer(36), rows.dtype()), (6, OutDtype::F16));
        let maps = AttentionMaps {
            layers: vec![2, 7],
            heads: MapHeads::Mean,
        };
        let products = [pooled(6, Pool::Bos), Product::Attentions];
        let some = Request::new(products, OutDtype::F32).with_maps(maps);
        // The maps of block 7 are on the way to layer 8.
        assert_eq!(some.top_layer(36), 8);
    }
}
