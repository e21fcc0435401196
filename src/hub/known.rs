//! The published ESM models by name, and how a `--model` argument is read.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::content::open_json;
use super::error::HubError;

/// A published ESM model: its name in fair-esm and its repository on the Hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownModel {
    /// The name fair-esm gives it, such as `esm2_t33_650M_UR50D`.
    pub name: &'static str,
    /// The short form, such as `650M`; only the ESM-2 sizes have one.
    pub short: Option<&'static str>,
    /// The repository on the Hub, such as `facebook/esm2_t33_650M_UR50D`.
    pub repo: &'static str,
    /// Transformer layers.
    pub layers: u32,
    /// Length of a residue's representation.
    pub dim: u32,
    /// Attention heads per layer.
    pub heads: u32,
    /// Weights, the language-model head included and the contact head left out: a count from the
    /// shapes, for estimates of size.
    pub parameters: u64,
}

/// The shape of a model, as a `config.json` says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct ModelShape {
    /// Transformer layers.
    #[serde(rename = "num_hidden_layers", default = "twelve")]
    layers: u64,
    /// Length of a residue's representation.
    #[serde(rename = "hidden_size", default = "default_width")]
    dim: u64,
    /// Attention heads per layer.
    #[serde(rename = "num_attention_heads", default = "twelve")]
    heads: u64,
}

fn twelve() -> u64 {
    12
}

fn default_width() -> u64 {
    768
}

impl fmt::Display for ModelShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |count| if count == 1 { "" } else { "s" };
        write!(
            f,
            "{} layer{} of {} with {} head{}",
            self.layers,
            plural(self.layers),
            self.dim,
            self.heads,
            plural(self.heads)
        )
    }
}

/// What distinguishes the families when weights are counted.
enum Family {
    Esm2,
    Esm1b,
    Esm1v,
}

const VOCABULARY: u64 = 33;
const LEARNED_POSITIONS: u64 = 1026;

const fn parameters(family: Family, layers: u32, dim: u32) -> u64 {
    let d = dim as u64;
    let layer_norm = 2 * d;
    let attention = 4 * (d * d + d);
    let feed_forward = (4 * d * d + 4 * d) + (4 * d * d + d);
    let layer = attention + feed_forward + 2 * layer_norm;
    let head = d * d + d + layer_norm + VOCABULARY;
    let before = match family {
        Family::Esm2 => 0,
        Family::Esm1b => LEARNED_POSITIONS * d + layer_norm,
        Family::Esm1v => LEARNED_POSITIONS * d,
    };
    VOCABULARY * d + before + layers as u64 * layer + layer_norm + head
}

macro_rules! known {
    ($family:ident, $name:literal, $short:expr, $layers:literal, $dim:literal, $heads:literal) => {
        KnownModel {
            name: $name,
            short: $short,
            repo: concat!("facebook/", $name),
            layers: $layers,
            dim: $dim,
            heads: $heads,
            parameters: parameters(Family::$family, $layers, $dim),
        }
    };
}

static KNOWN: [KnownModel; 12] = [
    known!(Esm2, "esm2_t6_8M_UR50D", Some("8M"), 6, 320, 20),
    known!(Esm2, "esm2_t12_35M_UR50D", Some("35M"), 12, 480, 20),
    known!(Esm2, "esm2_t30_150M_UR50D", Some("150M"), 30, 640, 20),
    known!(Esm2, "esm2_t33_650M_UR50D", Some("650M"), 33, 1280, 20),
    known!(Esm2, "esm2_t36_3B_UR50D", Some("3B"), 36, 2560, 40),
    known!(Esm2, "esm2_t48_15B_UR50D", Some("15B"), 48, 5120, 40),
    known!(Esm1b, "esm1b_t33_650M_UR50S", None, 33, 1280, 20),
    known!(Esm1v, "esm1v_t33_650M_UR90S_1", None, 33, 1280, 20),
    known!(Esm1v, "esm1v_t33_650M_UR90S_2", None, 33, 1280, 20),
    known!(Esm1v, "esm1v_t33_650M_UR90S_3", None, 33, 1280, 20),
    known!(Esm1v, "esm1v_t33_650M_UR90S_4", None, 33, 1280, 20),
    known!(Esm1v, "esm1v_t33_650M_UR90S_5", None, 33, 1280, 20),
];

/// fair-esm's name for the ESM-1v ensemble loads its first member; so does this crate.
const ESM1V_ENSEMBLE: &str = "esm1v_t33_650M_UR90S";

/// Ends that only the name of a file has.
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

/// Every model that has a name here: the six ESM-2 sizes, ESM-1b and the five ESM-1v.
pub fn known_models() -> &'static [KnownModel] {
    &KNOWN
}

