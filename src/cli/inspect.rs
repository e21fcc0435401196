//! `inspect`: what an output folder holds.

use super::args::InspectArgs;
use super::{Exit, print};
use esm_embed::output;

/// Prints the report on a folder.
pub fn execute(args: &InspectArgs) -> anyhow::Result<Exit> {
    let report = output::inspect(&args.dir, args.check)?;
    print(&report.to_string())?;
    Ok(if report.is_sound() {
        Exit::Done
    } else {
        Exit::Failed
    })
}
