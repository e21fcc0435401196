//! `template`: job scripts for schedulers, recipes for containers, and services that run `serve`. They
//! are beside this file, as users get them.

use super::Exit;
use super::stdout::{print, print_json};
use anyhow::{Context, bail};
use clap::ValueEnum;
use serde::Serialize;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Examples below the help.
pub const EXAMPLES: &str = "\
Example:
  esm-embed template slurm > embed.sh
  SHARDS=16 bash embed.sh emb proteins.fasta --model 650M

Each template says at its top how to use it, and what of it is not tested.

PBS and LSF: plan once, submit an array whose tasks embed one shard each, and
submit the command again for what is left:
  esm-embed plan proteins.fasta --shards 16 --out plan/
  PBS: qsub -J 1-16 job.sh          LSF: bsub -J 'esm[1-16]' < job.sh
  job.sh: esm-embed run --plan plan/ --shard $PBS_ARRAY_INDEX/16 \\
            --out shards/$PBS_ARRAY_INDEX --resume   # LSF: $LSB_JOBINDEX
  esm-embed status --plan plan/ shards/ && esm-embed merge shards/* --out emb/";

/// Arguments of `template`.
#[derive(Debug, clap::Args)]
pub struct TemplateArgs {
    /// What to print it for
    #[arg(value_enum)]
    pub scheduler: Scheduler,

    /// Write the template into this folder instead of printing it
    ///
    /// Of nextflow, all files of the module: main.nf, environment.yml, meta.yml and its tests. A file that
    /// exists is an error, and nothing is written.
    #[arg(short, long, value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// Print the template as one JSON document
    ///
    /// Fields: scheduler (the name as typed) and script.
    #[arg(long)]
    pub json: bool,
}

/// What runs the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scheduler {
    /// An array of jobs that queue themselves again if they are stopped, and a job that merges
    Slurm,
    /// A Snakefile
    Snakemake,
    /// A module in the form of nf-core's (not executed by our tests)
    Nextflow,
    /// A Dockerfile that builds the program, for an image that serves a model
    Docker,
    /// The same as an Apptainer definition file
    Apptainer,
    /// A unit that serves a model
    Systemd,
    /// A deployment that serves a model, with its volume and service
    Kubernetes,
}

/// What `template --json` prints.
#[derive(Debug, Serialize)]
struct TemplateReport {
    /// The scheduler as typed.
    scheduler: String,
    /// The template.
    script: &'static str,
}

/// Names and contents of the files of a template; the first one is what is printed.
fn files(scheduler: Scheduler) -> &'static [(&'static str, &'static str)] {
    match scheduler {
        Scheduler::Slurm => &[("slurm.sh", include_str!("slurm.sh"))],
        Scheduler::Snakemake => &[("Snakefile", include_str!("Snakefile"))],
        Scheduler::Nextflow => &[
            ("main.nf", include_str!("nextflow/main.nf")),
            ("environment.yml", include_str!("nextflow/environment.yml")),
            ("meta.yml", include_str!("nextflow/meta.yml")),
            (
                "tests/main.nf.test",
                include_str!("nextflow/tests/main.nf.test"),
            ),
            (
                "tests/nextflow.config",
                include_str!("nextflow/tests/nextflow.config"),
            ),
        ],
        Scheduler::Docker => &[("Dockerfile", include_str!("Dockerfile"))],
        Scheduler::Apptainer => &[("apptainer.def", include_str!("apptainer.def"))],
        Scheduler::Systemd => &[("esm-embed.service", include_str!("esm-embed.service"))],
        Scheduler::Kubernetes => &[("kubernetes.yaml", include_str!("kubernetes.yaml"))],
    }
}

/// Prints a template, or writes its files.
pub fn execute(args: &TemplateArgs) -> anyhow::Result<Exit> {
    let files = files(args.scheduler);
    if let Some(dir) = &args.out {
        write(dir, files)?;
    }
    let script = files.first().map_or("", |(_, text)| text);
    if args.json {
        let value = args.scheduler.to_possible_value();
        print_json(&TemplateReport {
            scheduler: value.map_or_else(String::new, |value| value.get_name().to_owned()),
            script,
        })?;
    } else if args.out.is_none() {
        print(script)?;
    }
    Ok(Exit::Done)
}

fn write(dir: &Path, files: &[(&str, &str)]) -> anyhow::Result<()> {
    let paths = files.iter().map(|(name, text)| (dir.join(name), text));
    let paths: Vec<_> = paths.collect();
    if let Some((path, _)) = paths
        .iter()
        .find(|(path, _)| path.symlink_metadata().is_ok())
    {
        bail!(
            "{}: already exists\nhint: choose another folder with `out`",
            path.display()
        );
    }
    for (path, text) in paths {
        let folder = path.parent().unwrap_or(dir);
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        let writing = || format!("writing {}", path.display());
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .open(&path)
            .with_context(writing)?;
        file.write_all(text.as_bytes()).with_context(writing)?;
    }
    Ok(())
}
