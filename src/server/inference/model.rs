//! The models that can be named, and their outputs.

use super::tensor::Output;
use crate::printable;
use crate::server::refusal::{Kind, Refusal};

/// The only version of each model.
pub const VERSION: &str = "1";
/// What the models run on, in metadata.
pub const PLATFORM: &str = "esm-embed";
/// Characters that are quoted of a name.
const SHOWN: usize = 80;

/// A model that can be named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// Pooled rows.
    Embeddings,
    /// Residue rows.
    Hiddens,
    /// Both, under the name of the served model.
    Served,
}

impl Model {
    /// The model of this name and version.
    ///
    /// # Errors
    /// No model has that name and version.
    pub fn named(name: &str, version: &str, served: &str) -> Result<Model, Refusal> {
        let model = match name {
            "embeddings" => Model::Embeddings,
            "hiddens" => Model::Hiddens,
            name if name == served => Model::Served,
            _ => {
                let name = printable::start(name, SHOWN);
                let text = format!(
                    "there is no model `{name}`: the models are embeddings, hiddens and {served}"
                );
                return Err(Refusal::new(Kind::NotFound, text));
            }
        };
        match version {
            "" | VERSION => Ok(model),
            _ => {
                let version = printable::start(version, SHOWN);
                let text =
                    format!("there is no version `{version}`: the models have version {VERSION}");
                Err(Refusal::new(Kind::NotFound, text))
            }
        }
    }

    /// Its outputs.
    pub fn outputs(self) -> &'static [Output] {
        match self {
            Model::Embeddings => &[Output::Embeddings],
            Model::Hiddens => &[Output::Hiddens, Output::Mask],
            Model::Served => &[Output::Embeddings, Output::Hiddens, Output::Mask],
        }
    }

    /// The outputs of these names, in their order; all of them if there are no names.
    ///
    /// # Errors
    /// A name that is not an output of the model, or is there twice.
    pub fn requested<'a>(
        self,
        names: impl Iterator<Item = &'a str>,
    ) -> Result<Vec<Output>, Refusal> {
        let mut requested = Vec::new();
        for name in names {
            let output = self.outputs().iter().find(|output| output.name() == name);
            let shown = printable::start(name, SHOWN);
            let refusal = match output {
                Some(output) if !requested.contains(output) => {
                    requested.push(*output);
                    continue;
                }
                Some(_) => format!("the output `{shown}` is requested twice"),
                None => {
                    let names: Vec<&str> = self.outputs().iter().map(|one| one.name()).collect();
                    let names = names.join(", ");
                    format!("there is no output `{shown}`: this model has {names}")
                }
            };
            return Err(Refusal::new(Kind::Invalid, refusal));
        }
        if requested.is_empty() {
            requested.extend_from_slice(self.outputs());
        }
        Ok(requested)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_found_by_name_and_version() {
        let named = |name, version| {
            Model::named(name, version, "esm2_t33_650M_UR50D").map_err(|refusal| refusal.message)
        };
        assert_eq!(named("embeddings", ""), Ok(Model::Embeddings));
        assert_eq!(named("hiddens", "1"), Ok(Model::Hiddens));
        assert_eq!(named("esm2_t33_650M_UR50D", ""), Ok(Model::Served));
        assert_eq!(
            named("esm\n", ""),
            Err(
                "there is no model `esm\\n`: the models are embeddings, hiddens and \
                 esm2_t33_650M_UR50D"
                    .to_owned()
            )
        );
        assert_eq!(
            named("hiddens", "2"),
            Err("there is no version `2`: the models have version 1".to_owned())
        );
    }

    #[test]
    fn outputs_are_those_requested_or_all() {
        let requested = |model: Model, names: &[&str]| {
            let outputs = model.requested(names.iter().copied());
            outputs.map_err(|refusal| refusal.message)
        };
        use Output::{Embeddings, Hiddens, Mask};
        assert_eq!(requested(Model::Embeddings, &[]), Ok(vec![Embeddings]));
        assert_eq!(requested(Model::Hiddens, &[]), Ok(vec![Hiddens, Mask]));
        assert_eq!(
            requested(Model::Served, &["mask", "embeddings"]),
            Ok(vec![Mask, Embeddings])
        );
        assert_eq!(
            requested(Model::Embeddings, &["hiddens"]),
            Err("there is no output `hiddens`: this model has embeddings".to_owned())
        );
        assert_eq!(
            requested(Model::Hiddens, &["mask", "mask"]),
            Err("the output `mask` is requested twice".to_owned())
        );
    }
}
