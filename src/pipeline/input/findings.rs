//! What records hold that an embedding of them may not mean what the user thinks.

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
    fn add(&mut self, is_one: bool, place: &dyn Fn() -> String) {
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
    /// Records that are made of nucleotides.
    pub nucleotides: Found,
    /// Records with gaps of an alignment.
    pub gapped: Found,
    /// Gaps in all records.
    pub gaps: u64,
}

impl Findings {
    /// Counts a record that can be embedded.
    pub(crate) fn add(
        &mut self,
        prepared: &crate::admission::Prepared,
        place: &dyn Fn() -> String,
    ) {
        self.records += 1;
        self.gaps += prepared.gaps;
        self.nucleotides.add(prepared.nucleotides, place);
        self.gapped.add(prepared.gaps > 0, place);
    }
}
