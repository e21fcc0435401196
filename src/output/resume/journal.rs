//! Which records are done: one slot for each row, at a position that follows from the row.
//!
//! A slot ([`Done`]) is written after its values and can be verified: one that was torn, never written or
//! lost in a power failure does not match its own checksum, and one whose values were lost does not match
//! theirs. So nothing has to be synced in a particular order, and whatever is not proven is computed again.

use crate::output::counts::InFallback;
use crate::output::disk;
use crate::output::disk_map::Key;
use crate::output::error::OutputError;
use crate::output::resume::proof::Proof;
use crate::output::resume::slot::{Done, SLOT_BYTES, read_journal};
use crate::product::Fallback;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// Name of the journal in the working folder.
pub(crate) const JOURNAL: &str = "journal";

/// Slots read at a time when they are counted.
const BLOCK: usize = 4096;

/// The journal of a run. All methods take `&self`.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    /// Slots in the journal when it was opened, intact or not.
    before: u64,
    trust: Mutex<Trust>,
    /// Whether this run entered a record with values that do not fit f16.
    has_fallback: AtomicBool,
}

/// Whether the input is known to be that of the interrupted run.
#[derive(Debug)]
enum Trust {
    /// Not yet; these rows have been entered in the meantime.
    Open(Vec<u64>),
    /// It is.
    Given,
    /// It is not: nothing more is entered.
    Refused,
}

impl Journal {
    pub(crate) fn create(partial: &Path) -> Result<Self, OutputError> {
        let path = partial.join(JOURNAL);
        let file = disk::create_new(&path).map_err(|e| OutputError::io("making", &path, e))?;
        Ok(Self {
            path,
            file,
            before: 0,
            trust: Mutex::new(Trust::Given),
            has_fallback: AtomicBool::new(false),
        })
    }

    /// Opens the journal of an interrupted run; creates an empty one if it is missing.
    pub(crate) fn open(partial: &Path) -> Result<Self, OutputError> {
        let path = partial.join(JOURNAL);
        let file = disk::open_or_create(&path).map_err(|e| OutputError::io("opening", &path, e))?;
        let bytes = file
            .metadata()
            .map_err(|e| OutputError::io("reading", &path, e))?
            .len();
        Ok(Self {
            path,
            file,
            before: bytes / SLOT_BYTES as u64,
            trust: Mutex::new(Trust::Open(Vec::new())),
            has_fallback: AtomicBool::new(false),
        })
    }

    /// Opens the journal of an interrupted run for reading only; `None` if it is missing.
    pub(crate) fn open_to_read(partial: &Path) -> Result<Option<Self>, OutputError> {
        let path = partial.join(JOURNAL);
        let file = match disk::open_regular(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(|e| OutputError::io("opening", &path, e))?,
        };
        let metadata = file.metadata();
        let bytes = metadata
            .map_err(|e| OutputError::io("reading", &path, e))?
            .len();
        Ok(Some(Self {
            path,
            file,
            before: bytes / SLOT_BYTES as u64,
            trust: Mutex::new(Trust::Refused),
            has_fallback: AtomicBool::new(false),
        }))
    }

