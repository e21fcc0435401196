//! References in f64, and the error of a result.

use candle_core::{D, Device, Tensor};

pub fn erf64(x: f64) -> f64 {
    // Maclaurin series up to 3, the continued fraction of erfc beyond.
    let a = x.abs();
    let y = if a < 3.0 {
        let (mut term, mut sum, mut n) = (a, a, 0.0);
        while term.abs() > 1e-18 {
            n += 1.0;
            term *= -a * a / n;
            sum += term / (2.0 * n + 1.0);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    } else {
        let mut f = a;
        for n in (1..200).rev() {
            f = a + f64::from(n) / 2.0 / f;
        }
        1.0 - (-a * a).exp() / std::f64::consts::PI.sqrt() / f
    };
    y.copysign(x)
}

pub fn linear_f64(x: &[f32], w: &[f32], b: &[f32], k: usize) -> Vec<f64> {
    x.chunks_exact(k)
        .flat_map(|row| {
            w.chunks_exact(k).zip(b).map(|(w, b)| {
                f64::from(*b)
                    + row
                        .iter()
                        .zip(w)
                        .map(|(x, w)| f64::from(*x) * f64::from(*w))
                        .sum::<f64>()
            })
        })
        .collect()
}

/// candle-nn's LayerNorm in f64 over rows of `w.len()` values, with ESM's epsilon.
pub fn layer_norm_f64(x: &[f64], w: &[f32], b: &[f32]) -> Vec<f64> {
    let dim = w.len();
    let vector = |values: &[f32]| {
        let wide: Vec<f64> = values.iter().map(|&v| f64::from(v)).collect();
        Tensor::from_vec(wide, dim, &Device::Cpu).unwrap()
    };
    let x = Tensor::from_slice(x, (x.len() / dim, dim), &Device::Cpu).unwrap();
    let y = candle_nn::ops::layer_norm_slow(&x, &vector(w), &vector(b), 1e-5).unwrap();
    y.flatten_all().unwrap().to_vec1().unwrap()
}

/// candle-nn's softmax in f64.
pub fn softmax_f64(scores: &[f64]) -> Vec<f64> {
    let scores = Tensor::from_slice(scores, scores.len(), &Device::Cpu).unwrap();
    let p = candle_nn::ops::softmax(&scores, D::Minus1).unwrap();
    p.to_vec1().unwrap()
}

pub fn assert_close(found: &[f32], want: &[f64], bound: f64, what: &str) {
    assert_eq!(found.len(), want.len(), "{what}");
    for (i, (f, w)) in found.iter().zip(want).enumerate() {
        let error = (f64::from(*f) - w).abs();
        assert!(error <= bound, "{what}: element {i} is {f}, wanted {w}");
    }
}

/// ‖found − want‖ / ‖want‖.
pub fn relative(found: &[f32], want: &[f64]) -> f64 {
    let pairs = found.iter().zip(want);
    let error: f64 = pairs.map(|(f, w)| (f64::from(*f) - w).powi(2)).sum();
    let size: f64 = want.iter().map(|w| w * w).sum();
    (error / size.max(f64::MIN_POSITIVE)).sqrt()
}
