//! `plot map` and `report`: their files, messages, reports and what they refuse.

use crate::bench::*;
use crate::common::fixture;
use esm_embed::sha256::sha256_of;

fn bench(options: &str) -> Bench {
    let bench = Bench::new();
    let records: Vec<(String, String)> = (0..12)
        .map(|n| (format!("P{n}"), sequence(n, 10 + n as usize)))
        .collect();
    bench.write(
        "in.fasta",
        fasta(records.iter().map(|(id, s)| (id.as_str(), s.as_str()))),
    );
    bench.embed(&format!("in.fasta --model $MODEL --out emb {options}"));
    bench
}

#[test]
fn a_map_has_a_page_a_table_and_a_bundle() {
    let bench = bench("--residues none");
    bench.write("t.tsv", "id\tfamily\nP1\ta\nP2\tb\n");
    let ended = bench.call("plot map emb --table t.tsv --color-by family --dims 2 --seed 7 --json");
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(
        ended
            .err
            .contains("warning: the table has no line for 10 records\n"),
        "{}",
        ended.err
    );
    let report: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(
        (&report["array"], &report["records"]),
        (&"mean.layer2".into(), &12.into())
    );
    assert_eq!(
        bench.names("emb-map"),
        ["map.html", "map.parquetbundle", "map.tsv"]
    );
    let table = bench.text("emb-map/map.tsv");
    assert!(
        table.starts_with("id\tlength\tumap2_1\tumap2_2\tpca_1\t"),
        "{table}"
    );
    assert_eq!(rows(&table).len(), 12);
    let page = bench.text("emb-map/map.html");
    assert!(page.contains("\"levels\":[\"a\",\"b\"]") && page.contains("\"seed\":\"7\""));
    assert!(
        !page.contains(bench.home().to_str().unwrap()),
        "a path of this machine"
    );

    // The same options, the same bytes; an existing map is kept.
    let before = bench.tree("emb-map");
    let again = "plot map emb --table t.tsv --color-by family --dims 2 --seed 7 -q";
    let ended = bench.call(again);
    assert_eq!(
        (ended.code, &*ended.err),
        (
            1,
            "error: emb-map/map.html already exists\n  hint: choose another place with --out\n  \
             hint: replace it with --force\n"
        )
    );
    assert_eq!(bench.call(&format!("{again} --force")).code, 0);
    assert!(bench.tree("emb-map") == before);
}

#[test]
fn the_picture_of_the_readme_is_what_its_commands_make() {
    let bench = Bench::new();
    for line in ["demo -q", "plot map emb-demo -q"] {
        let ended = bench.call(line);
        assert_eq!(ended.code, 0, "{}", ended.err);
    }
    let table = sha256_of(bench.bytes("emb-demo-map/map.tsv"));
    let picture = std::fs::read(fixture("map.png")).unwrap();
    let text = format!("tEXtmap.tsv SHA-256\0{table}").into_bytes();
    assert!(
        picture.windows(text.len()).any(|bytes| bytes == text),
        "fixtures/map.png is not of this map ({table}): make it again with fixtures/picture.py"
    );
}

#[test]
fn what_a_map_refuses() {
    let bench = bench("--pool none");
    let ended = bench.call("plot map emb -q");
    assert_eq!(
        (ended.code, &*ended.err),
        (
            1,
            "error: emb has no array with one row for each record\n  \
             hint: run again with --pool mean, into another folder\n"
        )
    );
    for line in [
        "plot map emb --dims 4",
        "plot map emb --neighbors 1",
        "plot map emb --color-by x",
    ] {
        assert_eq!(bench.call(line).code, 2, "{line}");
    }
    assert!(!bench.path("emb-map").exists());
}

#[test]
fn a_report_is_one_page() {
    let bench = bench("--include contacts");
    let ended = bench.call("report emb --json");
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(
        ended
            .err
            .ends_with("emb-report.html: 12 records, mean.layer2\n"),
        "{}",
        ended.err
    );
    let report: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(
        (&report["listed"], &report["maps"]),
        (&12.into(), &12.into())
    );
    let page = bench.text("emb-report.html");
    for part in [
        "<dt>Layers</dt><dd>2</dd>",
        "<dt>Arrays</dt><dd>mean.layer2, residues.layer2, contacts</dd>",
        "<dt>Input</dt><dd>in.fasta</dd>",
        "<li>12 records with 186 residues</li>\n<li>nothing unusual about any of them</li>",
        "\"histogram\":[[10,10,1],",
        "rows = np.load(\"emb/mean.layer2.npy\")",
        "residues = np.load(\"emb/residues.layer2.npy\", mmap_mode=\"r\")",
        "emb = open_folder(\"emb\")",
        "<dt>Long records</dt><dd>embedded whole</dd>",
    ] {
        assert!(page.contains(part), "{part}");
    }
    assert!(
        !page.contains(bench.home().to_str().unwrap()),
        "a path of this machine"
    );
    assert!(!page.contains("http://") && !page.contains("https://"));
    let ended = bench.call("report emb -q");
    assert!(
        ended
            .err
            .starts_with("error: emb-report.html already exists\n")
    );
    assert_eq!(bench.call("report emb -q --force").code, 0);
    assert!(bench.text("emb-report.html") == page);
}

#[test]
fn a_report_of_little_says_what_is_missing() {
    let bench = bench("--pool none");
    assert_eq!(bench.call("report emb --out a/b.html -q").code, 0);
    let page = bench.text("a/b.html");
    assert!(page.contains("The run wrote no array with one row for each record"));
    assert!(page.contains("The run wrote no contacts"));
    let ended = bench.call("report emb --array mean.layer2 --out c.html -q");
    assert!(
        ended
            .err
            .starts_with("error: emb has no array mean.layer2 with one row for each record\n")
    );

    let bench = Bench::new();
    bench.write("in.fasta", ">P1\n\n");
    assert_eq!(
        bench
            .run("in.fasta --model $MODEL --out emb --on-invalid skip -q")
            .code,
        3
    );
    assert_eq!(bench.call("report emb -q").code, 0);
    assert!(
        bench
            .text("emb-report.html")
            .contains("<li>1 record left out (listed in skipped.tsv)</li>")
    );
}

#[test]
fn equal_embeddings_have_no_variance_and_missing_numbers_no_value() {
    let bench = Bench::new();
    bench.write("in.fasta", ">P1\nMKTAY\n>P2\nMKTAY\n>P3\nMKTAY\n");
    bench.embed("in.fasta --model $MODEL --out emb --residues none");
    bench.write("t.tsv", "id\tscore\nP1\tNaN\nP2\t1.5\nP3\tNA\n");
    let ended = bench.call("plot map emb --table t.tsv");
    let summary = ended.err.lines().last().unwrap();
    assert_eq!(
        summary,
        "emb-map/map.html, emb-map/map.tsv, emb-map/map.parquetbundle: 3 records, mean.layer2"
    );
    let page = bench.text("emb-map/map.html");
    assert!(page.contains("\"numbers\":[null,1.5,null]"), "{page}");
}
