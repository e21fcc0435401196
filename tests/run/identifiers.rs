//! Identifiers that are special to a file system, a shell or a table, in both layouts.

use crate::bench::*;

/// An identifier as typed, its form in the table, and the name of its file.
const CASES: [(&[u8], &str, &str); 22] = [
    (
        b"../../etc/passwd",
        "../../etc/passwd",
        "_._.._etc_passwd-3754d6cb3a38e118.npy",
    ),
    (
        b"/etc/passwd",
        "/etc/passwd",
        "_etc_passwd-74acf31844532670.npy",
    ),
    (b"CON", "CON", "_CON-a3dbc4b644a9a2c5.npy"),
    (b"con.txt", "con.txt", "_con.txt-d3bde286fd271ed6.npy"),
    (b".", ".", "_-cdb4ee2aea69cc6a.npy"),
    (b"..", "..", "__-5ec1f7e700f37c3d.npy"),
    (b"", "", "unnamed-e3b0c44298fc1c14.npy"),
    (b"P1", "P1", "P1.npy"),
    (b"p1", "p1", "p1-f64551fcd6f07823.npy"),
    (b"P1", "P1", "P1-fbeae7c18667b698.npy"),
    (b"a\x1f\x7fb", "a\\x1f\\x7fb", "a__b-94918bad6026b091.npy"),
    (b"\"open", "\\x22open", "_open-2a2266872520b77c.npy"),
    (b"-rf", "-rf", "_rf-686c39acd6327bbd.npy"),
    (b"a:b", "a:b", "a_b-6783a31eabf68ccc.npy"),
    (b"nul.npy", "nul.npy", "_nul.npy-5e0c3c1256a1c145.npy"),
    (b"\xff\xfe", "\\xff\\xfe", "__-b3d510ef04275ca8.npy"),
    (b"$(id)", "$(id)", "$(id).npy"),
    (b"run.json", "run.json", "run.json.npy"),
    (b"000000", "000000", "000000.npy"),
    (b"a\\nb", "a\\\\nb", "a_nb-b5b65540b7c88230.npy"),
    (b"caf\xc3\xa9", "café", "café.npy"),
    (b"x.", "x.", "x_-c92f00b196e2fb02.npy"),
];

/// A description with everything that could break a line of the table.
const DESCRIPTION: (&[u8], &str) = (
    b"\"d\tq\"\x0b\x07 \xe9 \\t '",
    "\\x22d\\tq\"\\x0b\\x07 \\xe9 \\\\t '",
);

#[test]
fn hostile_identifiers_in_both_layouts() {
    let long = b"q".repeat(300);
    let long_file = format!("{}-2dbf557691355eab.npy", "q".repeat(179));
    let text = str::from_utf8(&long).unwrap();
    let mut cases: Vec<(&[u8], &str, &str)> = CASES.to_vec();
    cases.push((&long, text, &long_file));
    let mut fasta = Vec::new();
    for (i, (id, ..)) in cases.iter().enumerate() {
        let parts = [b">", *id, b"\t", DESCRIPTION.0, b"\nMK"];
        // Without an identifier, the first word would be that of the description.
        match id.is_empty() {
            true => fasta.extend(b">\nMK"),
            false => parts.iter().for_each(|part| fasta.extend(*part)),
        }
        fasta.extend(sequence(i as u64, i + 1).bytes());
        fasta.push(b'\n');
    }
    let bench = Bench::new();
    bench.write("in.fasta", fasta);
    for options in ["--out packed", "--out files --residues files"] {
        let ended = bench.run(&format!("in.fasta --model $MODEL -q {options}"));
        assert_eq!(ended.code, 0, "{}", ended.err);
        // P1 occurs twice.
        let warnings = ended.err.matches("warning: ").count();
        assert_eq!(
            (warnings, ended.err.lines().count()),
            (1, 2),
            "{}",
            ended.err
        );
    }
    assert_eq!(bench.names("."), ["files", "in.fasta", "packed"]);
    assert_eq!(
        bench.names("packed"),
        [
            "ids.npy",
            "index.tsv",
            "mean.layer2.npy",
            "residues.layer2.npy",
            "run.json"
        ]
    );
    let packed = bench.matrix("packed/residues.layer2.npy");
    let (index, files) = (
        bench.text("packed/index.tsv"),
        bench.text("files/index.tsv"),
    );
    assert_eq!(index.lines().count(), 1 + cases.len());
    let mut names = Vec::new();
    for (i, (id, shown, file)) in cases.iter().enumerate() {
        let description = match id.is_empty() {
            true => "",
            false => DESCRIPTION.1,
        };
        let row = &rows(&index)[i];
        assert_eq!((row[1], row[5]), (*shown, description));
        let row = &rows(&files)[i];
        let path = format!("000000/{file}");
        assert_eq!((row[1], row[5], row[6]), (*shown, &*path, description));
        let start: usize = row[3].parse().unwrap();
        let own = bench.matrix(&format!("files/residues.layer2/{path}"));
        assert_eq!(bits(&own, 0..i + 3), bits(&packed, start..start + i + 3));
        names.push(file.to_string());
    }
    names.sort();
    assert_eq!(bench.names("files/residues.layer2/000000"), names);
    // No two of them are the same file on a file system that ignores case.
    let folded: std::collections::BTreeSet<_> = names.iter().map(|n| n.to_lowercase()).collect();
    assert_eq!(folded.len(), cases.len());
}
