//! Which of cuBLASLt's algorithms each matrix product uses: the fastest of those that pass the test of
//! the product with the bits of the first that passes, so that timing decides about speed only, never
//! about numbers.

use super::blaslt::Blas;
use super::error::CudaError;
use super::gpu::OpenGpu;
use super::matmul::{Algorithm, Matmul};
use super::matmul_test::{Found, MatmulTest, Piece, Tested};
use super::memory::Memory;
use super::number_format::size;
use super::own_choice::OwnChoice;
use super::tested::Tests;
use crate::device::Dtype;
use crate::numerals::grouped;
use std::fmt;
use std::time::Duration;

/// Algorithms that are tried for each product when the whole model fails its test.
pub(super) const ALTERNATIVES: usize = 3;
/// Algorithms of a product that are timed.
const TIMED: usize = 8;
/// A later algorithm has to be faster than an earlier one by this share of the time: less is noise.
const FASTER_BY: f64 = 0.02;

/// How the algorithm of a product was chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Choice {
    /// Whether a row has the same bits at every place.
    pub(super) same_bits: bool,
    /// Algorithms that cuBLASLt offers and whose settings are acceptable.
    pub(super) offered: usize,
    /// Those that were tested, until enough had passed; 0 if an earlier choice is remembered.
    pub(super) tested: usize,
    /// Those that passed with the same bits.
    pub(super) passed: usize,
    /// Their times of a slab, in cuBLASLt's order. One without a rival is not timed.
    pub(super) of_slab: Vec<Duration>,
    /// The times of the chosen one by number of rows, ascending; none if no algorithm was timed.
    pub(super) times: Vec<(usize, Duration)>,
    /// How it compares with the program's own product.
    pub(super) own: OwnChoice,
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_algorithms(f)?;
        write!(f, "{}", self.own)
    }
}

impl Choice {
    fn write_algorithms(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = |time: &Duration| format!("{:.1}", time.as_secs_f64() * 1e6);
        if self.offered == 0 {
            return f.write_str("none offered");
        }
        write!(f, "{} offered, ", self.offered)?;
        if self.tested == 0 {
            return f.write_str("chosen in an earlier self-test");
        }
        write!(f, "{} tested, {} passed", self.tested, self.passed)?;
        if let Some((slab, _)) = self.times.last() {
            let of_slab: Vec<String> = self.of_slab.iter().map(micros).collect();
            let rows = |&(rows, _): &(usize, Duration)| grouped(rows as u64);
            let all = self.times.iter();
            let all = all.map(|each| format!("{} µs for {}", micros(&each.1), rows(each)));
            write!(
                f,
                " (in {} µs for {} rows); the chosen one takes {} rows",
                of_slab.join(", "),
                grouped(*slab as u64),
                all.collect::<Vec<_>>().join(", ")
            )?;
        }
        Ok(())
    }
}

