//! The report of `inspect`, for people.

use crate::numerals::{count, grouped};
use crate::output::layout::PARTIAL;
use crate::output::manifest::Manifest;
use crate::output::read::summary;
use crate::printable;
use serde::Serialize;
use std::fmt;
use std::path::PathBuf;

/// Problems that are listed; more are only counted.
const LISTED: usize = 50;

/// Something in an output folder that does not match its `run.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// File or folder below the output folder.
    pub file: String,
    /// What was found.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}",
            printable::text(&self.file),
            printable::text(&self.what)
        )
    }
}

/// What is in an output folder, and what is wrong with it.
#[derive(Debug)]
pub struct Report {
    /// The folder.
    pub dir: PathBuf,
    /// Its `run.json`, if that can be read.
    pub manifest: Option<Manifest>,
    /// Whether the checksums were recomputed.
    pub checked: bool,
    /// Whether it has the working folder of a run.
    pub unfinished: bool,
    /// The first 50 problems.
    pub problems: Vec<Problem>,
    /// Number of all problems; the folder is sound if it is 0.
    pub problem_count: u64,
}

impl Report {
    pub(crate) fn new(dir: PathBuf, checked: bool) -> Self {
        Self {
            dir,
            manifest: None,
            checked,
            unfinished: false,
            problems: Vec::new(),
            problem_count: 0,
        }
    }

    /// Whether the folder matches its `run.json`.
    pub fn is_sound(&self) -> bool {
        self.problem_count == 0
    }

    /// Adds a problem.
    pub(crate) fn problem(&mut self, file: &str, what: impl Into<String>) {
        self.problem_count += 1;
        if self.problems.len() < LISTED {
            self.problems.push(Problem {
                file: file.into(),
                what: what.into(),
            });
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.manifest.is_some() {
            "complete"
        } else {
            "not complete"
        };
        writeln!(
            f,
            "{}: {state}",
            printable::text(&self.dir.to_string_lossy())
        )?;
        if let Some(manifest) = &self.manifest {
            summary::write(f, manifest)?;
        }
        if self.unfinished {
            writeln!(
                f,
                "{PARTIAL} exists: a run is using this folder, or one did not finish"
            )?;
        }
        if self.manifest.is_some() {
            let checked = if self.checked {
                "recomputed"
            } else {
                "not recomputed (use `check`)"
            };
            writeln!(f, "checksums: {checked}")?;
        }
        match self.problem_count {
            0 => return writeln!(f, "problems: none"),
            count => writeln!(f, "problems: {}", grouped(count))?,
        }
        for problem in &self.problems {
            writeln!(f, "  {problem}")?;
        }
        match self
            .problem_count
            .saturating_sub(self.problems.len() as u64)
        {
            0 => Ok(()),
            more => writeln!(f, "  and {}", count(more, "other problem")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_problems_are_counted() {
        let mut report = Report::new("emb".into(), false);
        for i in 0..60 {
            report.problem(&format!("f{i}"), "is \u{1b}[31mmissing");
        }
        let text = report.to_string();
        assert!(
            text.starts_with("emb: not complete\nproblems: 60\n  f0: is \\u{1b}[31mmissing\n"),
            "{text}"
        );
        assert!(
            text.ends_with("  f49: is \\u{1b}[31mmissing\n  and 10 other problems\n"),
            "{text}"
        );
    }
}
