//! Products with weights in f32 and in bfloat16.

use super::reference::{assert_close, linear_f64};
use super::{numbers, pack, paths, tensor, values};
use crate::ops::WeightType;

#[test]
fn linear_equals_the_reference_at_every_ragged_size() {
    for path in paths() {
        for (t, k, n) in [
            (1, 1, 1),
            (1, 16, 32),
            (2, 48, 48),
            (13, 31, 33),
            (14, 256, 64),
            (15, 257, 31),
            (29, 300, 96),
            (505, 64, 40),
            (61, 513, 70),
            (3, 1300, 70),
            (300, 2700, 40),
        ] {
            let (x, w) = (numbers(1, t * k), numbers(2, n * k));
            let b = numbers(3, n);
            let bound = 3e-6 * (k as f64).sqrt();
            let what = format!("{path} {t}×{k}×{n}");
            let want = linear_f64(&x, &w, &b, k);
            let layer = pack(path, WeightType::F32, &w, &b, k);
            let tx = tensor(&x, &[t, k]);

            let y = tx.apply_op1_no_bwd(&&layer).unwrap();
            assert_eq!(y.dims(), [t, n]);
            assert_close(&values(&y), &want, bound, &what);
        }
    }
}

#[test]
fn bfloat16_weights_are_rounded_once_and_used_in_f32() {
    let (t, k, n) = (9, 70, 50);
    let (x, w, b) = (numbers(5, t * k), numbers(6, n * k), numbers(7, n));
    let bf16: Vec<f32> = w
        .iter()
        .map(|w| half::bf16::from_f32(*w).to_f32())
        .collect();
    for path in paths() {
        let tx = tensor(&x, &[t, k]);
        let stored = pack(path, WeightType::Bf16, &w, &b, k);
        let exact = pack(path, WeightType::F32, &bf16, &b, k);
        assert_eq!(stored.bytes() * 2, exact.bytes());
        let (a, e) = (
            tx.apply_op1_no_bwd(&&stored).unwrap(),
            tx.apply_op1_no_bwd(&&exact).unwrap(),
        );
        assert_eq!(values(&a), values(&e), "{path}");
        assert_close(&values(&a), &linear_f64(&x, &bf16, &b, k), 3e-5, "bf16");
    }
}

#[test]
fn a_row_of_a_product_has_the_same_bits_with_any_other_rows() {
    let (k, n, most) = (300, 70, 530);
    let (x, w, b) = (numbers(8, most * k), numbers(9, n * k), numbers(10, n));
    for path in paths() {
        let layer = pack(path, WeightType::F32, &w, &b, k);
        let all = values(&tensor(&x, &[most, k]).apply_op1_no_bwd(&&layer).unwrap());
        for (start, rows) in [
            (0, 1),
            (7, 2),
            (3, 13),
            (100, 14),
            (1, 15),
            (26, 503),
            (0, 505),
        ] {
            let part = tensor(&x[start * k..(start + rows) * k], &[rows, k]);
            let part = values(&part.apply_op1_no_bwd(&&layer).unwrap());
            assert_eq!(
                part,
                all[start * n..(start + rows) * n],
                "{path} {start}+{rows}"
            );
        }
    }
}
