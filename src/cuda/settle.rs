//! Which algorithms a whole model uses. If it fails its self-test with the fastest algorithm of each
//! product, or its GPUs chose different ones, the next ones are tried, and at last the program's own
//! products.

use super::choice::ALTERNATIVES;
use super::error::CudaError;
use super::linear_layer::By;
use super::replica::{PRODUCTS, Replica, common_choice};

/// A model on one GPU or more.
pub(super) trait Model {
    /// Its copies, one on each GPU.
    fn replicas(&mut self) -> &mut [Replica];

    /// Whether the bits of a sequence do not depend on its batch, with the present algorithms.
    fn passes(&mut self) -> Result<bool, CudaError>;
}

/// Finds algorithms with which the model passes, and leaves it with them. If there are none, it keeps
/// those that it has, and the result is false.
///
/// # Errors
/// The GPU cannot run the model at all.
pub(super) fn settle(model: &mut impl Model) -> Result<bool, CudaError> {
    let failed = common_choice(model.replicas());
    if failed.is_some() && model.passes()? {
        return Ok(true);
    }
    let replicas = model.replicas();
    let first: Vec<_> = replicas.iter().map(Replica::algorithms).collect();
    let mut all = Vec::new();
    for replica in replicas {
        all.push(replica.alternatives()?);
    }
    keep_common(&mut all, |algorithm| algorithm.numbers());
    let counts = std::array::from_fn(|product| {
        let counts = all
            .iter()
            .filter_map(|each| each.get(product).map(Vec::len));
        counts.min().unwrap_or(0)
    });
    for choice in choices(counts) {
        let replicas = model.replicas();
        for (replica, alternatives) in replicas.iter_mut().zip(&all) {
            replica.pin(std::array::from_fn(|product| {
                let of_product = alternatives.get(product)?;
                of_product.get(*choice.get(product)?).copied()
            }));
        }
        let chosen = common_choice(replicas);
        let is_new = chosen.is_some() && chosen != failed;
        if is_new && model.passes()? {
            model.replicas().iter().for_each(Replica::remember);
            return Ok(true);
        }
    }
    for (replica, algorithms) in model.replicas().iter_mut().zip(first) {
        replica.pin(algorithms);
    }
    let replicas = model.replicas();
    let before: Vec<_> = replicas.iter().map(Replica::by).collect();
    let own = [By::Own; PRODUCTS];
    let is_new = before.iter().any(|by| *by != own);
    let can = is_new && replicas.iter_mut().all(|replica| replica.compute_by(own));
    let passes = match can {
        true => model.passes(),
        false => Ok(false),
    };
    match passes {
        Ok(true) => {
            model.replicas().iter().for_each(Replica::remember);
            return Ok(true);
        }
        // cuBLASLt is still there.
        Err(error) if !error.cannot_start() => return Err(error),
        _ => {}
    }
    for (replica, by) in model.replicas().iter_mut().zip(before) {
        replica.compute_by(by);
    }
    Ok(false)
}

/// Of each product's alternatives on all GPUs, keeps those that every GPU has.
fn keep_common<T>(all: &mut [Vec<Vec<T>>], numbers: impl Fn(&T) -> String) {
    let listed = |gpu: &Vec<Vec<T>>| -> Vec<Vec<String>> {
        let products = gpu.iter();
        products
            .map(|each| each.iter().map(&numbers).collect())
            .collect()
    };
    let lists: Vec<_> = all.iter().map(listed).collect();
    for (product, alternatives) in all.iter_mut().flat_map(|gpu| gpu.iter_mut().enumerate()) {
        alternatives.retain(|algorithm| {
            let numbers = numbers(algorithm);
            let has =
                |gpu: &Vec<Vec<String>>| gpu.get(product).is_some_and(|l| l.contains(&numbers));
            lists.iter().all(has)
        });
    }
}

/// The order in which combinations are tried, given how many alternatives each product has: another one
/// for one product at a time, then for all of them.
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
    use super::{choices, keep_common};

    #[test]
    fn alternatives_that_one_gpu_lacks_are_left_out() {
        let mut all = vec![
            vec![vec![3, 1, 2], vec![], vec![5]],
            vec![vec![1, 2], vec![7], vec![5]],
        ];
        keep_common(&mut all, |number: &i32| number.to_string());
        let common = vec![vec![1, 2], vec![], vec![5]];
        assert_eq!(all, [common.clone(), common]);
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
