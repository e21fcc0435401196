//! Where records come from: several files, standard input, pipes, compressed or not.

use crate::bench::*;

const A: &str = ">a1 first\nMKTAYI\n>a2\nGAVLKK\nW\n";
const B: &str = ">b1\nPQ\n";

/// The output of `A` followed by `B`.
const INDEX: &str = "row\tid\tlength\tresidue_offset\tflags\tdescription\n\
                     0\ta1\t6\t0\t\tfirst\n\
                     1\ta2\t7\t6\t\t\n\
                     2\tb1\t2\t13\t\t\n";

/// A bench with the output `plain` of `A` and `B` from plain files.
fn bench() -> Bench {
    let bench = Bench::new();
    bench.write("a.fasta", A);
    bench.write("b.fasta", B);
    bench.embed("a.fasta b.fasta --model $MODEL --out plain");
    assert_eq!(bench.text("plain/index.tsv"), INDEX);
    bench
}

/// The table and matrices equal those from plain files.
fn assert_same(bench: &Bench, folder: &str) {
    for name in ["index.tsv", "mean.layer2.npy", "residues.layer2.npy"] {
        let bytes = |folder: &str| std::fs::read(bench.path(&format!("{folder}/{name}"))).unwrap();
        assert!(bytes(folder) == bytes("plain"), "{folder}/{name}");
    }
}

#[test]
fn several_files_are_one_input_in_their_order() {
    let bench = bench();
    let matrix = bench.matrix("plain/residues.layer2.npy");
    assert_eq!(matrix.dim(), (15, 32));
    bench.embed("b.fasta a.fasta --model $MODEL --out turned");
    let turned = bench.matrix("turned/residues.layer2.npy");
    assert_eq!(bits(&turned, 0..2), bits(&matrix, 13..15));
    assert_eq!(bits(&turned, 2..15), bits(&matrix, 0..13));
    assert_eq!(
        bench.recorded("turned", "/asked/inputs"),
        serde_json::json!(["b.fasta", "a.fasta"])
    );
}

#[test]
fn content_not_name_decides_the_compression() {
    let bench = bench();
    let both = format!("{A}{B}");
    let members = [gzip(A.as_bytes()), gzip(B.as_bytes())].concat();
    let frames = [zstd(A.as_bytes()), zstd(B.as_bytes())].concat();
    bench.write("gzip.fasta", gzip(both.as_bytes()));
    bench.write("members.fasta", members);
    bench.write("zstd.fasta.gz", zstd(both.as_bytes()));
    bench.write("frames.txt", frames);
    bench.write("plain.fasta.zst", &both);
    let out = |name: &str| format!("from-{}", name.replace('.', "-"));
    for name in [
        "gzip.fasta",
        "members.fasta",
        "zstd.fasta.gz",
        "frames.txt",
        "plain.fasta.zst",
    ] {
        bench.embed(&format!("{name} --model $MODEL --out {}", out(name)));
        assert_same(&bench, &out(name));
    }
    // run.json has the checksum of the text, whatever the compression.
    let digest = |name: &str| bench.recorded(&out(name), "/resolved/inputs/0/sha256");
    assert_eq!(digest("gzip.fasta"), digest("plain.fasta.zst"));
    assert_eq!(digest("frames.txt"), digest("plain.fasta.zst"));
}

#[test]
fn standard_input_only_and_among_files() {
    let bench = bench();
    let both = format!("{A}{B}").into_bytes();
    for (name, stdin) in [
        ("plain-in", both.clone()),
        ("gzip-in", gzip(&both)),
        ("zstd-in", zstd(&both)),
    ] {
        let ended = bench.pipe(&format!("- --model $MODEL --out {name} -q"), &stdin);
        assert_eq!((ended.code, &*ended.err), (0, ""));
        assert_same(&bench, name);
    }
    let ended = bench.pipe("a.fasta - --model $MODEL --out after -q", B.as_bytes());
    assert_eq!((ended.code, &*ended.err), (0, ""));
    assert_same(&bench, "after");
    let ended = bench.pipe("- b.fasta --model $MODEL --out before -q", A.as_bytes());
    assert_eq!((ended.code, &*ended.err), (0, ""));
    assert_same(&bench, "before");
}

