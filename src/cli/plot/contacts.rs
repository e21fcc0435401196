//! `plot contacts`: contact maps as pictures.

use super::out_folder;
use crate::cli::Exit;
use crate::cli::options::{DisplayArgs, digits, folders};
use crate::cli::progress::Progress;
use crate::cli::stdout::{self, print_json};
use esm_embed::numerals::count;
use esm_embed::output::FinishedFolder;
use esm_embed::pipeline::{Level, Reporter};
use esm_embed::plot::files::Existing;
use esm_embed::plot::{Chosen, ContactPlots, PlottedContacts, Top};
use serde::Serialize;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// Examples below the help.
pub const EXAMPLES: &str = "\
Example:
  esm-embed run proteins.fasta --include contacts --out emb/
  esm-embed plot contacts emb/ --id P12345

Each map is ID.png, ID.svg, and ID.tsv with the marked pairs: i, j, probability.
Residues are counted from 1. In the picture, both sides of the diagonal show the
probabilities, and dots below it mark the pairs of the table.";

/// Arguments of `plot contacts`.
#[derive(Debug, clap::Args)]
pub struct ContactsArgs {
    /// Output folder of a run with --include contacts, or of merge
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,

    /// Record to draw; can be given several times
    #[arg(long, value_name = "ID", conflicts_with = "all")]
    pub id: Vec<OsString>,

    /// Draw every record
    #[arg(long)]
    pub all: bool,

    /// Number of pairs to mark; L is the length of the sequence
    #[arg(long, value_name = "N|L|L/N", default_value = "L", value_parser = top)]
    pub top: Top,

    /// Leave out pairs that are closer in the sequence than this
    ///
    /// ESM's contact prediction is trained on pairs that are at least 6 residues apart.
    #[arg(long, value_name = "RESIDUES", default_value = "6", value_parser = separation)]
    pub min_separation: usize,

    /// Folder of the pictures [default: DIR-contacts]
    #[arg(short, long, value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// Replace existing pictures
    #[arg(long)]
    pub force: bool,

    /// Print a report as one JSON document
    ///
    /// Fields: out and maps (row, id, png, svg, tsv).
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub display: DisplayArgs,
}

fn top(text: &str) -> Result<Top, String> {
    let wrong = || "give a number of pairs such as 100, L, or a part of L such as L/5".to_owned();
    let number = |text| digits(text).filter(|&number| number > 0).ok_or_else(wrong);
    match text.strip_prefix(['L', 'l']) {
        Some("") => Ok(Top::LENGTH),
        Some(part) => number(part.strip_prefix('/').ok_or_else(wrong)?).map(Top::LengthOver),
        None => number(text).map(Top::Pairs),
    }
}

fn separation(text: &str) -> Result<usize, String> {
    digits(text).ok_or_else(|| "give a number of residues".to_owned())
}

/// What `plot contacts --json` prints.
#[derive(Debug, Serialize)]
struct ContactsReport {
    /// The folder of the pictures.
    out: String,
    /// What was drawn.
    maps: Vec<MapReport>,
}

#[derive(Debug, Serialize)]
struct MapReport {
    row: u64,
    id: String,
    png: String,
    svg: String,
    tsv: String,
}

impl From<&PlottedContacts> for MapReport {
    fn from(plotted: &PlottedContacts) -> Self {
        Self {
            row: plotted.row,
            id: String::from_utf8_lossy(&plotted.id).into_owned(),
            png: stdout::path(&plotted.png),
            svg: stdout::path(&plotted.svg),
            tsv: stdout::path(&plotted.tsv),
        }
    }
}

/// Draws contact maps.
pub fn execute(args: &ContactsArgs) -> anyhow::Result<Exit> {
    let progress = Progress::new(args.display);
    folders::check_is_folder(&args.dir, "give the folder that a run wrote")?;
    let out = out_folder(args.out.as_deref(), &args.dir, "-contacts")?;
    let ids = args.id.iter().cloned().map(OsString::into_vec);
    let plots = ContactPlots {
        chosen: match (args.all, args.id.is_empty()) {
            (true, _) => Chosen::All,
            (false, true) => Chosen::Only,
            (false, false) => Chosen::Ids(ids.collect()),
        },
        top: args.top,
        min_separation: args.min_separation,
        out: out.clone(),
        existing: match args.force {
            true => Existing::Replace,
            false => Existing::Keep,
        },
    };
    let plotted = plots.draw(&FinishedFolder::open(&args.dir)?)?;
    let text = match plotted.as_slice() {
        [one] => format!("{} and .svg, .tsv beside it", one.png.display()),
        all => {
            let maps = count(all.len() as u64, "contact map");
            format!("{}: {maps} as .png, .svg and .tsv", out.display())
        }
    };
    progress.message(Level::Info, &text);
    if args.json {
        print_json(&ContactsReport {
            out: stdout::path(&out),
            maps: plotted.iter().map(MapReport::from).collect(),
        })?;
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_pairs() {
        for (text, expected) in [
            ("L", Some(Top::LengthOver(1))),
            ("L/5", Some(Top::LengthOver(5))),
            ("l/2", Some(Top::LengthOver(2))),
            ("100", Some(Top::Pairs(100))),
            ("0", None),
            ("L/0", None),
            ("L5", None),
            ("L/", None),
            ("-3", None),
            ("", None),
        ] {
            assert_eq!(top(text).ok(), expected, "{text}");
        }
        assert_eq!(separation("0"), Ok(0));
        assert!(separation("six").is_err());
    }
}
