//! The time for any amount of work, from samples of it. Pure.
//!
//! For each block, a forward pass takes the time of the linear layers for all tokens, and the time of
//! attention for each sequence.

/// A pass through the linear layers of one block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinearTime {
    /// Its tokens.
    pub tokens: f64,
    /// Its time.
    pub seconds: f64,
}

/// Attention of all heads of one block over one sequence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionTime {
    /// Its tokens.
    pub length: f64,
    /// Its time on one thread.
    pub seconds: f64,
}

/// The speed of one thread while the others work too.
#[derive(Clone, Debug, PartialEq)]
pub struct Speeds {
    /// Threads that can work at the same time.
    pub workers: usize,
    /// Seconds to load everything outside blocks.
    pub load_fixed: f64,
    /// Seconds to load a block.
    pub load_block: f64,
    /// Passes, those with fewer tokens first.
    pub linear: Vec<LinearTime>,
    /// Sequences, shortest first.
    pub attention: Vec<AttentionTime>,
    /// Bytes per second of checksums.
    pub hashing: f64,
}

impl Speeds {
    /// Seconds of one thread for a pass over `tokens` through the linear layers of a block.
    pub fn linear(&self, tokens: f64) -> f64 {
        let points = self.linear.iter().map(|p| (p.tokens, p.seconds / p.tokens));
        tokens * between(points, tokens, Beyond::Level)
    }

    /// Seconds of one thread for attention of a block over one sequence of `length` tokens.
    pub fn attention(&self, length: f64) -> f64 {
        let points = self
            .attention
            .iter()
            .map(|p| (p.length, p.seconds / p.length));
        length * between(points, length, Beyond::Slope)
    }
}

/// What holds beyond the last point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beyond {
    /// The value of the nearest one.
    Level,
    /// The line through it and zero.
    Slope,
}

/// The value at `x` on straight lines between points (x, y), which ascend.
fn between(points: impl Iterator<Item = (f64, f64)>, x: f64, beyond: Beyond) -> f64 {
    let mut before: Option<(f64, f64)> = None;
    for (x1, y1) in points {
        if x <= x1 {
            return match before {
                Some((x0, y0)) if x1 > x0 => y0 + (y1 - y0) * (x - x0) / (x1 - x0),
                _ => at_end((x1, y1), x, beyond),
            };
        }
        before = Some((x1, y1));
    }
    before.map_or(0.0, |end| at_end(end, x, beyond))
}

fn at_end((x0, y0): (f64, f64), x: f64, beyond: Beyond) -> f64 {
    match beyond {
        Beyond::Level => y0,
        Beyond::Slope => y0 * x / x0,
    }
}

/// Seconds until jobs with these times are done, if the first free worker always takes the next job.
pub fn shared_out(jobs: impl IntoIterator<Item = f64>, workers: usize) -> f64 {
    let mut free = vec![0.0_f64; workers.max(1)];
    for job in jobs {
        if let Some(first) = free.iter_mut().min_by(|a, b| a.total_cmp(b)) {
            *first += job;
        }
    }
    free.into_iter().fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn speeds() -> Speeds {
        let linear = [(64.0, 0.128), (512.0, 0.512)];
        let attention = [(100.0, 0.01), (1000.0, 1.0), (100_000.0, 20_000.0)];
        Speeds {
            workers: 2,
            load_fixed: 0.0,
            load_block: 0.0,
            linear: linear
                .map(|(tokens, seconds)| LinearTime { tokens, seconds })
                .into(),
            attention: attention
                .map(|(length, seconds)| AttentionTime { length, seconds })
                .into(),
            hashing: 1e9,
        }
    }

    fn assert_near(found: f64, expected: f64) {
        assert!(
            (found / expected - 1.0).abs() < 1e-9,
            "{found} for {expected}"
        );
    }

    #[test]
    fn linear_layers_cost_the_same_for_each_token_of_a_full_pass() {
        let speeds = speeds();
        assert_near(speeds.linear(512.0), 0.512);
        assert_near(speeds.linear(1024.0), 1.024);
        // Halfway between 2 ms and 1 ms a token.
        assert_near(speeds.linear(288.0), 288.0 * 0.0015);
        assert_near(speeds.linear(64.0), 0.128);
        assert_near(speeds.linear(32.0), 0.064);
        let none = Speeds {
            linear: Vec::new(),
            attention: Vec::new(),
            ..speeds
        };
        assert_eq!((none.linear(10.0), none.attention(10.0)), (0.0, 0.0));
    }

    #[test]
    fn attention_grows_with_the_square_and_faster_where_caches_end() {
        let speeds = speeds();
        assert_near(speeds.attention(100.0), 0.01);
        assert_near(speeds.attention(50.0), 0.0025);
        assert_near(speeds.attention(1000.0), 1.0);
        assert_near(speeds.attention(200_000.0), 80_000.0);
        // 1 ms a token at 1,000 tokens, 200 ms at 100,000.
        let each = 0.001 + 0.199 * 49.0 / 99.0;
        assert_near(speeds.attention(50_000.0), 50_000.0 * each);
    }

    #[test]
    fn the_first_free_worker_takes_the_next_job() {
        assert_eq!(shared_out([3.0, 3.0, 2.0], 2), 5.0);
        assert_eq!(shared_out([4.0, 1.0, 1.0, 1.0], 8), 4.0);
        assert_eq!(shared_out([4.0, 1.0], 1), 5.0);
        assert_eq!(shared_out([], 3), 0.0);
    }
}
