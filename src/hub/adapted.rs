//! A model and the adapter that is added to it: an adapter leads to the base that its configuration names.

use super::{DownloadProgress, Hub, HubError, LocalModel, ModelRef};
use crate::checkpoint::{Adapter, Additions, Checkpoint, CheckpointError, lone_adapter, read_lora};
use crate::printable;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AskedModel<'a> {
    /// A model, or an adapter with the base that it names.
    Model(&'a ModelRef),
    /// An adapter with the base that it names.
    Adapter(&'a ModelRef),
    /// An adapter on this model, whatever base it names.
    Both {
        /// The model.
        model: &'a ModelRef,
        /// The adapter.
        adapter: &'a ModelRef,
    },
}

/// A model on this machine, and the adapter that is added to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adapted {
    /// The model: the base, if there is an adapter.
    pub model: LocalModel,
    /// The adapter.
    pub adapter: Option<LocalModel>,
    /// The base by the name that the adapter's configuration gives, if that name was needed.
    pub named: Option<String>,
    /// What a user should know of the two.
    pub warning: Option<String>,
}

/// Obtains a repository's or a path's files.
type Get = fn(&Hub, &ModelRef, Option<&str>, &dyn DownloadProgress) -> Result<LocalModel, HubError>;

/// The files of a model and of its adapter, if there is one: those on this machine, else downloaded.
///
/// `revision` is that of the repository that the model names; of the base, if only an adapter is given or the
/// model is the folder of an adapter.
///
/// # Errors
/// As [`Hub::resolve`]; an adapter of another kind than LoRA or without a base; a revision of a path.
pub fn resolve(
    asked: AskedModel<'_>,
    revision: Option<&str>,
    progress: &dyn DownloadProgress,
) -> Result<Adapted, HubError> {
    match asked {
        AskedModel::Model(model) => obtain(model, revision, progress, Hub::resolve),
        AskedModel::Adapter(asked) => {
            let (local, adapter) = obtain_adapter(asked, progress)?;
            with_base(asked, local, &adapter, revision, progress, Hub::resolve)
        }
        AskedModel::Both { model, adapter } => {
            let (local, found) = obtain_adapter(adapter, progress)?;
            let base = Hub::of(model)?.resolve(model, revision, progress)?;
            check_revision(&base, revision)?;
            let other = found.base.filter(|named| !is_same(model, named));
            let warning = other.map(|named| {
                format!(
                    "{adapter}: this adapter was trained on {}, not on {model}: the embeddings are those \
                     of another model if their weights differ",
                    printable::name(&named)
                )
            });
            Ok(Adapted {
                model: base,
                adapter: Some(local),
                named: None,
                warning,
            })
        }
    }
}

/// The files of an adapter, and what its configuration says.
fn obtain_adapter(
    asked: &ModelRef,
    progress: &dyn DownloadProgress,
) -> Result<(LocalModel, Adapter), HubError> {
    let local = match Hub::of(asked)?.resolve_adapter(asked, None, progress) {
        // The error that follows says what an adapter is.
        Err(HubError::NoSuchPath { path }) => LocalModel {
            path,
            repo: None,
            revision: None,
            bytes: 0,
        },
        found => found?,
    };
    let adapter = read_lora(&local.path)?;
    Ok((local, adapter))
}

/// The same, after the cache was updated to what the hub has now and every file was checked, as
/// [`Hub::fetch`] does. An adapter is checked against its base.
///
/// # Errors
/// As [`Hub::fetch`] and [`resolve`]; an adapter that does not fit its base.
pub fn fetch(
    model: &ModelRef,
    revision: Option<&str>,
    progress: &dyn DownloadProgress,
) -> Result<Adapted, HubError> {
    let found = obtain(model, revision, progress, Hub::fetch)?;
    if let Some(adapter) = &found.adapter {
        let additions = Additions {
            adapter: Some(&adapter.path),
            ..Additions::default()
        };
        Checkpoint::open_with(&found.model.path, additions)?;
    }
    Ok(found)
}

