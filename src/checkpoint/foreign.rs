//! Files and folders that are not PyTorch weights: what they are, and how to convert them.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::json;
use crate::printable;

/// What was found, as the end of the sentence "the file …", and what to do, as a hint.
pub(super) type Described = (String, String);

/// Formats of other frameworks, by the ends of their names.
const FORMATS: [(&str, Format); 12] = [
    (".msgpack", Format::Flax),
    (".h5", Format::TensorFlow),
    (".hdf5", Format::TensorFlow),
    (".keras", Format::TensorFlow),
    ("saved_model.pb", Format::TensorFlow),
    (".ckpt.index", Format::TensorFlow),
    (".onnx", Format::Onnx),
    (".onnx_data", Format::Onnx),
    (".ort", Format::Onnx),
    (".gguf", Format::Gguf),
    (".ggml", Format::Gguf),
    (".tflite", Format::TensorFlow),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Flax,
    TensorFlow,
    Onnx,
    Gguf,
}

impl Format {
    fn of_name(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let name = name.strip_suffix(".index.json").unwrap_or(&name);
        FORMATS
            .iter()
            .find(|(end, _)| name.ends_with(end))
            .map(|(_, format)| *format)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Flax => "Flax weights",
            Self::TensorFlow => "TensorFlow weights",
            Self::Onnx => "an ONNX graph",
            Self::Gguf => "GGUF weights",
        }
    }

    fn remedy(self, folder: &Path) -> String {
        let folder = folder.display();
        let convert = |from: &str| {
            format!(
                "convert them to PyTorch in Python, with transformers 4, and use the folder \
                 `converted`: `from transformers import AutoModelForMaskedLM; \
                 AutoModelForMaskedLM.from_pretrained(\"{folder}\", {from}=True)\
                 .save_pretrained(\"converted\")`"
            )
        };
        match self {
            Self::Flax => convert("from_flax"),
            Self::TensorFlow => convert("from_tf"),
            Self::Onnx => "a graph does not keep the names of its weights: use the PyTorch or \
                           safetensors weights that it was exported from"
                .into(),
            Self::Gguf => "they are mostly quantized and cannot be converted back: use the \
                           PyTorch or safetensors weights that they were made from"
                .into(),
        }
    }
}

/// The first file of another framework among the names of a folder.
pub(super) fn in_folder(folder: &Path, names: &[String]) -> Option<Described> {
    let nested = |name: &&str| folder.join(name).is_file();
    let below = ["onnx/model.onnx", "tf_model/saved_model.pb"];
    let below = below.iter().copied().filter(nested);
    let (name, format) = names
        .iter()
        .map(String::as_str)
        .chain(below)
        .find_map(|name| Some((name, Format::of_name(name)?)))?;
    Some((
        format!(
            "holds {} (`{}`) and no PyTorch or safetensors weights",
            format.name(),
            printable::name(name)
        ),
        format.remedy(folder),
    ))
}

/// What a folder holds if its weights are of another framework.
pub(crate) fn other_format(folder: &Path) -> Option<Described> {
    let entries = folder.read_dir().ok()?.flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.collect();
    names.sort_unstable();
    in_folder(folder, &names)
}

/// What a repository without a supported model holds, by the names of its files.
pub(crate) fn describe_repository(repo: &str, names: &[String]) -> Described {
    let mut names = names.to_vec();
    names.sort_unstable();
    let ends = |ends: &[&str]| {
        let is_one = |name: &&String| ends.iter().any(|end| name.ends_with(end));
        names.iter().find(is_one)
    };
    if let Some(described) = in_folder(Path::new(repo), &names) {
        return described;
    }
    if let Some(name) = ends(&[".pt", ".pth", ".ckpt", ".bin", ".safetensors"]) {
        let name = printable::name(name);
        return (
            format!(
                "holds `{name}`, but not config.json with model.safetensors or pytorch_model.bin"
            ),
            format!(
                "download that file with `hf download {repo} {name} --local-dir .`, then use \
                 `model=./{name}`"
            ),
        );
    }
    let held = match names.as_slice() {
        [] => "is empty".into(),
        names => format!("holds no weights; it holds {}", printable::list(names)),
    };
    (
        held,
        "choose another revision, or a repository with PyTorch or safetensors weights".into(),
    )
}

/// The first file in an archive of torch before 1.6 has one of these names.
const OF_TORCH: [&str; 4] = ["pickle", "storages", "sys_info", "tensors"];

/// Whether a file starts as a tar archive does.
pub(super) fn is_tar(start: &[u8]) -> bool {
    start.get(257..262) == Some(b"ustar")
}

