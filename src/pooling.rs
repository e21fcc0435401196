//! From the hidden states of one sequence to residue rows and pooled rows.
//!
//! The hidden states of a sequence of n residues are `[n + 2, D]`: row 0 is `<cls>`, rows
//! 1 … n the residues, row n + 1 `<eos>`. Only residue rows enter a mean or a maximum.

/// The residue rows, `[n, D]`, of hidden states `[n + 2, D]`.
pub fn residues(hidden: &[f32], dim: usize) -> &[f32] {
    let end = hidden.len().saturating_sub(dim);
    hidden.get(dim..end).unwrap_or_default()
}

/// The `<cls>` row, `[D]`: called bos in fair-esm's outputs.
pub fn bos(hidden: &[f32], dim: usize) -> &[f32] {
    hidden.get(..dim).unwrap_or_default()
}

/// The mean over residue rows `[n, D]` → `[D]`, accumulated in f64 and rounded once.
///
/// A mean of no rows is undefined: the result is then empty.
pub fn mean(residues: &[f32], dim: usize) -> Vec<f32> {
    let rows = residues.chunks_exact(dim);
    let count = rows.len() as f64;
    if rows.len() == 0 {
        return Vec::new();
    }
    let mut sums = vec![0.0f64; dim];
    for row in rows {
        for (sum, x) in sums.iter_mut().zip(row) {
            *sum += f64::from(*x);
        }
    }
    sums.into_iter().map(|sum| (sum / count) as f32).collect()
}

/// The largest value of each feature over residue rows `[n, D]` → `[D]`; NaN if any is NaN.
///
/// Without rows the result is empty.
pub fn max(residues: &[f32], dim: usize) -> Vec<f32> {
    let mut rows = residues.chunks_exact(dim);
    let mut most = rows.next().map(<[f32]>::to_vec).unwrap_or_default();
    for row in rows {
        for (m, x) in most.iter_mut().zip(row) {
            if *x > *m || x.is_nan() {
                *m = *x;
            }
        }
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    const HIDDEN: [f32; 10] = [9.0, 9.0, 1.0, -2.0, 3.0, -4.0, 8.0, 0.0, -7.0, -7.0];

    #[test]
    fn special_tokens_stay_out_of_residues_mean_and_max() {
        let rows = residues(&HIDDEN, 2);
        assert_eq!(rows, [1.0, -2.0, 3.0, -4.0, 8.0, 0.0]);
        assert_eq!(mean(rows, 2), [4.0, -2.0]);
        assert_eq!(max(rows, 2), [8.0, 0.0]);
        assert_eq!(bos(&HIDDEN, 2), [9.0, 9.0]);
    }

    #[test]
    fn without_rows_the_result_is_empty() {
        assert_eq!(residues(&HIDDEN[..4], 2), [0.0f32; 0]);
        assert_eq!(mean(&[], 2), [0.0f32; 0]);
        assert_eq!(max(&[], 2), [0.0f32; 0]);
    }

    #[test]
    fn a_nan_is_not_hidden_by_a_maximum() {
        assert!(max(&[1.0, f32::NAN, 2.0], 1)[0].is_nan());
        assert!(max(&[f32::NAN, 2.0], 1)[0].is_nan());
    }

    #[test]
    fn the_mean_is_accumulated_beyond_f32() {
        // In f32 the ones vanish beside 2^25.
        let mut rows = vec![33_554_432.0f32];
        rows.extend([1.0f32; 7]);
        assert_eq!(mean(&rows, 1), [4_194_305.0f32]);
    }
}