#[test]
fn a_named_pipe_is_a_stream() {
    let bench = bench();
    let pipe = bench.path("pipe");
    make_pipe(&pipe);
    let writer = std::thread::spawn(move || std::fs::write(pipe, format!("{A}{B}")).unwrap());
    bench.embed("pipe --model $MODEL --out piped");
    writer.join().unwrap();
    assert_same(&bench, "piped");
}

#[test]
fn the_same_file_twice_is_every_record_twice() {
    let bench = bench();
    bench.embed("b.fasta b.fasta --model $MODEL --out twice");
    assert_eq!(
        bench.text("twice/index.tsv"),
        "row\tid\tlength\tresidue_offset\tflags\tdescription\n\
         0\tb1\t2\t0\t\t\n\
         1\tb1\t2\t2\tduplicate_of=0\t\n"
    );
}

#[test]
fn a_file_without_records_among_others_is_reported() {
    let bench = bench();
    bench.write("none.fasta", "\n\n");
    let ended = bench.run("a.fasta none.fasta b.fasta --model $MODEL --out gap -q");
    assert_eq!(
        (ended.code, &*ended.err),
        (0, "warning: none.fasta: holds no record\n")
    );
    assert_same(&bench, "gap");
}

/// A bad record late in a stream: what came before was computed, and nothing of it looks finished.
#[test]
fn a_stream_that_fails_late_leaves_nothing_that_looks_finished() {
    let bench = Bench::new();
    let mut text = String::new();
    for i in 0..3000 {
        text += &format!(">r{i}\n{}\n", sequence(i, 12));
    }
    text += ">bad\n>good\nMKT\n";
    let ended = bench.pipe("- --model $MODEL --out emb -q", text.as_bytes());
    assert_eq!((ended.code, &*ended.out), (1, ""));
    assert!(ended.err.starts_with("error: "), "{}", ended.err);
    assert!(
        ended.err.contains(
            "<stdin>, line 6001, record 3001 (bad): the sequence is empty\n\
             \x20 hint: correct the record\n\
             \x20 hint: use --on-invalid skip to leave such records out and list them in skipped.tsv"
        ),
        "{}",
        ended.err
    );
    assert_eq!(ended.err.lines().count(), 4, "{}", ended.err);
    assert_eq!(bench.names("emb"), [".partial"]);

    let again = bench.pipe("- --model $MODEL --out emb -q", b">a\nMKT\n");
    assert_eq!(
        (again.code, &*again.err),
        (
            1,
            "error: emb holds .partial, the working folder of a run that did not finish or is \
             still running\n  \
             hint: resume that run with --resume\n  \
             hint: choose another folder with --out\n"
        )
    );
    let skipping = "- --model $MODEL --out emb -q --force --on-invalid skip";
    let forced = bench.pipe(skipping, text.as_bytes());
    assert_eq!(forced.code, 3, "{}", forced.err);
    assert_eq!(
        bench.text("emb/skipped.tsv"),
        "file\tline\trecord\tid\treason\n-\t6001\t3001\tbad\tthe sequence is empty\n"
    );
    assert_eq!(bench.matrix("emb/mean.layer2.npy").dim(), (3001, 32));
    assert_eq!(
        bench.text("emb/index.tsv").lines().last(),
        Some("3000\tgood\t3\t36000\t\t")
    );
}

#[test]
fn an_empty_stream_is_an_error() {
    let bench = Bench::new();
    for stdin in [&b""[..], b"\n \n"] {
        let ended = bench.pipe("- --model $MODEL --out emb -q --force", stdin);
        assert_eq!(
            (ended.code, &*ended.err),
            (
                1,
                "error: <stdin>: holds no FASTA record; a record starts with a line \
                 `>name`\n\
                 \x20 hint: check that this is the right file and that it was written completely\n"
            )
        );
        assert_eq!(bench.names("emb"), [".partial"]);
    }
}
