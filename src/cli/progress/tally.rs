//! How far a task is, and when to show it again. Pure: the time is an argument.

use esm_embed::pipeline::Totals;
use std::time::Duration;

/// Limits how often progress is shown.
pub struct Interval {
    period: Duration,
    last: Duration,
}

impl Interval {
    /// Progress is due one period after `now`.
    pub fn new(period: Duration, now: Duration) -> Interval {
        Interval { period, last: now }
    }

    /// Whether progress is due; if it is, it is due again one period later.
    pub fn is_due(&mut self, now: Duration) -> bool {
        let is_due = now.saturating_sub(self.last) >= self.period;
        if is_due {
            self.last = now;
        }
        is_due
    }
}

/// Records and their residues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Records.
    pub records: u64,
    /// Their residues.
    pub residues: u64,
}

impl Amount {
    fn add(&mut self, records: u64, residues: u64) {
        self.records = self.records.saturating_add(records);
        self.residues = self.residues.saturating_add(residues);
    }
}

/// Counts records and residues as they are finished.
pub struct Tally {
    totals: Totals,
    computed: Amount,
    restored: Amount,
    begin: Duration,
    /// When the first batch was ready.
    work_begin: Option<Duration>,
}

impl Tally {
    /// Nothing is finished yet.
    pub fn new(totals: Totals, now: Duration) -> Tally {
        Tally {
            totals,
            computed: Amount::default(),
            restored: Amount::default(),
            begin: now,
            work_begin: None,
        }
    }

    /// Replaces the totals.
    pub fn set_totals(&mut self, totals: Totals) {
        self.totals = totals;
    }

    /// Starts the clock of the speed, unless it runs already.
    pub fn work(&mut self, now: Duration) {
        self.work_begin.get_or_insert(now);
    }

    /// This process has computed this many more.
    pub fn advance(&mut self, records: u64, residues: u64) {
        self.computed.add(records, residues);
    }

    /// An earlier process had computed this many more.
    pub fn restore(&mut self, records: u64, residues: u64) {
        self.restored.add(records, residues);
    }

    /// How far the run is.
    pub fn so_far(&self, now: Duration) -> SoFar {
        let since = |begin| now.saturating_sub(begin).as_secs_f64();
        SoFar {
            totals: self.totals,
            computed: self.computed,
            restored: self.restored,
            seconds: since(self.begin),
            work_seconds: self.work_begin.map_or(0.0, since),
        }
    }
}

/// How far a run is at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SoFar {
    /// What has to be done.
    pub totals: Totals,
    /// What this process has computed and written.
    pub computed: Amount,
    /// What an earlier process had computed.
    pub restored: Amount,
    /// Seconds since the start.
    pub seconds: f64,
    /// Seconds since the first batch was ready.
    pub work_seconds: f64,
}

impl SoFar {
    /// What is finished, by any process.
    pub fn done(&self) -> Amount {
        let mut done = self.computed;
        done.add(self.restored.records, self.restored.residues);
        done
    }

    /// Residues per second of this process on average; None before any time has passed.
    pub fn rate(&self) -> Option<f64> {
        (self.work_seconds > 0.0).then(|| self.computed.residues as f64 / self.work_seconds)
    }

    /// Seconds until the end at this rate; None for a stream and before anything is computed.
    pub fn seconds_left(&self) -> Option<f64> {
        let left = self.totals.residues?.saturating_sub(self.done().residues);
        let rate = self.rate().filter(|rate| *rate > 0.0)?;
        Some(left as f64 / rate)
    }
}

/// The download of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Its name.
    pub file: String,
    /// Bytes received.
    pub bytes: u64,
    /// Bytes in all, if known.
    pub total: Option<u64>,
}

impl Transfer {
    /// Nothing is received yet.
    pub fn new(file: &str, total: Option<u64>) -> Transfer {
        Transfer {
            file: file.to_owned(),
            bytes: 0,
            total,
        }
    }

    /// This many more bytes are received.
    pub fn advance(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// Progress that the tests of its displays show.
#[cfg(test)]
pub mod example {
    use super::*;
    use esm_embed::device::{Device, Dtype};
    use esm_embed::pipeline::{Computing, Counted};

    /// Three of some records, after six seconds.
    pub fn so_far(totals: Totals) -> SoFar {
        SoFar {
            totals,
            computed: Amount {
                records: 3,
                residues: 250,
            },
            restored: Amount::default(),
            seconds: 6.0,
            work_seconds: 5.0,
        }
    }

    /// A run in f32.
    pub fn computing(device: &Device) -> Computing<'_> {
        Computing {
            device,
            dtype: Dtype::F32,
        }
    }

    /// Ten records of 1,000 residues together.
    pub const TOTALS: Totals = Totals {
        counted: Counted::Records,
        records: Some(10),
        residues: Some(1000),
        duplicates: 0,
        restored_records: 0,
        restored_residues: 0,
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use esm_embed::pipeline::Counted;

    const S: fn(u64) -> Duration = Duration::from_secs;
    const TOTALS: Totals = Totals {
        counted: Counted::Records,
        records: Some(10),
        residues: Some(1000),
        duplicates: 0,
        restored_records: 0,
        restored_residues: 0,
    };

    #[test]
    fn progress_is_due_once_a_period() {
        let mut interval = Interval::new(S(60), S(5));
        let due: Vec<u64> = (5..200).filter(|&now| interval.is_due(S(now))).collect();
        assert_eq!(due, [65, 125, 185]);
        // After a pause, progress is due again a full period later; nothing is caught up.
        assert!(interval.is_due(S(1000)));
        assert!(!interval.is_due(S(1059)));
        assert!(interval.is_due(S(1060)));
        // A clock that goes back changes nothing.
        assert!(!interval.is_due(S(0)));
    }

    #[test]
    fn rate_and_time_left() {
        let mut tally = Tally::new(TOTALS, S(98));
        assert_eq!(tally.so_far(S(99)).rate(), None);
        tally.work(S(100));
        assert_eq!(tally.so_far(S(100)).rate(), None);
        assert_eq!(tally.so_far(S(101)).seconds_left(), None);
        tally.advance(1, 150);
        tally.work(S(102));
        tally.advance(2, 100);
        let so_far = tally.so_far(S(105));
        assert_eq!((so_far.done().records, so_far.done().residues), (3, 250));
        assert_eq!((so_far.rate(), so_far.seconds), (Some(50.0), 7.0));
        assert_eq!(so_far.seconds_left(), Some(15.0));
        tally.advance(7, 5000);
        assert_eq!(tally.so_far(S(110)).seconds_left(), Some(0.0));
        let stream = Tally::new(Totals::default(), S(0));
        assert_eq!(stream.so_far(S(9)).seconds_left(), None);
    }

    #[test]
    fn work_of_an_earlier_process_does_not_count_as_speed() {
        let mut tally = Tally::new(TOTALS, S(0));
        tally.restore(6, 600);
        // Two seconds of reading before the first batch.
        assert_eq!(tally.so_far(S(2)).rate(), None);
        assert_eq!(tally.so_far(S(2)).seconds_left(), None);
        tally.work(S(2));
        tally.advance(1, 100);
        let so_far = tally.so_far(S(12));
        assert_eq!((so_far.done().records, so_far.done().residues), (7, 700));
        assert_eq!(so_far.rate(), Some(10.0));
        assert_eq!(so_far.seconds_left(), Some(30.0));
        tally.set_totals(Totals {
            residues: Some(800),
            ..TOTALS
        });
        assert_eq!(tally.so_far(S(12)).seconds_left(), Some(10.0));
    }
}
