//! `plot map`: the embeddings of a run in two and three dimensions.

use super::out_folder;
use crate::cli::Exit;
use crate::cli::options::{DisplayArgs, digits, folders};
use crate::cli::progress::Progress;
use crate::cli::stdout::{self, print_json};
use esm_embed::device::available_threads;
use esm_embed::numerals::count;
use esm_embed::output::FinishedFolder;
use esm_embed::pipeline::{Level, Reporter};
use esm_embed::plot::files::Existing;
use esm_embed::plot::{MapPlot, PlottedMap, Settings, Stage};
use esm_embed::threads::Threads;
use serde::Serialize;
use std::mem::discriminant;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Examples below the help.
pub const EXAMPLES: &str = "\
Example:
  esm-embed run proteins.fasta --out emb/
  esm-embed plot map emb/ --table families.tsv
  (open emb-map/map.html in a browser)

Proteins with similar embeddings are near each other. The map is made by UMAP
from the first 50 principal components. The same embeddings and options give the
same map.";

/// Time between two messages about the same stage.
const INTERVAL: Duration = Duration::from_secs(10);

/// Arguments of `plot map`.
#[derive(Debug, clap::Args)]
pub struct MapArgs {
    /// Output folder of a run or of merge
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,

    /// Pooled array to map, such as max.layer33 [default: the mean of the highest layer]
    #[arg(long, value_name = "NAME")]
    pub array: Option<String>,

    /// Table about the records, for colors: tab-separated, names of columns first, ids in the first
    /// column
    ///
    /// An id may also be the accession within sp|P12345|NAME. A column of numbers may have NA or NaN where
    /// there is none.
    #[arg(long, value_name = "TSV")]
    pub table: Option<PathBuf>,

    /// Column of the table that gives the colors at first [default: the second column]
    #[arg(long, value_name = "COLUMN", requires = "table")]
    pub color_by: Option<String>,

    /// Dimensions of the maps of UMAP
    #[arg(long, value_name = "2|3|2,3", default_value = "2,3", value_delimiter = ',', value_parser = dims)]
    pub dims: Vec<usize>,

    /// Neighbors that UMAP tries to keep together; more show larger groups
    #[arg(long, value_name = "N", default_value = "15", value_parser = neighbours)]
    pub neighbors: usize,

    /// Seed of the random numbers
    #[arg(long, value_name = "N", default_value = "0")]
    pub seed: u64,

    /// Folder of the map [default: DIR-map]
    #[arg(short, long, value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// Replace an existing map
    #[arg(long)]
    pub force: bool,

    /// Print a report as one JSON document
    ///
    /// Fields: out, array, records, explained_variance (the part of each of the first three principal
    /// components) and files.
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub display: DisplayArgs,
}

fn dims(text: &str) -> Result<usize, String> {
    let dims = digits(text).filter(|dims| [2, 3].contains(dims));
    dims.ok_or_else(|| "a map has 2 or 3 dimensions".to_owned())
}

fn neighbours(text: &str) -> Result<usize, String> {
    let number = digits(text).filter(|number| (2..=1000).contains(number));
    number.ok_or_else(|| "give a number from 2 to 1000".to_owned())
}

/// What `plot map --json` prints.
#[derive(Debug, Serialize)]
struct MapReport {
    out: String,
    array: String,
    records: usize,
    explained_variance: Vec<f64>,
    files: Vec<String>,
}

