//! `models`: the published models, and what the cache holds.

use super::{Exit, print, text};
use esm_embed::hub::{CachedModel, Hub, known_models};
use std::fmt::Write as _;

/// Prints the table.
pub fn execute() -> anyhow::Result<Exit> {
    let hub = Hub::from_env();
    let report = hub.as_ref().map(Hub::report);
    let cache = hub
        .as_ref()
        .map(|hub| hub.settings().cache.display().to_string());
    print(&table(report, cache.map_err(|error| error.to_string())))?;
    Ok(Exit::Done)
}

/// The known models with their shapes, then the other repositories in the cache.
fn table<E>(cached: Result<Vec<CachedModel>, E>, cache: Result<String, String>) -> String {
    let cached = cached.unwrap_or_default();
    let mut out = line([
        "MODEL",
        "SHORT",
        "PARAMETERS",
        "LAYERS",
        "WIDTH",
        "IN THE CACHE",
    ]);
    for model in known_models() {
        let held = cached.iter().find(|held| held.repo == model.repo);
        out += &line([
            model.name,
            model.short.unwrap_or("-"),
            &text::scaled(model.parameters as f64),
            &model.layers.to_string(),
            &model.dim.to_string(),
            &held.map_or_else(|| "no".to_owned(), state),
        ]);
    }
    for held in cached.iter().filter(|held| held.known.is_none()) {
        out += &line([&held.repo, "-", "-", "-", "-", &state(held)]);
    }
    // Writing to a String does not fail.
    let _ = match cache {
        Ok(cache) => writeln!(out, "\ncache: {}", text::printable(&cache)),
        Err(why) => writeln!(out, "\ncache: {why}"),
    };
    out
}

fn line([name, short, parameters, layers, width, cache]: [&str; 6]) -> String {
    format!("{name:<24} {short:<5} {parameters:>10} {layers:>6} {width:>5}  {cache}\n")
}

fn state(held: &CachedModel) -> String {
    match (&held.complete, &held.path) {
        (Some(local), _) => format!(
            "{}: {}",
            text::bytes(local.bytes),
            text::printable(&local.path.display().to_string())
        ),
        (None, Some(path)) => format!(
            "incomplete, {}: {}",
            text::bytes(held.bytes),
            text::printable(&path.display().to_string())
        ),
        (None, None) => "no".to_owned(),
    }
}
