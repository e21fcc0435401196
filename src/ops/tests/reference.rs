//! References in f64, and the error of a result.

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

pub fn layer_norm_f64(x: &[f64], w: &[f32], b: &[f32]) -> Vec<f64> {
    let d = w.len() as f64;
    x.chunks_exact(w.len())
        .flat_map(|row| {
            let mean = row.iter().sum::<f64>() / d;
            let var = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / d;
            row.iter().zip(w.iter().zip(b)).map(move |(x, (w, b))| {
                (x - mean) / (var + 1e-5).sqrt() * f64::from(*w) + f64::from(*b)
            })
        })
        .collect()
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
