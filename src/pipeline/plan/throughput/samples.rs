//! The time that a piece of work takes, from several samples of it.
//!
//! Other programs, interrupts and clock changes disturb single samples, and nearly always make them
//! longer. So time is read from the thread's CPU clock, which stops while another program runs, and
//! the lower quartile of several samples counts.

use rustix::time::{ClockId, Timespec, clock_gettime};
use std::time::{Duration, Instant};

/// Samples that are worth waiting for, the first included.
const ENOUGH: usize = 4;

/// Times of one piece of work, in seconds.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// Repeats the work for a moment, or for up to two if it has run only a few times by then.
    ///
    /// # Errors
    /// That of the work.
    pub fn take<E>(moment: Duration, once: impl Fn() -> Result<f64, E>) -> Result<Samples, E> {
        let begin = Instant::now();
        let mut samples = Samples::default();
        while samples.wants_more(begin.elapsed(), moment) {
            samples.push(once()?);
        }
        Ok(samples)
    }

    /// One more sample.
    pub fn push(&mut self, seconds: f64) {
        self.0.push(seconds);
    }

    /// Whether another sample is worth its time.
    pub fn wants_more(&self, elapsed: Duration, moment: Duration) -> bool {
        match self.0.len() {
            0 => true,
            1..ENOUGH => elapsed < 2 * moment,
            _ => elapsed < moment,
        }
    }

    /// Seconds that the work takes: the lower quartile. The first sample, which fills caches and
    /// touches memory for the first time, counts only if it is the only one.
    pub fn seconds(&self) -> f64 {
        let mut times = match self.0.as_slice() {
            [_, later @ ..] if !later.is_empty() => later.to_vec(),
            all => all.to_vec(),
        };
        times.sort_by(f64::total_cmp);
        let quartile = times.len().saturating_sub(1) / 4;
        times.get(quartile).copied().unwrap_or(0.0)
    }
}

/// Measures one sample.
pub struct Stopwatch {
    wall: Instant,
    processor: f64,
    clock: ClockId,
    threads: f64,
}

impl Stopwatch {
    /// For work of the current thread.
    pub fn of_thread() -> Stopwatch {
        Stopwatch::start(ClockId::ThreadCPUTime, 1)
    }

    /// For work of `threads` threads, while the others of the process wait.
    pub fn of_process(threads: usize) -> Stopwatch {
        Stopwatch::start(ClockId::ProcessCPUTime, threads)
    }

    fn start(clock: ClockId, threads: usize) -> Stopwatch {
        Stopwatch {
            wall: Instant::now(),
            processor: seconds(clock_gettime(clock)),
            clock,
            threads: threads as f64,
        }
    }

    /// Seconds of all threads together since the start.
    pub fn seconds(&self) -> f64 {
        let processor = seconds(clock_gettime(self.clock)) - self.processor;
        taken(self.wall.elapsed().as_secs_f64() * self.threads, processor)
    }
}

/// The time that work took, by the wall clock and by the CPU clock. The wall clock counts only where
/// the CPU clock is too coarse to move: it may jump, and runs on while the work waits for a CPU.
fn taken(wall: f64, processor: f64) -> f64 {
    match processor > 0.0 {
        true => processor,
        false => wall,
    }
}

fn seconds(time: Timespec) -> f64 {
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(times: &[f64]) -> f64 {
        Samples(times.to_vec()).seconds()
    }

    #[test]
    fn the_lower_quartile_without_the_first() {
        assert_eq!(of(&[]), 0.0);
        assert_eq!(of(&[9.0]), 9.0);
        assert_eq!(of(&[1.0, 5.0]), 5.0);
        assert_eq!(of(&[9.0, 3.0, 2.0, 4.0]), 2.0);
        assert_eq!(of(&[9.0, 5.0, 3.0, 2.0, 4.0, 6.0]), 3.0);
    }

    #[test]
    fn disturbed_samples_change_nothing() {
        let quiet = [9.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0];
        let busy = [9.0, 3.0, 1.0, 40.0, 1.0, 2.0, 800.0, 1.0, 5.0];
        assert_eq!(of(&quiet), of(&busy));
        // A clock that went back makes one sample too short.
        let back = [9.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0];
        assert_eq!(of(&back), 1.0);
    }

    #[test]
    fn a_jump_of_the_wall_clock_does_not_count() {
        assert_eq!(taken(3600.0, 0.2), 0.2);
        assert_eq!(taken(0.0, 0.2), 0.2);
        assert_eq!(taken(0.3, 0.0), 0.3);
    }

    #[test]
    fn time_for_samples_is_bounded() {
        let moment = Duration::from_millis(300);
        let wants = |count, millis| {
            let samples = Samples(vec![1.0; count]);
            samples.wants_more(Duration::from_millis(millis), moment)
        };
        assert!(wants(0, 10_000));
        assert!(wants(1, 599) && wants(3, 599) && wants(4, 299) && wants(100, 299));
        assert!(!wants(1, 600) && !wants(3, 600) && !wants(4, 300) && !wants(100, 300));
    }
}
