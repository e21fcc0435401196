//! How far a task is, and when to say so again. Pure: the time is given.

use esm_embed::pipeline::Totals;
use std::time::Duration;

/// Spaces signs of progress in time.
pub struct Pace {
    period: Duration,
    last: Duration,
}

impl Pace {
    /// The next sign is due one period after `now`.
    pub fn new(period: Duration, now: Duration) -> Pace {
        Pace { period, last: now }
    }

    /// Whether a sign is due; if it is, the next one is due one period later.
    pub fn is_due(&mut self, now: Duration) -> bool {
        let is_due = now.saturating_sub(self.last) >= self.period;
        if is_due {
            self.last = now;
        }
        is_due
    }
}

/// Counts records and residues as they are written.
pub struct Tally {
    totals: Totals,
    records: u64,
    residues: u64,
    begin: Duration,
}

impl Tally {
    /// Nothing is written yet.
    pub fn new(totals: Totals, now: Duration) -> Tally {
        Tally {
            totals,
            records: 0,
            residues: 0,
            begin: now,
        }
    }

    /// So many more are written.
    pub fn advance(&mut self, records: u64, residues: u64) {
        self.records = self.records.saturating_add(records);
        self.residues = self.residues.saturating_add(residues);
    }

    /// How far the run is.
    pub fn so_far(&self, now: Duration) -> SoFar {
        SoFar {
            totals: self.totals,
            records: self.records,
            residues: self.residues,
            seconds: now.saturating_sub(self.begin).as_secs_f64(),
        }
    }
}

/// How far a run is at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SoFar {
    /// What is to be done.
    pub totals: Totals,
    /// Records written.
    pub records: u64,
    /// Residues written.
    pub residues: u64,
    /// Seconds since the start.
    pub seconds: f64,
}

impl SoFar {
    /// Residues per second on average; None before any time has passed.
    pub fn rate(&self) -> Option<f64> {
        (self.seconds > 0.0).then(|| self.residues as f64 / self.seconds)
    }

    /// Seconds until the end at this rate; None for a stream and before anything is written.
    pub fn seconds_left(&self) -> Option<f64> {
        let left = self.totals.residues?.saturating_sub(self.residues);
        let rate = self.rate().filter(|rate| *rate > 0.0)?;
        Some(left as f64 / rate)
    }
}

/// One file on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Its name.
    pub file: String,
    /// Bytes that are here.
    pub bytes: u64,
    /// Bytes in all, if known.
    pub total: Option<u64>,
}

impl Transfer {
    /// Nothing is here yet.
    pub fn new(file: &str, total: Option<u64>) -> Transfer {
        Transfer {
            file: file.to_owned(),
            bytes: 0,
            total,
        }
    }

    /// So many more bytes are here.
    pub fn advance(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    #[test]
    fn a_sign_a_minute() {
        let mut pace = Pace::new(S(60), S(5));
        let due: Vec<u64> = (5..200).filter(|&now| pace.is_due(S(now))).collect();
        assert_eq!(due, [65, 125, 185]);
        // After a silence the next sign comes a full period later, and none is made up for.
        assert!(pace.is_due(S(1000)));
        assert!(!pace.is_due(S(1059)));
        assert!(pace.is_due(S(1060)));
        // A clock that goes back is no reason for a sign.
        assert!(!pace.is_due(S(0)));
    }

    #[test]
    fn rate_and_time_left() {
        let totals = Totals {
            records: Some(10),
            residues: Some(1000),
        };
        let mut tally = Tally::new(totals, S(100));
        assert_eq!(tally.so_far(S(100)).rate(), None);
        assert_eq!(tally.so_far(S(101)).seconds_left(), None);
        tally.advance(1, 150);
        tally.advance(2, 100);
        let so_far = tally.so_far(S(105));
        assert_eq!((so_far.records, so_far.residues), (3, 250));
        assert_eq!(so_far.rate(), Some(50.0));
        assert_eq!(so_far.seconds_left(), Some(15.0));
        tally.advance(7, 5000);
        assert_eq!(tally.so_far(S(110)).seconds_left(), Some(0.0));
        let stream = Tally::new(Totals::default(), S(0));
        assert_eq!(stream.so_far(S(9)).seconds_left(), None);
    }
}
