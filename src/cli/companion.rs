//! The CUDA build beside this one.
//!
//! Candle links CUDA's libraries, so a program built with them does not even start where there is
//! no driver. A release therefore has two: `esm-embed`, which starts everywhere, and beside it
//! `esm-embed-cuda`, the same program with cards. The first asks the second what it can see and, if
//! that is a card, becomes it. The second never looks for another.

use std::path::{Path, PathBuf};

/// File name of the CUDA build.
const NAME: &str = "esm-embed-cuda";

/// What came of looking for cards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Companion {
    /// This is the CUDA build, or there is none beside it.
    None,
    /// It cannot use a card, for this reason.
    Unusable(String),
    /// It can.
    Usable {
        /// Where it is.
        path: PathBuf,
        /// The cards, each as it describes it.
        cards: Vec<String>,
    },
}

impl Companion {
    /// Asks the CUDA build beside this program, if this is not one itself.
    pub fn look() -> Companion {
        if cfg!(feature = "cuda") {
            return Companion::None;
        }
        let path = std::env::current_exe()
            .ok()
            .and_then(|here| Some(here.parent()?.join(NAME)));
        match path {
            Some(path) if path.is_file() => match ask(&path) {
                Ok(cards) => Companion::Usable { path, cards },
                Err(why) => Companion::Unusable(why),
            },
            _ => Companion::None,
        }
    }

    /// Becomes the CUDA build if it can use a card. Comes back with the reason if it cannot.
    ///
    /// # Errors
    /// The program cannot be started after all.
    pub fn become_it(self) -> anyhow::Result<Option<String>> {
        match self {
            Companion::None => Ok(None),
            Companion::Unusable(why) => Ok(Some(why)),
            Companion::Usable { path, .. } => Err(start(&path)),
        }
    }
}

/// Starts a program in the place of this one; comes back only if that fails.
fn start(path: &Path) -> anyhow::Error {
    use std::os::unix::process::CommandExt;
    let mut command = std::process::Command::new(path);
    let error = command.args(std::env::args_os().skip(1)).exec();
    anyhow::Error::from(error).context(format!("cannot start {}", path.display()))
}

/// The cards that it sees if it starts and is of this version; if not, why.
fn ask(path: &Path) -> Result<Vec<String>, String> {
    let mut command = std::process::Command::new(path);
    let asked = command.arg("cards").stdin(std::process::Stdio::null());
    let answer = asked
        .output()
        .map_err(|error| format!("{} does not start: {error}", path.display()))?;
    let said = String::from_utf8_lossy(&answer.stdout);
    if !answer.status.success() {
        let text = String::from_utf8_lossy(&answer.stderr);
        return Err(reason(&text, &answer.status.to_string()));
    }
    let mut lines = said.lines();
    let version = lines.next().unwrap_or_default();
    let ours = concat!("esm-embed ", env!("CARGO_PKG_VERSION"));
    match version == ours {
        true => Ok(lines.map(str::to_owned).collect()),
        false => Err(format!(
            "{} beside this program is of another version ({version}, not {ours}): install both \
             from one release",
            NAME
        )),
    }
}

/// The reason in what a program said that did not find a card, or could not be loaded.
fn reason(said: &str, status: &str) -> String {
    let Some(last) = said.lines().rev().find(|line| !line.trim().is_empty()) else {
        return format!("{NAME} ended with {status}");
    };
    if let Some((_, symbol)) = last.split_once("undefined symbol: cu") {
        let symbol = symbol.split([',', ' ']).next().unwrap_or(symbol);
        return format!("the NVIDIA driver or CUDA's libraries are too old: they lack cu{symbol}");
    }
    match last.split_once("error while loading shared libraries: ") {
        Some((_, missing)) => {
            let library = missing.split(':').next().unwrap_or(missing);
            if library.starts_with("libcuda.so") {
                format!("no NVIDIA driver is installed ({library} is missing)")
            } else {
                format!(
                    "{library} is missing: install the libraries of CUDA 13, or put their folder \
                     into LD_LIBRARY_PATH"
                )
            }
        }
        None => last.trim_start_matches("esm-embed: error: ").to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::reason;

    #[test]
    fn the_reason_is_found_in_what_was_said() {
        let loader = |library: &str| {
            format!(
                "./esm-embed-cuda: error while loading shared libraries: {library}: cannot open \
                 shared object file: No such file or directory\n"
            )
        };
        assert_eq!(
            reason(&loader("libcuda.so.1"), "exit status: 127"),
            "no NVIDIA driver is installed (libcuda.so.1 is missing)"
        );
        assert_eq!(
            reason(&loader("libcublas.so.13"), "exit status: 127"),
            "libcublas.so.13 is missing: install the libraries of CUDA 13, or put their folder \
             into LD_LIBRARY_PATH"
        );
        assert_eq!(
            reason(
                "./esm-embed-cuda: symbol lookup error: ./esm-embed-cuda: undefined symbol: \
                 cuDevSmResourceSplit, version X\n",
                "exit status: 127"
            ),
            "the NVIDIA driver or CUDA's libraries are too old: they lack cuDevSmResourceSplit"
        );
        assert_eq!(
            reason("esm-embed: error: the driver is too old\n\n", ""),
            "the driver is too old"
        );
        assert_eq!(
            reason("", "signal: 9"),
            "esm-embed-cuda ended with signal: 9"
        );
    }
}
