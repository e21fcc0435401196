//! `score`: proteins and variants → a table with scores.

use super::adapters::AdapterArgs;
use super::message::Message;
use super::options::records::OnInvalidArg;
use super::options::variables;
use super::options::{ComputeArgs, DisplayArgs, ModelArg, model::DEFAULT, model::model};
use super::progress::Progress;
use super::{Exit, signals};
use clap::ValueEnum;
use esm_embed::device::Tested;
use esm_embed::hub::{HubSettings, ModelRef};
use esm_embed::numerals::count;
use esm_embed::pipeline::{Caches, Model};
use esm_embed::score::{self, Method, ScoreJob, ScoreStopped, VariantTable, Window};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Examples below the help.
pub const EXAMPLES: &str = "\
Examples:
  # Adds a column of scores; the column mutant holds A42G, or A42G:K50R
  esm-embed score protein.fasta --variants dms.csv --out scores.csv
  # The five models of ESM-1v and their mean, residues numbered from 24
  esm-embed score protein.fasta --variants dms.csv --out scores.csv \\
    --offset 24 --model esm1v_1,esm1v_2,esm1v_3,esm1v_4,esm1v_5
  # All twenty letters at every position, as [residues, 20]
  esm-embed score protein.fasta --landscape landscape/
  # One pseudo-log-likelihood and pseudo-perplexity for each record
  esm-embed score proteins.fasta --method pll --out pll.csv";

/// Arguments of `score`.
#[derive(Debug, clap::Args)]
pub struct ScoreArgs {
    /// FASTA file with the protein, or with several; - for standard input
    #[arg(value_name = "SEQUENCES")]
    pub sequences: PathBuf,

    /// Table of variants, separated by commas, semicolons or tabs; may be compressed; - for standard input
    ///
    /// A column holds mutations such as A42G, or A42G:K50R for several at once. All columns are kept in
    /// the output. Without a table, --method pll and pll-unmasked score the proteins themselves.
    #[arg(long, value_name = "CSV")]
    pub variants: Option<PathBuf>,

    /// Table to write: the variants with a column of scores for each model, and for several models their
    /// mean in the column ensemble
    #[arg(short, long, value_name = "CSV")]
    pub out: Option<PathBuf>,

    /// Folder for the scores of all 20 letters at every position, [residues, 20] for each protein
    #[arg(long, value_name = "DIR")]
    pub landscape: Option<PathBuf>,

    /// Resume an interrupted run: passes that it finished are not computed again
    #[arg(long, conflicts_with = "force")]
    pub resume: bool,

    /// Replace an existing output, and discard the work of an interrupted run
    #[arg(long)]
    pub force: bool,

    /// Models, separated by commas: names, Hugging Face repositories, folders or files
    #[arg(
        short,
        long = "model",
        env = variables::MODEL,
        value_name = "MODEL[,MODEL...]",
        value_delimiter = ',',
        default_value = DEFAULT,
        value_parser = model,
        help_heading = "Model"
    )]
    pub models: Vec<ModelArg>,

    /// Branch, tag or commit of the Hugging Face repository, or one for each model, separated by commas
    /// [default: main]
    #[arg(
        long = "revision",
        value_name = "REVISION[,REVISION...]",
        value_delimiter = ',',
        help_heading = "Model"
    )]
    pub revisions: Vec<String>,

    #[command(flatten)]
    pub adapter: AdapterArgs,

    /// How variants are scored
    #[arg(
        long,
        value_name = "METHOD",
        value_enum,
        default_value = "masked-marginals",
        help_heading = "Scores"
    )]
    pub method: MethodArg,

    /// What the model sees of a protein of more than 1,022 residues [default: none for ESM-2; for
    /// ESM-1b and ESM-1v, optimal for methods that mask, else overlapping]
    #[arg(long, value_name = "WINDOW", value_enum, help_heading = "Scores")]
    pub window: Option<WindowArg>,

    /// Number of the first residue
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        allow_negative_numbers = true,
        requires = "variants",
        help_heading = "Scores"
    )]
    pub offset: i64,

    /// Column with the mutations
    #[arg(
        long,
        value_name = "NAME",
        default_value = "mutant",
        requires = "variants",
        help_heading = "Scores"
    )]
    pub mutation_col: String,

    /// Column with the identifiers of proteins in the FASTA file, if it has several
    #[arg(
        long,
        value_name = "NAME",
        requires = "variants",
        help_heading = "Scores"
    )]
    pub sequence_col: Option<String>,

    /// Rows and records that cannot be scored; skip leaves their scores empty and lists them beside the
    /// output, in NAME.skipped.tsv
    #[arg(
        long,
        value_name = "ACTION",
        value_enum,
        default_value = "fail",
        help_heading = "Scores"
    )]
    pub on_invalid: OnInvalidArg,

    #[command(flatten)]
    pub compute: ComputeArgs,

    #[command(flatten)]
    pub display: DisplayArgs,
}

