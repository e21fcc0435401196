//! Comma-separated text: `id,d0,d1,…`.
//!
//! A number has the fewest digits that read back to the same 32-bit float.

use super::ExportError;
use super::files::NewFile;
use super::keys::text;
use super::source::Source;
use crate::product::OutDtype;
use half::f16;
use std::io::BufWriter;
use std::path::Path;

pub(super) fn write(source: &mut Source, out: &Path) -> Result<(), ExportError> {
    let width = source.array()?.model.dim;
    let dtype = source.dtype;
    let (new, file) = NewFile::create(out)?;
    let failed = |error: csv::Error| ExportError::io(out)(error.into());
    // The csv writer has its own buffer.
    let mut writer = csv::Writer::from_writer(file);
    let columns = (0..width).map(|column| format!("d{column}"));
    writer
        .write_record(std::iter::once("id".to_owned()).chain(columns))
        .map_err(failed)?;
    let mut bytes = Vec::new();
    let mut rows = source.rows()?;
    while let Some(record) = rows.next()? {
        rows.read(&record, 0, &mut bytes)?;
        writer.write_field(text(&record.id)).map_err(failed)?;
        for number in floats(dtype, &bytes) {
            writer.write_field(format!("{number:?}")).map_err(failed)?;
        }
        writer.write_record(None::<&[u8]>).map_err(failed)?;
    }
    let file = writer
        .into_inner()
        .map_err(|error| ExportError::io(out)(error.into_error()))?;
    new.finish(BufWriter::new(file))
}

/// The numbers that are stored as these bytes.
fn floats(dtype: OutDtype, bytes: &[u8]) -> Vec<f32> {
    match dtype {
        OutDtype::F32 => {
            let (numbers, _) = bytes.as_chunks();
            numbers
                .iter()
                .map(|&number| f32::from_le_bytes(number))
                .collect()
        }
        OutDtype::F16 => {
            let (numbers, _) = bytes.as_chunks();
            numbers
                .iter()
                .map(|&number| f16::from_le_bytes(number).to_f32())
                .collect()
        }
    }
}
