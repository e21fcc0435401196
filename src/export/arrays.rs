//! Which arrays are exported.

use super::{ExportError, Format};
use crate::output::{Array, FinishedFolder};
use crate::printable;
use crate::product::{Extent, Pool, Product};

/// A sentence about a format with one row for each record.
pub(super) fn one_row_only(format: &str, found: &str) -> String {
    format!(
        "{format} has one row for each record, and {found}\n\
         hint: export to h5, safetensors, npz or pt"
    )
}

/// The arrays: one, or for `pt` all that its files have a place for.
pub(super) fn choose(
    folder: &FinishedFolder,
    format: Format,
    name: Option<&str>,
    residues: bool,
) -> Result<Vec<Array>, ExportError> {
    let all = folder.arrays();
    let missing = |what: String| ExportError::NoArray {
        dir: folder.dir().to_path_buf(),
        what,
        arrays: all.iter().map(Array::name).collect(),
    };
    if format == Format::Pt && name.is_none() {
        let chosen: Vec<Array> = all
            .iter()
            .filter(|one| in_pt(one, residues))
            .copied()
            .collect();
        let has_rows = chosen.iter().any(|one| is_residues(one.product));
        return match chosen.is_empty() || residues && !has_rows {
            true => Err(missing(none_of(format, residues).into())),
            false => Ok(chosen),
        };
    }
    let named = match name {
        Some(name) => all.iter().find(|array| array.name() == name),
        None if residues => all
            .iter()
            .filter(|array| is_residues(array.product))
            .max_by_key(|array| layer(array.product)),
        None => folder.default_pooled(),
    };
    let named = named.ok_or_else(|| match name {
        Some(name) => missing(format!("array {}", printable::name(name))),
        None => missing(none_of(format, residues).into()),
    })?;
    let array = match residues && !is_residues(named.product) {
        false => *named,
        true => {
            let Some(layer) = layer(exported(folder, named.product)) else {
                let what = format!("{} has no residue rows of its own", named.name());
                let hint = "hint: leave out `residues`, or name an array of a layer";
                return Err(ExportError::Unfit(format!("{what}\n{hint}")));
            };
            let rows = folder.array(Product::Residues { layer }).copied();
            rows.ok_or_else(|| missing(none_of(format, true).into()))?
        }
    };
    fits(format, &array)?;
    Ok(vec![array])
}

/// Whether a format can hold an array.
fn fits(format: Format, array: &Array) -> Result<(), ExportError> {
    let (extent, name) = (array.product.extent(), array.name());
    let unfit = match (format, extent) {
        (_, Extent::TokenPairs) => Some(format!(
            "{name} may be larger than memory and is not exported\n\
             hint: numpy.load reads its files, which column `file` of index.tsv names"
        )),
        (Format::Parquet | Format::Csv, Extent::Residues) => {
            let found = format!("{name} has one for each residue");
            Some(one_row_only(format.name(), &found))
        }
        (Format::Parquet | Format::Csv | Format::Npz | Format::Skbio, Extent::Pairs) => {
            Some(format!(
                "{name} has a matrix for each record, which {} cannot hold\n\
                 hint: export to h5, safetensors or pt",
                format.name()
            ))
        }
        (Format::Pt, _) if !in_pt(array, true) => Some(format!(
            "{name} has no place in the files of extract.py\n\
             hint: export to h5, safetensors or npz"
        )),
        (Format::Skbio, Extent::Residues) if array.product == Product::Logits => Some(format!(
            "{name} is not an embedding\nhint: export to h5, safetensors or npz"
        )),
        _ => None,
    };
    unfit.map_or(Ok(()), |what| Err(ExportError::Unfit(what)))
}

fn none_of(format: Format, residues: bool) -> &'static str {
    match (residues, format) {
        (true, _) => "residue rows\nhint: run again with `residues=packed`, into another folder",
        (false, Format::Parquet | Format::Csv) => {
            "array with one row for each record\n\
             hint: run again with `pool=mean`, into another folder"
        }
        (false, _) => {
            "array with one row for each record\n\
             hint: run again with `pool=mean`, into another folder\n\
             hint: export another array with `array`, or the residue rows with `residues`"
        }
    }
}

/// Whether the files of `extract.py` have a place for an array.
fn in_pt(array: &Array, residues: bool) -> bool {
    match array.product {
        Product::Pooled { pool, .. } | Product::Stacked { pool } => {
            matches!(pool, Pool::Mean | Pool::Bos)
        }
        Product::Residues { .. } => residues,
        product => product == Product::Contacts,
    }
}

fn is_residues(product: Product) -> bool {
    matches!(product, Product::Residues { .. })
}

/// The product of an array whose rows are exported: of stacked layers, those of the highest.
pub(super) fn exported(folder: &FinishedFolder, product: Product) -> Product {
    let highest = folder.manifest().layout.layers.iter().max();
    match (product, highest) {
        (Product::Stacked { pool }, Some(&layer)) => Product::Pooled { layer, pool },
        _ => product,
    }
}

/// The layer that a product belongs to.
pub(super) fn layer(product: Product) -> Option<usize> {
    match product {
        Product::Pooled { layer, .. } | Product::Residues { layer } => Some(layer),
        _ => None,
    }
}

/// The shape of what is exported of a record.
pub(super) fn record_shape(array: &Array, residues: u64) -> Vec<u64> {
    match array.product {
        Product::Stacked { .. } => vec![array.model.dim as u64],
        _ => array.record_shape(residues),
    }
}
