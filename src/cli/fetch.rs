//! `fetch`: downloads the files of a model to the cache and verifies them.

use super::options::DisplayArgs;
use super::options::model::{ModelArg, model};
use super::progress::Progress;
use super::stdout::{self, print, print_json};
use super::{Exit, model_files};
use serde::Serialize;

/// Arguments of `fetch`.
#[derive(Debug, clap::Args)]
pub struct FetchArgs {
    /// Name of the model, or its Hugging Face repository
    ///
    /// A name or short form that `esm-embed models` lists, or organisation/name. The files are stored
    /// in the Hugging Face cache (HF_HOME), and the path of the model's folder is printed. With a
    /// path, or with HF_HUB_OFFLINE=1, nothing is downloaded, and the files that are there are
    /// verified.
    #[arg(value_parser = model)]
    pub model: ModelArg,

    /// Branch, tag or commit of the Hugging Face repository [default: main]
    #[arg(long, value_name = "REVISION")]
    pub revision: Option<String>,

    /// Print the result as one JSON document
    ///
    /// Fields: path, repo, revision (the commit) and bytes. If a path was given, all but path are null.
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub display: DisplayArgs,
}

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
    let progress = Progress::new(args.display);
    let reference = &args.model.reference;
    let revision = args.revision.as_deref();
    let local = model_files::hub(reference)?.fetch(reference, revision, &progress)?;
    model_files::check_revision(&local, revision)?;
    if args.json {
        print_json(&FetchReport {
            path: stdout::path(&local.path),
            bytes: local.repo.is_some().then_some(local.bytes),
            repo: local.repo,
            revision: local.revision,
        })?;
    } else {
        print(&format!("{}\n", local.path.display()))?;
    }
    Ok(Exit::Done)
}
