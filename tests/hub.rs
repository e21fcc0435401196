//! Downloads from a hub on loopback into a cache of the ordinary layout, with everything that can
//! go wrong between them.

mod hub_server;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use esm_embed::hub::{DownloadProgress, Hub, HubError, HubSettings, LocalModel, ModelRef, Token};
use hub_server::{COMMIT, Fault, HubServer, sha256};
use tempfile::TempDir;

const REPO: &str = "tiny-lab/tiny_esm";
const CONFIG: &[u8] = br#"{"model_type": "esm", "num_hidden_layers": 1}"#;
const VOCABULARY: &[u8] = b"<cls>\n<pad>\n";
const WEIGHTS: &str = "model.safetensors";

/// A safetensors file of 40,000 zero floats and a header.
fn weights() -> Vec<u8> {
    let header = br#"{"a":{"dtype":"F32","shape":[40000],"data_offsets":[0,160000]}}"#;
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header);
    file.extend((0..160_000_u32).map(|i| (i % 251) as u8));
    file
}

/// A hub with the tiny checkpoint, an empty cache and settings that lead from one to the other.
struct Bench {
    server: HubServer,
    settings: HubSettings,
    cache: TempDir,
}

impl Bench {
    fn new() -> Self {
        Self::with_files(&[
            ("config.json", CONFIG),
            ("vocab.txt", VOCABULARY),
            (WEIGHTS, &weights()),
        ])
    }

