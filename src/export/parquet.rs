//! Apache Parquet: `id`, `sequence_length` and `embedding`, a list of fixed size.

use super::ExportError;
use super::files::NewFile;
use super::keys::text;
use super::source::Source;
use crate::parquet::EmbeddingTable;
use std::io::BufWriter;
use std::path::Path;

pub(super) fn write(source: &mut Source, out: &Path) -> Result<(), ExportError> {
    let about = source.about()?;
    let width = source.array()?.model.dim;
    let (new, file) = NewFile::create(out)?;
    let failed = ExportError::io(out);
    let file = BufWriter::with_capacity(1 << 20, file);
    let mut table = EmbeddingTable::new(file, width).map_err(&failed)?;
    let (mut bytes, mut rows) = (Vec::new(), source.rows()?);
    while let Some(record) = rows.next()? {
        rows.read(&record, 0, &mut bytes)?;
        table
            .add(text(&record.id), record.length, &bytes)
            .map_err(&failed)?;
    }
    let texts = [
        ("model_name", about.model_name),
        ("model", about.model),
        ("array", about.array),
    ];
    new.finish(table.finish(&texts).map_err(&failed)?)
}
