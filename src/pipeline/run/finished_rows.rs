//! Which records an interrupted run has done, one by one as the input is read again.

use crate::output::{ArrayWriter, Entered, Journal, OutputError};

/// Compares records with the journal of an interrupted run; in a new run there is nothing to
/// compare with.
pub struct FinishedRows<'a> {
    journal: &'a Journal,
    rows: &'a ArrayWriter,
    kept: u64,
    is_trusted: bool,
}

impl<'a> FinishedRows<'a> {
    /// Nothing has been compared yet.
    pub fn new(journal: &'a Journal, rows: &'a ArrayWriter) -> FinishedRows<'a> {
        FinishedRows {
            journal,
            rows,
            kept: 0,
            is_trusted: false,
        }
    }

    /// Records that were done.
    pub fn kept(&self) -> u64 {
        self.kept
    }

    /// Whether the next record is done: the journal says so, and its rows are what was written.
    ///
    /// # Errors
    /// When the input up to this record is not that of the interrupted run, or what it left cannot
    /// be read.
    pub fn has(&mut self, entered: &Entered) -> Result<bool, OutputError> {
        let row = entered.place.row;
        if row >= self.journal.before() {
            self.trust();
            return Ok(false);
        }
        let Some(done) = self.journal.find(row)? else {
            return Ok(false);
        };
        if done.input != entered.input {
            self.journal.refuse_input()?;
            return Err(OutputError::OtherInput);
        }
        let has = self.rows.holds(&entered.place, done.rows)?;
        self.kept += u64::from(has);
        Ok(has)
    }

    /// The input has ended after this number of records.
    ///
    /// # Errors
    /// When the interrupted run met more.
    pub fn end(&mut self, records: u64) -> Result<(), OutputError> {
        for row in records..self.journal.before() {
            if self.journal.find(row)?.is_some() {
                self.journal.refuse_input()?;
                return Err(OutputError::OtherInput);
            }
        }
        self.trust();
        Ok(())
    }

    fn trust(&mut self) {
        if !self.is_trusted {
            self.journal.trust_input();
            self.is_trusted = true;
        }
    }
}
