//! The output folder of a run, from its beginning to `run.json`.

use crate::output::counts::InFallback;
use crate::output::disk;
use crate::output::error::OutputError;
use crate::output::layout::{Layout, Tables};
use crate::output::link::Link;
use crate::output::lock::Lock;
use crate::output::manifest::{self, Manifest};
use crate::output::place::PlaceReader;
use crate::output::publish::occupied::{check_targets, read_listed};
use crate::output::publish::{self, seal};
use crate::output::resume::journal::Journal;
use crate::output::resume::run_identity::RunIdentityFile;
use crate::output::resume::sweep;
use crate::output::shard::ShardEntry;
use crate::output::status::{OwnStatus, StatusFile};
use crate::output::write::array_writer::ArrayWriter;
use crate::output::write::ledger::{Closed, DUPLICATES, Ledger};
use crate::run_record::{Asked, Resolved};
use crate::threads::Threads;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An output folder that is being written.
///
/// Everything is written in `DIR/.partial/`; [`OutputFolder::finish`] moves it to its place. When
/// this value is dropped before that, only `.partial` is left, and nothing looks complete.
#[derive(Debug)]
pub struct OutputFolder {
    pub(crate) dir: PathBuf,
    pub(crate) partial: PathBuf,
    pub(crate) layout: Layout,
    pub(crate) identity: RunIdentityFile,
    pub(crate) shard: Option<ShardEntry>,
    pub(crate) ledger: Ledger,
    pub(crate) rows: ArrayWriter,
    pub(crate) journal: Journal,
    /// Tells those who watch how far the run is.
    pub(crate) status: OwnStatus,
    /// Held while this run writes.
    pub(crate) lock: Lock,
    /// Records with values that do not fit f16, besides those in the journal.
    pub(crate) in_fallback: InFallback,
    /// Different sequences whose values were copied from other folders.
    pub(crate) known: u64,
    /// The folders of the arrays, of which this one then has none.
    pub(crate) links: Vec<Link>,
    /// Whether this run resumes an earlier one.
    pub(crate) resumed: bool,
    /// Threads that sync files and compute checksums at the end.
    pub(crate) threads: Threads,
}

impl OutputFolder {
    /// Makes this the folder of one shard of an input. To be called before the first record.
    ///
    /// # Errors
    /// When `shard.tsv` cannot be created.
    pub fn set_shard(&mut self, shard: ShardEntry) -> Result<(), OutputError> {
        self.shard = Some(shard);
        self.ledger.keep_shard()
    }

    /// Threads that sync files and compute their checksums at the end; by default, only the caller.
    pub fn set_threads(&mut self, threads: Threads) {
        self.threads = threads;
    }

    /// The arrays and files of the run.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The working folder.
    pub(crate) fn partial(&self) -> &Path {
        &self.partial
    }

    /// Writes rows.
    pub(crate) fn rows(&self) -> &ArrayWriter {
        &self.rows
    }

    /// The two sides of the folder: one thread enters records in input order, any number of
    /// threads write rows.
    pub fn split(&mut self) -> (&mut Ledger, &ArrayWriter) {
        (&mut self.ledger, &self.rows)
    }

