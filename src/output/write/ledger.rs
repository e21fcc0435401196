//! Assigns each record of the input, in order, its place in the output.

use crate::output::append_file::AppendFile;
use crate::output::counts::Counts;
use crate::output::disk_map::{DiskMap, Key, key};
use crate::output::error::OutputError;
use crate::output::file_name::FileNames;
use crate::output::ids::{Ids, id_text};
use crate::output::index::{self, Entry, Skip};
use crate::output::input_digest::InputDigest;
use crate::output::layout::{INDEX_TSV, Layout, SHARD_TSV, SKIPPED_TSV};
use crate::output::note::{Note, Notes, Remark};
use crate::output::place::{Place, PlaceWriter};
use crate::output::shard;
use std::path::{Path, PathBuf};

/// Name of the list of duplicates in the working folder: pairs of rows.
pub(crate) const DUPLICATES: &str = "duplicates";
const SEQUENCES: &str = "sequences.seen";
const NAMES: &str = "names.seen";
const IDS: &str = "ids.seen";

/// The place of a record, and whether its values are those of an earlier one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entered {
    /// Where its values belong.
    pub place: Place,
    /// Row of the first record with the same sequence. If there is one, nothing has to be computed or
    /// written: its values are copied when the run is finished.
    pub duplicate_of: Option<u64>,
    /// Whether an earlier record has its identifier but another sequence.
    pub reused_id: bool,
    /// Digest of all records of the input up to this one.
    pub input: Key,
}

/// Writes the index and finds duplicates. Nearly everything that grows with the number of records is on
/// disk, in the working folder: see [`DiskMap::memory`].
#[derive(Debug)]
pub struct Ledger {
    partial: PathBuf,
    index: AppendFile,
    skipped: Option<AppendFile>,
    places: PlaceWriter,
    duplicates: Option<AppendFile>,
    sequences: DiskMap,
    /// For each identifier, the first row with the sequence of its first record.
    ids: DiskMap,
    names: Option<FileNames>,
    /// For a shard, the position of its records in the whole input.
    shard: Option<AppendFile>,
    counts: Counts,
    lengths: Ids,
    notes: Notes,
    input_digest: InputDigest,
}

/// The totals of a ledger once all records are entered.
#[derive(Debug)]
pub(crate) struct Closed {
    pub(crate) counts: Counts,
    pub(crate) ids: Ids,
    pub(crate) notes: Vec<Note>,
}

impl Ledger {
    pub(crate) fn create(partial: &Path, layout: &Layout) -> Result<Self, OutputError> {
        let files = layout.has_files();
        let mut index = AppendFile::create(partial.join(INDEX_TSV))?;
        index.write(index::columns(files).as_bytes())?;
        Ok(Self {
            partial: partial.to_path_buf(),
            index,
            skipped: None,
            places: PlaceWriter::create(partial, files)?,
            duplicates: None,
            sequences: DiskMap::create(&partial.join(SEQUENCES)),
            ids: DiskMap::create(&partial.join(IDS)),
            names: files.then(|| FileNames::create(&partial.join(NAMES))),
            shard: None,
            counts: Counts::default(),
            lengths: Ids::default(),
            notes: Notes::default(),
            input_digest: InputDigest::default(),
        })
    }

    /// Starts the list of the position of each record in the whole input.
    pub(crate) fn keep_shard(&mut self) -> Result<(), OutputError> {
        let mut log = AppendFile::create(self.partial.join(SHARD_TSV))?;
        log.write(shard::COLUMNS.as_bytes())?;
        self.shard = Some(log);
        Ok(())
    }