/// `--method`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MethodArg {
    /// log p(mutant) − log p(wild type), with the position masked: one pass for each position
    MaskedMarginals,
    /// The same without a mask: one pass for the protein
    WtMarginals,
    /// Pseudo-log-likelihood of the variant minus that of the protein: one pass for each position of
    /// each of them
    Pll,
    /// The same without masks: one pass for each variant
    PllUnmasked,
}

impl From<MethodArg> for Method {
    fn from(arg: MethodArg) -> Method {
        match arg {
            MethodArg::MaskedMarginals => Method::MaskedMarginals,
            MethodArg::WtMarginals => Method::WtMarginals,
            MethodArg::Pll => Method::Pll,
            MethodArg::PllUnmasked => Method::PllUnmasked,
        }
    }
}

/// `--window`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WindowArg {
    /// For each position, the 1,024 tokens with most context on both sides
    Optimal,
    /// Overlapping windows of 1,024 tokens, averaged; for methods that do not mask
    Overlapping,
    /// The whole protein
    None,
}

impl From<WindowArg> for Window {
    fn from(arg: WindowArg) -> Window {
        match arg {
            WindowArg::Optimal => Window::Optimal,
            WindowArg::Overlapping => Window::Overlapping,
            WindowArg::None => Window::None,
        }
    }
}

impl ScoreArgs {
    /// What is contradictory in the arguments, with hints.
    pub fn contradiction(&self) -> Option<String> {
        let method = Method::from(self.method);
        let (revisions, models) = (self.revisions.len(), self.models.len());
        if revisions > 1 && revisions != models {
            return Some(format!(
                "there are {revisions} revisions for {}\n\
                 hint: give one `revision` for all, or one for each model",
                count(models as u64, "model")
            ));
        }
        let is_stdin = |path: &Path| path.as_os_str() == "-";
        if is_stdin(&self.sequences) && self.variants.as_deref().is_some_and(is_stdin) {
            return Some(
                "standard input cannot hold both the sequences and the variants\n\
                 hint: give a file for one of them"
                    .to_owned(),
            );
        }
        if self.landscape.as_deref().is_some_and(is_stdin) {
            return Some(
                "arrays are written into a folder, so `landscape=-` is not possible\n\
                 hint: give the name of a folder"
                    .to_owned(),
            );
        }
        if self.adapter.adapter.is_some() && self.models.len() > 1 {
            return Some(
                "`adapter` belongs to one model, but several are given\n\
                 hint: give the folders of adapters as `model`: they are resolved with their bases"
                    .to_owned(),
            );
        }
        let problem = match (&self.variants, &self.out, &self.landscape) {
            (Some(_), None, _) => "`variants` needs a table to write\nhint: name it with `out`",
            (None, Some(_), _) if !method.is_pll() => {
                "without `variants`, there is nothing to score with this method\n\
                 hint: name the table of variants with `variants`\n\
                 hint: use `method=pll` to score the proteins themselves, or `landscape` for all \
                 variants"
            }
            (None, None, None) => {
                "there is nothing to write\nhint: name a table of variants with `variants` and the \
                 table to write with `out`, or use `landscape`"
            }
            (_, _, Some(_)) if method.is_pll() => {
                "`landscape` is for methods that look at one position at a time\n\
                 hint: use `method=masked-marginals` or `method=wt-marginals`"
            }
            _ => return None,
        };
        Some(problem.to_owned())
    }

    /// The revision of a model, by its number: one may be for all.
    fn revision(&self, number: usize) -> Option<&str> {
        let revision = match self.revisions.as_slice() {
            [one] => Some(one),
            all => all.get(number),
        };
        revision.map(String::as_str)
    }
}

/// Scores.
pub fn execute(args: &ScoreArgs) -> anyhow::Result<Exit> {
    let progress = Arc::new(Progress::new(args.display));
    let stop = signals::listen(&progress)?;
    // What is sure to fail fails before a model is downloaded.
    args.compute.options().resolve_device()?;
    let models = args.models.iter().enumerate().map(|(number, model)| {
        let revision = args.revision(number);
        let found = args.adapter.resolve(model, revision, &progress)?;
        Ok((column(args.adapter.called(model)), found))
    });
    let models = models.collect::<anyhow::Result<Vec<_>>>()?;
    let folder = HubSettings::from_env().ok().map(|cache| cache.remembered());
    let caches = Caches {
        self_tests: Tested {
            folder,
            again: args.compute.check_device,
        },
        checksums: None,
    };
    let scored = score::run(&job(args, models), &caches, progress.as_ref(), &stop);
    progress.clear();
    match scored {
        Ok(outcome) if outcome.skipped > 0 => Ok(Exit::Skipped),
        Ok(_) => Ok(Exit::Done),
        Err(error) if error.is::<ScoreStopped>() => {
            progress.error(&Message::of_error(&error));
            Ok(Exit::Stopped(stop.signal()))
        }
        Err(error) => Err(error),
    }
}

