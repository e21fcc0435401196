//! The FASTA reader against two others, and the same records for any layout of the file.

use std::io::{self, Read, Write};

use esm_embed::fasta::{FastaError, Input, Reader, Record};
use esm_embed::tokenizer::{UnknownPolicy, tokenize};
use proptest::prelude::*;

/// Gives at most `step` bytes at a time.
struct Short<R> {
    inner: R,
    step: usize,
}

impl<R: Read> Read for Short<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = into.len().min(self.step);
        self.inner.read(&mut into[..count])
    }
}

/// Fails with `EINTR` on every other call.
struct Interrupted<R> {
    inner: R,
    calls: usize,
}

impl<R: Read> Read for Interrupted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.calls += 1;
        if self.calls % 2 == 1 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        self.inner.read(into)
    }
}

fn read_all<R: Read>(mut reader: Reader<R>) -> Result<Vec<Record>, FastaError> {
    let mut records = Vec::new();
    let mut record = Record::default();
    while reader.read(&mut record)? {
        records.push(record.clone());
    }
    assert_eq!(reader.records(), records.len() as u64);
    Ok(records)
}

fn gzip(members: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for member in members {
        let mut encoder = flate2::write::GzEncoder::new(&mut bytes, flate2::Compression::fast());
        encoder.write_all(member).unwrap();
        encoder.finish().unwrap();
    }
    bytes
}

fn zstd(frames: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for frame in frames {
        bytes.extend(zstd::encode_all(*frame, 1).unwrap());
    }
    bytes
}

fn open(bytes: &[u8]) -> (tempfile::NamedTempFile, Input) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    let input = Input::open(file.path()).unwrap();
    (file, input)
}

/// A record as a user thinks of it.
#[derive(Debug, Clone)]
struct Protein {
    id: String,
    description: String,
    sequence: String,
}

prop_compose! {
    fn protein(least: usize)(
        id in "[!-=?-~]{1,20}",
        description in "([!-~]{1,8}( [!-~]{1,8}){0,3})?",
        sequence in prop::collection::vec(
            prop::sample::select(b"ACDEFGHIKLMNPQRSTVWYXBUZOJacd.-*".to_vec()), least..150,
        ),
    ) -> Protein {
        Protein { id, description, sequence: String::from_utf8(sequence).unwrap() }
    }
}

/// Prefixes of PIR entries that generated identifiers could have.
fn is_plain(proteins: &[Protein]) -> bool {
    proteins
        .iter()
        .all(|protein| protein.id.as_bytes().get(2) != Some(&b';'))
}

fn write(proteins: &[Protein], width: usize, end: &str, last_end: bool) -> String {
    let mut text = String::new();
    for protein in proteins {
        text.push('>');
        text.push_str(&protein.id);
        if !protein.description.is_empty() {
            text.push(' ');
            text.push_str(&protein.description);
        }
        text.push_str(end);
        for line in protein.sequence.as_bytes().chunks(width) {
            text.push_str(std::str::from_utf8(line).unwrap());
            text.push_str(end);
        }
    }
    if !last_end {
        text.truncate(text.trim_end_matches(['\r', '\n']).len());
    }
    text
}

fn contents(records: &[Record]) -> Vec<(String, String, String)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    records
        .iter()
        .map(|record| {
            (
                text(&record.id),
                text(&record.description),
                text(&record.sequence),
            )
        })
        .collect()
}

fn expected(proteins: &[Protein]) -> Vec<(String, String, String)> {
    proteins
        .iter()
        .cloned()
        .map(|protein| (protein.id, protein.description, protein.sequence))
        .collect()
}

