//! The rows of a table of variants, checked against the proteins.

use super::job::VariantTable;
use super::mutation::Variant;
use super::proteins::{Entry, Proteins};
use super::skipped::Skipped;
use super::table::{MUTATIONS, Table};
use crate::pipeline::OnInvalid;
use crate::printable;
use anyhow::{Result, bail};
use std::collections::HashMap;

/// A table and what its rows ask for.
#[derive(Debug)]
pub struct Variants {
    /// The table.
    pub table: Table,
    /// For each row, the number of its protein and the variant; None for a row that is left out.
    pub rows: Vec<Option<(usize, Variant)>>,
    /// Rows that are left out.
    pub skipped: Vec<Skipped>,
}

impl Variants {
    /// Reads and checks all rows.
    ///
    /// # Errors
    /// A table that cannot be used, or the first row that cannot be scored if rows are not to be left
    /// out.
    pub fn read(
        asked: &VariantTable,
        proteins: &Proteins,
        on_invalid: OnInvalid,
    ) -> Result<Variants> {
        let records = &proteins.records;
        let table = Table::read(&asked.path, &asked.mutation_col)?;
        let mutations = table.column(&asked.mutation_col, MUTATIONS)?;
        let ids = match &asked.sequence_col {
            Some(name) => {
                Some(table.column(name, "name the column of proteins with `sequence_col`")?)
            }
            None if records.len() > 1 => bail!(
                "there are {} proteins, and nothing says which of them a variant belongs to\n\
                 hint: name the column with the identifiers of proteins with `sequence_col`",
                records.len()
            ),
            None => None,
        };
        let by_id: HashMap<&[u8], &Entry> = records
            .iter()
            .map(|record| (record.id.as_bytes(), record))
            .collect();
        let record_of = |id: Option<&[u8]>| match id {
            None => records.first().ok_or_else(|| "there is no protein".into()),
            Some(id) => by_id.get(id.trim_ascii()).copied().ok_or_else(|| {
                format!(
                    "expected the identifier of a protein in the FASTA file, found {}",
                    match id.trim_ascii() {
                        [] => "an empty cell".to_owned(),
                        id => printable::name(id),
                    }
                )
            }),
        };
        let ids = ids.map(|column| table.cells(column).map(|(_, id)| id).collect::<Vec<_>>());
        let (mut rows, mut skipped) = (Vec::new(), Vec::new());
        for (row, (line, cell)) in table.cells(mutations).enumerate() {
            let id = ids.as_ref().and_then(|ids| ids.get(row).copied());
            let text = String::from_utf8_lossy(cell).into_owned();
            let read = record_of(id).and_then(|record| {
                let why = |why| format!("record {}: {why}", printable::name(&record.id));
                let number = record.protein.clone().map_err(why)?;
                let protein = proteins.sound.get(number).ok_or("there is no protein")?;
                Ok((number, Variant::parse(&text, protein, asked.offset)?))
            });
            match (read, on_invalid) {
                (Ok(read), _) => rows.push(Some(read)),
                (Err(why), OnInvalid::Skip) => {
                    rows.push(None);
                    // The rest are hints.
                    let why = why.lines().next().unwrap_or_default().to_owned();
                    skipped.push(Skipped { line, text, why });
                }
                (Err(why), OnInvalid::Fail) => bail!(
                    "{}: {why}\n\
                     hint: correct it, or use `on_invalid=skip` to leave such rows without a score",
                    table.place(line)
                ),
            }
        }
        Ok(Variants {
            table,
            rows,
            skipped,
        })
    }
}
