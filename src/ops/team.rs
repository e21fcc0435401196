//! The threads that share the parts of an operation.

use super::{buffer, tile};
use candle_core::{Error, Result};

/// The threads of one forward pass.
///
/// A batch is processed by one thread: threads that take different batches never wait for each
/// other. A record that is longer than a batch gets a team: its operations are cut into parts, and
/// each free thread takes the next part, so that a busy core does not delay the others. The bits of
/// a row do not depend on the cuts.
#[derive(Clone, Copy)]
pub enum Team<'a> {
    /// Only the calling thread.
    One,
    /// The threads of a pool.
    Pool(&'a rayon::ThreadPool),
}

/// Parts of an operation per thread of a pool: a slow thread delays the others by one part.
const PARTS: usize = 3;

/// Smallest number of rows of a part: with fewer, the weights would be read too often.
const MIN_ROWS: usize = 112;

impl Team<'_> {
    /// Threads that share the parts.
    pub fn threads(self) -> usize {
        match self {
            Team::One => 1,
            Team::Pool(pool) => pool.current_num_threads(),
        }
    }

    /// `rows` rows in parts of up to `limit` rows, (start, rows) each: several per thread, unless
    /// they would have far fewer than [`MIN_ROWS`] rows.
    pub(super) fn parts(self, rows: usize, limit: usize) -> Vec<(usize, usize)> {
        let each = rows.div_ceil(PARTS * self.threads()).max(MIN_ROWS);
        let limit = match self {
            Team::One => limit,
            Team::Pool(_) => limit.min(each),
        };
        tile::heights(rows, limit).collect()
    }

    /// Frees the working memory that its threads keep for their next operation.
    pub fn release(self) {
        match self {
            Team::One => buffer::release(),
            Team::Pool(pool) => drop(pool.broadcast(|_| buffer::release())),
        }
    }

    /// Works on every part once, in any order.
    pub(crate) fn each<T: Send>(self, parts: Vec<T>, work: impl Fn(T) + Send + Sync) {
        match self {
            Team::One => parts.into_iter().for_each(work),
            Team::Pool(pool) => pool.scope(|scope| {
                let work = &work;
                for part in parts {
                    scope.spawn(move |_| work(part));
                }
            }),
        }
    }
}

/// A pool for [`Team::Pool`].
///
/// # Errors
/// The system cannot create the threads.
pub fn thread_pool(threads: usize) -> Result<rayon::ThreadPool> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|i| format!("team-{i}"))
        .build()
        .map_err(Error::wrap)
}

#[cfg(test)]
mod tests {
    use super::{Team, thread_pool};
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn every_part_is_done_once() {
        let pool = thread_pool(2).unwrap();
        for team in [Team::One, Team::Pool(&pool)] {
            let done: Vec<AtomicUsize> = (0..100).map(|_| AtomicUsize::new(0)).collect();
            team.each((0..100).collect(), |i: usize| {
                done[i].fetch_add(1, Ordering::Relaxed);
            });
            assert!(done.iter().all(|d| d.load(Ordering::Relaxed) == 1));
        }
        assert_eq!((Team::One.threads(), Team::Pool(&pool).threads()), (1, 2));
    }

    #[test]
    fn a_pool_gets_more_parts_than_threads() {
        let pool = thread_pool(3).unwrap();
        let team = Team::Pool(&pool);
        assert_eq!(Team::One.parts(2500, 504).len(), 5);
        assert_eq!(team.parts(2500, 504).len(), 9);
        assert_eq!(team.parts(300, 504), [(0, 100), (100, 100), (200, 100)]);
        assert_eq!(team.parts(50_000, 504).len(), 100);
        assert_eq!(team.parts(0, 504), []);
    }
}
