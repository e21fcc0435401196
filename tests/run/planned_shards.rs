//! Shards of a plan: their merge, the plan that they need, and the file that was planned.

use crate::bench::*;
use crate::plan::{json, planned, small};
use crate::shards::{self, OPTIONS, assert_same, embed_each, merge};
use std::time::{Duration, SystemTime};

const PLANNED: &str = "--model $MODEL --on-invalid skip --unknown error --long window:60:20 -q";

/// Two files with everything that shards can get wrong: repeated sequences, records that are skipped
/// or cannot be read, line ends and byte order marks of all kinds, blank lines, empty ids.
fn texts() -> [String; 2] {
    let [mut first, mut second] = shards::texts();
    first = format!("\u{feff}\n{first}>dos\r\nMKV\r\n\r\n>comment\nMK\n;no\nGG\n>mac\rMAC\r\r");
    second += &fasta([("P1", "MKW")]);
    [first, second]
}

/// In the blocks of bgzip, each with this many bytes.
fn bgzip(text: &[u8], bytes: usize) -> Vec<u8> {
    let mut all = Vec::new();
    for block in text.chunks(bytes).chain([&b""[..]]) {
        let gzip = gzip(block);
        // The header of ten bytes gets a field BC with the bytes of the block less one.
        let size = (gzip.len() + 7) as u16;
        all.extend([0x1f, 0x8b, 8, 4]);
        all.extend(&gzip[4..10]);
        all.extend([6, 0, b'B', b'C', 2, 0]);
        all.extend(size.to_le_bytes());
        all.extend(&gzip[10..]);
    }
    all
}

/// Embeds every shard of a plan and returns their folders.
fn embed(bench: &Bench, plan: &str, of: usize, more: &str) -> Vec<String> {
    embed_each(
        bench,
        &format!("--plan {plan}"),
        &format!("{plan}-"),
        of,
        more,
    )
}

#[test]
fn shards_of_a_plan_merge_to_the_bytes_of_a_single_run() {
    for residues in ["packed", "files"] {
        let bench = Bench::in_memory();
        let [first, second] = texts();
        bench.write("a.fasta", &first);
        bench.write("b.fasta", &second);
        let more = format!("--residues {residues} --out-dtype f16");
        let ended = bench.run(&format!("a.fasta b.fasta --out whole {OPTIONS} {more}"));
        assert_eq!(ended.code, 3, "{}", ended.err);
        let whole = bench.tree("whole");
        assert_eq!(bench.recorded("whole", "/counts/duplicates"), 3);
        assert_eq!(rows(&bench.text("whole/skipped.tsv")).len(), 4);
        for of in [1, 2, 3, 5, 20] {
            let dir = format!("plan{of}");
            planned(
                &bench,
                &format!("a.fasta b.fasta --shards {of} --out {dir} {PLANNED}"),
            );
            assert_eq!(bench.names(&dir), ["index", "plan.json", "shards.tsv"]);
            let shards = embed(&bench, &dir, of, &more);
            // Equal sequences are in one shard: no sequence is computed twice.
            let distinct = shards.iter().map(|shard| {
                let distinct = bench.recorded(shard, "/counts/unique_sequences");
                distinct.as_u64().unwrap()
            });
            let of_whole = bench.recorded("whole", "/counts/unique_sequences");
            assert_eq!(Some(distinct.sum::<u64>()), of_whole.as_u64());
            let out = format!("merged{of}");
            let ended = merge(&bench, &format!("{} --out {out} -q", shards.join(" ")));
            assert_eq!(ended.code, 0, "{}", ended.err);
            assert_same(
                &whole,
                &bench.tree(&out),
                &format!("{residues}, {of} shards"),
            );
        }
    }
}

