//! The arguments as they are typed.

use super::values::{self, ModelArg, PoolArg};
use clap::builder::RangedU64ValueParser;
use clap::{Parser, Subcommand, ValueEnum};
use esm_embed::device::{DeviceChoice, Dtype};
use esm_embed::ops::CpuPath;
use esm_embed::output::{OutDtype, Residues};
use esm_embed::pipeline::{Long, Shard};
use std::path::{Path, PathBuf};

/// More threads than any machine has that this is meant for.
const MOST_THREADS: u64 = 4096;

const EXAMPLES: &str = "\
Example:
  esm-embed run proteins.fasta --out emb/

In Python:
  numpy.load(\"emb/mean.layer33.npy\")      one row per record, in the order of the FASTA

Exit status: 0 done, 1 failed, 2 wrong usage, 3 done but records were skipped, 128 and the number
of a signal (129 SIGHUP, 130 SIGINT, 138 SIGUSR1, 143 SIGTERM) stopped, to go on with --resume.";

const RUN_EXAMPLES: &str = "\
Examples:
  esm-embed run proteins.fasta --out emb/
  esm-embed run a.fasta b.fasta.gz --model 3B --layer 0,-1 --pool mean,bos --out emb/
  zcat proteins.fasta.gz | esm-embed run - --model ./my_checkpoint --residues none --out emb/";

const TEMPLATE_EXAMPLES: &str = "\
Example:
  esm-embed template slurm > embed.sh
  SHARDS=16 bash embed.sh emb proteins.fasta --model 650M";

const MERGE_EXAMPLES: &str = "\
Example:
  for i in 1 2 3; do esm-embed run proteins.fasta --shard $i/3 --out shard-$i/; done
  esm-embed merge shard-1/ shard-2/ shard-3/ --out emb/";

/// FASTA in, exact ESM protein embeddings out as .npy
#[derive(Debug, Parser)]
#[command(name = "esm-embed", version, after_help = EXAMPLES, arg_required_else_help = true)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Embed the records of FASTA files
    #[command(after_help = RUN_EXAMPLES)]
    Run(Box<RunArgs>),
    /// Download a model and check its files, for machines without network
    Fetch(FetchArgs),
    /// List the published ESM models and what the cache holds of them
    Models,
    /// Say what an output folder holds, and whether it is sound
    Inspect(InspectArgs),
    /// Join the folders of all shards to that of the whole input
    #[command(after_help = MERGE_EXAMPLES)]
    Merge(MergeArgs),
    /// Run published reference inputs through a model and compare
    Verify(VerifyArgs),
    /// Say what this machine and the environment offer
    Doctor,
    /// List the CUDA cards that this build can use
    #[command(hide = true)]
    Cards,
    /// Print a ready script for SLURM, Snakemake or Nextflow
    #[command(after_help = TEMPLATE_EXAMPLES)]
    Template(TemplateArgs),
}

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

    /// Go on with a run that was interrupted
    ///
    /// Give the same input (a stream from its beginning), model and options again; threads and
    /// batches may differ. What is done is kept, and the finished folder is the same, byte for
    /// byte. Starts anew where there is nothing to go on with, and has nothing to do where the run
    /// is complete.
    #[arg(long, conflicts_with = "force")]
    pub resume: bool,

    /// Replace an existing output, and discard the work of a run that was interrupted
    #[arg(long)]
    pub force: bool,

    /// Embed the I-th of N parts of the input, to be joined by `esm-embed merge`
    ///
    /// I counts from 1; 0 stands for N, so that arrays of jobs may count from 0 too. Every shard
    /// reads all of the input and finds the same parts, each with as many tokens, and writes to a
    /// folder of its own.
    #[arg(long, value_name = "I/N", value_parser = values::shard)]
    pub shard: Option<Shard>,

    /// Say what would be done, and do nothing
    ///
    /// Prints records, tokens, memory, bytes on disk and an estimate of the time to standard
    /// output. The model is downloaded if it is not there.
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

/// Arguments of `fetch`.
#[derive(Debug, clap::Args)]
pub struct FetchArgs {
    /// Name, or repository on the Hugging Face Hub
    ///
    /// A name or short form as `esm-embed models` lists them, or organisation/name. The files go
    /// to the Hugging Face cache (HF_HOME); the path of the model's folder is printed. The files
    /// of a path, or with HF_HUB_OFFLINE=1 of the cache, are only checked.
    #[arg(value_parser = values::model)]
    pub model: ModelArg,

    /// Branch, tag or commit of the repository [default: main]
    #[arg(long, value_name = "REVISION")]
    pub revision: Option<String>,

    #[command(flatten)]
    pub show: ShowArgs,
}

