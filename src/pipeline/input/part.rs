//! The part of the input that a job embeds.

use crate::output::ShardEntry;
use crate::pipeline::input::records::Source;
use crate::pipeline::input::rules::Rules;
use crate::pipeline::input::same_ids::SameIds;
use crate::pipeline::input::scan;
use crate::pipeline::input::shard::Share;
use crate::pipeline::job::Job;
use crate::pipeline::reporter::{Phase, Reporter};
use anyhow::{Result, bail};

/// The part of the input that this job embeds.
pub struct Part {
    pub entry: ShardEntry,
    pub share: Share,
    pub sources: Vec<Source>,
}

/// Shares the input out; None if all of it is to be embedded.
pub fn part(job: &Job, rules: Rules, reporter: &dyn Reporter) -> Result<Option<Part>> {
    let Some(shard) = job.inputs.shard else {
        return Ok(None);
    };
    if let Some(stream) = job
        .inputs
        .paths
        .iter()
        .find(|path| !scan::is_repeatable(path))
    {
        bail!(
            "{}: cannot be read twice, and --shard {shard} reads the input once to share it out \
             before it embeds: write it to a file first",
            stream.display()
        );
    }
    reporter.phase(Phase::Reading);
    let ids = SameIds::of(job)?;
    let (survey, sources) = scan::survey(&job.inputs.paths, rules, ids, reporter)?;
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
