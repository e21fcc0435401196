//! The commands beside `run`: models, fetch, doctor, inspect. No network, no home.

use crate::bench::*;
use crate::common::fixture;
use crate::usage::assert_usage;
use esm_embed::ops::CpuPath;

#[test]
fn an_unknown_model_is_answered_with_the_nearest_and_all_names() {
    assert_usage("run a --out x --model 650MB", "did you mean `650M`?");
    assert_usage("fetch esm2_t33_650M", "did you mean `esm2_t33_650M_UR50D`?");
    assert_usage("verify bert", "esm1v_t33_650M_UR90S_5");
}

#[test]
fn without_network_the_error_says_what_to_run_where() {
    let bench = Bench::new();
    std::fs::write(bench.path("a.fasta"), ">a\nMK\n").unwrap();
    let cache = bench.path("hf/hub").display().to_string();
    for line in ["fetch 8M", "verify 8M", "run a.fasta --model 8M --out x"] {
        let ended = bench.call(line);
        assert_eq!((ended.code, ended.out.as_str()), (1, ""), "{line}");
        assert!(
            ended
                .err
                .starts_with("error: esm2_t6_8M_UR50D is not complete in the cache "),
            "{line}: {}",
            ended.err
        );
        for text in [
            cache.as_str(),
            "HF_HUB_OFFLINE forbids downloads",
            "\n  hint: run `esm-embed fetch esm2_t6_8M_UR50D` on a machine with network",
            "use its path as --model",
        ] {
            assert!(ended.err.contains(text), "{line}: {}", ended.err);
        }
        assert_eq!(ended.err.lines().count(), 3, "{}", ended.err);
    }
}

#[test]
fn a_hub_that_does_not_answer_is_named() {
    // Nothing listens on this port: it was free a moment ago.
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let endpoint = format!("http://127.0.0.1:{port}");
    let vars = [("HF_HUB_OFFLINE", "0"), ("HF_ENDPOINT", endpoint.as_str())];
    let ended = Bench::new().call_with("fetch 8M --progress json", &vars);
    assert_eq!((ended.code, ended.out.as_str()), (1, ""));
    for line in ended.err.lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(event["event"].is_string(), "{line}");
    }
    let last: serde_json::Value = serde_json::from_str(ended.err.lines().last().unwrap()).unwrap();
    assert_eq!(last["event"], "error");
    let text = last["text"].as_str().unwrap();
    assert!(text.starts_with(&endpoint), "{text}");
    assert!(
        last["hints"]
            .to_string()
            .contains("`esm-embed fetch esm2_t6_8M_UR50D`"),
        "{last}"
    );
}

#[test]
fn fetch_of_a_path_checks_it_and_prints_it() {
    let bench = Bench::new();
    let model = fixture("esm2_hd16").display().to_string();
    // A path needs no Hub, so broken settings do not matter.
    let vars = [("HF_ENDPOINT", "nonsense"), ("HF_TOKEN", "a b")];
    let ended = bench.call_with(&format!("fetch {model}"), &vars);
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert_eq!(ended.out, format!("{model}\n"));

    let revision = bench.call(&format!("fetch {model} --revision v1"));
    assert_eq!((revision.code, revision.out.as_str()), (1, ""));
    assert!(
        revision
            .err
            .contains("\n  hint: leave out --revision, or give a Hugging Face repository\n"),
        "{}",
        revision.err
    );

    let fake = bench.path("esm2_t6_8M_UR50D.pt");
    std::fs::write(&fake, "not the published weights").unwrap();
    let digest = bench.call("fetch ./esm2_t6_8M_UR50D.pt");
    assert_eq!((digest.code, digest.out.as_str()), (1, ""));
    assert!(
        digest
            .err
            .contains("expected 30,099,493 bytes, found 25 bytes"),
        "{}",
        digest.err
    );

    let folder = bench.path("broken");
    std::fs::create_dir(&folder).unwrap();
    std::fs::copy(
        fixture("esm2_hd16").join("config.json"),
        folder.join("config.json"),
    )
    .unwrap();
    let broken = bench.call("fetch ./broken");
    assert_eq!((broken.code, broken.out.as_str()), (1, ""));
    assert!(
        broken
            .err
            .starts_with("error: ./broken: is a folder without model.safetensors"),
        "{}",
        broken.err
    );
}

