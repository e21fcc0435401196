//! Items of a fixed size, put together from numbers and keys and taken apart again. Numbers are
//! big-endian, so that items sort by them.

/// Bytes of the number of a record: up to 10^12.
pub const ORDINAL: usize = 5;

/// Puts an item together.
#[derive(Debug)]
pub struct Fields<const N: usize> {
    bytes: [u8; N],
    end: usize,
}

impl<const N: usize> Fields<N> {
    /// Empty.
    pub fn new() -> Fields<N> {
        Fields {
            bytes: [0; N],
            end: 0,
        }
    }

    /// Adds a number that fits this many bytes.
    pub fn number(self, number: u64, bytes: usize) -> Fields<N> {
        let all = number.to_be_bytes();
        let low = all.len().saturating_sub(bytes);
        self.bytes(all.get(low..).unwrap_or_default())
    }

    /// Adds bytes.
    pub fn bytes(mut self, bytes: &[u8]) -> Fields<N> {
        let end = self.end + bytes.len();
        if let Some(to) = self.bytes.get_mut(self.end..end) {
            to.copy_from_slice(bytes);
        }
        self.end = end;
        self
    }

    /// The item, which is full.
    pub fn item(self) -> [u8; N] {
        debug_assert_eq!(self.end, N);
        self.bytes
    }
}

/// Takes an item apart.
#[derive(Debug)]
pub struct Taken<'a>(pub &'a [u8]);

impl Taken<'_> {
    /// The next number, of this many bytes.
    pub fn number(&mut self, bytes: usize) -> u64 {
        let (number, rest) = self.0.split_at(bytes.min(self.0.len()));
        self.0 = rest;
        number.iter().fold(0, |n, &byte| n << 8 | u64::from(byte))
    }

    /// The next bytes.
    pub fn bytes<const K: usize>(&mut self) -> [u8; K] {
        let bytes = self.0.first_chunk().copied().unwrap_or([0; K]);
        self.0 = self.0.get(K..).unwrap_or_default();
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_sort_by_their_numbers() {
        let item = |a, b| Fields::<7>::new().number(a, 2).number(b, ORDINAL).item();
        assert_eq!(item(1, 0x0002_0304_0506), [0, 1, 2, 3, 4, 5, 6]);
        assert!(item(1, 256) < item(1, 257) && item(1, 1 << 39) < item(2, 0));
        let key = Fields::<4>::new().bytes(b"ab").number(7, 2).item();
        let mut taken = Taken(&key);
        assert_eq!((taken.bytes(), taken.number(2)), (*b"ab", 7));
        assert_eq!((taken.number(2), taken.bytes()), (0, [0; 3]));
    }
}