    /// Enters the next record of the input.
    ///
    /// # Errors
    /// When a file of the working folder cannot be written; the run cannot be finished then.
    pub fn enter(&mut self, entry: &Entry) -> Result<Entered, OutputError> {
        let row = self.counts.records;
        let residue_offset = self.counts.residues;
        if residue_offset.checked_add(entry.length).is_none() {
            return Err(OutputError::TooLarge {
                file: INDEX_TSV.into(),
                row,
            });
        }
        let duplicate_of = self
            .sequences
            .get_or_insert(entry.sequence, row)
            .map_err(|e| OutputError::io("updating", &self.partial.join(SEQUENCES), e))?;
        // Records with the same sequence have the same values, so the first represents all of them.
        let values = duplicate_of.unwrap_or(row);
        let of_first = self
            .ids
            .get_or_insert(key(&id_text(entry.id)), values)
            .map_err(|e| OutputError::io("updating", &self.partial.join(IDS), e))?;
        let reused_id = of_first.is_some_and(|first| first != values);
        let file = match &mut self.names {
            Some(names) => Some(
                names
                    .assign(entry.id, row)
                    .map_err(|e| OutputError::io("updating", &self.partial.join(NAMES), e))?,
            ),
            None => None,
        };
        let path = file
            .as_ref()
            .map(|name| format!("{}/{name}", Layout::sub_folder(row)));
        self.index.write(&index::line(
            entry,
            row,
            residue_offset,
            duplicate_of,
            path.as_deref(),
        ))?;
        let place = Place {
            row,
            residue_offset,
            length: entry.length,
            file,
        };
        self.places.push(&place)?;
        if let Some(log) = &mut self.shard {
            log.write(shard::line(entry).as_bytes())?;
        }
        if let Some(first) = duplicate_of {
            let mut pair = first.to_le_bytes().to_vec();
            pair.extend(row.to_le_bytes());
            self.open_log(DUPLICATES)?.write(&pair)?;
        }
        self.counts.add(entry, duplicate_of.is_some(), reused_id);
        self.lengths.add(entry.id);
        for (about, applies) in [
            (Remark::Nucleotides, entry.nucleotides),
            (Remark::ReusedIds, reused_id),
            (Remark::Unknown, entry.unknown > 0),
        ] {
            if applies {
                self.notes.add(about, row, entry);
            }
        }
        Ok(Entered {
            place,
            duplicate_of,
            reused_id,
            input: self.input_digest.enter(entry),
        })
    }

    /// Lists a record in `skipped.tsv`; it gets no row.
    ///
    /// # Errors
    /// When the list cannot be written.
    pub fn skip(&mut self, skip: &Skip) -> Result<(), OutputError> {
        let fresh = self.skipped.is_none();
        let log = self.open_log(SKIPPED_TSV)?;
        if fresh {
            log.write(index::SKIPPED_COLUMNS.as_bytes())?;
        }
        log.write(&index::skipped_line(skip))?;
        if let Some(log) = &mut self.shard {
            log.write(shard::skipped_line(skip.ordinal).as_bytes())?;
        }
        self.counts.skipped += 1;
        self.input_digest.skip(skip);
        Ok(())
    }

    /// Totals so far.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The identifiers so far.
    pub fn ids(&self) -> Ids {
        self.lengths
    }

    /// Writes the buffers.
    pub(crate) fn close(self) -> Result<Closed, OutputError> {
        self.index.close()?;
        self.places.close()?;
        let lists = [self.skipped, self.duplicates, self.shard];
        for log in lists.into_iter().flatten() {
            log.close()?;
        }
        Ok(Closed {
            counts: self.counts,
            ids: self.lengths,
            notes: self.notes.into_inner(),
        })
    }

