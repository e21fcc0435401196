//! Folders as arguments: an output folder to write, and folders to read.

use anyhow::ensure;
use std::path::Path;

/// Endings of file names that nobody gives to a folder, and how to get such a file.
const FILES: [(&[&str], &str); 5] = [
    (
        &["npy"],
        "the .npy files in the folder have fixed names, such as mean.layer33.npy",
    ),
    (
        &[
            "pkl", "pickle", "tsv", "txt", "feather", "json", "jsonl", "arrow", "bin", "mat",
            "xlsx",
        ],
        "the folder holds .npy files, which numpy.load reads, and index.tsv; esm-embed export writes other \
         formats",
    ),
    (
        &["fasta", "fa", "faa", "fna", "ffn", "fas"],
        "FASTA files are inputs, given without a flag: esm-embed run proteins.fasta --out emb",
    ),
    (
        &["gz", "bz2", "xz", "zst", "zip", "tar", "tgz"],
        "the output is not compressed; compress the folder afterwards",
    ),
    (
        &["png", "pdf", "svg", "html"],
        "the folder holds numbers; esm-embed plot makes pictures of them afterwards",
    ),
];

/// Endings of files that `export` writes, and its names for them.
const EXPORTS: [(&[&str], &str); 6] = [
    (&["h5", "hdf5", "hdf"], "h5"),
    (&["npz"], "npz"),
    (&["parquet"], "parquet"),
    (&["csv"], "csv"),
    (&["safetensors"], "safetensors"),
    (&["pt", "pth"], "pt"),
];

/// Why this cannot be the output folder, with hints. An existing folder may have any name.
pub fn not_a_folder(out: &Path) -> Option<String> {
    if out.as_os_str().is_empty() {
        return Some(
            "`out` is empty\nhint: give the folder to write, such as --out emb".to_owned(),
        );
    }
    if out == Path::new("-") {
        return Some(
            "a run writes a folder and nothing to standard output, so `out=-` is not possible\n\
             hint: give the folder to write, such as --out emb"
                .to_owned(),
        );
    }
    if out.is_dir() {
        return None;
    }
    let ending = out.extension()?.to_str()?.to_ascii_lowercase();
    let folder = match out.with_extension("") {
        // A name like .npy has no ending.
        folder if folder.as_os_str().is_empty() => "emb".into(),
        folder => folder,
    };
    let has = |endings: &[&str]| endings.contains(&ending.as_str());
    let exported = EXPORTS.iter().find(|(endings, _)| has(endings));
    let how = match exported {
        Some((_, format)) => format!(
            "then export it: esm-embed export {} --to {format} --out {}",
            folder.display(),
            out.display()
        ),
        None => FILES.iter().find(|(endings, _)| has(endings))?.1.to_owned(),
    };
    Some(format!(
        "a run writes a folder, but --out {} is the name of a file\n\
         hint: give a folder, such as --out {}\n\
         hint: {how}",
        out.display(),
        folder.display()
    ))
}

/// Refuses a path that is not a folder, with a hint.
pub fn check_is_folder(dir: &Path, hint: &str) -> anyhow::Result<()> {
    ensure!(
        dir.exists(),
        "{} does not exist\nhint: {hint}",
        dir.display()
    );
    ensure!(
        dir.is_dir(),
        "{} is not a folder\nhint: {hint}",
        dir.display()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(out: &str) -> String {
        not_a_folder(Path::new(out)).unwrap_or_default()
    }

    #[test]
    fn names_of_files_are_refused() {
        assert_eq!(
            why("x/emb.npy"),
            "a run writes a folder, but --out x/emb.npy is the name of a file\n\
             hint: give a folder, such as --out x/emb\n\
             hint: the .npy files in the folder have fixed names, such as mean.layer33.npy"
        );
        assert!(why("emb.npy/").contains("--out emb.npy/ is the name of a file"));
        assert!(why("emb.npy//").ends_with("such as mean.layer33.npy"));
        assert!(why("emb.H5").ends_with(
            "such as --out emb\nhint: then export it: esm-embed export emb --to h5 --out emb.H5"
        ));
        assert!(why("x/emb.pth").ends_with("export x/emb --to pt --out x/emb.pth"));
        assert!(why("emb.xlsx").contains("--out emb\nhint: the folder holds .npy files"));
        assert!(why("map.svg").ends_with(
            "hint: the folder holds numbers; esm-embed plot makes pictures of them afterwards"
        ));
        assert!(why("proteins.fasta").contains("FASTA files are inputs"));
        assert!(why("emb.tar.gz").contains("--out emb.tar\n"));
        assert!(why("-").contains("nothing to standard output"));
        assert!(why("").starts_with("`out` is empty"));
    }

    #[test]
    fn names_of_folders_are_accepted() {
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
