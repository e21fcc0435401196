//! Eigenvalues and eigenvectors of a small symmetric matrix, by Jacobi's rotations.

/// Passes over the matrix; about ten reach the precision of f64.
const MOST_SWEEPS: usize = 60;

/// Eigenvalues, the largest first, and their vectors: vector `k` is column `k` of an `[n, n]` matrix.
pub(super) fn symmetric(mut matrix: Vec<f64>, n: usize) -> (Vec<f64>, Vec<f64>) {
    let mut vectors = vec![0.0; n * n];
    for i in 0..n {
        vectors[i * n + i] = 1.0;
    }
    let scale: f64 = matrix.iter().map(|value| value * value).sum();
    for _ in 0..MOST_SWEEPS {
        let mut beside = 0.0;
        for i in 0..n {
            for j in 0..i {
                beside += matrix[i * n + j] * matrix[i * n + j];
            }
        }
        if beside <= scale * 1e-34 {
            break;
        }
        for p in 0..n {
            for q in p + 1..n {
                rotate(&mut matrix, &mut vectors, n, p, q);
            }
        }
    }
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&a, &b| matrix[b * n + b].total_cmp(&matrix[a * n + a]));
    let values = order.iter().map(|&k| matrix[k * n + k]).collect();
    let sorted = (0..n * n).map(|at| vectors[at / n * n + order[at % n]]);
    (values, sorted.collect())
}

/// Makes the element of row `p` and column `q` zero.
fn rotate(matrix: &mut [f64], vectors: &mut [f64], n: usize, p: usize, q: usize) {
    let off = matrix[p * n + q];
    if off == 0.0 {
        return;
    }
    let theta = (matrix[q * n + q] - matrix[p * n + p]) / (2.0 * off);
    let sign = if theta < 0.0 { -1.0 } else { 1.0 };
    let t = sign / (theta.abs() + (theta * theta + 1.0).sqrt());
    let c = 1.0 / (t * t + 1.0).sqrt();
    let s = t * c;
    for k in 0..n {
        let (a, b) = (matrix[k * n + p], matrix[k * n + q]);
        matrix[k * n + p] = c * a - s * b;
        matrix[k * n + q] = s * a + c * b;
    }
    for k in 0..n {
        let (a, b) = (matrix[p * n + k], matrix[q * n + k]);
        matrix[p * n + k] = c * a - s * b;
        matrix[q * n + k] = s * a + c * b;
        let (a, b) = (vectors[k * n + p], vectors[k * n + q]);
        vectors[k * n + p] = c * a - s * b;
        vectors[k * n + q] = s * a + c * b;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_matrix() {
        // numpy.linalg.eigh([[2, -1, 0], [-1, 2, -1], [0, -1, 2]]): 2 ± √2 and 2.
        let matrix = vec![2.0, -1.0, 0.0, -1.0, 2.0, -1.0, 0.0, -1.0, 2.0];
        let (values, vectors) = symmetric(matrix.clone(), 3);
        for (value, expected) in values
            .iter()
            .zip([2.0 + 2_f64.sqrt(), 2.0, 2.0 - 2_f64.sqrt()])
        {
            assert!((value - expected).abs() < 1e-14, "{value}");
        }
        for k in 0..3 {
            for i in 0..3 {
                let product: f64 = (0..3).map(|j| matrix[i * 3 + j] * vectors[j * 3 + k]).sum();
                assert!((product - values[k] * vectors[i * 3 + k]).abs() < 1e-14);
            }
        }
        assert_eq!(symmetric(vec![], 0), (vec![], vec![]));
        assert_eq!(symmetric(vec![0.0; 4], 2).0, [0.0, 0.0]);
    }
}
