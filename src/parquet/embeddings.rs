//! A table with an embedding in each row: `id`, `sequence_length` and `embedding`, a list of fixed
//! size. It is written row by row; memory holds the ids of a group of rows.

use super::thrift::Struct;
use super::{CREATED_BY, Column, MAGIC, Values, column_chunk, page_header, schema_column};
use crate::varint;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use std::io::{self, Write};

/// Bytes of a page.
const PAGE_BYTES: usize = 1 << 20;
/// Bytes of a group of rows.
const GROUP_BYTES: usize = 64 << 20;
/// The schema of Apache Arrow, without which readers take the lists for those of any size: what
/// pyarrow 26 gives for `pa.schema([("id", pa.string()), ("sequence_length", pa.int32()),
/// pa.field("embedding", pa.list_(pa.field("element", pa.float32(), nullable=False), 0x7fffffff),
/// nullable=False)]).serialize()`.
const ARROW_SCHEMA: &[u8] = include_bytes!("arrow_schema.bin");
/// The size of the lists in it.
const SIZE: [u8; 4] = 0x7fff_ffff_u32.to_le_bytes();

/// A table that is being written.
pub(crate) struct EmbeddingTable<W> {
    file: W,
    position: u64,
    width: usize,
    rows: u64,
    groups: Vec<Struct>,
    /// Of the group that is being written.
    ids: Vec<String>,
    lengths: Vec<Option<i32>>,
    start: u64,
    page: Vec<u8>,
}

impl<W: Write> EmbeddingTable<W> {
    /// Begins a table of embeddings with `width` numbers each.
    pub(crate) fn new(mut file: W, width: usize) -> io::Result<Self> {
        file.write_all(MAGIC)?;
        let position = MAGIC.len() as u64;
        Ok(Self {
            file,
            position,
            width,
            rows: 0,
            groups: Vec::new(),
            ids: Vec::new(),
            lengths: Vec::new(),
            start: position,
            page: Vec::new(),
        })
    }

    /// Adds a row; its numbers are 32-bit floats, little-endian. A length beyond 2^31 is absent.
    pub(crate) fn add(&mut self, id: String, length: u64, numbers: &[u8]) -> io::Result<()> {
        self.ids.push(id);
        self.lengths.push(i32::try_from(length).ok());
        self.page.extend_from_slice(numbers);
        if self.page.len() >= PAGE_BYTES {
            self.end_page()?;
        }
        if self.ids.len() * self.row_bytes() >= GROUP_BYTES {
            self.end_group()?;
        }
        Ok(())
    }

    /// Writes the rest of the file, with texts about it.
    pub(crate) fn finish(mut self, about: &[(&str, String)]) -> io::Result<W> {
        self.end_group()?;
        let mut footer = Struct::default();
        footer.int(1, 1);
        footer.structs(2, self.schema());
        footer.long(3, self.rows as i64);
        footer.structs(4, std::mem::take(&mut self.groups));
        let arrow = ("ARROW:schema", arrow_schema(self.width));
        let texts = about.iter().cloned().chain([arrow]);
        let texts = texts.map(|(key, value)| {
            let mut text = Struct::default();
            text.text(1, key);
            text.text(2, &value);
            text
        });
        footer.structs(5, texts.collect());
        footer.text(6, CREATED_BY);
        let mut bytes = Vec::new();
        footer.finish(&mut bytes);
        let size = bytes.len() as u32;
        bytes.extend(size.to_le_bytes());
        bytes.extend(MAGIC);
        self.append(&bytes)?;
        Ok(self.file)
    }

    fn row_bytes(&self) -> usize {
        4 * self.width.max(1)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    /// Writes the numbers of some rows.
    fn end_page(&mut self) -> io::Result<()> {
        let page = std::mem::take(&mut self.page);
        let rows = page.len() / self.row_bytes();
        if rows == 0 {
            return Ok(());
        }
        let numbers = rows * self.width;
        // Levels in runs of equal ones. A repetition level of 0 begins a list.
        let mut levels = Vec::new();
        for _ in 0..rows {
            run(1, 0, &mut levels);
            if self.width > 1 {
                run(self.width - 1, 1, &mut levels);
            }
        }
        let mut bytes = (levels.len() as u32).to_le_bytes().to_vec();
        bytes.append(&mut levels);
        // Every number is there.
        run(numbers, 1, &mut levels);
        bytes.extend((levels.len() as u32).to_le_bytes());
        bytes.append(&mut levels);
        let mut header = Vec::new();
        page_header(bytes.len() + page.len(), numbers).finish(&mut header);
        self.append(&header)?;
        self.append(&bytes)?;
        self.append(&page)
    }

    /// Ends a group of rows: the columns besides the numbers follow them.
    fn end_group(&mut self) -> io::Result<()> {
        self.end_page()?;
        let rows = self.ids.len();
        if rows == 0 {
            return Ok(());
        }
        let start = self.start;
        let path = ["embedding", "list", "element"];
        let bytes = self.position - start;
        let numbers = column_chunk(4, &path, (rows * self.width) as u64, start, bytes);
        let ids = std::mem::take(&mut self.ids);
        let columns = [
            Column {
                name: "id",
                values: Values::Text(ids.iter().map(|id| Some(id.as_str())).collect()),
            },
            Column {
                name: "sequence_length",
                values: Values::Integers(std::mem::take(&mut self.lengths)),
            },
        ];
        let mut chunks = Vec::new();
        for column in &columns {
            let (start, mut page) = (self.position, Vec::new());
            column.write_pages(rows, &mut page);
            self.append(&page)?;
            let kind = column.values.physical_type();
            let bytes = self.position - start;
            chunks.push(column_chunk(
                kind,
                &[column.name],
                rows as u64,
                start,
                bytes,
            ));
        }
        chunks.push(numbers);
        let mut group = Struct::default();
        group.structs(1, chunks);
        group.long(2, (self.position - start) as i64);
        group.long(3, rows as i64);
        self.groups.push(group);
        self.rows += rows as u64;
        self.start = self.position;
        Ok(())
    }

    /// `SchemaElement`s: a list is a group with a repeated group of its elements.
    fn schema(&self) -> Vec<Struct> {
        let mut root = Struct::default();
        root.text(4, "schema");
        root.int(5, 3);
        let mut list = Struct::default();
        list.int(3, 0);
        list.text(4, "embedding");
        list.int(5, 1);
        // LIST
        list.int(6, 3);
        let mut repeated = Struct::default();
        repeated.int(3, 2);
        repeated.text(4, "list");
        repeated.int(5, 1);
        let mut element = Struct::default();
        element.int(1, 4);
        element.int(3, 0);
        element.text(4, "element");
        let id = Column {
            name: "id",
            values: Values::Text(Vec::new()),
        };
        let length = Column {
            name: "sequence_length",
            values: Values::Integers(Vec::new()),
        };
        vec![
            root,
            schema_column(&id),
            schema_column(&length),
            list,
            repeated,
            element,
        ]
    }
}

/// Appends `count` equal levels of one bit.
fn run(count: usize, level: u8, bytes: &mut Vec<u8>) {
    varint::write((count as u64) << 1, bytes);
    bytes.push(level);
}

/// The schema of Apache Arrow for lists of this size.
fn arrow_schema(width: usize) -> String {
    let mut bytes = ARROW_SCHEMA.to_vec();
    let place = bytes.windows(SIZE.len()).position(|four| four == SIZE);
    if let Some(four) = place.and_then(|at| bytes.get_mut(at..at + SIZE.len())) {
        four.copy_from_slice(&(width as u32).to_le_bytes());
    }
    BASE64_STANDARD.encode(bytes)
}