/// A model; if it is an adapter, that and its base.
fn obtain(
    model: &ModelRef,
    revision: Option<&str>,
    progress: &dyn DownloadProgress,
    get: Get,
) -> Result<Adapted, HubError> {
    let local = get(&Hub::of(model)?, model, revision, progress)?;
    let Some(adapter) = lone_adapter(&local.path).filter(Adapter::is_lora) else {
        check_revision(&local, revision)?;
        return Ok(Adapted {
            model: local,
            adapter: None,
            named: None,
            warning: None,
        });
    };
    let adapter = read_lora(&adapter.folder)?;
    let of_base = revision.filter(|_| local.revision.is_none());
    with_base(model, local, &adapter, of_base, progress, get)
}

/// An adapter and the model that it names.
fn with_base(
    asked: &ModelRef,
    local: LocalModel,
    adapter: &Adapter,
    revision: Option<&str>,
    progress: &dyn DownloadProgress,
    get: Get,
) -> Result<Adapted, HubError> {
    let Some(named) = &adapter.base else {
        return Err(HubError::NoBase {
            adapter: asked.to_string(),
        });
    };
    let found = ModelRef::parse(named).and_then(|base| {
        let saved = adapter
            .revision
            .as_deref()
            .filter(|_| base.repo().is_some());
        let found = get(&Hub::of(&base)?, &base, revision.or(saved), progress)?;
        check_revision(&found, revision)?;
        match lone_adapter(&found.path) {
            None => Ok(found),
            Some(adapter) => Err(CheckpointError::Adapter {
                path: found.path,
                adapter: Box::new(adapter),
            }
            .into()),
        }
    });
    Ok(Adapted {
        model: found.map_err(|source| HubError::Base {
            adapter: asked.to_string(),
            base: named.clone(),
            source: Box::new(source),
        })?,
        adapter: Some(local),
        named: Some(named.clone()),
        warning: None,
    })
}

/// Refuses a revision of a file or folder, which has none.
fn check_revision(local: &LocalModel, revision: Option<&str>) -> Result<(), HubError> {
    match revision.is_some() && local.revision.is_none() {
        true => Err(HubError::NoRevisions {
            path: local.path.clone(),
        }),
        false => Ok(()),
    }
}

/// Whether a model that was asked for can be the one that an adapter names: the last part of both is the same.
fn is_same(asked: &ModelRef, named: &str) -> bool {
    let Ok(named) = ModelRef::parse(named) else {
        return false;
    };
    last_part(asked) == last_part(&named)
}

fn last_part(model: &ModelRef) -> Option<String> {
    let last = match model {
        ModelRef::Path(path) => {
            // A snapshot in the cache is named by its commit.
            let of_cache = path.ancestors().find_map(|folder| {
                let name = folder.file_name()?.to_str()?;
                name.strip_prefix("models--")?.rsplit("--").next()
            });
            let last = match path.is_file() {
                true => path.file_stem(),
                false => path.file_name(),
            };
            of_cache.or(last?.to_str())?
        }
        _ => model.repo()?.rsplit('/').next()?,
    };
    Some(last.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_of_the_base_has_its_name() {
        let is_same = |asked: &str, named: &str| is_same(&ModelRef::parse(asked).unwrap(), named);
        for (asked, named) in [
            ("8M", "facebook/esm2_t6_8M_UR50D"),
            ("/data/esm2_t6_8M_UR50D", "facebook/esm2_t6_8M_UR50D"),
            ("/data/esm2_t6_8m_ur50d/", "/home/x/esm2_t6_8M_UR50D"),
            (
                "/c/models--facebook--esm2_t6_8M_UR50D/snapshots/c731040f",
                "facebook/esm2_t6_8M_UR50D",
            ),
        ] {
            assert!(is_same(asked, named), "{asked}");
        }
        assert!(!is_same("8M", "facebook/esm2_t12_35M_UR50D"));
        assert!(!is_same("8M", "no model"));
    }
}
