//! What the user has to know about the input.

use crate::admission::Gaps;
use crate::checkpoint::TRAINING_MAXIMUM;
use crate::numerals::{count, grouped};
use crate::pipeline::input::findings::{Findings, Found};
use crate::pipeline::input::scan::Scan;
use crate::pipeline::reporter::{Level, Reporter};

/// Sequences longer than any that the model was trained on.
pub fn warn_of_long(scan: &Scan, reporter: &dyn Reporter) {
    if scan.long > 0 {
        reporter.message(
            Level::Warning,
            &format!(
                "{} of {} {} more than {} residues, ESM's training maximum; {} embedded whole\n\
                 hint: use `long=window` or `long=truncate` to stay within it",
                grouped(scan.long),
                count(scan.records, "sequence"),
                if scan.long == 1 { "has" } else { "have" },
                grouped(TRAINING_MAXIMUM as u64),
                if scan.long == 1 { "it is" } else { "they are" },
            ),
        );
    }
}

/// Records whose embedding may not mean what the user thinks.
pub fn warn_of_findings(findings: &Findings, gaps: Gaps, reporter: &dyn Reporter) {
    let all = count(findings.records, "record");
    let warn = |found: &Found, text: &dyn Fn(&str) -> String| {
        if let Some(first) = &found.first {
            reporter.message(Level::Warning, &text(first));
        }
    };
    let found = &findings.nucleotides;
    warn(found, &|first| {
        format!(
            "{} of {all} {} like nucleotides, which ESM reads as amino acids, so that {} no \
             meaning; the first is {first}\n\
             hint: translate nucleotides to protein first, for example with `seqkit translate`",
            grouped(found.records),
            if found.records == 1 { "looks" } else { "look" },
            if found.records == 1 {
                "its embedding has"
            } else {
                "their embeddings have"
            },
        )
    });
    let found = &findings.gapped;
    if gaps == Gaps::Keep {
        warn(found, &|first| {
            format!(
                "{} of {all} {} gaps (- or .), {} in total; the first is {first}. ESM was trained on \
                 sequences without gaps, and each gap is embedded as a token with a row\n\
                 hint: use `gaps=drop` to remove gaps before embedding",
                grouped(found.records),
                if found.records == 1 { "has" } else { "have" },
                grouped(findings.gaps),
            )
        });
    }
}