    fn with_files(files: &[(&str, &[u8])]) -> Self {
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

    fn hub(&self) -> Hub {
        Hub::new(self.settings.clone()).unwrap()
    }

    fn resolve(&self) -> Result<LocalModel, HubError> {
        self.hub().resolve(&model(), None, &())
    }

    fn fetch(&self) -> Result<LocalModel, HubError> {
        self.hub().fetch(&model(), None, &())
    }

    fn error(&self) -> String {
        self.resolve().unwrap_err().to_string()
    }

    fn repo(&self) -> PathBuf {
        self.cache.path().join("models--tiny-lab--tiny_esm")
    }

    fn blobs(&self) -> Vec<String> {
        names(&self.repo().join("blobs"))
    }

    /// No file that could be taken for the weights is left.
    fn assert_no_weights(&self) {
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

fn model() -> ModelRef {
    ModelRef::Hub {
        repo: REPO.to_owned(),
    }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
}

#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Heard {
    fn hear(&self, text: String) {
        self.0.lock().unwrap().push(text);
    }

    fn heard(&self, part: &str) -> bool {
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

#[test]
fn a_fresh_download_has_the_layout_of_the_python_tools() {
    let bench = Bench::new();
    let heard = Heard::default();
    let local = bench.hub().resolve(&model(), None, &heard).unwrap();
    let weights = weights();
    let snapshot = bench.repo().join("snapshots").join(COMMIT);
    assert_eq!(
        local,
        LocalModel {
            path: snapshot.clone(),
            repo: Some(REPO.to_owned()),
            revision: Some(COMMIT.to_owned()),
            bytes: (CONFIG.len() + VOCABULARY.len() + weights.len()) as u64,
        }
    );
    assert_eq!(names(&snapshot), ["config.json", WEIGHTS, "vocab.txt"]);
    assert_eq!(
        snapshot.join(WEIGHTS).read_link().unwrap(),
        Path::new("../../blobs").join(sha256(&weights))
    );
    assert_eq!(fs::read(snapshot.join(WEIGHTS)).unwrap(), weights);
    assert_eq!(fs::read(snapshot.join("config.json")).unwrap(), CONFIG);
    assert_eq!(
        fs::read_to_string(bench.repo().join("refs/main")).unwrap(),
        COMMIT
    );
    assert_eq!(bench.blobs().len(), 3);
    assert!(heard.heard(&format!("start {WEIGHTS} Some({})", weights.len())));
}

#[test]
fn a_cached_model_needs_no_request() {
    let bench = Bench::new();
    let first = bench.resolve().unwrap();
    bench.server.take_requests();
    assert_eq!(bench.resolve().unwrap(), first);
    assert_eq!(bench.hub().cached(&model(), None), Some(first.clone()));
    let by_commit = bench.hub().resolve(&model(), Some(COMMIT), &()).unwrap();
    assert_eq!(by_commit, first);
    assert_eq!(bench.server.take_requests().len(), 0);
}

#[test]
fn offline_uses_the_cache_and_says_what_to_run_where_without_it() {
    let mut bench = Bench::new();
    bench.settings.offline = true;
    let error = bench.error();
    contains(
        &error,
        &[
            "HF_HUB_OFFLINE",
            "esm-embed fetch tiny-lab/tiny_esm`",
            "HF_HOME",
            "--model PATH",
        ],
    );
    let error = bench.hub().resolve(&model(), Some("v1"), &()).unwrap_err();
    contains(
        &error.to_string(),
        &[
            "esm-embed fetch tiny-lab/tiny_esm --revision v1`",
            "revision `v1`",
        ],
    );
    assert_eq!(bench.server.take_requests().len(), 0);

    bench.settings.offline = false;
    let online = bench.resolve().unwrap();
    bench.settings.offline = true;
    bench.server.take_requests();
    assert_eq!(bench.resolve().unwrap(), online);
    assert_eq!(bench.fetch().unwrap(), online);
    assert_eq!(bench.server.take_requests().len(), 0);
}

#[test]
fn offline_fetch_finds_a_bit_that_changed_on_disk() {
    let mut bench = Bench::new();
    bench.resolve().unwrap();
    bench.settings.offline = true;
    let blob = bench.repo().join("blobs").join(sha256(&weights()));
    let mut damaged = weights();
    damaged[100_000] ^= 1;
    fs::write(&blob, &damaged).unwrap();
    let error = bench.fetch().unwrap_err().to_string();
    contains(&error, &[WEIGHTS, &sha256(&weights()), &sha256(&damaged)]);
    // With network the same command repairs it.
    bench.settings.offline = false;
    bench.fetch().unwrap();
    assert_eq!(fs::read(&blob).unwrap(), weights());
}

#[test]
fn a_broken_off_transfer_goes_on_where_it_stopped() {
    for fault in [Fault::Cut(90_000), Fault::CutWithoutLength(90_000)] {
        let bench = Bench::new();
        bench
            .server
            .fail_content(WEIGHTS, std::slice::from_ref(&fault));
        let local = bench.resolve().unwrap();
        assert_eq!(
            fs::read(local.path.join(WEIGHTS)).unwrap(),
            weights(),
            "{fault:?}"
        );
        let ranges: Vec<_> = bench
            .server
            .take_requests()
            .into_iter()
            .filter(|request| request.on_storage)
            .map(|request| request.range)
            .collect();
        assert_eq!(ranges, [None, Some("bytes=90000-".to_owned())], "{fault:?}");
    }
}

#[test]
fn a_transfer_that_keeps_breaking_off_is_an_error_and_a_later_run_resumes_it() {
    for fault in [Fault::Cut(90_000), Fault::CutWithoutLength(90_000)] {
        let bench = Bench::new();
        bench.server.fail_content(WEIGHTS, &vec![fault.clone(); 10]);
        let error = bench.error();
        contains(
            &error,
            &[WEIGHTS, REPO, "90000", "3 times", "goes on from there"],
        );
        bench.assert_no_weights();
        let part = bench
            .repo()
            .join("blobs")
            .join(format!("{}.incomplete", sha256(&weights())));
        assert_eq!(fs::read(&part).unwrap(), weights()[..90_000]);

        bench.server.fail_content(WEIGHTS, &[]);
        bench.server.take_requests();
        let local = bench.resolve().unwrap();
        assert_eq!(fs::read(local.path.join(WEIGHTS)).unwrap(), weights());
        assert!(!part.exists());
        let resumed = bench.server.take_requests();
        assert!(
            resumed
                .iter()
                .any(|request| request.range.as_deref() == Some("bytes=90000-"))
        );
    }
}

#[test]
fn a_server_without_ranges_starts_the_file_over() {
    let bench = Bench::new();
    bench
        .server
        .fail_content(WEIGHTS, &[Fault::Cut(90_000), Fault::WholeFile]);
    let local = bench.resolve().unwrap();
    assert_eq!(fs::read(local.path.join(WEIGHTS)).unwrap(), weights());
}

#[test]
fn an_unfinished_file_of_other_content_is_replaced() {
    for length in [1, 90_000, 160_071, 200_000] {
        let bench = Bench::new();
        let blobs = bench.repo().join("blobs");
        fs::create_dir_all(&blobs).unwrap();
        let part = blobs.join(format!("{}.incomplete", sha256(&weights())));
        fs::write(&part, vec![b'x'; length]).unwrap();
        let local = bench.resolve().unwrap();
        assert_eq!(
            fs::read(local.path.join(WEIGHTS)).unwrap(),
            weights(),
            "{length}"
        );
    }
    assert_eq!(weights().len(), 160_071);
}

#[test]
fn a_flipped_bit_is_found_and_the_file_removed() {
    let bench = Bench::new();
    bench
        .server
        .fail_content(WEIGHTS, &[Fault::Flip(1_000_003)]);
    let error = bench.error();
    contains(
        &error,
        &[WEIGHTS, "expected sha256", &sha256(&weights()), "removed"],
    );
    bench.assert_no_weights();
    assert!(
        !bench
            .blobs()
            .iter()
            .any(|name| name.ends_with(".incomplete"))
    );
    bench.resolve().unwrap();
}

#[test]
fn a_digest_the_hub_announces_wrongly_is_an_error() {
    let bench = Bench::new();
    let announced = "ab".repeat(32);
    bench.server.announce_etag(WEIGHTS, &announced);
    let error = bench.error();
    contains(&error, &[&announced, &sha256(&weights()), "removed"]);
    bench.assert_no_weights();
    assert_eq!(bench.blobs().len(), 2, "{:?}", bench.blobs());
}

#[test]
fn a_published_digest_is_checked_at_its_revision() {
    let repo = "facebook/esm2_t6_8M_UR50D";
    let commit = "c731040f00000000000000000000000000000000";
    let server = HubServer::start(repo, &[("config.json", CONFIG), (WEIGHTS, &weights())]);
    let cache = TempDir::new().unwrap();
    let mut settings = HubSettings::new(cache.path());
    settings.endpoint.clone_from(&server.endpoint);
    let hub = Hub::new(settings).unwrap();
    let model = ModelRef::parse("8M").unwrap();
    server.set_commit(commit);
    let error = hub.resolve(&model, None, &()).unwrap_err().to_string();
    contains(
        &error,
        &["published", "31384292 bytes", "160071 bytes", "removed"],
    );
    assert_eq!(hub.cached(&model, None), None);
    // At any other commit nothing is published about it.
    server.set_commit(COMMIT);
    hub.resolve(&model, None, &()).unwrap();
}

#[test]
fn a_page_in_place_of_a_file_is_not_taken_for_it() {
    let bench = Bench::new();
    bench.server.fail_content("config.json", &[Fault::Page]);
    contains(&bench.error(), &["config.json", "HTML page", "removed"]);
    bench.assert_no_weights();

    bench.server.fail_content(WEIGHTS, &vec![Fault::Page; 10]);
    contains(
        &bench.error(),
        &[WEIGHTS, "44 bytes were announced", "160071"],
    );
    bench.assert_no_weights();

    bench.server.fail_content(WEIGHTS, &[]);
    bench.resolve().unwrap();
}

#[test]
fn a_cut_that_no_header_tells_of_is_seen_in_the_file() {
    let bench = Bench::new();
    bench
        .server
        .fail_content("config.json", &[Fault::CutWithoutLength(20)]);
    contains(
        &bench.error(),
        &["config.json", "not a JSON object", "removed"],
    );
    bench.assert_no_weights();
    bench.resolve().unwrap();
}

#[test]
fn what_the_hub_does_not_have_is_named() {
    let bench = Bench::new();
    let other = ModelRef::parse("tiny-lab/other").unwrap();
    let error = bench.hub().resolve(&other, None, &()).unwrap_err();
    contains(
        &error.to_string(),
        &["no repository tiny-lab/other", "esm-embed models"],
    );
    let error = bench.hub().resolve(&model(), Some("v9"), &()).unwrap_err();
    contains(
        &error.to_string(),
        &["no revision `v9` of tiny-lab/tiny_esm"],
    );
    assert!(!bench.repo().exists());

    let empty = Bench::with_files(&[("README.md", b"nothing")]);
    contains(&empty.error(), &["no config.json in tiny-lab/tiny_esm"]);
    let bare = Bench::with_files(&[("config.json", CONFIG), ("tf_model.h5", b"x")]);
    contains(
        &bare.error(),
        &["none of model.safetensors", "pytorch_model.bin"],
    );
    let other_type = Bench::with_files(&[("config.json", br#"{"model_type": "bert"}"#)]);
    contains(&other_type.error(), &["model of type `bert`"]);
}

#[test]
fn a_404_without_a_code_names_all_that_it_can_mean() {
    let bench = Bench::new();
    bench.server.refuse("config.json", &[(404, "")]);
    contains(
        &bench.error(),
        &["config.json", REPO, "`main`", "does not exist"],
    );
}

#[test]
fn a_refusal_says_whether_a_token_was_sent() {
    let mut bench = Bench::new();
    bench.server.require_token("hf_right");
    contains(
        &bench.error(),
        &[
            "status 403",
            "Access to this model is restricted",
            "set HF_TOKEN",
        ],
    );
    bench.settings.token = Some(Token::new("hf_wrong"));
    let error = bench.error();
    contains(&error, &["does not open it"]);
    assert!(!error.contains("hf_wrong"));
    bench.settings.token = Some(Token::new("hf_right"));
    bench.server.take_requests();
    bench.resolve().unwrap();
    for request in bench.server.take_requests() {
        // The token is for the hub, not for the storage it redirects to.
        let expected = (!request.on_storage).then(|| "Bearer hf_right".to_owned());
        assert_eq!(request.token, expected, "{request:?}");
    }
}

#[test]
fn a_hub_in_trouble_is_asked_again() {
    let bench = Bench::new();
    bench.server.refuse("config.json", &[(500, ""), (503, "")]);
    bench
        .server
        .fail_content(WEIGHTS, &[Fault::Status(502), Fault::Status(403)]);
    let heard = Heard::default();
    bench.hub().resolve(&model(), None, &heard).unwrap();
    for part in ["status 500", "status 503", "status 502", "status 403"] {
        assert!(heard.heard(part), "{part}");
    }

    let bench = Bench::new();
    bench.server.refuse("config.json", &[(500, ""); 10]);
    contains(&bench.error(), &["config.json", "status 500", "3 times"]);
    assert_eq!(bench.server.take_requests().len(), 3);
}

#[test]
fn a_hub_that_cannot_be_reached_fails_at_once_and_says_what_to_do() {
    let mut bench = Bench::new();
    // A port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    bench.settings.endpoint = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    contains(
        &bench.error(),
        &[
            "cannot be reached",
            "esm-embed fetch tiny-lab/tiny_esm`",
            "--model PATH",
        ],
    );
}

#[test]
fn a_hub_that_falls_silent_is_given_up() {
    let mut bench = Bench::new();
    bench.settings.stall_timeout = Duration::from_millis(200);
    bench.server.fail_content(WEIGHTS, &vec![Fault::Silence; 3]);
    contains(&bench.error(), &[WEIGHTS, "timeout"]);
    bench.resolve().unwrap();
}

#[test]
fn shards_are_fetched_by_their_index() {
    let index = br#"{"weight_map":{"a":"w-1.bin","b":"w-2.bin"}}"#;
    let bench = Bench::with_files(&[
        ("config.json", CONFIG),
        ("pytorch_model.bin.index.json", index),
        ("w-1.bin", b"one"),
        ("w-2.bin", b"two"),
    ]);
    let local = bench.resolve().unwrap();
    assert_eq!(
        names(&local.path),
        [
            "config.json",
            "pytorch_model.bin.index.json",
            "w-1.bin",
            "w-2.bin"
        ]
    );
    let bench = Bench::with_files(&[
        ("config.json", CONFIG),
        (
            "model.safetensors.index.json",
            br#"{"weight_map":{"a":"../../../x"}}"#,
        ),
    ]);
    contains(
        &bench.error(),
        &["model.safetensors.index.json", "`../../../x`"],
    );
    let bench = Bench::with_files(&[
        ("config.json", CONFIG),
        (
            "model.safetensors.index.json",
            br#"{"weight_map":{"a":"gone.safetensors"}}"#,
        ),
    ]);
    contains(&bench.error(), &["gone.safetensors", "lacks"]);
}

#[test]
fn fetch_follows_the_branch_and_resolve_stays() {
    let bench = Bench::new();
    bench.server.tag("refs/pr/1");
    let first = bench.resolve().unwrap();
    let tagged = bench
        .hub()
        .resolve(&model(), Some("refs/pr/1"), &())
        .unwrap();
    assert_eq!(tagged, first);

    let newer = "fedcba9876543210fedcba9876543210fedcba98";
    bench
        .server
        .publish(newer, "vocab.txt", b"<cls>\n<pad>\n<eos>\n");
    assert_eq!(bench.resolve().unwrap(), first);
    bench.server.take_requests();
    let second = bench.fetch().unwrap();
    assert_eq!(second.revision.as_deref(), Some(newer));
    // The weights are the same content: nothing of them is transferred again.
    assert!(
        bench
            .server
            .take_requests()
            .iter()
            .all(|request| !request.on_storage)
    );
    assert_eq!(bench.resolve().unwrap(), second);
    let old = bench.hub().resolve(&model(), Some(COMMIT), &()).unwrap();
    assert_eq!(old, first);
}

#[test]
fn a_damaged_cache_is_repaired_or_named() {
    let mut bench = Bench::new();
    let local = bench.resolve().unwrap();
    let blob = bench.repo().join("blobs").join(sha256(&weights()));
    fs::remove_file(&blob).unwrap();
    bench.settings.offline = true;
    contains(
        &bench.error(),
        &[WEIGHTS, "is a link to ../../blobs/", "does not exist"],
    );
    bench.settings.offline = false;
    assert_eq!(bench.resolve().unwrap(), local);

    // Half a file under its final name, as tools that do not check leave it.
    fs::write(&blob, &weights()[..80_000]).unwrap();
    bench.settings.offline = true;
    contains(
        &bench.error(),
        &[WEIGHTS, "its header describes 160071 bytes", "80000"],
    );
    bench.settings.offline = false;
    let heard = Heard::default();
    assert_eq!(bench.hub().resolve(&model(), None, &heard).unwrap(), local);
    assert!(heard.heard("removed from the cache"));
    assert_eq!(fs::read(&blob).unwrap(), weights());
}

#[test]
fn a_cache_that_cannot_be_made_is_an_error_with_a_remedy() {
    let mut bench = Bench::new();
    let file = bench.cache.path().join("file");
    fs::write(&file, "").unwrap();
    bench.settings.cache = file.join("hub");
    contains(&bench.error(), &["cannot create", "file/hub", "HF_HOME"]);
}

#[test]
fn a_complete_model_is_only_read() {
    let bench = Bench::new();
    let local = bench.resolve().unwrap();
    let locks = bench.cache.path().join(".locks");
    fs::remove_dir_all(&locks).unwrap();
    assert_eq!(bench.resolve().unwrap(), local);
    assert_eq!(names(bench.cache.path()), ["models--tiny-lab--tiny_esm"]);
}

#[test]
fn two_that_want_the_same_model_transfer_it_once() {
    let bench = Bench::new();
    let hubs = [bench.hub(), bench.hub(), bench.hub(), bench.hub()];
    let models: Vec<LocalModel> = std::thread::scope(|scope| {
        let all: Vec<_> = hubs
            .iter()
            .map(|hub| scope.spawn(|| hub.resolve(&model(), None, &()).unwrap()))
            .collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert!(models.iter().all(|local| *local == models[0]));
    let transfers = bench.server.take_requests();
    assert_eq!(
        transfers
            .iter()
            .filter(|request| request.on_storage)
            .count(),
        1
    );
    assert_eq!(bench.blobs().len(), 3);
}

#[test]
fn an_answer_that_is_no_hubs_is_refused() {
    let bench = Bench::new();
    bench.server.announce_etag(WEIGHTS, "../../../../escaped");
    contains(
        &bench.error(),
        &["ETag", "../../../../escaped", "HF_ENDPOINT"],
    );
    bench.server.announce_etag(WEIGHTS, &sha256(&weights()));
    bench.server.set_commit("../../x");
    contains(&bench.error(), &["X-Repo-Commit", "../../x"]);
    let asked = "1111111111111111111111111111111111111111";
    bench.server.set_commit(COMMIT);
    bench.server.tag(asked);
    let error = bench.hub().resolve(&model(), Some(asked), &()).unwrap_err();
    contains(&error.to_string(), &[asked, COMMIT]);
}

#[test]
fn paths_lead_to_themselves_or_to_the_snapshot_in_a_copied_cache_folder() {
    let bench = Bench::new();
    let local = bench.resolve().unwrap();
    let hub = bench.hub();
    let path = |path: &Path| hub.resolve(&ModelRef::Path(path.to_path_buf()), None, &());
    assert_eq!(path(&local.path).unwrap().path, local.path);
    let copied = path(&bench.repo()).unwrap();
    assert_eq!(copied.path, local.path);
    assert_eq!(copied.revision.as_deref(), Some(COMMIT));
    let error = path(Path::new("/no/such/model.pt")).unwrap_err();
    contains(&error.to_string(), &["/no/such/model.pt does not exist"]);
    // A file with the name of a published one must be that one.
    let pt = bench.cache.path().join("esm2_t6_8M_UR50D.pt");
    fs::write(&pt, "not it").unwrap();
    let error = hub.fetch(&ModelRef::Path(pt), None, &()).unwrap_err();
    contains(
        &error.to_string(),
        &["expected 30099493 bytes, found 6 bytes"],
    );
}

#[test]
fn the_report_lists_the_known_models_and_what_is_cached() {
    let bench = Bench::new();
    let hub = bench.hub();
    assert_eq!(hub.report().len(), 12);
    assert!(
        hub.report()
            .iter()
            .all(|model| model.complete.is_none() && model.bytes == 0)
    );
    let local = bench.resolve().unwrap();
    fs::write(bench.repo().join("blobs/x.incomplete"), "12345").unwrap();
    let report = hub.report();
    assert_eq!(report.len(), 13);
    assert_eq!(report[3].known.map(|known| known.short), Some(Some("650M")));
    let tiny = &report[12];
    assert_eq!(tiny.repo, REPO);
    assert_eq!(tiny.path, Some(bench.repo()));
    assert_eq!(tiny.bytes, local.bytes + 5);
    assert_eq!(tiny.unfinished_bytes, 5);
    assert_eq!(tiny.complete, Some(local));
}
