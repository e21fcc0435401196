//! Records out of the ordinary: the options of `run` under *Records*.

use super::super::values;
use clap::ValueEnum;
use esm_embed::admission::Long;

/// What happens to records that are out of the ordinary.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Records")]
pub struct RecordArgs {
    /// Sequences of more than 1022 residues
    ///
    /// full embeds them whole, truncate[:N] their first N residues, window[:N[:OVERLAP]] windows of
    /// N residues that are blended where they overlap, error treats them as invalid records. N is
    /// 1022 if it is not given; OVERLAP is 256, or N/4 for windows of at most 256 residues. With
    /// truncate:N and window:N the limit is N. [default: full for models with rotary positions
    /// (ESM-2), error for learned positions (ESM-1b, ESM-1v)]
    #[arg(
        long,
        value_name = "full|truncate[:N]|window[:N[:OVERLAP]]|error",
        value_parser = values::long
    )]
    pub long: Option<Long>,

    /// Characters outside the alphabet: one <unk> row each, or an invalid record
    #[arg(long, value_name = "unk|error", value_enum, default_value = "unk")]
    pub unknown: UnknownArg,

    /// Gaps of an alignment, - and .: one row each as in fair-esm, or taken out first
    ///
    /// ESM-1b, ESM-1v and ESM-2 never saw aligned sequences. A record of gaps only cannot be embedded
    /// either way.
    #[arg(long, value_name = "keep|drop", value_enum, default_value = "keep")]
    pub gaps: GapsArg,

    /// Records with the id of an earlier record and another sequence: a warning, or stop
    ///
    /// A dictionary by id keeps only one of them. With fail, all ids of all files are compared before
    /// anything is computed or written, with --shard those of the whole input too; a stream stops at
    /// the first such record. With warn, a shard compares its own records and merge compares all.
    #[arg(long, value_name = "warn|fail", value_enum, default_value = "warn")]
    pub on_duplicate_id: OnDuplicateIdArg,

    /// Records that cannot be embedded: stop, or skip them and list them in skipped.tsv
    ///
    /// With skip the exit status is 3 if records were skipped.
    #[arg(long, value_name = "fail|skip", value_enum, default_value = "fail")]
    pub on_invalid: OnInvalidArg,
}

/// `--unknown`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum UnknownArg {
    /// One `<unk>` row each, counted and reported
    Unk,
    /// The record is invalid
    Error,
}

/// `--gaps`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum GapsArg {
    /// Each is a token with a row
    Keep,
    /// They are taken out before the sequence is embedded
    Drop,
}

/// `--on-duplicate-id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnDuplicateIdArg {
    /// Count them in a warning
    Warn,
    /// Stop before anything is computed
    Fail,
}

/// `--on-invalid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnInvalidArg {
    /// Stop
    Fail,
    /// List it in skipped.tsv and continue
    Skip,
}
