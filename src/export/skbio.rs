//! scikit-bio's format `embed`: an HDF5 file with the rows of all records in `embedding`, their
//! sequences in `id`, and where each record ends in `idptr`. With one row for each record,
//! `embedding_ptr` says where its rows end.
//!
//! Source: `skbio/io/format/embed.py` of scikit-bio 0.7.4. Its text calls the dataset `embeddings`;
//! its code reads `embedding`.

use super::ExportError;
use super::files::NewFile;
use super::h5::number;
use super::hdf5::{Attribute, Hdf5Writer, Number};
use super::source::Source;
use crate::product::{Extent, OutDtype};
use std::path::Path;

pub(super) fn write(source: &mut Source, out: &Path) -> Result<(), ExportError> {
    let array = source.array()?;
    let (dtype, dim) = (source.dtype, array.model.dim as u64);
    let is_pooled = array.product.extent() == Extent::Record;
    let mut sequences = source.sequences()?;
    let (new, file) = NewFile::create(out)?;
    let failed = ExportError::io(out);
    let mut writer = Hdf5Writer::new(file).map_err(&failed)?;
    let end_dataset = |writer: &mut Hdf5Writer, name: &str, number: Number, shape: &[u64]| {
        writer
            .end_dataset(name, number, shape, Vec::new())
            .map_err(&failed)
    };

    let (mut bytes, mut count) = (Vec::new(), 0);
    let mut rows = source.rows()?;
    while let Some(record) = rows.next()? {
        let shape = rows.read(&record, 0, &mut bytes)?;
        count += if is_pooled {
            1
        } else {
            shape.first().copied().unwrap_or(0)
        };
        writer.write(&bytes).map_err(ExportError::io(out))?;
    }
    drop(rows);
    end_dataset(&mut writer, "embedding", number(dtype), &[count, dim])?;

    let (mut letters, mut index) = (0, source.index()?);
    while let Some(record) = index.next()? {
        let sequence = sequences.next(&record)?.letters;
        letters += sequence.len() as u64;
        writer.write(sequence).map_err(ExportError::io(out))?;
    }
    sequences.finish()?;
    end_dataset(&mut writer, "id", Number::U8, &[letters])?;

    let (mut end, mut index) = (0, source.index()?);
    while let Some(record) = index.next()? {
        end += record.length as i64;
        writer
            .write(&end.to_le_bytes())
            .map_err(ExportError::io(out))?;
    }
    let records = source.records();
    end_dataset(&mut writer, "idptr", Number::I64, &[records])?;

    if is_pooled {
        for end in 1..=records {
            writer
                .write(&end.to_le_bytes())
                .map_err(ExportError::io(out))?;
        }
        end_dataset(&mut writer, "embedding_ptr", Number::I64, &[records])?;
    }
    let name = match dtype {
        OutDtype::F32 => "float32",
        OutDtype::F16 => "float16",
    };
    let text = |text: &str| Attribute::Text(text.to_owned());
    let attributes = vec![
        ("format", text("embedding")),
        ("format-version", text("1.0")),
        ("dtype", text(name)),
        ("dim", Attribute::Integer(dim as i64)),
    ];
    let file = writer.finish(attributes).map_err(ExportError::io(out))?;
    new.finish(file)
}
