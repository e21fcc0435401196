//! Everything that can go wrong between a Hub and the cache: no other file ever stays under the name
//! of a published one.

use std::fs;
use std::time::Duration;

use crate::server::bench::{Bench, CONFIG, Heard, REPO, WEIGHTS, contains, model, names, weights};
use crate::server::{COMMIT, Fault, HubServer, sha256};
use esm_embed::hub::{Hub, HubSettings, ModelRef, Token};
use tempfile::TempDir;

#[test]
fn an_interrupted_transfer_resumes_where_it_stopped() {
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
fn a_transfer_that_keeps_failing_is_an_error_and_a_later_run_resumes_it() {
    for fault in [Fault::Cut(90_000), Fault::CutWithoutLength(90_000)] {
        let bench = Bench::new();
        bench.server.fail_content(WEIGHTS, &vec![fault.clone(); 10]);
        let error = bench.error();
        contains(
            &error,
            &[
                WEIGHTS,
                REPO,
                "90,000",
                "3 attempts in a row",
                "it continues after",
            ],
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
fn an_unfinished_file_with_other_content_is_replaced() {
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
fn a_wrong_digest_from_the_hub_is_an_error() {
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
    let config = br#"{"model_type": "esm", "num_hidden_layers": 6, "hidden_size": 320,
        "num_attention_heads": 20}"#;
    let server = HubServer::start(repo, &[("config.json", config), (WEIGHTS, &weights())]);
    let cache = TempDir::new().unwrap();
    let mut settings = HubSettings::new(cache.path());
    settings.endpoint.clone_from(&server.endpoint);
    let hub = Hub::new(settings).unwrap();
    let model = ModelRef::parse("8M").unwrap();
    server.set_commit(commit);
    let error = hub.resolve(&model, None, &()).unwrap_err().to_string();
    contains(
        &error,
        &["published", "31,384,292 bytes", "160,071 bytes", "removed"],
    );
    assert_eq!(hub.cached(&model, None), None);
    // No digest is published for any other commit.
    server.set_commit(COMMIT);
    hub.resolve(&model, None, &()).unwrap();
}

#[test]
fn a_login_page_is_not_mistaken_for_a_file() {
    let bench = Bench::new();
    bench.server.fail_content("config.json", &[Fault::Page]);
    contains(&bench.error(), &["config.json", "is a web page", "removed"]);
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
fn a_truncation_without_a_length_header_is_noticed_in_the_file() {
    let bench = Bench::new();
    bench
        .server
        .fail_content("config.json", &[Fault::CutWithoutLength(20)]);
    contains(
        &bench.error(),
        &["config.json", "is not the expected JSON", "removed"],
    );
    bench.assert_no_weights();
    bench.resolve().unwrap();
}

#[test]
fn a_missing_repository_revision_or_file_is_named() {
    let bench = Bench::new();
    let other = ModelRef::parse("tiny-lab/other").unwrap();
    let error = bench.hub().resolve(&other, None, &()).unwrap_err();
    contains(
        &error.to_string(),
        &[
            "no repository tiny-lab/other, and no such path exists",
            "esm-embed models",
        ],
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
        &["TensorFlow weights (`tf_model.h5`)", "from_tf=True"],
    );
    let other_type = Bench::with_files(&[("config.json", br#"{"model_type": "bert"}"#)]);
    contains(&other_type.error(), &["model of type `bert`"]);
}

#[test]
fn a_404_without_a_code_names_every_possible_cause() {
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
            "if tiny-lab/tiny_esm is meant as a path, check it: no such path exists",
        ],
    );
    bench.settings.token = Some(Token::new("hf_wrong"));
    let error = bench.error();
    contains(&error, &["the token that was sent gives no access"]);
    assert!(!error.contains("hf_wrong"));
    bench.settings.token = Some(Token::new("hf_right"));
    bench.server.take_requests();
    bench.resolve().unwrap();
    for request in bench.server.take_requests() {
        // The token is for the Hub, not for the storage it redirects to.
        let expected = (!request.on_storage).then(|| "Bearer hf_right".to_owned());
        assert_eq!(request.token, expected, "{request:?}");
    }
}

#[test]
fn requests_to_a_struggling_hub_are_repeated() {
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
    contains(
        &bench.error(),
        &["config.json", "status 500", "3 attempts in a row"],
    );
    assert_eq!(bench.server.take_requests().len(), 3);
}

#[test]
fn an_unreachable_hub_fails_at_once_with_a_remedy() {
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
            "use its path as `model`",
            "hint: if tiny-lab/tiny_esm is meant as a path, check it: no such path exists",
        ],
    );
    let adapter = bench.hub().resolve_adapter(&model(), None, &());
    contains(
        &adapter.unwrap_err().to_string(),
        &["copy the adapter's folder here and use its path as `adapter`"],
    );
}

#[test]
fn a_silent_hub_times_out() {
    let mut bench = Bench::new();
    bench.settings.stall_timeout = Duration::from_millis(200);
    bench.server.fail_content(WEIGHTS, &vec![Fault::Silence; 3]);
    contains(&bench.error(), &[WEIGHTS, "timeout"]);
    bench.resolve().unwrap();
}

#[test]
fn a_moving_branch_never_mixes_two_commits() {
    let bench = Bench::new();
    let next = |i: u32| format!("{i:040x}");
    bench.server.move_after("vocab.txt", &[&next(1)]);
    let local = bench.resolve().unwrap();
    assert_eq!(local.revision, Some(next(1)));
    assert_eq!(names(&local.path), ["config.json", WEIGHTS, "vocab.txt"]);

    let restless = Bench::new();
    restless
        .server
        .move_after("vocab.txt", &[&next(1), &next(2), &next(3), &next(4)]);
    contains(
        &restless.error(),
        &[REPO, "changed on the hub", "`revision`"],
    );
    restless.assert_no_weights();
}

#[test]
fn an_answer_not_from_a_hub_is_refused() {
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
