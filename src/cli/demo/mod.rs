//! `demo`: embeds eight made-up proteins with a tiny model.
//!
//! The program carries both in the files beside this one; `fixtures/carried.py` makes them.

mod carried;

use super::options::DisplayArgs;
use super::options::folders;
use super::progress::Progress;
use super::run;
use super::stdout::print;
use super::{Exit, signals};
pub use carried::Carried;
use esm_embed::device::{DeviceChoice, Dtype};
use esm_embed::output::{Existing, FinishedFolder, OutDtype, Pool, Residues};
use esm_embed::pipeline::{
    Caches, ComputeOptions, Inputs, Job, MapOptions, Model, OutputOptions, SequenceOptions,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Arguments of `demo`.
#[derive(Debug, clap::Args)]
pub struct DemoArgs {
    /// Output folder, as `esm-embed run` writes it
    #[arg(short, long, value_name = "DIR", default_value = "emb-demo")]
    pub out: PathBuf,

    /// Resume an interrupted demo; a complete one is left as it is
    #[arg(long, conflicts_with = "force")]
    pub resume: bool,

    /// Replace an existing output
    #[arg(long)]
    pub force: bool,

    #[command(flatten)]
    pub display: DisplayArgs,
}

impl DemoArgs {
    /// What is contradictory in the arguments, with hints.
    pub fn contradiction(&self) -> Option<String> {
        folders::not_a_folder(&self.out)
    }
}

/// Embeds what the program carries, and says how to load the result.
pub fn execute(args: &DemoArgs) -> anyhow::Result<Exit> {
    let progress = Arc::new(Progress::new(args.display));
    let stop = signals::listen(&progress)?;
    let carried = Carried::unpack()?;
    let exit = run::embed(&job(args, &carried), &Caches::default(), &progress, &stop)?;
    if exit == Exit::Done {
        print(&loading(&args.out)?)?;
    }
    Ok(exit)
}

/// On a CPU in f32: the files are the same on every machine.
fn job(args: &DemoArgs, carried: &Carried) -> Job {
    Job {
        inputs: Inputs {
            paths: vec![carried.sequences()],
            ..Inputs::default()
        },
        model: Model {
            asked: "demo".to_owned(),
            path: carried.model().to_owned(),
            repo: None,
            revision: None,
            contact_regression: None,
            adapter: None,
        },
        output: OutputOptions {
            folder: args.out.clone(),
            existing: Existing::asked(args.resume, args.force),
            layers: Vec::new(),
            pools: vec![Pool::Mean],
            stack_layers: false,
            residues: Residues::Packed,
            include: Vec::new(),
            maps: MapOptions::default(),
            dtype: OutDtype::F32,
        },
        sequences: SequenceOptions::default(),
        compute: ComputeOptions {
            device: DeviceChoice::Cpu,
            dtype: Some(Dtype::F32),
            ..ComputeOptions::default()
        },
    }
}

/// What the folder holds, and how to load it.
fn loading(out: &Path) -> anyhow::Result<String> {
    let folder = FinishedFolder::open(out)?;
    let mut text = format!(
        "\n{} holds embeddings of {} made-up proteins, by a tiny model that is not trained:\n\n",
        out.display(),
        folder.manifest().counts.records
    );
    for array in folder.arrays() {
        let shape = folder.packed_shape(array);
        text += &format!("  {:<20} {shape:?}\n", array.location());
    }
    // JSON and Python write such texts alike.
    let quoted = |name: &str| serde_json::to_string(&out.join(name).to_string_lossy());
    let mean = folder.default_pooled().map(|array| array.location());
    let mean = quoted(&mean.unwrap_or_default())?;
    let (ids, folder) = (quoted("ids.npy")?, quoted("")?);
    let folder = folder.replace("/\"", "\"");
    text += &format!(
        "\n\
         In Python, with NumPy:\n\n  \
         import numpy as np\n  \
         by_id = dict(zip(np.load({ids}), np.load({mean})))\n\n\
         With pandas, after `pip install esm-embed pandas`:\n\n  \
         from esm_embed import open_folder\n  \
         frame = open_folder({folder}).to_pandas()\n\n\
         Your own proteins, with a published model:\n\n  \
         esm-embed run proteins.fasta --model 8M --out emb\n"
    );
    Ok(text)
}
