//! The graph of neighbours: how strongly each point is connected to those near it.

use super::super::neighbours::Neighbours;

/// Halvings of the interval in which the scale of a point is searched.
const HALVINGS: usize = 64;
/// Smallest scale, compared with the mean distance.
const SMALLEST: f64 = 1e-3;

/// A connection of two points. Every connection is listed in both directions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Edge {
    pub(super) from: u32,
    pub(super) to: u32,
    /// Its strength, greater than 0 and at most 1.
    pub(super) weight: f64,
}

/// The edges, point by point: a + b - ab, where a is the strength seen from one end and b that seen
/// from the other.
pub(super) fn edges(neighbours: &Neighbours, points: usize) -> Vec<Edge> {
    let number = neighbours.number;
    if number == 0 {
        return Vec::new();
    }
    let scales = scales(neighbours);
    // For each point, its neighbours (true) and the points whose neighbour it is.
    let mut ends: Vec<Vec<(u32, bool, f64)>> = vec![Vec::with_capacity(2 * number); points];
    let indices = neighbours.indices.chunks_exact(number);
    let distances = neighbours.distances.chunks_exact(number);
    for (from, ((indices, distances), scale)) in indices.zip(distances).zip(scales).enumerate() {
        for (&to, &distance) in indices.iter().zip(distances) {
            let strength = scale.strength(f64::from(distance));
            if let Some(ends) = ends.get_mut(from) {
                ends.push((to, true, strength));
            }
            if let Some(ends) = ends.get_mut(to as usize) {
                ends.push((from as u32, false, strength));
            }
        }
    }
    let mut edges = Vec::new();
    for (from, mut ends) in (0..).zip(ends) {
        ends.sort_by_key(|&(to, is_own, _)| (to, is_own));
        for same in ends.chunk_by(|a, b| a.0 == b.0) {
            let weight = match same {
                [(_, _, a), (_, _, b)] => a + b - a * b,
                [(_, _, a), ..] => *a,
                [] => continue,
            };
            if let Some(&(to, _, _)) = same.first().filter(|_| weight > 0.0) {
                edges.push(Edge { from, to, weight });
            }
        }
    }
    edges
}

/// How the strength of connections to a point falls with the distance.
struct Scale {
    /// Distance of the nearest neighbour that is not at the same place.
    nearest: f64,
    width: f64,
}

impl Scale {
    fn strength(&self, distance: f64) -> f64 {
        let beyond = distance - self.nearest;
        match beyond <= 0.0 || self.width == 0.0 {
            true => 1.0,
            false => libm::exp(-beyond / self.width),
        }
    }
}

/// The scale of each point: the strengths of its neighbours add up to log2(neighbours + 1).
fn scales(neighbours: &Neighbours) -> Vec<Scale> {
    let number = neighbours.number;
    let sum: f64 = neighbours.distances.iter().map(|&d| f64::from(d)).sum();
    // umap-learn counts a point among its neighbours.
    let with_itself = (number + 1) as f64;
    let points = neighbours.distances.len() / number.max(1);
    let mean_of_all = sum / (points.max(1) as f64 * with_itself);
    let target = libm::log2(with_itself);
    let of_point = |distances: &[f32]| {
        let distances = || distances.iter().map(|&distance| f64::from(distance));
        let nearest = distances().find(|&distance| distance > 0.0).unwrap_or(0.0);
        let (mut low, mut high, mut width) = (0.0, f64::INFINITY, 1.0);
        for _ in 0..HALVINGS {
            let scale = Scale { nearest, width };
            let strengths: f64 = distances().map(|distance| scale.strength(distance)).sum();
            if (strengths - target).abs() < 1e-5 {
                break;
            }
            if strengths > target {
                high = width;
                width = (low + high) / 2.0;
            } else {
                low = width;
                width = if high.is_infinite() {
                    2.0 * width
                } else {
                    (low + high) / 2.0
                };
            }
        }
        let mean = match nearest > 0.0 {
            true => distances().sum::<f64>() / with_itself,
            false => mean_of_all,
        };
        Scale {
            nearest,
            width: width.max(SMALLEST * mean),
        }
    };
    neighbours
        .distances
        .chunks_exact(number.max(1))
        .map(of_point)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strengths_are_those_of_umap_learn() {
        // umap.umap_.fuzzy_simplicial_set of umap-learn 0.5.12 for points 0, 1, 3, 6, 10, 11 with
        // n_neighbors=4.
        let points = [0.0_f32, 1.0, 3.0, 6.0, 10.0, 11.0];
        let neighbours = super::super::super::neighbours::nearest(
            &points,
            1,
            3,
            &crate::threads::Threads::new(1),
            &|_| {},
        );
        let edges = edges(&neighbours, 6);
        let expected = [
            (0, 1, 1.000000),
            (0, 2, 0.827023),
            (0, 3, 0.345956),
            (1, 0, 1.000000),
            (1, 2, 1.000000),
            (1, 3, 0.552236),
            (2, 0, 0.827023),
            (2, 1, 1.000000),
            (2, 3, 1.000000),
            (2, 4, 0.381966),
            (2, 5, 0.404128),
            (3, 0, 0.345956),
            (3, 1, 0.552236),
            (3, 2, 1.000000),
            (3, 4, 0.854101),
            (3, 5, 0.595873),
            (4, 2, 0.381966),
            (4, 3, 0.854101),
            (4, 5, 1.000000),
            (5, 2, 0.404128),
            (5, 3, 0.595873),
            (5, 4, 1.000000),
        ];
        assert_eq!(edges.len(), expected.len());
        for (edge, (from, to, weight)) in edges.iter().zip(expected) {
            assert_eq!((edge.from, edge.to), (from, to));
            assert!((edge.weight - weight).abs() < 1e-4, "{edge:?} {weight}");
        }
    }
}
