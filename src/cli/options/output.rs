//! What is written, under *Output*.

use super::layers::{LayerArg, layer};
use clap::ValueEnum;
use esm_embed::output::{OutDtype, Pool, Residues};
use esm_embed::product::{MapHeads, Product};

/// What is written.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// Layers to write, separated by commas [default: the last]
    ///
    /// 0 is the input embedding, 1 the output of the first block, and so on; the last layer includes the
    /// final LayerNorm. Negative numbers count from the end: -1 and last are the last layer. A-B is
    /// every layer from A to B, and all is every layer. Forms can be combined: 0,3-5,last.
    ///
    /// Numbers are those of fair-esm and of transformers' hidden_states. Biohub's SDK counts the layers of
    /// ESM C otherwise: its hidden_states[k] is layer k + 1 here, except its last one, which is the last layer
    /// before the final LayerNorm; its embeddings are the last layer.
    #[arg(
        short,
        long = "layer",
        value_name = "N[,N...]|A-B|all|last",
        value_delimiter = ',',
        allow_hyphen_values = true,
        value_parser = layer
    )]
    pub layers: Vec<LayerArg>,

    /// Pooled embeddings, one vector per record; several are separated by commas
    #[arg(
        short,
        long = "pool",
        value_name = "POOL[,POOL...]",
        value_delimiter = ',',
        value_enum,
        default_value = "mean"
    )]
    pub pools: Vec<PoolArg>,

    /// Write the pooled embeddings of all layers as one array, [records, layers, D]
    ///
    /// mean.layers.npy then takes the place of mean.layer0.npy, mean.layer1.npy and so on. With --layer
    /// all, it has one row for each layer, from the input embedding (0) to the last; otherwise, run.json
    /// lists the layers in order. The model runs once, whatever the number of layers.
    #[arg(long)]
    pub stack_layers: bool,

    /// Residue embeddings, one vector per residue
    #[arg(long, value_name = "STORAGE", value_enum, default_value = "packed")]
    pub residues: ResiduesArg,

    /// What else to write, separated by commas: logits, contacts, attentions
    ///
    /// logits: for each residue, one number for each of the 33 tokens of the alphabet, which run.json
    /// lists; with --residues files, each record has its own file. contacts: the probability that
    /// two residues are in contact, [n, n], one file per record. attentions: the attention maps of
    /// every layer and head, [layers, heads, n + 2, n + 2] with <cls> and <eos>, one file per record.
    /// --pool none and --residues none leave the embeddings out.
    #[arg(
        long,
        value_name = "PRODUCT[,PRODUCT...]",
        value_delimiter = ',',
        value_parser = included
    )]
    pub include: Vec<Product>,

    /// Layers whose attention maps are written, separated by commas [default: all]
    ///
    /// 0 is the first block. Negative numbers count from the end: -1 and last are the last block. A-B is
    /// every block from A to B.
    #[arg(
        long,
        value_name = "N[,N...]|A-B|all|last",
        value_delimiter = ',',
        allow_hyphen_values = true,
        value_parser = layer
    )]
    pub attention_layers: Vec<LayerArg>,

    /// Attention maps of a layer: those of all heads, or their mean
    #[arg(long, value_name = "WHICH", value_enum)]
    pub attention_heads: Option<AttentionHeadsArg>,

    /// Number format of the arrays
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "f32")]
    pub out_dtype: OutDtypeArg,
}

/// A value of `--include`. Those of fair-esm's extract.py are answered.
fn included(text: &str) -> Result<Product, &'static str> {
    Err(match text {
        "logits" => return Ok(Product::Logits),
        "contacts" => return Ok(Product::Contacts),
        "attentions" => return Ok(Product::Attentions),
        "mean" => "for the mean, use --pool mean",
        "bos" => "for the vector of <cls>, use --pool bos",
        "per_tok" => "for a vector per residue, use --residues packed",
        _ => "expected logits, contacts or attentions",
    })
}

/// `--attention-heads`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AttentionHeadsArg {
    /// One map for each head
    All,
    /// One map for each layer
    Mean,
}

impl From<AttentionHeadsArg> for MapHeads {
    fn from(arg: AttentionHeadsArg) -> MapHeads {
        match arg {
            AttentionHeadsArg::All => MapHeads::All,
            AttentionHeadsArg::Mean => MapHeads::Mean,
        }
    }
}

/// `--pool`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PoolArg {
    /// Mean over the residues
    Mean,
    /// The vector of the `<cls>` token; also accepted: cls
    #[value(alias = "cls")]
    Bos,
    /// Maximum over the residues, feature by feature
    Max,
    /// No pooled vectors; needs --residues packed or files
    None,
}

impl PoolArg {
    /// The pool; None for `none`.
    pub fn pool(self) -> Option<Pool> {
        match self {
            PoolArg::Mean => Some(Pool::Mean),
            PoolArg::Bos => Some(Pool::Bos),
            PoolArg::Max => Some(Pool::Max),
            PoolArg::None => None,
        }
    }
}

/// `--residues`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ResiduesArg {
    /// One array per layer, record after record
    Packed,
    /// One file per record and layer
    Files,
    /// Not written
    None,
}

impl From<ResiduesArg> for Residues {
    fn from(arg: ResiduesArg) -> Residues {
        match arg {
            ResiduesArg::Packed => Residues::Packed,
            ResiduesArg::Files => Residues::Files,
            ResiduesArg::None => Residues::None,
        }
    }
}

/// `--out-dtype`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutDtypeArg {
    /// 32-bit floats
    #[value(aliases = ["fp32", "float32"])]
    F32,
    /// 16-bit floats (half precision), half the disk space
    #[value(aliases = ["fp16", "float16", "half"])]
    F16,
}

impl From<OutDtypeArg> for OutDtype {
    fn from(arg: OutDtypeArg) -> OutDtype {
        match arg {
            OutDtypeArg::F32 => OutDtype::F32,
            OutDtypeArg::F16 => OutDtype::F16,
        }
    }
}
