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
    /// Values are published for 8M, 35M, 150M, 650M and 3B. A folder or file is compared with those
    /// of the model whose name it has, such as esm2_t33_650M_UR50D.
    #[arg(default_value = "esm2_t33_650M_UR50D", value_parser = values::model)]
    pub model: ModelArg,

    /// Branch, tag or commit of the repository [default: main]
    #[arg(long, value_name = "REVISION")]
    pub revision: Option<String>,

    /// Compare with the values of this file instead of the published ones
    ///
    /// JSON: {"comparisons": [{"name": ..., "checkpoint": ..., "sequence": ..., "layer": ...,
    /// "what": ..., "expected": ..., "stride": ..., "source": ..., and a tolerance}]}. what is
    /// hidden_rows (row 0 is <cls>), residue_rows, residue_norms, mean, bos or mean_of_mean. Without
    /// checkpoint, the values fit every model; layer is -1 (the last) by default. With a stride, the
    /// values of a row are those of columns 0, stride, 2 times stride and so on. The tolerance is
    /// atol and rtol (each value: atol + rtol * |expected|), or relative_l2 (all values together,
    /// column by column; a column smaller than scale counts as that large).
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
