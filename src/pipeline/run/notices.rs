//! What the user has to know of the input and of memory.

use crate::admission::Gaps;
use crate::checkpoint::TRAINING_MAXIMUM;
use crate::memory;
use crate::numerals::{bytes as size, count, grouped};
use crate::output::{Array, Counts, IDS_NPY, Ids, Manifest, Remark, Residues};
use crate::pipeline::input::findings::{Findings, Found};
use crate::pipeline::input::scan::Scan;
use crate::pipeline::job::Job;
use crate::pipeline::plan::Plan;
use crate::pipeline::plan::forecast;
use crate::pipeline::reporter::{Level, Reporter};
use crate::product::{Elements, Extent, Product};

/// A machine that others use too may not have what a job's limit allows.
pub fn warn_of_memory(job: &Job, plan: &Plan, scan: &Scan, reporter: &dyn Reporter) {
    let needed = forecast::memory(job, plan, scan);
    if let Some(available) = memory::available().filter(|available| *available < needed) {
        reporter.message(
            Level::Warning,
            &format!(
                "this run takes up to about {} of memory, and this machine has {} available at \
                 the moment: fewer --threads, --long window or --dtype f16 take less",
                size(needed),
                size(available)
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
                grouped(TRAINING_MAXIMUM as u64),
                if scan.long == 1 { "it is" } else { "they are" },
            ),
        );
    }
}

/// What will be written, before any of it is computed.
pub fn tell_of_output(job: &Job, plan: &Plan, scan: Option<&Scan>, reporter: &dyn Reporter) {
    let layout = &plan.layout;
    let arrays = layout.arrays();
    // Without pooled rows, nothing would be left.
    let without = match layout.pools.is_empty() {
        true => "",
        false => " (--residues none leaves them out)",
    };
    let text = match scan {
        Some(scan) => {
            let all = size(forecast::disk(plan, scan, job.inputs.shard.is_some()));
            let records = count(scan.records, "record");
            match large_arrays(&arrays, &scan.elements, without) {
                parts if parts.is_empty() => format!("{records}; {all}"),
                parts => format!("{records}; {all}, of which {parts}"),
            }
        }
        // A stream is read once: nobody knows how much of it there will be.
        None => {
            let each = [
                (Extent::Record, "", ""),
                (Extent::Residues, " residue", without),
                (Extent::Pairs, " pair of residues", ""),
                (Extent::TokenPairs, " pair of tokens", ""),
            ];
            let each = each.into_iter().filter_map(|(extent, name, note)| {
                let arrays = arrays
                    .iter()
                    .filter(|array| array.product.extent() == extent);
                let bytes = arrays
                    .map(Array::element_bytes)
                    .fold(0, u64::saturating_add);
                (bytes > 0).then(|| format!("{} for each{name}{note}", size(bytes)))
            });
            let each: Vec<String> = each.collect();
            format!("a stream of records; {}", each.join(", and "))
        }
    };
    let message = format!("{} will hold {text}", job.output.folder.display());
    reporter.message(Level::Info, &message);
}

/// The arrays that grow with the length of sequences: residue rows of all layers together, then
/// each of the others.
fn large_arrays(arrays: &[Array], elements: &Elements, without: &str) -> String {
    let mut parts: Vec<(String, u64)> = Vec::new();
    for array in arrays {
        let name = match array.product {
            Product::Pooled { .. } => continue,
            Product::Residues { .. } => "residue rows".into(),
            _ => array.name(),
        };
        let bytes = array.value_bytes(elements);
        match parts.last_mut() {
            Some((last, sum)) if *last == name => *sum = sum.saturating_add(bytes),
            _ => parts.push((name, bytes)),
        }
    }
    let texts = parts.iter().map(|(name, bytes)| {
        let note = if name == "residue rows" { without } else { "" };
        format!("{name} {}{note}", size(*bytes))
    });
    texts.collect::<Vec<_>>().join(", ")
}

/// Records whose embedding may not mean what the user thinks.
pub fn warn_of_findings(findings: &Findings, job: &Job, reporter: &dyn Reporter) {
    let all = count(findings.records, "record");
    let warn = |found: &Found, text: &dyn Fn(&str) -> String| {
        if let Some(first) = &found.first {
            reporter.message(Level::Warning, &text(first));
        }
    };
    let found = &findings.nucleotides;
    warn(found, &|first| {
        format!(
            "{} of {all} {} like nucleotides; the first is {first}. ESM reads their letters as \
             amino acids, and the embedding of such a sequence means nothing: translate it to \
             protein first, for example with `seqkit translate`",
            grouped(found.records),
            if found.records == 1 { "looks" } else { "look" },
        )
    });
    let found = &findings.gapped;
    if job.sequences.gaps == Gaps::Keep {
        warn(found, &|first| {
            format!(
                "{} of {all} {} gaps (- or .), {} in total; the first is {first}. ESM-1b, ESM-1v \
                 and ESM-2 never saw aligned sequences, and each gap is embedded as a token with a \
                 row: --gaps drop takes the gaps out",
                grouped(found.records),
                if found.records == 1 { "has" } else { "have" },
                grouped(findings.gaps),
            )
        });
    }
}

