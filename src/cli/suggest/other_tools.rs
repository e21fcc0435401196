//! Options of other tools, and what to write instead.

/// An option of another tool.
pub struct ForeignOption {
    /// Its names there.
    pub names: &'static [&'static str],
    /// Our option that does it, without dashes; None if no option does.
    pub needs: Option<&'static str>,
    /// Whether it only makes sense for `run`.
    pub only_run: bool,
    /// What to write instead.
    pub what: &'static str,
}

/// Options with which other tools replace an output.
pub const KEPT: [&str; 8] = [
    "overwrite",
    "over-write",
    "overwrite-output",
    "clobber",
    "replace",
    "overwrite-existing",
    "force-overwrite",
    "exist-ok",
];

/// Options that people give to `export`, and what to write instead.
pub const OF_EXPORT: [(&[&str], &str); 3] = [
    (
        &["format", "output-format", "out-format", "fmt", "type", "as"],
        "write --to, such as --to h5",
    ),
    (
        &["layer", "layers", "repr-layers"],
        "name the array of the layer, such as --array mean.layer20",
    ),
    (
        &["pool", "pooling"],
        "name the array, such as --array max.layer33",
    ),
];

/// Options of fair-esm's script and of other tools, and what to write instead.
pub const OPTIONS: &[ForeignOption] = &[
    ForeignOption {
        names: &["logits", "return-logits"],
        needs: Some("include"),
        only_run: true,
        what: "use --include logits",
    },
    ForeignOption {
        names: &["contacts", "return-contacts", "contact-maps", "contact-map"],
        needs: Some("include"),
        only_run: true,
        what: "use --include contacts",
    },
    ForeignOption {
        names: &[
            "attentions",
            "attention",
            "output-attentions",
            "need-head-weights",
            "attention-maps",
        ],
        needs: Some("include"),
        only_run: true,
        what: "use --include attentions",
    },
    ForeignOption {
        names: &[
            "variants",
            "perplexity",
            "pseudo-perplexity",
            "log-likelihood",
        ],
        needs: None,
        only_run: true,
        what: "use another command: esm-embed score",
    },
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
        what: "batches are formed automatically and do not change the results; --max-tokens N limits the \
         tokens in one",
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
        what: "use --layer, with commas: --layer 0,32,33, or 3-5, all, last",
    },
    ForeignOption {
        names: &["fp16", "half", "float16", "half-precision", "use-fp16"],
        needs: Some("dtype"),
        only_run: true,
        what: "use --dtype f16 (and --out-dtype f16 for the files)",
    },
    ForeignOption {
        names: &["bf16", "bfloat16"],
        needs: Some("dtype"),
        only_run: true,
        what: "use --dtype bf16",
    },
    ForeignOption {
        names: &["fp32", "float32", "f32"],
        needs: Some("dtype"),
        only_run: true,
        what: "use --dtype f32",
    },
    ForeignOption {
        names: &["f16"],
        needs: Some("dtype"),
        only_run: true,
        what: "use --dtype f16",
    },
    ForeignOption {
        names: &["precision", "data-type", "torch-dtype"],
        needs: Some("dtype"),
        only_run: true,
        what: "use --dtype f32, f16 or bf16",
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
        what: "leave it out: a run writes .npy files, which numpy.load reads, and index.tsv; afterwards, \
         esm-embed export writes h5, parquet, npz and other formats",
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
        what: "use --long truncate:N to embed only the first N residues; by default, ESM-2 embeds whole \
         sequences",
    },
    ForeignOption {
        names: &["nogpu", "no-gpu", "no-cuda", "cpu", "use-cpu", "cpu-only"],
        needs: Some("device"),
        only_run: true,
        what: "use --device cpu",
    },
    ForeignOption {
        names: &["gpu", "gpus", "cuda", "use-gpu", "use-cuda", "gpu-id"],
        needs: Some("device"),
        only_run: true,
        what: "use --device cuda, or --device cuda:0,1 to choose GPUs by number",
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
        what: "give FASTA files without an option: esm-embed run proteins.fasta --out emb",
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
        what: "use --out, with the name of a folder",
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
        what: "use --model, with a name, a Hugging Face repository or a path",
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
        what: "use --pool mean, bos, max or none",
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
        what: "use --pool mean, which is the default; --residues none leaves out the residue embeddings",
    },
    ForeignOption {
        names: &["bos", "cls"],
        needs: Some("pool"),
        only_run: true,
        what: "use --pool bos",
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
        what: "use --residues packed, which is the default, or --residues files for one file per record",
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
        what: "use --threads N",
    },
    ForeignOption {
        names: &["cache-dir", "cache", "hub-cache", "torch-home"],
        needs: None,
        only_run: false,
        what: "set the environment variable HF_HOME, which names the Hugging Face cache",
    },
    ForeignOption {
        names: &["offline", "local-files-only"],
        needs: None,
        only_run: false,
        what: "set the environment variable HF_HUB_OFFLINE=1; a model given as a path needs no network",
    },
];
