//! `--out`: a folder, and what it is taken for.

use std::path::Path;

/// Endings of names that nobody gives to a folder, and how such a file is made from what is written.
const FILES: [(&[&str], &str); 5] = [
    (
        &["npy"],
        "The .npy files in it have names of their own, such as mean.layer33.npy",
    ),
    (
        &[
            "npz",
            "h5",
            "hdf5",
            "hdf",
            "pt",
            "pth",
            "pkl",
            "pickle",
            "csv",
            "tsv",
            "txt",
            "parquet",
            "feather",
            "safetensors",
            "json",
            "jsonl",
            "arrow",
            "bin",
            "mat",
            "xlsx",
        ],
        "This version writes .npy files, which numpy.load reads, and index.tsv",
    ),
    (
        &["fasta", "fa", "faa", "fna", "ffn", "fas"],
        "A FASTA file is an input and comes without a flag: esm-embed run proteins.fasta --out emb",
    ),
    (
        &["gz", "bz2", "xz", "zst", "zip", "tar", "tgz"],
        "It is not compressed; pack the folder afterwards",
    ),
    (&["png", "pdf", "svg", "html"], "It draws nothing"),
];

/// Why `--out` cannot be what is meant. A folder that is there already may have any name.
pub(super) fn not_a_folder(out: &Path) -> Option<String> {
    if out.as_os_str().is_empty() {
        return Some("--out is empty: give the folder to write, such as --out emb".to_owned());
    }
    if out == Path::new("-") {
        return Some(
            "--out - is not a folder: a run writes several files, and none to standard output. \
             Give the folder to write, such as --out emb"
                .to_owned(),
        );
    }
    if out.is_dir() {
        return None;
    }
    let ending = out.extension()?.to_str()?.to_ascii_lowercase();
    let (_, why) = FILES
        .iter()
        .find(|(endings, _)| endings.contains(&ending.as_str()))?;
    let folder = match out.with_extension("") {
        // A name like .npy has no ending.
        folder if folder.as_os_str().is_empty() => "emb".into(),
        folder => folder,
    };
    Some(format!(
        "--out {} is the name of a file, and a run writes a folder: give --out {}. {why}",
        out.display(),
        folder.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(out: &str) -> String {
        not_a_folder(Path::new(out)).unwrap_or_default()
    }

    #[test]
    fn names_of_files_are_refused_with_what_is_meant() {
        assert_eq!(
            why("x/emb.npy"),
            "--out x/emb.npy is the name of a file, and a run writes a folder: give --out x/emb. \
             The .npy files in it have names of their own, such as mean.layer33.npy"
        );
        assert!(why("emb.npy/").starts_with("--out emb.npy/ is the name of a file"));
        assert!(why("emb.npy//").ends_with("such as mean.layer33.npy"));
        assert!(why("emb.H5").contains("give --out emb. This version writes .npy files"));
        assert!(why("proteins.fasta").contains("is an input"));
        assert!(why("emb.tar.gz").contains("give --out emb.tar."));
        assert!(why("-").starts_with("--out - is not a folder"));
        assert!(why("").starts_with("--out is empty"));
    }

    #[test]
    fn names_of_folders_are_not() {
        for out in [
            "emb",
            "emb/",
            "run.v1",
            "esm2.650M",
            "./-",
            ".",
            "..",
            "a.b/emb",
            ".npy",
        ] {
            assert_eq!(why(out), "", "{out}");
        }
        let home = tempfile::tempdir().unwrap();
        let out = home.path().join("emb.npy");
        std::fs::create_dir(&out).unwrap();
        assert_eq!(not_a_folder(&out), None);
    }
}
