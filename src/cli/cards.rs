//! `cards`: the CUDA cards that this program can use, for the program that may start it.

use super::{Exit, print};
use anyhow::anyhow;
use esm_embed::device;

/// Prints the version and each card; fails, saying why, where there is none.
pub fn execute() -> anyhow::Result<Exit> {
    let cards = device::cards().map_err(|why| anyhow!(why))?;
    let mut text = format!("esm-embed {}\n", env!("CARGO_PKG_VERSION"));
    for card in cards {
        text += &format!("{card}\n");
    }
    print(&text)?;
    Ok(Exit::Done)
}
