//! `doctor`: what this machine and the environment offer. Never fails over what it finds.

mod cache;
mod environment;
mod machine;
mod network;

use super::args::DoctorArgs;
use super::json::print_json;
use super::{Exit, print};
use cache::Cache;
use esm_embed::hub::HubSettings;
use esm_embed::printable;
use machine::Computation;
use network::Network;
use serde::Serialize;
use std::collections::BTreeMap;

/// What `doctor --json` prints.
#[derive(Debug, Serialize)]
struct DoctorReport {
    /// Version of the program.
    esm_embed: &'static str,
    /// Cards, CPU, threads and memory.
    computation: Computation,
    /// The Hugging Face cache.
    cache: Cache,
    /// The hub.
    network: Network,
    /// The variables that this program heeds and that are set, secrets left out.
    environment: BTreeMap<&'static str, String>,
}

/// One line of the report: what, and what was found.
type Line = (&'static str, String);

/// Prints the report. As text it comes section by section, so that a slow network delays only its
/// own lines.
pub fn execute(args: &DoctorArgs) -> anyhow::Result<Exit> {
    let esm_embed = env!("CARGO_PKG_VERSION");
    let hub = HubSettings::from_env().map_err(|error| error.to_string());
    if args.json {
        print_json(&DoctorReport {
            esm_embed,
            computation: Computation::look(),
            cache: Cache::look(&hub),
            network: Network::look(&hub),
            environment: environment::all(),
        })?;
        return Ok(Exit::Done);
    }
    print(&format!("esm-embed {esm_embed}\n"))?;
    section("Computation", Computation::look().lines())?;
    section("Model cache", Cache::look(&hub).lines())?;
    section("Network", Network::look(&hub).lines())?;
    Ok(Exit::Done)
}

fn section(title: &str, lines: Vec<Line>) -> anyhow::Result<()> {
    let mut text = format!("\n{title}\n");
    for (what, found) in lines {
        text += &format!("  {what:<22} {}\n", printable::text(&found));
    }
    print(&text)
}
