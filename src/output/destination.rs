//! Where a file may be put that is made from an output folder: an export, a map, a report.

use crate::output::folder_files::RUN_JSON;
use crate::output::layout::is_file_name;
use std::fs;
use std::path::Path;

/// Why a file must not be put at this path, whatever may be replaced. A text that follows the path.
///
/// Renaming a file over a device, such as `/dev/null`, or over a pipe would put a file in its place.
pub(crate) fn unfit_for_file(path: &Path) -> Option<&'static str> {
    if path.as_os_str() == "-" {
        return Some("is not the name of a file: nothing is written to standard output");
    }
    if path.file_name().is_none() {
        return Some("is not the name of a file");
    }
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(_) if path.as_os_str().as_encoded_bytes().ends_with(b"/") => {
            return Some("is not the name of a file");
        }
        Err(_) => return None,
    };
    if metadata.is_dir() {
        Some("is a folder, so it is not replaced")
    } else if !metadata.is_file() {
        Some("is not a file, so it is not replaced")
    } else if is_output_of_a_run(path) {
        Some("is part of the output of a run, so it is not replaced")
    } else {
        None
    }
}

fn is_output_of_a_run(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    (name == RUN_JSON || is_file_name(&name)) && path.with_file_name(RUN_JSON).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_that_belong_to_no_run_are_replaced() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        for name in ["x.csv", "mean.layer2.npy", "index.tsv"] {
            fs::write(at(name), "").unwrap();
            assert_eq!(unfit_for_file(&at(name)), None, "{name}");
        }
        fs::write(at("run.json"), "").unwrap();
        fs::create_dir(at("folder")).unwrap();
        let pipe = std::os::unix::net::UnixListener::bind(at("socket"));
        std::os::unix::fs::symlink(at("socket"), at("link")).unwrap();
        std::os::unix::fs::symlink(at("nowhere"), at("loose")).unwrap();
        let of_a_run = Some("is part of the output of a run, so it is not replaced");
        let no_file = Some("is not a file, so it is not replaced");
        for (name, expected) in [
            ("x.csv", None),
            ("new", None),
            ("loose", None),
            ("run.json", of_a_run),
            ("index.tsv", of_a_run),
            ("mean.layer2.npy", of_a_run),
            ("folder", Some("is a folder, so it is not replaced")),
            ("none/", Some("is not the name of a file")),
            ("socket", no_file),
            ("link", no_file),
        ] {
            assert_eq!(unfit_for_file(&at(name)), expected, "{name}");
        }
        drop(pipe);
        let stdout = "is not the name of a file: nothing is written to standard output";
        assert_eq!(unfit_for_file(Path::new("-")), Some(stdout));
        assert_eq!(
            unfit_for_file(Path::new("..")),
            Some("is not the name of a file")
        );
        assert_eq!(
            unfit_for_file(Path::new("/dev/null")),
            Some("is not a file, so it is not replaced")
        );
    }
}
