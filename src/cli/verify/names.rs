//! Which published values belong to a model, and what to report if there are none.

use super::reference::Reference;
use esm_embed::hub::{KnownModel, ModelRef, known_models};
use esm_embed::printable;
use std::path::{Path, PathBuf};

/// How a repository's folder in the Hugging Face cache begins.
const CACHED: &str = "models--";

/// The names under which there may be values for this model: its repository, or the name of its
/// folder or file.
pub fn names(model: &ModelRef) -> Vec<String> {
    match model {
        ModelRef::Known(known) => vec![known.repo.to_owned(), known.name.to_owned()],
        ModelRef::Hub { repo } => of_repo(repo),
        ModelRef::Path(path) => of_path(path),
    }
}

/// A repository, and its name without the organisation: exports of the same weights keep the name.
fn of_repo(repo: &str) -> Vec<String> {
    let name = repo.rsplit('/').next().unwrap_or(repo);
    vec![repo.to_owned(), name.to_owned()]
}

/// Folder and file names, and the repository if the path is in a Hugging Face cache.
fn of_path(path: &Path) -> Vec<String> {
    // Both the path as given and where its links lead: a cache links to files named by their hash.
    let given = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let real = path.canonicalize().unwrap_or_else(|_| given.clone());
    let mut names = Vec::new();
    for path in [&given, &real] {
        let folder = if path.is_file() { path.parent() } else { None };
        let parts = [
            path.file_name(),
            path.file_stem(),
            folder.and_then(Path::file_name),
        ];
        names.extend(
            parts
                .into_iter()
                .flatten()
                .map(|name| name.to_string_lossy().into_owned()),
        );
        names.extend(repo_in_cache(path).iter().flat_map(|repo| of_repo(repo)));
    }
    names
}

/// `organisation/name` of a path below `models--organisation--name`.
fn repo_in_cache(path: &Path) -> Option<String> {
    path.ancestors().find_map(|folder: &Path| {
        let name = folder.file_name()?.to_str()?;
        Some(name.strip_prefix(CACHED)?.replacen("--", "/", 1))
    })
}

/// Why there is nothing to compare a model with, with hints.
pub fn nothing_to_compare(
    model: &str,
    names: &[String],
    reference: &Reference,
    file: Option<&PathBuf>,
) -> String {
    let model = printable::text(model);
    let at_hand = reference.checkpoints().join(", ");
    if let Some(file) = file {
        return format!(
            "{} has no values for {model}, only for {at_hand}\nhint: remove checkpoint from a \
             comparison to use it for any model",
            printable::text(&file.display().to_string())
        );
    }
    let known = known_models()
        .iter()
        .find(|known| names.iter().any(|name| name == known.name));
    match known {
        Some(KnownModel { name, .. }) => format!(
            "no embeddings of {name} are published to compare with, only of {at_hand}\nhint: to \
             verify its files, run: esm-embed fetch {name}\nhint: to compare with your own values, \
             use --reference FILE"
        ),
        None => format!(
            "no values are published under the name {model}, only for {at_hand}\nhint: if it is one \
             of these models, rename the folder or file\nhint: to compare with your own values, use \
             --reference FILE"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(path: &Path, name: &str) -> bool {
        names(&ModelRef::Path(path.to_path_buf())).contains(&name.to_owned())
    }

    #[test]
    fn a_model_is_named_by_its_repository_folder_and_file() {
        let repo = ModelRef::Hub {
            repo: "nvidia/esm2_t33_650M_UR50D".to_owned(),
        };
        assert_eq!(
            names(&repo),
            ["nvidia/esm2_t33_650M_UR50D", "esm2_t33_650M_UR50D"]
        );

        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("esm2_t6_8M_UR50D");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("model.safetensors"), "").unwrap();
        assert!(has(&folder, "esm2_t6_8M_UR50D"));
        assert!(has(&folder.join("model.safetensors"), "esm2_t6_8M_UR50D"));
        assert!(has(
            &home.path().join("esm2_t6_8M_UR50D.pt"),
            "esm2_t6_8M_UR50D"
        ));
        // A link counts by its own name and by that of its target.
        let link = home.path().join("mine");
        std::os::unix::fs::symlink(&folder, &link).unwrap();
        assert!(has(&link, "mine") && has(&link, "esm2_t6_8M_UR50D"));
    }

    #[test]
    fn a_snapshot_in_the_cache_belongs_to_its_repository() {
        let home = tempfile::tempdir().unwrap();
        let repo = home.path().join("models--facebook--esm2_t6_8M_UR50D");
        let snapshot = repo.join("snapshots/c731040f");
        std::fs::create_dir_all(&snapshot).unwrap();
        std::fs::create_dir(repo.join("blobs")).unwrap();
        std::fs::write(repo.join("blobs/0123"), "").unwrap();
        let file = snapshot.join("model.safetensors");
        std::os::unix::fs::symlink("../../blobs/0123", &file).unwrap();
        for path in [&snapshot, &file] {
            assert!(has(path, "facebook/esm2_t6_8M_UR50D"), "{path:?}");
        }
    }

    #[test]
    fn without_values_the_error_says_what_to_do() {
        let reference = Reference::open(None).unwrap();
        let say = |name: &str| {
            let names = vec![name.to_owned()];
            nothing_to_compare(name, &names, &reference, None)
        };
        let published = "facebook/esm2_t6_8M_UR50D, facebook/esm1b_t33_650M_UR50S, facebook/esm2_t12_35M_UR50D, \
                         facebook/esm2_t30_150M_UR50D, facebook/esm2_t33_650M_UR50D, \
                         facebook/esm2_t36_3B_UR50D, biohub/ESMC-300M, biohub/ESMC-600M, biohub/ESMC-6B, \
                         airkingbd/dplm_150m, airkingbd/dplm_650m, airkingbd/dplm_3b";
        for name in [
            "esm2_t48_15B_UR50D",
            "esm1b_t33_650M_UR50S",
            "esm1v_t33_650M_UR90S_3",
        ] {
            assert_eq!(
                say(name),
                format!(
                    "no embeddings of {name} are published to compare with, only of \
                     {published}\nhint: to verify its files, run: esm-embed fetch {name}\nhint: to \
                     compare with your own values, use --reference FILE"
                )
            );
        }
        assert_eq!(
            say("my\u{1b}model"),
            format!(
                "no values are published under the name my\\u{{1b}}model, only for \
                 {published}\nhint: if it is one of these models, rename the folder or file\nhint: to \
                 compare with your own values, use --reference FILE"
            )
        );
    }
}