impl KnownModel {
    /// The model of this name or short form. Case is ignored; `esm1v_t33_650M_UR90S` is the first
    /// of its five members, as in fair-esm.
    pub fn find(name: &str) -> Option<&'static KnownModel> {
        let name = if name.eq_ignore_ascii_case(ESM1V_ENSEMBLE) {
            "esm1v_t33_650M_UR90S_1"
        } else {
            name
        };
        KNOWN.iter().find(|model| {
            model.name.eq_ignore_ascii_case(name)
                || model.short.is_some_and(|s| s.eq_ignore_ascii_case(name))
        })
    }

    /// The model that is meant by a name, short form or repository.
    pub(super) fn of_text(text: &str) -> Option<&'static KnownModel> {
        KnownModel::find(text).or_else(|| KnownModel::of_repo(text))
    }

    /// The shape by a `config.json` that is not this model's. What the file leaves out has
    /// transformers' default; a file that cannot be read says nothing.
    pub(super) fn other_shape(&self, config: &Path) -> Option<ModelShape> {
        let found: ModelShape = serde_json::from_reader(open_json(config).ok()?).ok()?;
        (found != self.shape()).then_some(found)
    }

    /// Layers, width and heads.
    pub(super) fn shape(&self) -> ModelShape {
        ModelShape {
            layers: self.layers.into(),
            dim: self.dim.into(),
            heads: self.heads.into(),
        }
    }

    /// The model kept in this repository of the Hub.
    pub fn of_repo(repo: &str) -> Option<&'static KnownModel> {
        KNOWN.iter().find(|model| model.repo == repo)
    }
}

/// Where a model comes from, as `--model` says it.
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
    /// Reads a `--model` argument. The first rule that fits decides:
    ///
    /// 1. it looks like a path (starts with `.`, `/` or `~`, ends in `/` or as files of weights do):
    ///    [`ModelRef::Path`], whether it exists or not;
    /// 2. a known name or short form: [`ModelRef::Known`], unless a folder of that name here holds a
    ///    `config.json`;
    /// 3. it exists here: [`ModelRef::Path`];
    /// 4. `organisation/name`: [`ModelRef::Hub`].
    ///
    /// # Errors
    /// [`HubError::UnknownModel`] with the known names and the nearest of them.
    pub fn parse(text: &str) -> Result<ModelRef, HubError> {
        let looks_like_path =
            text.starts_with(['.', '/', '~']) || FILE_ENDS.iter().any(|end| text.ends_with(end));
        if looks_like_path {
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
    /// The text that, given as `--model`, means this model again.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ModelRef::Known(known) => f.write_str(known.name),
            ModelRef::Hub { repo } => f.write_str(repo),
            ModelRef::Path(path) => path.display().fmt(f),
        }
    }
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
    KNOWN
        .iter()
        .flat_map(|model| std::iter::once(model.name).chain(model.short))
        .map(|name| (edits(last, &name.to_ascii_lowercase()), name))
        .filter(|(distance, name)| *distance <= name.len() / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Levenshtein distance in bytes.
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut next = Vec::with_capacity(row.len());
        let mut left = i + 1;
        next.push(left);
        for ((&diagonal, &above), y) in row.iter().zip(row.iter().skip(1)).zip(b.bytes()) {
            left = (diagonal + usize::from(x != y))
                .min(above + 1)
                .min(left + 1);
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(a.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_the_weights_of_the_published_sizes() {
        let counts: Vec<u64> = known_models().iter().map(|m| m.parameters).collect();
        // The fair-esm 8M file holds 30,099,493 bytes of f32: 7.51 M weights and a few names.
        assert_eq!(counts[0], 7_512_353);
        assert_eq!(counts[3], 651_042_593);
        assert_eq!(counts[5], 15_129_098_273);
    }

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

    #[test]
    fn a_configuration_of_another_shape_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        let known = KnownModel::find("8M").unwrap();
        assert_eq!(known.shape().to_string(), "6 layers of 320 with 20 heads");
        let found = |text: &str| {
            std::fs::write(&path, text).unwrap();
            known.other_shape(&path).map(|shape| shape.to_string())
        };
        let same = r#"{"num_hidden_layers": 6, "hidden_size": 320, "num_attention_heads": 20}"#;
        assert_eq!(found(same), None);
        assert_eq!(
            found(&same.replace(": 20", ": 1")).as_deref(),
            Some("6 layers of 320 with 1 head")
        );
        assert_eq!(
            found("{}").as_deref(),
            Some("12 layers of 768 with 12 heads")
        );
        assert_eq!(found("no JSON"), None);
    }

    #[test]
    fn counts_edits() {
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(edits("abc", ""), 3);
        assert_eq!(edits("kitten", "sitting"), 3);
    }
}
