//! UMAP (McInnes, Healy and Melville, 2018): a map on which near neighbours stay near.
//!
//! The formulas and the defaults are those of umap-learn 0.5. Its optimisation uses random numbers
//! in an order that depends on threads; here it is sequential, with a seed, so the same points give
//! the same map.

mod graph;
mod layout;

use super::neighbours::Neighbours;
pub(super) use layout::Step;

/// Points up to which the map is optimised longer.
const FEW: usize = 10_000;
const EPOCHS: (usize, usize) = (500, 200);

/// Lays out points in `dims` dimensions, from initial coordinates `[points, dims]`.
pub fn umap(
    neighbours: &Neighbours,
    initial: &[f64],
    dims: usize,
    seed: u64,
    progress: &Step<'_>,
) -> Vec<f64> {
    let dims = dims.max(1);
    let points = initial.len() / dims;
    let epochs = match points <= FEW {
        true => EPOCHS.0,
        false => EPOCHS.1,
    };
    let edges = graph::edges(neighbours, points);
    match dims {
        2 => layout::optimise::<2>(&edges, initial, epochs, seed, progress),
        3 => layout::optimise::<3>(&edges, initial, epochs, seed, progress),
        _ => initial.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::neighbours::nearest;
    use crate::plot::random::Random;
    use crate::threads::Threads;

    /// Four clusters in ten dimensions.
    fn points(count: usize) -> Vec<f32> {
        let mut random = Random::new(7);
        let of = |at: usize| {
            let (point, coordinate) = (at / 10, at % 10);
            let middle = if coordinate == point % 4 { 9.0 } else { 0.0 };
            middle + random.signed() as f32
        };
        (0..count * 10).map(of).collect()
    }

    fn map(points: &[f32], dims: usize, seed: u64) -> Vec<f64> {
        let neighbours = nearest(points, 10, 14, &Threads::new(2), &|_| {});
        let first = points.chunks(10).flat_map(|point| &point[..dims]);
        let initial: Vec<f64> = first.map(|&value| f64::from(value)).collect();
        umap(&neighbours, &initial, dims, seed, &|_, _| {})
    }

    #[test]
    fn clusters_stay_together() {
        let points = points(200);
        for dims in [2, 3] {
            let map = map(&points, dims, 0);
            assert_eq!(map.len(), 200 * dims);
            let square = |a: usize, b: usize| -> f64 {
                (0..dims)
                    .map(|d| (map[a * dims + d] - map[b * dims + d]).powi(2))
                    .sum()
            };
            for a in 0..200 {
                let nearest = (0..200)
                    .filter(|&b| b != a)
                    .min_by(|&b, &c| square(a, b).total_cmp(&square(a, c)));
                assert_eq!(nearest.unwrap() % 4, a % 4, "{a}");
            }
        }
    }

    #[test]
    fn the_seed_decides() {
        let points = points(60);
        assert_eq!(map(&points, 2, 0), map(&points, 2, 0));
        assert_ne!(map(&points, 2, 0), map(&points, 2, 1));
    }

    #[test]
    fn few_and_equal_points() {
        for count in [0, 1, 2, 3, 20] {
            let map = map(&vec![0.5; count * 10], 2, 0);
            assert_eq!(map.len(), 2 * count);
            assert!(map.iter().all(|value| value.is_finite()), "{map:?}");
        }
    }
}