/// Arguments of `inspect`.
#[derive(Debug, clap::Args)]
pub struct InspectArgs {
    /// Output folder of a run
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,

    /// Recompute the checksum of every file
    #[arg(long)]
    pub check: bool,
}

/// Arguments of `merge`.
#[derive(Debug, clap::Args)]
pub struct MergeArgs {
    /// Folders that `run --shard I/N` wrote, one for each I, in any order
    #[arg(required = true, value_name = "DIR")]
    pub dirs: Vec<PathBuf>,

    /// Folder to write: byte for byte what one run over the whole input writes
    #[arg(short, long, value_name = "DIR")]
    pub out: PathBuf,

    /// Replace an existing output
    #[arg(long)]
    pub force: bool,

    /// Remove the shards once the whole is complete
    ///
    /// Files of single records (--residues files) are then not copied but renamed, if shards and
    /// output are on one file system: they get their new name first and lose the old one when
    /// everything is in its place.
    #[arg(long = "move")]
    pub remove: bool,

    #[command(flatten)]
    pub show: ShowArgs,
}

/// Arguments of `verify`.
#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    /// Name, repository on the Hugging Face Hub, folder or file of the model
    #[arg(value_parser = values::model)]
    pub model: ModelArg,

    /// Branch, tag or commit of the repository [default: main]
    #[arg(long, value_name = "REVISION")]
    pub revision: Option<String>,

    /// Compare with the values of this file instead of the published ones
    ///
    /// JSON: {"comparisons": [{"name": ..., "checkpoint": ..., "sequence": ..., "layer": ...,
    /// "what": ..., "expected": ..., "atol": ..., "rtol": ..., "source": ...}]}. what is
    /// hidden_rows (row 0 is <cls>), residue_rows, mean, bos or mean_of_mean; checkpoint may be left
    /// out, and then fits every model.
    #[arg(long, value_name = "FILE")]
    pub reference: Option<PathBuf>,

    /// Where to compute, in f32: cpu, auto, cuda (the first card), cuda:0,1,… or all (every card)
    #[arg(
        long,
        value_name = "cpu|auto|cuda[:I[,I...]]|all",
        default_value = "cpu",
        value_parser = values::device
    )]
    pub device: DeviceChoice,

    #[command(flatten)]
    pub show: ShowArgs,
}

/// Arguments of `template`.
#[derive(Debug, clap::Args)]
pub struct TemplateArgs {
    /// The scheduler
    #[arg(value_enum)]
    pub scheduler: Scheduler,
}

/// What starts the shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scheduler {
    /// A job array with requeue, and a merge job that depends on it
    Slurm,
    /// A Snakefile
    Snakemake,
    /// A module after nf-core's conventions (not executed by this project's tests)
    Nextflow,
}

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
    /// started anew or anything of the file changes.
    #[arg(long, help_heading = "Model")]
    pub check_model: bool,
}

/// What is written.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// Layers to write, separated by commas [default: the last]
    ///
    /// 0 is the embedding, 1 the output of the first block, and so on; the last includes the final
    /// LayerNorm. Negative numbers count from the end: -1 is the last.
    #[arg(
        short,
        long = "layer",
        value_name = "N[,N...]",
        value_delimiter = ',',
        allow_hyphen_values = true,
        value_parser = values::layer
    )]
    pub layers: Vec<i64>,

    /// Pooled rows to write, separated by commas
    ///
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

/// What becomes of records that are out of the ordinary.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Records")]
pub struct RecordArgs {
    /// Sequences of more than 1022 residues
    ///
    /// full embeds them whole, truncate[:N] their first N residues, window[:N[:OVERLAP]] windows of
    /// N residues that are blended where they overlap, error treats them as invalid records. N is
    /// 1022 if it is not given; OVERLAP is 256, or N/4 for windows of at most 256 residues. With
    /// truncate:N and window:N the limit is N. [default: full for models with rotary positions
    /// (ESM-2), error for learned positions (ESM-1b, ESM-1v)]
    #[arg(
        long,
        value_name = "full|truncate[:N]|window[:N[:OVERLAP]]|error",
        value_parser = values::long
    )]
    pub long: Option<Long>,

    /// Characters outside the alphabet: one <unk> row each, or an invalid record
    #[arg(long, value_name = "unk|error", value_enum, default_value = "unk")]
    pub unknown: UnknownArg,

    /// Records that cannot be embedded: stop, or skip them and list them in skipped.tsv
    ///
    /// With skip the exit status is 3 if records were skipped.
    #[arg(long, value_name = "fail|skip", value_enum, default_value = "fail")]
    pub on_invalid: OnInvalidArg,
}

