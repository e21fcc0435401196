//! `fetch`: downloads the files of a model to the cache and verifies them.

use super::Exit;
use super::options::DisplayArgs;
use super::options::model::{ModelArg, model};
use super::progress::Progress;
use super::stdout::{self, print, print_json};
use esm_embed::hub::{self, LocalModel};
use serde::Serialize;

/// Arguments of `fetch`.
#[derive(Debug, clap::Args)]
pub struct FetchArgs {
    /// Name of the model, or its Hugging Face repository
    ///
    /// A name or short form that `esm-embed models` lists, or organisation/name. The files are stored
    /// in the Hugging Face cache (HF_HOME), and the path of the model's folder is printed. With a
    /// path, or with HF_HUB_OFFLINE=1, nothing is downloaded, and the files that are there are
    /// verified. For a LoRA adapter, its base is fetched too, and the path is that of the adapter, which
    /// `run --model` takes.
    #[arg(value_parser = model)]
    pub model: ModelArg,

    /// Branch, tag or commit of the Hugging Face repository [default: main]
    #[arg(long, value_name = "REVISION")]
    pub revision: Option<String>,

    /// Print the result as one JSON document
    ///
    /// Fields: path, repo, revision (the commit), bytes and base (the same fields of an adapter's base; null
    /// for other models). If a path was given, repo, revision and bytes are null.
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
    /// The base of an adapter; null for other models.
    base: Option<Box<FetchReport>>,
}

impl FetchReport {
    fn new(local: LocalModel, base: Option<LocalModel>) -> Self {
        FetchReport {
            path: stdout::path(&local.path),
            bytes: local.repo.is_some().then_some(local.bytes),
            repo: local.repo,
            revision: local.revision,
            base: base.map(|base| Box::new(FetchReport::new(base, None))),
        }
    }
}

/// Downloads, checks, and prints the path of the model.
pub fn execute(args: &FetchArgs) -> anyhow::Result<Exit> {
    let progress = Progress::new(args.display);
    let revision = args.revision.as_deref();
    let found = hub::fetch(&args.model.reference, revision, &progress)?;
    let (local, base) = match found.adapter {
        Some(adapter) => (adapter, Some(found.model)),
        None => (found.model, None),
    };
    if args.json {
        print_json(&FetchReport::new(local, base))?;
    } else {
        print(&format!("{}\n", local.path.display()))?;
    }
    Ok(Exit::Done)
}
