//! LayerNorm.

use super::reference::assert_close;
use super::{numbers, paths, tensor, values};
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
            let want: Vec<f64> = x
                .chunks_exact(dim)
                .flat_map(|row| {
                    let d = dim as f64;
                    let mean = row.iter().map(|x| f64::from(*x)).sum::<f64>() / d;
                    let var = row
                        .iter()
                        .map(|x| (f64::from(*x) - mean).powi(2))
                        .sum::<f64>()
                        / d;
                    let (w, b) = (w.clone(), b.clone());
                    row.iter()
                        .enumerate()
                        .map(move |(i, x)| {
                            (f64::from(*x) - mean) / (var + 1e-5).sqrt() * f64::from(w[i])
                                + f64::from(b[i])
                        })
                        .collect::<Vec<_>>()
                })
                .collect();
            assert_close(&values(&y), &want, 5e-5, &format!("{path} dim {dim}"));
        }
    }
}