/// How it is computed.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Computation")]
pub struct ComputeArgs {
    /// Where to compute: auto, cpu, cuda (the first card), cuda:0,1,… or all (every card)
    #[arg(
        long,
        value_name = "auto|cpu|cuda[:I[,I...]]|all",
        default_value = "auto",
        value_parser = values::device
    )]
    pub device: DeviceChoice,

    /// Number format of the computation [default: f32 on the CPU, f16 on CUDA]
    ///
    /// On the CPU, f16 and bf16 keep the weights in half the memory. Where the processor has
    /// AVX-512 VNNI, products with f16 are in fixed point of 16 bits, about twice as fast;
    /// otherwise arithmetic stays f32 (and with --cpu-path avx512 there too). On CUDA, a record whose
    /// numbers do not fit f16 is computed in bf16; f32 is exact, and tf32, which CUDA alone has, is
    /// faster and forms products from 11 bits of each factor.
    #[arg(long, value_name = "f32|f16|bf16|tf32", value_parser = values::dtype)]
    pub dtype: Option<Dtype>,

    /// Test that the CUDA card gives the same bits in any batch, even if it was seen to
    ///
    /// That is tested when a kind of card, driver, cuBLASLt, model shape and number format is met for
    /// the first time, and remembered in the cache (HF_HOME).
    #[arg(long)]
    pub check_device: bool,

    /// A CUDA card that gives other bits in other batches: a pass for each sequence, or stop
    #[arg(long, value_name = "alone|fail", value_enum, default_value = "alone")]
    pub on_varying: OnVaryingArg,

    /// Threads [default: the CPUs this process may use]
    ///
    /// The default heeds CPU affinity, the cgroup's quota and SLURM_CPUS_PER_TASK. The number does
    /// not change the results.
    #[arg(
        short,
        long,
        value_name = "N",
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=MOST_THREADS)
    )]
    pub threads: Option<usize>,

    /// Tokens of one batch at most [default: chosen from the device]
    ///
    /// A sequence that is longer is a batch of its own. The number does not change the results.
    #[arg(
        long,
        value_name = "N",
        value_parser = RangedU64ValueParser::<usize>::new().range(1..)
    )]
    pub max_tokens: Option<usize>,

    /// One sequence per forward pass
    ///
    /// The results are the same to the bit with and without it.
    #[arg(long)]
    pub deterministic: bool,

    /// Use no newer CPU instructions than these [default: the best of this CPU]
    ///
    /// Rounding differs between paths; the same path gives the same bits on every CPU that has it.
    /// avx512vnni goes with --dtype f16 and is its default where the processor has it.
    #[arg(long, value_name = "avx512vnni|avx512|avx2|portable", value_parser = values::cpu_path)]
    pub cpu_path: Option<CpuPath>,
}

/// What is shown on standard error.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
#[command(next_help_heading = "Messages")]
pub struct ShowArgs {
    /// Progress on standard error
    ///
    /// auto is a bar on a terminal and else a plain line a minute; json writes one JSON object per
    /// line, messages included; none shows messages alone.
    #[arg(
        long,
        value_name = "auto|bar|plain|json|none",
        value_enum,
        default_value = "auto",
        hide_possible_values = true
    )]
    pub progress: ProgressArg,

    /// Show warnings and errors alone
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

/// `--unknown`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum UnknownArg {
    /// One `<unk>` row each, counted and reported
    Unk,
    /// The record is invalid
    Error,
}

/// `--on-invalid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnInvalidArg {
    /// Stop
    Fail,
    /// List it in skipped.tsv and go on
    Skip,
}

/// `--on-varying`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnVaryingArg {
    /// Each sequence has a pass of its own
    Alone,
    /// Stop before anything is computed
    Fail,
}

impl Args {
    /// What is to be shown on standard error.
    pub fn show(&self) -> ShowArgs {
        match &self.command {
            Command::Run(args) => args.show,
            Command::Fetch(args) => args.show,
            Command::Merge(args) => args.show,
            Command::Verify(args) => args.show,
            Command::Models
            | Command::Inspect(_)
            | Command::Doctor
            | Command::Cards
            | Command::Template(_) => ShowArgs::default(),
        }
    }

    /// The subcommand and what contradicts itself in its arguments.
    pub fn contradiction(&self) -> Option<(&'static str, String)> {
        match &self.command {
            Command::Run(args) => args.contradiction().map(|what| ("run", what)),
            _ => None,
        }
    }
}

impl RunArgs {
    fn contradiction(&self) -> Option<String> {
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
        if self.out.as_os_str().is_empty() {
            return Some("--out is empty: give the folder to write, such as --out emb".to_owned());
        }
        let pools = &self.output.pools;
        if pools.contains(&PoolArg::None) {
            if pools.iter().any(|pool| *pool != PoolArg::None) {
                return Some("--pool none stands alone: leave out none or the others".to_owned());
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
