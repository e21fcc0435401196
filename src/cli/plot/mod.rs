//! `plot`: pictures of what an output folder holds.

pub mod contacts;
pub mod map;

use super::Exit;
use super::options::DisplayArgs;
use anyhow::Context;
use clap::{Args, Subcommand};
use contacts::ContactsArgs;
use esm_embed::plot::files::beside;
use map::MapArgs;
use std::path::{Path, PathBuf};

/// Arguments of `plot`.
#[derive(Debug, Args)]
pub struct PlotArgs {
    /// What to draw.
    #[command(subcommand)]
    pub what: Plot,
}

/// The pictures.
#[derive(Debug, Subcommand)]
pub enum Plot {
    /// Contact maps as PNG and SVG, with a table of the most probable contacts
    #[command(after_help = contacts::EXAMPLES)]
    Contacts(ContactsArgs),
    /// A map on which proteins with similar embeddings are near each other
    #[command(after_help = map::EXAMPLES)]
    Map(MapArgs),
}

impl PlotArgs {
    /// What to show on standard error.
    pub fn display(&self) -> DisplayArgs {
        match &self.what {
            Plot::Contacts(args) => args.display,
            Plot::Map(args) => args.display,
        }
    }
}

/// Draws.
pub fn execute(args: &PlotArgs) -> anyhow::Result<Exit> {
    match &args.what {
        Plot::Contacts(args) => contacts::execute(args),
        Plot::Map(args) => map::execute(args),
    }
}

/// The folder to write: as given, or beside the output folder and named after it.
pub(super) fn out_folder(
    given: Option<&Path>,
    dir: &Path,
    ending: &str,
) -> anyhow::Result<PathBuf> {
    match given {
        Some(out) => Ok(out.to_path_buf()),
        None => beside(dir, ending).with_context(|| {
            let dir = dir.display();
            format!("{dir} has no name to put {ending} after\nhint: give a folder with `out`")
        }),
    }
}
