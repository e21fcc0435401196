//! The command line as clap reads it.

use super::completions::{self, CompletionsArgs};
use super::demo::DemoArgs;
use super::doctor::DoctorArgs;
use super::export::{self, ExportArgs};
use super::fetch::FetchArgs;
use super::inspect::InspectArgs;
use super::man::ManArgs;
use super::merge::{self, MergeArgs};
use super::models::ModelsArgs;
use super::options::DisplayArgs;
use super::plan::{self, PlanArgs};
use super::plot::PlotArgs;
use super::report::{self, ReportArgs};
use super::run::{self, RunArgs};
use super::score::{self, ScoreArgs};
use super::serve::{self, ServeArgs};
use super::status::{self, StatusArgs};
use super::template::{self, TemplateArgs};
use super::verify::VerifyArgs;
use clap::parser::ValueSource;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use std::ffi::OsString;

const EXAMPLES: &str = "\
Example:
  esm-embed run proteins.fasta --out emb/

Then, in Python:
  numpy.load(\"emb/mean.layer33.npy\")   # one row per record, in FASTA order

Exit status:
  0        success
  1        failure
  2        wrong usage
  3        success, but records were skipped (--on-invalid skip)
  128 + N  stopped by signal N: 129 SIGHUP, 130 SIGINT (Ctrl-C), 138 SIGUSR1,
           143 SIGTERM; continue with --resume";

/// clap's names of the argument of the model.
const MODEL_IDS: [&str; 2] = ["model", "models"];

/// Exact ESM embeddings of protein sequences: FASTA in, .npy out
#[derive(Debug, Parser)]
#[command(name = "esm-embed", version, after_help = EXAMPLES, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Embed the sequences of FASTA files
    #[command(after_help = run::EXAMPLES)]
    Run(Box<RunArgs>),
    /// Score the variants of proteins
    #[command(after_help = score::EXAMPLES)]
    Score(Box<ScoreArgs>),
    /// Answer requests for embeddings over HTTP and gRPC
    #[command(after_help = serve::EXAMPLES)]
    Serve(Box<ServeArgs>),
    /// Download a model and verify its files, for use without a network
    Fetch(FetchArgs),
    /// List the published ESM models and those in the cache
    Models(ModelsArgs),
    /// Show what an output folder holds, and whether it is intact
    Inspect(InspectArgs),
    /// Divide an input into shards of equal work, so that no task reads all of it
    #[command(after_help = plan::EXAMPLES)]
    Plan(PlanArgs),
    /// Merge the output folders of all shards into one
    #[command(after_help = merge::EXAMPLES)]
    Merge(MergeArgs),
    /// Show the progress of the shards of an input, and what is left to do
    #[command(after_help = status::EXAMPLES)]
    Status(StatusArgs),
    /// Write what an output folder holds in the formats of other tools
    #[command(after_help = export::EXAMPLES)]
    Export(Box<ExportArgs>),
    /// Draw what an output folder holds
    Plot(PlotArgs),
    /// Write a page that describes a run and its results
    #[command(after_help = report::EXAMPLES)]
    Report(ReportArgs),
    /// Compare the embeddings of a model with published values
    Verify(VerifyArgs),
    /// Show CPU, memory, GPUs, cache and network as this program sees them
    Doctor(DoctorArgs),
    /// Print a job script, a container recipe or a service
    #[command(after_help = template::EXAMPLES)]
    Template(TemplateArgs),
    /// Embed eight made-up proteins with a tiny model that the program carries
    Demo(DemoArgs),
    /// Print a script that completes commands and flags in a shell
    #[command(after_help = completions::EXAMPLES)]
    Completions(CompletionsArgs),
    /// Write manual pages, one for each command
    Man(ManArgs),
}

