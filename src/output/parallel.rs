//! Independent jobs on several threads.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Threads that read at the same time, at most.
const MOST_THREADS: usize = 16;

/// The results of `job(0)` … `job(count - 1)`, in that order, or the first error met.
pub(super) fn in_parallel<T: Send, E: Send>(
    count: usize,
    job: impl Fn(usize) -> Result<T, E> + Sync,
) -> Result<Vec<T>, E> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            if i >= count {
                return Ok(done);
            }
            match job(i) {
                Ok(result) => done.push((i, result)),
                Err(error) => {
                    next.store(count, Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
    };
    let mut results = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads.min(MOST_THREADS).min(count))
            .map(|_| scope.spawn(work))
            .collect();
        let mut results = work()?;
        for other in others {
            match other.join() {
                Ok(done) => results.extend(done?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok::<_, E>(results)
    })?;
    results.sort_by_key(|(i, _)| *i);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}

#[cfg(test)]
mod tests {
    use super::super::error::OutputError;
    use super::*;

    #[test]
    fn results_keep_their_order_and_an_error_is_returned() {
        assert_eq!(
            in_parallel(100, Ok::<_, OutputError>).unwrap(),
            (0..100).collect::<Vec<_>>()
        );
        assert!(in_parallel(0, Ok::<_, OutputError>).unwrap().is_empty());
        let failed = in_parallel(100, |i| {
            if i == 50 {
                Err(OutputError::NotInLayout { what: "x".into() })
            } else {
                Ok(i)
            }
        });
        assert!(matches!(failed, Err(OutputError::NotInLayout { .. })));
    }
}
