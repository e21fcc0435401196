//! The part of the input that a job embeds.

use super::job::Job;
use super::plan::Plan;
use super::records::Source;
use super::reporter::{Phase, Reporter};
use super::same_ids::SameIds;
use super::scan;
use super::shard::Share;
use crate::output::ShardEntry;
use anyhow::{Result, bail};

/// The part of the input that this job embeds.
pub struct Part {
    pub entry: ShardEntry,
    pub share: Share,
    pub sources: Vec<Source>,
}

/// Shares the input out; None if all of it is to be embedded.
pub fn part(job: &Job, plan: &Plan, reporter: &dyn Reporter) -> Result<Option<Part>> {
    let Some(shard) = job.shard else {
        return Ok(None);
    };
    if let Some(stream) = job.inputs.iter().find(|path| !scan::is_repeatable(path)) {
        bail!(
            "{}: cannot be read twice, and --shard {shard} reads the input once to share it out \
             before it embeds: write it to a file first",
            stream.display()
        );
    }
    reporter.phase(Phase::Reading);
    let ids = SameIds::of(job)?;
    let (survey, sources) = scan::survey(&job.inputs, plan.policy, job.on_invalid, ids, reporter)?;
    Ok(Some(Part {
        entry: ShardEntry {
            number: shard.number,
            of: shard.of,
            input_records: survey.records(),
        },
        share: survey.share(shard),
        sources,
    }))
}