#[test]
fn models_lists_names_sizes_and_what_the_cache_holds() {
    let bench = Bench::new();
    let empty = bench.call("models");
    assert_eq!((empty.code, empty.err.as_str()), (0, ""));
    let lines: Vec<&str> = empty.out.lines().collect();
    assert_eq!(
        lines[0],
        "MODEL                    SHORT PARAMETERS LAYERS WIDTH DOWNLOAD  LICENCE     IN THE CACHE"
    );
    assert_eq!(
        lines[4],
        "esm2_t33_650M_UR50D      650M     651.0 M     33  1280   2.6 GB  MIT         no"
    );
    assert_eq!(
        lines[12],
        "esm1v_t33_650M_UR90S_5   -        652.4 M     33  1280   2.6 GB  MIT         no"
    );
    assert_eq!(
        lines[18],
        "dplm_3b                  -          2.8 B     36  2560  11.4 GB  Apache-2.0  no"
    );
    assert_eq!(
        lines[20],
        "saprot_650m              -        651.6 M     33  1280   2.6 GB  MIT         no"
    );
    assert_eq!(lines[22], "Use it for:");
    assert!(
        lines[26].starts_with("  ESM C   embeddings of any protein"),
        "{}",
        lines[26]
    );
    assert_eq!(
        lines[30],
        format!("cache: {}", bench.path("hf/hub").display())
    );

    let repo = bench.path("hf/hub/models--facebook--esm2_t6_8M_UR50D");
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let snapshot = repo.join("snapshots").join(commit);
    std::fs::create_dir_all(&snapshot).unwrap();
    std::fs::create_dir_all(repo.join("refs")).unwrap();
    std::fs::write(repo.join("refs/main"), commit).unwrap();
    let held = || bench.call("models").out.lines().nth(1).unwrap().to_owned();
    assert!(held().contains("  unusable, 0 bytes: "), "{}", held());
    assert!(held().ends_with(" (config.json is missing)"), "{}", held());
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(fixture("esm2_hd16").join(file), snapshot.join(file)).unwrap();
    }
    assert!(
        held().ends_with(&format!(
            "{} (another model: 2 layers of 32 with 2 heads)",
            repo.display()
        )),
        "{}",
        held()
    );
}

#[test]
fn models_and_doctor_work_with_broken_settings() {
    let bench = Bench::new();
    let vars = [("HF_ENDPOINT", "ftp://x")];
    let models = bench.call_with("models", &vars);
    assert_eq!(models.code, 0, "{}", models.err);
    assert!(models.out.contains("esm2_t33_650M_UR50D      650M"));
    assert!(
        models.out.contains("\ncache: HF_ENDPOINT is `ftp://x`"),
        "{}",
        models.out
    );
    let doctor = bench.call_with("doctor", &vars);
    assert_eq!(doctor.code, 0, "{}", doctor.err);
    assert!(
        doctor.out.contains("HF_ENDPOINT is `ftp://x`"),
        "{}",
        doctor.out
    );
}

#[test]
fn doctor_reports_and_keeps_the_token_to_itself() {
    let bench = Bench::new();
    let vars = [("HF_TOKEN", "hf_verysecret"), ("SLURM_CPUS_PER_TASK", "1")];
    let ended = bench.call_with("doctor", &vars);
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    for text in [
        "\n  GPU                    none: no ",
        "\n  CPU path               ",
        "\n  choices of --cpu-path  ",
        "\n  SLURM_CPUS_PER_TASK    1\n",
        "\n  threads                1\n",
        "\n  memory                 ",
        "\n  state                  does not exist yet; the first download creates it\n",
        "\n  access token           set\n",
        "\n  HF_HUB_OFFLINE         1\n",
        "\n  reachable              not tested: HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set\n",
    ] {
        assert!(ended.out.contains(text), "{text}: {}", ended.out);
    }
    assert!(!ended.out.contains("verysecret"));

    // Exactly those that this processor can run.
    let (_, rest) = ended.out.split_once("choices of --cpu-path").unwrap();
    let listed = rest.lines().next().unwrap().trim();
    for path in CpuPath::ALL {
        let is_listed = listed
            .split(", ")
            .any(|one| one.split(' ').next() == Some(&path.to_string()));
        assert_eq!(is_listed, path.is_available(), "{path}: {listed}");
    }

    let vars = [("ESM_EMBED_THREADS", "3"), ("SLURM_CPUS_PER_TASK", "1")];
    let defaults = bench.call_with("doctor", &vars).out;
    for line in [
        "\n  threads                3\n",
        "\n  ESM_EMBED_THREADS      3\n",
    ] {
        assert!(defaults.contains(line), "{line}: {defaults}");
    }

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let vars = [("HF_HUB_OFFLINE", "0"), ("HF_ENDPOINT", endpoint.as_str())];
    let online = bench.call_with("doctor", &vars);
    assert_eq!(online.code, 0);
    assert!(online.out.contains("access token           not set\n"));
    assert!(
        online.out.ends_with("  reachable              yes\n"),
        "{}",
        online.out
    );
}

#[test]
fn inspect_of_something_that_is_not_an_output_folder() {
    let bench = Bench::new();
    std::fs::create_dir(bench.path("empty")).unwrap();
    let ended = bench.call("inspect empty");
    assert_eq!((ended.code, ended.err.as_str()), (1, ""));
    assert_eq!(
        ended.out,
        "empty: not complete\nproblems: 1\n  run.json: is missing: this is not an output folder, or its \
         run did not finish\n"
    );
    let missing = bench.call("inspect nowhere --check");
    assert_eq!((missing.code, missing.out.as_str()), (1, ""));
    assert_eq!(
        missing.err,
        "error: nowhere does not exist\n  hint: give the folder that a run wrote\n"
    );
}

#[test]
fn a_file_is_not_mistaken_for_a_folder() {
    let bench = Bench::new();
    std::fs::write(bench.path("x.fasta"), ">a\nMKT\n").unwrap();
    for (line, says) in [
        (
            "inspect x.fasta",
            "x.fasta is not a folder\n  hint: give the folder that a run wrote\n",
        ),
        (
            "merge x.fasta --out q",
            "x.fasta is not a folder\n  hint: give the folders that `run --shard` wrote\n",
        ),
    ] {
        let ended = bench.call(line);
        assert_eq!((ended.code, ended.err), (1, format!("error: {says}")));
    }
}
