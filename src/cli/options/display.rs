//! What is shown on standard error, under *Messages*.

use clap::ValueEnum;

/// What is shown on standard error.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
#[command(next_help_heading = "Messages")]
pub struct DisplayArgs {
    /// Progress on standard error
    #[arg(long, value_name = "STYLE", value_enum, default_value = "auto")]
    pub progress: ProgressArg,

    /// Show only warnings and errors
    #[arg(short, long, overrides_with = "quiet", conflicts_with = "verbose")]
    pub quiet: bool,

    /// Show more details
    #[arg(short, long, overrides_with = "verbose")]
    pub verbose: bool,
}

/// `--progress`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ProgressArg {
    /// bar on a terminal, else plain
    #[default]
    Auto,
    /// A progress bar
    Bar,
    /// One line per minute
    Plain,
    /// One JSON object per line, messages included. The event start has device, cpu_path (null on
    /// GPUs), dtype and the totals
    Json,
    /// Messages only
    None,
}
