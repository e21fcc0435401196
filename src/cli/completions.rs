//! `completions`: what a shell needs to complete commands and flags.

use super::Exit;
use super::command_line::Cli;
use super::stdout::print;
use clap::CommandFactory;
use clap_complete::Shell;

/// Examples below the help.
pub const EXAMPLES: &str = "\
Examples:
  # Once, or in ~/.bashrc
  eval \"$(esm-embed completions bash)\"
  esm-embed completions fish > ~/.config/fish/completions/esm-embed.fish
  esm-embed completions zsh > _esm-embed   # into a folder of $fpath";

/// Arguments of `completions`.
#[derive(Debug, clap::Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Prints the script.
pub fn execute(args: &CompletionsArgs) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "esm-embed", &mut script);
    let script = String::from_utf8(script)?;
    // clap_complete 4.6.11 splits the name at its hyphen in one half of the script for bash, which then
    // completes no flag.
    print(&script.replace("esm__subcmd__embed", "esm__embed"))?;
    Ok(Exit::Done)
}
