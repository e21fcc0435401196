//! How the name of a model is read: a known name, a repository of the Hub or a path.

use std::fmt;
use std::path::{Path, PathBuf};

use super::error::HubError;
use super::known::{KnownModel, known_models};

/// Ends of names that are those of files.
const FILE_ENDS: [&str; 11] = [
    ".pt",
    ".pth",
    ".ckpt",
    ".safetensors",
    ".bin",
    ".json",
    ".msgpack",
    ".h5",
    ".onnx",
    ".gguf",
    "/",
];

/// Where a model comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelRef {
    /// A published model by its name or short form.
    Known(&'static KnownModel),
    /// A repository of the Hub, `organisation/name`.
    Hub {
        /// `organisation/name`.
        repo: String,
    },
    /// A folder or file on this machine.
    Path(PathBuf),
}

impl ModelRef {
    /// Reads the name of a model. The first rule that applies decides:
    ///
    /// 1. it looks like a path (starts with `.`, `/` or `~`, ends in `/` or like a file of weights):
    ///    [`ModelRef::Path`], whether it exists or not;
    /// 2. a known name or short form: [`ModelRef::Known`], unless a folder of that name here holds a
    ///    `config.json`;
    /// 3. it exists here: [`ModelRef::Path`];
    /// 4. `organisation/name`: [`ModelRef::Hub`].
    ///
    /// # Errors
    /// [`HubError::UnknownModel`] with the known names and the nearest of them.
    pub fn parse(text: &str) -> Result<ModelRef, HubError> {
        if looks_like_path(text) {
            return Ok(ModelRef::Path(expand_home(text)));
        }
        let path = Path::new(text);
        if let Some(known) = KnownModel::find(text)
            && !path.join("config.json").is_file()
        {
            return Ok(ModelRef::Known(known));
        }
        if !text.is_empty() && path.exists() {
            return Ok(ModelRef::Path(path.to_path_buf()));
        }
        if is_repo(text) {
            return Ok(ModelRef::Hub {
                repo: text.to_owned(),
            });
        }
        Err(HubError::UnknownModel {
            name: text.to_owned(),
            nearest: nearest(text),
        })
    }

    /// Reads the name of an adapter: a path that exists or looks like one, else `organisation/name`.
    pub fn parse_adapter(text: &str) -> ModelRef {
        match text {
            _ if looks_like_path(text) => ModelRef::Path(expand_home(text)),
            _ if is_repo(text) && !Path::new(text).exists() => ModelRef::Hub {
                repo: text.to_owned(),
            },
            _ => ModelRef::Path(PathBuf::from(text)),
        }
    }

    /// The repository on the Hub, if that is where the model comes from.
    pub fn repo(&self) -> Option<&str> {
        match self {
            ModelRef::Known(known) => Some(known.repo),
            ModelRef::Hub { repo } => Some(repo),
            ModelRef::Path(_) => None,
        }
    }
}

impl fmt::Display for ModelRef {
    /// The text that [`ModelRef::parse`] reads as this model.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ModelRef::Known(known) => f.write_str(known.name),
            ModelRef::Hub { repo } => f.write_str(repo),
            ModelRef::Path(path) => path.display().fmt(f),
        }
    }
}

fn looks_like_path(text: &str) -> bool {
    text.starts_with(['.', '/', '~']) || FILE_ENDS.iter().any(|end| text.ends_with(end))
}

/// `~` and `~/…` with the home folder in its place: a shell leaves `--model=~/x` as it is.
fn expand_home(text: &str) -> PathBuf {
    match (text.strip_prefix('~'), std::env::home_dir()) {
        (Some(rest), Some(home)) if rest.is_empty() || rest.starts_with('/') => {
            home.join(rest.trim_start_matches('/'))
        }
        _ => PathBuf::from(text),
    }
}

/// Whether the text is `organisation/name` by the Hub's rules.
fn is_repo(text: &str) -> bool {
    let part_is_good = |part: &str| {
        (1..=96).contains(&part.len())
            && !part.starts_with(['-', '.'])
            && !part.ends_with(['-', '.'])
            && !part.contains("..")
            && !part.contains("--")
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    text.split_once('/')
        .is_some_and(|(organisation, name)| part_is_good(organisation) && part_is_good(name))
}

/// The known name or short form with the fewest edits from `text`, if it is near enough to be meant.
fn nearest(text: &str) -> Option<&'static str> {
    if text.len() > 64 {
        return None;
    }
    let typed = text.to_ascii_lowercase();
    let last = typed.rsplit('/').next().unwrap_or(&typed);
    known_models()
        .iter()
        .flat_map(|model| std::iter::once(model.name).chain(model.short))
        .map(|name| (strsim::levenshtein(last, &name.to_ascii_lowercase()), name))
        .filter(|(distance, name)| *distance <= name.len() / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_names_short_forms_and_repositories() {
        let name = |text: &str| ModelRef::parse(text).map(|m| m.to_string());
        assert_eq!(name("650M").unwrap(), "esm2_t33_650M_UR50D");
        assert_eq!(name("3b").unwrap(), "esm2_t36_3B_UR50D");
        assert_eq!(name("ESM2_T6_8M_UR50D").unwrap(), "esm2_t6_8M_UR50D");
        assert_eq!(
            name("esm1v_t33_650M_UR90S").unwrap(),
            "esm1v_t33_650M_UR90S_1"
        );
        assert_eq!(
            ModelRef::parse("some-lab/my_esm").unwrap(),
            ModelRef::Hub {
                repo: "some-lab/my_esm".to_owned()
            }
        );
    }

    #[test]
    fn reads_paths() {
        for text in ["./m", "/m", "m.pt", "a/b.safetensors", "a.bin", "m/", ".."] {
            assert_eq!(
                ModelRef::parse(text).unwrap(),
                ModelRef::Path(PathBuf::from(text)),
                "{text}"
            );
        }
        let home = std::env::home_dir().unwrap();
        assert_eq!(
            ModelRef::parse("~/models/m").unwrap(),
            ModelRef::Path(home.join("models/m"))
        );
        // `src` exists in the package root, where the tests run.
        assert_eq!(
            ModelRef::parse("src").unwrap(),
            ModelRef::Path(PathBuf::from("src"))
        );
    }

    #[test]
    fn an_adapter_is_a_path_or_a_repository() {
        let path = |text: &str| ModelRef::Path(PathBuf::from(text));
        for text in [
            "src",
            "src/hub",
            "./a",
            "8M",
            "a/b/c",
            "a/adapter_model.bin",
        ] {
            assert_eq!(ModelRef::parse_adapter(text), path(text), "{text}");
        }
        let repo = "lab/adapter".to_owned();
        assert_eq!(ModelRef::parse_adapter(&repo), ModelRef::Hub { repo });
    }

    #[test]
    fn names_the_nearest_model() {
        let nearest = |text: &str| match ModelRef::parse(text) {
            Err(HubError::UnknownModel { nearest, .. }) => nearest,
            other => panic!("{other:?}"),
        };
        assert_eq!(nearest("esm2_t33_650M_UR50"), Some("esm2_t33_650M_UR50D"));
        assert_eq!(nearest("esm2_t33_650M"), Some("esm2_t33_650M_UR50D"));
        assert_eq!(nearest("650MB"), Some("650M"));
        assert_eq!(nearest("bert-base-uncased"), None);
        assert_eq!(nearest(""), None);
        assert_eq!(nearest("a/b/c"), None);
        assert_eq!(nearest("etc--x/é"), None);
    }
}
