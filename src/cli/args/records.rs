//! Records out of the ordinary: the options of `run` under *Records*.

use super::super::values;
use clap::ValueEnum;
use esm_embed::pipeline::Long;

/// What becomes of records that are out of the ordinary.
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

/// `--on-invalid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnInvalidArg {
    /// Stop
    Fail,
    /// List it in skipped.tsv and go on
    Skip,
}
