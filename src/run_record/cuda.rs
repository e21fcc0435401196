//! What computed a run on GPUs.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// The libraries, kernels and algorithms of a run on GPUs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CudaFacts {
    /// The GPUs; those that compute alike are listed once.
    pub cards: Vec<GpuFacts>,
    /// Version of cuBLASLt.
    pub cublaslt: Option<usize>,
    /// The file of cuBLASLt.
    pub cublaslt_path: Option<String>,
    /// Whether every matrix product has the height of a slab, as the smaller ones gave other bits.
    pub in_slabs_only: Option<bool>,
    /// SHA-256 of the kernel images.
    pub kernels: String,
    /// Rows of the matrix products.
    pub rows_of_a_product: Option<ProductRows>,
    /// Whether a sequence has the same bits in any batch.
    pub same_bits_in_any_batch: bool,
    /// Keys of another version.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// Heights of the matrix products on a GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ProductRows {
    /// The only one, in runs of 0.1.0.
    Slab(usize),
    /// All of them, ascending.
    Heights(Vec<usize>),
}

/// One kind of GPU.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuFacts {
    /// The algorithm for each shape of weights: `128 x 32`.
    pub algorithms: BTreeMap<String, Option<String>>,
    /// Its name.
    pub card: String,
    /// `9.0`.
    pub compute_capability: String,
    /// Newest CUDA version that the driver knows: 13000 is 13.0.
    pub driver: i32,
    /// Release of the driver.
    pub driver_version: Option<String>,
    /// The kernel image: `sm_90`. Version 0.1.0 did not record it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_of_0_1_0_are_read() {
        let text = r#"{"cards": [{"algorithms": {"96 x 32": "id 0", "32 x 32": null},
            "card": "H100", "compute_capability": "9.0", "driver": 13000, "driver_version": null}],
            "cublaslt": 130400, "kernels": "55b2", "rows_of_a_product": 16384,
            "same_bits_in_any_batch": true, "toolkit": "13.0"}"#;
        let facts: CudaFacts = serde_json::from_str(text).unwrap();
        assert_eq!(facts.rows_of_a_product, Some(ProductRows::Slab(16384)));
        assert_eq!(facts.cards[0].image, None);
        assert_eq!(facts.other["toolkit"], "13.0");
    }
}
