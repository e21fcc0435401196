//! exp, exp2, erf, GELU and SiLU over the whole range of f32.

use super::paths;
use super::reference::erf64;
use crate::ops::math::{Function, map};

/// Every 4099th f32 of the whole range, special values, and a fine grid where it matters.
pub fn arguments() -> Vec<f32> {
    let mut all: Vec<f32> = (0..u32::MAX)
        .step_by(4099)
        .map(f32::from_bits)
        .filter(|x| !x.is_nan())
        .collect();
    all.extend((-120_000..120_000).map(|i| i as f32 / 1000.0 + 1e-5));
    all.extend([
        0.0,
        -0.0,
        1e-45,
        -1e-45,
        f32::MIN_POSITIVE,
        f32::MAX,
        f32::MIN,
    ]);
    all
}

fn ulp(x: f64) -> f64 {
    let x = (x.abs() as f32).max(f32::MIN_POSITIVE);
    f64::from(f32::from_bits(x.to_bits() + 1)) - f64::from(x)
}

#[test]
fn exp_keeps_its_stated_error_over_the_whole_range() {
    for path in paths() {
        let x = arguments();
        let mut y = x.clone();
        map(path, Function::Exp, &mut y);
        for (x, y) in x.iter().zip(&y) {
            let want = f64::from(*x).exp();
            if want > f64::from(f32::MAX) {
                assert!(
                    *y == f32::INFINITY || f64::from(*y) > 3.402e38,
                    "exp({x}) = {y}"
                );
            } else {
                let error = (f64::from(*y) - want).abs() / ulp(want);
                assert!(error <= 2.0, "{path}: exp({x}) = {y}, off by {error} ulp");
            }
        }
        let mut special = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0];
        map(path, Function::Exp, &mut special);
        assert!(special[0].is_nan());
        assert_eq!(special[1..], [f32::INFINITY, 0.0, 1.0, 1.0]);
    }
}

#[test]
fn exp2_keeps_its_stated_error_over_its_whole_range() {
    for path in paths() {
        let x: Vec<f32> = arguments().into_iter().filter(|x| *x <= 0.0).collect();
        let mut y = x.clone();
        map(path, Function::Exp2, &mut y);
        for (x, y) in x.iter().zip(&y) {
            let want = f64::from(*x).max(-64.0).exp2();
            let error = (f64::from(*y) - want).abs() / ulp(want);
            assert!(error <= 2.0, "{path}: 2^{x} = {y}, off by {error} ulp");
        }
        let mut special = [f32::NAN, f32::NEG_INFINITY, 0.0, -0.0, -1.0, -64.0];
        map(path, Function::Exp2, &mut special);
        assert!(special[0].is_nan());
        let least = 2f32.powi(-64);
        assert_eq!(special[1..], [least, 1.0, 1.0, 0.5, least]);
    }
}

#[test]
fn erf_keeps_its_stated_error_over_the_whole_range() {
    for path in paths() {
        let x = arguments();
        let mut y = x.clone();
        map(path, Function::Erf, &mut y);
        for (x, y) in x.iter().zip(&y) {
            let want = erf64(f64::from(*x));
            let error = (f64::from(*y) - want).abs();
            assert!(error <= 1.8e-7, "{path}: erf({x}) = {y}, off by {error}");
            assert!(
                error <= 3.0 * ulp(want),
                "{path}: erf({x}) = {y}, off by {error}"
            );
        }
        let mut special = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0];
        map(path, Function::Erf, &mut special);
        assert!(special[0].is_nan());
        assert_eq!(special[1..], [1.0, -1.0, 0.0]);
    }
}

#[test]
fn gelu_is_the_erf_form_not_the_tanh_one() {
    for path in paths() {
        let x: Vec<f32> = arguments().into_iter().filter(|x| x.abs() < 1e30).collect();
        let mut y = x.clone();
        map(path, Function::Gelu, &mut y);
        for (x, y) in x.iter().zip(&y) {
            let v = f64::from(*x);
            let want = v * 0.5 * (1.0 + erf64(v / 2f64.sqrt()));
            let error = (f64::from(*y) - want).abs();
            assert!(
                error <= 1.2e-7 * v.abs().max(1.0),
                "{path}: gelu({x}) = {y}, {want}"
            );
        }
        // The tanh form gives 0.841192 and −0.045402 here.
        let mut known = [1.0, -2.0, f32::INFINITY, f32::NAN, f32::NEG_INFINITY];
        map(path, Function::Gelu, &mut known);
        assert!((known[0] - 0.841_344_7).abs() < 2e-7, "{known:?}");
        assert!((known[1] + 0.045_500_26).abs() < 2e-7, "{known:?}");
        assert_eq!(known[2], f32::INFINITY);
        assert!(known[3].is_nan());
        assert!(known[4].abs() < 3e-10);
    }
}

#[test]
fn silu_keeps_its_stated_error_over_the_whole_range() {
    for path in paths() {
        let x = arguments();
        let mut y = x.clone();
        map(path, Function::Silu, &mut y);
        for (x, y) in x.iter().zip(&y) {
            let want = f64::from(*x) / (1.0 + (-f64::from(*x)).exp());
            if !x.is_finite() {
                assert!(*x > 0.0 && *y == *x || *x < 0.0 && y.is_nan());
                continue;
            }
            let error = (f64::from(*y) - want).abs();
            assert!(
                error <= (4.0 * ulp(want)).max(3e-37),
                "{path}: silu({x}) = {y}, {want}"
            );
        }
        let mut known = [1.0, -2.0, 0.0, f32::INFINITY, f32::NAN];
        map(path, Function::Silu, &mut known);
        assert!((known[0] - 0.731_058_6).abs() < 2e-7, "{known:?}");
        assert!((known[1] + 0.238_405_84).abs() < 2e-7, "{known:?}");
        assert_eq!(known[2..4], [0.0, f32::INFINITY]);
        assert!(known[4].is_nan());
    }
}
