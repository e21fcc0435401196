//! Files that are missing, change or fail while they are read, and pipes.

use esm_embed::fasta::{FastaError, Input, Reader, Record};
use std::{
    io::{self, Read, Write},
    path::Path,
};

#[test]
fn folders_and_missing_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = Input::open(folder.path()).unwrap_err();
    let name = folder.path().to_str().unwrap();
    assert_eq!(
        error.to_string(),
        format!(
            "{name}: is a folder\nhint: name the FASTA files in it, for example {name}/*.fasta"
        )
    );
    let missing = folder.path().join("none.fasta");
    let error = Input::open(&missing).unwrap_err();
    assert!(matches!(error, FastaError::Open { .. }));
    assert_eq!(
        error.to_string(),
        format!(
            "{}: cannot be opened: No such file or directory (os error 2)\n\
             hint: check the path and its permissions",
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
fn a_disk_error_is_not_called_damage() {
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
            "x.fasta, line 4: cannot be read: Input/output error (os error 5)\n\
             hint: check the disk, or the program that writes this input, then run again"
        );
    }
}

#[cfg(unix)]
#[test]
fn a_pipe_is_read_as_data_arrives() {
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
