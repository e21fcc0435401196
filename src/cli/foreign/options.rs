//! Options of other tools, and what to write instead.

/// Options of fair-esm's script and of other tools, and what to write instead.
pub(super) const OPTIONS: &[(&[&str], &str)] = &[
    (
        &[
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
        "batches are formed for you and do not change the results; --max-tokens N limits the tokens \
         of one batch",
    ),
    (
        &[
            "repr-layers",
            "repr-layer",
            "layers",
            "representation-layers",
            "embedding-layer",
        ],
        "the option is --layer, with commas: --layer 0,32,33, or 3-5, all, last",
    ),
    (
        &["fp16", "half", "float16", "half-precision", "use-fp16"],
        "the option is --dtype f16 (and --out-dtype f16 for the files)",
    ),
    (&["bf16", "bfloat16"], "the option is --dtype bf16"),
    (&["fp32", "float32", "f32"], "the option is --dtype f32"),
    (&["f16"], "the option is --dtype f16"),
    (
        &["precision", "data-type", "torch-dtype"],
        "the option is --dtype f32, f16 or bf16",
    ),
    (
        &[
            "format",
            "output-format",
            "out-format",
            "fmt",
            "save-format",
            "h5",
            "hdf5",
            "npz",
        ],
        "this version writes .npy files, which numpy.load reads, and index.tsv; there is nothing to \
         choose",
    ),
    (
        &[
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
        "the option is --long truncate:N, which keeps the first N residues; if it is left out, ESM-2 \
         embeds sequences whole",
    ),
    (
        &["nogpu", "no-gpu", "no-cuda", "cpu", "use-cpu", "cpu-only"],
        "the option is --device cpu",
    ),
    (
        &["gpu", "gpus", "cuda", "use-gpu", "use-cuda", "gpu-id"],
        "the option is --device cuda, or cuda:0,1 for cards by number",
    ),
    (
        &[
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
        "FASTA files are given without an option: esm-embed run proteins.fasta --out emb",
    ),
    (
        &[
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
        "the option is --out, and names a folder",
    ),
    (
        &[
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
        "the option is --model, with a name, a repository of the Hub or a path",
    ),
    (
        &[
            "pooling",
            "pool-type",
            "pooling-type",
            "pooling-mode",
            "reduce",
            "aggregate",
        ],
        "the option is --pool mean, bos, max or none",
    ),
    (
        &[
            "mean",
            "per-protein",
            "per-sequence",
            "average",
            "protein-level",
        ],
        "the option is --pool mean, which is the default; --residues none leaves out residue rows",
    ),
    (&["bos", "cls"], "the option is --pool bos"),
    (
        &[
            "per-tok",
            "per-token",
            "per-residue",
            "per-res",
            "residue-level",
            "token-embeddings",
        ],
        "the option is --residues packed, which is the default, or files for one file a record",
    ),
    (
        &[
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
        "the option is --threads N",
    ),
    (
        &["cache-dir", "cache", "hub-cache", "torch-home"],
        "the cache is that of Hugging Face: set the environment variable HF_HOME",
    ),
    (
        &["offline", "local-files-only"],
        "set the environment variable HF_HUB_OFFLINE=1; a model given as a path needs no network",
    ),
];

/// What fair-esm's script includes.
pub(super) const INCLUDE: &str = "there is no such option in this version. For what fair-esm's script includes: \
                       mean is --pool mean, bos is --pool bos, per_tok is --residues packed; all can \
                       be combined. Logits, contacts and attentions come in a later version";
