//! The model that was typed and its adapter → their files on this machine.

use super::options::ModelArg;
use super::progress::Progress;
use esm_embed::hub::{self, Adapted, AskedModel, ModelRef};
use esm_embed::pipeline::{Level, Model, ModelAdapter, Reporter};

/// `--adapter`, under *Model*.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Model")]
pub struct AdapterArgs {
    /// LoRA adapter to add to the model: a folder as PEFT saves it, or a Hugging Face repository
    ///
    /// If no model is given, the base is the model that adapter_config.json names, and --revision is that of
    /// the base. If one is given, it is the base, whatever the adapter names. An adapter can also be given as
    /// the model. Where a repository or folder holds both complete weights and an adapter, it is the complete
    /// model as a model, and the adapter as --adapter. Other kinds of adapters are an error that names them.
    #[arg(long, value_name = "ADAPTER", value_parser = adapter)]
    pub adapter: Option<ModelArg>,

    /// Whether the model was typed; set after the command line was read.
    #[arg(skip)]
    pub model_is_typed: bool,
}

/// A folder, a file or a repository.
fn adapter(text: &str) -> Result<ModelArg, &'static str> {
    if text.is_empty() {
        return Err("give the folder of an adapter, or its repository");
    }
    Ok(ModelArg {
        text: text.to_owned(),
        reference: ModelRef::parse_adapter(text),
    })
}

impl AdapterArgs {
    /// What the model is called: as it was typed, or by its adapter if only that was.
    pub fn called<'a>(&'a self, typed: &'a ModelArg) -> &'a ModelArg {
        let adapter = self.adapter.as_ref().filter(|_| !self.model_is_typed);
        adapter.unwrap_or(typed)
    }

    /// The files of a model, and of its adapter if there is one.
    pub fn resolve(
        &self,
        typed: &ModelArg,
        revision: Option<&str>,
        progress: &Progress,
    ) -> anyhow::Result<Model> {
        let Some(adapter) = &self.adapter else {
            return resolve(typed, revision, progress);
        };
        let asked = match self.model_is_typed {
            true => AskedModel::Both {
                model: &typed.reference,
                adapter: &adapter.reference,
            },
            false => AskedModel::Adapter(&adapter.reference),
        };
        let found = hub::resolve(asked, revision, progress)?;
        if let Some(warning) = &found.warning {
            progress.message(Level::Warning, warning);
        }
        let named = found.named.clone();
        let asked = named.unwrap_or_else(|| typed.text.clone());
        Ok(model(found, asked, &adapter.text))
    }
}

/// The files of a model; where it is an adapter, those of its base, and the adapter.
pub fn resolve(
    typed: &ModelArg,
    revision: Option<&str>,
    progress: &Progress,
) -> anyhow::Result<Model> {
    let found = hub::resolve(AskedModel::Model(&typed.reference), revision, progress)?;
    Ok(model(found, typed.text.clone(), &typed.text))
}

fn model(found: Adapted, asked: String, adapter: &str) -> Model {
    Model {
        asked,
        path: found.model.path,
        repo: found.model.repo,
        revision: found.model.revision,
        contact_regression: None,
        adapter: found.adapter.map(|local| ModelAdapter {
            asked: adapter.to_owned(),
            path: local.path,
            repo: local.repo,
            revision: local.revision,
        }),
    }
}
