//! What a file that is not FASTA looks like, and how to get FASTA from it.

use super::{compression::is_zstd, is_blank};

/// Another format, and what to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lookalike {
    /// The format, as in "looks like …".
    pub what: &'static str,
    /// What to do.
    pub remedy: &'static str,
}

const fn looks(what: &'static str, remedy: &'static str) -> Lookalike {
    Lookalike { what, remedy }
}

/// Offset of the format's name in a tar archive.
const TAR_MAGIC: usize = 257;

const TAR: Lookalike = looks(
    "a tar archive",
    "unpack it, or pipe one file of it: `tar -xOf IN FILE.fasta | esm-embed run - …`",
);
const PDB: Lookalike = looks(
    "a PDB structure file",
    "use the FASTA of its chains, which the PDB offers for download",
);
const ALIGNMENT_REMEDY: &str =
    "convert it with `seqret -sequence IN -outseq fasta::OUT`, or with any alignment editor";
const COMMENT_REMEDY: &str = "delete the comment lines, and start each record with a line `>name`";
const ARCHIVE_REMEDY: &str = "unpack it and use the FASTA files in it";

/// The first bytes of formats, in the order in which they are tried.
const STARTS: &[(&[u8], Lookalike)] = &[
    (
        b"@",
        looks(
            "FASTQ",
            "translate the reads to proteins, or, if they are proteins, convert the file with \
             `seqtk seq -a IN > OUT`",
        ),
    ),
    (
        b"# STOCKHOLM",
        looks(
            "a Stockholm alignment",
            "convert it with `esl-reformat fasta IN > OUT`",
        ),
    ),
    (
        b"ID   ",
        looks(
            "a UniProt or EMBL flat file",
            "download the FASTA form, or convert it with `esl-reformat fasta IN > OUT`",
        ),
    ),
    (
        b"LOCUS ",
        looks(
            "a GenBank flat file",
            "download the FASTA form, or convert it with `esl-reformat fasta IN > OUT`",
        ),
    ),
    (b"HEADER ", PDB),
    (b"ATOM  ", PDB),
    (b"HETATM", PDB),
    (b"REMARK ", PDB),
    (b"TITLE ", PDB),
    (b"CRYST1", PDB),
    (b"MODEL  ", PDB),
    (
        b"data_",
        looks(
            "an mmCIF structure file",
            "use the FASTA of its chains, which the PDB offers for download",
        ),
    ),
    (b"CLUSTAL ", looks("a Clustal alignment", ALIGNMENT_REMEDY)),
    (b"MUSCLE (", looks("a Clustal alignment", ALIGNMENT_REMEDY)),
    (b"#NEXUS", looks("a NEXUS file", ALIGNMENT_REMEDY)),
    (b"!!AA_", looks("a GCG file", ALIGNMENT_REMEDY)),
    (b"PileUp", looks("an MSF alignment", ALIGNMENT_REMEDY)),
    (
        b"<",
        looks(
            "HTML or XML",
            "open it: downloads often save an error page under the file's name; then download the \
             FASTA again",
        ),
    ),
    (
        b"{\\rtf",
        looks("a word-processor document", "save it as plain text"),
    ),
    (
        b"{",
        looks(
            "JSON",
            "download the FASTA form, or write each sequence as a line `>name` and its residues",
        ),
    ),
    (
        b"[",
        looks(
            "JSON",
            "download the FASTA form, or write each sequence as a line `>name` and its residues",
        ),
    ),
    (
        b"version https://git-lfs",
        looks(
            "a Git LFS pointer, not the file itself",
            "fetch the file with `git lfs pull`",
        ),
    ),
    (
        b"%PDF",
        looks("a PDF", "copy the sequences into a text file"),
    ),
    (
        b"BZh",
        looks(
            "bzip2 data",
            "decompress it with `bunzip2 IN`, or pipe it: `bzcat IN | esm-embed run - …`",
        ),
    ),
    (
        b"\xFD7zXZ\0",
        looks(
            "xz data",
            "decompress it with `unxz IN`, or pipe it: `xzcat IN | esm-embed run - …`",
        ),
    ),
    (
        b"\x04\x22\x4D\x18",
        looks("lz4 data", "decompress it with `lz4 -d IN OUT`"),
    ),
    (
        b"\x1F\x9D",
        looks("compress (.Z) data", "decompress it with `gzip -d IN`"),
    ),
    (
        b"\x1F\x8B",
        looks(
            "gzip data that was compressed twice",
            "decompress it once with `gzip -dc IN > OUT`",
        ),
    ),
    (
        b"PK\x03\x04",
        looks(
            "a zip archive or an office document",
            "unpack it with `unzip IN`, or save the document as plain text",
        ),
    ),
    (b"PK\x05\x06", looks("an empty zip archive", ARCHIVE_REMEDY)),
    (b"7z\xBC\xAF\x27\x1C", looks("a 7z archive", ARCHIVE_REMEDY)),
    (b"Rar!\x1A\x07", looks("a RAR archive", ARCHIVE_REMEDY)),
    (
        b"\x93NUMPY",
        looks("a NumPy array", "use the FASTA file it was made from"),
    ),
    (
        b"\x89HDF\r\n",
        looks("an HDF5 file", "use the FASTA file it was made from"),
    ),
    (
        b"##gff",
        looks("a GFF file", "use the FASTA of the proteins it annotates"),
    ),
    (b"#", looks("a comment of another format", COMMENT_REMEDY)),
    (
        b";",
        looks("a comment line of the old Pearson format", COMMENT_REMEDY),
    ),
    (
        b">",
        looks(
            "a header after white space",
            "delete the white space before `>`, for example with `sed 's/^[[:blank:]]*>/>/' IN > \
             OUT`",
        ),
    ),
];

