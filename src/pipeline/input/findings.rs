//! Records whose embedding may not mean what the user thinks.

/// Records of one kind, and where the first of them is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// How many there are.
    pub records: u64,
    /// File, line, number and identifier of the first.
    pub first: Option<String>,
}

impl Found {
    /// Counts a record if it is of the kind.
    fn add(&mut self, is_one: bool, place: impl FnOnce() -> String) {
        if is_one {
            self.records += 1;
            self.first.get_or_insert_with(place);
        }
    }
}

/// Records to warn of, among those that can be embedded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Records that can be embedded.
    pub records: u64,
    /// Records that look like nucleotides.
    pub nucleotides: Found,
    /// Records with gaps of an alignment.
    pub gapped: Found,
    /// Gaps in all records.
    pub gaps: u64,
}

impl Findings {
    /// Whether a record with these properties is counted, so that its place may be asked for.
    pub fn counts(nucleotides: bool, gaps: u64) -> bool {
        nucleotides || gaps > 0
    }

    /// Counts a record that can be embedded.
    pub fn add(&mut self, nucleotides: bool, gaps: u64, place: impl Fn() -> String) {
        self.records += 1;
        self.gaps += gaps;
        self.nucleotides.add(nucleotides, &place);
        self.gapped.add(gaps > 0, &place);
    }
}
