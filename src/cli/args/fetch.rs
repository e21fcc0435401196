//! What `fetch` is given.

use super::super::values::{self, ModelArg};
use super::ShowArgs;

/// Arguments of `fetch`.
#[derive(Debug, clap::Args)]
pub struct FetchArgs {
    /// Name, or repository on the Hugging Face Hub
    ///
    /// A name or short form as `esm-embed models` lists them, or organisation/name. The files go
    /// to the Hugging Face cache (HF_HOME); the path of the model's folder is printed. The files
    /// of a path, or with HF_HUB_OFFLINE=1 of the cache, are only checked.
    #[arg(value_parser = values::model)]
    pub model: ModelArg,

    /// Branch, tag or commit of the repository [default: main]
    #[arg(long, value_name = "REVISION")]
    pub revision: Option<String>,

    /// Print the result as one JSON document
    ///
    /// Fields: path, and for a repository of the Hub repo, revision (the commit) and bytes, which
    /// are null for a path.
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub show: ShowArgs,
}
