//! What is computed for one sequence, and what comes out.

use crate::product::{Fallback, Product};
use crate::server::refusal::Refusal;
use crate::tokenizer::TokenId;
use std::ops::Range;
use std::sync::Arc;

/// What identifies the work for one sequence: two requests with equal items get the same answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Item {
    /// `<cls>`, residues, `<eos>`.
    pub tokens: Vec<TokenId>,
    /// Windows to embed one by one; empty to embed the whole sequence.
    pub windows: Vec<Range<usize>>,
    /// What is computed, each once.
    pub products: Arc<[Product]>,
}

impl Item {
    /// Tokens of its passes.
    pub fn cost(&self) -> usize {
        match self.windows.as_slice() {
            [] => self.tokens.len(),
            windows => windows.iter().map(|window| window.len() + 2).sum(),
        }
    }

    /// Whether the two can share a pass without computing for one what only the other wants, but for
    /// rows that a pass has anyway.
    pub fn may_share(&self, other: &Item) -> bool {
        let costly = |item: &Item| {
            [Product::Logits, Product::Contacts].map(|product| item.products.contains(&product))
        };
        self.windows.is_empty() && other.windows.is_empty() && costly(self) == costly(other)
    }
}

/// One product of a sequence.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Which product it is.
    pub product: Product,
    /// Its numbers, in the shape of [`Product::shape`].
    pub values: Vec<f32>,
}

/// Everything that was computed for one item, in the order of its products.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Arrays {
    /// One for each product.
    pub arrays: Vec<Array>,
    /// The format in which it was computed because numbers of the sequence do not fit f16.
    pub fallback: Option<Fallback>,
}

impl Arrays {
    /// Bytes of all numbers.
    pub fn bytes(&self) -> usize {
        let arrays = self.arrays.iter();
        arrays.map(|array| 4 * array.values.len()).sum()
    }

    /// The numbers of a product; none if it was not asked for.
    pub fn values(&self, product: Product) -> &[f32] {
        let mut arrays = self.arrays.iter();
        let array = arrays.find(|array| array.product == product);
        array.map_or(&[], |array| &array.values)
    }
}

/// The arrays of an item, or why there are none.
pub type Outcome = Result<Arc<Arrays>, Refusal>;
