//! Files in other formats and encodings are named.

use crate::support::*;
use esm_embed::fasta::FastaError;

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
        (b"{\\rtf1\\ansi >a\n", "a word-processor document"),
        (
            b"version https://git-lfs.github.com/spec/v1\n",
            "a Git LFS pointer, not the file itself",
        ),
        (b"%PDF-1.7\n", "a PDF"),
        (b"BZh91AY&SY", "bzip2 data"),
        (b"\xfd7zXZ\0\0\x04", "xz data"),
        (b"\x04\x22\x4d\x18aaaa", "lz4 data"),
        (b"\x1f\x9d\x90\x3e", "compress (.Z) data"),
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
        (b" >a\nMK\n", "a header after white space"),
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
         looks like FASTQ\nhint: translate the reads to proteins, or, if they are proteins, convert \
         the file with `seqtk seq -a IN > OUT`"
    );
    // Compressed too, by the same rule.
    let error = read_file(&gzip(&tar)).1.unwrap().to_string();
    assert!(
        error.contains("looks like a tar archive\nhint: unpack it"),
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
