//! Which of cuBLASLt's algorithms are used.

use crate::bench::Bench;
use crate::command::*;
use crate::stand_in;
use esm_embed::sha256::sha256_of;

const OPTIONS: &str = "in.fasta --model $MODEL --layer 2";

fn bench() -> Bench {
    let bench = Bench::new();
    bench.write("in.fasta", text(&few_records()));
    bench
}

/// Algorithms that split sums, need a workspace, cannot be started, or whose bits depend on the
/// position of a row come before the one that is used.
#[test]
fn the_first_good_algorithm_is_used() {
    let bench = bench();
    embed(
        &bench,
        &[("STAND_IN_ALGORITHMS", "even")],
        &format!("{OPTIONS} --device cuda --out good"),
    );
    let offered = [("STAND_IN_ALGORITHMS", "split,greedy,broken,uneven,even")];
    embed(
        &bench,
        &offered,
        &format!("{OPTIONS} --device cuda --out chosen --check-device"),
    );
    assert!(bench.tree("chosen") == bench.tree("good"));
    let taken = bench.recorded("chosen", "/resolved/cuda/cards/0/algorithms");
    let taken = taken.as_object().unwrap();
    assert_eq!(taken.len(), 4);
    for (shape, algorithm) in taken {
        let algorithm = algorithm.as_str().unwrap();
        assert!(
            algorithm.starts_with("id 0, tile 20, stages 11"),
            "{shape}: {algorithm}"
        );
    }
}

/// With `-v`, a run reports how the algorithm of each product was chosen.
#[test]
fn a_verbose_run_reports_the_choices() {
    let bench = bench();
    let variables = [
        ("STAND_IN_ALGORITHMS", "split,uneven,broken,even,even,even"),
        ("STAND_IN_MULTIPROCESSORS", "36"),
    ];
    let line = format!("run {OPTIONS} --device cuda -v --out");
    let ended = run(&bench, &variables, &format!("{line} tested"));
    assert_eq!(ended.code, 0, "{}", ended.err);
    for shape in ["96 × 32", "32 × 32", "128 × 32", "32 × 128"] {
        let said = format!("algorithms for weights of {shape}: 5 offered, 5 tested, 3 passed (in ");
        let found = ended.err.lines().find(|line| line.contains(&said));
        let found = found.unwrap_or_else(|| panic!("{shape}: {}", ended.err));
        let times = found.split_once("; the chosen one takes ").unwrap().1;
        let (times, used) = times.split_once("; used: ").unwrap();
        for rows in ["for 256, ", "for 1,024, ", "for 4,096, ", "for 4,608 rows"] {
            assert!(times.contains(rows), "{times}");
        }
        assert!(used.starts_with("id 0, tile 20, stages 11"), "{used}");
    }
    let ended = run(&bench, &variables, &format!("{line} remembered"));
    assert_eq!(ended.code, 0, "{}", ended.err);
    let said =
        "algorithms for weights of 96 × 32: 5 offered, chosen in an earlier self-test; used: id 0";
    assert!(ended.err.contains(said), "{}", ended.err);
    let ended = run(
        &bench,
        &variables,
        &format!("{} plain", line.replace(" -v", "")),
    );
    assert!(
        !ended.err.contains("algorithms for weights"),
        "{}",
        ended.err
    );
}

/// An algorithm that gives other bits in small products, or cannot be started there, is replaced by
/// one that does not; if there is none, all products are slabs.
#[test]
fn small_products_have_the_bits_of_slabs() {
    let bench = bench();
    // Products of 4,096 rows.
    bench.write("in.fasta", text(&records()));
    let mean = |out: &str| std::fs::read(bench.path(&format!("{out}/mean.layer2.npy"))).unwrap();
    for (number, (offered, in_slabs_only)) in [
        ("even", false),
        ("other,tall,even", false),
        ("tall", true),
        ("other,broken", true),
    ]
    .into_iter()
    .enumerate()
    {
        let out = format!("o{number}");
        let variables = [
            ("STAND_IN_ALGORITHMS", offered),
            ("STAND_IN_MULTIPROCESSORS", "132"),
        ];
        let line = format!("{OPTIONS} --device cuda --out {out} --check-device");
        embed(&bench, &variables, &line);
        let cuda = bench.recorded(&out, "/resolved/cuda");
        assert_eq!(cuda["in_slabs_only"], in_slabs_only, "{offered}");
        assert_eq!(cuda["same_bits_in_any_batch"], true, "{offered}");
        let heights = serde_json::json!([256, 1024, 4096, 16_896]);
        assert_eq!(cuda["rows_of_a_product"], heights);
        assert!(mean(&out) == mean("o0"), "{offered}");
    }
    // A GPU with other slabs.
    let variables = [("STAND_IN_MULTIPROCESSORS", "14")];
    embed(
        &bench,
        &variables,
        &format!("{OPTIONS} --device cuda --out small"),
    );
    assert!(mean("small") == mean("o0"));
}