/// Chooses an algorithm that gives a row the same bits at every place in products of all heights: the
/// fastest among the first that passes and others with its bits. If none passes, the first that passes in
/// slabs is taken. If none does, the first that works is taken, and every sequence needs its own pass,
/// which always begins with the first row.
///
/// # Errors
/// No algorithm works.
pub(super) fn pin(
    gpu: &OpenGpu,
    blas: &Blas,
    dtype: Dtype,
    product: &mut Matmul,
    weights: &Memory,
    tests: &Tests,
) -> Result<Choice, CudaError> {
    let candidates = product.candidates(blas)?;
    let mut choice = Choice {
        same_bits: true,
        offered: candidates.len(),
        ..Choice::default()
    };
    if let Some(numbers) = tests.find(&name(product))
        && let Some(passed) = candidates.iter().find(|a| a.numbers() == numbers)
    {
        product.pin(*passed);
        return Ok(choice);
    }
    let mut test = MatmulTest::new(gpu, tested(dtype, product, weights))?;
    let (mut in_slabs, mut works) = (None, None);
    let mut passed: Vec<Algorithm> = Vec::new();
    for algorithm in candidates {
        product.pin(algorithm);
        choice.tested += 1;
        let compute = compute(gpu, blas, product, weights);
        match test.run(&compute, gpu.heights.all())? {
            Found::Same if test.has_first_bits() => passed.push(algorithm),
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
    choice.passed = passed.len();
    if let Some(algorithm) = passed.first() {
        product.pin(*algorithm);
        if passed.len() > 1 {
            time(gpu, blas, product, weights, &test, &passed, &mut choice)?;
        }
        product.equals = passed;
        remember(product, tests);
        return Ok(choice);
    }
    if let Some(algorithm) = in_slabs {
        product.pin(algorithm);
        product.in_slabs_only = true;
        return Ok(choice);
    }
    let first = works.ok_or(CudaError::NoAlgorithm {
        outputs: product.outputs,
        inputs: product.inputs,
    })?;
    product.pin(first);
    choice.same_bits = false;
    Ok(choice)
}

/// Times algorithms that give the same bits, and pins the fastest.
fn time(
    gpu: &OpenGpu,
    blas: &Blas,
    product: &mut Matmul,
    weights: &Memory,
    test: &MatmulTest<'_>,
    passed: &[Algorithm],
    choice: &mut Choice,
) -> Result<(), CudaError> {
    for algorithm in passed {
        product.pin(*algorithm);
        let compute = compute(gpu, blas, product, weights);
        choice
            .of_slab
            .push(test.time(&compute, gpu.heights.slab())?);
    }
    if let Some(algorithm) = fastest(&choice.of_slab).and_then(|i| passed.get(i)) {
        product.pin(*algorithm);
    }
    let compute = compute(gpu, blas, product, weights);
    for &rows in gpu.heights.all() {
        choice.times.push((rows, test.time(&compute, rows)?));
    }
    Ok(())
}

/// Times the algorithm of a product if it had no rival.
pub(super) fn time_single(
    gpu: &OpenGpu,
    blas: &Blas,
    dtype: Dtype,
    product: &mut Matmul,
    weights: &Memory,
    choice: &mut Choice,
) -> Result<(), CudaError> {
    match product.algorithm().copied() {
        Some(single) if choice.passed == 1 => {
            let test = MatmulTest::new(gpu, tested(dtype, product, weights))?;
            time(gpu, blas, product, weights, &test, &[single], choice)
        }
        _ => Ok(()),
    }
}

/// The product as it is tested.
fn tested<'a>(dtype: Dtype, product: &Matmul, weights: &'a Memory) -> Tested<'a> {
    Tested {
        dtype,
        inputs: product.inputs,
        outputs: product.outputs,
        result: size(dtype),
        weights,
    }
}

/// Computes a piece with the algorithm that the product has.
fn compute<'a>(
    gpu: &'a OpenGpu,
    blas: &'a Blas,
    product: &'a Matmul,
    weights: &'a Memory,
) -> impl Fn(Piece) -> Result<(), CudaError> + 'a {
    move |piece| {
        // SAFETY: a piece has as many rows of inputs and results, and the weights are the product's.
        unsafe { product.run(blas, &gpu.stream, weights, piece.x, piece.y, &[piece.rows]) }
    }
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
    blas: &Blas,
    dtype: Dtype,
    product: &mut Matmul,
    weights: &Memory,
) -> Result<Vec<Algorithm>, CudaError> {
    let kept = product.algorithm().copied();
    let mut test = MatmulTest::new(gpu, tested(dtype, product, weights))?;
    let mut passed = Vec::new();
    for algorithm in product.candidates(blas)? {
        if passed.len() == ALTERNATIVES {
            break;
        }
        product.pin(algorithm);
        let compute = compute(gpu, blas, product, weights);
        match test.run(&compute, gpu.heights.all())? {
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
    fn a_choice_as_text() {
        let micros = Duration::from_micros;
        let mut choice = Choice {
            offered: 9,
            ..Choice::default()
        };
        assert_eq!(
            choice.to_string(),
            "9 offered, chosen in an earlier self-test"
        );
        choice.tested = 4;
        assert_eq!(choice.to_string(), "9 offered, 4 tested, 0 passed");
        choice.passed = 1;
        assert_eq!(choice.to_string(), "9 offered, 4 tested, 1 passed");
        choice.passed = 2;
        choice.of_slab = vec![micros(40), micros(32)];
        choice.times = vec![(256, micros(12)), (16_896, micros(31))];
        assert_eq!(
            choice.to_string(),
            "9 offered, 4 tested, 2 passed (in 40.0, 32.0 µs for 16,896 rows); the chosen one takes \
             12.0 µs for 256, 31.0 µs for 16,896 rows"
        );
    }

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
