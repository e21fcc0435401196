//! `report`: a page that describes a run and its results.

use super::Exit;
use super::options::{DisplayArgs, folders};
use super::plot::map::Stages;
use super::plot::out_folder;
use super::progress::Progress;
use super::stdout::{self, print_json};
use esm_embed::device::available_threads;
use esm_embed::numerals::count;
use esm_embed::output::FinishedFolder;
use esm_embed::pipeline::{Level, Reporter};
use esm_embed::plot::ReportPlot;
use esm_embed::plot::files::Existing;
use esm_embed::threads::Threads;
use serde::Serialize;
use std::path::PathBuf;

/// Examples below the help.
pub const EXAMPLES: &str = "\
Example:
  esm-embed run proteins.fasta --out emb/
  esm-embed report emb/
  (open emb-report.html in a browser)

The page shows what was run, counts and warnings, the lengths, two principal
components, the ten nearest neighbors (by cosine) of each record, contact maps
if there are any, and the files. It needs no network and no other file.

It lists the first 100,000 records. Up to 5,000 records, every pair is compared;
with more, each record is compared with the 50 that are nearest in 50 principal
components. The first 24 contact maps of at most 600 residues are shown.";

/// Arguments of `report`.
#[derive(Debug, clap::Args)]
pub struct ReportArgs {
    /// Output folder of a run or of merge
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,

    /// Pooled array for components and neighbors, such as max.layer33 [default: the mean of the highest
    /// layer]
    #[arg(long, value_name = "NAME")]
    pub array: Option<String>,

    /// File to write [default: DIR-report.html]
    #[arg(short, long, value_name = "HTML")]
    pub out: Option<PathBuf>,

    /// Replace an existing report
    #[arg(long)]
    pub force: bool,

    /// Print a report as one JSON document
    ///
    /// Fields: out, array, records, listed (records with components and neighbors) and maps.
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub display: DisplayArgs,
}

/// What `report --json` prints.
#[derive(Debug, Serialize)]
struct Report {
    out: String,
    array: Option<String>,
    records: u64,
    listed: usize,
    maps: usize,
}

/// Makes a report.
pub fn execute(args: &ReportArgs) -> anyhow::Result<Exit> {
    let progress = Progress::new(args.display);
    folders::check_is_folder(&args.dir, "give the folder that a run wrote")?;
    let out = out_folder(args.out.as_deref(), &args.dir, "-report.html")?;
    let report = ReportPlot {
        array: args.array.clone(),
        out: out.clone(),
        existing: match args.force {
            true => Existing::Replace,
            false => Existing::Keep,
        },
    };
    let stages = Stages::new(&progress);
    let threads = Threads::new(available_threads());
    let folder = FinishedFolder::open(&args.dir)?;
    let reported = report.draw(&folder, &threads, &|stage| stages.show(stage))?;
    let mut text = format!("{}: {}", out.display(), count(reported.records, "record"));
    if let Some(array) = &reported.array {
        text = format!("{text}, {array}");
    }
    if (reported.listed as u64) < reported.records {
        let listed = count(reported.listed as u64, "record");
        text = format!("{text}; components and neighbors of the first {listed}");
    }
    progress.message(Level::Info, &text);
    if args.json {
        print_json(&Report {
            out: stdout::path(&out),
            array: reported.array,
            records: reported.records,
            listed: reported.listed,
            maps: reported.maps,
        })?;
    }
    Ok(Exit::Done)
}
