//! From a Hub on loopback into a cache of the standard layout, and out of it without a Hub.

use std::fs;
use std::path::Path;

use crate::server::bench::{
    Bench, CONFIG, Heard, REPO, VOCABULARY, WEIGHTS, contains, model, names, weights,
};
use crate::server::{COMMIT, sha256};
use esm_embed::hub::{LocalModel, ModelRef};

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
            "use its path as `model`",
        ],
    );
    let error = bench.hub().resolve(&model(), Some("v1"), &()).unwrap_err();
    contains(
        &error.to_string(),
        &[
            "esm-embed fetch tiny-lab/tiny_esm` (with `revision=v1`)",
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
    // The weights have the same content and are not transferred again.
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

    // Half a file under its final name, as left by tools that do not check.
    fs::write(&blob, &weights()[..80_000]).unwrap();
    bench.settings.offline = true;
    contains(&bench.error(), &[WEIGHTS, "ends at byte", "of only"]);
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
fn two_downloads_of_one_model_transfer_it_once() {
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
    // A file with a published name must be the published file.
    let pt = bench.cache.path().join("esm2_t6_8M_UR50D.pt");
    fs::write(&pt, "not it").unwrap();
    let error = hub.fetch(&ModelRef::Path(pt), None, &()).unwrap_err();
    contains(
        &error.to_string(),
        &["expected 30,099,493 bytes, found 6 bytes"],
    );
}

#[test]
fn the_report_lists_the_known_models_and_what_is_cached() {
    let bench = Bench::new();
    let hub = bench.hub();
    assert_eq!(hub.report().len(), 20);
    assert!(
        hub.report()
            .iter()
            .all(|model| model.complete.is_none() && model.bytes == 0)
    );
    let local = bench.resolve().unwrap();
    fs::write(bench.repo().join("blobs/x.incomplete"), "12345").unwrap();
    let report = hub.report();
    assert_eq!(report.len(), 21);
    assert_eq!(report[3].known.map(|known| known.short), Some(Some("650M")));
    let tiny = &report[20];
    assert_eq!(tiny.repo, REPO);
    assert_eq!(tiny.path, Some(bench.repo()));
    assert_eq!(tiny.bytes, local.bytes + 5);
    assert_eq!(tiny.unfinished_bytes, 5);
    assert_eq!(tiny.complete, Some(local));
}
