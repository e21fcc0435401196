//! From records in the order of the input to shards with their records, in bounded memory.
//!
//! Everything that grows with the number of records is in files without names. Sorting by the key of
//! the tokens brings equal sequences together; sorting those by cost gives the shards; and sorting the
//! records by shard gives the index.

use super::assignment::{Assignment, CostModel};
use super::fields::{Fields, ORDINAL, Taken};
use super::record::{Coder, Content, Fate, PlannedRecord};
use super::shards::ShardFacts;
use super::sorting::{MEMORY, Reading, Sorted, Sorter};
use crate::admission::Long;
use crate::output::{Ids, Key, unnamed_file};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};

/// Bytes of a cost.
const COST: usize = 6;
/// Bytes of the number of a shard.
const SHARD: usize = 4;
/// Bytes of a sequence of a record with the same identifier as another.
const SHORT: usize = 8;

/// Key, ordinal, cost.
const SEQUENCE: usize = 16 + ORDINAL + COST;
/// Key of the identifier, ordinal, part of the key of the sequence.
const IDENTIFIER: usize = 16 + ORDINAL + SHORT;
/// Cost, from the highest, and ordinal.
const PRICED: usize = COST + ORDINAL;
/// Ordinals of the first record with a sequence and of one that repeats it.
const COPY: usize = 2 * ORDINAL;
/// Ordinal and shard.
const PLACED: usize = ORDINAL + SHARD;
/// Offset, bytes, line, residues, header and identifier, content, key, and whether it is embedded.
const RECORD: usize = 6 + 6 + 5 + 4 + 4 + 4 + 8 + 16 + 1;
/// Shard, ordinal, record, and whether an earlier one has its sequence.
const OWNED: usize = SHARD + ORDINAL + RECORD + 1;

const MOST_COST: u64 = (1 << (8 * COST)) - 1;

/// Bytes on the disk for the index of this many records, and for the temporary files while it is made.
pub fn bytes_for_records(records: u64) -> u64 {
    const INDEX: usize = 35;
    let always = INDEX + RECORD;
    let sorted = SEQUENCE + IDENTIFIER + PRICED + PLACED + OWNED;
    let is_on_disk = records.saturating_mul(OWNED as u64) > MEMORY as u64;
    let each = always + if is_on_disk { sorted } else { 0 };
    records.saturating_mul(each as u64)
}

/// What a plan has to know of a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Byte of its `>` in the decompressed file.
    pub offset: u64,
    /// Bytes up to the next record or the end of the file.
    pub bytes: u64,
    /// Line of its header.
    pub line: u64,
    /// Residues of its whole sequence.
    pub residues: u64,
    /// Its header and sequence.
    pub content: Content,
    /// If it is embedded, how.
    pub embedded: Option<Embedded>,
}

/// What a plan has to know of a record that is embedded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Embedded {
    /// Key of its tokens.
    pub sequence: Key,
    /// Key of its identifier.
    pub id: Key,
    /// Characters of its identifier.
    pub id_length: u64,
    /// Bytes of its header.
    pub header: u64,
}

/// Records that share an identifier with an earlier one that has another sequence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reused {
    /// Their number.
    pub records: u64,
    /// Number of the first of them in the whole input.
    pub ordinal: u64,
    /// Its row in the whole output.
    pub row: u64,
    /// The byte where it begins, and its bytes.
    pub place: (u64, u64),
    /// Line of its header.
    pub line: u64,
}

/// What is computed for a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// What happens to long sequences.
    pub long: Long,
    /// What passes cost.
    pub costs: CostModel,
}

impl Work {
    /// Tokens of the passes over a sequence of this many residues, and their cost.
    fn of(&self, residues: usize) -> (u64, u64) {
        let windows = self.long.windows(residues);
        let one = [self.long.embedded(residues) + 2];
        let passes = windows.iter().map(|window| window.len() + 2);
        let passes: Vec<usize> = match windows.is_empty() {
            true => one.into(),
            false => passes.collect(),
        };
        let cost = passes.iter().map(|&tokens| self.costs.pass(tokens)).sum();
        (passes.iter().sum::<usize>() as u64, cost)
    }
}