proptest! {
    #[test]
    fn any_layout_of_a_file_gives_the_same_records(
        proteins in prop::collection::vec(protein(0), 0..8).prop_filter("PIR", |all| is_plain(all)),
        width in 1usize..100,
        end in prop::sample::select(vec!["\n", "\r\n", "\r", "\n\n", "\r\n\r\n", " \t\r\n", "\x0b\x0c\n"]),
        last_end: bool,
        step in 1usize..40,
        capacity in 0usize..2000,
    ) {
        let text = write(&proteins, width, end, last_end);
        let short = Short { inner: text.as_bytes(), step };
        let records = read_all(Reader::with_capacity("x", short, capacity)).unwrap();
        prop_assert_eq!(contents(&records), expected(&proteins));
        for (place, record) in records.iter().enumerate() {
            prop_assert_eq!(record.number, place as u64 + 1);
        }
    }

    #[test]
    fn line_numbers_count_every_line_end_once(
        proteins in prop::collection::vec(protein(1), 1..8).prop_filter("PIR", |all| is_plain(all)),
        width in 1usize..100,
        end in prop::sample::select(vec!["\n", "\r\n", "\r"]),
        step in 1usize..40,
    ) {
        let text = write(&proteins, width, end, true);
        let short = Short { inner: text.as_bytes(), step };
        let records = read_all(Reader::with_capacity("x", short, 0)).unwrap();
        let mut line = 1;
        for (record, protein) in records.iter().zip(&proteins) {
            prop_assert_eq!(record.line, line);
            line += 1 + protein.sequence.len().div_ceil(width) as u64;
        }
    }

    #[test]
    fn compression_does_not_change_the_records(
        proteins in prop::collection::vec(protein(0), 1..6).prop_filter("PIR", |all| is_plain(all)),
        cut in any::<prop::sample::Index>(),
        padding in 0usize..600,
    ) {
        let text = write(&proteins, 60, "\n", true).into_bytes();
        let (head, tail) = text.split_at(cut.index(text.len()));
        let mut padded = gzip(&[head, b"", tail]);
        padded.resize(padded.len() + padding, 0);
        let digest = {
            let (_file, input) = open(&text);
            let mut reader = Reader::new(input);
            while reader.read(&mut Record::default()).unwrap() {}
            reader.get_ref().digest()
        };
        prop_assert_eq!(digest.bytes, text.len() as u64);
        for bytes in [padded, zstd(&[head, b"", tail])] {
            let (_file, input) = open(&bytes);
            let mut reader = Reader::new(input);
            let mut records = Vec::new();
            let mut record = Record::default();
            while reader.read(&mut record).unwrap() {
                records.push(record.clone());
            }
            prop_assert_eq!(contents(&records), expected(&proteins));
            prop_assert_eq!(reader.get_ref().digest(), digest);
        }
    }

    #[test]
    fn bio_and_needletail_read_the_same(
        proteins in prop::collection::vec(protein(1), 1..8).prop_filter("PIR", |all| is_plain(all)),
        width in 1usize..100,
        end in prop::sample::select(vec!["\n", "\r\n"]),
    ) {
        let text = write(&proteins, width, end, true);
        let ours = contents(&read_all(Reader::from_read("x", text.as_bytes())).unwrap());

        let bio: Vec<_> = bio::io::fasta::Reader::new(text.as_bytes())
            .records()
            .map(|record| {
                let record = record.unwrap();
                (
                    record.id().to_owned(),
                    record.desc().unwrap_or_default().to_owned(),
                    String::from_utf8(record.seq().to_vec()).unwrap(),
                )
            })
            .collect();
        prop_assert_eq!(&ours, &bio);

        let mut needletail = Vec::new();
        let mut reader = needletail::parse_fastx_reader(text.as_bytes()).unwrap();
        while let Some(record) = reader.next() {
            let record = record.unwrap();
            let header = String::from_utf8(record.id().to_vec()).unwrap();
            let (id, description) = header.split_once(' ').unwrap_or((&header, ""));
            let sequence = String::from_utf8(record.seq().into_owned()).unwrap();
            needletail.push((id.to_owned(), description.to_owned(), sequence));
        }
        prop_assert_eq!(&ours, &needletail);
    }

    #[test]
    fn any_bytes_give_the_same_records_or_errors_in_reads_of_any_size(
        bytes in prop::collection::vec(
            prop_oneof![
                4 => prop::sample::select(b">\n\r;# \tMKJ*<\0\x1b\xef\xbb\xbf\xff\xc3\xa9".to_vec()),
                1 => any::<u8>(),
            ],
            0..300,
        ),
        start in prop::sample::select(vec![&b""[..], b">", b">a\nMK\n", b"\n\n>a b\nM"]),
        step in 1usize..9,
    ) {
        let text = [start, &bytes[..]].concat();
        let whole = outcome(Reader::from_read("x", &text[..]));
        let short = Short { inner: &text[..], step };
        prop_assert_eq!(&whole, &outcome(Reader::with_capacity("x", short, 0)));
        // A header is a `>` that starts a line, perhaps after byte order marks.
        let headers = text.iter().filter(|&&byte| byte == b'>').count();
        prop_assert!(whole.len() <= headers + 1);
    }

    #[test]
    fn a_bad_record_does_not_affect_the_others(
        before in prop::collection::vec(protein(1), 0..4).prop_filter("PIR", |all| is_plain(all)),
        after in prop::collection::vec(protein(1), 0..4).prop_filter("PIR", |all| is_plain(all)),
        fault in prop::sample::select(vec!["M\0K", "MK\n;remark", "#remark\nMK", "MK>x", "M\x1bK"]),
    ) {
        let text = [
            write(&before, 50, "\n", true),
            format!(">bad one\nACD\n{fault}\nEFG\n"),
            write(&after, 50, "\n", true),
        ]
        .concat();
        let mut reader = Reader::from_read("x", text.as_bytes());
        let (mut records, mut errors) = (Vec::new(), Vec::new());
        let mut record = Record::default();
        loop {
            match reader.read(&mut record) {
                Ok(true) => records.push(record.clone()),
                Ok(false) => break,
                Err(error) => {
                    prop_assert!(record.sequence.is_empty());
                    errors.push(error.record().unwrap().clone());
                }
            }
        }
        prop_assert_eq!(contents(&records), expected(&[before.clone(), after].concat()));
        prop_assert_eq!(errors.len(), 1);
        prop_assert_eq!(&errors[0].id, b"bad");
        prop_assert_eq!(errors[0].number, before.len() as u64 + 1);
    }
}

