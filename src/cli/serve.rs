//! `serve`: embeddings over HTTP and gRPC.

use super::Exit;
use super::adapters::AdapterArgs;
use super::options::layers::{LayerArg, layer};
use super::options::model::{DEFAULT, model};
use super::options::{ComputeArgs, DisplayArgs, ModelArg, SequenceArgs, digits, variables};
use super::progress::Progress;
use super::stdout::print;
use anyhow::Context;
use esm_embed::device::Tested;
use esm_embed::hub::{HubSettings, ModelRef};
use esm_embed::pipeline::{Caches, OnInvalid, SequenceOptions};
use esm_embed::product::Product;
use esm_embed::server::grpc::BionemoOptions;
use esm_embed::server::{self, ApiKey, Ended, Limits, ServeJob, TlsFiles};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Examples below the help.
pub const EXAMPLES: &str = "\
Examples:
  # Listens on this machine, port 8080
  esm-embed serve --model 8M
  curl http://127.0.0.1:8080/embed -H 'content-type: application/json' \\
    -d '{\"inputs\": [\"MKTAYIAKQR\", \"GSHMASMTGG\"]}'
  # For other machines: with a key, and TLS
  esm-embed serve --model 650M --listen 0.0.0.0:8443 --api-key-file key.txt \\
    --tls-cert cert.pem --tls-key key.pem
  # Contacts and logits too
  esm-embed serve --model 8M --include contacts,logits

All routes, and how to call them: http://127.0.0.1:8080/docs";

/// Arguments of `serve`.
#[derive(Debug, clap::Args)]
pub struct ServeArgs {
    /// Address: HOST:PORT, or a port of this machine; port 0 picks one
    ///
    /// HTTP/1.1, HTTP/2 and gRPC share it. `listening on HOST:PORT` is printed to standard output as soon
    /// as the server listens; /health answers 200 when the model is loaded, 503 before.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8080")]
    pub listen: String,

    /// Model: a name, a Hugging Face repository, a folder or a file (see esm-embed run --help)
    #[arg(
        short,
        long,
        env = variables::MODEL,
        default_value = DEFAULT,
        value_parser = model,
        help_heading = "Model"
    )]
    pub model: ModelArg,

    /// Branch, tag or commit of the Hugging Face repository [default: main]
    #[arg(long, value_name = "REVISION", help_heading = "Model")]
    pub revision: Option<String>,

    #[command(flatten)]
    pub adapter: AdapterArgs,

    /// File of the contact regression [default: that of the model]
    #[arg(long, value_name = "FILE", help_heading = "Model")]
    pub contact_regression: Option<PathBuf>,

    /// Layers that requests may ask for, separated by commas [default: the last]
    ///
    /// Numbers as in esm-embed run: 0 is the input embedding, -1 and last are the last layer. A request that
    /// names no layer gets the highest of them.
    #[arg(
        short,
        long = "layer",
        value_name = "N[,N...]|A-B|all|last",
        value_delimiter = ',',
        allow_hyphen_values = true,
        value_parser = layer,
        help_heading = "Answers"
    )]
    pub layers: Vec<LayerArg>,

    /// What requests may ask for besides embeddings, separated by commas: logits, contacts
    #[arg(
        long,
        value_name = "PRODUCT[,PRODUCT...]",
        value_delimiter = ',',
        value_parser = included,
        help_heading = "Answers"
    )]
    pub include: Vec<Product>,

    /// Answer clients of BioNeMo with the mean of each sequence, as an early version of its service did
    ///
    /// It applies to the gRPC call SeqToEmbedding, which otherwise answers with the rows of all residues.
    #[arg(long, help_heading = "Answers")]
    pub bionemo_pooled: bool,

    /// Size in MiB of an answer that clients of BioNeMo accept; 0 for any
    ///
    /// A larger one is refused before it is computed, with RESOURCE_EXHAUSTED. gRPC libraries refuse
    /// messages of more than 4 MiB unless the client sets another limit, which a server cannot see. The
    /// stream esm_embed.v1.Embedder/Embed sends one message for each sequence.
    #[arg(
        long,
        value_name = "MIB",
        default_value = "4",
        value_parser = mebibytes,
        help_heading = "Answers"
    )]
    pub bionemo_max_answer_mib: u64,

    #[command(flatten)]
    pub sequences: SequenceArgs,

    /// Key that requests must send; other users can see it in the list of processes
    ///
    /// Requests send it as `Authorization: Bearer KEY` or `X-API-Key: KEY`. Without this flag and
    /// --api-key-file, the environment variable ESM_EMBED_API_KEY sets it. /health, /ping, /docs and the
    /// health service of gRPC need no key.
    #[arg(
        long,
        value_name = "KEY",
        help_heading = "Access",
        conflicts_with = "api_key_file"
    )]
    pub api_key: Option<String>,

    /// File with the key
    #[arg(long, value_name = "FILE", help_heading = "Access")]
    pub api_key_file: Option<PathBuf>,

    /// Certificate of the server and of those that issued it, as PEM; turns on TLS
    #[arg(
        long,
        value_name = "FILE",
        requires = "tls_key",
        help_heading = "Access"
    )]
    pub tls_cert: Option<PathBuf>,

    /// Private key of the certificate, PEM
    #[arg(
        long,
        value_name = "FILE",
        requires = "tls_cert",
        help_heading = "Access"
    )]
    pub tls_key: Option<PathBuf>,

    /// Requests in progress at the same time; further ones get status 429
    #[arg(
        long,
        value_name = "N",
        default_value = "512",
        value_parser = requests,
        help_heading = "Limits"
    )]
    pub max_concurrent_requests: usize,

    /// Tokens that may wait to be computed; requests that exceed it get status 429
    ///
    /// A request is accepted as a whole or not at all. One with more tokens is accepted while nothing waits.
    #[arg(
        long,
        value_name = "N",
        default_value = "262144",
        value_parser = positive,
        help_heading = "Limits"
    )]
    pub max_queue_tokens: usize,

    /// Size in MB of the body of a request, and of one message of gRPC; larger ones get status 413
    ///
    /// All bodies in memory at the same time share 16 times as much, or an eighth of the memory beside the
    /// model if that is less. Requests that find no room there get status 429.
    #[arg(
        long,
        value_name = "MB",
        default_value = "32",
        value_parser = megabytes,
        help_heading = "Limits"
    )]
    pub max_body_mb: usize,

    /// Seconds that a request may take; after that, it is cancelled with status 504
    ///
    /// A request can ask for less with the header `X-Request-Timeout: SECONDS`.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value = "600",
        value_parser = seconds,
        help_heading = "Limits"
    )]
    pub timeout: Duration,

    /// Seconds to finish what is running after SIGTERM or Ctrl-C
    #[arg(
        long,
        value_name = "SECONDS",
        default_value = "30",
        value_parser = seconds,
        help_heading = "Limits"
    )]
    pub grace: Duration,

    /// Memory in MB for answers that are kept for the same sequence; 0 keeps none
    #[arg(
        long,
        value_name = "MB",
        default_value = "0",
        value_parser = megabytes_or_none,
        help_heading = "Limits"
    )]
    pub cache_mb: usize,

    #[command(flatten)]
    pub compute: ComputeArgs,

    #[command(flatten)]
    pub display: DisplayArgs,
}