/// Makes a map.
pub fn execute(args: &MapArgs) -> anyhow::Result<Exit> {
    let progress = Progress::new(args.display);
    folders::check_is_folder(&args.dir, "give the folder that a run wrote")?;
    let out = out_folder(args.out.as_deref(), &args.dir, "-map")?;
    let mut dims = args.dims.clone();
    dims.sort_unstable();
    dims.dedup();
    let plot = MapPlot {
        array: args.array.clone(),
        settings: Settings {
            dims,
            neighbours: args.neighbors,
            seed: args.seed,
        },
        table: args.table.clone(),
        color_by: args.color_by.clone(),
        out: out.clone(),
        existing: match args.force {
            true => Existing::Replace,
            false => Existing::Keep,
        },
    };
    let stages = Stages::new(&progress);
    let threads = Threads::new(available_threads());
    let folder = FinishedFolder::open(&args.dir)?;
    let plotted = plot.draw(&folder, &threads, &|stage| stages.show(stage))?;
    if let Some(missing) = plotted
        .annotated
        .map(|known| plotted.records.saturating_sub(known))
        .filter(|&n| n > 0)
    {
        let text = format!(
            "the table has no line for {}",
            count(missing as u64, "record")
        );
        progress.message(Level::Warning, &text);
    }
    progress.message(Level::Info, &summary(&plotted));
    if args.json {
        print_json(&MapReport {
            out: stdout::path(&out),
            array: plotted.array,
            records: plotted.records,
            explained_variance: plotted.explained,
            files: plotted
                .files
                .iter()
                .map(|path| stdout::path(path))
                .collect(),
        })?;
    }
    Ok(Exit::Done)
}

fn summary(plotted: &PlottedMap) -> String {
    let files: Vec<String> = plotted
        .files
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    let percent = |part: &f64| format!("{:.1} %", 100.0 * part);
    let explained: Vec<String> = plotted.explained.iter().map(percent).collect();
    let mut text = format!(
        "{}: {}, {}",
        files.join(", "),
        count(plotted.records as u64, "record"),
        plotted.array
    );
    // Equal embeddings have no variance.
    if plotted.explained.iter().any(|&part| part > 0.0) {
        let explained = explained.join(", ");
        text += &format!("; principal components explain {explained} of the variance");
    }
    text
}

/// Reports the beginning of each stage, and from time to time how far it is.
pub(in crate::cli) struct Stages<'a> {
    progress: &'a Progress,
    last: Mutex<Option<(Stage, Instant)>>,
}

impl<'a> Stages<'a> {
    pub(in crate::cli) fn new(progress: &'a Progress) -> Self {
        Self {
            progress,
            last: Mutex::default(),
        }
    }

    pub(in crate::cli) fn show(&self, stage: Stage) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same = last
            .as_ref()
            .is_some_and(|(before, _)| is_same_stage(before, &stage));
        let is_due = last
            .as_ref()
            .is_none_or(|(_, shown)| shown.elapsed() >= INTERVAL);
        if is_same && !is_due {
            return;
        }
        *last = Some((stage, Instant::now()));
        self.progress.message(Level::Info, &text(&stage));
    }
}

/// Both maps are laid out at the same time: that is one stage.
fn is_same_stage(a: &Stage, b: &Stage) -> bool {
    discriminant(a) == discriminant(b)
}

fn text(stage: &Stage) -> String {
    let percent = |done: usize, all: usize| match done {
        0 | 1 => String::new(),
        _ => format!(", {} %", 100 * done / all.max(1)),
    };
    match *stage {
        Stage::Reading(records) => {
            format!("reading {}", count(records as u64, "embedding"))
        }
        Stage::Components => "computing principal components".to_owned(),
        Stage::Neighbours { done, all } => {
            format!("searching neighbors{}", percent(done, all))
        }
        Stage::Layout { dims, done, all } => {
            format!(
                "laying out the map in {dims} dimensions{}",
                percent(done, all)
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_stages() {
        for (stage, expected) in [
            (Stage::Reading(4391), "reading 4,391 embeddings"),
            (Stage::Neighbours { done: 0, all: 9 }, "searching neighbors"),
            (
                Stage::Neighbours { done: 4, all: 8 },
                "searching neighbors, 50 %",
            ),
            (
                Stage::Layout {
                    dims: 2,
                    done: 499,
                    all: 500,
                },
                "laying out the map in 2 dimensions, 99 %",
            ),
        ] {
            assert_eq!(text(&stage), expected);
        }
        assert!(is_same_stage(&Stage::Reading(1), &Stage::Reading(2)));
        assert!(!is_same_stage(&Stage::Reading(1), &Stage::Components));
    }

    #[test]
    fn numbers_are_checked() {
        assert_eq!((dims("2"), dims("3")), (Ok(2), Ok(3)));
        assert!(dims("4").is_err() && dims("+2").is_err());
        assert_eq!(neighbours("15"), Ok(15));
        assert!(neighbours("1").is_err() && neighbours("1001").is_err());
    }
}
