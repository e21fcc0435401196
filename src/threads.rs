//! The threads that a command may use, for work that is cut into parts: loading a model, long
//! sequences, checksums.

use rayon::iter::{IntoParallelIterator, ParallelIterator};
use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};
use std::sync::{Arc, OnceLock};

/// One pool of threads. It starts with the first work that needs it; clones share it.
#[derive(Clone, Debug)]
pub struct Threads(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    count: usize,
    pool: OnceLock<ThreadPool>,
}

impl Threads {
    /// At most `count` threads; with one, all work is done by the caller.
    pub fn new(count: usize) -> Threads {
        Threads(Arc::new(Shared {
            count,
            pool: OnceLock::new(),
        }))
    }

    /// Their number.
    pub fn count(&self) -> usize {
        self.0.count.max(1)
    }

    /// The pool; None if there is only the caller.
    ///
    /// # Errors
    /// The system refuses to start threads.
    pub fn pool(&self) -> Result<Option<&ThreadPool>, ThreadPoolBuildError> {
        if self.count() > 1 && self.0.pool.get().is_none() {
            let pool = ThreadPoolBuilder::new()
                .num_threads(self.count())
                .thread_name(|i| format!("team-{i}"))
                .build()?;
            // Whoever was first has made the same.
            let _ = self.0.pool.set(pool);
        }
        Ok(self.0.pool.get())
    }

    /// The results of `job(0)` … `job(count - 1)`, in that order, or an error. The caller does them
    /// where the system refuses to start threads.
    pub fn map<T: Send, E: Send>(
        &self,
        count: usize,
        job: impl Fn(usize) -> Result<T, E> + Send + Sync,
    ) -> Result<Vec<T>, E> {
        let pool = match count {
            0 | 1 => None,
            _ => self.pool().ok().flatten(),
        };
        match pool {
            Some(pool) => pool.install(|| (0..count).into_par_iter().map(job).collect()),
            None => (0..count).map(job).collect(),
        }
    }
}

impl Default for Threads {
    /// Only the caller.
    fn default() -> Threads {
        Threads::new(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_their_order_and_an_error_is_returned() {
        for threads in [0, 1, 3] {
            let threads = Threads::new(threads);
            assert_eq!(
                threads.map(100, Ok::<_, usize>).unwrap(),
                (0..100).collect::<Vec<_>>()
            );
            assert!(threads.map(0, Ok::<_, usize>).unwrap().is_empty());
            let failed = threads.map(100, |i| if i == 50 { Err(i) } else { Ok(i) });
            assert_eq!(failed, Err(50));
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