#[test]
fn a_product_without_an_algorithm_is_refused() {
    let bench = bench();
    for offered in ["split,greedy", "broken"] {
        let variables = [("STAND_IN_ALGORITHMS", offered)];
        let ended = run(
            &bench,
            &variables,
            &format!("run {OPTIONS} --device cuda --out emb -q"),
        );
        assert_eq!((ended.code, &*ended.out), (1, ""), "{}", ended.err);
        let why = "cuBLASLt has no algorithm for weights of 96 × 32";
        assert!(ended.err.contains(why), "{}", ended.err);
    }
}

/// If the bits of every algorithm depend on the position of a row, the run is refused, or reports that
/// each record has a separate pass.
#[test]
fn an_algorithm_whose_bits_depend_on_position_is_not_used() {
    let bench = bench();
    let variables = [("STAND_IN_ALGORITHMS", "uneven")];
    for dtype in ["f16", "bf16", "f32"] {
        let line = format!("run {OPTIONS} --device cuda --dtype {dtype} --out {dtype}");
        let ended = run(&bench, &variables, &line);
        assert!(ended.err.contains("bits"), "{dtype}: {}", ended.err);
        if ended.code == 0 {
            let same = bench.recorded(dtype, "/resolved/cuda/same_bits_in_any_batch");
            assert_eq!(same, false, "{dtype}");
        }
    }
}

/// An algorithm that passes the test of its product but makes the whole model fail is replaced by the
/// next one, for one product or for all.
#[test]
fn an_algorithm_that_fails_in_the_whole_model_is_replaced() {
    let bench = bench();
    let good = [("STAND_IN_ALGORITHMS", "even")];
    embed(
        &bench,
        &good,
        &format!("{OPTIONS} --device cuda --out good"),
    );
    for (number, offered) in [
        "restless@96,even",
        "restless@32,broken,even",
        "restless,even",
    ]
    .into_iter()
    .enumerate()
    {
        let variables = [("STAND_IN_ALGORITHMS", offered), ("STAND_IN_CARDS", "2")];
        // The second run reads it from the note of the first.
        for (device, extra) in [
            ("cuda", " --check-device"),
            ("cuda", ""),
            ("all", " --check-device"),
        ] {
            let out = format!("{number}{device}{}", extra.len());
            let line = format!("{OPTIONS} --device {device} --out {out}{extra}");
            embed(&bench, &variables, &line);
            assert!(
                bench.tree(&out) == bench.tree("good"),
                "{offered}, {device}"
            );
            let cuda = bench.recorded(&out, "/resolved/cuda");
            assert_eq!(cuda["same_bits_in_any_batch"], true, "{offered}");
            let taken = cuda["cards"][0]["algorithms"].as_object().unwrap();
            assert_eq!(taken.len(), 4);
            for (shape, algorithm) in taken {
                let is_even = algorithm.as_str().unwrap().starts_with("id 0,");
                assert!(is_even, "{offered}: {shape}: {algorithm}");
            }
        }
    }
}

/// The bits of the whole model are tested too. If they, or those of every algorithm, depend on the
/// batch, each record has a separate pass, or the run is refused on request.
#[test]
fn without_equal_bits_every_record_is_a_separate_batch() {
    let bench = bench();
    for offered in ["restless", "uneven"] {
        let variables = [("STAND_IN_ALGORITHMS", offered)];
        let line = format!("run {OPTIONS} --device cuda --out {offered}");
        let ended = run(&bench, &variables, &line);
        assert_eq!(ended.code, 0, "{}", ended.err);
        assert!(ended.err.contains("bits"), "{}", ended.err);
        assert_eq!(
            bench.recorded(offered, "/resolved/cuda/same_bits_in_any_batch"),
            false
        );
        let ended = run(&bench, &variables, &format!("{line}-2 --on-varying fail"));
        assert_eq!(ended.code, 1, "{}", ended.err);
        assert!(
            ended.err.contains("which --on-varying fail does not allow"),
            "{}",
            ended.err
        );
        assert!(!bench.path(&format!("{offered}-2/run.json")).exists());
    }
}

/// Changes what the self-tests of a run noted about own products: which is faster depends on the machine
/// of this test. Returns how many notes there were.
fn note_that_own_products_were_faster(bench: &Bench) -> usize {
    let notes = std::fs::read_dir(bench.path("hf/hub/.locks/esm-embed")).unwrap();
    let mut changed = 0;
    for note in notes {
        let path = note.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        if let Some((test, _)) = text.split_once("\npassed ")
            && test.contains("\ntest own product ")
        {
            let text = format!("{test}\npassed own 128\n");
            let check = sha256_of(&text);
            std::fs::write(&path, format!("{text}entry {check}\n")).unwrap();
            changed += 1;
        }
    }
    changed
}

