//! The output folder: which file and which bytes of it each value goes to, and when a run is complete.
//!
//! A [`Layout`] lists the [`Array`]s of a run, one for each product. Everything here is a loop over
//! them: how an array is stored follows from the extent of its product, so a new product needs no
//! code in this module.
//!
//! [`Target::examine`] checks that nothing would be overwritten, and [`Target::begin`] opens a
//! working folder, `DIR/.partial/`. One thread enters the records in input order into the
//! [`Ledger`], which returns the [`Place`] of each. Any thread may then write values with the
//! [`ArrayWriter`], in whatever order batches finish, and enter the record in the [`Journal`].
//! [`OutputFolder::finish`] copies the values of repeated sequences, computes the checksum of every
//! file, moves the files to their places and writes `run.json` last: a folder with a `run.json` is
//! complete, and one without it is not.
//!
//! # Resuming
//!
//! [`Target::resume`] opens the work of an interrupted run. The records are entered again from the
//! first, which restores index and places, and nothing is trusted without proof: the journal has 24
//! bytes for each row, with a digest of the input up to its record, a checksum of the bytes of its
//! values, and a checksum of the slot itself. A record is done if its slot is intact and
//! [`ArrayWriter::holds`] finds exactly those bytes in the files; otherwise it is computed again.
//! So neither the order in which a crashing machine wrote its pages nor a later change of the files
//! can end in a wrong value. A slot whose digest belongs to another input ends the run, as does
//! another checkpoint or option: `begun.json` records how the run was started.
//!
//! Renaming `run.json` within the working folder seals the run. From then on only its files remain
//! to be moved, and each step of that can be repeated after a crash.
//!
//! The working folder also contains:
//!
//! | | |
//! |---|---|
//! | `lock` | locked while a run writes |
//! | `begun.json` | [`RunIdentity`] |
//! | `journal` | see [`Done`] |
//! | `status.json` | [`RunStatus`]: how far the run is, or how it ended |
//! | `places`, `duplicates`, `*.seen`, `*.seen.*` | rebuilt when the run is resumed |
//!
//! # Files of a complete run
//!
//! | | |
//! |---|---|
//! | `run.json` | [`Manifest`]: options, model, counts, arrays, checksums |
//! | `index.tsv` | one line per record, in input order: `row`, `id`, `length`, `residue_offset`, `flags`, (`file`,) `description` |
//! | `ids.npy` | the identifiers row by row, for NumPy; left out if one has more than 1,024 characters or the file would exceed 1 GiB |
//! | `mean.layer33.npy` | `[records, D]`, for each layer and [`Pool`] |
//! | `residues.layer33.npy` | `[residues, D]`; a record has rows `residue_offset` to `residue_offset + length - 1` |
//! | `residues.layer33/000000/ID.npy` | `[length, D]`, instead of the packed array; column `file` of the index has the path below `residues.layer33/` |
//! | `logits.npy`, `logits/000000/ID.npy` | `[residues, V]`, `[length, V]`, stored like residue rows |
//! | `contacts/000000/ID.npy` | `[length, length]` |
//! | `attentions/000000/ID.npy` | `[layers, heads, length + 2, length + 2]` |
//! | `residues.layer33.sha256` | the checksum of each file in the folder of that name, for `sha256sum -c` |
//! | `skipped.tsv` | records that were left out, if there are any |
//! | `links.npy` | only in a linked folder: for each row, the number of its shard and its row there |
//! | `shard.tsv` | only in a shard: the position of its records in the whole input, and what `merge` needs to know about them |
//!
//! Tables have one tab between fields, and fields are written by [`escape()`]: each line is one
//! record, no field is ever quoted, and Python's `csv.reader(file, "excel-tab")`, pandas'
//! `read_csv(path, sep="\t", quoting=3, dtype=str, keep_default_na=False)` and `cut` read the same
//! fields. Without the last two options, pandas would read the identifiers `NA` and `007` as
//! something else.
//!
//! What has to be remembered about each record is on disk, in the working folder. Memory grows by about
//! three bytes for each, and no further beyond 60 million.
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
mod destination;
mod disk;
mod disk_map;
mod error;
mod escape;
mod file_name;
mod folder_files;
mod ids;
mod index;
mod input_digest;
mod known;
mod layout;
mod link;
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
mod shard_file;
mod status;
mod write;

pub use crate::product::{OutDtype, Pool};
pub use array::{Array, ArrayEntry, Dimension, Storage};
pub use counts::Counts;
pub(crate) use destination::unfit_for_file;
pub(crate) use disk::{UNNAMED, free_bytes, remove_if_there, replace, sync_folder, unnamed_file};
pub use disk_map::{DiskMap, Key, key};
pub use error::OutputError;
pub use escape::{escape, unescape};
pub(crate) use file_name::{FileNames, file_names};
pub use folder_files::{IDS_NPY, LINKS_NPY};
pub use ids::{Ids, NoIds, id_text};
pub use index::{Entry, Skip};
pub use known::{Known, KnownBuilder, KnownError, KnownFolder, KnownRecord, ShardKeys};
pub use layout::{INDEX_TSV, Include, Layout, PARTIAL, RUN_JSON, Residues, SHARD_TSV, SKIPPED_TSV};
pub use link::Link;
pub(crate) use lock::{LOCK, Lock};
pub use manifest::{FORMAT_VERSION, FileEntry, FolderEntry, Manifest, ManifestError};
pub use merge::{MergeError, Merged, Shards, merge};
pub(crate) use note::noted_id;
pub use note::{Note, Remark};
pub(crate) use npy::integer_header;
pub use npy::{HEADER_BYTES, header, parse_header};
pub use place::Place;
pub use read::ReadError;
pub use read::array_values::ArrayValues;
pub use read::finished::FinishedFolder;
pub use read::inspect::{inspect, inspect_with_threads};
pub use read::record::{Record, Records};
pub use read::record_index::RecordIndex;
pub use read::report::{Problem, Report};
pub(crate) use read::summary::remarks;
pub use resume::journal::Journal;
pub use resume::proof::{Proof, Written};
pub use resume::run_identity::{FileStamp, RunIdentity, RunIdentityFile};
pub use resume::slot::{Done, SLOT_BYTES, read_journal};
pub use shard::ShardEntry;
pub use status::{
    Look, Planned, RunState, RunStatus, ShardState, StatusFile, Survey, look, record_end,
    set_command, survey,
};
pub use write::array_writer::{ArrayWriter, RecordWriter};
pub use write::folder::{OutputFolder, Parts, sync_work};
pub use write::ledger::{Entered, Ledger};
pub use write::target::{Existing, State, Target};

#[cfg(test)]
mod tests;
