//! The memory of what a run remembers of every record: sequences, identifiers and names of files, and the
//! sequences that other output folders hold.

use crate::output::{DiskMap, Layout, Manifest};
use crate::pipeline::input::scan::Scan;
use crate::pipeline::job::{Inputs, Job};

/// Bytes of a FASTA file for each record: short peptides in a plain file, or proteins in a compressed one.
const BYTES_OF_A_RECORD: u64 = 32;
/// Records of an input of unknown length.
const OF_A_STREAM: u64 = 1_000_000;
/// How many times the mean number of records a shard may have.
const UNEVEN: u64 = 2;

/// What a run remembers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// Tables with an entry for each record.
    of_records: u64,
    /// Records of other output folders.
    known: u64,
    /// Records of the input, before it is read.
    expected: u64,
}

impl Tables {
    /// Of a job with this layout.
    pub fn new(job: &Job, layout: &Layout) -> Tables {
        let known = job.inputs.known.iter();
        let known = known.filter_map(|dir| Manifest::read(dir).ok().flatten());
        Tables {
            of_records: if layout.has_files() { 2 } else { 1 },
            known: known.map(|manifest| manifest.counts.records).sum(),
            expected: expected_records(&job.inputs),
        }
    }

    /// Bytes that they take at most, as far as can be known before the input is read.
    pub fn expected(&self) -> u64 {
        self.bytes(self.expected, self.expected)
    }

    /// Bytes that they take at most.
    pub fn of(&self, scan: &Scan) -> u64 {
        self.bytes(scan.records, scan.work.records)
    }

    fn bytes(&self, records: u64, distinct: u64) -> u64 {
        DiskMap::memory(distinct)
            + self.of_records * DiskMap::memory(records)
            + DiskMap::memory(self.known)
    }
}

/// About as many records as an input has, or more: from the plan, or from the sizes of its files.
fn expected_records(inputs: &Inputs) -> u64 {
    let (all, shards) = match (&inputs.plan, inputs.shard) {
        (Some(plan), _) => (plan.facts.counts.records, plan.facts.shards),
        (None, shard) => {
            let sizes = inputs.paths.iter().map(|path| {
                let file = path.metadata().ok().filter(|file| file.is_file());
                file.map_or(OF_A_STREAM, |file| file.len() / BYTES_OF_A_RECORD)
            });
            (
                sizes.fold(0, u64::saturating_add),
                shard.map_or(1, |shard| shard.of),
            )
        }
    };
    let mean = all / shards.max(1);
    mean.saturating_mul(UNEVEN).min(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::Shard;

    #[test]
    fn records_are_expected_from_the_sizes_of_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.fasta");
        std::fs::write(&path, vec![b'A'; 32_000]).unwrap();
        let inputs = |of| Inputs {
            paths: vec![path.clone(), path.clone()],
            shard: (of > 1).then_some(Shard { number: 1, of }),
            ..Inputs::default()
        };
        assert_eq!(expected_records(&inputs(1)), 2000);
        assert_eq!(expected_records(&inputs(2)), 2000);
        assert_eq!(expected_records(&inputs(8)), 500);
        let stream = Inputs {
            paths: vec!["-".into()],
            ..Inputs::default()
        };
        assert_eq!(expected_records(&stream), OF_A_STREAM);
    }

    #[test]
    fn every_table_counts() {
        let tables = Tables {
            of_records: 2,
            known: 100,
            expected: 1000,
        };
        let each = DiskMap::memory(1) * 1000;
        assert_eq!(tables.expected(), 3 * each + each / 10);
        let mut scan = Scan {
            records: 500,
            ..Scan::default()
        };
        scan.work.records = 100;
        assert_eq!(tables.of(&scan), 2 * each / 2 + 2 * each / 10);
    }
}
