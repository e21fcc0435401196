//! Where a model comes from: what was asked for → files on this machine.

use super::options::ModelArg;
use super::progress::Progress;
use anyhow::ensure;
use esm_embed::hub::{Hub, HubError, HubSettings, LocalModel, ModelRef};
use esm_embed::pipeline::Model;
use std::path::PathBuf;

/// The hub that a model needs. A path needs none: whatever the environment says, it is used.
pub fn hub(model: &ModelRef) -> Result<Hub, HubError> {
    match model {
        ModelRef::Path(_) => Hub::new(HubSettings::new(PathBuf::new())),
        _ => Hub::from_env(),
    }
}

/// The model's files: from this machine if they are here, else downloaded.
pub fn resolve(
    model: &ModelArg,
    revision: Option<&str>,
    progress: &Progress,
) -> anyhow::Result<Model> {
    let ModelArg { text, reference } = model;
    let local = hub(reference)?.resolve(reference, revision, progress)?;
    check_revision(&local, revision)?;
    Ok(Model {
        asked: text.clone(),
        path: local.path,
        repo: local.repo,
        revision: local.revision,
    })
}

/// Refuses a revision of something that has none, instead of leaving it out silently.
pub fn check_revision(local: &LocalModel, revision: Option<&str>) -> anyhow::Result<()> {
    ensure!(
        revision.is_none() || local.revision.is_some(),
        "--revision was given, but {} is a file or folder without revisions. Drop --revision, or \
         name a repository of the Hub",
        local.path.display()
    );
    Ok(())
}
