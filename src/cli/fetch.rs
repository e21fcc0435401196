//! `fetch`: a model's files into the cache, every one checked.

use super::args::FetchArgs;
use super::json::{self, print_json};
use super::progress::Progress;
use super::{Exit, print, source};
use serde::Serialize;

/// What `fetch --json` prints.
#[derive(Debug, Serialize)]
struct FetchReport {
    /// The folder or file of the model.
    path: String,
    /// Its repository; null for a path.
    repo: Option<String>,
    /// The commit; null for a path.
    revision: Option<String>,
    /// Bytes of the files that are used; null for a path.
    bytes: Option<u64>,
}

/// Downloads, checks, and prints the path of the model.
pub fn execute(args: &FetchArgs) -> anyhow::Result<Exit> {
    let progress = Progress::new(args.show);
    let reference = &args.model.reference;
    let revision = args.revision.as_deref();
    let local = source::hub(reference)?.fetch(reference, revision, &progress)?;
    source::check_revision(&local, revision)?;
    if args.json {
        print_json(&FetchReport {
            path: json::path(&local.path),
            bytes: local.repo.is_some().then_some(local.bytes),
            repo: local.repo,
            revision: local.revision,
        })?;
    } else {
        print(&format!("{}\n", local.path.display()))?;
    }
    Ok(Exit::Done)
}
