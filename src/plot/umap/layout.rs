//! The layout of the graph: connected points attract each other, others push each other away.

use super::super::random::Random;
use super::graph::Edge;

/// How near points may come: the curve 1 / (1 + a d^2b) that is 1 up to 0.1 and then falls as
/// exp(0.1 - d). These are the values that umap-learn fits for `min_dist=0.1` and `spread=1`.
const A: f64 = 1.576_943_460_269_765_2;
const B: f64 = 0.895_060_877_851_573_3;
/// Points that push a point away, for each one that attracts it.
const NEGATIVE: f64 = 5.0;
/// The furthest that a coordinate moves in a step.
const LONGEST_STEP: f64 = 4.0;
/// Side of the cube in which the points begin.
const SIDE: f64 = 10.0;

/// 1/9 to 1/1, for the series of the exponential function.
const INVERSES: [f64; 9] = [
    1.0 / 9.0,
    0.125,
    1.0 / 7.0,
    1.0 / 6.0,
    0.2,
    0.25,
    1.0 / 3.0,
    0.5,
    1.0,
];

/// Receives the number of epochs that are done, and of all.
pub type Step<'a> = dyn Fn(usize, usize) + Sync + 'a;

/// An edge and when it is used next, in epochs.
struct Spring {
    from: u32,
    to: u32,
    every: f64,
    next: f64,
    next_negative: f64,
}

/// The coordinates after stochastic gradient descent.
pub(super) fn optimise<const DIMS: usize>(
    edges: &[Edge],
    initial: &[f64],
    epochs: usize,
    seed: u64,
    progress: &Step<'_>,
) -> Vec<f64> {
    let mut random = Random::new(seed);
    let mut points = start::<DIMS>(initial, &mut random);
    let strongest = edges.iter().map(|edge| edge.weight).fold(0.0, f64::max);
    let strong_enough = edges
        .iter()
        .filter(|edge| edge.weight * epochs as f64 >= strongest);
    let mut springs: Vec<Spring> = strong_enough
        .map(|edge| {
            let every = strongest / edge.weight;
            Spring {
                from: edge.from,
                to: edge.to,
                every,
                next: every,
                next_negative: every / NEGATIVE,
            }
        })
        .collect();
    for epoch in 0..epochs {
        let rate = 1.0 - epoch as f64 / epochs as f64;
        for spring in &mut springs {
            pull(spring, &mut points, epoch as f64, rate, &mut random);
        }
        progress(epoch + 1, epochs);
    }
    points.concat()
}

/// The initial coordinates, stretched over the cube; random ones where all are equal.
fn start<const DIMS: usize>(initial: &[f64], random: &mut Random) -> Vec<[f64; DIMS]> {
    let mut points = initial.as_chunks::<DIMS>().0.to_vec();
    for dim in 0..DIMS {
        let values = || points.iter().map(|point| point[dim]);
        let low = values().fold(f64::INFINITY, f64::min);
        let range = values().fold(f64::NEG_INFINITY, f64::max) - low;
        for point in &mut points {
            // Points at the same place have to differ, or nothing separates them.
            let noise = 1e-4 * random.signed();
            point[dim] = match range > 0.0 {
                true => SIDE * (point[dim] - low) / range + noise,
                false => SIDE / 2.0 * random.signed(),
            };
        }
    }
    points
}

fn pull<const DIMS: usize>(
    spring: &mut Spring,
    points: &mut [[f64; DIMS]],
    epoch: f64,
    rate: f64,
    random: &mut Random,
) {
    if spring.next > epoch {
        return;
    }
    let (from, to) = (spring.from as usize, spring.to as usize);
    let (Some(&point), Some(&other)) = (points.get(from), points.get(to)) else {
        return;
    };
    let (mut point, mut other) = (point, other);
    let (difference, square) = between(&point, &other);
    if square > 0.0 {
        let power = power(square);
        let strength = -2.0 * A * B * power / (square * (A * power + 1.0));
        for dim in 0..DIMS {
            let step = (strength * difference[dim]).clamp(-LONGEST_STEP, LONGEST_STEP) * rate;
            point[dim] += step;
            other[dim] -= step;
        }
        points[to] = other;
    }
    spring.next += spring.every;
    let every_negative = spring.every / NEGATIVE;
    let negatives = ((epoch - spring.next_negative) / every_negative) as usize;
    for _ in 0..negatives {
        let away = random.below(points.len());
        let Some(other) = points.get(away).filter(|_| away != from) else {
            continue;
        };
        let (difference, square) = between(&point, other);
        if square > 0.0 {
            let strength = 2.0 * B / ((0.001 + square) * (A * power(square) + 1.0));
            for dim in 0..DIMS {
                let step = (strength * difference[dim]).clamp(-LONGEST_STEP, LONGEST_STEP);
                point[dim] += step * rate;
            }
        }
    }
    spring.next_negative += negatives as f64 * every_negative;
    points[from] = point;
}

/// The difference of two points, and the square of its length.
fn between<const DIMS: usize>(a: &[f64; DIMS], b: &[f64; DIMS]) -> ([f64; DIMS], f64) {
    let difference = std::array::from_fn(|dim| a[dim] - b[dim]);
    let square = difference.iter().map(|value: &f64| value * value).sum();
    (difference, square)
}

/// `x` to the power of [`B`], to about ten digits: five times faster than the exact one, which would
/// take most of the time, and the same on every machine.
fn power(x: f64) -> f64 {
    // x = m 2^e with m from √½ to √2; then ln m = 2 artanh((m - 1) / (m + 1)).
    let bits = x.max(1e-300).to_bits();
    let mut exponent = (bits >> 52) as i64 - 1023;
    let mut m = f64::from_bits(bits & ((1 << 52) - 1) | 1023 << 52);
    if m > std::f64::consts::SQRT_2 {
        m /= 2.0;
        exponent += 1;
    }
    let t = (m - 1.0) / (m + 1.0);
    let s = t * t;
    let series = 1.0 + s * (1.0 / 3.0 + s * (0.2 + s * (1.0 / 7.0 + s * (1.0 / 9.0 + s / 11.0))));
    let power = B * (exponent as f64 + 2.0 * t * series * std::f64::consts::LOG2_E);
    // 2^power = 2^whole e^rest
    let whole = (power + 0.5).floor();
    let rest = (power - whole) * std::f64::consts::LN_2;
    let mut series = 1.0;
    for inverse in INVERSES {
        series = 1.0 + rest * series * inverse;
    }
    series * f64::from_bits(((whole as i64 + 1023) as u64) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers() {
        for x in [
            1e-300, 1e-20, 0.003, 0.5, 0.7, 0.71, 1.0, 1.4, 1.42, 2.0, 77.7, 1e9, 1e200,
        ] {
            let exact = libm::pow(x, B);
            assert!(
                (power(x) - exact).abs() < 1e-9 * exact,
                "{x}: {} {exact}",
                power(x)
            );
        }
        assert_eq!(power(1.0), 1.0);
    }
}
