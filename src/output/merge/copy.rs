//! Copies the values of a shard to their places, checked against its checksums as they are read.

use super::agree::Part;
use super::destinations::Places;
use super::hashed::Hashed;
use super::{MergeError, Shards};
use crate::output::array::{Array, Storage, checksum_list};
use crate::output::checksum::ListReader;
use crate::output::npy::{self, HEADER_BYTES};
use crate::output::write::folder::OutputFolder;
use std::io::Read;

/// Bytes read at a time of an array.
const BUFFER: usize = 1 << 20;

/// Copies every row of a shard, checking the checksum of what is read.
pub(super) fn copy(
    part: &Part,
    mut places: Places,
    folder: &OutputFolder,
    shards: Shards,
) -> Result<(), MergeError> {
    let layout = &part.manifest.layout;
    let counts = &part.manifest.counts;
    let rows = folder.rows();
    for array in layout.arrays() {
        if array.storage == Storage::Files {
            copy_files(part, &mut places, folder, &array, shards)?;
            continue;
        }
        let mut packed = open_packed(part, &array)?;
        places.each(counts.records, |place| {
            Ok(rows.pour(array.product, place, &mut packed)?)
        })?;
        packed.close()?;
    }
    Ok(())
}

/// Opens the file of an array at its first row.
fn open_packed<'a>(part: &'a Part, array: &Array) -> Result<Hashed<'a>, MergeError> {
    let name = array.location();
    let mut file = Hashed::open(part, &name, BUFFER)?;
    let mut header = [0; HEADER_BYTES];
    file.read_exact(&mut header)
        .map_err(|e| part.unreadable(&name, e))?;
    let elements = array.elements(&part.manifest.counts);
    if Some(header) != npy::header(array.dtype, &array.packed_shape(elements)) {
        return Err(file.damaged("its header does not match run.json"));
    }
    Ok(file)
}

/// Copies or links the files of single records of one array.
fn copy_files(
    part: &Part,
    places: &mut Places,
    folder: &OutputFolder,
    array: &Array,
    shards: Shards,
) -> Result<(), MergeError> {
    let name = &array.location();
    let list = &checksum_list(name);
    let mut whole = Hashed::open(part, list, BUFFER)?;
    std::io::copy(&mut whole, &mut std::io::sink()).map_err(|e| part.unreadable(list, e))?;
    whole.close()?;
    let mut listed =
        ListReader::open(&part.dir.join(list), name).map_err(|e| part.unreadable(list, e))?;
    places.each(part.manifest.counts.records, |place| {
        let file = listed
            .next()
            .transpose()
            .map_err(|e| part.unreadable(list, e))?
            .flatten()
            .ok_or_else(|| part.damaged(list, "has a line that no run writes"))?;
        let path = format!("{name}/{}/{}", file.sub, file.name);
        let mut source = Hashed::open_as(part, &path, file.sha256, 1 << 16)?;
        let rows = folder.rows();
        if shards == Shards::Remove
            && rows.link_file(array.product, place, &part.dir.join(&path))?
        {
            std::io::copy(&mut source, &mut std::io::sink())
                .map_err(|e| part.unreadable(&path, e))?;
        } else {
            rows.pour(array.product, place, &mut source)?;
        }
        source.close()
    })
}
