//! LayerNorm.

use super::reference::{assert_close, layer_norm_f64};
use super::{numbers, paths, tensor, values, wide};
use crate::ops::LayerNorm;

#[test]
fn layer_norm_equals_the_reference_also_with_outliers() {
    for path in paths() {
        for dim in [1, 8, 20, 48, 320, 333] {
            let mut x = numbers(11, 3 * dim);
            // An outlier channel, as in trained ESM-2.
            x[dim / 2] += 300.0;
            let (w, b) = (numbers(12, dim), numbers(13, dim));
            let norm = LayerNorm::new(path, w.clone(), b.clone(), 1e-5);
            let y = tensor(&x, &[3, dim]).apply_op1_no_bwd(&&norm).unwrap();
            let want = layer_norm_f64(&wide(&x), &w, &b);
            assert_close(&values(&y), &want, 5e-5, &format!("{path} dim {dim}"));
        }
    }
}
