//! The nearest neighbours of points, exactly: every distance is computed.

use crate::threads::Threads;
use std::convert::Infallible;

/// Points that are compared with a block of others at once.
const QUERIES: usize = 64;
/// Points of a block.
const BLOCK: usize = 256;

/// The nearest neighbours of every point, the nearest first. A point is not its own neighbour.
#[derive(Debug, Clone, PartialEq)]
pub struct Neighbours {
    /// Neighbours of a point: the number asked for, or all other points.
    pub number: usize,
    /// Their numbers, `[points, number]`.
    pub indices: Vec<u32>,
    /// Their distances.
    pub distances: Vec<f32>,
}

/// Finds the `number` nearest neighbours of points with this many coordinates, by Euclidean distance.
/// Of equally near points, those with lower numbers are taken.
pub fn nearest(
    points: &[f32],
    coordinates: usize,
    number: usize,
    threads: &Threads,
    done: &(dyn Fn(usize) + Sync),
) -> Neighbours {
    let coordinates = coordinates.max(1);
    let count = points.len() / coordinates;
    let number = number.min(count.saturating_sub(1));
    let blocks: Vec<Vec<f32>> = points
        .chunks(BLOCK * coordinates)
        .map(|block| transposed(block, coordinates))
        .collect();
    let parts = threads.map(count.div_ceil(QUERIES), |part| {
        let first = part * QUERIES;
        let queries =
            &points[first * coordinates..points.len().min((first + QUERIES) * coordinates)];
        let found = nearest_of(first, queries, &blocks, (coordinates, count), number);
        done(queries.len() / coordinates);
        Ok::<_, Infallible>(found)
    });
    let parts = match parts {
        Ok(parts) => parts,
        Err(never) => match never {},
    };
    let found: Vec<(f32, u32)> = parts.concat();
    Neighbours {
        number,
        indices: found.iter().map(|(_, index)| *index).collect(),
        distances: found.iter().map(|(square, _)| square.sqrt()).collect(),
    }
}

/// A block of points, coordinate by coordinate; missing points are infinitely far away.
fn transposed(block: &[f32], coordinates: usize) -> Vec<f32> {
    let mut columns = vec![f32::INFINITY; BLOCK * coordinates];
    for (at, point) in block.chunks_exact(coordinates).enumerate() {
        for (coordinate, &value) in point.iter().enumerate() {
            columns[coordinate * BLOCK + at] = value;
        }
    }
    columns
}

/// Squares of the distances, and numbers, of the neighbours of some points; `first` is the number of
/// the first of them, and `all` counts all points.
fn nearest_of(
    first: usize,
    queries: &[f32],
    blocks: &[Vec<f32>],
    (coordinates, all): (usize, usize),
    number: usize,
) -> Vec<(f32, u32)> {
    let count = queries.len() / coordinates;
    let mut found: Vec<Vec<(f32, u32)>> = vec![Vec::with_capacity(number + 1); count];
    for (block, columns) in blocks.iter().enumerate() {
        let queries = queries.chunks_exact(coordinates);
        for (q, (query, found)) in queries.zip(&mut found).enumerate() {
            let mut squares = [0.0_f32; BLOCK];
            for (&value, column) in query.iter().zip(columns.as_chunks::<BLOCK>().0) {
                for (square, other) in squares.iter_mut().zip(column) {
                    let difference = value - other;
                    *square += difference * difference;
                }
            }
            for (at, &square) in squares.iter().enumerate() {
                // Squares of large distances can be infinite, and every point has `number` neighbours.
                let is_near = match found.last() {
                    Some((limit, _)) if found.len() == number => square < *limit,
                    _ => number > 0,
                };
                let other = block * BLOCK + at;
                if is_near && other != first + q && other < all {
                    let place = found.partition_point(|(before, _)| *before <= square);
                    found.insert(place, (square, other as u32));
                    found.truncate(number);
                }
            }
        }
    }
    found.concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::random::Random;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn far_points_have_neighbours_too() {
        let found = nearest(&[0.0, 3e30, -3e30, 1.0], 1, 2, &Threads::new(1), &|_| {});
        assert_eq!(found.indices, [3, 1, 0, 2, 0, 1, 0, 1]);
    }

    #[test]
    fn neighbours_are_those_of_a_sorted_list() {
        let mut random = Random::new(3);
        for count in [0, 1, 2, 5, 300, 700] {
            // Few values, so that many distances are equal.
            let points: Vec<f32> = (0..count * 3).map(|_| random.below(6) as f32).collect();
            let done = AtomicUsize::new(0);
            let advance = |points| {
                done.fetch_add(points, Ordering::Relaxed);
            };
            let found = nearest(&points, 3, 10, &Threads::new(3), &advance);
            assert_eq!(done.into_inner(), count);
            assert_eq!(found.number, 10.min(count.saturating_sub(1)));
            for (i, point) in points.chunks(3).enumerate() {
                let mut all: Vec<(f32, u32)> = points
                    .chunks(3)
                    .map(|other| point.iter().zip(other).map(|(a, b)| (a - b).powi(2)).sum())
                    .zip(0..)
                    .filter(|(_, other)| *other as usize != i)
                    .collect();
                all.sort_by(|a, b| a.partial_cmp(b).unwrap());
                let of_point = i * found.number..(i + 1) * found.number;
                let expected = &all[..found.number];
                let indices: Vec<u32> = expected.iter().map(|(_, index)| *index).collect();
                assert_eq!(found.indices[of_point.clone()], indices);
                let distances: Vec<f32> =
                    expected.iter().map(|(square, _)| square.sqrt()).collect();
                assert_eq!(found.distances[of_point], distances);
            }
        }
    }
}
