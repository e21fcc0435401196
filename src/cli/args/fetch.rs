//! What `fetch` is given.

use super::super::values::{self, ModelArg};
use super::ShowArgs;

/// Arguments of `fetch`.
#[derive(Debug, clap::Args)]
pub struct FetchArgs {
    /// Name of the model, or its repository on the Hugging Face Hub
    ///
    /// A name or short form that `esm-embed models` lists, or organisation/name. The files go to the
    /// Hugging Face cache (HF_HOME), and the path of the model's folder is printed. Given a path, or
    /// with HF_HUB_OFFLINE=1, nothing is downloaded: the files are checked where they are.
    #[arg(value_parser = values::model)]
    pub model: ModelArg,

    /// Branch, tag or commit of the repository [default: main]
    #[arg(long, value_name = "REVISION")]
    pub revision: Option<String>,

    /// Print the result as one JSON document
    ///
    /// Fields: path, repo, revision (the commit) and bytes. All but path are null if a path was given.
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub show: ShowArgs,
}
