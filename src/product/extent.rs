//! How products grow with their sequences.

/// How the size of a product grows with the sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Extent {
    /// One element for the record.
    Record,
    /// One element for each residue.
    Residues,
    /// One element for each ordered pair of residues.
    Pairs,
    /// One element for each ordered pair of tokens, `<cls>` and `<eos>` included.
    TokenPairs,
}

impl Extent {
    /// Elements for a record of `residues` residues; None beyond 2^64.
    pub fn elements(self, residues: u64) -> Option<u64> {
        match self {
            Extent::Record => Some(1),
            Extent::Residues => Some(residues),
            Extent::Pairs => residues.checked_mul(residues),
            Extent::TokenPairs => {
                let tokens = residues.checked_add(2)?;
                tokens.checked_mul(tokens)
            }
        }
    }
}

/// The elements of all records together, for each extent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Elements {
    /// Number of records.
    pub records: u64,
    /// Residues of all records.
    pub residues: u64,
    /// Ordered pairs of residues, each pair within one record.
    pub pairs: u64,
    /// Ordered pairs of tokens, each pair within one record.
    pub token_pairs: u64,
}

impl Elements {
    /// Adds a record of `residues` residues.
    pub fn add(&mut self, residues: u64) {
        for (total, extent) in [
            (&mut self.records, Extent::Record),
            (&mut self.residues, Extent::Residues),
            (&mut self.pairs, Extent::Pairs),
            (&mut self.token_pairs, Extent::TokenPairs),
        ] {
            *total = total.saturating_add(extent.elements(residues).unwrap_or(u64::MAX));
        }
    }

    /// The elements of one extent.
    pub fn of(&self, extent: Extent) -> u64 {
        match extent {
            Extent::Record => self.records,
            Extent::Residues => self.residues,
            Extent::Pairs => self.pairs,
            Extent::TokenPairs => self.token_pairs,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_add_up() {
        let mut all = Elements::default();
        all.add(3);
        all.add(5);
        let extents = [
            Extent::Record,
            Extent::Residues,
            Extent::Pairs,
            Extent::TokenPairs,
        ];
        assert_eq!(extents.map(|extent| all.of(extent)), [2, 8, 34, 74]);
        all.add(u64::MAX);
        assert_eq!(all.pairs, u64::MAX);
    }
}
