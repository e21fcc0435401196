//! Which residues an axis names.

/// Residue numbers for an axis of `residues` residues with room for `most` labels: 1, and the
/// multiples of 1, 2 or 5 times a power of ten.
pub(super) fn residues(residues: usize, most: usize) -> Vec<usize> {
    let most = most.max(1);
    let mut step = 1_usize;
    let factors = [2, 5, 10];
    let mut power = 1_usize;
    'search: while residues / step > most {
        for factor in factors {
            step = power.saturating_mul(factor);
            if residues / step <= most {
                break 'search;
            }
        }
        power = power.saturating_mul(10);
    }
    let multiples = (1..).map_while(|number: usize| {
        let residue = number.checked_mul(step)?;
        (residue <= residues).then_some(residue)
    });
    let first = (step > 1 && residues > 0).then_some(1);
    first.into_iter().chain(multiples).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_numbers() {
        assert_eq!(residues(50, 10), [1, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50]);
        assert_eq!(residues(1500, 8), [1, 200, 400, 600, 800, 1000, 1200, 1400]);
        assert_eq!(residues(3, 8), [1, 2, 3]);
        assert_eq!(residues(12, 8), [1, 2, 4, 6, 8, 10, 12]);
        assert_eq!(residues(99, 8), [1, 20, 40, 60, 80]);
        assert_eq!(residues(1, 0), [1]);
        assert_eq!(residues(0, 8), [0; 0]);
        assert!(residues(usize::MAX, 8).len() <= 9);
    }
}
