//! FASTA that looks odd and is read all the same.

use crate::support::*;

// Correct, if unusual.

#[test]
fn blank_lines_and_white_space_are_ignored() {
    assert_records(b"\n\n \n", &[]);
    assert_records(b"", &[]);
    assert_records(
        b"\n \t\n>alpha\nACGTA\n\n>beta\n\nCG\n\nTC\n\n",
        &[(b"alpha", b"", b"ACGTA"), (b"beta", b"", b"CGTC")],
    );
    assert_records(
        b">p1\tdesc with\ttabs  \nMKT V \t\n LS\x0b\x0c\n",
        &[(b"p1", b"desc with\ttabs", b"MKTVLS")],
    );
    assert_records(b"> p1 one\nMK\n", &[(b"p1", b"one", b"MK")]);
}

#[test]
fn every_kind_of_line_end_is_accepted() {
    for text in [
        &b">a x\r\nMK\r\nTT"[..],
        b">a x\rMK\rTT\r",
        b">a x\nMK\r\nT\rT",
        b">a x\r\r\nMK\n\rTT\n",
    ] {
        assert_records(text, &[(b"a", b"x", b"MKTT")]);
    }
    let lines = |text: &[u8]| {
        records(text)
            .iter()
            .map(|record| record.line)
            .collect::<Vec<_>>()
    };
    assert_eq!(lines(b">a\r\nM\r\n>b\r\nM\r\n>c"), [1, 3, 5]);
    assert_eq!(lines(b">a\rM\r>b\r\rM\r>c"), [1, 3, 6]);
    assert_eq!(lines(b"\n\r\n>a\rM\n>b"), [3, 5]);
}

#[test]
fn empty_identifiers_and_sequences_are_records() {
    assert_records(
        b">seq1\n\n>seq2\nAAAA\n>\nCCCC\n",
        &[
            (b"seq1", b"", b""),
            (b"seq2", b"", b"AAAA"),
            (b"", b"", b"CCCC"),
        ],
    );
    assert_records(b">", &[(b"", b"", b"")]);
    assert_records(
        b">truncated in descripti",
        &[(b"truncated", b"in descripti", b"")],
    );
    assert_records(
        b">a\n>\n>b\nM\n",
        &[(b"a", b"", b""), (b"", b"", b""), (b"b", b"", b"M")],
    );
    assert_records(b">a\n*\n", &[(b"a", b"", b"*")]);
}

#[test]
fn hostile_identifiers_are_kept_to_the_byte() {
    assert_records(
        b">../../etc/passwd\nM\n>CON\nM\n>.\nM\n>\"a\tb\"\nM\n>con\nM\n>-rf\0\nM\n",
        &[
            (b"../../etc/passwd", b"", b"M"),
            (b"CON", b"", b"M"),
            (b".", b"", b"M"),
            (b"\"a", b"b\"", b"M"),
            (b"con", b"", b"M"),
            (b"-rf\0", b"", b"M"),
        ],
    );
    assert_records(b">caf\xe9 r\xe9\nM\n", &[(b"caf\xe9", b"r\xe9", b"M")]);
}

#[test]
fn characters_outside_the_alphabet_are_left_to_the_tokenizer() {
    assert_records(b">d\nACGT1ACGT\n", &[(b"d", b"", b"ACGT1ACGT")]);
    assert_records(b">d\nMK-a.*J?\n", &[(b"d", b"", b"MK-a.*J?")]);
    assert_records(
        ">d\nMé\u{a0}K\u{1d11e}\n".as_bytes(),
        &[(b"d", b"", "Mé\u{a0}K\u{1d11e}".as_bytes())],
    );
    assert_records(b">d\nK A <mask> I S Q\n", &[(b"d", b"", b"KA<mask>ISQ")]);
    assert_records(b">d\nK<ma\nsk>I<foo>\n", &[(b"d", b"", b"K<mask>I<foo>")]);
    assert_records(b">d\nMK;T#\n", &[(b"d", b"", b"MK;T#")]);
}

#[test]
fn byte_order_marks_are_skipped_at_line_starts() {
    let mark = "\u{feff}";
    assert_records(format!("{mark}>a\nMK\n").as_bytes(), &[(b"a", b"", b"MK")]);
    assert_records(
        format!("{mark}\n{mark}>a\nMK\n{mark}>b\n{mark}TT\n").as_bytes(),
        &[(b"a", b"", b"MK"), (b"b", b"", b"TT")],
    );
    assert_records(mark.as_bytes(), &[]);
}

#[test]
fn a_header_of_one_megabyte_and_a_longer_line_are_read() {
    let description = vec![b'x'; 1_000_000];
    let text = [b">p1 ", &description[..], b"\nMK\n"].concat();
    let all = records(&text);
    assert_eq!(all.len(), 1);
    assert_eq!(
        (&all[0].id[..], &all[0].sequence[..]),
        (&b"p1"[..], &b"MK"[..])
    );
    assert_eq!(all[0].description, description);

    let sequence = vec![b'A'; 5_000_000];
    let all = records(&[b">p1\n", &sequence[..], b"\n>p2\nM\n"].concat());
    assert_eq!(all.len(), 2);
    assert_eq!(all[0].sequence, sequence);
    assert_eq!(all[1].sequence, b"M");
}

#[test]
fn compression_is_recognised_by_content() {
    let text = b">a\nMK\n>b\nTT\n";
    let (head, tail) = text.split_at(4);
    let members = [gzip(head), gzip(b""), gzip(tail)].concat();
    assert_eq!(read_file(&members).0, 2);
    assert_eq!(read_file(&[&members[..], &[0; 1000]].concat()).0, 2);
    let blocks = [block(head), block(tail), block(b"")].concat();
    assert!(matches!(read_file(&blocks), (2, None)));
    assert!(matches!(
        read_file(&[&blocks[..], &blocks].concat()),
        (4, None)
    ));
    let skippable = b"\x5A\x2A\x4D\x18\x03\0\0\0abc";
    let frames = [
        &skippable[..],
        &zstd::encode_all(head, 1).unwrap(),
        skippable,
        &zstd::encode_all(tail, 1).unwrap(),
    ]
    .concat();
    assert!(matches!(read_file(&frames), (2, None)));
    assert!(matches!(read_file(&gzip(b"")), (0, None)));
    assert!(matches!(read_file(b""), (0, None)));
}