/// A value of `--include`.
fn included(text: &str) -> Result<Product, &'static str> {
    match text {
        "logits" => Ok(Product::Logits),
        "contacts" => Ok(Product::Contacts),
        "attentions" => Err("attention maps are too large for answers: use esm-embed run"),
        _ => Err("expected logits or contacts"),
    }
}

fn positive(text: &str) -> Result<usize, &'static str> {
    let number = digits(text).filter(|number| *number > 0);
    number.ok_or("expected a number from 1")
}

/// As many as the semaphore that counts them takes.
fn requests(text: &str) -> Result<usize, &'static str> {
    let number = digits(text).filter(|number| (1..=1_000_000).contains(number));
    number.ok_or("expected a number from 1 to 1,000,000")
}

fn megabytes_or_none(text: &str) -> Result<usize, &'static str> {
    let bytes = digits(text).and_then(|number| number.checked_mul(1_000_000));
    bytes.ok_or("expected a number of MB")
}

fn megabytes(text: &str) -> Result<usize, &'static str> {
    let bytes = megabytes_or_none(text)?;
    match bytes {
        0 => Err("expected a number of MB, from 1"),
        bytes => Ok(bytes),
    }
}

fn mebibytes(text: &str) -> Result<u64, &'static str> {
    let number = digits(text).and_then(|number| u64::try_from(number).ok());
    let bytes = number.and_then(|number| number.checked_mul(1 << 20));
    bytes.ok_or("expected a number of MiB")
}

fn seconds(text: &str) -> Result<Duration, &'static str> {
    let number: Option<f64> = text.parse().ok();
    let time = number.and_then(|number| Duration::try_from_secs_f64(number).ok());
    // A year: beyond some centuries, instants overflow.
    let most = Duration::from_secs(365 * 86_400);
    let time = time.filter(|time| !time.is_zero() && *time <= most);
    time.ok_or("expected a number of seconds above 0, at most a year")
}

