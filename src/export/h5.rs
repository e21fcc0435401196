//! HDF5: a dataset for each record.

use super::files::NewFile;
use super::hdf5::{Attribute, Hdf5Writer, Number};
use super::keys::{Keys, Names, text};
use super::source::Source;
use super::{ExportError, about::About};
use crate::product::OutDtype;
use std::path::Path;

/// Writes the file; the number of records that were left out.
pub(super) fn write(source: &mut Source, keys: Keys, out: &Path) -> Result<u64, ExportError> {
    let about = source.about()?;
    let number = number(source.dtype);
    let mut names = Names::new(source, keys, true, out)?;
    let (new, file) = NewFile::create(out)?;
    let failed = ExportError::io(out);
    let mut writer = Hdf5Writer::new(file).map_err(&failed)?;
    let mut rows = source.rows()?;
    let (mut bytes, mut repeated) = (Vec::new(), 0);
    while let Some(record) = rows.next()? {
        let shape = rows.read(&record, 0, &mut bytes)?;
        let Some(name) = names.next(&record)? else {
            repeated += 1;
            continue;
        };
        let id = Attribute::Text(text(&record.id));
        writer
            .write(&bytes)
            .and_then(|()| writer.end_dataset(&name, number, &shape, vec![("original_id", id)]))
            .map_err(&failed)?;
    }
    names.finish()?;
    let file = writer.finish(attributes(about)).map_err(&failed)?;
    new.finish(file)?;
    Ok(repeated)
}

pub(super) fn number(dtype: OutDtype) -> Number {
    match dtype {
        OutDtype::F32 => Number::F32,
        OutDtype::F16 => Number::F16,
    }
}

/// The attributes of the file.
fn attributes(about: About) -> Vec<(&'static str, Attribute)> {
    let mut all = vec![
        ("model_name", Attribute::Text(about.model_name)),
        ("model", Attribute::Text(about.model)),
    ];
    if let Some(layer) = about.layer {
        all.push(("layer", Attribute::Integer(layer as i64)));
    }
    if let Some(revision) = about.revision {
        all.push(("revision", Attribute::Text(revision)));
    }
    all
}
