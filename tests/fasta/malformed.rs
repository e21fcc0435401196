//! Malformed, foreign and hostile FASTA: each has one decided outcome.

use std::{
    cell::Cell,
    io::{self, Read, Write},
    path::Path,
    rc::Rc,
};

use esm_embed::fasta::{
    BadRecord, Damage, FastaError, Fault, Input, MAX_HEADER, MAX_SEQUENCE, Reader, Record,
};

type Triple = (&'static [u8], &'static [u8], &'static [u8]);

/// The records of `text`, which must hold no error, as id, description, sequence.
fn records(text: &[u8]) -> Vec<Record> {
    let mut reader = Reader::from_read("x.fasta", text);
    let mut all = Vec::new();
    let mut record = Record::default();
    while reader.read(&mut record).unwrap() {
        all.push(record.clone());
    }
    all
}

fn assert_records(text: &[u8], expected: &[Triple]) {
    let records = records(text);
    let triples: Vec<(&[u8], &[u8], &[u8])> = records
        .iter()
        .map(|record| {
            (
                &record.id[..],
                &record.description[..],
                &record.sequence[..],
            )
        })
        .collect();
    assert_eq!(triples, expected, "{}", text.escape_ascii());
}

fn first_error(text: &[u8]) -> FastaError {
    let mut reader = Reader::from_read("x.fasta", text);
    let mut record = Record::default();
    loop {
        match reader.read(&mut record) {
            Ok(true) => {}
            Ok(false) => panic!("no error in {}", text.escape_ascii()),
            Err(error) => return error,
        }
    }
}

fn bad_record(text: &[u8]) -> BadRecord {
    first_error(text).record().unwrap().clone()
}

/// Reads `bytes` from a file: number of records and the error that ended it.
fn read_file(bytes: &[u8]) -> (u64, Option<FastaError>) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    let mut reader = Reader::new(Input::open(file.path()).unwrap());
    let mut record = Record::default();
    let mut good = 0;
    loop {
        match reader.read(&mut record) {
            Ok(true) => good += 1,
            Ok(false) => return (good, None),
            Err(error) => return (good, Some(error)),
        }
    }
}

