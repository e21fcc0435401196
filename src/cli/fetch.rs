//! `fetch`: a model's files into the cache, every one checked.

use super::args::FetchArgs;
use super::progress::Progress;
use super::{Exit, print, source};

/// Downloads, checks, and prints the path of the model.
pub fn execute(args: &FetchArgs) -> anyhow::Result<Exit> {
    let progress = Progress::new(args.show);
    let reference = &args.model.reference;
    let revision = args.revision.as_deref();
    let local = source::hub(reference)?.fetch(reference, revision, &progress)?;
    source::check_revision(&local, revision)?;
    print(&format!("{}\n", local.path.display()))?;
    Ok(Exit::Done)
}
