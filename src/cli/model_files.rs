//! The model as typed → its files on this machine.

use super::options::ModelArg;
use super::progress::Progress;
use anyhow::ensure;
use esm_embed::hub::{Hub, HubError, HubSettings, LocalModel, ModelRef};
use esm_embed::pipeline::Model;
use std::path::PathBuf;

/// The hub for a model. A path needs no hub, so the environment is not read for it.
pub fn hub(model: &ModelRef) -> Result<Hub, HubError> {
    match model {
        ModelRef::Path(_) => Hub::new(HubSettings::new(PathBuf::new())),
        _ => Hub::from_env(),
    }
}

/// The files of a complete model: those on this machine, else downloaded.
pub fn resolve_base(
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
        contact_regression: None,
        adapter: None,
    })
}

/// Refuses a revision of a file or folder, which has none.
pub fn check_revision(local: &LocalModel, revision: Option<&str>) -> anyhow::Result<()> {
    ensure!(
        revision.is_none() || local.revision.is_some(),
        "{} is a file or folder, which has no revisions\nhint: leave out `revision`, or give a \
         Hugging Face repository",
        local.path.display()
    );
    Ok(())
}
