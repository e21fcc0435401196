//! Messages of a run: what it will write, on what it computes, and what was out of the ordinary.

use super::Run;
use super::workers;
use crate::admission::Gaps;
use crate::checkpoint::InvFreqSource;
use crate::embedder::{Capacity, Embedder};
use crate::memory;
use crate::numerals::{bytes as size, count, grouped};
use crate::output::{Array, Counts, IDS_NPY, Ids, Manifest, Note, Remark, Residues};
use crate::pipeline::input::scan::Scan;
use crate::pipeline::job::{Job, OnVarying};
use crate::pipeline::plan::Plan;
use crate::pipeline::plan::resources;
use crate::pipeline::reporter::{Level, Reporter};
use crate::printable;
use crate::product::{Elements, Extent, Product};
use crate::tokenizer::Alphabet;
use anyhow::{Result, bail};
use std::time::Duration;

/// Other programs may use the memory that the limit of this process allows.
pub fn warn_of_memory(job: &Job, plan: &Plan, scan: &Scan, reporter: &dyn Reporter) {
    let needed = resources::memory(job, plan, scan);
    if let Some(available) = memory::available().filter(|available| *available < needed) {
        reporter.message(
            Level::Warning,
            &format!(
                "this run needs up to about {} of memory, and this machine has {} available at the \
                 moment\n\
                 hint: use fewer `threads`, `long=window` or `dtype=f16`, which need less",
                size(needed),
                size(available)
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
        false => " (`residues=none` leaves them out)",
    };
    let text = match scan {
        Some(scan) => {
            let all = size(resources::disk(plan, scan, job.inputs.shard.is_some()));
            let records = count(scan.records, "record");
            match large_arrays(&arrays, &scan.elements, without) {
                parts if parts.is_empty() => format!("{records}; {all}"),
                parts => format!("{records}; {all}, of which {parts}"),
            }
        }
        // The length of a stream is not known.
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
            Product::Pooled { .. } | Product::Stacked { .. } => continue,
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

/// Records that a lookup by identifier does not find.
pub fn warn_of_notes(manifest: &Manifest, reporter: &dyn Reporter) {
    let is_reuse = |about| about == Remark::ReusedIds;
    for note in manifest.notes.iter().filter(|note| is_reuse(note.about)) {
        let scope = match manifest.shard {
            Some(_) => "\nhint: only the records of this shard were compared; merging compares all",
            None => "",
        };
        warn_of_reused_ids(
            note.records,
            &note.first_id,
            note.first_row,
            scope,
            reporter,
        );
    }
}

/// Records with the id of an earlier one and another sequence, the first of them with its escaped id.
pub fn warn_of_reused_ids(
    records: u64,
    first: &str,
    row: u64,
    scope: &str,
    reporter: &dyn Reporter,
) {
    let first = match first {
        "" => "a record without an id".to_owned(),
        id => format!("`{id}`"),
    };
    reporter.message(
        Level::Warning,
        &format!(
            "{} the id of an earlier record and another sequence; the first is {first} in row \
             {}. A dictionary by id keeps only one record of each id\n\
             hint: use the row numbers of index.tsv, or make the ids unique \
             (`on_duplicate_id=fail` checks this before the work){scope}",
            match records {
                1 => "1 record has".to_owned(),
                records => format!("{} records have", grouped(records)),
            },
            grouped(row),
        ),
    );
}

/// Why there is no `ids.npy`.
pub fn warn_of_ids(ids: Ids, reporter: &dyn Reporter) {
    if let Err(why) = ids.bytes() {
        let text = format!("{IDS_NPY} is not written: {why}; index.tsv has every id");
        reporter.message(Level::Warning, &text);
    }
}

/// The model that is loaded, and what it is computed on. `recorded` names the file in which it is written
/// down, if it is.
///
/// # Errors
/// On this GPU the bits of a sequence depend on its batch, and the job does not allow that.
pub fn tell_of_model(
    run: Run<'_>,
    plan: &Plan,
    embedder: &Embedder,
    loading: Duration,
    recorded: Option<&str>,
) -> Result<()> {
    let capacity = embedder.engine().capacity(&plan.request());
    let config = embedder.config();
    let model = &run.job.model;
    let loaded = match (&model.adapter, run.checkpoint.adapter()) {
        (Some(given), Some(applied)) => {
            let base = match given.asked == model.asked {
                true => printable::name(applied.adapter.base_or_unknown()),
                false => model.asked.clone(),
            };
            let weights = count(applied.weights as u64, "weight");
            format!(
                "{base} with the adapter {}, which changes {weights}",
                given.asked
            )
        }
        _ => model.asked.clone(),
    };
    let text = format!(
        "loaded {loaded} ({} of {}, {}) in {:.2} s; computing on {}",
        count(config.layers as u64, "layer"),
        config.dim,
        run.checkpoint.naming(),
        loading.as_secs_f64(),
        computing(run.job, plan, capacity),
    );
    run.reporter.message(Level::Info, &text);
    let about = embedder.engine().about();
    if let Some(text) = &about.notice {
        run.reporter.message(Level::Info, text);
    }
    for line in &about.details {
        run.reporter.message(Level::Detail, line);
    }
    if let Some(why) = &plan.device.why_cpu {
        let level = match plan.gpu_failed {
            true => Level::Warning,
            false => Level::Info,
        };
        run.reporter
            .message(level, &format!("no GPU is used: {why}"));
    }
    if !capacity.shares_passes {
        if run.job.compute.on_varying == OnVarying::Fail {
            bail!(
                "{VARYING}, which `on_varying=fail` does not allow\n\
                 hint: leave `on_varying` out; then each sequence is computed in a separate pass"
            );
        }
        let text = format!("{VARYING}; each sequence is computed in a separate pass");
        run.reporter.message(Level::Warning, &text);
    }
    // No checkpoint of ESM C holds them.
    let are_lost = config.alphabet != Alphabet::EsmC;
    if are_lost && about.inv_freq == Some(InvFreqSource::Computed) {
        let recorded = recorded.map_or(String::new(), |file| format!("; {file} records this"));
        let text = format!(
            "the checkpoint has no inv_freq, so rotary frequencies are computed, while published \
             checkpoints have rounded ones{recorded}"
        );
        run.reporter.message(Level::Warning, &text);
    }
    Ok(())
}

const VARYING: &str =
    "a self-test on this GPU found that the bits of a sequence depend on its batch";

/// Device, threads and number format.
fn computing(job: &Job, plan: &Plan, capacity: Capacity) -> String {
    let is_gpu = plan.device.is_gpu();
    let device = match is_gpu {
        true => plan.device.to_string(),
        false => format!("{} ({})", plan.device, plan.device.path),
    };
    let batch = match is_gpu && !job.compute.deterministic {
        true => format!(", {} per batch", count(capacity.tokens as u64, "token")),
        false => String::new(),
    };
    let threads = count(workers(job, capacity) as u64, "thread");
    format!("{device}, {threads}, {}{batch}", plan.dtype)
}

/// How many sequences were copied from other output folders.
pub fn tell_of_known(known: u64, manifest: &Manifest, reporter: &dyn Reporter) {
    let all = count(manifest.counts.unique_sequences, "distinct sequence");
    let were = if known == 1 { "was" } else { "were" };
    let text = format!("{} of {all} {were} known and copied", grouped(known));
    reporter.message(Level::Info, &text);
}

/// How much of an interrupted run could be used.
pub fn tell_of_restored(restored: u64, manifest: &Manifest, reporter: &dyn Reporter) {
    let all = count(manifest.counts.unique_sequences, "distinct sequence");
    let were = if restored == 1 { "was" } else { "were" };
    let text = format!("{} of {all} {were} already done", grouped(restored));
    reporter.message(Level::Info, &text);
}

/// Records that did not share a pass although they could have.
pub fn warn_of_passes(capacity: Capacity, reporter: &dyn Reporter) {
    if let Some(fallback) = capacity.varying_fallback
        && capacity.shares_passes
    {
        let text = format!(
            "a self-test on this GPU found that in {fallback} the bits of a sequence depend on its \
             batch; each record in {fallback} was computed in a separate pass"
        );
        reporter.message(Level::Warning, &text);
    }
}

/// Records that stay left out of a resumed run although there is enough memory for them now.
pub fn warn_of_left_out(spared: u64, reporter: &dyn Reporter) {
    if spared > 0 {
        let text = format!(
            "{} left out because memory was short when the run began, although there is enough \
             now\nhint: a run into another folder (`out`) embeds {} too",
            several(spared, "record was", "records were"),
            if spared == 1 { "it" } else { "them" },
        );
        reporter.message(Level::Warning, &text);
    }
}

/// What was out of the ordinary, in counts, and how much was written.
pub fn report(manifest: &Manifest, job: &Job, reporter: &dyn Reporter) {
    let counts = &manifest.counts;
    let mut notes = manifest.notes.iter();
    if let Some(note) = notes.find(|note| note.about == Remark::Unknown) {
        reporter.message(
            Level::Warning,
            &unknown_characters(counts.unknown, note, is_of_pairs(manifest)),
        );
    }
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

/// Whether a token is a pair of an amino acid and a structure letter.
fn is_of_pairs(manifest: &Manifest) -> bool {
    let rows = manifest.resolved.model.alphabet_size;
    rows.and_then(Alphabet::of_rows) == Some(Alphabet::SaProt)
}

/// Characters outside the alphabet, and the record that has them.
fn unknown_characters(number: u64, note: &Note, is_of_pairs: bool) -> String {
    let text = match is_of_pairs {
        true => several(
            number,
            "pair is not in the alphabet of SaProt and was embedded as <unk>",
            "pairs are not in the alphabet of SaProt and were embedded as <unk>",
        ),
        false => several(
            number,
            "character is not in the ESM alphabet and was embedded as <unk>",
            "characters are not in the ESM alphabet and were embedded as <unk>",
        ),
    };
    match (note.records, note.first_id.as_str()) {
        (_, "") => format!("{text} (first in row {})", grouped(note.first_row)),
        (1, id) => format!("{text} (record {id})"),
        (_, id) => format!("{text} (first in record {id})"),
    }
}

/// What else was out of the ordinary in a finished run, one sentence for each kind.
fn what_was_met(counts: &Counts) -> Vec<String> {
    let all = [
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
            "record was computed in bf16 because its numbers do not fit f16 (`dtype=bf16` computes \
             all records in bf16)",
            "records were computed in bf16 because their numbers do not fit f16 (`dtype=bf16` \
             computes all records in bf16)",
        ),
        (
            counts.in_f32,
            "record was computed in f32 because its numbers do not fit f16 (`dtype=f32` computes \
             all records in f32)",
            "records were computed in f32 because their numbers do not fit f16 (`dtype=f32` \
             computes all records in f32)",
        ),
    ];
    all.into_iter()
        .filter(|(number, ..)| *number > 0)
        .map(|(number, one, more)| several(number, one, more))
        .collect()
}

/// A number and its noun.
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
    fn unknown_characters_name_their_record() {
        let note = |records, id: &str| Note {
            about: Remark::Unknown,
            records,
            first_row: 1_204,
            first_id: id.into(),
        };
        assert_eq!(
            unknown_characters(1, &note(1, "ambiguous_7"), false),
            "1 character is not in the ESM alphabet and was embedded as <unk> (record ambiguous_7)"
        );
        assert_eq!(
            unknown_characters(215_432, &note(2, "P1"), false),
            "215,432 characters are not in the ESM alphabet and were embedded as <unk> (first in \
             record P1)"
        );
        assert_eq!(
            unknown_characters(2, &note(1, ""), false),
            "2 characters are not in the ESM alphabet and were embedded as <unk> (first in row \
             1,204)"
        );
        assert_eq!(
            unknown_characters(1, &note(1, "P1"), true),
            "1 pair is not in the alphabet of SaProt and was embedded as <unk> (record P1)"
        );
    }

    #[test]
    fn what_was_met_has_its_plural_right() {
        let of = |n| Counts {
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
                "1 lower-case letter was read as upper case",
                "1 <mask> token was embedded and has a row",
                "1 white-space or invisible character beyond ASCII was dropped",
                "1 record ended in *, which was dropped",
                "1 sequence was truncated",
                "1 sequence was embedded in windows",
                "1 record was skipped and is listed in skipped.tsv",
                "1 record was computed in bf16 because its numbers do not fit f16 (`dtype=bf16` \
                 computes all records in bf16)",
            ]
        );
        assert_eq!(
            what_was_met(&of(215_432)),
            [
                "215,432 lower-case letters were read as upper case",
                "215,432 <mask> tokens were embedded and have a row each",
                "215,432 white-space or invisible characters beyond ASCII were dropped",
                "215,432 records ended in *, which was dropped",
                "215,432 sequences were truncated",
                "215,432 sequences were embedded in windows",
                "215,432 records were skipped and are listed in skipped.tsv",
                "215,432 records were computed in bf16 because their numbers do not fit f16 \
                 (`dtype=bf16` computes all records in bf16)",
            ]
        );
    }
}