/// What a file is by its first bytes, if it is certainly not PyTorch weights.
pub(super) fn of_content(path: &Path, start: &[u8]) -> Option<Described> {
    let shown = path.display();
    let packed = |what: &str, unpack: &str| {
        Some((
            format!("is packed ({what}), not the weights themselves"),
            format!("unpack it with `{unpack} {shown}`, and use the weights that it holds"),
        ))
    };
    let folder = path.parent().unwrap_or(Path::new("."));
    let format = |format: Format| Some((format!("holds {}", format.name()), format.remedy(folder)));
    let give = "name the folder of a Hugging Face model, or the weights file itself";
    let is = |what: &str| {
        Some((
            format!("is {what}, not the weights of a model"),
            give.into(),
        ))
    };
    if is_tar(start) {
        let name = String::from_utf8_lossy(start.get(..100).unwrap_or_default()).into_owned();
        let name = name.trim_start_matches("./");
        return match OF_TORCH.iter().any(|of_torch| name.starts_with(of_torch)) {
            true => None,
            false => packed("a tar archive", "tar -xf"),
        };
    }
    match start {
        [0x1f, 0x8b, ..] if shown.to_string().ends_with("gz") => {
            let is_tar = [".tar.gz", ".tgz"]
                .iter()
                .any(|end| shown.to_string().ends_with(end));
            packed("gzip", if is_tar { "tar -xzf" } else { "gunzip" })
        }
        [0x1f, 0x8b, ..] => packed("gzip", "tar -xzf"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => packed("Zstandard", "zstd -d"),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => packed("xz", "tar -xJf"),
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => packed("bzip2", "tar -xjf"),
        [b'G', b'G', b'U', b'F', ..] => format(Format::Gguf),
        [0x89, b'H', b'D', b'F', ..] => format(Format::TensorFlow),
        // The version of a graph, then the name of what made it or a string of the graph.
        [0x08, 1..=0x20, 0x12 | 0x3a, ..] => format(Format::Onnx),
        // A map with a text as its first key.
        [0x81..=0x8f, 0xa1..=0xbf | 0xd9 | 0xda, ..] => format(Format::Flax),
        [0xde | 0xdf, ..] => format(Format::Flax),
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => is("a NumPy file"),
        [b'>', ..] if start.iter().all(|byte| byte.is_ascii()) => is("a FASTA file"),
        [
            b'{' | b'[',
            b' ' | b'\n' | b'\r' | b'"' | b'{' | b'}' | b']',
            ..,
        ] => is("JSON text"),
        _ => None,
    }
}

/// What a file is by its name and its first bytes, if it is certainly not PyTorch weights.
pub(super) fn of_file(path: &Path, start: &[u8]) -> Option<Described> {
    let name = path.file_name()?.to_string_lossy();
    let folder = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let by_content = if start.starts_with(b"GGUF") {
        Some(Format::Gguf)
    } else if start.starts_with(b"\x89HDF\r\n\x1a\n") {
        Some(Format::TensorFlow)
    } else {
        None
    };
    if let Some(format) = by_content.or_else(|| Format::of_name(&name)) {
        return Some((format!("holds {}", format.name()), format.remedy(folder)));
    }
    let give = || format!("use the folder of the model: {}", folder.display());
    let is = |what: &str| Some((format!("is {what}, not its weights"), give()));
    match &*name {
        "config.json" => is("the configuration of a model"),
        "vocab.txt"
        | "tokenizer.json"
        | "tokenizer_config.json"
        | "special_tokens_map.json"
        | "added_tokens.json" => is("a part of a model's tokenizer"),
        _ if name.ends_with(".index.json") => is("the index of a model in shards"),
        _ if name.ends_with(".json") => Some((
            "is a JSON file, not the weights of a model".into(),
            "name the folder of a Hugging Face model, or the weights file itself".into(),
        )),
        _ if start.starts_with(b"\x93NUMPY") || name.ends_with(".npz") => Some((
            "is a NumPy file, not the weights of a model".into(),
            "name the folder of a Hugging Face model, or the weights file itself".into(),
        )),
        _ => None,
    }
}

/// What a `config.json` says of the kind of model.
#[derive(Deserialize)]
struct Kind {
    model_type: Option<Value>,
    #[serde(default)]
    architectures: Value,
}

/// The `model_type` of a `config.json`, if it can be read and has one.
pub(super) fn model_type(config: &Path) -> Option<String> {
    let kind: Kind = json::read(config).ok()?;
    Some(kind.model_type?.as_str()?.to_owned())
}

/// Letters and digits in lower case: the names of a model type differ in the others.
fn plain(name: &str) -> String {
    let characters = name.chars().filter(char::is_ascii_alphanumeric);
    characters.map(|c| c.to_ascii_lowercase()).collect()
}

/// Whether a model type or a class of it is ESM C: that of transformers, of Biohub, or ESM++.
pub(crate) fn is_esm_c(name: &str) -> bool {
    let plain = plain(name);
    ["esmc", "esmplusplus"]
        .iter()
        .any(|start| plain.starts_with(start))
}

/// Whether a `config.json` describes ESM C.
pub(super) fn describes_esm_c(config: &Path) -> bool {
    let Ok(kind) = json::read::<Kind>(config) else {
        return false;
    };
    let class = kind.architectures.get(0).and_then(Value::as_str);
    let kind = kind.model_type.as_ref().and_then(Value::as_str);
    kind.or(class).is_some_and(is_esm_c)
}

/// The model that a `config.json` describes, where it is none of ESM-1b, ESM-1v, ESM-2 and ESM C.
pub(super) fn other_model(config: &Path) -> Option<String> {
    let model_type = model_type(config)?;
    if matches!(&*model_type, "esm" | "nv_esm") || describes_esm_c(config) {
        return None;
    }
    let name = match &*plain(&model_type) {
        "esm3" => "ESM3, ",
        "esmfold" => "ESMFold, ",
        "esmfold2" => "ESMFold2, ",
        _ => "",
    };
    Some(format!(
        "{name}the model type \"{}\"",
        printable::name(model_type)
    ))
}

#[cfg(test)]
#[path = "foreign_tests.rs"]
mod tests;
