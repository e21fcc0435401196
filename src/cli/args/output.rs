//! What is written: the options of `run` under *Output*.

use super::super::values::{self, LayerArg, PoolArg};
use esm_embed::output::{OutDtype, Residues};

/// What is written.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// Layers to write, separated by commas [default: the last]
    ///
    /// 0 is the embedding, 1 the output of the first block, and so on; the last includes the final
    /// LayerNorm. Negative numbers count from the end: -1 and last are the last. A-B is all from A to
    /// B, all is 0-last. These can be mixed: 0,3-5,last.
    #[arg(
        short,
        long = "layer",
        value_name = "N[,N...]|A-B|all|last",
        value_delimiter = ',',
        allow_hyphen_values = true,
        value_parser = values::layer
    )]
    pub layers: Vec<LayerArg>,

    /// Pooled rows to write, separated by commas
    ///
    /// cls is another name for bos, the row of the token <cls>.
    /// none writes no pooled rows, and needs --residues packed or files.
    #[arg(
        short,
        long = "pool",
        value_name = "POOL[,POOL...]",
        value_delimiter = ',',
        default_value = "mean"
    )]
    pub pools: Vec<PoolArg>,

    /// Rows of single residues: packed into one matrix per layer, in one file per record, or none
    #[arg(
        long,
        value_name = "packed|files|none",
        default_value = "packed",
        value_parser = values::residues
    )]
    pub residues: Residues,

    /// Number format of the matrices
    #[arg(
        long,
        value_name = "f32|f16",
        default_value = "f32",
        value_parser = values::out_dtype
    )]
    pub out_dtype: OutDtype,
}
