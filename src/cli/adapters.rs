//! The base model of an adapter: what was typed, else what the adapter's configuration names.

use super::model_files;
use super::options::ModelArg;
use super::options::model::model;
use super::progress::Progress;
use anyhow::{Context, anyhow};
use esm_embed::checkpoint::{Adapter, CheckpointError, lone_adapter, read_adapter};
use esm_embed::hub::ModelRef;
use esm_embed::pipeline::{Level, Model, Reporter};
use esm_embed::printable;
use std::path::{Path, PathBuf};

/// `--adapter`, under *Model*.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Model")]
pub struct AdapterArgs {
    /// Folder of a LoRA adapter, as PEFT saves it, to add to the model
    ///
    /// Without --model, the base is the model that adapter_config.json names. With --model, it is that
    /// model, whatever the adapter names. The folder of an adapter can also be given as --model. Other
    /// kinds of adapters are an error that names them.
    #[arg(long, value_name = "DIR")]
    pub adapter: Option<PathBuf>,

    /// Whether the model was typed; set after the command line was read.
    #[arg(skip)]
    pub model_is_typed: bool,
}

impl AdapterArgs {
    /// The files of a model, and of its adapter if there is one.
    pub fn resolve(
        &self,
        typed: &ModelArg,
        revision: Option<&str>,
        progress: &Progress,
    ) -> anyhow::Result<Model> {
        let Some(folder) = &self.adapter else {
            return resolve(typed, revision, progress);
        };
        let adapter = read_adapter(folder)?;
        if !self.model_is_typed {
            return with_base(&adapter, folder, revision, progress);
        }
        let mut found = model_files::resolve_base(typed, revision, progress)?;
        if let Some(named) = &adapter.base
            && !is_same(&typed.reference, named)
        {
            progress.message(
                Level::Warning,
                &format!(
                    "{}: this adapter was trained on {}, not on {}: the embeddings are those of \
                     another model if their weights differ",
                    folder.display(),
                    printable::name(named),
                    printable::name(&typed.text)
                ),
            );
        }
        found.adapter = Some(folder.clone());
        Ok(found)
    }
}

/// The files of a model; where the path is that of an adapter, those of its base, and the adapter.
pub fn resolve(
    typed: &ModelArg,
    revision: Option<&str>,
    progress: &Progress,
) -> anyhow::Result<Model> {
    let ModelRef::Path(path) = &typed.reference else {
        return model_files::resolve_base(typed, revision, progress);
    };
    match lone_adapter(path) {
        Some(adapter) if adapter.is_lora() => {
            let found = with_base(&adapter, path, revision, progress)?;
            Ok(Model {
                asked: typed.text.clone(),
                ..found
            })
        }
        _ => model_files::resolve_base(typed, revision, progress),
    }
}

/// The model that an adapter names, with the adapter.
fn with_base(
    adapter: &Adapter,
    folder: &Path,
    revision: Option<&str>,
    progress: &Progress,
) -> anyhow::Result<Model> {
    if !adapter.is_lora() {
        // The error names its kind.
        return Err(CheckpointError::Adapter {
            path: folder.to_path_buf(),
            adapter: Box::new(adapter.clone()),
        }
        .into());
    }
    let shown = folder.display();
    let Some(named) = &adapter.base else {
        return Err(anyhow!(
            "{shown}: the adapter does not name its base model\nhint: give that model with `model`"
        ));
    };
    let hint = "hint: give that model, or a copy of it on this machine, with `model`";
    let why = || {
        let named = printable::name(named);
        format!("{shown}: the adapter names {named} as its base model\n{hint}")
    };
    let base = model(named).map_err(anyhow::Error::msg).with_context(why)?;
    let is_of_hub = !matches!(base.reference, ModelRef::Path(_));
    let saved = adapter.revision.as_deref().filter(|_| is_of_hub);
    let found = model_files::resolve_base(&base, revision.or(saved), progress);
    Ok(Model {
        adapter: Some(folder.to_path_buf()),
        ..found.with_context(why)?
    })
}

/// Whether a model that was typed can be the one that an adapter names: the last part of both is the same.
fn is_same(typed: &ModelRef, named: &str) -> bool {
    let Ok(named) = ModelRef::parse(named) else {
        return false;
    };
    last_part(typed) == last_part(&named)
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
        let is_same = |typed: &str, named: &str| is_same(&ModelRef::parse(typed).unwrap(), named);
        for (typed, named) in [
            ("8M", "facebook/esm2_t6_8M_UR50D"),
            ("/data/esm2_t6_8M_UR50D", "facebook/esm2_t6_8M_UR50D"),
            ("/data/esm2_t6_8m_ur50d/", "/home/x/esm2_t6_8M_UR50D"),
            (
                "/c/models--facebook--esm2_t6_8M_UR50D/snapshots/c731040f",
                "facebook/esm2_t6_8M_UR50D",
            ),
        ] {
            assert!(is_same(typed, named), "{typed}");
        }
        assert!(!is_same("8M", "facebook/esm2_t12_35M_UR50D"));
        assert!(!is_same("8M", "no model"));
    }
}
