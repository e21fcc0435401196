//! Where scores go.

use super::job::ScoreJob;
use super::skipped::{LeftOut, OF_RECORDS, OF_ROWS};
use crate::output::unfit_for_file;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// Where everything goes.
#[derive(Debug)]
pub(super) struct Places {
    /// The table.
    pub(super) out: Option<PathBuf>,
    /// The folder of arrays.
    pub(super) landscape: Option<PathBuf>,
    /// The list of what is left out of the table, if there is one.
    pub(super) skipped: Option<PathBuf>,
    /// The same for arrays.
    pub(super) skipped_arrays: Option<PathBuf>,
    /// The finished work of an interrupted run.
    pub(super) journal: PathBuf,
}

impl Places {
    /// Refuses to replace what exists, and what cannot be written.
    pub(super) fn check(job: &ScoreJob, left_out: &LeftOut) -> Result<Places> {
        let beside = |path: &Path, ending: &str| {
            let mut name = path.file_name().unwrap_or_default().to_owned();
            name.push(ending);
            path.with_file_name(name)
        };
        let skipped = job
            .out
            .as_ref()
            .map(|out| out.with_extension("skipped.tsv"));
        let places = Places {
            out: job.out.clone(),
            landscape: job.landscape.clone(),
            skipped,
            skipped_arrays: job
                .landscape
                .as_deref()
                .map(|folder| beside(folder, ".skipped.tsv")),
            journal: match (&job.out, &job.landscape) {
                (Some(path), _) | (None, Some(path)) => beside(path, ".partial"),
                (None, None) => {
                    bail!("there is nowhere to write scores\nhint: name a file with `out`")
                }
            },
        };
        // An interrupted run may have written some of its files.
        let may_replace = job.force || job.resume && exists(&places.journal);
        let list = places.skipped.as_ref();
        let of_arrays = places.skipped_arrays.as_ref();
        let files = [
            places.out.as_ref(),
            list.filter(|_| left_out.of_table().is_some()),
            of_arrays.filter(|_| left_out.of_arrays().is_some()),
        ];
        let files = files.into_iter().flatten();
        for path in files.clone() {
            check_is_table(path)?;
        }
        for path in files.clone().chain(&places.landscape) {
            check_folder(path)?;
            if !may_replace && exists(path) {
                bail!(
                    "{}: it exists already\nhint: choose another name, or use `force` to replace it",
                    path.display()
                );
            }
        }
        for path in files {
            if is_same(path, &job.sequences) {
                bail!(
                    "{}: it is the file with the sequences\nhint: choose another name with `out`",
                    path.display()
                );
            }
        }
        if let Some(folder) = &places.landscape {
            if exists(folder) && !folder.is_dir() {
                bail!("{}: it is not a folder", folder.display());
            }
            if places
                .out
                .as_ref()
                .is_some_and(|out| out.components().eq(folder.components()))
            {
                bail!(
                    "{}: `out` and `landscape` have the same name\nhint: choose another name for one of them",
                    folder.display()
                );
            }
        }
        match (exists(&places.journal), job.resume) {
            (true, false) if !job.force => bail!(
                "{}: an interrupted run has left its work here\n\
                 hint: use `resume` to continue it, or `force` to begin again",
                places.journal.display()
            ),
            (true, false) => fs::remove_file(&places.journal)
                .with_context(|| places.journal.display().to_string())?,
            _ => {}
        }
        Ok(places)
    }

    /// The output, for messages.
    pub(super) fn shown(&self) -> String {
        let path = self.out.as_ref().or(self.landscape.as_ref());
        path.map_or_else(String::new, |path| path.display().to_string())
    }
}

/// Refuses what is not the name of a table that can be written.
fn check_is_table(path: &Path) -> Result<()> {
    let shown = path.display();
    if let Some(what) = unfit_for_file(path) {
        bail!("{shown} {what}\nhint: choose another name with `out`");
    }
    let compressed = ["gz", "bgz", "zst", "bz2", "xz", "zip"];
    let ending = path.extension().and_then(|ending| ending.to_str());
    if ending.is_some_and(|ending| compressed.contains(&ending)) {
        bail!(
            "{shown}: the table is not compressed, and its name would say that it is\n\
             hint: leave out the ending, and compress the file afterwards"
        );
    }
    Ok(())
}

fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// Refuses a path in a folder that is not there.
fn check_folder(path: &Path) -> Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() && !folder.is_dir() => {
            bail!(
                "{}: there is no folder {}",
                path.display(),
                folder.display()
            )
        }
        _ => Ok(()),
    }
}

/// Whether two paths lead to one file.
fn is_same(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

/// Removes the list of an earlier run, for a run that leaves nothing out.
pub(super) fn remove_old_list(path: &Path) -> Result<()> {
    let headers = [OF_ROWS, OF_RECORDS];
    let is_list = fs::read(path).is_ok_and(|text| {
        headers
            .iter()
            .any(|first| text.starts_with(first.as_bytes()))
    });
    match is_list {
        true => fs::remove_file(path).with_context(|| path.display().to_string()),
        false => Ok(()),
    }
}