impl Cli {
    /// Reads the words of a command line, the name of the program first.
    ///
    /// # Errors
    /// What is wrong with them, or the help that they ask for.
    pub fn read(words: &[OsString]) -> Result<Cli, clap::Error> {
        let mut command = Cli::command();
        let matches = command.try_get_matches_from_mut(words)?;
        let args = Cli::from_arg_matches(&matches);
        let mut args = args.map_err(|error| error.format(&mut command))?;
        let of_command = matches.subcommand().map(|(_, matches)| matches);
        let is_typed = of_command.is_some_and(|matches| {
            let mut ids = matches.ids().filter(|id| MODEL_IDS.contains(&id.as_str()));
            ids.any(|id| matches.value_source(id.as_str()) == Some(ValueSource::CommandLine))
        });
        let adapter = match &mut args.command {
            Command::Run(args) => Some(&mut args.adapter),
            Command::Score(args) => Some(&mut args.adapter),
            Command::Serve(args) => Some(&mut args.adapter),
            Command::Verify(args) => Some(&mut args.adapter),
            _ => None,
        };
        if let Some(adapter) = adapter {
            adapter.model_is_typed = is_typed;
        }
        Ok(args)
    }

    /// What to show on standard error.
    pub fn display(&self) -> DisplayArgs {
        match &self.command {
            Command::Run(args) => args.display,
            Command::Score(args) => args.display,
            Command::Serve(args) => args.display,
            Command::Fetch(args) => args.display,
            Command::Plan(args) => args.display,
            Command::Merge(args) => args.display,
            Command::Export(args) => args.display,
            Command::Plot(args) => args.display(),
            Command::Report(args) => args.display,
            Command::Verify(args) => args.display,
            Command::Demo(args) => args.display,
            Command::Models(_)
            | Command::Inspect(_)
            | Command::Status(_)
            | Command::Doctor(_)
            | Command::Template(_)
            | Command::Completions(_)
            | Command::Man(_) => DisplayArgs::default(),
        }
    }

    /// The subcommand, and what is contradictory in its arguments, with hints.
    pub fn contradiction(&self) -> Option<(&'static str, String)> {
        match &self.command {
            Command::Run(args) => args.contradiction().map(|what| ("run", what)),
            Command::Score(args) => args.contradiction().map(|what| ("score", what)),
            Command::Plan(args) => args.contradiction().map(|what| ("plan", what)),
            Command::Merge(args) => args.contradiction().map(|what| ("merge", what)),
            Command::Demo(args) => args.contradiction().map(|what| ("demo", what)),
            Command::Export(args) => args.contradiction().map(|what| ("export", what)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::plot;
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_model_that_is_typed_is_the_base_of_the_adapter() {
        let is_typed = |line: &str| {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            match Cli::read(&words).unwrap().command {
                Command::Run(args) => args.adapter.model_is_typed,
                Command::Score(args) => args.adapter.model_is_typed,
                Command::Serve(args) => args.adapter.model_is_typed,
                Command::Verify(args) => args.adapter.model_is_typed,
                _ => panic!("{line}"),
            }
        };
        for line in [
            "e run in.fasta --out o --adapter a",
            "e score in.fasta --method pll --out o --adapter a",
            "e serve --adapter a",
        ] {
            assert!(!is_typed(line), "{line}");
            assert!(is_typed(&format!("{line} --model 8M")), "{line}");
        }
        assert!(!is_typed("e verify --adapter a"));
        assert!(is_typed("e verify 8M --adapter a"));
    }

    #[test]
    fn examples_fit_80_columns() {
        for examples in [
            EXAMPLES,
            run::EXAMPLES,
            crate::cli::plan::EXAMPLES,
            merge::EXAMPLES,
            export::EXAMPLES,
            report::EXAMPLES,
            plot::contacts::EXAMPLES,
            plot::map::EXAMPLES,
            score::EXAMPLES,
            serve::EXAMPLES,
            status::EXAMPLES,
            template::EXAMPLES,
            completions::EXAMPLES,
        ] {
            for line in examples.lines() {
                assert!(line.len() <= 80, "{line}");
            }
        }
    }
}
