//! Odd FASTA files, each with a defined outcome: the right rows, or one error with place and remedy.

use crate::bench::*;

const REMEDY: &str = "\n  hint: use --on-invalid skip to leave such records out and list them in \
                      skipped.tsv";

/// Embeds the text from a file and from standard input, and compares the columns `id length flags
/// description` of the table.
fn assert_records(text: impl AsRef<[u8]>, due: &[[&str; 4]]) {
    let text = text.as_ref();
    let bench = Bench::new();
    bench.write("in.fasta", text);
    let file = bench.run("in.fasta --model $MODEL --out file -q");
    let stream = bench.pipe("- --model $MODEL --out stream -q", text);
    let mut length = 0;
    for (ended, folder) in [(file, "file"), (stream, "stream")] {
        assert_eq!(ended.code, 0, "{folder}: {}", ended.err);
        assert!(
            ended
                .err
                .lines()
                .all(|line| line.starts_with("warning: ") || line.starts_with("  hint: ")),
            "{}",
            ended.err
        );
        let index = bench.text(&format!("{folder}/index.tsv"));
        let found: Vec<[&str; 4]> = rows(&index)
            .iter()
            .map(|row| [row[1], row[2], row[4], row[5]])
            .collect();
        assert_eq!(found, due, "{folder}");
        length = due
            .iter()
            .map(|record| record[1].parse::<usize>().unwrap())
            .sum();
        let matrix = bench.matrix(&format!("{folder}/residues.layer2.npy"));
        assert_eq!(matrix.dim(), (length, 32));
        assert!(matrix.iter().all(|value| value.is_finite()));
        assert_eq!(
            bench.matrix(&format!("{folder}/mean.layer2.npy")).dim(),
            (due.len(), 32)
        );
    }
    assert!(length > 0);
}

/// The text is refused with this error after the name of the input, from a file and from standard
/// input.
fn assert_error(text: impl AsRef<[u8]>, error: &str) {
    let bench = Bench::new();
    bench.write("in.fasta", text.as_ref());
    assert_fails(
        &bench,
        "in.fasta --model $MODEL",
        &format!("in.fasta{error}"),
    );
    let ended = bench.pipe("- --model $MODEL --out stream -q", text.as_ref());
    assert_eq!((ended.code, &*ended.out), (1, ""));
    assert!(
        ended.err.contains(&format!("<stdin>{error}")),
        "{}",
        ended.err
    );
    assert_eq!(messages(&ended.err), 1, "{}", ended.err);
    assert!(!exists(&bench.path("stream/run.json")));
}

/// The records that are skipped and kept with `--on-invalid skip`.
fn assert_skips(text: impl AsRef<[u8]>, skipped: &[[&str; 4]], kept: &[&str]) {
    let bench = Bench::new();
    bench.write("in.fasta", text.as_ref());
    let ended = bench.run("in.fasta --model $MODEL --out emb --on-invalid skip -q");
    assert_eq!(ended.code, 3, "{}", ended.err);
    let table = bench.text("emb/skipped.tsv");
    let found: Vec<[&str; 4]> = rows(&table)
        .iter()
        .map(|row| [row[1], row[2], row[3], row[4]])
        .collect();
    assert_eq!(found, skipped);
    let index = bench.text("emb/index.tsv");
    let ids: Vec<_> = rows(&index).iter().map(|row| row[1]).collect();
    assert_eq!(ids, kept);
    assert_eq!(bench.matrix("emb/mean.layer2.npy").dim(), (kept.len(), 32));
    assert_eq!(
        bench.recorded("emb", "/counts/skipped"),
        serde_json::json!(skipped.len())
    );
}

#[test]
fn line_ends_blank_lines_and_white_space() {
    let plain = [["a", "6", "", "b c"], ["d", "2", "", ""]];
    for text in [
        ">a b c\nMKT\nAYI\n>d\nGA\n",
        ">a b c\nMKT\nAYI\n>d\nGA",
        ">a b c\r\nMKT\r\nAYI\r\n>d\r\nGA",
        ">a b c\rMKT\rAYI\r>d\rGA\r",
        "\n\n  \n>a b c\n\nMKT\n\n\nAYI\n\n>d\n\nGA\n\n\n",
        "\u{feff}>a b c\nMKT\nAYI\n>d\nGA\n",
        ">  a b c\nM K T\n A\tY I  \n>d\n\tGA\n",
    ] {
        assert_records(text, &plain);
    }
}

