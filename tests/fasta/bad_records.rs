//! Records that cannot be read: each is one error with line and column, and the next one is read.

use crate::support::*;
use esm_embed::fasta::{Fault, Input, Reader, Record};
use std::path::Path;

// Errors of one record.

#[test]
fn control_characters_are_named_with_line_and_column() {
    for (text, line, column, byte) in [
        (&b">a\nMK\n>b c\nMKT\nV\0L\n"[..], 5, 2, 0),
        (b">a\r\nMK\r\n>b c\r\n\x1b[31mV\r\n", 4, 1, 0x1b),
        (b">a\nM\n>b\n\xef\xbb\xbfMK\x7f\n", 4, 3, 0x7f),
        (b">a\nM\n>b\nM \t K\x01\n", 4, 6, 1),
    ] {
        let record = bad_record(text);
        assert_eq!(record.fault, Fault::Control { line, column, byte });
        assert_eq!(
            (&record.id[..], record.number, record.line),
            (&b"b"[..], 2, 3)
        );
    }
    assert_eq!(
        first_error(b">a\nMK\n>b c\nMKT\nV\0L\n").to_string(),
        "x.fasta, line 5, record 2 (`b`): there is a control character, 0x00, at column 2 of the \
         sequence\nhint: delete it, or create the file again if it is damaged"
    );
}

#[test]
fn bytes_that_are_not_utf8_are_named() {
    for (sequence, column, byte) in [
        (&b"MK\xe9T"[..], 3, 0xe9),
        (b"\xc3", 1, 0xc3),
        (b"M\xed\xa0\x80K", 2, 0xed),
        (b"\xc3\xa9\xff", 3, 0xff),
    ] {
        let record = bad_record(&[b">a\n", sequence, b"\n"].concat());
        assert_eq!(
            record.fault,
            Fault::NotUtf8 {
                line: 2,
                column,
                byte
            }
        );
    }
}

#[test]
fn comment_lines_never_become_residues() {
    for (text, line, mark) in [
        (&b">a\n;MKT\nMK\n"[..], 2, ';'),
        (b">a\nMK\n; a remark", 3, ';'),
        (b">a\nMK\n# a remark\nTT\n", 3, '#'),
    ] {
        assert_eq!(bad_record(text).fault, Fault::Comment { line, mark });
    }
}

#[test]
fn a_header_in_the_middle_of_a_line_is_noticed() {
    for (text, line, column) in [
        (&b">a\nMKT>b second\nVV\n"[..], 2, 4),
        (b">a\nMKT\n >b second\nVV\n", 3, 2),
        (b">a\nM<mask>K>b\n", 2, 9),
        (b">a\nM<KKKKKKKKKKKKKKKKKKK>b\n", 2, 22),
    ] {
        assert_eq!(bad_record(text).fault, Fault::HeaderInLine { line, column });
    }
}

#[test]
fn an_invisible_character_before_a_header_is_named() {
    for (text, line, column, character) in [
        (">a\nMKT\n\u{a0}>b\nVV\n", 3, 1, '\u{a0}'),
        (">a\nMKT\n \t\u{200b}\u{ad} >b\nVV\n", 3, 3, '\u{200b}'),
        (">a\r\n\u{2060}>b\r\n", 2, 1, '\u{2060}'),
    ] {
        let fault = Fault::UnseenBeforeHeader {
            line,
            column,
            character,
        };
        assert_eq!(bad_record(text.as_bytes()).fault, fault, "{text:?}");
    }
    assert_eq!(
        bad_record(">a\nMKT\n\u{a0}>b\nVV\n".as_bytes())
            .fault
            .to_string(),
        "the invisible character U+00A0 at column 1 is before the `>`, so the line is not a header\n\
         hint: delete that character, or the `>` if the line is sequence"
    );
    // A visible character precedes it.
    let joined = bad_record(">a\nMKT\u{a0}>b\nVV\n".as_bytes()).fault;
    assert_eq!(joined, Fault::HeaderInLine { line: 2, column: 6 });
    for (text, place) in [
        (
            "\u{200b}>a\nMKT\n",
            "line 1: the invisible character U+200B at column 1",
        ),
        (
            "\n  \u{a0}\u{2060}>a\nMKT\n",
            "line 2: the invisible character U+00A0 at column 3",
        ),
    ] {
        let error = first_error(text.as_bytes()).to_string();
        assert!(error.contains(place), "{error}");
        assert!(error.ends_with(
            "is before the `>`, so the line is not a header\nhint: delete that character"
        ));
    }
}

#[test]
fn a_pir_title_never_becomes_residues() {
    let record = bad_record(b">P1;CRAB_ANAPL\nALPHA CRYSTALLIN B CHAIN\n  MDITIHNPLI*\n");
    assert_eq!(
        record.fault,
        Fault::Pir {
            code: "P1".to_owned()
        }
    );
    assert_records(
        b">P1;x\nMK\n>ab;c\nMK*\n",
        &[(b"P1;x", b"", b"MK"), (b"ab;c", b"", b"MK*")],
    );
}

#[test]
fn after_a_bad_record_the_next_is_read() {
    let text = b">a\nM\0\n>b\nMK\n>c\n;x\n>d\nTT\nT>\n>e\nVV\n";
    let mut reader = Reader::from_read("x", &text[..]);
    let mut record = Record::default();
    let mut seen = Vec::new();
    loop {
        match reader.read(&mut record) {
            Ok(false) => break,
            result => seen.push((result.is_ok(), record.id.clone(), record.sequence.clone())),
        }
    }
    let expected: [(bool, &[u8], &[u8]); 5] = [
        (false, b"a", b""),
        (true, b"b", b"MK"),
        (false, b"c", b""),
        (false, b"d", b""),
        (true, b"e", b"VV"),
    ];
    let expected = expected.map(|(good, id, sequence)| (good, id.to_vec(), sequence.to_vec()));
    assert_eq!(seen, expected);
    assert_eq!(reader.records(), 5);
}

#[test]
fn messages_hold_no_control_characters() {
    for text in [
        &b">\x1b[31m\nM\0K\n"[..],
        b"\x1b[31mhello\n",
        b">\xff\xfe\xe2\x80\xae\n;\n",
    ] {
        let message = first_error(text).to_string();
        assert!(
            !message.contains(|c: char| c.is_control() && c != '\n'),
            "{message:?}"
        );
        assert!(!message.contains('\u{202e}'), "{message:?}");
    }
    let error = Input::open(Path::new("no\nsuch\x1bfile"))
        .unwrap_err()
        .to_string();
    assert!(
        !error.contains(|c: char| c.is_control() && c != '\n'),
        "{error:?}"
    );
    assert!(
        error.starts_with("no\\nsuch\\u{1b}file: cannot be opened: "),
        "{error:?}"
    );
}