#[test]
fn bgzip_is_read_by_its_blocks_and_other_compression_is_written_again() {
    let bench = Bench::in_memory();
    let [first, second] = texts();
    bench.write("a.fasta", &first);
    bench.write("b.fasta", &second);
    let plain = "a.fasta b.fasta";
    let ended = bench.run(&format!("{plain} --out whole {OPTIONS}"));
    assert_eq!(ended.code, 3, "{}", ended.err);
    let index = |dir: &str| {
        (
            bench.bytes(&format!("{dir}/index")),
            bench.text(&format!("{dir}/shards.tsv")),
        )
    };
    planned(&bench, &format!("{plain} --shards 3 --out plain {PLANNED}"));
    for (name, a, b, files) in [
        (
            "blocks",
            bgzip(first.as_bytes(), 37),
            bgzip(second.as_bytes(), 1 << 15),
            5,
        ),
        ("again", gzip(first.as_bytes()), zstd(second.as_bytes()), 5),
        (
            "mixed",
            first.clone().into_bytes(),
            bgzip(second.as_bytes(), 100),
            4,
        ),
    ] {
        let before = (bench.bytes("a.fasta"), bench.bytes("b.fasta"));
        bench.write("a.fasta", a);
        bench.write("b.fasta", b);
        let rewrite = if name == "again" { "--rewrite" } else { "" };
        planned(
            &bench,
            &format!("{plain} --shards 3 --out {name} {PLANNED} {rewrite}"),
        );
        assert_eq!(bench.names(name).len(), files, "{name}");
        assert!(index(name) == index("plain"), "{name}");
        let digest = |dir: &str| json(&bench, dir)["digest"].clone();
        assert_eq!(digest(name), digest("plain"), "{name}");
        if name == "again" {
            assert_eq!(bench.text("again/input-1.fasta"), first);
            // The tasks read the copies.
            bench.write("a.fasta", "");
        }
        let shards = embed(&bench, name, 3, "").join(" ");
        let ended = merge(&bench, &format!("{shards} --out {name}-merged -q"));
        assert_eq!(ended.code, 0, "{}", ended.err);
        assert_same(
            &bench.tree("whole"),
            &bench.tree(&format!("{name}-merged")),
            name,
        );
        bench.write("a.fasta", before.0);
        bench.write("b.fasta", before.1);
    }
}

const RUN: &str = "--plan plan --model $MODEL --residues none -q";

#[test]
fn a_run_needs_the_shards_and_settings_of_its_plan() {
    let bench = small();
    let refused = |more: &str, error: &str| assert_fails(&bench, &format!("{RUN} {more}"), error);
    refused(
        "--shard 1/3",
        "--shard 1/3: the plan in plan has 2 shards\n  hint: use --shard 1/2",
    );
    refused(
        "--shard 1/2 --gaps drop",
        "the plan in plan was made with --gaps keep, and this run has --gaps drop\n  \
         hint: use --gaps keep, or plan again with --gaps drop",
    );
    refused(
        "--shard 1/2 --on-duplicate-id fail",
        "the plan in plan was made with --on-duplicate-id warn, and this run has --on-duplicate-id \
         fail\n  hint: use --on-duplicate-id warn, or plan again with --on-duplicate-id fail",
    );
    refused(
        "--shard 1/2 in.fasta in.fasta",
        "the plan in plan has 1 FASTA file, but 2 are given\n  hint: give every planned file in the \
         order of the plan, or none of them",
    );
    let ended = bench.run(&format!("{RUN} --out refused"));
    assert_eq!(ended.code, 2, "{}", ended.err);
    assert!(ended.err.contains("--shard"), "{}", ended.err);
    let ended = bench.run(&format!("- {RUN} --shard 1/2 --out refused"));
    assert_eq!(ended.code, 2, "{}", ended.err);
    // A plan that compared the identifiers serves a run that does not ask for it.
    planned(
        &bench,
        "in.fasta --shards 2 --out plan --force --on-duplicate-id fail -q",
    );
    bench.embed(&format!("{RUN} --shard 0/2 --out last"));
    assert_eq!(bench.recorded("last", "/shard/number"), 2);
    let forecast = bench.run(&format!("{RUN} --shard 1/2 --out first --dry-run"));
    assert!(
        forecast.out.contains("shard         1 of 2\n"),
        "{}",
        forecast.out
    );
    assert!(
        forecast.out.contains("records       6\n"),
        "{}",
        forecast.out
    );
}