#[test]
fn headers_of_every_kind() {
    assert_records(
        b">a\tdesc with\ttabs  \nMKT\n>d\xe9 caf\xe9 \x0b\nMKA\n>\nMKG\n> \nMKC\n>e>f >g\nMKD\n>>h\nMKE\n",
        &[
            ["a", "3", "", "desc with\\ttabs"],
            ["d\\xe9", "3", "", "caf\\xe9"],
            ["", "3", "", ""],
            ["", "3", "", ""],
            ["e>f", "3", "", ">g"],
            [">h", "3", "", ""],
        ],
    );
    assert_records(
        ">sp|P1|X_Y αβ \"quoted\" \\n\nMKT\n>\"q\"\nMKA\n",
        &[
            ["sp|P1|X_Y", "3", "", "αβ \"quoted\" \\\\n"],
            ["\\x22q\"", "3", "", ""],
        ],
    );
}

#[test]
fn a_header_of_one_megabyte() {
    let long = "x".repeat(1_000_000);
    assert_records(
        format!(">p1 {long}\nMKT\n>{long} y\nMKA\n"),
        &[["p1", "3", "", &long], [&long, "3", "", "y"]],
    );
}

#[test]
fn the_same_identifier_twice_is_two_records() {
    assert_records(
        ">p1\nMKT\n>p1\nMKA\n\n>p2\nMKT\n",
        &[
            ["p1", "3", "", ""],
            ["p1", "3", "", ""],
            ["p2", "3", "duplicate_of=0", ""],
        ],
    );
}

#[test]
fn letters_outside_the_alphabet_have_one_row_each() {
    assert_records(
        ">p1\nXBZUOJJJ.-\n>p2 digits\n1 MKT 3\n>p3\nMKαT\n>p4\nMK*T*\n>p5\n--M\n>p6\nMK<mask>T<mas\n",
        &[
            ["p1", "10", "unknown=3,gaps=2", ""],
            ["p2", "5", "unknown=2", "digits"],
            ["p3", "4", "unknown=1", ""],
            ["p4", "4", "unknown=1,stop,duplicate_of=2", ""],
            ["p5", "3", "gaps=2", ""],
            ["p6", "8", "unknown=1,lower=3,masks=1", ""],
        ],
    );
}

#[test]
fn one_to_five_residues() {
    assert_records(
        ">L1\nM\n>L2\nMK\n>L3\nMKT\n>L4\nMKTA\n>L5\nMKTAY\n",
        &[
            ["L1", "1", "", ""],
            ["L2", "2", "", ""],
            ["L3", "3", "", ""],
            ["L4", "4", "", ""],
            ["L5", "5", "", ""],
        ],
    );
}

#[test]
fn many_residues_on_one_line() {
    let long = sequence(1, 5000);
    assert_records(format!(">p1\n{long}\n"), &[["p1", "5000", "", ""]]);
}

#[test]
fn records_without_a_residue() {
    let remedy = format!("\n  hint: correct the record{REMEDY}");
    for (text, place) in [
        (">a\n>b\nMKT\n", "line 1, record 1 (a)"),
        (">a\nMKT\n>b\n\n \n", "line 3, record 2 (b)"),
        (">a\nMKT\n>b cut in the descr", "line 3, record 2 (b)"),
        (">a\nMKT\n>b\n*\n", "line 3, record 2 (b)"),
        (">", "line 1, record 1 (no identifier)"),
        (">a\nMKT\n>", "line 3, record 2 (no identifier)"),
    ] {
        assert_error(text, &format!(", {place}: the sequence is empty{remedy}"));
    }
    assert_skips(
        ">a\nMKT\n>b\n>c\n\n>\n>d\nMKA\n>e",
        &[
            ["3", "2", "b", "the sequence is empty"],
            ["4", "3", "c", "the sequence is empty"],
            ["6", "4", "", "the sequence is empty"],
            ["9", "6", "e", "the sequence is empty"],
        ],
        &["a", "d"],
    );
    assert_skips(">a\n", &[["1", "1", "a", "the sequence is empty"]], &[]);
}

#[test]
fn bytes_that_are_not_text() {
    let control = "there is a control character, 0x00, at column 3 of the sequence";
    let correct = "\n  hint: delete it, or create the file again if it is damaged";
    let latin = "the byte 0xE9 at column 3 of the sequence is not UTF-8";
    let convert = "\n  hint: replace it, or convert the file, for example with \
                   `iconv -f ISO-8859-1 -t UTF-8 IN > OUT`";
    assert_error(
        b">a\nMK\0T\n",
        &format!(", line 2, record 1 (`a`): {control}{correct}{REMEDY}"),
    );
    assert_error(
        b">a\nMK\xe9T\n",
        &format!(", line 2, record 1 (`a`): {latin}{convert}{REMEDY}"),
    );
    assert_skips(
        b">a\nMK\0T\n>b\nMKT\n>c\nMK\xe9\n",
        &[["1", "1", "a", control], ["5", "3", "c", latin]],
        &["b"],
    );
    let wide: Vec<u8> = "\u{feff}>a\nMKT\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    assert_error(
        wide,
        ": is UTF-16 text, but FASTA is ASCII or UTF-8\n  hint: convert it with \
         `iconv -f UTF-16 -t UTF-8 IN > OUT`",
    );
}

