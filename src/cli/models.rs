//! `models`: the published models, and those in the cache.

use super::Exit;
use super::message::Message;
use super::quantities::scaled;
use super::stdout::{self, print, print_json};
use esm_embed::hub::{CachedModel, Family, Hub, known_models};
use esm_embed::numerals;
use esm_embed::printable;
use serde::Serialize;

/// Arguments of `models`.
#[derive(Debug, clap::Args)]
pub struct ModelsArgs {
    /// Print the list as one JSON document
    ///
    /// Fields: cache (the folder, or null), cache_error, and models (name, short, repo, family, licence,
    /// use_for, parameters, download_bytes (about), layers, dim, heads, and cached: complete, path, revision, bytes, unfinished_bytes, problem).
    /// Unknown values are null.
    #[arg(long)]
    pub json: bool,
}

/// What `models --json` prints.
#[derive(Debug, Serialize)]
struct ModelsReport {
    /// The folder of the Hugging Face cache; null if the settings name none.
    cache: Option<String>,
    /// What is wrong with the settings; null if they are right.
    cache_error: Option<String>,
    /// The published models, then the other ESM repositories in the cache.
    models: Vec<ModelReport>,
}

/// One model.
#[derive(Debug, Serialize)]
struct ModelReport {
    /// The name to give as the model.
    name: String,
    /// The short form of that name.
    short: Option<&'static str>,
    /// `organisation/name` on the Hub.
    repo: String,
    /// The models that it was trained with; this and the next seven are null for a model that is not
    /// published.
    family: Option<&'static str>,
    /// The licence of the weights.
    licence: Option<&'static str>,
    /// What it is used for.
    use_for: Option<&'static str>,
    /// Number of weights.
    parameters: Option<u64>,
    /// Bytes of the weights on the Hub, about.
    download_bytes: Option<u64>,
    /// Transformer layers.
    layers: Option<u32>,
    /// Width of a representation.
    dim: Option<u32>,
    /// Attention heads of a layer.
    heads: Option<u32>,
    /// What the cache holds of it; null if it holds nothing.
    cached: Option<CachedReport>,
}

/// A model in the cache.
#[derive(Debug, Serialize)]
struct CachedReport {
    /// Whether it can be used without a network.
    complete: bool,
    /// The folder to give as the model; the repository's folder if the model is incomplete.
    path: String,
    /// The commit of a complete model.
    revision: Option<String>,
    /// Bytes of the files that are used; of all files if the model is incomplete.
    bytes: u64,
    /// Bytes of unfinished downloads.
    unfinished_bytes: u64,
    /// Why the model cannot be used by this name; null if it can.
    problem: Option<String>,
}

/// Prints the list.
pub fn execute(args: &ModelsArgs) -> anyhow::Result<Exit> {
    let report = report();
    if args.json {
        print_json(&report)?;
    } else {
        print(&table(&report))?;
    }
    Ok(Exit::Done)
}

fn report() -> ModelsReport {
    let hub = Hub::from_env();
    let cached = hub.as_ref().map(Hub::report).unwrap_or_default();
    let known = known_models().iter().map(|model| ModelReport {
        name: model.name.to_owned(),
        short: model.short,
        repo: model.repo.to_owned(),
        family: Some(model.family.name()),
        licence: Some(model.family.licence()),
        use_for: Some(model.family.use_for()),
        parameters: Some(model.parameters),
        download_bytes: Some(model.download_bytes()),
        layers: Some(model.layers),
        dim: Some(model.dim),
        heads: Some(model.heads),
        cached: cached
            .iter()
            .find(|held| held.repo == model.repo)
            .and_then(held),
    });
    let others = cached.iter().filter(|held| held.known.is_none());
    let others = others.map(|other| ModelReport {
        name: other.repo.clone(),
        short: None,
        repo: other.repo.clone(),
        family: None,
        licence: None,
        use_for: None,
        parameters: None,
        download_bytes: None,
        layers: None,
        dim: None,
        heads: None,
        cached: held(other),
    });
    ModelsReport {
        models: known.chain(others).collect(),
        cache: hub
            .as_ref()
            .ok()
            .map(|hub| stdout::path(&hub.settings().cache)),
        cache_error: hub
            .err()
            .map(|error| Message::of(&error.to_string()).one_line()),
    }
}

fn held(model: &CachedModel) -> Option<CachedReport> {
    let unfinished_bytes = model.unfinished_bytes;
    match (&model.complete, &model.path) {
        (Some(local), _) => Some(CachedReport {
            complete: true,
            path: stdout::path(&local.path),
            revision: local.revision.clone(),
            bytes: local.bytes,
            unfinished_bytes,
            problem: None,
        }),
        (None, Some(path)) => Some(CachedReport {
            complete: false,
            path: stdout::path(path),
            revision: None,
            bytes: model.bytes,
            unfinished_bytes,
            problem: model
                .problem
                .as_deref()
                .map(|why| Message::of(why).one_line()),
        }),
        (None, None) => None,
    }
}

/// The published models with their shapes, then the other repositories in the cache.
fn table(report: &ModelsReport) -> String {
    let mut out = line([
        "MODEL",
        "SHORT",
        "PARAMETERS",
        "LAYERS",
        "WIDTH",
        "DOWNLOAD",
        "LICENCE",
        "IN THE CACHE",
    ]);
    let number = |number: Option<u32>| number.map_or_else(|| "-".to_owned(), |n| n.to_string());
    for model in &report.models {
        let parameters = model.parameters.map(|number| scaled(number as f64));
        out += &line([
            &model.name,
            model.short.unwrap_or("-"),
            parameters.as_deref().unwrap_or("-"),
            &number(model.layers),
            &number(model.dim),
            &model
                .download_bytes
                .map_or_else(|| "-".to_owned(), numerals::bytes),
            model.licence.unwrap_or("-"),
            &model.cached.as_ref().map_or_else(|| "no".to_owned(), state),
        ]);
    }
    let cache = match (&report.cache, &report.cache_error) {
        (Some(cache), _) => printable::text(cache),
        (None, why) => why.clone().unwrap_or_default(),
    };
    out += "\nUse it for:\n";
    for family in Family::ALL {
        out += &format!("  {:<7} {}\n", family.name(), family.use_for());
    }
    out + &format!("\ncache: {cache}\n")
}

fn line(columns: [&str; 8]) -> String {
    let [
        name,
        short,
        parameters,
        layers,
        width,
        download,
        licence,
        cache,
    ] = columns;
    format!(
        "{name:<24} {short:<5} {parameters:>10} {layers:>6} {width:>5} {download:>8}  {licence:<10}  \
         {cache}\n"
    )
}

fn state(held: &CachedReport) -> String {
    let problem = held.problem.as_ref();
    format!(
        "{}{}: {}{}",
        if held.complete { "" } else { "unusable, " },
        numerals::bytes(held.bytes),
        printable::text(&held.path),
        problem.map_or_else(String::new, |why| format!(" ({})", printable::text(why)))
    )
}
