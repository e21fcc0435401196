//! The model, under *Model*.

use super::super::message::Message;
use super::variables;
use esm_embed::hub::ModelRef;

/// The model if none is given.
pub const DEFAULT: &str = "esm2_t33_650M_UR50D";

/// Which model.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Model")]
pub struct ModelArgs {
    /// Model: a name, a Hugging Face repository, a folder or a file
    ///
    /// A name is one that `esm-embed models` lists, such as esm2_t33_650M_UR50D or esmc_300m, or a
    /// short form: 8M, 35M, 150M, 650M, 3B or 15B. A repository is written organisation/name. A path
    /// leads to a Hugging Face folder, to a .safetensors or .bin file beside its config.json, to a .pt
    /// file of fair-esm, to a .pth file of ESM C, or to a .nemo file of ESM2nv. A LoRA adapter can be
    /// given too, and is added to the base that it names: see --adapter.
    #[arg(short, long, env = variables::MODEL, default_value = DEFAULT, value_parser = model)]
    pub model: ModelArg,

    /// Branch, tag or commit of the Hugging Face repository [default: main]
    #[arg(long, value_name = "REVISION")]
    pub revision: Option<String>,

    /// Recompute the checksums of the model's files, even if they are cached
    ///
    /// run.json records the SHA-256 of every file of the model. Checksums of files of 64 MiB or more
    /// are cached (in HF_HOME) and reused on the same machine until it restarts or the file changes.
    #[arg(long)]
    pub check_model: bool,
}

/// A model as typed, and what it refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelArg {
    /// As typed.
    pub text: String,
    /// A known name, a repository or a path.
    pub reference: ModelRef,
}

/// A name, a repository or a path.
pub fn model(text: &str) -> Result<ModelArg, String> {
    let reference =
        ModelRef::parse(text).map_err(|error| Message::of(&error.to_string()).plain())?;
    Ok(ModelArg {
        text: text.to_owned(),
        reference,
    })
}
