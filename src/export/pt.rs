//! A folder with a file for each record, as fair-esm's `extract.py` writes them: PyTorch's archive of a
//! dictionary with `label` and, where the run has them, `mean_representations`, `bos_representations`,
//! `representations` (each by layer) and `contacts`.
//!
//! `label` is the whole header. The file has the name of the header, too, unless that is not a valid file
//! name on every system, or equal to an earlier one up to case: then it is the valid part and a hash, as
//! for residue files. `|`, which headers of UniProt have, is kept.

use super::ExportError;
use super::archive::Archive;
use super::arrays::exported;
use super::files::NewFolder;
use super::keys::text;
use super::pickle::{Tensor, Value, encode};
use super::source::{Rows, Source};
use crate::output::{Array, FileNames, Record};
use crate::product::{OutDtype, Pool, Product};
use std::fs::File;
use std::io::{self, BufWriter};
use std::path::Path;
use zip::CompressionMethod;
use zip::write::SimpleFileOptions;

/// Numbers begin at a multiple of this, for memory-mapping.
const ALIGNMENT: u16 = 64;
const ENDING: &str = ".pt";

pub(super) fn write(source: &mut Source, out: &Path) -> Result<(), ExportError> {
    let folder = source.folder;
    let product = |array: &Array| exported(folder, array.product);
    let products: Vec<Product> = source.arrays.iter().map(product).collect();
    let dtype = source.dtype;
    let folder = NewFolder::create(out)?;
    let mut names = FileNames::temporary(out);
    let mut rows = source.rows()?;
    let mut parts = vec![Vec::new(); products.len()];
    while let Some(record) = rows.next()? {
        let label = label(&record);
        let name = file_name(&mut names, &label, record.row).map_err(ExportError::io(out))?;
        let tensors = read(&mut rows, &record, dtype, &mut parts)?;
        let path = folder.path().join(name);
        write_file(&path, &label, &products, &tensors, &parts).map_err(ExportError::io(&path))?;
    }
    folder.finish()
}

/// The whole header.
fn label(record: &Record) -> String {
    let id = text(&record.id);
    match record.description.is_empty() {
        true => id,
        false => format!("{id} {}", text(&record.description)),
    }
}

/// The name of a file: of the header with `|`, which file systems of Unix allow, if all else in it is
/// allowed everywhere.
fn file_name(names: &mut FileNames, label: &str, row: u64) -> io::Result<String> {
    let plain = label.replace('|', "_");
    let name = names.assign(plain.as_bytes(), row)?;
    let stem = name.strip_suffix(".npy").unwrap_or(&name);
    let stem = if stem == plain { label } else { stem };
    Ok(format!("{stem}{ENDING}"))
}

/// Reads the numbers of a record into `parts`, one for each array.
fn read(
    rows: &mut Rows,
    record: &Record,
    dtype: OutDtype,
    parts: &mut [Vec<u8>],
) -> Result<Vec<Tensor>, ExportError> {
    let one = |(file, bytes): (usize, &mut Vec<u8>)| {
        let shape = rows.read(record, file, bytes)?;
        Ok(Tensor { file, dtype, shape })
    };
    parts.iter_mut().enumerate().map(one).collect()
}

fn write_file(
    path: &Path,
    label: &str,
    products: &[Product],
    tensors: &[Tensor],
    parts: &[Vec<u8>],
) -> io::Result<()> {
    let mut zip = Archive::new(BufWriter::new(File::create_new(path)?));
    let mut member = |name: &str, bytes: &[u8]| {
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .with_alignment(ALIGNMENT)
            .large_file(bytes.len() >= u32::MAX as usize);
        zip.begin(format!("archive/{name}"), options)?;
        zip.write(bytes)
    };
    member("data.pkl", &encode(&contents(label, products, tensors)))?;
    member("byteorder", b"little")?;
    for (file, bytes) in parts.iter().enumerate() {
        member(&format!("data/{file}"), bytes)?;
    }
    member("version", b"3\n")?;
    let file = zip
        .finish()?
        .into_inner()
        .map_err(io::IntoInnerError::into_error)?;
    file.sync_all()
}

/// The dictionary of a record.
fn contents<'a>(label: &'a str, products: &[Product], tensors: &'a [Tensor]) -> Value<'a> {
    let by_layer = |layer_of: fn(Product) -> Option<usize>| {
        let all = products.iter().zip(tensors);
        all.filter_map(|(&product, tensor)| Some((layer_of(product)?, Value::Tensor(tensor))))
            .collect::<Vec<_>>()
    };
    let mut items = vec![("label", Value::Text(label))];
    for (name, layer_of) in LAYERED {
        let layers = by_layer(layer_of);
        if !layers.is_empty() {
            items.push((name, Value::ByLayer(layers)));
        }
    }
    let contacts = products
        .iter()
        .zip(tensors)
        .find(|(product, _)| **product == Product::Contacts);
    items.extend(contacts.map(|(_, tensor)| ("contacts", Value::Tensor(tensor))));
    Value::ByText(items)
}

/// The layer of a product, where it belongs to a key.
type LayerOf = fn(Product) -> Option<usize>;

/// What is stored by layer, and the layer of a product that belongs there.
const LAYERED: [(&str, LayerOf); 3] = [
    ("representations", |product| match product {
        Product::Residues { layer } => Some(layer),
        _ => None,
    }),
    ("mean_representations", |product| match product {
        Product::Pooled {
            layer,
            pool: Pool::Mean,
        } => Some(layer),
        _ => None,
    }),
    ("bos_representations", |product| match product {
        Product::Pooled {
            layer,
            pool: Pool::Bos,
        } => Some(layer),
        _ => None,
    }),
];
