//! How the memory beside the model is divided.

use crate::memory::MemoryLimit;

/// Bytes for what takes memory while the server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryShares {
    /// Passes that run at the same time; None without a limit. A pass that needs more runs by itself.
    pub passes: Option<u64>,
    /// Answers, from the moment their sequences are queued until they have been sent.
    pub answers: u64,
    /// Bodies that are read, and requests until they are answered.
    pub bodies: u64,
}

impl MemoryShares {
    /// The shares of what is free beside the model; None without a limit.
    pub fn of(free: Option<u64>) -> MemoryShares {
        let whole = match free {
            Some(free) => free,
            None => MemoryLimit::here().map_or(4 << 30, |limit| limit.bytes),
        };
        let (answers, bodies) = (whole / 4, whole / 8);
        MemoryShares {
            passes: free.map(|free| free - answers - bodies),
            answers,
            bodies,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up() {
        let shares = MemoryShares::of(Some(1001));
        assert_eq!(
            shares,
            MemoryShares {
                passes: Some(626),
                answers: 250,
                bodies: 125
            }
        );
        assert_eq!(MemoryShares::of(Some(0)).passes, Some(0));
        let unlimited = MemoryShares::of(None);
        assert_eq!(unlimited.passes, None);
        assert!(unlimited.bodies > 0);
    }
}
