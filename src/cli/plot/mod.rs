//! `plot`: pictures of what an output folder holds.

pub mod contacts;

use super::Exit;
use super::options::DisplayArgs;
use clap::{Args, Subcommand};
use contacts::ContactsArgs;

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
}

impl PlotArgs {
    /// What to show on standard error.
    pub fn display(&self) -> DisplayArgs {
        match &self.what {
            Plot::Contacts(args) => args.display,
        }
    }
}

/// Draws.
pub fn execute(args: &PlotArgs) -> anyhow::Result<Exit> {
    match &args.what {
        Plot::Contacts(args) => contacts::execute(args),
    }
}