const BINARY: Lookalike = looks(
    "binary data",
    "check that this is the right file and that it was copied completely",
);
const TABLE: Lookalike = looks(
    "a table",
    "write it as FASTA, each sequence under a line `>name`, for example with \
     `awk -F'\\t' '{print \">\" $1 \"\\n\" $2}' IN > OUT`",
);
const BARE: Lookalike = looks(
    "a sequence without a header",
    "put a line `>name` before it",
);
const TEXT: Lookalike = looks(
    "some other text",
    "check that this is the right file: FASTA has a line `>name` before each sequence",
);

/// What `preview` looks like, the start of a text that does not start with `>`.
pub(super) fn lookalike(preview: &[u8]) -> Lookalike {
    if preview
        .get(TAR_MAGIC..)
        .is_some_and(|rest| rest.starts_with(b"ustar"))
    {
        return TAR;
    }
    if is_zstd(preview) {
        return looks(
            "zstd data that was compressed twice",
            "decompress it once with `zstd -dc IN > OUT`",
        );
    }
    if let Some((_, found)) = STARTS.iter().find(|(start, _)| preview.starts_with(start)) {
        return *found;
    }
    let line = preview
        .split(|byte| matches!(byte, b'\n' | b'\r'))
        .next()
        .unwrap_or_default();
    if line
        .iter()
        .any(|&byte| byte.is_ascii_control() && !is_blank(byte))
    {
        BINARY
    } else if line
        .iter()
        .all(|&byte| byte.is_ascii_alphabetic() || matches!(byte, b'*' | b'-' | b'.'))
    {
        BARE
    } else if line.contains(&b'\t') {
        TABLE
    } else {
        TEXT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_entry_hides_a_later_one() {
        for (place, (start, _)) in STARTS.iter().enumerate() {
            let first = STARTS
                .iter()
                .position(|(other, _)| start.starts_with(other));
            assert_eq!(first, Some(place), "{start:?}");
        }
    }

    #[test]
    fn a_tar_archive_is_recognised_by_its_header() {
        let mut block = vec![0; 512];
        block[..14].copy_from_slice(b"proteins.fasta");
        assert_eq!(lookalike(&block), BINARY);
        block[257..262].copy_from_slice(b"ustar");
        assert_eq!(lookalike(&block), TAR);
    }
}
