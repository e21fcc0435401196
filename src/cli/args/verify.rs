//! What `verify` is given.

use super::super::values::{self, ModelArg};
use super::ShowArgs;
use esm_embed::device::DeviceChoice;
use std::path::PathBuf;

/// Arguments of `verify`.
#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    /// Name, repository on the Hugging Face Hub, folder or file of the model
    #[arg(value_parser = values::model)]
    pub model: ModelArg,

    /// Branch, tag or commit of the repository [default: main]
    #[arg(long, value_name = "REVISION")]
    pub revision: Option<String>,

    /// Compare with the values of this file instead of the published ones
    ///
    /// JSON: {"comparisons": [{"name": ..., "checkpoint": ..., "sequence": ..., "layer": ...,
    /// "what": ..., "expected": ..., "atol": ..., "rtol": ..., "source": ...}]}. what is
    /// hidden_rows (row 0 is <cls>), residue_rows, mean, bos or mean_of_mean; checkpoint may be left
    /// out, and then fits every model.
    #[arg(long, value_name = "FILE")]
    pub reference: Option<PathBuf>,

    /// Where to compute, in f32: cpu, auto, cuda (the first card), cuda:0,1,… or all (every card)
    #[arg(
        long,
        value_name = "cpu|auto|cuda[:I[,I...]]|all",
        default_value = "cpu",
        value_parser = values::device
    )]
    pub device: DeviceChoice,

    #[command(flatten)]
    pub show: ShowArgs,
}