fn damage(bytes: &[u8]) -> Damage {
    match read_file(bytes).1 {
        Some(FastaError::Damaged { damage, .. }) => damage,
        other => panic!("{other:?}"),
    }
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// One block of bgzip: a gzip member with the subfield `BC` (its block size is not looked at).
fn block(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::GzBuilder::new()
        .extra(&b"BC\x02\x00\x00\x00"[..])
        .write(Vec::new(), flate2::Compression::best());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

// Correct, if unusual.

#[test]
fn blank_lines_and_white_space_are_passed_over() {
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
fn every_line_end_is_one() {
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
fn byte_order_marks_are_skipped_where_lines_start() {
    let mark = "\u{feff}";
    assert_records(format!("{mark}>a\nMK\n").as_bytes(), &[(b"a", b"", b"MK")]);
    assert_records(
        format!("{mark}\n{mark}>a\nMK\n{mark}>b\n{mark}TT\n").as_bytes(),
        &[(b"a", b"", b"MK"), (b"b", b"", b"TT")],
    );
    assert_records(mark.as_bytes(), &[]);
}

#[test]
fn a_header_of_one_megabyte_and_a_line_of_many_are_read() {
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
fn compression_is_known_by_content() {
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

#[test]
fn a_gzip_bomb_is_one_record_too_long() {
    let bomb = gzip(&[b">bomb\n", &vec![b'A'; 64 << 20][..], b"\n>b\nM\n"].concat());
    assert!(bomb.len() < 100_000);
    let (good, error) = read_file(&bomb);
    assert_eq!(good, 0);
    assert_eq!(
        error.unwrap().record().unwrap().fault,
        Fault::SequenceTooLong { line: 2 }
    );
}

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
        "x.fasta, line 5, record 2 (`b`): control character 0x00 at column 2 of the sequence; \
         delete it, or make the file again if it is damaged"
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
fn comments_never_become_residues() {
    for (text, line, mark) in [
        (&b">a\n;MKT\nMK\n"[..], 2, ';'),
        (b">a\nMK\n; a remark", 3, ';'),
        (b">a\nMK\n# a remark\nTT\n", 3, '#'),
    ] {
        assert_eq!(bad_record(text).fault, Fault::Comment { line, mark });
    }
}

#[test]
fn a_header_whose_line_start_was_lost_is_noticed() {
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
        "the invisible character U+00A0 at column 1 is in front of a `>`, so the line is not a header: \
         delete the character, or the `>` if it belongs to the sequence"
    );
    // Something that is seen comes before it.
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
        assert!(error.ends_with("is in front of `>`, so the line is not a header: delete it"));
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
fn the_bounds_are_where_they_are_said_to_be() {
    assert_eq!((MAX_HEADER, MAX_SEQUENCE), (16_777_216, 16_777_216));
    let header = vec![b'x'; MAX_HEADER];
    let all = records(&[b">", &header[..], b"\nM\n"].concat());
    assert_eq!(all[0].id.len(), MAX_HEADER);
    let record = bad_record(&[b">x", &header[..], b"\nM\n"].concat());
    assert_eq!(record.fault, Fault::HeaderTooLong);
    assert_eq!(record.id, vec![b'x'; 1024]);

    let half = vec![b'A'; MAX_SEQUENCE / 2];
    let all = records(&[b">a\n", &half[..], b"\n", &half, b"\n>b\nM\n"].concat());
    assert_eq!(all[0].sequence.len(), MAX_SEQUENCE);
    let record = bad_record(&[b">a\n", &half[..], b"\n", &half, b"\nA\n"].concat());
    assert_eq!(record.fault, Fault::SequenceTooLong { line: 4 });
}

/// Counts what is read from it.
struct Counted<R> {
    inner: R,
    bytes: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(into)?;
        self.bytes.set(self.bytes.get() + count as u64);
        Ok(count)
    }
}

#[test]
fn an_endless_line_is_refused_when_its_bound_is_passed_and_then_skipped() {
    for start in [&b">a\n"[..], b">"] {
        let bytes = Rc::new(Cell::new(0));
        let endless = io::repeat(b'A').take(200 << 20);
        let inner = start.chain(endless).chain(&b"\n>next\nMK\n"[..]);
        let counted = Counted {
            inner,
            bytes: Rc::clone(&bytes),
        };
        let mut reader = Reader::from_read("x", counted);
        let mut record = Record::default();
        let error = reader.read(&mut record).unwrap_err();
        assert!(error.is_record());
        assert!(bytes.get() < 18 << 20, "{} bytes were read", bytes.get());
        assert!(reader.read(&mut record).unwrap());
        assert_eq!((&record.id[..], record.number), (&b"next"[..], 2));
        assert!(record.sequence.capacity() + record.id.capacity() <= 64 << 20);
        assert!(!reader.read(&mut record).unwrap());
        assert_eq!(reader.records(), 2);
    }
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
        assert!(!message.contains(char::is_control), "{message:?}");
        assert!(!message.contains('\u{202e}'), "{message:?}");
    }
    let error = Input::open(Path::new("no\nsuch\x1bfile"))
        .unwrap_err()
        .to_string();
    assert!(!error.contains(char::is_control), "{error:?}");
    assert!(
        error.starts_with("no\\nsuch\\u{1b}file: cannot be opened: "),
        "{error:?}"
    );
}

// What is not FASTA.

#[test]
fn other_formats_are_named() {
    let mut tar = vec![0; 1024];
    tar[..14].copy_from_slice(b"proteins.fasta");
    tar[257..262].copy_from_slice(b"ustar");
    let formats: [(&[u8], &str); 33] = [
        (b"@read1\nACGT\n+\nIIII\n", "FASTQ"),
        (
            b"# STOCKHOLM 1.0\n\nseq1 GAATTC\n//\n",
            "a Stockholm alignment",
        ),
        (
            b"ID   7LESS_DROME  Reviewed;\n",
            "a UniProt or EMBL flat file",
        ),
        (b"LOCUS       SCU49845\n", "a GenBank flat file"),
        (b"HEADER    HYDROLASE\n", "a PDB structure file"),
        (b"ATOM      1  N   MET A   1\n", "a PDB structure file"),
        (b"data_1ABC\n#\n", "an mmCIF structure file"),
        (b"CLUSTAL W (1.83)\n\n", "a Clustal alignment"),
        (b"#NEXUS\n", "a NEXUS file"),
        (b"<!DOCTYPE html>\n", "HTML or XML"),
        (b"{\"seq\": \"MK\"}\n", "JSON"),
        (b"[1]\n", "JSON"),
        (b"{\\rtf1\\ansi >a\n", "a document of a word processor"),
        (
            b"version https://git-lfs.github.com/spec/v1\n",
            "a pointer of Git LFS, not the file itself",
        ),
        (b"%PDF-1.7\n", "a PDF"),
        (b"BZh91AY&SY", "bzip2 data"),
        (b"\xfd7zXZ\0\0\x04", "xz data"),
        (b"\x04\x22\x4d\x18aaaa", "lz4 data"),
        (b"\x1f\x9d\x90\x3e", "data of compress (.Z)"),
        (b"PK\x03\x04\x14\0", "a zip archive or an office document"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
        (b"\x93NUMPY\x01\0", "a NumPy array"),
        (
            b";LCBO - Prolactin\nMDSKG*\n",
            "a comment line of the old Pearson format",
        ),
        (b"# made today\n>a\nMK\n", "a comment of another format"),
        (b"MKTVRQERLK\nMKT\n", "a sequence without a header"),
        (b"id\tsequence\np1\tMKT\n", "a table"),
        (b"This is not a valid FASTA file.", "some other text"),
        (b" >a\nMK\n", "a header behind white space"),
        (b"\0\0\0\0\0\0\0\0", "binary data"),
        (b"\x7fELF\x02\x01\x01\0", "binary data"),
        (b"\x1f", "binary data"),
        (&gzip(b">a\nM\n"), "gzip data that was compressed twice"),
        (&tar, "a tar archive"),
    ];
    for (text, what) in formats {
        for (blank_lines, line) in [("", 1), ("\n \r\n", 3)] {
            if line > 1 && text == tar {
                continue;
            }
            let text = [blank_lines.as_bytes(), text].concat();
            let error = first_error(&text);
            assert!(!error.is_record());
            match error {
                FastaError::NotFasta {
                    line: found,
                    lookalike,
                    ..
                } => {
                    assert_eq!((found, lookalike.what), (line, what));
                }
                other => panic!("{what}: {other}"),
            }
        }
    }
    assert_eq!(
        first_error(b"\n@read1\nACGT\n").to_string(),
        "x.fasta, line 2: not FASTA, which starts with `>`: the line starts with `@read1`, which \
         looks like FASTQ; ESM reads proteins: translate the reads, or, if they are proteins, \
         convert the file with `seqtk seq -a IN > OUT`"
    );
    // Compressed as well, by the same rule.
    let error = read_file(&gzip(&tar)).1.unwrap().to_string();
    assert!(
        error.contains("looks like a tar archive; unpack it"),
        "{error}"
    );
}

#[test]
fn wide_encodings_are_named() {
    let text = ">a\nMK\n";
    let utf16 = |to: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(to).collect::<Vec<_>>();
    let utf32 = |to: fn(u32) -> [u8; 4]| {
        text.chars()
            .flat_map(|character| to(character.into()))
            .collect::<Vec<_>>()
    };
    for (bytes, expected) in [
        (
            [b"\xff\xfe", &utf16(u16::to_le_bytes)[..]].concat(),
            "UTF-16",
        ),
        (
            [b"\xfe\xff", &utf16(u16::to_be_bytes)[..]].concat(),
            "UTF-16",
        ),
        (utf16(u16::to_le_bytes), "UTF-16LE"),
        (utf16(u16::to_be_bytes), "UTF-16BE"),
        (
            [b"\xff\xfe\0\0", &utf32(u32::to_le_bytes)[..]].concat(),
            "UTF-32",
        ),
        (utf32(u32::to_le_bytes), "UTF-32LE"),
        (utf32(u32::to_be_bytes), "UTF-32BE"),
        (b">\0".to_vec(), "UTF-16LE"),
    ] {
        match first_error(&bytes) {
            FastaError::Encoding { encoding, .. } => assert_eq!(encoding, expected),
            other => panic!("{other}"),
        }
    }
}

// What cannot be read.

#[test]
fn gzip_cut_anywhere_is_an_error() {
    let text = b">a\nMKTVRQERLKSIVRILERSKEPVSGAQLAEELSVSRQ\n>b\nTTAVGG\n";
    let whole = gzip(text);
    for length in 2..whole.len() {
        let (good, error) = read_file(&whole[..length]);
        assert!(good < 2, "cut to {length}");
        match error {
            Some(FastaError::Damaged {
                damage: Damage::GzipCutShort,
                ..
            }) => {}
            other => panic!("cut to {length}: {other:?}"),
        }
    }
    let (two, first) = ([&whole[..], &whole].concat(), whole.len());
    for length in first + 1..two.len() {
        assert_eq!(
            damage(&two[..length]),
            Damage::GzipCutShort,
            "cut to {length}"
        );
    }
}

#[test]
fn zstd_cut_anywhere_is_an_error() {
    let text = b">a\nMKTVRQERLKSIVRILERSKEPVSGAQLAEELSVSRQ\n>b\nTTAVGG\n";
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(text).unwrap();
    let whole = encoder.finish().unwrap();
    for length in 4..whole.len() {
        assert_eq!(
            damage(&whole[..length]),
            Damage::ZstdCutShort,
            "cut to {length}"
        );
    }
    let two = [&whole[..], &whole].concat();
    for length in whole.len() + 1..two.len() {
        assert_eq!(
            damage(&two[..length]),
            Damage::ZstdCutShort,
            "cut to {length}"
        );
    }
}

#[test]
fn damaged_compressed_data_is_an_error() {
    let text = b">a\nMKTVRQERLKSIVRILERSKEPVSGAQLAEELSVSRQ\n";
    let mut crc = gzip(text);
    let place = crc.len() - 8;
    crc[place] ^= 1;
    assert!(matches!(damage(&crc), Damage::GzipCorrupt(_)));
    let mut body = gzip(text);
    body[14] ^= 0xff;
    assert!(matches!(damage(&body), Damage::GzipCorrupt(_)));
    assert!(matches!(
        damage(b"\x1f\x8b\x07\0\0\0\0\0\0\0\0\0"),
        Damage::GzipCorrupt(_)
    ));

    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(text).unwrap();
    let mut checksum = encoder.finish().unwrap();
    *checksum.last_mut().unwrap() ^= 1;
    assert!(matches!(damage(&checksum), Damage::ZstdCorrupt(_)));
}

#[test]
fn what_follows_compressed_data_is_an_error() {
    let text = b">a\nMK\n";
    for rubbish in [
        &b"garbage"[..],
        b">b\nMK\n",
        b"\n",
        b"\0\0x",
        b"\x1fgarbage garbage",
    ] {
        assert_eq!(
            damage(&[&gzip(text)[..], rubbish].concat()),
            Damage::GzipTrailing
        );
    }
    let frame = zstd::encode_all(&text[..], 1).unwrap();
    assert_eq!(
        damage(&[&frame[..], b">b\nMK\n"].concat()),
        Damage::ZstdTrailing
    );
}

#[test]
fn a_bgzip_file_without_its_last_block_is_an_error() {
    let blocks = [block(b">a\nMK\n"), block(b">b\nTT\n")].concat();
    assert_eq!(damage(&blocks), Damage::BgzipCutShort);
    let plain_end = [&blocks[..], &gzip(b">c\nVV\n")].concat();
    assert!(matches!(read_file(&plain_end), (3, None)));
}

#[test]
fn zstd_with_a_huge_window_is_refused_by_name() {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(28).unwrap();
    encoder.include_contentsize(false).unwrap();
    encoder.write_all(b">a\nMK\n").unwrap();
    assert_eq!(damage(&encoder.finish().unwrap()), Damage::ZstdWindow);
}

#[test]
fn folders_and_missing_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = Input::open(folder.path()).unwrap_err();
    let name = folder.path().to_str().unwrap();
    assert_eq!(
        error.to_string(),
        format!("{name}: is a folder; name the FASTA files in it, for example {name}/*.fasta")
    );
    let missing = folder.path().join("none.fasta");
    let error = Input::open(&missing).unwrap_err();
    assert!(matches!(error, FastaError::Open { .. }));
    assert_eq!(
        error.to_string(),
        format!(
            "{}: cannot be opened: No such file or directory (os error 2); check the path and its \
             permissions",
            missing.display()
        )
    );
}

#[test]
fn a_file_that_changes_while_it_is_read_is_an_error() {
    let text = [&b">a\nMK\n"[..], &b">b\nTTTTTTTTTTTTTT\n".repeat(100_000)].concat();
    for grow in [true, false] {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&text).unwrap();
        let mut reader = Reader::new(Input::open(file.path()).unwrap());
        let mut record = Record::default();
        assert!(reader.read(&mut record).unwrap());
        let new = if grow {
            text.len() as u64 + 5
        } else {
            1_000_000
        };
        if grow {
            file.write_all(b">c\nM\n").unwrap();
        } else {
            file.as_file().set_len(new).unwrap();
        }
        let error = loop {
            match reader.read(&mut record) {
                Ok(more) => assert!(more),
                Err(error) => break error,
            }
        };
        match error {
            FastaError::Changed { found, length, .. } => {
                assert_eq!((found, length), (new, text.len() as u64));
            }
            other => panic!("{other}"),
        }
    }
}

#[test]
fn an_error_of_the_disk_is_told_from_damage() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::from_raw_os_error(5))
        }
    }
    let mut reader = Reader::from_read("x.fasta", b">a\nMK\n>b\nT".chain(Broken));
    let mut record = Record::default();
    assert!(reader.read(&mut record).unwrap());
    for _ in 0..2 {
        assert_eq!(
            reader.read(&mut record).unwrap_err().to_string(),
            "x.fasta, line 4: cannot be read: Input/output error (os error 5); check the disk or \
             the program that feeds it, then run again"
        );
    }
}

#[cfg(unix)]
#[test]
fn a_pipe_is_read_as_it_is_fed() {
    use std::{os::fd::AsRawFd, thread};
    let (reader, mut writer) = io::pipe().unwrap();
    let path = format!("/dev/fd/{}", reader.as_raw_fd());
    let feeder = thread::spawn(move || {
        for part in [&b">a\nM"[..], b"K\n>", b"b\nT\r", b"\nT"] {
            writer.write_all(part).unwrap();
            thread::yield_now();
        }
    });
    let input = Input::open(Path::new(&path)).unwrap();
    assert!(!input.is_regular_file());
    let mut reader_of_pipe = Reader::new(input);
    let mut record = Record::default();
    assert!(reader_of_pipe.read(&mut record).unwrap());
    assert_eq!(record.sequence, b"MK");
    assert!(reader_of_pipe.read(&mut record).unwrap());
    assert_eq!((&record.sequence[..], record.line), (&b"TT"[..], 3));
    assert!(!reader_of_pipe.read(&mut record).unwrap());
    feeder.join().unwrap();
}
