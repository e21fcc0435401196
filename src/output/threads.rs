//! Independent jobs on the threads that a command may use.

use rayon::ThreadPool;
use rayon::iter::{IntoParallelIterator, ParallelIterator};
use std::sync::OnceLock;

/// The threads of a command; they start with the first jobs that need more than one.
#[derive(Debug)]
pub(super) struct Threads {
    count: usize,
    pool: OnceLock<Option<ThreadPool>>,
}

impl Threads {
    /// At most `count` of them; with one, all work is done by the caller.
    pub(super) fn new(count: usize) -> Threads {
        Threads {
            count,
            pool: OnceLock::new(),
        }
    }

    /// The results of `job(0)` … `job(count - 1)`, in that order, or an error.
    pub(super) fn map<T: Send, E: Send>(
        &self,
        count: usize,
        job: impl Fn(usize) -> Result<T, E> + Send + Sync,
    ) -> Result<Vec<T>, E> {
        match self.pool(count) {
            Some(pool) => pool.install(|| (0..count).into_par_iter().map(job).collect()),
            None => (0..count).map(job).collect(),
        }
    }

    /// None if the caller does so many jobs by itself. It also does them where the system starts no
    /// more threads.
    fn pool(&self, jobs: usize) -> Option<&ThreadPool> {
        if jobs < 2 || self.count < 2 {
            return None;
        }
        let make = || {
            rayon::ThreadPoolBuilder::new()
                .num_threads(self.count)
                .thread_name(|i| format!("seal-{i}"))
                .build()
                .ok()
        };
        self.pool.get_or_init(make).as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::error::OutputError;

    #[test]
    fn results_keep_their_order_and_an_error_is_returned() {
        for threads in [0, 1, 3] {
            let threads = Threads::new(threads);
            assert_eq!(
                threads.map(100, Ok::<_, OutputError>).unwrap(),
                (0..100).collect::<Vec<_>>()
            );
            assert!(threads.map(0, Ok::<_, OutputError>).unwrap().is_empty());
            let failed = threads.map(100, |i| {
                if i == 50 {
                    Err(OutputError::NotInLayout { what: "x".into() })
                } else {
                    Ok(i)
                }
            });
            assert!(matches!(failed, Err(OutputError::NotInLayout { .. })));
        }
    }

    #[test]
    fn one_job_or_one_thread_starts_none() {
        let main = std::thread::current().id();
        let here = |threads: usize, jobs: usize| {
            let ids = Threads::new(threads).map(jobs, |_| Ok::<_, ()>(std::thread::current().id()));
            ids.unwrap().into_iter().all(|id| id == main)
        };
        assert!(here(1, 50) && here(8, 1));
        assert!(!here(2, 2));
    }
}
