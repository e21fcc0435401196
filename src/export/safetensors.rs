//! safetensors: a tensor for each record.
//!
//! The header comes first and lists every tensor, so records are read twice: for the header, which is
//! written as they come, and for the values. The crate `safetensors` would hold all values in memory.

use super::ExportError;
use super::arrays::record_shape;
use super::files::NewFile;
use super::keys::{Keys, Names};
use super::source::Source;
use crate::product::OutDtype;
use std::collections::BTreeMap;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

/// The longest header that readers accept.
const MOST_HEADER_BYTES: u64 = 100_000_000;
/// The name that is not a tensor's.
const METADATA: &str = "__metadata__";

/// Writes the file; the number of records that were left out.
pub(super) fn write(source: &mut Source, keys: Keys, out: &Path) -> Result<u64, ExportError> {
    let array = source.array()?;
    let dtype = match source.dtype {
        OutDtype::F32 => "F32",
        OutDtype::F16 => "F16",
    };
    let (new, file) = NewFile::create(out)?;
    let failed = ExportError::io(out);
    let mut file = BufWriter::with_capacity(1 << 20, file);
    let metadata = serde_json::json!({ METADATA: metadata(source)? }).to_string();
    // The length of the header follows once it is known.
    let head = [&[0; 8][..], metadata.trim_end_matches('}').as_bytes(), b"}"].concat();
    file.write_all(&head).map_err(&failed)?;
    let mut header = head.len() as u64 - 8;

    let mut names = names(source, keys, out)?;
    let (mut start, mut index) = (0, source.index()?);
    while let Some(record) = index.next()? {
        let Some(name) = names.next(&record)? else {
            continue;
        };
        let shape = record_shape(&array, record.length);
        let bytes = shape.iter().product::<u64>() * source.dtype.bytes();
        let name = serde_json::Value::from(name);
        let end = start + bytes;
        let entry = format!(
            ",{name}:{{\"dtype\":\"{dtype}\",\"shape\":{},\"data_offsets\":[{start},{end}]}}",
            serde_json::json!(shape)
        );
        start = end;
        header += entry.len() as u64;
        file.write_all(entry.as_bytes()).map_err(&failed)?;
    }
    names.finish()?;
    // Padded with spaces, so that values begin at a multiple of 8.
    let padded = (header + 1).next_multiple_of(8);
    if padded > MOST_HEADER_BYTES {
        return Err(ExportError::Unfit(
            "safetensors lists every tensor in a header of at most 100 MB, and this one would be \
             longer\nhint: export to h5, npz or parquet"
                .into(),
        ));
    }
    let padding = " ".repeat((padded - header - 1) as usize);
    let patch = |file: &mut BufWriter<_>| {
        file.write_all(b"}")?;
        file.write_all(padding.as_bytes())?;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&padded.to_le_bytes())?;
        file.seek(SeekFrom::End(0)).map(drop)
    };
    patch(&mut file).map_err(&failed)?;

    let mut names = self::names(source, keys, out)?;
    let (mut bytes, mut repeated) = (Vec::new(), 0);
    let mut rows = source.rows()?;
    while let Some(record) = rows.next()? {
        rows.read(&record, 0, &mut bytes)?;
        match names.next(&record)? {
            Some(_) => file.write_all(&bytes).map_err(&failed)?,
            None => repeated += 1,
        }
    }
    new.finish(file)?;
    Ok(repeated)
}

fn names(source: &Source, keys: Keys, out: &Path) -> Result<Names, ExportError> {
    let mut names = Names::new(source, keys, false, out)?;
    names.reserve(METADATA)?;
    Ok(names)
}

/// What the file says about the run, as text.
fn metadata(source: &Source) -> Result<BTreeMap<&'static str, String>, ExportError> {
    let about = source.about()?;
    let mut all = BTreeMap::from([
        ("format", "pt".to_owned()),
        ("model_name", about.model_name),
        ("model", about.model),
        ("array", about.array),
    ]);
    all.extend(about.layer.map(|layer| ("layer", layer.to_string())));
    all.extend(about.revision.map(|revision| ("revision", revision)));
    Ok(all)
}
