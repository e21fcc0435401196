//! Which files an output folder holds, and which bytes of them a record owns.

use crate::output::counts::Counts;
use crate::output::ids::IDS_NPY;
use crate::output::npy::HEADER_BYTES;
pub use crate::product::{OutDtype, Pool, Residues};
use serde::{Deserialize, Serialize};

/// Name of the file whose presence means that a run is complete.
pub const RUN_JSON: &str = "run.json";
/// Name of the table of records.
pub const INDEX_TSV: &str = "index.tsv";
/// Name of the table of records that were left out.
pub const SKIPPED_TSV: &str = "skipped.tsv";
/// Name of the table that says where the records of a shard stand in the whole input.
pub const SHARD_TSV: &str = "shard.tsv";
/// Name of the folder in which an unfinished run works.
pub const PARTIAL: &str = ".partial";

/// Files in one sub-folder of `residues.layerN/`, at most.
const FILES_PER_FOLDER: u64 = 1000;

/// What a run writes: enough to name every file and to find every row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layout {
    /// Layers, counted from the scaled embedding (0); never negative.
    pub layers: Vec<usize>,
    /// One file per layer for each of these.
    pub pools: Vec<Pool>,
    /// Where per-residue rows go.
    pub residues: Residues,
    /// How numbers are stored.
    pub dtype: OutDtype,
    /// Columns of every matrix.
    pub dim: usize,
}

impl Layout {
    /// Name of the matrix `[records, dim]` of one pool.
    pub fn pooled_file(pool: Pool, layer: usize) -> String {
        format!("{}.layer{layer}.npy", pool.name())
    }

    /// Name of the matrix `[residues, dim]` of one layer.
    pub fn residues_file(layer: usize) -> String {
        format!("residues.layer{layer}.npy")
    }

    /// Name of the folder with one file per record.
    pub fn residues_folder(layer: usize) -> String {
        format!("residues.layer{layer}")
    }

    /// Name of the list of checksums of that folder, as `sha256sum -c` reads it.
    pub fn checksum_file(layer: usize) -> String {
        format!("residues.layer{layer}.sha256")
    }

    /// The sub-folder of `residues.layerN/` that holds the file of a row: 1,000 rows each.
    pub fn sub_folder(row: u64) -> String {
        format!("{:06}", row / FILES_PER_FOLDER)
    }

    /// The rows whose files are in the sub-folder of this number.
    pub(super) fn rows_of_folder(number: u64) -> Option<std::ops::Range<u64>> {
        let first = number.checked_mul(FILES_PER_FOLDER)?;
        Some(first..first.checked_add(FILES_PER_FOLDER)?)
    }

    /// Bytes of one row of any matrix.
    pub fn row_bytes(&self) -> u64 {
        (self.dim as u64).saturating_mul(self.dtype.bytes())
    }

    /// First byte of a row in its file, or `None` beyond 2^64.
    pub fn row_at(&self, row: u64) -> Option<u64> {
        row.checked_mul(self.row_bytes())?
            .checked_add(HEADER_BYTES as u64)
    }

    /// The matrices with one row per record.
    pub fn pooled_files(&self) -> Vec<String> {
        let of_layer = |&layer: &usize| {
            self.pools
                .iter()
                .map(move |&pool| Self::pooled_file(pool, layer))
        };
        self.layers.iter().flat_map(of_layer).collect()
    }

    /// The matrices with one row per residue.
    pub fn residues_files(&self) -> Vec<String> {
        self.per_layer(Residues::Packed, Self::residues_file)
    }

    /// The folders with one file per record.
    pub fn residues_folders(&self) -> Vec<String> {
        self.per_layer(Residues::Files, Self::residues_folder)
    }

    /// The lists of checksums of those folders.
    pub fn checksum_files(&self) -> Vec<String> {
        self.per_layer(Residues::Files, Self::checksum_file)
    }

    /// Every file that `run.json` lists for these counts, with the shape of matrices.
    pub(super) fn files(
        &self,
        counts: &Counts,
        is_shard: bool,
        has_ids: bool,
    ) -> Vec<(String, Option<[u64; 2]>)> {
        let dim = self.dim as u64;
        let table = |name: &str| (name.to_owned(), None);
        let matrix = |rows: u64| move |name: String| (name, Some([rows, dim]));
        let mut files = vec![table(INDEX_TSV)];
        if counts.skipped > 0 {
            files.push(table(SKIPPED_TSV));
        }
        if is_shard {
            files.push(table(SHARD_TSV));
        }
        if has_ids {
            files.push(table(IDS_NPY));
        }
        files.extend(self.pooled_files().into_iter().map(matrix(counts.records)));
        files.extend(
            self.residues_files()
                .into_iter()
                .map(matrix(counts.residues)),
        );
        files.extend(self.checksum_files().into_iter().map(|name| (name, None)));
        files
    }

