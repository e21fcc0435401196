//! `export`: an output folder in the formats of other tools.

use super::Exit;
use super::demo::Carried;
use super::options::{DisplayArgs, folders};
use super::progress::Progress;
use super::signals;
use super::stdout::{self, print_json};
use clap::ValueEnum;
use esm_embed::export::{Export, ExportError, Exported, Format, Keys};
use esm_embed::numerals::count;
use esm_embed::output::{FinishedFolder, OutDtype};
use esm_embed::pipeline::{Level, Reporter};
use serde::Serialize;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Examples below the help.
pub const EXAMPLES: &str = "\
Examples:
  esm-embed export emb/ --to h5 --out per-protein.h5
  esm-embed export emb/ --to h5 --residues --dtype f16 --out per-residue.h5
  esm-embed export emb/ --to parquet --out emb.parquet
  esm-embed export emb/ --to pt --out emb-pt/

How to load them:
  h5           h5py.File(\"per-protein.h5\")[\"P12345\"][:]
  safetensors  safetensors.numpy.load_file(\"emb.safetensors\")[\"P12345\"]
  parquet      polars.read_parquet(\"emb.parquet\"), pandas, DuckDB
  pt           torch.load(\"emb-pt/P12345.pt\")[\"mean_representations\"][33]
  csv          read.csv(\"emb.csv\", row.names = NULL,
                        colClasses = c(id = \"character\")) in R
  npz          numpy.load(\"emb.npz\")[\"mean.layer33\"], [\"ids\"]
  skbio        skbio.read(\"emb.h5\", format=\"embed\",
                          constructor=skbio.embedding.ProteinVector)";

/// Time between two messages.
const INTERVAL: Duration = Duration::from_secs(10);

/// Arguments of `export`.
#[derive(Debug, clap::Args)]
pub struct ExportArgs {
    /// Output folder of a run or of merge
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,

    /// Format
    #[arg(long, value_name = "FORMAT", value_enum, ignore_case = true)]
    pub to: To,

    /// File to write; with --to pt, a folder
    #[arg(short, long, value_name = "PATH")]
    pub out: PathBuf,

    /// Array to export, such as max.layer33 or contacts [default: the mean of the highest layer]
    ///
    /// run.json lists the arrays of a folder under "arrays". Of stacked layers (mean.layers), the highest
    /// is exported. With --to pt, the default is all that
    /// extract.py would write: the means and bos rows of all layers, and contacts.
    #[arg(long, value_name = "NAME")]
    pub array: Option<String>,

    /// Export the residue rows of the layer; with --to pt, those of all layers, besides the rest
    #[arg(long)]
    pub residues: bool,

    /// What names a record in h5 and safetensors [default: id]
    ///
    /// In h5, a / within an id becomes _. An id that was used before gets _2, _3 and so on, and an
    /// empty one is "unnamed". The attribute original_id of a dataset in h5 has the id.
    #[arg(long, value_name = "KEYS", value_enum)]
    pub keys: Option<KeysArg>,

    /// How numbers are stored [default: as in DIR; f32 in parquet]
    #[arg(long, value_name = "DTYPE", value_parser = dtype)]
    pub dtype: Option<OutDtype>,

    /// FASTA file of the run, for --keys hash and --to skbio, which need the sequences; can be given
    /// several times [default: where the run found them]
    #[arg(long, value_name = "FASTA")]
    pub fasta: Vec<PathBuf>,

    /// Replace an existing output
    #[arg(long)]
    pub force: bool,

    /// Print a report as one JSON document
    ///
    /// Fields: out, format, arrays, records, repeated (records left out by --keys hash) and dtype.
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub display: DisplayArgs,
}

/// The formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum To {
    /// HDF5, one dataset for each record: UniProt, bio_embeddings, biotrainer, ProtSpace
    #[value(alias = "hdf5")]
    H5,
    /// One tensor for each record
    Safetensors,
    /// A table with columns id, sequence_length and embedding: pandas, polars, DuckDB
    Parquet,
    /// A folder with a file for each record, as fair-esm's extract.py writes them
    Pt,
    /// A table id,d0,d1,… as text: R, spreadsheets
    Csv,
    /// NumPy's archive of the array and the ids
    Npz,
    /// scikit-bio's format "embed"
    #[value(alias = "scikit-bio")]
    Skbio,
}

/// What names a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum KeysArg {
    /// Its id
    Id,
    /// The number of its row, from 0
    Row,
    /// biotrainer's hash of its sequence; equal sequences are written once
    Hash,
}

fn dtype(text: &str) -> Result<OutDtype, String> {
    match text {
        "f32" | "float32" | "fp32" => Ok(OutDtype::F32),
        "f16" | "float16" | "fp16" | "half" => Ok(OutDtype::F16),
        _ => Err("give f32 or f16".to_owned()),
    }
}

impl ExportArgs {
    /// What is contradictory in the arguments, with hints.
    pub fn contradiction(&self) -> Option<String> {
        self.export().contradiction()
    }

    fn export(&self) -> Export {
        Export {
            format: match self.to {
                To::H5 => Format::H5,
                To::Safetensors => Format::Safetensors,
                To::Parquet => Format::Parquet,
                To::Pt => Format::Pt,
                To::Csv => Format::Csv,
                To::Npz => Format::Npz,
                To::Skbio => Format::Skbio,
            },
            array: self.array.clone(),
            residues: self.residues,
            keys: self.keys.map(|keys| match keys {
                KeysArg::Id => Keys::Id,
                KeysArg::Row => Keys::Row,
                KeysArg::Hash => Keys::Hash,
            }),
            dtype: self.dtype,
            fasta: self.fasta.clone(),
            out: self.out.clone(),
            force: self.force,
        }
    }
}

/// What `export --json` prints.
#[derive(Debug, Serialize)]
struct ExportReport {
    out: String,
    format: &'static str,
    arrays: Vec<String>,
    records: u64,
    repeated: u64,
    dtype: &'static str,
}

/// Exports.
pub fn execute(args: &ExportArgs) -> anyhow::Result<Exit> {
    let progress = Progress::new(args.display);
    folders::check_is_folder(&args.dir, "give the folder that a run wrote")?;
    let folder = FinishedFolder::open(&args.dir)?;
    let mut export = args.export();
    let needs_sequences = args.to == To::Skbio || args.keys == Some(KeysArg::Hash);
    let demo = match needs_sequences && args.fasta.is_empty() {
        true => Carried::of_demo(folder.manifest())?,
        false => None,
    };
    export.fasta.extend(demo.iter().map(Carried::sequences));
    let mut shown = Instant::now();
    let signal = signals::first()?;
    let asked = || signal.load(Ordering::Relaxed);
    let mut show = |done: u64, all: u64| {
        if shown.elapsed() >= INTERVAL {
            shown = Instant::now();
            let percent = 100 * done / all.max(1);
            let text = format!("exporting {}, {percent} %", count(all, "record"));
            progress.message(Level::Info, &text);
        }
        match asked() {
            0 => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        }
    };
    let exported = match export.write(&folder, &mut show) {
        Err(ExportError::Stopped) => {
            let text = format!("stopped: {} is not written", args.out.display());
            progress.message(Level::Warning, &text);
            return Ok(Exit::Stopped(asked() as i32));
        }
        exported => exported?,
    };
    progress.message(Level::Info, &summary(args, &exported));
    if args.json {
        print_json(&ExportReport {
            out: stdout::path(&args.out),
            format: export.format.name(),
            arrays: exported.arrays,
            records: exported.records,
            repeated: exported.repeated,
            dtype: exported.dtype.name(),
        })?;
    }
    Ok(Exit::Done)
}

fn summary(args: &ExportArgs, exported: &Exported) -> String {
    let shard = exported
        .shard
        .map(|(number, of)| format!(" of shard {number}/{of}"));
    let mut text = format!(
        "{}: {}, {}{}, {}",
        args.out.display(),
        exported.arrays.join(", "),
        count(exported.records, "record"),
        shard.unwrap_or_default(),
        exported.dtype.name()
    );
    if exported.repeated > 0 {
        let repeated = count(exported.repeated, "record");
        text = format!("{text}; {repeated} with the sequence of an earlier one left out");
    }
    text
}
