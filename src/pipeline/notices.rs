//! What the user has to know of the input and of memory.

use super::forecast;
use super::job::{Job, USUAL_LIMIT};
use super::plan::Plan;
use super::reporter::{Level, Reporter};
use super::room::Bytes;
use super::scan::Scan;
use crate::memory;
use crate::numerals::{count, grouped};
use crate::output::{Counts, Residues};

/// A machine that others use too may not have what a job's limit allows.
pub fn warn_of_memory(job: &Job, plan: &Plan, scan: &Scan, reporter: &dyn Reporter) {
    let needed = forecast::memory(job, plan, scan);
    if let Some(available) = memory::available().filter(|available| *available < needed) {
        reporter.message(
            Level::Warning,
            &format!(
                "this run takes up to about {} of memory, and this machine has {} available at \
                 the moment: fewer --threads, --long window or --dtype f16 take less",
                Bytes(needed),
                Bytes(available)
            ),
        );
    }
}

pub fn warn_of_long(scan: &Scan, reporter: &dyn Reporter) {
    if scan.long > 0 {
        reporter.message(
            Level::Warning,
            &format!(
                "{} of {} {} more than {} residues, ESM's training maximum; {} embedded whole \
                 (--long chooses otherwise)",
                grouped(scan.long),
                count(scan.records, "sequence"),
                if scan.long == 1 { "has" } else { "have" },
                grouped(USUAL_LIMIT as u64),
                if scan.long == 1 { "it is" } else { "they are" },
            ),
        );
    }
}

/// What the user has to know of the input, in counts.
pub fn report(counts: &Counts, job: &Job, reporter: &dyn Reporter) {
    let told = [
        (
            "characters outside the alphabet, each read as <unk> with a row of its own",
            counts.unknown,
        ),
        ("lower-case letters, read as upper case", counts.lower),
        ("final *, dropped", counts.stops),
        ("sequences truncated", counts.truncated),
        ("sequences embedded in windows", counts.windowed),
        ("records skipped and listed in skipped.tsv", counts.skipped),
        (
            "records computed in bf16, as their numbers do not fit f16 (--dtype bf16 does so with \
             all of them)",
            counts.in_bf16,
        ),
    ];
    for (what, number) in told {
        if number > 0 {
            reporter.message(Level::Warning, &format!("{what}: {}", grouped(number)));
        }
    }
    let residues = match job.residues {
        Residues::None => "not written",
        Residues::Packed => "packed",
        Residues::Files => "one file each",
    };
    reporter.message(
        Level::Info,
        &format!(
            "{}: {} ({}), {} ({residues})",
            job.out.display(),
            count(counts.records, "record"),
            count(counts.unique_sequences, "distinct sequence"),
            count(counts.residues, "residue")
        ),
    );
}
