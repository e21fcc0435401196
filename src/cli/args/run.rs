//! What `run` is given, and what contradicts itself in it.

use super::super::values::{self, PoolArg};
use super::{ComputeArgs, ModelArgs, OutputArgs, RecordArgs, ShowArgs, out};
use esm_embed::output::Residues;
use esm_embed::pipeline::Shard;
use std::path::{Path, PathBuf};

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// FASTA files, or - for standard input
    ///
    /// Plain, gzip (bgzip, several members) or zstd, recognised by content. Several files are one
    /// input, in the order given.
    #[arg(required = true, value_name = "FASTA")]
    pub inputs: Vec<PathBuf>,

    /// Folder to write
    ///
    /// Holds run.json, index.tsv and the matrices when the run has succeeded. A folder that holds
    /// an output, finished or not, is not touched without --force or --resume.
    #[arg(short, long, value_name = "DIR")]
    pub out: PathBuf,

    /// Resume an interrupted run
    ///
    /// Give the same input (a stream from its beginning), model and options again; threads and
    /// batches may differ. Finished work is kept, and the finished folder is the same, byte for
    /// byte. Starts from the beginning where there is nothing to resume, and does nothing where the
    /// run is complete.
    #[arg(long, conflicts_with = "force")]
    pub resume: bool,

    /// Replace an existing output, and discard the work of an interrupted run
    #[arg(long)]
    pub force: bool,

    /// Embed the I-th of N parts of the input, to be joined by `esm-embed merge`
    ///
    /// I counts from 1; 0 means N, so that arrays of jobs may count from 0 too. Every shard reads all
    /// of the input, finds the same parts, each with about the same number of tokens, and writes to a
    /// separate folder.
    #[arg(long, value_name = "I/N", value_parser = values::shard)]
    pub shard: Option<Shard>,

    /// Report what the run would do, without doing it
    ///
    /// Prints records, tokens, memory, bytes on disk and an estimate of the time to standard
    /// output (one JSON object with --progress json). The model is downloaded if it is not there.
    #[arg(long)]
    pub dry_run: bool,

    #[command(flatten)]
    pub model: ModelArgs,

    #[command(flatten)]
    pub output: OutputArgs,

    #[command(flatten)]
    pub records: RecordArgs,

    #[command(flatten)]
    pub compute: ComputeArgs,

    #[command(flatten)]
    pub show: ShowArgs,
}

impl RunArgs {
    /// What contradicts itself in the arguments.
    pub(super) fn contradiction(&self) -> Option<String> {
        let stdin = self.inputs.iter().filter(|path| *path == Path::new("-"));
        if stdin.count() > 1 {
            return Some(
                "standard input (-) is given more than once, but can be read only once: give it \
                 once"
                    .to_owned(),
            );
        }
        if self.shard.is_some() && self.inputs.iter().any(|path| path == Path::new("-")) {
            return Some(
                "--shard reads the input twice, standard input (-) can be read only once: give a \
                 file"
                    .to_owned(),
            );
        }
        if let Some(what) = out::not_a_folder(&self.out) {
            return Some(what);
        }
        let pools = &self.output.pools;
        if pools.contains(&PoolArg::None) {
            if pools.iter().any(|pool| *pool != PoolArg::None) {
                return Some(
                    "--pool none cannot be combined with other pools: leave out none or the others"
                        .to_owned(),
                );
            }
            if self.output.residues == Residues::None {
                return Some(
                    "--pool none and --residues none together leave nothing to write: drop one of \
                     them"
                        .to_owned(),
                );
            }
        }
        None
    }
}
