//! Files of an interrupted run are truncated, altered, removed or replaced before it is resumed.

use crate::bench::*;
use crate::case::*;
use esm_embed::output::{SLOT_BYTES, read_journal};
use std::fs;
use std::os::unix::fs::symlink;

const PACKED: &str = "- --layer 0,2 --pool mean,max --max-tokens 16";
const FILES: &str = "- --residues files --pool bos --max-tokens 16";

/// Records of 40 that are finished at least when the stream stalls; the last ones wait for more.
const DONE: usize = 20;

/// Damages the files of an interrupted run and resumes it; `kept` is what it must have kept.
fn mend(case: &Case, damage: impl Fn(&Bench), what: &str) -> u64 {
    case.interrupt(DONE);
    damage(&case.bench);
    let line = case.line.replace(" -q", "");
    let ended = case.bench.pipe(
        &format!("{line} --out emb --resume"),
        records(40).as_bytes(),
    );
    assert_eq!(ended.code, 0, "{what}: {}", ended.err);
    case.assert_whole(what);
    let line = ended
        .err
        .lines()
        .find(|line| line.ends_with(" already done"));
    line.unwrap().split(' ').next().unwrap().parse().unwrap()
}

fn edit(bench: &Bench, name: &str, change: impl Fn(&mut Vec<u8>)) {
    let path = bench.path(&format!("emb/.partial/{name}"));
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_journal_cut_anywhere() {
    let case = Case::new(PACKED, &records(40));
    for (cut, kept) in [
        (0, 0),
        (1, 0),
        (SLOT_BYTES - 1, 0),
        (SLOT_BYTES, 1),
        (7 * SLOT_BYTES + 5, 6),
        (7 * SLOT_BYTES + 23, 6),
    ] {
        // Row 3 repeats no earlier sequence, so rows 0 to 6 have a slot each.
        let found = mend(
            &case,
            |bench| edit(bench, "journal", |j| j.truncate(cut)),
            "cut",
        );
        assert!(found <= kept + 1 && found + 1 >= kept, "{cut}: {found}");
    }
    let found = mend(
        &case,
        |bench| fs::remove_file(bench.path("emb/.partial/journal")).unwrap(),
        "removed",
    );
    assert_eq!(found, 0);
}

#[test]
fn flipped_bits_in_the_journal() {
    let case = Case::new(PACKED, &records(40));
    let mut random = Random(0x5eed_0001);
    for _ in 0..8 {
        let bit = random.below(8 * 20 * SLOT_BYTES as u64) as usize;
        let flip = |bench: &Bench| {
            edit(bench, "journal", |journal| {
                journal[bit / 8] ^= 1 << (bit % 8);
                // This slot no longer proves anything; the others still do.
                let row = (bit / 8 / SLOT_BYTES) as u64;
                assert!(read_journal(0, journal).all(|(found, _)| found != row));
            });
        };
        mend(&case, flip, &format!("bit {bit}"));
    }
    let garbage = |bench: &Bench| edit(bench, "journal", |journal| journal.fill(0xa5));
    assert_eq!(mend(&case, garbage, "garbage"), 0);
}

#[test]
fn rows_changed_since_they_were_written() {
    let case = Case::new(PACKED, &records(40));
    let untouched = mend(&case, |_| {}, "nothing");
    assert!(untouched >= DONE as u64);
    let mut random = Random(0x5eed_0002);
    for name in [
        "mean.layer0.npy",
        "max.layer2.npy",
        "residues.layer0.npy",
        "residues.layer2.npy",
    ] {
        // One bit of a row that was written.
        let bit = 128 * 8 + random.below(10 * 128 * 8) as usize;
        let flip = |bench: &Bench| edit(bench, name, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
        mend(&case, flip, &format!("{name}, bit {bit}"));
        let cut = |bench: &Bench| edit(bench, name, |bytes| bytes.truncate(128 + 5 * 128 + 3));
        mend(&case, cut, &format!("{name}, cut"));
        let zero = |bench: &Bench| edit(bench, name, |bytes| bytes[200..1500].fill(0));
        mend(&case, zero, &format!("{name}, zeros"));
        let remove =
            |bench: &Bench| fs::remove_file(bench.path(&format!("emb/.partial/{name}"))).unwrap();
        assert_eq!(mend(&case, remove, &format!("{name}, removed")), 0);
        let longer = |bench: &Bench| edit(bench, name, |bytes| bytes.extend([7; 99_999]));
        mend(&case, longer, &format!("{name}, longer"));
    }
}

#[test]
fn a_changed_layer_of_a_stack_has_its_record_computed_again() {
    let options = "- --layer all --stack-layers --residues none --max-tokens 16";
    let case = Case::new(options, &records(40));
    assert!(mend(&case, |_| {}, "nothing") >= DONE as u64);
    let name = "mean.layers.npy";
    // Three layers of 32 numbers make a row of 384 bytes; this is the lowest bit of a number in each
    // layer of the second row.
    for layer in 0..3 {
        let byte = 128 + 384 + layer * 128 + 20;
        let flip = |bench: &Bench| edit(bench, name, |bytes| bytes[byte] ^= 1);
        mend(&case, flip, &format!("layer {layer}"));
    }
    // Within a row, between two layers.
    let cut = |bench: &Bench| edit(bench, name, |bytes| bytes.truncate(128 + 5 * 384 + 128));
    assert!(mend(&case, cut, "cut") <= 6);
}

#[test]
fn record_files_changed_since_they_were_written() {
    let case = Case::new(FILES, &records(40));
    let first = "residues.layer2/000000/r0.npy";
    for (what, change) in [
        ("cut", (|bytes| bytes.truncate(130)) as fn(&mut Vec<u8>)),
        ("longer", |bytes| bytes.push(0)),
        ("a bit", |bytes| bytes[140] ^= 4),
        ("its header", |bytes| bytes[60] ^= 1),
        ("empty", Vec::clear),
    ] {
        mend(&case, |bench| edit(bench, first, change), what);
    }
    let remove =
        |bench: &Bench| fs::remove_file(bench.path(&format!("emb/.partial/{first}"))).unwrap();
    mend(&case, remove, "removed");
    let strays = |bench: &Bench| {
        for name in [
            "000000/stray.npy",
            "000000/.r0.npy.swp",
            "999999/r0.npy",
            "junk/x",
        ] {
            let path = bench.path(&format!("emb/.partial/residues.layer2/{name}"));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "stray").unwrap();
        }
        bench.write("emb/.partial/thesis.doc", "stray");
        fs::create_dir_all(bench.path("emb/.partial/tmp/x")).unwrap();
    };
    mend(&case, strays, "strays");
}

/// Links planted in the working folder are not followed.
#[test]
fn planted_links_are_not_followed() {
    for (options, name, refused) in [
        (PACKED, "mean.layer0.npy", true),
        (PACKED, "journal", true),
        (PACKED, "begun.json", true),
        (PACKED, "lock", true),
        (PACKED, "index.tsv", false),
        (PACKED, "places", false),
        (PACKED, "run.json.new", false),
        (FILES, "residues.layer2", true),
        (FILES, "residues.layer2/000000", true),
        (FILES, "residues.layer2/000000/r0.npy", false),
    ] {
        let case = Case::new(options, &records(40));
        case.interrupt(DONE);
        let bench = &case.bench;
        let path = bench.path(&format!("emb/.partial/{name}"));
        let elsewhere = bench.path("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        bench.write("elsewhere/x", "theirs");
        if path.is_dir() {
            fs::rename(&path, elsewhere.join("folder")).unwrap();
            symlink(elsewhere.join("folder"), &path).unwrap();
        } else {
            let _ = fs::remove_file(&path);
            symlink(elsewhere.join("x"), &path).unwrap();
        }
        let before = bench.tree("elsewhere");
        let ended = case.run("--out emb --resume");
        assert_eq!(ended.code == 1, refused, "{name}: {}", ended.err);
        assert_eq!(bench.tree("elsewhere"), before, "{name}");
        if refused {
            assert!(
                ended.err.contains(&format!("emb/.partial/{name}")),
                "{}",
                ended.err
            );
            fs::remove_file(&path).unwrap();
            if name != "begun.json" {
                case.go_on(name);
            }
        } else {
            case.assert_whole(name);
        }
    }
}

#[test]
fn work_without_the_identity_of_its_run() {
    let case = Case::new(PACKED, &records(40));
    for (what, bytes) in [
        ("cut", Some("{\"format\": 1, \"repl")),
        ("another format", Some("{\"format\": 2}")),
        ("empty", Some("")),
        ("removed", None),
    ] {
        case.interrupt(DONE);
        let path = case.bench.path("emb/.partial/begun.json");
        match bytes {
            Some(bytes) => fs::write(&path, bytes).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        let before = case.bench.tree("emb");
        let ended = case.run("--out emb --resume");
        assert_eq!(ended.code, 1, "{what}");
        assert!(
            ended.err.contains(
                ", so the run cannot be resumed\n  \
                 hint: choose another folder with --out, or rename or remove this one\n"
            ),
            "{what}: {}",
            ended.err
        );
        assert!(
            ended.err.starts_with("error: emb/.partial"),
            "{}",
            ended.err
        );
        assert_eq!(case.bench.tree("emb"), before, "{what}");
        let forced = case.run("--out emb --force");
        assert_eq!((forced.code, &*forced.err), (0, ""), "{what}");
        case.assert_whole(what);
    }
}