/// Records and messages in order; a fatal error ends them.
fn outcome<R: Read>(mut reader: Reader<R>) -> Vec<Result<Record, String>> {
    let mut seen = Vec::new();
    let mut record = Record::default();
    loop {
        match reader.read(&mut record) {
            Ok(true) => seen.push(Ok(record.clone())),
            Ok(false) => break,
            Err(error) => {
                seen.push(Err(error.to_string()));
                if !error.is_record() {
                    let again = reader.read(&mut record).unwrap_err();
                    assert_eq!(again.to_string(), error.to_string());
                    break;
                }
            }
        }
    }
    seen
}

#[test]
fn invisible_characters_are_recognised_across_reads() {
    for before in 500..516 {
        let residues = "M".repeat(before);
        let text = format!(">a\n{residues}\u{a0}K\u{200b}\u{e0041}T\u{feff}\n\u{ad}A\u{2028}*\n");
        for step in 1..6 {
            let short = Short {
                inner: text.as_bytes(),
                step,
            };
            let records = read_all(Reader::with_capacity("x", short, 0)).unwrap();
            let tokens = tokenize(&records[0].sequence, UnknownPolicy::Error).unwrap();
            assert_eq!(tokens.ids[before..], [20, 15, 11, 5, 2], "{before} {step}");
            assert_eq!(tokens.invisible, 6);
        }
    }
}

#[test]
fn interrupted_reads_are_repeated() {
    let inner = &b">a\nMK\n>b\nTT\n"[..];
    let records = read_all(Reader::from_read("x", Interrupted { inner, calls: 0 })).unwrap();
    assert_eq!(records.len(), 2);
    assert_eq!(records[1].sequence, b"TT");
}

#[test]
fn inputs_and_errors_may_cross_threads() {
    fn crosses<T: Send>() {}
    crosses::<Reader<Input>>();
    crosses::<FastaError>();
    crosses::<Record>();
}

#[test]
fn an_input_knows_its_name_kind_and_digest() {
    let (file, input) = open(b">a\nMK\n");
    assert_eq!(input.name(), file.path().to_str().unwrap());
    assert!(input.is_regular_file());
    let mut reader = Reader::new(input);
    while reader.read(&mut Record::default()).unwrap() {}
    let digest = reader.into_inner().digest();
    assert_eq!(digest.bytes, 6);
    // From `printf '>a\nMK\n' | sha256sum`.
    let hex: String = digest
        .sha256
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(
        hex,
        "85bc3fdf3fd33379de41de33d6cb53b4f91d5aa1fee9ea9be99848561ed7b5d9"
    );
}

#[test]
fn a_million_records_reuse_one_buffer() {
    let count: u32 = 1_000_000;
    let mut text = Vec::new();
    for number in 0..count {
        writeln!(text, ">{number}\nM").unwrap();
    }
    let mut reader = Reader::from_read("x", &text[..]);
    let mut record = Record::default();
    while reader.read(&mut record).unwrap() {
        assert_eq!(record.sequence, b"M");
    }
    assert_eq!(reader.records(), 1_000_000);
    assert_eq!(
        (record.id.as_slice(), record.line),
        (&b"999999"[..], 1_999_999)
    );
}
