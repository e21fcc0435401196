//! Long sequences in overlapping windows, and how the rows of windows are blended. Pure.
//!
//! Windows of `size` residues start every `size − overlap` residues; the last one is moved back
//! so that it ends with the sequence and is full. Each window is embedded as a separate sequence.
//! Where windows overlap, a residue's row is the weighted mean of its rows in each, the
//! weight being the residue's distance to the nearer end of the window (1 for the first and the
//! last residue of a window, 2 for the next, …): rows with context on both sides count most.
//! A residue that is in only one window keeps the row of that window bit for bit. The bos row is that of
//! the first window.

use std::ops::Range;

/// The windows of a sequence of `length` residues; one window if it is not longer than `size`.
///
/// `overlap` is less than `size`.
pub fn windows(length: usize, size: usize, overlap: usize) -> Vec<Range<usize>> {
    let size = size.max(1);
    let step = size.saturating_sub(overlap).max(1);
    let mut all = Vec::new();
    let mut start = 0;
    while start + size < length {
        all.push(start..start + size);
        start += step;
    }
    all.push(length.saturating_sub(size)..length);
    all
}

/// Collects the rows of the windows of one sequence into `[length, D]`.
#[derive(Debug)]
pub struct Blend {
    dim: usize,
    /// Weighted mean of the rows so far; the plain row while only one window was added.
    rows: Vec<f32>,
    weights: Vec<f32>,
}

impl Blend {
    /// For a sequence of `length` residues with `dim` features.
    pub fn new(length: usize, dim: usize) -> Blend {
        Blend {
            dim,
            rows: vec![0.0; length * dim],
            weights: vec![0.0; length],
        }
    }

    /// Adds the residue rows `[window.len(), D]` of one window. Windows come in order.
    pub fn add(&mut self, window: Range<usize>, rows: &[f32]) {
        let length = window.len();
        let places = window.clone().zip(rows.chunks_exact(self.dim)).enumerate();
        for (i, (residue, row)) in places {
            let weight = (i + 1).min(length - i) as f32;
            let (Some(total), Some(sum)) = (
                self.weights.get_mut(residue),
                self.rows
                    .get_mut(residue * self.dim..(residue + 1) * self.dim),
            ) else {
                return;
            };
            if *total == 0.0 {
                sum.copy_from_slice(row);
            } else {
                // A running weighted mean.
                let share = weight / (*total + weight);
                for (mean, x) in sum.iter_mut().zip(row) {
                    *mean += (x - *mean) * share;
                }
            }
            *total += weight;
        }
    }

    /// The blended rows, `[length, D]`.
    pub fn finish(self) -> Vec<f32> {
        self.rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn windows_of_known_lengths() {
        assert_eq!(windows(10, 4, 2), [0..4, 2..6, 4..8, 6..10]);
        assert_eq!(windows(9, 4, 2), [0..4, 2..6, 4..8, 5..9]);
        assert_eq!(windows(9, 4, 0), [0..4, 4..8, 5..9]);
        assert_eq!(windows(4, 4, 2), vec![0..4; 1]);
        assert_eq!(windows(3, 4, 2), vec![0..3; 1]);
    }

    #[test]
    fn overlaps_are_weighted_by_the_distance_to_the_ends() {
        let mut blend = Blend::new(6, 1);
        blend.add(0..4, &[1.0, 1.0, 1.0, 1.0]);
        blend.add(2..6, &[4.0, 4.0, 4.0, 4.0]);
        // Residue 2: weight 2 of the first window, 1 of the second; residue 3 the other way.
        assert_eq!(blend.finish(), [1.0, 1.0, 2.0, 3.0, 4.0, 4.0]);
    }

    proptest! {
        #[test]
        fn windows_cover_everything_and_are_full(
            length in 1usize..5000, size in 1usize..1100, part in 0usize..1100,
        ) {
            let overlap = part % size;
            let all = windows(length, size, overlap);
            let mut covered = 0;
            for w in &all {
                prop_assert!(w.start <= covered && w.end > covered);
                prop_assert_eq!(w.len(), size.min(length));
                covered = w.end;
            }
            prop_assert_eq!(covered, length);
        }

        #[test]
        fn equal_rows_stay_as_they_are(length in 1usize..300, size in 1usize..64) {
            let row = [0.1f32, -7.3, 1e6];
            let mut blend = Blend::new(length, 3);
            for w in windows(length, size, size / 2) {
                let rows = row.repeat(w.len());
                blend.add(w, &rows);
            }
            prop_assert_eq!(blend.finish(), row.repeat(length));
        }
    }
}