#[test]
fn concatenated_files_without_a_final_line_end() {
    let fault = "there is a `>` at column 4, inside a sequence line";
    let correct = "\n  hint: if a header starts there, put it on its own line (joined files may \
                   lack a last line end); otherwise delete the `>`";
    assert_error(
        ">a\nMKT>b\nMKA\n",
        &format!(", line 2, record 1 (`a`): {fault}{correct}{REMEDY}"),
    );
    assert_skips(
        ">a\nMKT>b\nMKA\n>c\nMKG\n",
        &[["1", "1", "a", fault]],
        &["c"],
    );
}

#[test]
fn tokens_that_are_not_residues_are_refused_in_text() {
    assert_error(
        ">a\nMK<eos>T\n",
        ", line 1, record 1 (a): residue 3: `<eos>` is not a residue: the model would read it as \
         the start, end or padding of a sequence\n\
         \x20 hint: delete it, or write <mask> or X\n\
         \x20 hint: use --on-invalid skip to leave such records out and list them in skipped.tsv",
    );
}

#[test]
fn what_is_not_fasta_is_named() {
    for (text, start, what) in [
        (
            &b"# STOCKHOLM 1.0\n\nseq MKT\n//\n"[..],
            "# STOCKHOLM 1.0",
            "a Stockholm alignment\n  hint: ",
        ),
        (
            b"ID   7LESS_DROME  Reviewed;  2554 AA.\nSQ   MKT\n//\n",
            "ID   7LESS_DROME  Review…",
            "a UniProt or EMBL flat file\n  hint: ",
        ),
        (b"@r1\nACGT\n+\nIIII\n", "@r1", "FASTQ\n  hint: "),
        (
            b"MKTAYIAK\n>a\nMKT\n",
            "MKTAYIAK",
            "a sequence without a header\n  hint: ",
        ),
        (
            b"This is no FASTA file.\n",
            "This is no FASTA file.",
            "some other text\n  hint: ",
        ),
        (
            b";old\n>a\nMKT\n",
            ";old",
            "a comment line of the old Pearson format\n  hint: ",
        ),
        (b"{\"a\": 1}\n", "{\"a\": 1}", "JSON\n  hint: "),
        (
            b"<!DOCTYPE html>\n",
            "<!DOCTYPE html>",
            "HTML or XML\n  hint: ",
        ),
        (b"BZh91AY&SY", "BZh91AY&SY", "bzip2 data\n  hint: "),
    ] {
        let bench = Bench::new();
        bench.write("in.fasta", text);
        for option in ["", "--on-invalid skip", "--unknown error"] {
            let ended = bench.run(&format!("in.fasta --model $MODEL --out emb -q {option}"));
            assert_eq!(ended.code, 1, "{start}");
            let error = format!(
                "error: in.fasta, line 1: not FASTA, which starts with `>`: the line \
                 starts with `{start}`, which looks like {what}"
            );
            assert!(ended.err.starts_with(&error), "{}", ended.err);
            assert!(!exists(&bench.path("emb")), "{start}");
        }
    }
}

#[test]
fn truncated_or_damaged_compressed_data() {
    let text = fasta([("a", &*sequence(1, 400)), ("b", &sequence(2, 400))]);
    let packed = gzip(text.as_bytes());
    let cut = &packed[..packed.len() - 10];
    assert_error(
        cut,
        ": the gzip data is cut short\n  hint: copy or download the file again, then test it with `gzip -t`",
    );
    let mut damaged = packed.clone();
    let at = damaged.len() / 2;
    damaged[at] ^= 0x55;
    let cases = [damaged, [packed.as_slice(), b"junk"].concat()];
    let packed = zstd(text.as_bytes());
    let cut = packed[..packed.len() - 10].to_vec();
    for bytes in cases.into_iter().chain([cut]) {
        let bench = Bench::new();
        bench.write("in.fasta", bytes);
        for option in ["", "--on-invalid skip"] {
            let ended = bench.run(&format!("in.fasta --model $MODEL --out emb -q {option}"));
            assert_eq!((ended.code, &*ended.out), (1, ""), "{}", ended.err);
            assert!(ended.err.starts_with("error: in.fasta"), "{}", ended.err);
            assert!(!exists(&bench.path("emb")));
        }
    }
    // Two members are one text, and an empty member is empty text.
    let members = [gzip(b">a\nMKT\n"), gzip(b""), gzip(b">b\nMKA\n")].concat();
    assert_records(members, &[["a", "3", "", ""], ["b", "3", "", ""]]);
}