fn job(args: &ScoreArgs, models: Vec<(String, Model)>) -> ScoreJob {
    ScoreJob {
        sequences: args.sequences.clone(),
        variants: args.variants.clone().map(|path| VariantTable {
            path,
            mutation_col: args.mutation_col.clone(),
            sequence_col: args.sequence_col.clone(),
            offset: args.offset,
        }),
        on_invalid: args.on_invalid.into(),
        out: args.out.clone(),
        landscape: args.landscape.clone(),
        models,
        method: args.method.into(),
        window: args.window.map(Into::into),
        compute: args.compute.options(),
        resume: args.resume,
        force: args.force,
    }
}

/// The column of a model: its name as typed, or the name of its file or folder.
fn column(model: &ModelArg) -> String {
    let ModelRef::Path(path) = &model.reference else {
        return model.text.clone();
    };
    // `.` and `..` have a name too.
    let real = path.canonicalize();
    let path = match path.file_name() {
        Some(_) => path,
        None => real.as_ref().unwrap_or(path),
    };
    let name = match path.is_dir() {
        true => path.file_name(),
        false => path.file_stem(),
    };
    let name = name.or_else(|| path.file_name());
    name.unwrap_or(Path::new(&model.text).as_os_str())
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::command_line::{Cli, Command};
    use clap::Parser;

    fn args(line: &str) -> ScoreArgs {
        let words = ["esm-embed", "score"].into_iter().chain(line.split(' '));
        match Cli::try_parse_from(words).map(|args| args.command) {
            Ok(Command::Score(args)) => *args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_flag() {
        let args = args(
            "p.fasta --variants v.csv -o s.csv --landscape l -m 8M,650M --method pll-unmasked --window \
             overlapping --offset -3 --mutation-col m --sequence-col id --on-invalid skip --resume",
        );
        let job = job(&args, Vec::new());
        assert_eq!(
            job.variants,
            Some(VariantTable {
                path: "v.csv".into(),
                mutation_col: "m".into(),
                sequence_col: Some("id".into()),
                offset: -3,
            })
        );
        assert_eq!(job.on_invalid, esm_embed::pipeline::OnInvalid::Skip);
        assert_eq!(job.method, Method::PllUnmasked);
        assert_eq!(job.window, Some(Window::Overlapping));
        assert!(job.resume && !job.force);
        let names: Vec<String> = args.models.iter().map(column).collect();
        assert_eq!(names, ["8M", "650M"]);
    }

    #[test]
    fn a_revision_is_for_all_models_or_for_each_one() {
        let revisions = |line: &str| {
            let args = args(line);
            assert_eq!(args.contradiction(), None);
            [0, 1].map(|number| args.revision(number).map(str::to_owned))
        };
        let line = "p.fasta --landscape l -m 8M,650M";
        assert_eq!(revisions(line), [None, None]);
        let both = revisions(&format!("{line} --revision v1"));
        assert_eq!(both, [Some("v1".to_owned()), Some("v1".to_owned())]);
        let each = revisions(&format!("{line} --revision v1,main"));
        assert_eq!(each, [Some("v1".to_owned()), Some("main".to_owned())]);
    }

    #[test]
    fn a_path_gives_its_last_part_without_the_ending_of_a_file() {
        for (text, name) in [
            ("models/esm1v_t33_650M_UR90S_1.pt", "esm1v_t33_650M_UR90S_1"),
            ("./src/cli", "cli"),
            ("./src/cli/..", "src"),
            ("facebook/esm2_t6_8M_UR50D", "facebook/esm2_t6_8M_UR50D"),
            ("8M", "8M"),
        ] {
            assert_eq!(column(&model(text).unwrap()), name);
        }
    }

    #[test]
    fn what_cannot_be_scored_is_said_before_any_work() {
        for (line, says) in [
            (
                "p.fasta --variants v.csv",
                "`variants` needs a table to write",
            ),
            (
                "p.fasta -o s.csv",
                "without `variants`, there is nothing to score",
            ),
            ("p.fasta", "there is nothing to write"),
            (
                "p.fasta --landscape l --method pll",
                "`landscape` is for methods",
            ),
            (
                "p.fasta --landscape l -m 8M,35M,650M --revision a,b",
                "there are 2 revisions for 3 models\nhint: give one `revision` for all",
            ),
            (
                "p.fasta --landscape -",
                "arrays are written into a folder, so `landscape=-`",
            ),
            (
                "- --variants - -o s.csv",
                "standard input cannot hold both the sequences and the variants",
            ),
        ] {
            let what = args(line).contradiction().unwrap();
            assert!(what.starts_with(says), "{what}");
        }
        for line in [
            "p.fasta -o s.csv --method pll",
            "p.fasta --landscape l",
            "p.fasta --variants v.csv -o s.csv --landscape l",
        ] {
            assert_eq!(args(line).contradiction(), None);
        }
    }
}
