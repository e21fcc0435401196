//! The part of the Apache Parquet format that tables of embeddings and ProtSpace's bundle need: columns
//! of numbers, of text and of lists of fixed size, plain and not compressed.
//!
//! Source: `parquet.thrift` and `Encodings.md` of apache/parquet-format 2.10.
//!
//! The crate `parquet` 60 with `arrow`, which lists of fixed size need, would add 13 crates, 4.6 MB to
//! the program (measured: stripped, with a program that only writes such a table) and 2.5 minutes of a
//! processor to each build.

mod embeddings;
mod thrift;

use crate::varint;
pub(crate) use embeddings::EmbeddingTable;
use thrift::Struct;

/// First and last bytes of a file.
const MAGIC: &[u8] = b"PAR1";
/// Rows of a page.
const PAGE_ROWS: usize = 20_000;
const CREATED_BY: &str = "esm-embed";

/// A column with its name.
pub(crate) struct Column<'a> {
    pub(crate) name: &'a str,
    pub(crate) values: Values<'a>,
}

/// The values of a column; None where there is none.
pub(crate) enum Values<'a> {
    Integers(Vec<Option<i32>>),
    Floats(Vec<Option<f32>>),
    Doubles(Vec<Option<f64>>),
    Text(Vec<Option<&'a str>>),
}

impl Column<'_> {
    /// Appends its pages.
    fn write_pages(&self, rows: usize, file: &mut Vec<u8>) {
        for row in (0..rows).step_by(PAGE_ROWS) {
            let end = rows.min(row + PAGE_ROWS);
            let page = self.values.page(row..end);
            page_header(page.len(), end - row).finish(file);
            file.extend_from_slice(&page);
        }
    }
}

impl Values<'_> {
    fn rows(&self) -> usize {
        match self {
            Values::Integers(values) => values.len(),
            Values::Floats(values) => values.len(),
            Values::Doubles(values) => values.len(),
            Values::Text(values) => values.len(),
        }
    }

    /// `Type` of parquet.thrift.
    fn physical_type(&self) -> i64 {
        match self {
            Values::Integers(_) => 1,
            Values::Floats(_) => 4,
            Values::Doubles(_) => 5,
            Values::Text(_) => 6,
        }
    }

    /// The values of some rows: which are there, then those that are.
    fn page(&self, rows: std::ops::Range<usize>) -> Vec<u8> {
        match self {
            Values::Integers(values) => page(values.get(rows), |value, bytes| {
                bytes.extend_from_slice(&value.to_le_bytes());
            }),
            Values::Floats(values) => page(values.get(rows), |value, bytes| {
                bytes.extend_from_slice(&value.to_le_bytes());
            }),
            Values::Doubles(values) => page(values.get(rows), |value, bytes| {
                bytes.extend_from_slice(&value.to_le_bytes());
            }),
            Values::Text(values) => page(values.get(rows), |value, bytes| {
                bytes.extend_from_slice(&(value.len() as u32).to_le_bytes());
                bytes.extend_from_slice(value.as_bytes());
            }),
        }
    }
}

fn page<T>(values: Option<&[Option<T>]>, write: impl Fn(&T, &mut Vec<u8>)) -> Vec<u8> {
    let values = values.unwrap_or_default();
    // Definition levels in one bit-packed run of groups of eight.
    let groups = values.len().div_ceil(8);
    let mut levels = Vec::new();
    varint::write((groups as u64) << 1 | 1, &mut levels);
    for group in values.chunks(8) {
        let bits = group.iter().enumerate();
        levels.push(bits.fold(0, |byte, (at, value)| {
            byte | u8::from(value.is_some()) << at
        }));
    }
    let mut bytes = (levels.len() as u32).to_le_bytes().to_vec();
    bytes.append(&mut levels);
    values
        .iter()
        .flatten()
        .for_each(|value| write(value, &mut bytes));
    bytes
}

