//! Products in fixed point.

use super::reference::{linear_f64, relative};
use super::{numbers, pack, paths, tensor, values};
use crate::ops::WeightType;

/// Operands are rounded to within 2e-4 of the length of each block; sums are exact.
#[test]
fn fixed_point_products_keep_their_stated_error_and_the_bits_of_rows() {
    for path in paths() {
        for (t, k, n) in [
            (1, 16, 32),
            (3, 31, 33),
            (15, 257, 96),
            (300, 640, 70),
            (61, 2700, 40),
            (5, 1024, 33),
        ] {
            let (mut x, w, b) = (numbers(5, t * k), numbers(6, n * k), numbers(7, n));
            // Rows and blocks of very different size: each has its own scale.
            for (row, values) in x.chunks_exact_mut(k).enumerate() {
                let scale = [1.0, 3e5, 1e-6, 0.0, 1e25][row % 5];
                values.iter_mut().for_each(|x| *x *= scale);
                values.iter_mut().skip(512).for_each(|x| *x *= 1e-3);
            }
            let layer = pack(path, WeightType::F16, &w, &b, k);
            let all = values(&tensor(&x, &[t, k]).apply_op1_no_bwd(&&layer).unwrap());
            let zero = vec![0.0; n];
            let none = pack(path, WeightType::F16, &w, &zero, k);
            let products = values(&tensor(&x, &[t, k]).apply_op1_no_bwd(&&none).unwrap());
            let want = linear_f64(&x, &w, &zero, k);
            for (row, (found, want)) in products
                .chunks_exact(n)
                .zip(want.chunks_exact(n))
                .enumerate()
            {
                let found = relative(found, want);
                assert!(found <= 4e-4, "{t}×{k}×{n} row {row}: {found:.1e}");
            }
            let last = tensor(&x[(t - 1) * k..], &[1, k]);
            let alone = values(&last.apply_op1_no_bwd(&&layer).unwrap());
            assert_eq!(alone, all[(t - 1) * n..], "{t}×{k}×{n}");
        }
    }
}

/// The largest sums of a block: all products have the same sign and size, or only one is not zero.
#[test]
fn fixed_point_sums_do_not_overflow() {
    for path in paths() {
        let ends = |f: usize| if f == 300 { 1.0 } else { 0.0 };
        let rows: [&dyn Fn(usize) -> f32; 4] = [&|_| 1.0, &|_| -1.0, &ends, &|f| {
            if f.is_multiple_of(2) { 1.0 } else { 1e-3 }
        }];
        for k in [32, 511, 512, 1500] {
            let x: Vec<f32> = rows.iter().flat_map(|row| (0..k).map(row)).collect();
            let layer = pack(path, WeightType::F16, &x, &[0.0; 4], k);
            let y = values(&tensor(&x, &[4, k]).apply_op1_no_bwd(&&layer).unwrap());
            let want = linear_f64(&x, &x, &[0.0; 4], k);
            for (found, want) in y.iter().zip(&want) {
                let error = (f64::from(*found) - want).abs();
                assert!(error <= 2e-4 * want.abs() + 1e-3, "{k}: {found} for {want}");
            }
        }
    }
}

#[test]
fn fixed_point_rows_with_nan_or_infinity_become_nan() {
    for path in paths() {
        let layer = pack(
            path,
            WeightType::F16,
            &numbers(1, 40 * 600),
            &[0.0; 40],
            600,
        );
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = numbers(2, 3 * 600);
            x[600 + 17] = bad;
            let y = values(&tensor(&x, &[3, 600]).apply_op1_no_bwd(&&layer).unwrap());
            for (i, y) in y.iter().enumerate() {
                assert_eq!(y.is_nan(), i / 40 == 1, "{bad} {i}");
            }
        }
    }
}
