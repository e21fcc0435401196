//! `doctor`: what this machine and the environment offer. Never fails over what it finds.

mod cache;
mod machine;
mod network;

use super::text::printable;
use super::{Exit, print};
use esm_embed::hub::HubSettings;

/// One line of the report: what, and what was found.
type Line = (&'static str, String);

/// Prints the report, section by section, so that a slow network holds up its own lines alone.
pub fn execute() -> anyhow::Result<Exit> {
    print(&format!("esm-embed {}\n", env!("CARGO_PKG_VERSION")))?;
    section("Computation", machine::lines())?;
    let hub = HubSettings::from_env().map_err(|error| error.to_string());
    section("Model cache", cache::lines(&hub))?;
    section("Network", network::lines(&hub))?;
    Ok(Exit::Done)
}

fn section(title: &str, lines: Vec<Line>) -> anyhow::Result<()> {
    let mut text = format!("\n{title}\n");
    for (what, found) in lines {
        text += &format!("  {what:<22} {}\n", printable(&found));
    }
    print(&text)
}