    /// All sides of the folder.
    pub fn parts(&mut self) -> Parts<'_> {
        Parts {
            ledger: &mut self.ledger,
            rows: &self.rows,
            journal: &self.journal,
            identity: &self.identity,
        }
    }

    /// Where the run tells how far it is.
    pub fn status(&self) -> Arc<StatusFile> {
        Arc::clone(&self.status.0)
    }

    /// Whether this run resumes an earlier one.
    pub fn is_resumed(&self) -> bool {
        self.resumed
    }

    /// Whether the folder is locked against other runs; false on a file system without locks.
    pub fn is_locked(&self) -> bool {
        self.lock.is_held()
    }

    /// Copies the values of duplicates, syncs every file, moves the files to their places, and writes
    /// `run.json` last.
    ///
    /// `asked` and `resolved` are written to `run.json`.
    ///
    /// # Errors
    /// When values are missing, a file cannot be written or moved, or something is in the way.
    /// Until `run.json` is in its place the folder does not look complete.
    pub fn finish(self, asked: Asked, resolved: Resolved) -> Result<Manifest, OutputError> {
        self.finish_as(env!("CARGO_PKG_VERSION"), asked, resolved)
    }

    /// The same with values that another version may have computed.
    pub(crate) fn finish_as(
        self,
        version: &str,
        asked: Asked,
        resolved: Resolved,
    ) -> Result<Manifest, OutputError> {
        let Closed {
            mut counts,
            ids,
            notes,
        } = self.ledger.close()?;
        let is_linked = !self.links.is_empty();
        let (stored, copies) = match is_linked {
            true => (self.layout.without_arrays(), InFallback::default()),
            false => (
                self.layout.clone(),
                copy_duplicates(&self.partial, &self.layout, &self.rows, &self.journal)?,
            ),
        };
        let computed = self.journal.count_in_fallback(counts.records)?;
        let all = [self.in_fallback, computed, copies];
        counts.known = self.known;
        counts.in_bf16 = all.iter().map(|some| some.bf16).sum();
        counts.in_f32 = all.iter().map(|some| some.f32).sum();
        self.rows.close(&counts)?;
        if self.resumed {
            sweep::sweep(&self.partial, &self.layout, counts.records)?;
        }
        let tables = Tables {
            shard: self.shard.is_some(),
            ids: ids.write(&self.partial)?,
            links: is_linked,
        };
        let sealed = seal::seal(&self.partial, &stored, &counts, tables, &self.threads)?;
        let manifest = Manifest {
            format_version: manifest::format_version(&self.layout, is_linked),
            esm_embed: version.into(),
            shard: self.shard,
            asked,
            resolved,
            layout: self.layout.clone(),
            counts,
            notes,
            arrays: self.layout.entries(&counts),
            links: self.links,
            files: sealed.files,
            folders: sealed.folders,
        };
        // Something may have been put into the folder during the run.
        let replaces = self.identity.identity().replaces;
        check_targets(&self.dir, &self.layout, replaces)?;
        if replaces {
            read_listed(&self.dir)?;
        }
        self.status.0.close();
        publish::publish(&self.dir, &self.partial, &manifest, replaces)?;
        self.lock.release();
        Ok(manifest)
    }
}

/// What the threads of a run work with.
#[derive(Debug)]
pub struct Parts<'a> {
    /// Where one thread enters records in input order.
    pub ledger: &'a mut Ledger,
    /// Where any thread writes rows.
    pub rows: &'a ArrayWriter,
    /// Where any thread enters a record whose rows are written.
    pub journal: &'a Journal,
    /// Which run this is.
    pub identity: &'a RunIdentityFile,
}

/// Makes the values and then the journal of a run durable.
///
/// # Errors
/// When the file system fails.
pub fn sync_work(rows: &ArrayWriter, journal: &Journal) -> Result<(), OutputError> {
    rows.sync()?;
    journal.sync()
}

/// Copies the values of the first record with a sequence to every later one. Returns how many of the
/// later ones have values that do not fit f16.
fn copy_duplicates(
    partial: &Path,
    layout: &Layout,
    rows: &ArrayWriter,
    journal: &Journal,
) -> Result<InFallback, OutputError> {
    let mut copies = InFallback::default();
    let path = partial.join(DUPLICATES);
    let kind = disk::kind(&path).map_err(|e| OutputError::io("reading", &path, e))?;
    if kind.is_none() {
        return Ok(copies);
    }
    let reading = |e| OutputError::io("reading", &path, e);
    let places = PlaceReader::open(partial, layout.has_files())?;
    let mut pairs = BufReader::new(disk::open_regular(&path).map_err(reading)?);
    let count = pairs.get_ref().metadata().map_err(reading)?.len() / 16;
    for _ in 0..count {
        let mut first = [0; 8];
        let mut row = [0; 8];
        pairs
            .read_exact(&mut first)
            .and_then(|()| pairs.read_exact(&mut row))
            .map_err(reading)?;
        let first = u64::from_le_bytes(first);
        let from = places.get(first)?;
        rows.copy_record(&from, &places.get(u64::from_le_bytes(row))?)?;
        copies.add(journal.fallback(first)?);
    }
    Ok(copies)
}
