//! Where to look for cuBLASLt: the folders in which users, package managers and toolkits put it.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The toolkit's names of this architecture, in `targets/NAME/lib`.
const TARGETS: &[&str] = match cfg!(target_arch = "aarch64") {
    true => &["sbsa-linux", "aarch64-linux"],
    false => &["x86_64-linux"],
};

/// Debian's name of it.
const MULTIARCH: &str = match cfg!(target_arch = "aarch64") {
    true => "aarch64-linux-gnu",
    false => "x86_64-linux-gnu",
};

/// The folders that exist, in the order in which they are searched, each once. `variable` reads an
/// environment variable, and `root` is `/`.
pub(super) fn folders(variable: &dyn Fn(&str) -> Option<OsString>, root: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = Vec::new();
    let paths = |name: &str| -> Vec<PathBuf> {
        let value = variable(name).unwrap_or_default();
        let paths = std::env::split_paths(&value);
        paths.filter(|path| path.is_absolute()).collect()
    };
    all.extend(paths("LD_LIBRARY_PATH"));
    for home in paths("CUDA_HOME").into_iter().chain(paths("CUDA_PATH")) {
        all.extend(of_toolkit(&home));
    }
    for prefix in paths("CONDA_PREFIX") {
        all.push(prefix.join("lib"));
    }
    if let Some(python) = python(&paths("PATH")) {
        let packages = site_packages(&python, root).into_iter();
        all.extend(packages.flat_map(|packages| of_packages(&packages)));
    }
    all.extend(of_toolkit(&root.join("usr/local/cuda")));
    // cuda-13.0 before cuda-12.4.
    let local = entries(&root.join("usr/local"), "cuda-");
    all.extend(local.iter().rev().flat_map(|home| of_toolkit(home)));
    all.extend(of_toolkit(&root.join("opt/cuda")));
    let system = [&format!("usr/lib/{MULTIARCH}"), "usr/lib64", "usr/lib"];
    all.extend(system.map(|folder| root.join(folder)));
    existing(all)
}

/// The package folders that the `python3` on PATH reports itself: it may be a script that starts
/// another Python.
pub(super) fn folders_by_python(variable: &dyn Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let path = variable("PATH").unwrap_or_default();
    let paths: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let Some(python) = python(&paths) else {
        return Vec::new();
    };
    let said = Command::new(python)
        .args(["-c", "import sys; print('\\n'.join(sys.path))"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    let said = said.map(|output| output.stdout).unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    existing(said.lines().flat_map(|line| of_packages(Path::new(line))))
}

/// The first `python3`, or else `python`, in these folders.
fn python(folders: &[PathBuf]) -> Option<PathBuf> {
    let named = |name: &str| {
        let mut found = folders.iter().map(|folder| folder.join(name));
        found.find(|path| path.is_file())
    };
    named("python3").or_else(|| named("python"))
}

/// Where the packages of a Python are: in its virtual environment, or in the installation that its links
/// lead to.
fn site_packages(python: &Path, root: &Path) -> Vec<PathBuf> {
    let up = |path: &Path| Some(path.parent()?.parent()?.to_owned());
    let of_prefix = |prefix: &Path| {
        let mut all = Vec::new();
        for lib in ["lib", "lib64", "local/lib"] {
            for version in entries(&prefix.join(lib), "python3") {
                all.push(version.join("site-packages"));
                all.push(version.join("dist-packages"));
            }
        }
        all
    };
    let mut all = Vec::new();
    if let Some(prefix) = up(python) {
        let settings = fs::read_to_string(prefix.join("pyvenv.cfg"));
        if let Ok(settings) = &settings {
            all.extend(of_prefix(&prefix));
            if !sees_system(settings) {
                return all;
            }
        }
    }
    let real = fs::canonicalize(python).unwrap_or_else(|_| python.to_owned());
    if let Some(prefix) = up(&real) {
        // `pip install` as root on Debian.
        if prefix == root.join("usr") {
            all.extend(of_prefix(&prefix.join("local")));
        }
        all.extend(of_prefix(&prefix));
    }
    all
}

/// Whether a virtual environment also sees the packages of the installation that it was made from.
fn sees_system(settings: &str) -> bool {
    settings.lines().any(|line| {
        line.split_once('=').is_some_and(|(name, value)| {
            name.trim() == "include-system-site-packages"
                && value.trim().eq_ignore_ascii_case("true")
        })
    })
}

/// Libraries that NVIDIA's packages bring: `nvidia/cublas/lib`, `nvidia/cu13/lib`.
fn of_packages(packages: &Path) -> Vec<PathBuf> {
    let all = entries(&packages.join("nvidia"), "").into_iter();
    all.map(|package| package.join("lib")).collect()
}

/// Libraries of a toolkit.
fn of_toolkit(home: &Path) -> Vec<PathBuf> {
    let plain = ["lib64", "lib"].map(|name| home.join(name));
    let targets = TARGETS.iter();
    let targets = targets.map(|name| home.join("targets").join(name).join("lib"));
    plain.into_iter().chain(targets).collect()
}

/// The entries of a folder whose names begin with `start`, sorted.
fn entries(folder: &Path, start: &str) -> Vec<PathBuf> {
    let all = fs::read_dir(folder).into_iter().flatten();
    let mut all: Vec<PathBuf> = all
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let is_named = entry
                .file_name()
                .as_encoded_bytes()
                .starts_with(start.as_bytes());
            is_named.then(|| entry.path())
        })
        .collect();
    all.sort();
    all
}

