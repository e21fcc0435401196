//! Unusual records, under *Records*.

use clap::ValueEnum;
use esm_embed::admission::{Gaps, Long};
use esm_embed::pipeline::{OnDuplicateId, OnInvalid};
use esm_embed::settings::long;
use esm_embed::tokenizer::UnknownPolicy;

const LONG_HELP: &str = "\
Sequences of more than 1,022 residues, ESM's training maximum

full                  Embed the whole sequence
truncate[:N]          Embed only the first N residues
window[:N[:OVERLAP]]  Embed overlapping windows of N residues
error                 Treat the record as invalid

N is 1022 by default; if given, it replaces 1,022 as the limit. OVERLAP is 256 by default, or N/4 if N \
is at most 256. Windows are blended where they overlap.

[default: full for rotary positions (ESM-2), error for learned positions (ESM-1b, ESM-1v)]";

/// How unusual sequences are treated.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Records")]
pub struct SequenceArgs {
    /// Sequences of more than 1,022 residues, ESM's training maximum
    #[arg(
        long,
        long_help = LONG_HELP,
        value_name = "full|truncate[:N]|window[:N[:OVERLAP]]|error",
        value_parser = long
    )]
    pub long: Option<Long>,

    /// Characters that are not in the ESM alphabet
    #[arg(long, value_name = "ACTION", value_enum, default_value = "unk")]
    pub unknown: UnknownArg,

    /// Gaps of an alignment (- and .)
    ///
    /// ESM-1b, ESM-1v and ESM-2 were not trained on aligned sequences. A record of gaps only cannot be
    /// embedded either way.
    #[arg(long, value_name = "ACTION", value_enum, default_value = "keep")]
    pub gaps: GapsArg,
}

/// How unusual records are treated.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Records")]
pub struct RecordArgs {
    #[command(flatten)]
    pub sequences: SequenceArgs,

    /// Different sequences with the same id
    ///
    /// A dictionary by id keeps only one of them. With fail, the ids of the whole input (also with
    /// --shard) are compared before anything is computed or written; standard input is read until the
    /// first duplicate. With warn, each shard compares its own ids, and merge compares all of them.
    #[arg(long, value_name = "ACTION", value_enum, default_value = "warn")]
    pub on_duplicate_id: OnDuplicateIdArg,

    /// Records that cannot be embedded
    #[arg(long, value_name = "ACTION", value_enum, default_value = "fail")]
    pub on_invalid: OnInvalidArg,
}

/// `--unknown`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum UnknownArg {
    /// Embed each as `<unk>`, and report how many there are
    Unk,
    /// Treat the record as invalid
    Error,
}

impl From<UnknownArg> for UnknownPolicy {
    fn from(arg: UnknownArg) -> UnknownPolicy {
        match arg {
            UnknownArg::Unk => UnknownPolicy::Unk,
            UnknownArg::Error => UnknownPolicy::Error,
        }
    }
}

/// `--gaps`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum GapsArg {
    /// Embed each as a token with a row, as fair-esm does
    Keep,
    /// Remove them before the sequence is embedded
    Drop,
}

impl From<GapsArg> for Gaps {
    fn from(arg: GapsArg) -> Gaps {
        match arg {
            GapsArg::Keep => Gaps::Keep,
            GapsArg::Drop => Gaps::Drop,
        }
    }
}

/// `--on-duplicate-id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnDuplicateIdArg {
    /// Embed all of them, and warn
    Warn,
    /// Stop before anything is computed
    Fail,
}

impl From<OnDuplicateIdArg> for OnDuplicateId {
    fn from(arg: OnDuplicateIdArg) -> OnDuplicateId {
        match arg {
            OnDuplicateIdArg::Warn => OnDuplicateId::Warn,
            OnDuplicateIdArg::Fail => OnDuplicateId::Fail,
        }
    }
}

/// `--on-invalid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnInvalidArg {
    /// Stop
    Fail,
    /// List them in skipped.tsv and continue; the exit status is then 3
    Skip,
}

impl From<OnInvalidArg> for OnInvalid {
    fn from(arg: OnInvalidArg) -> OnInvalid {
        match arg {
            OnInvalidArg::Fail => OnInvalid::Fail,
            OnInvalidArg::Skip => OnInvalid::Skip,
        }
    }
}