    /// One of the two lists that are made when first needed.
    fn open_log(&mut self, name: &str) -> Result<&mut AppendFile, OutputError> {
        let slot = if name == SKIPPED_TSV {
            &mut self.skipped
        } else {
            &mut self.duplicates
        };
        match slot {
            Some(log) => Ok(log),
            None => Ok(slot.insert(AppendFile::create(self.partial.join(name))?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::disk_map::key;
    use crate::output::layout::{Include, Residues};
    use crate::product::{OutDtype, Pool};

    fn ledger(dir: &Path, residues: Residues) -> Ledger {
        let layout = Layout {
            layers: vec![6],
            pools: vec![Pool::Mean],
            residues,
            dtype: OutDtype::F32,
            dim: 4,
            include: Include::default(),
        };
        Ledger::create(dir, &layout).unwrap()
    }

    fn entry<'a>(id: &'a [u8], sequence: &[u8]) -> Entry<'a> {
        Entry {
            id,
            length: sequence.len() as u64,
            sequence: key(sequence),
            ..Entry::default()
        }
    }

    #[test]
    fn rows_and_offsets_follow_the_input() {
        let dir = tempfile::tempdir().unwrap();
        let mut ledger = ledger(dir.path(), Residues::Packed);
        let first = ledger.enter(&entry(b"a", b"MKT")).unwrap();
        assert_eq!(
            first.place,
            Place {
                row: 0,
                residue_offset: 0,
                length: 3,
                file: None
            }
        );
        assert_eq!(first.duplicate_of, None);
        let second = ledger
            .enter(&Entry {
                unknown: 1,
                stop: true,
                ..entry(b"b", b"MKTAY")
            })
            .unwrap();
        assert_eq!((second.place.row, second.place.residue_offset), (1, 3));
        ledger
            .skip(&Skip {
                ordinal: 2,
                file: b"x.fa",
                line: 9,
                record: 3,
                id: b"c",
                reason: "no residues",
            })
            .unwrap();
        let third = ledger.enter(&entry(b"a", b"MKT")).unwrap();
        assert_eq!(
            (
                third.place.row,
                third.place.residue_offset,
                third.duplicate_of
            ),
            (2, 8, Some(0))
        );
        let counts = ledger.close().unwrap().counts;
        let expected = Counts {
            records: 3,
            residues: 11,
            unique_sequences: 2,
            duplicates: 1,
            unknown: 1,
            stops: 1,
            skipped: 1,
            ..Counts::default()
        };
        assert_eq!(counts, expected);
        assert_eq!(
            std::fs::read_to_string(dir.path().join("index.tsv")).unwrap(),
            "row\tid\tlength\tresidue_offset\tflags\tdescription\n\
             0\ta\t3\t0\t\t\n1\tb\t5\t3\tunknown=1,stop\t\n2\ta\t3\t8\tduplicate_of=0\t\n"
        );
        assert_eq!(
            std::fs::read_to_string(dir.path().join("skipped.tsv")).unwrap(),
            "file\tline\trecord\tid\treason\nx.fa\t9\t3\tc\tno residues\n"
        );
        let pair: Vec<u8> = [0_u64, 2]
            .iter()
            .flat_map(|row| row.to_le_bytes())
            .collect();
        assert_eq!(std::fs::read(dir.path().join("duplicates")).unwrap(), pair);
    }

    #[test]
    fn an_identifier_that_is_used_again_for_another_sequence_is_noted() {
        let dir = tempfile::tempdir().unwrap();
        let mut ledger = ledger(dir.path(), Residues::Packed);
        for (id, sequence) in [
            ("a", "MKT"),
            ("b", "MKT"),
            ("a", "MKT"),
            ("b", "MKA"),
            ("a", "MKT"),
            ("a", "MKA"),
            ("A", "MKG"),
            ("", "MKT"),
            ("", "MKV"),
        ] {
            ledger
                .enter(&entry(id.as_bytes(), sequence.as_bytes()))
                .unwrap();
        }
        let closed = ledger.close().unwrap();
        assert_eq!(closed.counts.reused_ids, 3);
        assert_eq!(
            closed.notes,
            [Note {
                about: Remark::ReusedIds,
                records: 3,
                first_row: 3,
                first_id: "b".into(),
            }]
        );
    }

    #[test]
    fn files_are_named_in_the_index() {
        let dir = tempfile::tempdir().unwrap();
        let mut ledger = ledger(dir.path(), Residues::Files);
        assert_eq!(
            ledger
                .enter(&entry(b"P1", b"MKT"))
                .unwrap()
                .place
                .file
                .as_deref(),
            Some("P1.npy")
        );
        ledger.close().unwrap();
        assert_eq!(
            std::fs::read_to_string(dir.path().join("index.tsv")).unwrap(),
            "row\tid\tlength\tresidue_offset\tflags\tfile\tdescription\n0\tP1\t3\t0\t\t000000/P1.npy\t\n"
        );
        assert!(!dir.path().join("skipped.tsv").exists());
        assert!(!dir.path().join("duplicates").exists());
    }

    #[test]
    fn more_residues_than_64_bits_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut ledger = ledger(dir.path(), Residues::None);
        ledger
            .enter(&Entry {
                length: u64::MAX,
                ..entry(b"a", b"A")
            })
            .unwrap();
        assert!(matches!(
            ledger.enter(&entry(b"b", b"C")),
            Err(OutputError::TooLarge { row: 1, .. })
        ));
    }
}
