//! Which of cuBLASLt's algorithms each product uses: the fastest of those that pass the test of the
//! product with the bits of the first that passes, so that time decides about speed only, never about
//! numbers. If the whole model then fails its own test, the next algorithms that pass are tried.

use super::card::{Card, Memory};
use super::error::CudaError;
use super::model::Esm;
use super::product::{Algorithm, Product};
use super::replica::{PRODUCTS, Replica};
use super::selftest::{self, Found, ProductTest};
use super::tested::Tests;
use crate::device::Dtype;
use std::time::Duration;

/// Algorithms that each product may be given when the whole model fails its test.
const ALTERNATIVES: usize = 3;
/// Algorithms of a product that are timed.
const TIMED: usize = 8;
/// Share of the time by which a later algorithm has to be faster than an earlier one: less is noise.
const FASTER_BY: f64 = 0.02;

/// Chooses an algorithm by which a row has the same bits wherever it is in products of all heights: the
/// fastest of the first that passes and those that give its bits. If none passes, the first that does
/// in slabs; else the first that works, and false: a sequence alone always begins with the first row.
///
/// # Errors
/// No algorithm works.
pub(super) fn pin(
    card: &Card,
    dtype: Dtype,
    product: &mut Product,
    weights: &Memory,
    tests: &Tests,
) -> Result<bool, CudaError> {
    let candidates = product.candidates(&card.blas)?;
    if let Some(numbers) = tests.find(&name(product))
        && let Some(passed) = candidates.iter().find(|a| a.numbers() == numbers)
    {
        product.pin(*passed);
        return Ok(true);
    }
    let mut test = ProductTest::new(card, dtype, product, weights)?;
    let (mut in_slabs, mut works) = (None, None);
    let mut passed: Vec<(Algorithm, Duration)> = Vec::new();
    for algorithm in candidates {
        product.pin(algorithm);
        match test.run(product)? {
            Found::Same if test.has_first_bits() => passed.push((algorithm, test.time(product)?)),
            // As good, but with other bits.
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

/// The index of the least time; of times that hardly differ, the first.
fn fastest(times: &[Duration]) -> Option<usize> {
    let least = times.iter().min()?.mul_f64(1.0 + FASTER_BY);
    times.iter().position(|time| *time <= least)
}

/// Remembers that the algorithm of a product has passed.
pub(super) fn remember(product: &Product, tests: &Tests) {
    if let Some(algorithm) = product.algorithm() {
        tests.pass(&name(product), &algorithm.numbers());
    }
}

/// What the test of a product is called.
fn name(product: &Product) -> String {
    format!("product {} x {}", product.outputs, product.inputs)
}

/// The first few algorithms that pass the test of a product. The product keeps the one it has.
pub(super) fn alternatives(
    card: &Card,
    dtype: Dtype,
    product: &mut Product,
    weights: &Memory,
) -> Result<Vec<Algorithm>, CudaError> {
    let kept = product.algorithm().copied();
    let mut test = ProductTest::new(card, dtype, product, weights)?;
    let mut passed = Vec::new();
    for algorithm in product.candidates(&card.blas)? {
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

/// Whether the bits of a sequence do not depend on its batch, with the algorithms that the products
/// have or, if they do with these, with others that the products have from then on.
///
/// # Errors
/// The card cannot do it at all.
pub(super) fn settle(esm: &mut Esm, top: usize) -> Result<bool, CudaError> {
    if selftest::model(esm, top)? {
        return Ok(true);
    }
    let dtype = esm.dtype();
    let first: Vec<_> = esm.replicas().iter().map(Replica::algorithms).collect();
    let failed = esm.choice();
    let mut all = Vec::new();
    for replica in esm.replicas_mut() {
        all.push(replica.alternatives(dtype)?);
    }
    let counts = std::array::from_fn(|product| {
        let counts = all
            .iter()
            .filter_map(|each| each.get(product).map(Vec::len));
        counts.min().unwrap_or(0)
    });
    for choice in choices(counts) {
        for (replica, alternatives) in esm.replicas_mut().iter_mut().zip(&all) {
            replica.pin(std::array::from_fn(|product| {
                let of_product = alternatives.get(product)?;
                of_product.get(*choice.get(product)?).copied()
            }));
        }
        let is_new = esm.choice().is_some() && esm.choice() != failed;
        if is_new && selftest::model(esm, top)? {
            esm.replicas().iter().for_each(Replica::remember);
            return Ok(true);
        }
    }
    for (replica, algorithms) in esm.replicas_mut().iter_mut().zip(first) {
        replica.pin(algorithms);
    }
    Ok(false)
}

/// In which order the alternatives of products, of which there are so many, are tried: another one for
/// one product at a time, then for all of them.
fn choices(counts: [usize; PRODUCTS]) -> Vec<[usize; PRODUCTS]> {
    let mut all = vec![[0; PRODUCTS]];
    for number in 1..ALTERNATIVES {
        let there = counts.map(|count| number.min(count.saturating_sub(1)));
        for product in 0..PRODUCTS {
            all.push(std::array::from_fn(|i| match i == product {
                true => there.get(i).copied().unwrap_or(0),
                false => 0,
            }));
        }
        all.push(there);
    }
    let mut once = Vec::new();
    for choice in all {
        if !once.contains(&choice) {
            once.push(choice);
        }
    }
    once
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

    #[test]
    fn one_product_at_a_time_and_then_all() {
        assert_eq!(choices([1, 1, 1, 1]), [[0; 4]]);
        assert_eq!(choices([0, 0, 0, 0]), [[0; 4]]);
        assert_eq!(
            choices([2, 1, 3, 1]),
            [
                [0, 0, 0, 0],
                [1, 0, 0, 0],
                [0, 0, 1, 0],
                [1, 0, 1, 0],
                [0, 0, 2, 0],
                [1, 0, 2, 0],
            ]
        );
        assert_eq!(choices([3, 3, 3, 3]).len(), 11);
    }
}