/// Those that are folders, each once.
fn existing(all: impl IntoIterator<Item = PathBuf>) -> Vec<PathBuf> {
    let mut kept: Vec<PathBuf> = Vec::new();
    for folder in all {
        if folder.is_dir() && !kept.contains(&folder) {
            kept.push(folder);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::os::unix::fs::symlink;

    /// A machine with these folders and files, of which those that end in `/` are folders.
    fn machine(all: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for path in all {
            let path = root.path().join(path);
            match path.to_str().unwrap().ends_with('/') {
                true => fs::create_dir_all(path).unwrap(),
                false => {
                    fs::create_dir_all(path.parent().unwrap()).unwrap();
                    fs::write(path, "").unwrap();
                }
            }
        }
        root
    }

    /// What is searched, relative to the machine's root.
    fn searched(root: &Path, variables: &[(&str, &str)]) -> Vec<String> {
        let in_root = |text: &str| text.replace('@', root.to_str().unwrap());
        let variables: HashMap<&str, String> =
            variables.iter().map(|(n, v)| (*n, in_root(v))).collect();
        let found = folders(&|name| variables.get(name).map(OsString::from), root);
        let relative = found.iter().map(|path| path.strip_prefix(root).unwrap());
        relative
            .map(|path| path.to_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn folders_of_the_user_come_first_and_those_of_the_system_last() {
        let root = machine(&[
            "my/libs/",
            "tool/lib64/",
            "tool/targets/x86_64-linux/lib/",
            "tool/targets/sbsa-linux/lib/",
            "conda/lib/",
            "usr/local/cuda-12.4/lib64/",
            "usr/local/cuda-13.0/lib64/",
            "usr/local/cuda/lib64/",
            "usr/lib64/",
            "usr/bin/",
        ]);
        let target = format!("tool/targets/{}/lib", TARGETS[0]);
        assert_eq!(
            searched(
                root.path(),
                &[
                    ("LD_LIBRARY_PATH", "@/my/libs:@/missing::relative"),
                    ("CUDA_HOME", "@/tool"),
                    ("CONDA_PREFIX", "@/conda"),
                    ("PATH", "@/usr/bin"),
                ]
            ),
            [
                "my/libs",
                "tool/lib64",
                &target,
                "conda/lib",
                "usr/local/cuda/lib64",
                "usr/local/cuda-13.0/lib64",
                "usr/local/cuda-12.4/lib64",
                "usr/lib64",
                "usr/lib",
            ]
            .into_iter()
            .filter(|path| root.path().join(path).is_dir())
            .collect::<Vec<_>>()
        );
        assert_eq!(
            searched(root.path(), &[]).first().map(String::as_str),
            Some("usr/local/cuda/lib64")
        );
    }

    #[test]
    fn packages_of_a_virtual_environment() {
        let root = machine(&[
            "base/bin/python3.12",
            "base/lib/python3.12/site-packages/nvidia/cublas/lib/",
            "venv/lib/python3.12/site-packages/nvidia/cu13/lib/",
            "venv/bin/",
        ]);
        let path = |name: &str| root.path().join(name);
        symlink(path("base/bin/python3.12"), path("venv/bin/python3")).unwrap();
        let ours = "venv/lib/python3.12/site-packages/nvidia/cu13/lib";
        let theirs = "base/lib/python3.12/site-packages/nvidia/cublas/lib";
        let found = || searched(root.path(), &[("PATH", "@/nothing:@/venv/bin")]);
        let settings = "home = /base/bin\ninclude-system-site-packages = ";
        fs::write(path("venv/pyvenv.cfg"), format!("{settings}false\n")).unwrap();
        assert_eq!(found(), [ours]);
        fs::write(path("venv/pyvenv.cfg"), format!("{settings}true\n")).unwrap();
        assert_eq!(found(), [ours, theirs]);
        // A link to an installation, without an environment.
        fs::remove_file(path("venv/pyvenv.cfg")).unwrap();
        assert_eq!(found(), [theirs]);
    }

    #[test]
    fn packages_of_the_system_s_python() {
        let root = machine(&[
            "usr/bin/python3",
            "usr/local/lib/python3.11/dist-packages/nvidia/cublas/lib/",
            "usr/lib/python3/dist-packages/nvidia/cublas/lib/",
        ]);
        assert_eq!(
            searched(root.path(), &[("PATH", "@/usr/bin")]),
            [
                "usr/local/lib/python3.11/dist-packages/nvidia/cublas/lib",
                "usr/lib/python3/dist-packages/nvidia/cublas/lib",
                "usr/lib",
            ]
        );
    }

    #[test]
    fn a_python_that_is_a_script_is_asked() {
        let root = machine(&["packages/nvidia/cublas/lib/", "bin/"]);
        let python = root.path().join("bin/python3");
        let packages = root.path().join("packages");
        fs::write(
            &python,
            format!("#!/bin/sh\necho\necho {}\n", packages.display()),
        )
        .unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&python, mode).unwrap();
        let bin = root.path().join("bin").into_os_string();
        let found = folders_by_python(&|name| (name == "PATH").then(|| bin.clone()));
        assert_eq!(found, [packages.join("nvidia/cublas/lib")]);
        assert_eq!(folders_by_python(&|_| None), Vec::<PathBuf>::new());
    }
}
