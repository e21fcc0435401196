//! `man`: manual pages, one for each command.

use super::Exit;
use super::command_line::Cli;
use super::stdout::print;
use anyhow::{Context, bail};
use clap::CommandFactory;
use esm_embed::numerals::count;
use std::fs;
use std::path::PathBuf;

/// Arguments of `man`.
#[derive(Debug, clap::Args)]
pub struct ManArgs {
    /// Folder for the pages; it is created, and pages that are there are replaced
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
}

/// Writes the pages.
pub fn execute(args: &ManArgs) -> anyhow::Result<Exit> {
    let dir = &args.dir;
    let place = || dir.display().to_string();
    if dir.exists() && !dir.is_dir() {
        bail!("{} is not a folder", place());
    }
    fs::create_dir_all(dir).with_context(place)?;
    clap_mangen::generate_to(Cli::command(), dir).with_context(place)?;
    let pages = pages(&Cli::command(), "");
    for page in &pages {
        let path = dir.join(format!("{page}.1"));
        let keep_lines = || fs::write(&path, with_lines(&fs::read_to_string(&path)?));
        keep_lines().with_context(|| path.display().to_string())?;
    }
    let first = dir.join("esm-embed.1");
    print(&format!(
        "{} in {}; read the first with: man -l {}\n",
        count(pages.len() as u64, "manual page"),
        dir.display(),
        first.display()
    ))?;
    Ok(Exit::Done)
}

/// The pages of a command and of those below it.
fn pages(command: &clap::Command, above: &str) -> Vec<String> {
    let name = format!("{above}{}", command.get_name());
    let below = command.get_subcommands();
    let below = below.flat_map(|one| pages(one, &format!("{name}-")));
    std::iter::once(name.clone()).chain(below).collect()
}

/// The examples with their lines: clap_mangen lets `man` fill them like sentences.
fn with_lines(page: &str) -> String {
    let Some((before, examples)) = page.split_once(".SH EXTRA\n") else {
        return page.to_owned();
    };
    let end = examples.find("\n.SH ").map_or(examples.len(), |at| at + 1);
    let (examples, after) = examples.split_at(end);
    format!(
        "{before}.SH EXAMPLES\n.nf\n{}\n.fi\n{after}",
        examples.trim_end()
    )
}

#[cfg(test)]
mod tests {
    use super::with_lines;

    #[test]
    fn examples_keep_their_lines() {
        assert_eq!(with_lines(".SH NAME\na\n"), ".SH NAME\na\n");
        for (after, kept) in [("", ""), (".SH VERSION\n1\n", ".SH VERSION\n1\n")] {
            assert_eq!(
                with_lines(&format!(
                    ".SH NAME\na\n.SH EXTRA\nExamples:\n  a  b\n{after}"
                )),
                format!(".SH NAME\na\n.SH EXAMPLES\n.nf\nExamples:\n  a  b\n.fi\n{kept}")
            );
        }
    }
}
