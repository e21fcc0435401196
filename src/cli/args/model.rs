//! Which checkpoint: the options of `run` under *Model*.

use super::super::values::{self, ModelArg};

/// Which checkpoint.
#[derive(Debug, clap::Args)]
pub struct ModelArgs {
    /// Name, repository on the Hugging Face Hub, folder or file of the model
    ///
    /// Names: as `esm-embed models` lists them, such as esm2_t33_650M_UR50D, and the short forms 8M
    /// 35M 150M 650M 3B 15B. Repository: organisation/name. Path: a Hugging Face folder, a
    /// .safetensors or .bin file beside its config.json, or a .pt file of fair-esm.
    #[arg(
        short,
        long,
        default_value = "esm2_t33_650M_UR50D",
        value_parser = values::model,
        help_heading = "Model"
    )]
    pub model: ModelArg,

    /// Branch, tag or commit of the repository [default: main]
    #[arg(long, value_name = "REVISION", help_heading = "Model")]
    pub revision: Option<String>,

    /// Read the model's files for their checksums, even if these are remembered
    ///
    /// run.json names the SHA-256 of every file of the model. That of a file of 64 MiB or more is
    /// remembered in the cache (HF_HOME) and used by later runs on the same machine, until it is
    /// restarted or anything of the file changes.
    #[arg(long, help_heading = "Model")]
    pub check_model: bool,
}
