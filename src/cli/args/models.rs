//! What `models` is given.

/// Arguments of `models`.
#[derive(Debug, clap::Args)]
pub struct ModelsArgs {
    /// Print the list as one JSON document
    ///
    /// Fields: cache (the folder, or null), cache_error, and models (name, short, repo, parameters,
    /// layers, dim, heads, and cached: complete, path, revision, bytes, unfinished_bytes). Values
    /// that are not known are null.
    #[arg(long)]
    pub json: bool,
}