    /// Everything that a run may put directly into its output folder.
    pub fn names(&self) -> Vec<String> {
        let mut names = [RUN_JSON, INDEX_TSV, SKIPPED_TSV, SHARD_TSV, IDS_NPY]
            .map(String::from)
            .to_vec();
        names.extend(self.pooled_files());
        names.extend(self.residues_files());
        names.extend(self.residues_folders());
        names.extend(self.checksum_files());
        names
    }

    fn per_layer(&self, residues: Residues, name: fn(usize) -> String) -> Vec<String> {
        if self.residues != residues {
            return Vec::new();
        }
        self.layers.iter().map(|&layer| name(layer)).collect()
    }
}

/// Whether `name` is that of a file, `run.json` aside, that some layout puts directly into the
/// output folder. Nothing else is ever read or removed on the word of a `run.json`.
pub(super) fn is_file_name(name: &str) -> bool {
    if [INDEX_TSV, SKIPPED_TSV, SHARD_TSV, IDS_NPY].contains(&name) {
        return true;
    }
    let Some((what, rest)) = name.split_once(".layer") else {
        return false;
    };
    match rest.split_once('.') {
        Some((layer, "npy")) => {
            is_number(layer)
                && (what == "residues" || Pool::ALL.iter().any(|pool| pool.name() == what))
        }
        Some((layer, "sha256")) => is_number(layer) && what == "residues",
        _ => false,
    }
}

/// Whether `name` is that of a folder of per-record files.
pub(super) fn is_folder_name(name: &str) -> bool {
    name.strip_prefix("residues.layer").is_some_and(is_number)
}

/// Whether `name` is that of a sub-folder of such a folder.
pub(super) fn is_sub_folder_name(name: &str) -> bool {
    name.len() >= 6 && name.len() <= 20 && name.bytes().all(|byte| byte.is_ascii_digit())
}

/// A decimal number as `format!` writes a `usize`.
fn is_number(text: &str) -> bool {
    text.parse::<u64>()
        .is_ok_and(|number| number.to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(residues: Residues) -> Layout {
        Layout {
            layers: vec![6, 33],
            pools: vec![Pool::Mean, Pool::Max],
            residues,
            dtype: OutDtype::F16,
            dim: 320,
        }
    }

    #[test]
    fn names_of_a_packed_run() {
        assert_eq!(
            layout(Residues::Packed).names(),
            [
                "run.json",
                "index.tsv",
                "skipped.tsv",
                "shard.tsv",
                "ids.npy",
                "mean.layer6.npy",
                "max.layer6.npy",
                "mean.layer33.npy",
                "max.layer33.npy",
                "residues.layer6.npy",
                "residues.layer33.npy"
            ]
        );
    }

    #[test]
    fn names_of_a_run_with_files() {
        let names = layout(Residues::Files).names();
        assert_eq!(
            names[9..],
            [
                "residues.layer6",
                "residues.layer33",
                "residues.layer6.sha256",
                "residues.layer33.sha256"
            ]
        );
        assert_eq!(layout(Residues::None).names().len(), 9);
    }

    #[test]
    fn rows_follow_the_header() {
        let layout = layout(Residues::Packed);
        assert_eq!(layout.row_bytes(), 640);
        assert_eq!(layout.row_at(0), Some(128));
        assert_eq!(layout.row_at(1_000_000), Some(640_000_128));
        assert_eq!(layout.row_at(u64::MAX / 640 + 1), None);
    }

    #[test]
    fn a_thousand_rows_share_a_folder() {
        assert_eq!(Layout::sub_folder(0), "000000");
        assert_eq!(Layout::sub_folder(999), "000000");
        assert_eq!(Layout::sub_folder(1000), "000001");
        assert_eq!(Layout::sub_folder(1_234_567_890), "1234567");
    }

    #[test]
    fn every_name_of_a_layout_is_known_and_no_other() {
        for residues in [Residues::Packed, Residues::Files, Residues::None] {
            let layout = layout(residues);
            let folders = layout.residues_folders();
            for name in layout.names().iter().filter(|name| *name != RUN_JSON) {
                assert!(
                    is_file_name(name) || folders.contains(name) && is_folder_name(name),
                    "{name}"
                );
            }
        }
        for name in [
            "",
            ".",
            "..",
            "run.json",
            "thesis.doc",
            "mean.layer.npy",
            "mean.layer06.npy",
            "mean.layer+6.npy",
            "mean.layer-1.npy",
            "mean.layer6.npy/..",
            "../mean.layer6.npy",
            "mean.layer6.npy.npy",
            "min.layer6.npy",
            "mean.layer6.sha256",
            "residues.layer6",
            "/etc/passwd",
            "mean.layer6/../../x.npy",
        ] {
            assert!(!is_file_name(name), "{name}");
        }
        for name in [
            "residues.layer",
            "residues.layer6/..",
            "residues.layer6.npy",
            "residues.layer٣",
        ] {
            assert!(!is_folder_name(name), "{name}");
        }
    }
}