/// The file of a table whose columns have equally many rows.
pub(crate) fn encode(columns: &[Column]) -> Vec<u8> {
    let rows = columns.first().map_or(0, |column| column.values.rows());
    let mut file = MAGIC.to_vec();
    let mut chunks = Vec::new();
    let first = file.len();
    for column in columns {
        let start = file.len();
        column.write_pages(rows, &mut file);
        let kind = column.values.physical_type();
        let bytes = (file.len() - start) as u64;
        chunks.push(column_chunk(
            kind,
            &[column.name],
            rows as u64,
            start as u64,
            bytes,
        ));
    }
    let mut group = Struct::default();
    group.structs(1, chunks);
    group.long(2, (file.len() - first) as i64);
    group.long(3, rows as i64);
    let start = file.len();
    let mut footer = Struct::default();
    footer.int(1, 1);
    footer.structs(2, schema(columns));
    footer.long(3, rows as i64);
    footer.structs(4, vec![group]);
    footer.text(6, CREATED_BY);
    footer.finish(&mut file);
    let bytes = (file.len() - start) as u32;
    file.extend_from_slice(&bytes.to_le_bytes());
    file.extend_from_slice(MAGIC);
    file
}

/// `PageHeader` of a data page.
fn page_header(bytes: usize, rows: usize) -> Struct {
    let mut page = Struct::default();
    page.int(1, rows as i64);
    // PLAIN; RLE, which includes bit-packed, for both kinds of levels.
    page.int(2, 0);
    page.int(3, 3);
    page.int(4, 3);
    let mut header = Struct::default();
    header.int(1, 0);
    header.int(2, bytes as i64);
    header.int(3, bytes as i64);
    header.nested(5, page);
    header
}

/// `SchemaElement`s: the root, then the columns.
fn schema(columns: &[Column]) -> Vec<Struct> {
    let mut root = Struct::default();
    root.text(4, "schema");
    root.int(5, columns.len() as i64);
    [root]
        .into_iter()
        .chain(columns.iter().map(schema_column))
        .collect()
}

/// `SchemaElement` of a column.
fn schema_column(column: &Column) -> Struct {
    let mut element = Struct::default();
    element.int(1, column.values.physical_type());
    // OPTIONAL
    element.int(3, 1);
    element.text(4, column.name);
    if matches!(column.values, Values::Text(_)) {
        // UTF8
        element.int(6, 0);
    }
    element
}

/// `ColumnChunk`.
fn column_chunk(kind: i64, path: &[&str], values: u64, start: u64, bytes: u64) -> Struct {
    let mut data = Struct::default();
    data.int(1, kind);
    data.ints(2, &[0, 3]);
    data.texts(3, path);
    data.int(4, 0);
    data.long(5, values as i64);
    data.long(6, bytes as i64);
    data.long(7, bytes as i64);
    data.long(9, start as i64);
    let mut chunk = Struct::default();
    chunk.long(2, start as i64);
    chunk.nested(3, data);
    chunk
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sha256::hex;
    use sha2::{Digest, Sha256};

    fn table(rows: usize) -> Vec<u8> {
        let texts: Vec<String> = (0..rows).map(|row| format!("é{row}")).collect();
        let some = |row: usize| !row.is_multiple_of(3);
        encode(&[
            Column {
                name: "text",
                values: Values::Text(
                    texts
                        .iter()
                        .enumerate()
                        .map(|(row, text)| some(row).then_some(text.as_str()))
                        .collect(),
                ),
            },
            Column {
                name: "integer",
                values: Values::Integers((0..rows).map(|row| Some(row as i32 - 5)).collect()),
            },
            Column {
                name: "float",
                values: Values::Floats(
                    (0..rows)
                        .map(|row| some(row).then_some(row as f32 / 4.0))
                        .collect(),
                ),
            },
            Column {
                name: "double",
                values: Values::Doubles((0..rows).map(|_| None).collect()),
            },
        ])
    }

    #[test]
    fn tables_are_those_that_pyarrow_read() {
        // pyarrow 26.0.1 read the tables with these digests back to the same values.
        let digest = |rows| hex(&Sha256::digest(table(rows)));
        assert_eq!(
            [0, 4, 50_001].map(digest),
            [
                "0c264946cdf6b18d3a12e7620b151b7547d472d7d2bad1410d1f20a61db5e026",
                "88daaa0c3bfb68f13f0b9d9ed44a01f23ec44affcb8c73da6d3724e0f78e6966",
                "aa42d5dc5ec195077db1f2e3072f69a59426c1d2bed9b3f6559d3e89a26e21a0",
            ]
        );
    }
}
