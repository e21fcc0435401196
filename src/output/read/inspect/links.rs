//! The shards of a linked folder.

use super::{Inspector, inspect_sharing};
use crate::numerals::{count, grouped};
use crate::output::folder_files::LINKS_NPY;
use crate::output::layout::RUN_JSON;
use crate::output::link::LinkReader;
use crate::output::read::linked::open_shard;

impl Inspector<'_> {
    pub(super) fn links(&mut self) {
        let manifest = self.manifest;
        let links = &manifest.links;
        if links.is_empty() {
            return;
        }
        let sum = |of: fn(&crate::output::link::Link) -> u64| {
            links.iter().map(of).fold(0, u64::saturating_add)
        };
        let counts = &manifest.counts;
        let found = (sum(|link| link.records), sum(|link| link.residues));
        if found != (counts.records, counts.residues) {
            let what = format!(
                "its shards have {} with {}; its counts say {} with {}",
                count(found.0, "record"),
                count(found.1, "residue"),
                grouped(counts.records),
                grouped(counts.residues)
            );
            self.report.problem(RUN_JSON, what);
        }
        if let Err(what) = self.link_table() {
            self.report.problem(LINKS_NPY, what);
        }
        for (at, link) in links.iter().enumerate() {
            let number = at as u64 + 1;
            if let Err(what) = self.linked_shard(number) {
                self.report.problem(&link.path, what);
            }
        }
    }

    fn link_table(&self) -> Result<(), String> {
        let links = &self.manifest.links;
        let mut reader = LinkReader::open(self.dir, self.manifest.counts.records, links.len())?;
        while reader.next()?.is_some() {}
        let expected = links.iter().map(|link| link.records);
        match reader.rows().iter().copied().eq(expected) {
            true => Ok(()),
            false => Err("does not give each shard as many rows as run.json".into()),
        }
    }

    /// Examines a shard as a separate output folder.
    fn linked_shard(&mut self, number: u64) -> Result<(), String> {
        let at = usize::try_from(number - 1).unwrap_or(usize::MAX);
        let Some(link) = self.manifest.links.get(at) else {
            return Ok(());
        };
        let path = open_shard(self.dir, self.manifest, number)?;
        let report = inspect_sharing(&path, self.check, &self.threads);
        let report = report.map_err(|error| error.to_string())?;
        for problem in &report.problems {
            let name = format!("{}/{}", link.path, problem.file);
            self.report.problem(&name, problem.what.clone());
        }
        // What the shard does not list itself is only counted.
        let more = report
            .problem_count
            .saturating_sub(report.problems.len() as u64);
        self.report.problem_count = self.report.problem_count.saturating_add(more);
        Ok(())
    }
}
