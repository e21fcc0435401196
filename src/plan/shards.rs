//! `shards.tsv`: one line for each shard, with what it holds and where its part of the index is.

use std::fmt::Write as _;

/// First line.
const COLUMNS: &str = "shard\trecords\tskipped\tdistinct\tresidues\ttokens\tcost\theaders\tlongest_id\t\
                       offset\tbytes\tsha256\n";

/// What a shard holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardFacts {
    /// Its number, from 1.
    pub number: u64,
    /// Records that get a row.
    pub records: u64,
    /// Records that are skipped.
    pub skipped: u64,
    /// Different sequences: what is computed.
    pub distinct: u64,
    /// Residues that are embedded, of all records.
    pub residues: u64,
    /// Tokens of the passes over different sequences.
    pub tokens: u64,
    /// What these passes cost, in tokens: attention over long sequences costs more.
    pub cost: u64,
    /// Bytes of the headers.
    pub headers: u64,
    /// Characters of the longest identifier.
    pub longest_id: u64,
    /// First byte of its part of the index.
    pub offset: u64,
    /// Bytes of that part.
    pub bytes: u64,
    /// SHA-256 of that part.
    pub sha256: String,
}

/// The text of the table.
pub fn to_text(shards: &[ShardFacts]) -> String {
    let mut text = COLUMNS.to_owned();
    for shard in shards {
        let ShardFacts {
            number,
            records,
            skipped,
            distinct,
            residues,
            tokens,
            cost,
            headers,
            longest_id,
            offset,
            bytes,
            sha256,
        } = shard;
        // Writing into a string does not fail.
        let _ = writeln!(
            text,
            "{number}\t{records}\t{skipped}\t{distinct}\t{residues}\t{tokens}\t{cost}\t{headers}\t\
             {longest_id}\t{offset}\t{bytes}\t{sha256}"
        );
    }
    text
}

/// The shards of a table; None unless it is one that [`to_text`] writes.
pub fn parse(text: &str) -> Option<Vec<ShardFacts>> {
    let lines = text.strip_prefix(COLUMNS)?.lines();
    let shards = lines.enumerate().map(|(i, line)| {
        let mut fields = line.split('\t');
        let mut number = || fields.next()?.parse().ok();
        let shard = ShardFacts {
            number: number()?,
            records: number()?,
            skipped: number()?,
            distinct: number()?,
            residues: number()?,
            tokens: number()?,
            cost: number()?,
            headers: number()?,
            longest_id: number()?,
            offset: number()?,
            bytes: number()?,
            sha256: fields.next()?.to_owned(),
        };
        let is_whole = fields.next().is_none() && shard.number == i as u64 + 1;
        is_whole.then_some(shard)
    });
    shards.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_back_and_others_are_refused() {
        let shard = |number| ShardFacts {
            number,
            records: 7,
            offset: 100 * number,
            sha256: "ab".repeat(32),
            ..ShardFacts::default()
        };
        let shards = [shard(1), shard(2)];
        let text = to_text(&shards);
        assert!(text.contains("\n2\t7\t0\t0\t0\t0\t0\t0\t0\t200\t0\tabab"));
        assert_eq!(parse(&text).unwrap(), shards);
        assert_eq!(parse(&text.replace("\n2\t", "\n3\t")), None);
        assert_eq!(parse(&text.replace("\t7\t", "\t-7\t")), None);
        assert_eq!(parse(&text[..text.len() - 70]), None);
        assert_eq!(parse(""), None);
    }
}