/// Serves until a signal.
pub fn execute(args: &ServeArgs) -> anyhow::Result<Exit> {
    let progress = Arc::new(Progress::new(args.display));
    // What is sure to fail fails before a model is downloaded.
    args.compute.options().resolve_device()?;
    let api_key = api_key(args)?;
    let revision = args.revision.as_deref();
    let model = args.adapter.resolve(&args.model, revision, &progress)?;
    progress.clear();
    let cache = HubSettings::from_env().ok();
    let caches = Caches {
        self_tests: Tested {
            folder: cache.map(|cache| cache.remembered()),
            again: args.compute.check_device,
        },
        checksums: None,
    };
    let mut include = args.include.clone();
    include.sort_unstable();
    include.dedup();
    let job = ServeJob {
        name: name(args.adapter.called(&args.model)),
        model: esm_embed::pipeline::Model {
            contact_regression: args.contact_regression.clone(),
            ..model
        },
        listen: args.listen.clone(),
        layers: args.layers.iter().map(|layer| layer.0).collect(),
        include,
        sequences: SequenceOptions {
            long: args.sequences.long,
            unknown: args.sequences.unknown.into(),
            gaps: args.sequences.gaps.into(),
            on_invalid: OnInvalid::Fail,
        },
        compute: args.compute.options(),
        limits: Limits {
            max_body_bytes: args.max_body_mb,
            max_requests: args.max_concurrent_requests,
            max_queue_tokens: args.max_queue_tokens,
            timeout: args.timeout,
            grace: args.grace,
            cache_bytes: args.cache_mb,
        },
        api_key,
        tls: match (&args.tls_cert, &args.tls_key) {
            (Some(certificate), Some(key)) => Some(TlsFiles {
                certificate: certificate.clone(),
                key: key.clone(),
            }),
            _ => None,
        },
        bionemo: BionemoOptions {
            pooled: args.bionemo_pooled,
            max_answer_bytes: match args.bionemo_max_answer_mib {
                0 => None,
                bytes => Some(bytes),
            },
        },
    };
    let announce = |address| print(&format!("listening on {address}\n"));
    Ok(match server::serve(&job, caches, progress, announce)? {
        Ended::Finished => Exit::Done,
        Ended::AtOnce(signal) => Exit::Stopped(signal),
    })
}

/// The key from the flag, the file, or the environment.
fn api_key(args: &ServeArgs) -> anyhow::Result<Option<ApiKey>> {
    let (text, from) = match (&args.api_key, &args.api_key_file) {
        (Some(key), _) => (key.clone(), "`api_key`".to_owned()),
        (None, Some(file)) => {
            let shown = file.display().to_string();
            let text = std::fs::read_to_string(file).with_context(|| shown.clone())?;
            (text.trim_end_matches(['\r', '\n']).to_owned(), shown)
        }
        (None, None) => match std::env::var(variables::API_KEY) {
            Ok(key) => (key, variables::API_KEY.to_owned()),
            Err(std::env::VarError::NotPresent) => return Ok(None),
            Err(error) => return Err(error).context(variables::API_KEY),
        },
    };
    ApiKey::new(&text).map(Some).context(from)
}

/// The name of the model in answers: as typed, or the last part of a path.
fn name(model: &ModelArg) -> String {
    let ModelRef::Path(path) = &model.reference else {
        return model.text.clone();
    };
    let path = path.canonicalize().unwrap_or_else(|_| path.clone());
    let name = match path.is_dir() {
        true => path.file_name(),
        false => path.file_stem(),
    };
    let name = name.unwrap_or(Path::new(&model.text).as_os_str());
    name.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::command_line::{Cli, Command};
    use clap::Parser;

    fn args(line: &str) -> Result<ServeArgs, String> {
        let words = ["esm-embed", "serve"]
            .into_iter()
            .chain(line.split_whitespace());
        match Cli::try_parse_from(words) {
            Ok(Cli {
                command: Command::Serve(args),
            }) => Ok(*args),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn limits_have_units_and_defaults() {
        let defaults = args("").unwrap();
        assert_eq!(defaults.listen, "127.0.0.1:8080");
        assert_eq!(defaults.max_body_mb, 32_000_000);
        assert_eq!(defaults.cache_mb, 0);
        assert_eq!(defaults.bionemo_max_answer_mib, 4 << 20);
        assert_eq!(defaults.timeout, Duration::from_secs(600));
        assert_eq!(defaults.grace, Duration::from_secs(30));
        let given = args("--max-body-mb 1 --cache-mb 5 --timeout 0.25 --grace 1e2").unwrap();
        assert_eq!(given.max_body_mb, 1_000_000);
        assert_eq!(given.cache_mb, 5_000_000);
        assert_eq!(given.timeout, Duration::from_millis(250));
        assert_eq!(given.grace, Duration::from_secs(100));
        for wrong in [
            "--max-body-mb 0",
            "--max-body-mb 99999999999999999999",
            "--max-body-mb 20000000000000",
            "--cache-mb -1",
            "--timeout 0",
            "--timeout inf",
            "--timeout nan",
            "--grace -5",
            "--grace 1e300",
            "--max-concurrent-requests 0",
            "--max-queue-tokens 0",
            "--bionemo-max-answer-mib -1",
            "--bionemo-max-answer-mib 17592186044416",
            "--include attentions",
            "--tls-cert c.pem",
            "--tls-key k.pem",
            "--api-key a --api-key-file b",
        ] {
            assert!(args(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_model_is_named_as_typed_or_by_its_folder() {
        for (text, expected) in [
            ("8M", "8M"),
            ("facebook/esm2_t6_8M_UR50D", "facebook/esm2_t6_8M_UR50D"),
            ("./src/cli", "cli"),
            ("fixtures/esm2_hd16", "esm2_hd16"),
            ("fixtures/fair_esm/esm1b.pt", "esm1b"),
        ] {
            assert_eq!(name(&model(text).unwrap()), expected);
        }
    }
}
