//! A Hub with a tiny repository, an empty cache, and assertions about them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use esm_embed::hub::{DownloadProgress, Hub, HubError, HubSettings, LocalModel, ModelRef};
use tempfile::TempDir;

use super::{COMMIT, HubServer, sha256};

pub const REPO: &str = "tiny-lab/tiny_esm";
pub const CONFIG: &[u8] = br#"{"model_type": "esm", "num_hidden_layers": 1}"#;
pub const VOCABULARY: &[u8] = b"<cls>\n<pad>\n";
pub const WEIGHTS: &str = "model.safetensors";

/// A safetensors file of 40,000 zero floats and a header.
pub fn weights() -> Vec<u8> {
    let header = br#"{"a":{"dtype":"F32","shape":[40000],"data_offsets":[0,160000]}}"#;
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header);
    file.extend((0..160_000_u32).map(|i| (i % 251) as u8));
    file
}

/// A Hub with the tiny checkpoint, an empty cache and settings that connect the two.
pub struct Bench {
    pub server: HubServer,
    pub settings: HubSettings,
    pub cache: TempDir,
}

impl Bench {
    pub fn new() -> Self {
        Self::with_files(&[
            ("config.json", CONFIG),
            ("vocab.txt", VOCABULARY),
            (WEIGHTS, &weights()),
        ])
    }

    pub fn with_files(files: &[(&str, &[u8])]) -> Self {
        let server = HubServer::start(REPO, files);
        let cache = TempDir::new().unwrap();
        let mut settings = HubSettings::new(cache.path());
        settings.endpoint.clone_from(&server.endpoint);
        settings.retries = 2;
        settings.retry_wait = Duration::ZERO;
        Bench {
            server,
            settings,
            cache,
        }
    }

    pub fn hub(&self) -> Hub {
        Hub::new(self.settings.clone()).unwrap()
    }

    pub fn resolve(&self) -> Result<LocalModel, HubError> {
        self.hub().resolve(&model(), None, &())
    }

    pub fn fetch(&self) -> Result<LocalModel, HubError> {
        self.hub().fetch(&model(), None, &())
    }

    pub fn error(&self) -> String {
        self.resolve().unwrap_err().to_string()
    }

    pub fn repo(&self) -> PathBuf {
        self.cache.path().join("models--tiny-lab--tiny_esm")
    }

    pub fn blobs(&self) -> Vec<String> {
        names(&self.repo().join("blobs"))
    }

    /// No file is left that could be mistaken for the weights.
    pub fn assert_no_weights(&self) {
        assert!(
            !self
                .repo()
                .join("snapshots")
                .join(COMMIT)
                .join(WEIGHTS)
                .exists()
        );
        assert!(!self.blobs().contains(&sha256(&weights())));
        assert!(!self.repo().join("refs/main").exists());
        assert_eq!(self.hub().cached(&model(), None), None);
    }
}

pub fn model() -> ModelRef {
    ModelRef::Hub {
        repo: REPO.to_owned(),
    }
}

pub fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

pub fn contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
}

#[derive(Default)]
pub struct Heard(Mutex<Vec<String>>);

impl Heard {
    fn hear(&self, text: String) {
        self.0.lock().unwrap().push(text);
    }

    pub fn heard(&self, part: &str) -> bool {
        self.0
            .lock()
            .unwrap()
            .iter()
            .any(|text| text.contains(part))
    }
}

impl DownloadProgress for Heard {
    fn start(&self, file: &str, bytes: Option<u64>) {
        self.hear(format!("start {file} {bytes:?}"));
    }
    fn advance(&self, bytes: u64) {
        self.hear(format!("advance {bytes}"));
    }
    fn finish(&self) {
        self.hear("finish".to_owned());
    }
    fn note(&self, text: &str) {
        self.hear(format!("note {text}"));
    }
}
