//! What is shown on standard error: the options under *Messages*.

use clap::ValueEnum;

/// What is shown on standard error.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
#[command(next_help_heading = "Messages")]
pub struct ShowArgs {
    /// Progress on standard error
    ///
    /// auto is a bar on a terminal and else a plain line a minute; json writes one JSON object per
    /// line, messages included; none shows messages only.
    #[arg(
        long,
        value_name = "auto|bar|plain|json|none",
        value_enum,
        default_value = "auto",
        hide_possible_values = true
    )]
    pub progress: ProgressArg,

    /// Show only warnings and errors
    #[arg(short, long, overrides_with = "quiet", conflicts_with = "verbose")]
    pub quiet: bool,

    /// Show details too
    #[arg(short, long, overrides_with = "verbose")]
    pub verbose: bool,
}

/// `--progress`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ProgressArg {
    /// A bar on a terminal, else plain lines
    #[default]
    Auto,
    /// A bar
    Bar,
    /// A line a minute
    Plain,
    /// JSON lines
    Json,
    /// Nothing
    None,
}
