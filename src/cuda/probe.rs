//! A row that reveals the order in which a matrix product sums.

/// Exponent of the largest number of a probe: the remainder of its sums is visible in f16.
const EXPONENT: i32 = 10;

/// The row whose product with these weights of one output cancels in pairs half a row apart. The
/// remainder comes from rounding partial sums, and another order of summation leaves another one. Random
/// rows would show the order only in the last bit of an f32, which 16 bits seldom keep.
pub(super) fn probe(weights: &[f32]) -> Vec<f32> {
    let (first, second) = weights.split_at(weights.len() / 2);
    let largest = weights.iter().fold(0.0f32, |most, w| most.max(w.abs()));
    let scale = match largest.is_normal() {
        // A power of two changes no bit of a significand.
        true => 2f32.powi(EXPONENT - largest.log2().ceil() as i32),
        false => 1.0,
    };
    let left = second.iter().map(|w| w * scale);
    let right = first.iter().map(|w| -w * scale);
    left.chain(right).collect()
}

#[cfg(test)]
mod tests {
    use super::probe;
    use half::{bf16, f16};

    #[test]
    fn pairs_cancel_and_orders_differ() {
        let weights: Vec<f32> = (1..=32)
            .map(|i| f16::from_f32(0.37 / i as f32).to_f32())
            .collect();
        let row = probe(&weights);
        // 0.37 is between 2⁻² and 2⁻¹, so the factor is 2¹¹.
        assert_eq!(row[0], weights[16] * 2048.0);
        assert_eq!(row[16], -weights[0] * 2048.0);
        let terms: Vec<f32> = weights.iter().zip(&row).map(|(w, x)| w * x).collect();
        let exact: f64 = terms.iter().map(|x| f64::from(*x)).sum();
        assert_eq!(exact, 0.0);
        let up: f32 = terms.iter().sum();
        let down: f32 = terms.iter().rev().sum();
        assert_ne!(f16::from_f32(up).to_bits(), f16::from_f32(down).to_bits());
        assert_ne!(bf16::from_f32(up).to_bits(), bf16::from_f32(down).to_bits());
    }

    #[test]
    fn zero_weights_give_a_row_of_zeros() {
        assert_eq!(probe(&[0.0, 0.0]), [0.0, -0.0]);
        assert_eq!(probe(&[f32::INFINITY, 1.0]), [1.0, f32::NEG_INFINITY]);
    }
}