/// Takes the records of an input.
#[derive(Debug)]
pub struct Builder {
    near: PathBuf,
    shards: u32,
    work: Work,
    records: u64,
    spool: BufWriter<File>,
    sequences: Sorter<SEQUENCE>,
    ids: Sorter<IDENTIFIER>,
}

/// The records of an input, with their shards.
#[derive(Debug)]
pub struct Built {
    shards: u32,
    work: Work,
    owned: Sorted<OWNED>,
    /// Records with an identifier that another sequence has.
    pub reused: Option<Reused>,
}

impl Builder {
    /// Without records; temporary files are made on the file system of `near`.
    ///
    /// # Errors
    /// They cannot be made.
    pub fn near(near: &Path, shards: u32, work: Work) -> io::Result<Builder> {
        Ok(Builder {
            near: near.to_path_buf(),
            shards,
            work,
            records: 0,
            spool: BufWriter::with_capacity(1 << 20, unnamed_file(near)?),
            sequences: Sorter::near(near),
            ids: Sorter::near(near),
        })
    }

    /// Adds the next record of the input.
    ///
    /// # Errors
    /// A temporary file cannot be written.
    pub fn add(&mut self, found: &Found) -> io::Result<()> {
        let ordinal = self.records;
        if ordinal >= 1 << (8 * ORDINAL) {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.records += 1;
        let embedded = found.embedded.unwrap_or_default();
        let record = Fields::<RECORD>::new()
            .number(found.offset, 6)
            .number(found.bytes, 6)
            .number(found.line, 5)
            .number(found.residues, 4)
            .number(embedded.header, 4)
            .number(embedded.id_length, 4)
            .bytes(&found.content)
            .bytes(&embedded.sequence)
            .number(u64::from(found.embedded.is_some()), 1);
        self.spool.write_all(&record.item())?;
        if found.embedded.is_none() {
            return Ok(());
        }
        let (_, cost) = self.work.of(found.residues as usize);
        let sequence = Fields::<SEQUENCE>::new()
            .bytes(&embedded.sequence)
            .number(ordinal, ORDINAL)
            .number(cost.min(MOST_COST), COST);
        self.sequences.push(sequence.item())?;
        let (short, _) = embedded.sequence.split_at(SHORT);
        let id = Fields::<IDENTIFIER>::new()
            .bytes(&embedded.id)
            .number(ordinal, ORDINAL)
            .bytes(short);
        self.ids.push(id.item())
    }

    /// Gives every record its shard.
    ///
    /// # Errors
    /// A temporary file cannot be written or read.
    pub fn finish(self) -> io::Result<Built> {
        let mut reused = reused(&self.ids.finish()?)?;
        let (priced, copies) = distinct(&self.near, self.sequences)?;
        let firsts = assign(&self.near, self.shards, &priced)?;
        drop(priced);
        let copies = place_copies(&self.near, &firsts, &copies)?;
        let mut spool = self
            .spool
            .into_inner()
            .map_err(|error| error.into_error())?;
        spool.rewind()?;
        let mut spool = BufReader::with_capacity(1 << 20, spool);
        let mut placed = Placed::of(&firsts, &copies)?;
        let mut owned = Sorter::<OWNED>::near(&self.near);
        let (mut shard, mut row) = (0, 0);
        for ordinal in 0..self.records {
            let mut record = [0; RECORD];
            spool.read_exact(&mut record)?;
            let is_embedded = record.last() == Some(&1);
            let mut is_copy = false;
            if is_embedded {
                // A skipped record goes with the one before it.
                (shard, is_copy) = placed.shard_of(ordinal)?;
                if let Some(reused) = &mut reused
                    && reused.ordinal == ordinal
                {
                    let mut fields = Taken(&record);
                    reused.row = row;
                    reused.place = (fields.number(6), fields.number(6));
                    reused.line = fields.number(5);
                }
                row += 1;
            }
            let own = Fields::<OWNED>::new()
                .number(shard, SHARD)
                .number(ordinal, ORDINAL)
                .bytes(&record)
                .number(u64::from(is_copy), 1);
            owned.push(own.item())?;
        }
        Ok(Built {
            shards: self.shards,
            work: self.work,
            owned: owned.finish()?,
            reused,
        })
    }
}

/// The first record of each sequence with the cost of all of them, and those that repeat one.
fn distinct(
    near: &Path,
    sequences: Sorter<SEQUENCE>,
) -> io::Result<(Sorted<PRICED>, Sorted<COPY>)> {
    let sequences = sequences.finish()?;
    let mut priced = Sorter::<PRICED>::near(near);
    let mut copies = Sorter::<COPY>::near(near);
    let mut first: Option<(Key, u64, u64)> = None;
    let price = |(_, ordinal, cost): (Key, u64, u64)| {
        // The highest cost comes first.
        let cost = MOST_COST - cost.min(MOST_COST);
        let item = Fields::<PRICED>::new().number(cost, COST);
        item.number(ordinal, ORDINAL).item()
    };
    let mut reading = sequences.read()?;
    while let Some(item) = reading.next()? {
        let mut item = Taken(&item);
        let (key, ordinal, cost) = (item.bytes(), item.number(ORDINAL), item.number(COST));
        match &mut first {
            Some((same, first, all)) if *same == key => {
                // Its rows have to be copied.
                *all += 1;
                let copy = Fields::<COPY>::new().number(*first, ORDINAL);
                copies.push(copy.number(ordinal, ORDINAL).item())?;
            }
            _ => {
                if let Some(before) = first.replace((key, ordinal, cost)) {
                    priced.push(price(before))?;
                }
            }
        }
    }
    if let Some(last) = first {
        priced.push(price(last))?;
    }
    Ok((priced.finish()?, copies.finish()?))
}

/// The shard of the first record of each sequence.
fn assign(near: &Path, shards: u32, priced: &Sorted<PRICED>) -> io::Result<Sorted<PLACED>> {
    // Costs repeat: there are not many more of them than lengths.
    let mut classes: Vec<(u64, u64)> = Vec::new();
    let mut reading = priced.read()?;
    while let Some(item) = reading.next()? {
        let cost = MOST_COST - Taken(&item).number(COST);
        match classes.last_mut() {
            Some((last, count)) if *last == cost => *count += 1,
            _ => classes.push((cost, 1)),
        }
    }
    let mut placed = Sorter::<PLACED>::near(near);
    let mut assignment = Assignment::new(shards);
    let mut reading = priced.read()?;
    for (cost, count) in classes {
        for (shard, own) in assignment.give_out(cost, count) {
            for _ in 0..own {
                let item = reading.next()?.ok_or(io::ErrorKind::UnexpectedEof)?;
                let (_, ordinal) = item.split_at(COST);
                let item = Fields::<PLACED>::new().bytes(ordinal);
                placed.push(item.number(u64::from(shard), SHARD).item())?;
            }
        }
    }
    placed.finish()
}

/// The shards of records that repeat a sequence: those of the first records.
fn place_copies(
    near: &Path,
    firsts: &Sorted<PLACED>,
    copies: &Sorted<COPY>,
) -> io::Result<Sorted<PLACED>> {
    let mut placed = Sorter::<PLACED>::near(near);
    let (mut firsts, mut copies) = (firsts.read()?, copies.read()?);
    let mut at = None;
    while let Some(item) = copies.next()? {
        let mut item = Taken(&item);
        let (first, copy) = (item.number(ORDINAL), item.number(ORDINAL));
        while at.is_none_or(|(ordinal, _)| ordinal < first) {
            at = Some(next_placed(&mut firsts)?.ok_or(io::ErrorKind::UnexpectedEof)?);
        }
        let (_, shard) = at.unwrap_or_default();
        let item = Fields::<PLACED>::new().number(copy, ORDINAL);
        placed.push(item.number(shard, SHARD).item())?;
    }
    placed.finish()
}

fn next_placed(reading: &mut Reading<'_, PLACED>) -> io::Result<Option<(u64, u64)>> {
    Ok(reading.next()?.map(|item| {
        let mut item = Taken(&item);
        (item.number(ORDINAL), item.number(SHARD))
    }))
}

/// The shards of all embedded records, in the order of the input.
struct Placed<'a> {
    firsts: Reading<'a, PLACED>,
    copies: Reading<'a, PLACED>,
    copy: Option<(u64, u64)>,
}

