//! NumPy's archive: the array under its name and `ids`; with rows of residues also `lengths`, the
//! number of rows of each record.

use super::ExportError;
use super::archive::Archive;
use super::arrays::record_shape;
use super::files::NewFile;
use super::source::Source;
use crate::output::{HEADER_BYTES, Ids, header, integer_header};
use crate::product::{Extent, OutDtype};
use std::io::{self, BufWriter};
use std::path::Path;
use zip::CompressionMethod;
use zip::write::SimpleFileOptions;

pub(super) fn write(source: &mut Source, out: &Path) -> Result<(), ExportError> {
    let array = source.array()?;
    let mut ids = Ids::default();
    let mut index = source.index()?;
    while let Some(record) = index.next()? {
        ids.add(&record.id);
    }
    let ids_bytes = ids.bytes().map_err(|why| {
        ExportError::Unfit(format!(
            "npz cannot hold the ids: {why}\nhint: export to h5"
        ))
    })?;
    let (new, file) = NewFile::create(out)?;
    let mut zip = Archive::new(BufWriter::with_capacity(1 << 20, file));
    let failed = ExportError::io(out);
    let mut index = source.index()?;
    begin(&mut zip, "ids", ids_bytes).map_err(&failed)?;
    let mut row = ids.npy_header().unwrap_or([0; HEADER_BYTES]).to_vec();
    loop {
        zip.write(&row).map_err(&failed)?;
        let Some(record) = index.next()? else {
            break;
        };
        row.clear();
        ids.append_row(&record.id, &mut row);
    }
    let counts = &source.folder.manifest().counts;
    if array.product.extent() == Extent::Residues {
        begin(
            &mut zip,
            "lengths",
            HEADER_BYTES as u64 + 8 * counts.records,
        )
        .map_err(&failed)?;
        let mut index = source.index()?;
        let mut row = integer_header(counts.records)
            .unwrap_or([0; HEADER_BYTES])
            .to_vec();
        loop {
            zip.write(&row).map_err(&failed)?;
            let Some(record) = index.next()? else {
                break;
            };
            row = record.length.to_le_bytes().to_vec();
        }
    }
    let mut shape = record_shape(&array, counts.residues);
    if array.product.extent() == Extent::Record {
        shape.insert(0, counts.records);
    }
    let values = shape.iter().product::<u64>();
    let size = HEADER_BYTES as u64 + values * source.dtype.bytes();
    begin(&mut zip, &array.name(), size).map_err(&failed)?;
    let mut bytes = array_header(source.dtype, &shape);
    let mut rows = source.rows()?;
    loop {
        zip.write(&bytes).map_err(&failed)?;
        let Some(record) = rows.next()? else {
            break;
        };
        rows.read(&record, 0, &mut bytes)?;
    }
    new.finish(zip.finish().map_err(failed)?)
}

/// Begins a member, stored as it is: embeddings do not get smaller.
fn begin(zip: &mut Archive, name: &str, bytes: u64) -> io::Result<()> {
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .large_file(bytes >= u64::from(u32::MAX));
    zip.begin(format!("{name}.npy"), options)
}

fn array_header(dtype: OutDtype, shape: &[u64]) -> Vec<u8> {
    header(dtype, shape).unwrap_or([0; HEADER_BYTES]).to_vec()
}
