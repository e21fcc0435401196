//! Lengths and a budget → batches of indices. Pure.

/// Groups sequences into batches of at most `budget` tokens, longest first.
///
/// `lengths` are token counts, `<cls>` and `<eos>` included. Every index is in exactly one batch; a
/// sequence longer than the budget is a separate batch. Sequences of similar length share a batch. With
/// `one_each` every batch holds one sequence, in input order.
pub fn batches(lengths: &[usize], budget: usize, one_each: bool) -> Vec<Vec<usize>> {
    if one_each {
        return (0..lengths.len()).map(|i| vec![i]).collect();
    }
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(lengths[i]));
    let mut all: Vec<Vec<usize>> = Vec::new();
    let mut left = 0;
    for i in order {
        match all.last_mut() {
            Some(batch) if lengths[i] <= left => {
                left -= lengths[i];
                batch.push(i);
            }
            _ => {
                left = budget.saturating_sub(lengths[i]);
                all.push(vec![i]);
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::batches;
    use proptest::prelude::*;

    #[test]
    fn similar_lengths_share_a_batch() {
        assert_eq!(
            batches(&[3, 10, 4, 9, 30], 20, false),
            [vec![4], vec![1, 3], vec![2, 0]]
        );
        assert_eq!(batches(&[5, 5], 100, true), [vec![0], vec![1]]);
        assert!(batches(&[], 10, false).is_empty());
    }

    proptest! {
        #[test]
        fn every_index_once_and_the_budget_kept(
            lengths in proptest::collection::vec(2usize..2000, 0..300),
            budget in 1usize..4096,
            one_each: bool,
        ) {
            let all = batches(&lengths, budget, one_each);
            let mut seen: Vec<usize> = all.iter().flatten().copied().collect();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..lengths.len()).collect::<Vec<_>>());
            for batch in &all {
                let tokens: usize = batch.iter().map(|&i| lengths[i]).sum();
                prop_assert!(tokens <= budget || batch.len() == 1);
                prop_assert!(!one_each || batch.len() == 1);
            }
        }
    }
}
