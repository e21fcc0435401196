//! What `verify` is given.

use super::super::values::{self, ModelArg};
use super::ShowArgs;
use esm_embed::device::DeviceChoice;
use std::path::PathBuf;

/// Arguments of `verify`.
#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    /// Name, repository on the Hugging Face Hub, folder or file of the model
    ///
    /// Values are published for 8M, 35M, 150M, 650M and 3B. A folder or file must be named after its
    /// model, such as esm2_t33_650M_UR50D, so that its values can be found.
    #[arg(default_value = "esm2_t33_650M_UR50D", value_parser = values::model)]
    pub model: ModelArg,

    /// Branch, tag or commit of the repository [default: main]
    #[arg(long, value_name = "REVISION")]
    pub revision: Option<String>,

    /// Compare with the values of this file instead of the published ones
    ///
    /// A JSON file, for example:
    ///
    /// {"comparisons": [{"name": "first columns", "sequence": "MKTAYIAK", "what": "mean",
    /// "expected": [0.12, -0.4], "atol": 1e-4, "rtol": 1e-4, "source": "my notebook"}]}
    ///
    /// what: hidden_rows (row 0 is <cls>), residue_rows, residue_norms, mean, bos or mean_of_mean.
    /// layer: -1 (the last) by default. checkpoint: the model that the values belong to; without it
    /// they fit any. stride: the values of a row are those of columns 0, stride, 2*stride and so on.
    /// Tolerance: atol and rtol for each value (atol + rtol*|expected|); or relative_l2 for all values
    /// together, where the error of a column is relative to its size or to scale, if that is larger.
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

    /// Print the report as one JSON document
    ///
    /// Fields: esm_embed, model, path, repo, revision, device, cpu_path, passed, compared, failed,
    /// files (name, passed, expected, found) and comparisons (name, checkpoint, sequence, layer,
    /// what, values, passed, measure, error, limit, source, licence). An error that is not a number
    /// is null.
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub show: ShowArgs,
}