impl<'a> Placed<'a> {
    fn of(firsts: &'a Sorted<PLACED>, copies: &'a Sorted<PLACED>) -> io::Result<Placed<'a>> {
        let mut copies = copies.read()?;
        Ok(Placed {
            copy: next_placed(&mut copies)?,
            firsts: firsts.read()?,
            copies,
        })
    }

    /// The shard of the next record, which has this number, and whether it repeats a sequence.
    fn shard_of(&mut self, ordinal: u64) -> io::Result<(u64, bool)> {
        if let Some((of, shard)) = self.copy
            && of == ordinal
        {
            self.copy = next_placed(&mut self.copies)?;
            return Ok((shard, true));
        }
        match next_placed(&mut self.firsts)? {
            Some((of, shard)) if of == ordinal => Ok((shard, false)),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// Records with the identifier of an earlier one and another sequence.
fn reused(ids: &Sorted<IDENTIFIER>) -> io::Result<Option<Reused>> {
    let mut reused: Option<Reused> = None;
    let mut first: Option<(Key, [u8; SHORT])> = None;
    let mut reading = ids.read()?;
    while let Some(item) = reading.next()? {
        let mut item = Taken(&item);
        let (id, ordinal, sequence) = (item.bytes(), item.number(ORDINAL), item.bytes());
        match first {
            Some((same, of_first)) if same == id => {
                if of_first != sequence {
                    let all = reused.get_or_insert(Reused {
                        ordinal,
                        ..Reused::default()
                    });
                    all.records += 1;
                    all.ordinal = all.ordinal.min(ordinal);
                }
            }
            _ => first = Some((id, sequence)),
        }
    }
    Ok(reused)
}

impl Built {
    /// Writes the records of all shards, one shard after the other, and returns what each holds.
    /// `firsts` are the numbers of the first record of each file, and of all records.
    ///
    /// # Errors
    /// `to` cannot be written, or a temporary file not read.
    pub fn write(&self, firsts: &[u64], to: &mut impl Write) -> io::Result<Vec<ShardFacts>> {
        let mut all = Vec::new();
        let mut reading = self.owned.read()?;
        let mut next = reading.next()?;
        let mut offset = 0;
        let mut bytes = Vec::new();
        for shard in 0..self.shards {
            let mut facts = ShardFacts {
                number: u64::from(shard) + 1,
                offset,
                ..ShardFacts::default()
            };
            let mut coder = Coder::new(firsts);
            let mut hash = Sha256::new();
            while let Some(item) = next {
                let mut item = Taken(&item);
                if item.number(SHARD) != u64::from(shard) {
                    break;
                }
                let (record, header, id_length) = record(&mut item);
                facts.add(&record, self.work, header, id_length);
                bytes.clear();
                coder.encode(&record, &mut bytes);
                hash.update(&bytes);
                to.write_all(&bytes)?;
                facts.bytes += bytes.len() as u64;
                next = reading.next()?;
            }
            facts.sha256 = crate::sha256::hex(&hash.finalize());
            offset += facts.bytes;
            all.push(facts);
        }
        Ok(all)
    }
}

/// The record of an item behind its shard, bytes of its header and characters of its identifier.
fn record(item: &mut Taken<'_>) -> (PlannedRecord, u64, u64) {
    let mut record = PlannedRecord {
        ordinal: item.number(ORDINAL),
        offset: item.number(6),
        bytes: item.number(6),
        line: item.number(5),
        residues: item.number(4) as usize,
        ..PlannedRecord::default()
    };
    let (header, id_length) = (item.number(4), item.number(4));
    record.content = item.bytes();
    let sequence = item.bytes();
    record.fate = match (item.number(1), item.number(1)) {
        (0, _) => Fate::Skipped,
        (_, 0) => Fate::Embedded(sequence),
        _ => Fate::Copied(sequence),
    };
    (record, header, id_length)
}

impl ShardFacts {
    fn add(&mut self, record: &PlannedRecord, work: Work, header: u64, id_length: u64) {
        if record.fate == Fate::Skipped {
            self.skipped += 1;
            return;
        }
        self.records += 1;
        self.residues += work.long.embedded(record.residues) as u64;
        self.headers += header;
        self.longest_id = self.longest_id.max(id_length);
        if let Fate::Embedded(_) = record.fate {
            let (tokens, cost) = work.of(record.residues);
            self.distinct += 1;
            self.tokens += tokens;
            self.cost += cost;
        }
    }

    /// The identifiers of its records.
    pub fn ids(&self) -> Ids {
        Ids::of(self.records, self.longest_id)
    }
}
