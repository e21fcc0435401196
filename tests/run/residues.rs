//! What counts as a residue: gaps, masks, invisible characters; and sequences that are not proteins.

use crate::bench::*;

/// Flags of all records of an output.
fn flags(bench: &Bench, folder: &str) -> Vec<String> {
    let index = bench.text(&format!("{folder}/index.tsv"));
    rows(&index).iter().map(|row| row[4].to_owned()).collect()
}

const ALIGNED: &str = ">s1\nGAVLI--MFWP..\n>s2\nG-VLIKKMFWPST\n>s3 no gaps\nGAVLIMFWP\n";

#[test]
fn gaps_are_kept_counted_and_warned_about() {
    let bench = Bench::new();
    bench.write("in.fasta", ALIGNED);
    let ended = bench.run("in.fasta --model $MODEL --out emb -q");
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert_eq!(
        ended.err,
        "warning: 2 of 3 records have gaps (- or .), 5 in total; the first is in.fasta, \
         line 1, record 1 (s1). ESM was trained on sequences without gaps, and each gap is embedded \
         as a token with a row\n\
         \x20 hint: use --gaps drop to remove gaps before embedding\n"
    );
    assert_eq!(flags(&bench, "emb"), ["gaps=4", "gaps=1", ""]);
    assert_eq!(bench.recorded("emb", "/counts/gaps"), 5);
    assert_eq!(bench.recorded("emb", "/asked/gaps"), "keep");
    assert_eq!(bench.matrix("emb/residues.layer2.npy").dim(), (35, 32));
    // From a stream, this is known only at the end.
    let ended = bench.pipe("- --model $MODEL --out stream -q", ALIGNED.as_bytes());
    assert!(
        ended.err.starts_with(
            "warning: 2 of 3 records have gaps (- or .), 5 in total; the first is \
             <stdin>, line 1, record 1 (s1). "
        ),
        "{}",
        ended.err
    );
}

#[test]
fn dropped_gaps_leave_the_embedding_of_the_residues() {
    let bench = Bench::new();
    bench.write("in.fasta", ALIGNED);
    bench.write("plain.fasta", ALIGNED.replace(['-', '.'], ""));
    for residues in ["packed", "files"] {
        let options = format!("--model $MODEL --residues {residues} -q");
        bench.embed(&format!(
            "in.fasta --gaps drop --out drop.{residues} {options}"
        ));
        bench.embed(&format!("plain.fasta --out plain.{residues} {options}"));
        let mut dropped = bench.tree(&format!("drop.{residues}"));
        let mut plain = bench.tree(&format!("plain.{residues}"));
        for files in [&mut dropped, &mut plain] {
            files.remove("run.json");
            files.remove("index.tsv");
        }
        assert!(dropped == plain, "{residues}");
    }
    let folder = "drop.packed";
    assert_eq!(
        flags(&bench, folder),
        ["gaps=4", "gaps=1", "duplicate_of=0"]
    );
    assert_eq!(
        rows(&bench.text(&format!("{folder}/index.tsv")))
            .iter()
            .map(|row| row[2].to_owned())
            .collect::<Vec<_>>(),
        ["9", "12", "9"]
    );
    assert_eq!(bench.recorded(folder, "/asked/gaps"), "drop");
    assert_eq!(bench.recorded(folder, "/resolved/gaps"), "drop");
    assert_eq!(bench.recorded(folder, "/counts/gaps"), 5);
}

#[test]
fn a_stop_before_gaps_is_still_the_end() {
    let bench = Bench::new();
    bench.write("in.fasta", ">x\nMKTAY*--\n>y\nMK-TAY-\n*.\n");
    let ended = bench.run("in.fasta --model $MODEL --gaps drop --residues none --out emb");
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert_eq!(
        bench
            .text("emb/index.tsv")
            .lines()
            .skip(1)
            .collect::<Vec<_>>(),
        [
            "0\tx\t5\t0\tgaps=2,stop\t",
            "1\ty\t5\t5\tgaps=3,stop,duplicate_of=0\t"
        ]
    );
    for line in [
        "warning: 2 records ended in *, which was dropped\n",
        "5 gaps (- and .) were dropped\n",
        "emb: 2 records (1 distinct sequence), 10 residues (no residue rows)\n",
    ] {
        assert!(ended.err.contains(line), "{line}: {}", ended.err);
    }
    assert!(!ended.err.contains("<unk>"), "{}", ended.err);
}

#[test]
fn a_run_with_gaps_is_not_resumed_without_them() {
    let bench = Bench::new();
    bench.write("in.fasta", ALIGNED);
    bench.run("in.fasta --model $MODEL --out emb -q");
    let before = bench.tree("emb");
    let ended = bench.run("in.fasta --model $MODEL --out emb --gaps drop --resume -q");
    assert_eq!(ended.code, 1);
    assert!(
        ended.err.contains("--gaps was keep and is drop"),
        "{}",
        ended.err
    );
    assert_eq!(bench.tree("emb"), before);
}

#[test]
fn a_record_of_gaps_only_is_invalid() {
    let bench = Bench::new();
    let text = ">a\nMKT\n>row of an alignment\n......\n---*--\n>b\n-\n";
    bench.write("in.fasta", text);
    for gaps in ["keep", "drop"] {
        assert_fails(
            &bench,
            &format!("in.fasta --model $MODEL --gaps {gaps}"),
            "in.fasta, line 3, record 2 (row): the sequence holds only gaps\n\
             \x20 hint: correct the record\n\
             \x20 hint: use --on-invalid skip to leave such records out and list them in skipped.tsv",
        );
        let line =
            format!("in.fasta --model $MODEL --gaps {gaps} --out {gaps} --on-invalid skip -q");
        assert_eq!(bench.run(&line).code, 3);
        assert_eq!(
            bench.text(&format!("{gaps}/skipped.tsv")),
            "file\tline\trecord\tid\treason\n\
             in.fasta\t3\t2\trow\tthe sequence holds only gaps\n\
             in.fasta\t6\t3\tb\tthe sequence holds only gaps\n"
        );
        assert_eq!(bench.recorded(gaps, "/counts/gaps"), 0);
    }
}

