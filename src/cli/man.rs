//! `man`: manual pages, one for each command.

use super::Exit;
use super::command_line::Cli;
use super::stdout::print;
use anyhow::{Context, bail};
use clap::CommandFactory;
use esm_embed::numerals::count;
use std::fs;
use std::path::PathBuf;

/// Arguments of `man`.
#[derive(Debug, clap::Args)]
pub struct ManArgs {
    /// Folder for the pages; it is created, and pages that are there are replaced
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
}

/// Writes the pages.
pub fn execute(args: &ManArgs) -> anyhow::Result<Exit> {
    let dir = &args.dir;
    let place = || dir.display().to_string();
    if dir.exists() && !dir.is_dir() {
        bail!("{} is not a folder", place());
    }
    fs::create_dir_all(dir).with_context(place)?;
    clap_mangen::generate_to(Cli::command(), dir).with_context(place)?;
    let first = dir.join("esm-embed.1");
    let pages = pages(&Cli::command());
    print(&format!(
        "{} in {}; read the first with: man -l {}\n",
        count(pages, "manual page"),
        dir.display(),
        first.display()
    ))?;
    Ok(Exit::Done)
}

/// A page for a command and each of those below it.
fn pages(command: &clap::Command) -> u64 {
    1 + command.get_subcommands().map(pages).sum::<u64>()
}
