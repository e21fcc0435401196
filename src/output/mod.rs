//! The output folder: which file and which row every value goes to, and when it counts as done.
//!
//! [`Target::examine`] checks that nothing of value is in the way, and [`Target::begin`] opens a
//! working folder, `DIR/.partial/`. One thread enters the records in input order into the
//! [`Ledger`], which answers with the [`Place`] of each; any threads then write rows through the
//! [`ArrayWriter`], in whatever order batches finish, and enter the record in the [`Journal`].
//! [`OutputFolder::finish`] copies the rows of repeated sequences, takes the checksum of every file,
//! moves the files to their place and writes `run.json` last: a folder with a `run.json` is
//! complete, and one without it is not.
//!
//! # A run that did not finish
//!
//! [`Target::resume`] goes on with it. The records are entered again from the first, which gives
//! index and places anew, and nothing is trusted that does not prove itself: the journal has 24
//! bytes for each row, with a digest of the input up to its record, a checksum of the bytes of its
//! rows, and a checksum of its own. A record is done if its slot is whole and
//! [`ArrayWriter::holds`] finds those very bytes in the files; otherwise it is computed again. So
//! neither the order in which a dying machine kept its pages nor what somebody did to the files
//! since can end in a wrong row. A slot whose digest is of another input ends the run, as does
//! another checkpoint or option: `begun.json` says what the run was begun with.
//!
//! The rename of `run.json` within the working folder seals the run. From then on all that is left
//! is to move its files, and each step of that can be done again after a crash.
//!
//! What the working folder holds besides:
//!
//! | | |
//! |---|---|
//! | `lock` | locked as long as a run writes |
//! | `begun.json` | [`RunIdentity`] |
//! | `journal` | see [`Done`] |
//! | `places`, `duplicates`, `*.seen` | made anew whenever the run is gone on with |
//!
//! # A run that did
//!
//! What a folder holds:
//!
//! | | |
//! |---|---|
//! | `run.json` | [`Manifest`]: options, model, counts, checksums |
//! | `index.tsv` | one line per record, in input order: `row`, `id`, `length`, `residue_offset`, `flags`, (`file`,) `description` |
//! | `ids.npy` | the identifiers row by row, for NumPy; not there if one has more than 1,024 characters or the file would have more than 1 GiB |
//! | `mean.layer33.npy` | `[records, dim]`, for each layer and [`Pool`] |
//! | `residues.layer33.npy` | `[residues, dim]`; a record is rows `residue_offset` … + `length` |
//! | `residues.layer33/000000/ID.npy` | `[length, dim]`, instead of the packed matrix; the column `file` of the index gives the path below `residues.layer33/` |
//! | `residues.layer33.sha256` | the checksum of each of those files, for `sha256sum -c` |
//! | `skipped.tsv` | records left out, if there are any |
//! | `shard.tsv` | of a shard: where its records stand in the whole input, and what `merge` needs to know of them |
//!
//! Both tables hold one tab between fields, and fields written as [`escape`] says: a line is a
//! record, no field is ever quoted, and Python's `csv.reader(file, "excel-tab")`, pandas'
//! `read_csv(path, sep="\t", quoting=3, dtype=str, keep_default_na=False)` and `cut` read the same
//! fields. The last two options of pandas keep it from taking an identifier `NA` or `007` for
//! something else.
//!
//! Memory does not grow with the number of records: what has to be remembered of each is on disk,
//! in the working folder.
//!
//! ```
//! use esm_embed::output::*;
//! use esm_embed::product::Product;
//! use esm_embed::run_record::{Asked, Resolved};
//! # let home = tempfile::tempdir()?;
//! # let dir = home.path().join("emb");
//! let layout = Layout {
//!     layers: vec![6],
//!     pools: vec![Pool::Mean],
//!     residues: Residues::Packed,
//!     dtype: OutDtype::F32,
//!     dim: 2,
//!     include: Include::default(),
//! };
//! let mean = Product::Pooled { layer: 6, pool: Pool::Mean };
//! let residues = Product::Residues { layer: 6 };
//! let mut folder = OutputFolder::create(&dir, layout, false)?;
//! let (ledger, rows) = folder.split();
//! let entry = Entry { id: b"P1", length: 3, sequence: key(b"MKT"), ..Entry::default() };
//! let place = ledger.enter(&entry)?.place;
//! rows.write(mean, &place, &[2.0, 0.5])?;
//! rows.write(residues, &place, &[1.0, 0.5, 2.0, 0.5, 3.0, 0.5])?;
//! let manifest = folder.finish(Asked::default(), Resolved::default())?;
//! assert_eq!(manifest.counts.residues, 3);
//! assert!(inspect(&dir, true)?.is_sound());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod append_file;
mod array;
mod checksum;
mod counts;
mod disk;
mod disk_map;
mod error;
mod escape;
mod file_name;
mod ids;
mod index;
mod input_digest;
mod layout;
mod lock;
mod manifest;
mod merge;
mod note;
mod npy;
mod place;
mod publish;
mod read;
mod resume;
mod shard;
mod write;

pub use crate::product::{OutDtype, Pool};
pub use array::{Array, ArrayEntry, Dimension, Storage};
pub use counts::Counts;
pub(crate) use disk::{free_bytes, unnamed_file};
pub use disk_map::{DiskMap, Key, key};
pub use error::OutputError;
pub use escape::{escape, unescape};
pub use ids::{IDS_NPY, Ids, NoIds, id_text};
pub use index::{Entry, Skip};
pub use layout::{INDEX_TSV, Include, Layout, PARTIAL, RUN_JSON, Residues, SHARD_TSV, SKIPPED_TSV};
pub use manifest::{FORMAT_VERSION, FileEntry, FolderEntry, Manifest, ManifestError};
pub use merge::{MergeError, Merged, Shards, merge};
pub use note::{Note, Remark};
pub use npy::{HEADER_BYTES, header, parse_header};
pub use place::Place;
pub use read::inspect::{inspect, inspect_with_threads};
pub use read::report::{Problem, Report};
pub use resume::journal::{Done, Journal, SLOT_BYTES, read_journal};
pub use resume::proof::{Proof, Written};
pub use resume::run_identity::{FileStamp, RunIdentity, RunIdentityFile};
pub use shard::ShardEntry;
pub use write::array_writer::ArrayWriter;
pub use write::folder::{OutputFolder, Parts, sync_work};
pub use write::ledger::{Entered, Ledger};
pub use write::target::{Existing, State, Target};

#[cfg(test)]
mod tests;