#[test]
fn masks_are_flagged_and_reported() {
    let bench = Bench::new();
    bench.write("in.fasta", ">a\nMK<mask>T<MASK>\n>b\nMKT\n");
    let ended = bench.run("in.fasta --model $MODEL --out emb -q");
    assert_eq!(
        ended.err,
        "warning: 2 <mask> tokens were embedded and have a row each\n"
    );
    assert_eq!(flags(&bench, "emb"), ["masks=2", ""]);
    assert_eq!(bench.recorded("emb", "/counts/masks"), 2);
}

#[test]
fn white_space_and_invisible_characters_of_unicode_are_dropped() {
    let bench = Bench::new();
    let unseen = [
        "\u{a0}",
        "\u{ad}",
        "\u{200b}",
        "\u{200d}",
        "\u{2007}",
        "\u{202f}",
        "\u{2060}",
        "\u{feff}",
        "\u{202e}",
        "\u{2066}",
        "\u{3000}",
        "\u{85}",
        "\u{2028}",
        "\u{180e}",
        "\u{fe0f}",
        "\u{e0041}",
        "\u{3164}",
    ];
    let mut text = String::new();
    for (i, character) in unseen.iter().enumerate() {
        text += &format!(">r{i}\nGAVL{character}\n{character}IM{character}FW\n");
    }
    // A byte order mark at the start of a line is skipped as usual.
    bench.write("in.fasta", text + ">plain\nGAVLIMFW\n");
    let ended = bench.run("in.fasta --model $MODEL --out emb --unknown error -q");
    assert_eq!(
        ended.err,
        "warning: 50 white-space or invisible characters beyond ASCII were dropped\n"
    );
    let count = unseen.len();
    assert_eq!(
        bench.matrix("emb/residues.layer2.npy").dim().0,
        8 * (count + 1)
    );
    let mean = bench.matrix("emb/mean.layer2.npy");
    assert_eq!(bench.recorded("emb", "/counts/unique_sequences"), 1);
    assert_eq!(bits(&mean, 0..1), bits(&mean, count..count + 1));
    let flags = flags(&bench, "emb");
    assert_eq!(flags[0], "invisible=3");
    assert_eq!(flags[7], "invisible=2,duplicate_of=0");
    assert_eq!(flags[count], "duplicate_of=0");
    assert_eq!(bench.recorded("emb", "/counts/invisible"), 50);
    bench.write("none.fasta", ">a\n\u{a0}\u{200b}\n");
    assert_fails(
        &bench,
        "none.fasta --model $MODEL",
        "none.fasta, line 1, record 1 (a): the sequence is empty\n\
         \x20 hint: correct the record\n\
         \x20 hint: use --on-invalid skip to leave such records out and list them in skipped.tsv",
    );
}

const GENE: &str = "augaaacgcauuagcaccaccauuaccaccaccaucaccauuaccacagguaacggugcg";

#[test]
fn nucleotides_are_warned_about_before_the_work_and_recorded() {
    let bench = Bench::new();
    bench.write("a.fasta", ">p1\nMKTAYIAKQRQISFVKSHFSRQ\n>short\nGACT\n");
    bench.write(
        "b.fasta",
        format!(
            ">p2\n{}\n>cds\t1 x\n{GENE}\n>dna\n{}\n",
            "A".repeat(40),
            GENE.to_uppercase()
        ),
    );
    let ended = bench.run("a.fasta b.fasta --model $MODEL --out emb");
    assert_eq!(ended.code, 0, "{}", ended.err);
    let warning = "warning: 2 of 5 records look like nucleotides, which ESM reads as amino acids, \
                   so that their embeddings have no meaning; the first is b.fasta, line 3, record \
                   2 (cds)\n\
                   \x20 hint: translate nucleotides to protein first, for example with `seqkit \
                   translate`\n";
    let at = ended.err.find(warning).expect(&ended.err);
    assert!(at < ended.err.find("loaded").unwrap(), "{}", ended.err);
    assert_eq!(bench.recorded("emb", "/counts/nucleotides"), 2);
    assert_eq!(
        bench.recorded("emb", "/notes"),
        serde_json::json!([
            {"about": "nucleotides", "records": 2, "first_row": 3, "first_id": "cds"}
        ])
    );
    assert_eq!(
        flags(&bench, "emb"),
        [
            "",
            "",
            "",
            "lower=60,nucleotides",
            "nucleotides,duplicate_of=3"
        ]
    );
    // A stream is reported at the end.
    let text = format!(">cds\n{GENE}\n");
    let ended = bench.pipe("- --model $MODEL --out stream -q", text.as_bytes());
    assert!(
        ended.err.contains(
            "1 of 1 record looks like nucleotides, which ESM reads as amino acids, so that its \
             embedding has no meaning; the first is <stdin>, line 1, record 1 (cds)\n"
        ),
        "{}",
        ended.err
    );
    let ended = bench.run("b.fasta --model $MODEL --out dry --dry-run");
    assert!(
        ended.err.contains("2 of 3 records look like nucleotides"),
        "{}",
        ended.err
    );
}
