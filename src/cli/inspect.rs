//! `inspect`: what an output folder holds.

use super::args::InspectArgs;
use super::{Exit, print};
use anyhow::ensure;
use esm_embed::device::available_threads;
use esm_embed::output;

/// Prints the report on a folder.
pub fn execute(args: &InspectArgs) -> anyhow::Result<Exit> {
    ensure!(
        args.dir.exists(),
        "{} does not exist. Give the folder that a run was told to write (--out)",
        args.dir.display()
    );
    let report = output::inspect_with_threads(&args.dir, args.check, available_threads())?;
    print(&report.to_string())?;
    Ok(if report.is_sound() {
        Exit::Done
    } else {
        Exit::Failed
    })
}