/// The own products are used where they were faster than cuBLASLt; they give a record the same bits in any
/// batch, and numbers close to those of cuBLASLt.
#[test]
fn own_products_are_used_where_they_were_faster() {
    let bench = bench();
    let variables = |products| {
        [
            ("STAND_IN_ALGORITHMS", "even"),
            ("STAND_IN_MULTIPROCESSORS", "8"),
            ("STAND_IN_PRODUCTS", products),
        ]
    };
    let line = format!("{OPTIONS} --device cuda --out");
    embed(&bench, &variables("none"), &format!("{line} blas"));
    let ended = run(
        &bench,
        &variables("even"),
        &format!("run {line} timed --check-device -v"),
    );
    assert_eq!(ended.code, 0, "{}", ended.err);
    // An algorithm without a rival is not timed by itself.
    let said = "algorithms for weights of 96 × 32: 1 offered, 1 tested, 1 passed; with what follows, a slab \
                takes ";
    assert!(ended.err.contains(said), "{}", ended.err);
    assert_eq!(note_that_own_products_were_faster(&bench), 4);
    let ended = run(&bench, &variables("even"), &format!("run {line} own -v"));
    assert_eq!(ended.code, 0, "{}", ended.err);
    let said = "algorithms for weights of 96 × 32: 1 offered, chosen in an earlier self-test; used: \
                esm-embed";
    assert!(ended.err.contains(said), "{}", ended.err);
    embed(&bench, &variables("even"), &format!("{line} again"));
    embed(
        &bench,
        &variables("even"),
        &format!("{line} alone --deterministic"),
    );
    let two = [&variables("even")[..], &[("STAND_IN_CARDS", "2")]].concat();
    embed(&bench, &two, &format!("{OPTIONS} --device all --out both"));
    assert!(bench.tree("again") == bench.tree("own"));
    assert!(bench.tree("both") == bench.tree("own"));
    let mean = |out: &str| std::fs::read(bench.path(&format!("{out}/mean.layer2.npy"))).unwrap();
    assert!(mean("alone") == mean("own"));
    assert!(mean("blas") != mean("own"));
    for out in ["own", "again", "alone"] {
        let cuda = bench.recorded(out, "/resolved/cuda");
        assert_eq!(cuda["same_bits_in_any_batch"], true);
        assert_eq!(cuda["cublaslt"], 130_400);
        let taken = cuda["cards"][0]["algorithms"].as_object().unwrap();
        assert!(taken.values().all(|name| name == "esm-embed"), "{taken:?}");
    }
}

/// The own products take the place of algorithms whose bits depend on the batch, or of none at all.
#[test]
fn own_products_replace_algorithms_that_cannot_be_used() {
    let bench = bench();
    for (number, offered) in ["uneven", "broken", "restless"].into_iter().enumerate() {
        let variables = [
            ("STAND_IN_ALGORITHMS", offered),
            ("STAND_IN_MULTIPROCESSORS", "8"),
            ("STAND_IN_PRODUCTS", "even"),
        ];
        let out = format!("o{number}");
        embed(
            &bench,
            &variables,
            &format!("{OPTIONS} --device cuda --out {out} --check-device"),
        );
        let cuda = bench.recorded(&out, "/resolved/cuda");
        assert_eq!(cuda["same_bits_in_any_batch"], true, "{offered}");
        let taken = cuda["cards"][0]["algorithms"].as_object().unwrap();
        assert!(
            taken.values().all(|name| name == "esm-embed"),
            "{offered}: {taken:?}"
        );
        assert!(bench.tree(&out)["mean.layer2.npy"] == bench.tree("o0")["mean.layer2.npy"]);
    }
}

/// Own products that fail the test of their bits are not used beside cuBLASLt. Without it, every record
/// is a separate batch.
#[test]
fn own_products_pass_the_same_test() {
    let bench = bench();
    let usual = stand_in::library_path("13");
    let none = stand_in::folder().to_str().unwrap();
    for (libraries, offered, same) in [(&*usual, "even", true), (none, "even", false)] {
        let variables = [
            ("LD_LIBRARY_PATH", libraries),
            ("STAND_IN_ALGORITHMS", offered),
            ("STAND_IN_MULTIPROCESSORS", "8"),
            ("STAND_IN_PRODUCTS", "restless"),
        ];
        let line = format!("run {OPTIONS} --device cuda --out {same} --check-device");
        let ended = run(&bench, &variables, &line);
        assert_eq!(ended.code, 0, "{}", ended.err);
        let cuda = bench.recorded(&same.to_string(), "/resolved/cuda");
        assert_eq!(cuda["same_bits_in_any_batch"], same);
    }
}