/// Records that a lookup by identifier loses.
pub fn warn_of_notes(manifest: &Manifest, reporter: &dyn Reporter) {
    let is_reuse = |about| about == Remark::ReusedIds;
    for note in manifest.notes.iter().filter(|note| is_reuse(note.about)) {
        let first = match note.first_id.as_str() {
            "" => "a record without an id".to_owned(),
            id => format!("`{id}`"),
        };
        let scope = match manifest.shard {
            Some(_) => ". Only the records of this shard were compared; merge compares all",
            None => "",
        };
        reporter.message(
            Level::Warning,
            &format!(
                "{} the id of an earlier record and another sequence; the first is {first} in row \
                 {}. A dictionary by id keeps only one record of each id: use the row numbers of \
                 index.tsv, or make the ids unique (--on-duplicate-id fail checks this before the \
                 work){scope}",
                match note.records {
                    1 => "1 record has".to_owned(),
                    records => format!("{} records have", grouped(records)),
                },
                grouped(note.first_row),
            ),
        );
    }
}

/// Says why there is no list of identifiers.
pub fn warn_of_ids(ids: Ids, reporter: &dyn Reporter) {
    if let Err(why) = ids.bytes() {
        let text = format!("{IDS_NPY} is not written: {why}; index.tsv has every id");
        reporter.message(Level::Warning, &text);
    }
}

/// What the user has to know of the input, in counts.
pub fn report(counts: &Counts, job: &Job, reporter: &dyn Reporter) {
    for text in what_was_met(counts) {
        reporter.message(Level::Warning, &text);
    }
    if job.sequences.gaps == Gaps::Drop && counts.gaps > 0 {
        let text = several(counts.gaps, "gap (- or .) was", "gaps (- and .) were");
        reporter.message(Level::Info, &format!("{text} dropped"));
    }
    let residues = match job.output.residues {
        Residues::None => "no residue rows",
        Residues::Packed => "packed",
        Residues::Files => "one file per record",
    };
    reporter.message(
        Level::Info,
        &format!(
            "{}: {} ({}), {} ({residues})",
            job.output.folder.display(),
            count(counts.records, "record"),
            count(counts.unique_sequences, "distinct sequence"),
            count(counts.residues, "residue")
        ),
    );
}

/// What was out of the ordinary in a finished run, one sentence for each kind.
fn what_was_met(counts: &Counts) -> Vec<String> {
    let all = [
        (
            counts.unknown,
            "character is not in the ESM alphabet and was embedded as <unk>",
            "characters are not in the ESM alphabet and were embedded as <unk>",
        ),
        (
            counts.lower,
            "lower-case letter was read as upper case",
            "lower-case letters were read as upper case",
        ),
        (
            counts.masks,
            "<mask> token was embedded and has a row",
            "<mask> tokens were embedded and have a row each",
        ),
        (
            counts.invisible,
            "white-space or invisible character beyond ASCII was dropped",
            "white-space or invisible characters beyond ASCII were dropped",
        ),
        (
            counts.stops,
            "record ended in *, which was dropped",
            "records ended in *, which was dropped",
        ),
        (
            counts.truncated,
            "sequence was truncated",
            "sequences were truncated",
        ),
        (
            counts.windowed,
            "sequence was embedded in windows",
            "sequences were embedded in windows",
        ),
        (
            counts.skipped,
            "record was skipped and is listed in skipped.tsv",
            "records were skipped and are listed in skipped.tsv",
        ),
        (
            counts.in_bf16,
            "record was computed in bf16 because its numbers do not fit f16 (--dtype bf16 computes \
             all records in bf16)",
            "records were computed in bf16 because their numbers do not fit f16 (--dtype bf16 \
             computes all records in bf16)",
        ),
    ];
    all.into_iter()
        .filter(|(number, ..)| *number > 0)
        .map(|(number, one, more)| several(number, one, more))
        .collect()
}

/// A number and what there is of it.
fn several(number: u64, one: &str, more: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        _ => format!("{} {more}", grouped(number)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_met_has_its_plural_right() {
        let of = |n| Counts {
            unknown: n,
            lower: n,
            masks: n,
            invisible: n,
            stops: n,
            truncated: n,
            windowed: n,
            skipped: n,
            in_bf16: n,
            ..Counts::default()
        };
        assert!(what_was_met(&of(0)).is_empty());
        assert_eq!(
            what_was_met(&of(1)),
            [
                "1 character is not in the ESM alphabet and was embedded as <unk>",
                "1 lower-case letter was read as upper case",
                "1 <mask> token was embedded and has a row",
                "1 white-space or invisible character beyond ASCII was dropped",
                "1 record ended in *, which was dropped",
                "1 sequence was truncated",
                "1 sequence was embedded in windows",
                "1 record was skipped and is listed in skipped.tsv",
                "1 record was computed in bf16 because its numbers do not fit f16 (--dtype bf16 \
                 computes all records in bf16)",
            ]
        );
        assert_eq!(
            what_was_met(&of(215_432)),
            [
                "215,432 characters are not in the ESM alphabet and were embedded as <unk>",
                "215,432 lower-case letters were read as upper case",
                "215,432 <mask> tokens were embedded and have a row each",
                "215,432 white-space or invisible characters beyond ASCII were dropped",
                "215,432 records ended in *, which was dropped",
                "215,432 sequences were truncated",
                "215,432 sequences were embedded in windows",
                "215,432 records were skipped and are listed in skipped.tsv",
                "215,432 records were computed in bf16 because their numbers do not fit f16 \
                 (--dtype bf16 computes all records in bf16)",
            ]
        );
    }
}