    /// Enters a record whose values are written.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub fn enter(&self, row: u64, input: Key, proof: &Proof) -> Result<(), OutputError> {
        let mut trust = self.trust.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *trust {
            Trust::Open(rows) => rows.push(row),
            Trust::Given => drop(trust),
            Trust::Refused => return Ok(()),
        }
        let done = Done {
            input,
            rows: proof.value(),
            fallback: proof.fallback(),
        };
        if done.fallback.is_some() {
            self.has_fallback.store(true, Ordering::Relaxed);
        }
        self.write(row, &done.to_slot(row))
    }

    /// What the interrupted run recorded about a row; `None` without an intact slot.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn find(&self, row: u64) -> Result<Option<Done>, OutputError> {
        if row >= self.before {
            return Ok(None);
        }
        self.slot(row)
    }

    /// The format in which values of a record that do not fit f16 were computed, by this run or the one
    /// that it resumes.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub(crate) fn fallback(&self, row: u64) -> Result<Option<Fallback>, OutputError> {
        if row >= self.slots_in_fallback()? {
            return Ok(None);
        }
        Ok(self.slot(row)?.and_then(|done| done.fallback))
    }

    fn slot(&self, row: u64) -> Result<Option<Done>, OutputError> {
        let mut slot = [0; SLOT_BYTES];
        self.file
            .read_exact_at(&mut slot, row.saturating_mul(SLOT_BYTES as u64))
            .map_err(|e| self.reading(e))?;
        Ok(Done::from_slot(row, &slot))
    }

    fn reading(&self, e: io::Error) -> OutputError {
        OutputError::io("reading", &self.path, e)
    }

    /// The first row without a slot of the interrupted run.
    pub fn before(&self) -> u64 {
        self.before
    }

    /// Number of intact slots of the interrupted run.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn count(&self) -> Result<u64, OutputError> {
        let mut count = 0;
        self.each(self.before, |_| count += 1)?;
        Ok(count)
    }

    /// How many of the first `rows` rows have values that do not fit f16: see [`Self::fallback`].
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub(crate) fn count_in_fallback(&self, rows: u64) -> Result<InFallback, OutputError> {
        let slots = self.slots_in_fallback()?.min(rows);
        let mut count = InFallback::default();
        self.each(slots, |done| count.add(done.fallback))?;
        Ok(count)
    }

    /// Number of slots among which all rows with values that do not fit f16 are.
    fn slots_in_fallback(&self) -> Result<u64, OutputError> {
        // Neither this run nor an earlier one has such a record.
        if self.before == 0 && !self.has_fallback.load(Ordering::Relaxed) {
            return Ok(0);
        }
        let metadata = self.file.metadata().map_err(|e| self.reading(e))?;
        Ok(metadata.len() / SLOT_BYTES as u64)
    }

    /// Reads the intact ones of the first `slots` slots.
    fn each(&self, slots: u64, mut found: impl FnMut(&Done)) -> Result<(), OutputError> {
        let mut bytes = vec![0; BLOCK * SLOT_BYTES];
        let mut first = 0;
        while first < slots {
            let some = (slots - first).min(BLOCK as u64);
            let (block, _) = bytes.split_at_mut(some as usize * SLOT_BYTES);
            self.file
                .read_exact_at(block, first * SLOT_BYTES as u64)
                .map_err(|e| self.reading(e))?;
            read_journal(first, block).for_each(|(_, done)| found(&done));
            first += some;
        }
        Ok(())
    }

    /// Records that the input is that of the interrupted run, up to its last slot.
    pub fn trust_input(&self) {
        *self.trust.lock().unwrap_or_else(PoisonError::into_inner) = Trust::Given;
    }

    /// Records that the input is not that of the interrupted run: removes what was entered since, so
    /// that the run can still be resumed with its own input.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub fn refuse_input(&self) -> Result<(), OutputError> {
        let mut trust = self.trust.lock().unwrap_or_else(PoisonError::into_inner);
        if let Trust::Open(rows) = std::mem::replace(&mut *trust, Trust::Refused) {
            for row in rows {
                self.write(row, &[0; SLOT_BYTES])?;
            }
        }
        Ok(())
    }

    /// Makes the journal durable.
    pub(crate) fn sync(&self) -> Result<(), OutputError> {
        self.file
            .sync_data()
            .map_err(|e| OutputError::io("syncing", &self.path, e))
    }

    fn write(&self, row: u64, slot: &[u8; SLOT_BYTES]) -> Result<(), OutputError> {
        self.file
            .write_all_at(slot, row.saturating_mul(SLOT_BYTES as u64))
            .map_err(|e| OutputError::io("writing 24 bytes to", &self.path, e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::resume::proof::Written;

    fn proof(value: u32) -> Proof {
        let mut proof = Proof::default();
        proof.add(Written {
            array: 0,
            checksum: value,
        });
        proof
    }

    #[test]
    fn rows_that_do_not_fit_f16_are_known_in_this_run_and_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::create(dir.path()).unwrap();
        journal.enter(0, [1; 16], &proof(1)).unwrap();
        assert_eq!(journal.fallback(0).unwrap(), None);
        for (row, fallback) in [(2, Fallback::Bf16), (3, Fallback::F32)] {
            let mut large = proof(1);
            large.note_fallback(fallback);
            journal.enter(row, [1; 16], &large).unwrap();
        }
        let rows = |journal: &Journal| [0, 1, 2, 3, u64::MAX].map(|r| journal.fallback(r).unwrap());
        let due = [None, None, Some(Fallback::Bf16), Some(Fallback::F32), None];
        assert_eq!(rows(&journal), due);
        let count = |journal: &Journal| {
            let of_rows = |rows| journal.count_in_fallback(rows).unwrap();
            [2, 3, 9].map(of_rows).map(|count| (count.bf16, count.f32))
        };
        assert_eq!(count(&journal), [(0, 0), (1, 0), (1, 1)]);
        let journal = Journal::open(dir.path()).unwrap();
        assert_eq!(rows(&journal), due);
        assert_eq!(count(&journal), [(0, 0), (1, 0), (1, 1)]);
        // Computed again, and it fits.
        journal.enter(2, [1; 16], &proof(1)).unwrap();
        assert_eq!(journal.fallback(2).unwrap(), None);
    }

    #[test]
    fn only_intact_slots_of_a_journal_are_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::create(dir.path()).unwrap();
        for row in [9, 2, 0] {
            journal.enter(row, [row as u8; 16], &proof(1)).unwrap();
        }
        assert_eq!((journal.before(), journal.count().unwrap()), (0, 0));
        let read = Journal::open_to_read(dir.path()).unwrap().unwrap();
        assert_eq!((read.before(), read.count().unwrap()), (10, 3));
        assert!(read.find(2).unwrap().is_some() && read.find(1).unwrap().is_none());
        assert!(
            Journal::open_to_read(&dir.path().join("none"))
                .unwrap()
                .is_none()
        );
        drop(journal);
        let mut bytes = std::fs::read(dir.path().join(JOURNAL)).unwrap();
        assert_eq!(bytes.len(), 10 * SLOT_BYTES);
        // The last slot was torn.
        bytes.truncate(10 * SLOT_BYTES - 1);
        std::fs::write(dir.path().join(JOURNAL), bytes).unwrap();
        let journal = Journal::open(dir.path()).unwrap();
        assert_eq!((journal.before(), journal.count().unwrap()), (9, 2));
        let rows: Vec<_> = (0..12)
            .map(|row| journal.find(row).unwrap().map(|done| done.input[0]))
            .collect();
        let mut expected = [None; 12];
        (expected[0], expected[2]) = (Some(0), Some(2));
        assert_eq!(rows, expected);
        assert_eq!(journal.find(u64::MAX).unwrap(), None);
    }

    #[test]
    fn slots_are_counted_in_blocks() {
        let dir = tempfile::tempdir().unwrap();
        let rows = 2 * BLOCK as u64 + 7;
        let journal = Journal::create(dir.path()).unwrap();
        for row in (0..rows).filter(|row| row % 3 != 1) {
            journal.enter(row, [1; 16], &proof(1)).unwrap();
        }
        let journal = Journal::open(dir.path()).unwrap();
        assert_eq!((journal.before(), journal.count().unwrap()), (rows, 5466));
    }

    #[test]
    fn entries_of_another_input_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::create(dir.path()).unwrap();
        journal.enter(3, [1; 16], &proof(1)).unwrap();
        let begun = std::fs::read(dir.path().join(JOURNAL)).unwrap();
        let journal = Journal::open(dir.path()).unwrap();
        journal.enter(1, [2; 16], &proof(1)).unwrap();
        assert_ne!(std::fs::read(dir.path().join(JOURNAL)).unwrap(), begun);
        journal.refuse_input().unwrap();
        journal.enter(2, [2; 16], &proof(1)).unwrap();
        assert_eq!(std::fs::read(dir.path().join(JOURNAL)).unwrap(), begun);

        let journal = Journal::open(dir.path()).unwrap();
        journal.enter(1, [1; 16], &proof(1)).unwrap();
        journal.trust_input();
        journal.enter(2, [1; 16], &proof(1)).unwrap();
        journal.refuse_input().unwrap();
        assert_eq!(Journal::open(dir.path()).unwrap().count().unwrap(), 3);
    }
}
