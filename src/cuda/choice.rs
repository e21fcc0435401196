//! Which of cuBLASLt's algorithms each matrix product uses: the fastest of those that pass the test of
//! the product with the bits of the first that passes, so that timing decides about speed only, never
//! about numbers.

use super::error::CudaError;
use super::gpu::OpenGpu;
use super::matmul::{Algorithm, Matmul};
use super::matmul_test::{Found, MatmulTest};
use super::memory::Memory;
use super::tested::Tests;
use crate::device::Dtype;
use std::time::Duration;

/// Algorithms that are tried for each product when the whole model fails its test.
pub(super) const ALTERNATIVES: usize = 3;
/// Algorithms of a product that are timed.
const TIMED: usize = 8;
/// A later algorithm has to be faster than an earlier one by this share of the time: less is noise.
const FASTER_BY: f64 = 0.02;

/// Chooses an algorithm that gives a row the same bits at every place in products of all heights: the
/// fastest among the first that passes and others with its bits. If none passes, the first that passes in
/// slabs is taken. If none does, the first that works is taken and the result is false: then every
/// sequence needs its own pass, which always begins with the first row.
///
/// # Errors
/// No algorithm works.
pub(super) fn pin(
    gpu: &OpenGpu,
    dtype: Dtype,
    product: &mut Matmul,
    weights: &Memory,
    tests: &Tests,
) -> Result<bool, CudaError> {
    let candidates = product.candidates(&gpu.blas)?;
    if let Some(numbers) = tests.find(&name(product))
        && let Some(passed) = candidates.iter().find(|a| a.numbers() == numbers)
    {
        product.pin(*passed);
        return Ok(true);
    }
    let mut test = MatmulTest::new(gpu, dtype, product, weights)?;
    let (mut in_slabs, mut works) = (None, None);
    let mut passed: Vec<(Algorithm, Duration)> = Vec::new();
    for algorithm in candidates {
        product.pin(algorithm);
        match test.run(product)? {
            Found::Same if test.has_first_bits() => passed.push((algorithm, test.time(product)?)),
            // It passes, but with other bits.
            Found::Same => {}
            Found::SameInSlabs => in_slabs = in_slabs.or(Some(algorithm)),
            Found::Varies => works = works.or(Some(algorithm)),
            Found::Nothing => {}
        }
        if passed.len() == TIMED {
            break;
        }
    }
    let times: Vec<Duration> = passed.iter().map(|(_, time)| *time).collect();
    if let Some((algorithm, _)) = fastest(&times).and_then(|i| passed.get(i)) {
        product.pin(*algorithm);
        remember(product, tests);
        return Ok(true);
    }
    if let Some(algorithm) = in_slabs {
        product.pin(algorithm);
        product.in_slabs_only = true;
        return Ok(true);
    }
    let first = works.ok_or(CudaError::NoAlgorithm {
        outputs: product.outputs,
        inputs: product.inputs,
    })?;
    product.pin(first);
    Ok(false)
}

/// The index of the shortest time; if several hardly differ, the first of them.
fn fastest(times: &[Duration]) -> Option<usize> {
    let least = times.iter().min()?.mul_f64(1.0 + FASTER_BY);
    times.iter().position(|time| *time <= least)
}

/// Remembers that the algorithm of a product has passed.
pub(super) fn remember(product: &Matmul, tests: &Tests) {
    if let Some(algorithm) = product.algorithm() {
        tests.pass(&name(product), &algorithm.numbers());
    }
}

/// The name of the test of a product.
fn name(product: &Matmul) -> String {
    format!("product {} x {}", product.outputs, product.inputs)
}

/// The first few algorithms that pass the test of a product. The product keeps the one it has.
pub(super) fn alternatives(
    gpu: &OpenGpu,
    dtype: Dtype,
    product: &mut Matmul,
    weights: &Memory,
) -> Result<Vec<Algorithm>, CudaError> {
    let kept = product.algorithm().copied();
    let mut test = MatmulTest::new(gpu, dtype, product, weights)?;
    let mut passed = Vec::new();
    for algorithm in product.candidates(&gpu.blas)? {
        if passed.len() == ALTERNATIVES {
            break;
        }
        product.pin(algorithm);
        match test.run(product)? {
            Found::Same => passed.push(algorithm),
            Found::SameInSlabs if product.in_slabs_only => passed.push(algorithm),
            _ => {}
        }
    }
    if let Some(kept) = kept {
        product.pin(kept);
    }
    Ok(passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fastest_or_one_that_is_nearly_as_fast() {
        let fastest = |micros: &[u64]| {
            let times: Vec<Duration> = micros.iter().copied().map(Duration::from_micros).collect();
            super::fastest(&times)
        };
        assert_eq!(fastest(&[]), None);
        assert_eq!(fastest(&[300]), Some(0));
        assert_eq!(fastest(&[300, 200, 250]), Some(1));
        assert_eq!(fastest(&[203, 300, 200]), Some(0));
        assert_eq!(fastest(&[205, 300, 200]), Some(2));
    }
}