#[test]
fn a_run_records_its_plan_and_is_resumed_with_it_only() {
    let bench = small();
    bench.embed(&format!("{RUN} --shard 1/2 --out first"));
    let digest = json(&bench, "plan")["digest"].clone();
    assert_eq!(bench.recorded("first", "/shard/plan"), digest);
    let before = bench.tree("first");
    let complete = bench.run(&format!("{RUN} --shard 1/2 --out first --resume"));
    assert_eq!((complete.code, &*complete.err), (0, ""));
    let digest = digest.as_str().unwrap();
    let without = "in.fasta --model $MODEL --residues none -q --shard 1/2 --out first --resume";
    let ended = bench.run(without);
    let difference = format!("the digest of the plan was {digest} and is none");
    assert!(ended.err.contains(&difference), "{}", ended.err);
    planned(
        &bench,
        "in.fasta --shards 2 --long truncate:9 --out plan --force -q",
    );
    let other = json(&bench, "plan")["digest"].as_str().unwrap().to_owned();
    let ended = bench.run(&format!(
        "{RUN} --shard 1/2 --long truncate:9 --out first --resume"
    ));
    let difference = format!("the digest of the plan was {digest} and is {other}");
    assert!(ended.err.contains(&difference), "{}", ended.err);
    assert!(bench.tree("first") == before);
    // Shards with and without a plan, or of two plans, are not of one run.
    bench.embed("in.fasta --model $MODEL --residues none --shard 2/2 --out second");
    let ended = merge(&bench, "first second --out merged -q");
    assert!(
        ended.err.contains("the digest of the plan"),
        "{}",
        ended.err
    );
}

const OTHER: &str = "\n  hint: plan again\n  hint: if the planned file was moved, give its new path: \
                     `esm-embed run NEW.fasta --plan …`";

#[test]
fn another_file_than_the_planned_one_is_refused() {
    let bench = small();
    let text = bench.text("in.fasta");
    let bytes = text.len();
    for other in [format!("{text}>more\nMK\n"), text[..bytes - 1].to_owned()] {
        bench.write("in.fasta", &other);
        let home = bench.home().display();
        let found = other.len();
        let error = format!(
            "{home}/in.fasta: is not the planned file: it has {found} bytes, and had {bytes} when it \
             was planned{OTHER}"
        );
        assert_fails(&bench, &format!("{RUN} --shard 1/2"), &error);
    }
    // Of the same size: whichever shard has the record notices it.
    let last = sequence(11, 19);
    let changes = [
        (
            text.replace(">r11", ">R11"),
            "the record there is another one, or has changed",
        ),
        (
            text.replace(&last, &last.replace('A', "G")),
            "the record there is another one, or has changed",
        ),
        (
            text.replace("\n>r11", "A\nr11"),
            "no record starts where one did",
        ),
        (
            text.replace(&last, &format!("{}\n>\n", &last[3..])),
            "the record does not end where it did",
        ),
    ];
    for (other, what) in changes {
        assert_eq!(other.len(), bytes, "{what}");
        assert_ne!(other, text);
        bench.write("in.fasta", &other);
        let ended: Vec<Ended> = (1..=2)
            .map(|i| bench.run(&format!("{RUN} --shard {i}/2 --out s{i} --force")))
            .collect();
        let failed: Vec<&Ended> = ended.iter().filter(|ended| ended.code == 1).collect();
        let expected = format!("error: in.fasta, line 23: is not the planned file: {what}\n");
        assert!(
            failed.iter().any(|ended| ended.err.starts_with(&expected)),
            "{ended:?}"
        );
        assert!(
            failed.len() == 1 || what.starts_with("no record"),
            "{ended:?}"
        );
    }
    bench.write("in.fasta", &text);
    for i in 1..=2 {
        bench.embed(&format!("{RUN} --shard {i}/2 --out s{i} --force"));
    }
}

