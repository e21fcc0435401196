//! Options of other tools, and what to write instead.

/// An option of another tool.
pub(super) struct ForeignOption {
    /// Its names there.
    pub names: &'static [&'static str],
    /// Our option that does it, without dashes; none if no option does.
    pub needs: Option<&'static str>,
    /// Whether it means something for `run` only.
    pub only_run: bool,
    /// What to write instead.
    pub what: &'static str,
}

/// Options with which other tools replace an output.
pub(super) const KEPT: [&str; 8] = [
    "overwrite",
    "over-write",
    "overwrite-output",
    "clobber",
    "replace",
    "overwrite-existing",
    "force-overwrite",
    "exist-ok",
];

/// What other tools compute and this version does not.
pub(super) const LATER: [&str; 8] = [
    "logits",
    "contacts",
    "contact-maps",
    "attentions",
    "attention",
    "perplexity",
    "variants",
    "log-likelihood",
];

/// Options of fair-esm's script and of other tools, and what to write instead.
pub(super) const OPTIONS: &[ForeignOption] = &[
    ForeignOption {
        names: &[
            "batch-size",
            "batchsize",
            "batch",
            "bs",
            "toks-per-batch",
            "tokens-per-batch",
            "max-tokens-per-batch",
            "max-batch-tokens",
            "max-residues",
            "max-batch",
        ],
        needs: Some("max-tokens"),
        only_run: true,
        what: "batches are formed for you and do not change the results; --max-tokens N limits the tokens \
         of one batch",
    },
    ForeignOption {
        names: &[
            "repr-layers",
            "repr-layer",
            "layers",
            "representation-layers",
            "embedding-layer",
        ],
        needs: Some("layer"),
        only_run: true,
        what: "the option is --layer, with commas: --layer 0,32,33, or 3-5, all, last",
    },
    ForeignOption {
        names: &["fp16", "half", "float16", "half-precision", "use-fp16"],
        needs: Some("dtype"),
        only_run: true,
        what: "the option is --dtype f16 (and --out-dtype f16 for the files)",
    },
    ForeignOption {
        names: &["bf16", "bfloat16"],
        needs: Some("dtype"),
        only_run: true,
        what: "the option is --dtype bf16",
    },
    ForeignOption {
        names: &["fp32", "float32", "f32"],
        needs: Some("dtype"),
        only_run: true,
        what: "the option is --dtype f32",
    },
    ForeignOption {
        names: &["f16"],
        needs: Some("dtype"),
        only_run: true,
        what: "the option is --dtype f16",
    },
    ForeignOption {
        names: &["precision", "data-type", "torch-dtype"],
        needs: Some("dtype"),
        only_run: true,
        what: "the option is --dtype f32, f16 or bf16",
    },
    ForeignOption {
        names: &[
            "format",
            "output-format",
            "out-format",
            "fmt",
            "save-format",
            "h5",
            "hdf5",
            "npz",
        ],
        needs: None,
        only_run: true,
        what: "this version writes .npy files, which numpy.load reads, and index.tsv; there is nothing to \
         choose",
    },
    ForeignOption {
        names: &[
            "truncation-seq-length",
            "truncation-length",
            "truncate",
            "truncation",
            "max-length",
            "max-len",
            "max-seq-len",
            "max-seq-length",
            "maxlen",
        ],
        needs: Some("long"),
        only_run: true,
        what: "the option is --long truncate:N, which keeps the first N residues; if it is left out, ESM-2 \
         embeds sequences whole",
    },
    ForeignOption {
        names: &["nogpu", "no-gpu", "no-cuda", "cpu", "use-cpu", "cpu-only"],
        needs: Some("device"),
        only_run: true,
        what: "the option is --device cpu",
    },
    ForeignOption {
        names: &["gpu", "gpus", "cuda", "use-gpu", "use-cuda", "gpu-id"],
        needs: Some("device"),
        only_run: true,
        what: "the option is --device cuda, or cuda:0,1 for cards by number",
    },
    ForeignOption {
        names: &[
            "fasta",
            "input",
            "in",
            "i",
            "fasta-file",
            "input-file",
            "fasta-path",
            "sequences",
            "seqs",
            "f",
        ],
        needs: None,
        only_run: true,
        what: "FASTA files are given without an option: esm-embed run proteins.fasta --out emb",
    },
    ForeignOption {
        names: &[
            "output",
            "output-dir",
            "out-dir",
            "outdir",
            "output-folder",
            "output-path",
            "output-file",
            "save-dir",
            "save-path",
        ],
        needs: Some("out"),
        only_run: true,
        what: "the option is --out, and names a folder",
    },
    ForeignOption {
        names: &[
            "model-name",
            "model-path",
            "model-location",
            "model-name-or-path",
            "model-id",
            "checkpoint",
            "pretrained",
            "weights",
            "model-dir",
        ],
        needs: Some("model"),
        only_run: true,
        what: "the option is --model, with a name, a repository of the Hub or a path",
    },
    ForeignOption {
        names: &[
            "pooling",
            "pool-type",
            "pooling-type",
            "pooling-mode",
            "reduce",
            "aggregate",
        ],
        needs: Some("pool"),
        only_run: true,
        what: "the option is --pool mean, bos, max or none",
    },
    ForeignOption {
        names: &[
            "mean",
            "per-protein",
            "per-sequence",
            "average",
            "protein-level",
        ],
        needs: Some("pool"),
        only_run: true,
        what: "the option is --pool mean, which is the default; --residues none leaves out residue rows",
    },
    ForeignOption {
        names: &["bos", "cls"],
        needs: Some("pool"),
        only_run: true,
        what: "the option is --pool bos",
    },
    ForeignOption {
        names: &[
            "per-tok",
            "per-token",
            "per-residue",
            "per-res",
            "residue-level",
            "token-embeddings",
        ],
        needs: Some("residues"),
        only_run: true,
        what: "the option is --residues packed, which is the default, or files for one file a record",
    },
    ForeignOption {
        names: &[
            "workers",
            "num-workers",
            "num-threads",
            "nthreads",
            "n-threads",
            "jobs",
            "n-jobs",
            "cpus",
            "num-cpus",
            "ncpu",
            "cores",
            "nproc",
            "j",
            "nt",
        ],
        needs: Some("threads"),
        only_run: true,
        what: "the option is --threads N",
    },
    ForeignOption {
        names: &["cache-dir", "cache", "hub-cache", "torch-home"],
        needs: None,
        only_run: false,
        what: "the cache is that of Hugging Face: set the environment variable HF_HOME",
    },
    ForeignOption {
        names: &["offline", "local-files-only"],
        needs: None,
        only_run: false,
        what: "set the environment variable HF_HUB_OFFLINE=1; a model given as a path needs no network",
    },
];

/// What fair-esm's script includes.
pub(super) const INCLUDE: &str = "there is no such option in this version. For what fair-esm's script includes: \
                       mean is --pool mean, bos is --pool bos, per_tok is --residues packed; all can \
                       be combined. Logits, contacts and attentions come in a later version";