#[test]
fn a_file_that_was_copied_moved_or_touched_is_the_planned_one() {
    let bench = small();
    bench.embed("in.fasta --model $MODEL --residues none --out whole");
    let file = std::fs::File::options()
        .append(true)
        .open(bench.path("in.fasta"))
        .unwrap();
    // The clock of another machine: in the past, and in the future.
    let hour = Duration::from_secs(3600);
    for (i, time) in [
        (1, SystemTime::UNIX_EPOCH + hour),
        (2, SystemTime::now() + hour),
    ] {
        file.set_modified(time).unwrap();
        let ended = bench.run(&format!(
            "{} --shard {i}/2 --out s{i}",
            RUN.replace(" -q", "")
        ));
        assert_eq!(ended.code, 0, "{}", ended.err);
        let note = "in.fasta: was written or copied after it was planned; its size is the same, and \
                    each record is compared with the plan\n";
        assert!(ended.err.contains(note), "{}", ended.err);
    }
    let merged = merge(&bench, "s1 s2 --out merged -q");
    assert_eq!(merged.code, 0, "{}", merged.err);
    assert_same(&bench.tree("whole"), &bench.tree("merged"), "touched");
    // From another folder, and from another place.
    std::fs::create_dir(bench.path("deep")).unwrap();
    let mut command = bench.command();
    let line = RUN.replace("--plan plan", "--plan ../plan");
    command.current_dir(bench.path("deep")).arg("run");
    command.args(
        format!("{line} --shard 1/2 --out s1")
            .split(' ')
            .map(expand),
    );
    let deep = ended(&mut command);
    assert_eq!((deep.code, &*deep.err), (0, ""));
    assert_same(
        &bench.tree("s1"),
        &bench.tree("deep/s1"),
        "from another folder",
    );
    std::fs::rename(bench.path("in.fasta"), bench.path("deep/moved.fasta")).unwrap();
    let gone = bench.run(&format!("{RUN} --shard 1/2 --out s3"));
    let error = format!(
        "error: {}/in.fasta: was planned and cannot be opened: ",
        bench.home().display()
    );
    assert!(gone.err.starts_with(&error), "{}", gone.err);
    assert!(
        gone.err
            .contains("hint: if it was moved, give its new path"),
        "{}",
        gone.err
    );
    bench.embed(&format!("deep/moved.fasta {RUN} --shard 1/2 --out s3"));
    // Plan and file together: where the file was is empty, and it is where it was, seen from the plan.
    std::fs::create_dir(bench.path("all")).unwrap();
    std::fs::rename(bench.path("deep/moved.fasta"), bench.path("all/in.fasta")).unwrap();
    std::fs::rename(bench.path("plan"), bench.path("all/plan")).unwrap();
    for (input, out) in [("", "s4"), ("in.fasta", "s5")] {
        let mut command = bench.command();
        let line = format!("{RUN} --shard 1/2 --out ../{out} {input}");
        command.current_dir(bench.path("all")).arg("run");
        command.args(line.split_whitespace().map(expand));
        let all = ended(&mut command);
        assert_eq!((all.code, &*all.err), (0, ""));
        assert_same(&bench.tree("s1"), &bench.tree(out), "moved together");
    }
    assert_eq!(
        bench.bytes("s3/mean.layer2.npy"),
        bench.bytes("s1/mean.layer2.npy")
    );
    assert_eq!(bench.bytes("s3/index.tsv"), bench.bytes("s1/index.tsv"));
}

#[test]
fn a_copy_in_the_plan_that_is_lost_or_changed_is_named() {
    let bench = small();
    let text = bench.text("in.fasta");
    bench.write("in.fasta", gzip(text.as_bytes()));
    planned(
        &bench,
        "in.fasta --shards 2 --out plan --rewrite --force -q",
    );
    let refused = |what: &str| {
        let error = format!(
            "error: plan/input-1.fasta: {what}\n  hint: make the plan again with --force\n"
        );
        let run = |i| bench.run(&format!("{RUN} --shard {i}/2 --out refused-{i} --force"));
        let ended = [1, 2].map(run);
        assert!(
            ended.iter().any(|ended| ended.err.starts_with(&error)),
            "{what}: {ended:?}"
        );
    };
    let bytes = text.len();
    bench.write("plan/input-1.fasta", &text[1..]);
    refused(&format!(
        "has {} bytes, but the plan has {bytes}",
        bytes - 1
    ));
    bench.write("plan/input-1.fasta", text.replacen(">r0", ">R0", 1));
    refused("line 1: the record there is another one, or has changed");
    std::fs::remove_file(bench.path("plan/input-1.fasta")).unwrap();
    refused("cannot be opened: No such file or directory (os error 2)");
}
