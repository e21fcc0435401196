//! Files and folders that are no PyTorch weights: what they are, and how to get some from them.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::{json, shown};

/// What was found, as the end of the sentence "the file …", and what to do.
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
                "Convert them to PyTorch in Python, with transformers 4: `model = AutoModelForMaskedLM\
                 .from_pretrained(\"{folder}\", {from}=True)`, then \
                 `model.save_pretrained(\"converted\")`, and give the folder `converted`"
            )
        };
        match self {
            Self::Flax => convert("from_flax"),
            Self::TensorFlow => convert("from_tf"),
            Self::Onnx => "A graph does not keep the names of its weights: give the PyTorch or \
                           safetensors weights that it was exported from"
                .into(),
            Self::Gguf => "They are mostly quantized, and cannot be converted back: give the \
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
            shown::name(name)
        ),
        format.remedy(folder),
    ))
}

/// What the folder of a repository holds that has files of another framework and no weights of its
/// own kind.
pub(crate) fn other_format(folder: &Path) -> Option<Described> {
    let entries = folder.read_dir().ok()?.flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.collect();
    names.sort_unstable();
    in_folder(folder, &names)
}

/// What a repository holds by the names of its files, where none of them is downloaded as a model.
pub(crate) fn describe_repository(repo: &str, names: &[String]) -> Described {
    let mut names = names.to_vec();
    names.sort_unstable();
    let ends = |ends: &[&str]| {
        let is_one = |name: &&String| ends.iter().any(|end| name.ends_with(end));
        names.iter().find(is_one)
    };
    let last = |name: &str| {
        name.rsplit('/')
            .next()
            .unwrap_or_default()
            .to_ascii_lowercase()
    };
    let is_esmc = |name: &&String| last(name).starts_with("esmc_") && name.ends_with(".pth");
    if let Some(name) = names.iter().find(is_esmc) {
        return (
            format!(
                "holds ESM C (`{}`), which is not supported",
                shown::name(name)
            ),
            "Use an ESM-2, ESM-1b or ESM-1v checkpoint".into(),
        );
    }
    if let Some(described) = in_folder(Path::new(repo), &names) {
        return described;
    }
    if let Some(name) = ends(&[".pt", ".pth", ".ckpt", ".bin", ".safetensors"]) {
        let name = shown::name(name);
        return (
            format!(
                "holds `{name}`, but not config.json with model.safetensors or pytorch_model.bin"
            ),
            format!(
                "Download that file (`hf download {repo} {name} --local-dir .`) and give it: \
                 --model ./{name}"
            ),
        );
    }
    let held = match names.as_slice() {
        [] => "is empty".into(),
        names => format!("holds no weights; it holds {}", shown::list(names)),
    };
    (
        held,
        "Choose another revision, or a repository with PyTorch or safetensors weights".into(),
    )
}

/// The first file in an archive of torch before 1.6 has one of these names.
const OF_TORCH: [&str; 4] = ["pickle", "storages", "sys_info", "tensors"];

/// Whether a file starts as a tar archive does.
pub(super) fn is_tar(start: &[u8]) -> bool {
    start.get(257..262) == Some(b"ustar")
}

/// What a file of weights is by its first bytes alone, if it is certainly no PyTorch weights.
pub(super) fn of_content(path: &Path, start: &[u8]) -> Option<Described> {
    let shown = path.display();
    let packed = |what: &str, unpack: &str| {
        Some((
            format!("is packed ({what}), not the weights themselves"),
            format!("Unpack it (`{unpack} {shown}`) and give the weights that it holds"),
        ))
    };
    let folder = path.parent().unwrap_or(Path::new("."));
    let format = |format: Format| Some((format!("holds {}", format.name()), format.remedy(folder)));
    let give = "Give the folder of a Hugging Face model, or the weights file itself";
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
            false if path.extension().is_some_and(|end| end == "nemo") => {
                packed("a checkpoint of NeMo, a tar archive", "tar -xf")
            }
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

/// What a file is by its name and its first bytes, if it is certainly no PyTorch weights.
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
    let give = || format!("Give the folder of the model: {}", folder.display());
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
            "Give the folder of a Hugging Face model, or the weights file itself".into(),
        )),
        _ if start.starts_with(b"\x93NUMPY") || name.ends_with(".npz") => Some((
            "is a NumPy file, not the weights of a model".into(),
            "Give the folder of a Hugging Face model, or the weights file itself".into(),
        )),
        _ => None,
    }
}

/// The model that a `config.json` describes, where it is none of ESM-1b, ESM-1v and ESM-2.
pub(super) fn other_model(config: &Path) -> Option<String> {
    #[derive(Deserialize)]
    struct Config {
        model_type: Option<Value>,
        #[serde(default)]
        architectures: Value,
    }
    let Config {
        model_type,
        architectures,
    } = json::read(config).ok()?;
    let model_type = model_type?;
    let model_type = model_type.as_str()?;
    if matches!(model_type, "esm" | "nv_esm") {
        return None;
    }
    let plain: String = model_type
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect();
    let class = architectures.get(0).and_then(Value::as_str).unwrap_or("");
    let is_esmc = ["esmc", "esmplusplus"]
        .iter()
        .any(|name| plain.starts_with(name))
        || class.to_ascii_lowercase().starts_with("esmc")
        || class.to_ascii_lowercase().starts_with("esmplusplus");
    let name = match &*plain {
        _ if is_esmc => "ESM C, ",
        "esm3" => "ESM3, ",
        "esmfold" => "ESMFold, ",
        _ => "",
    };
    Some(format!(
        "{name}the model type \"{}\"",
        shown::name(model_type)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, start: &[u8]) -> Option<String> {
        let (found, remedy) = of_file(&Path::new("models/m").join(name), start)?;
        Some(format!("{found}. {remedy}"))
    }

    #[test]
    fn formats_of_other_frameworks_are_named_with_what_to_do() {
        for (name, start, says, remedy) in [
            (
                "flax_model.msgpack",
                &b"\x81"[..],
                "holds Flax weights",
                "from_flax=True",
            ),
            (
                "tf_model.h5",
                b"x",
                "holds TensorFlow weights",
                "from_tf=True",
            ),
            (
                "weights.bin",
                b"\x89HDF\r\n\x1a\n",
                "holds TensorFlow weights",
                "from_tf=True",
            ),
            (
                "model.onnx",
                b"\x08",
                "holds an ONNX graph",
                "exported from",
            ),
            ("m.gguf", b"GGUF", "holds GGUF weights", "made from"),
            ("weights", b"GGUF\x03", "holds GGUF weights", "made from"),
        ] {
            let found = file(name, start).unwrap();
            assert!(found.starts_with(says) && found.contains(remedy), "{found}");
        }
    }

    #[test]
    fn a_repository_is_described_by_the_names_of_its_files() {
        for (names, says, remedy) in [
            (
                &["README.md", "m.gguf"][..],
                "holds GGUF weights (`m.gguf`)",
                "made from",
            ),
            (
                &["onnx/model.onnx"],
                "holds an ONNX graph (`onnx/model.onnx`)",
                "exported from",
            ),
            (
                &["flax_model.msgpack"],
                "holds Flax weights",
                "from_pretrained(\"o/n\", from_flax=True)",
            ),
            (
                &["data/weights/esmc_300m_2024_12_v0.pth"],
                "holds ESM C (`data/weights/esmc_300m_2024_12_v0.pth`), which is not supported",
                "Use an ESM-2",
            ),
            (
                &["my.pt"],
                "holds `my.pt`, but not config.json with",
                "--model ./my.pt",
            ),
            (
                &["README.md"],
                "holds no weights; it holds `README.md`",
                "Choose another revision",
            ),
        ] {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let (found, todo) = describe_repository("o/n", &names);
            assert!(found.starts_with(says), "{found}");
            assert!(todo.contains(remedy), "{todo}");
        }
    }

    #[test]
    fn the_first_bytes_say_what_a_file_is() {
        let tar = |name: &str| {
            let mut start = vec![0; 512];
            start[..name.len()].copy_from_slice(name.as_bytes());
            start[257..262].copy_from_slice(b"ustar");
            start
        };
        let torch = Path::new("m/weights.bin");
        assert_eq!(of_content(torch, b"PK\x03\x04"), None);
        assert_eq!(of_content(torch, b"\x80\x02\x8a\x0a"), None);
        assert_eq!(of_content(torch, &tar("sys_info")), None);
        for (name, start, says) in [
            (
                "m.nemo",
                tar("model_config.yaml"),
                "is packed (a checkpoint of NeMo, a tar archive)",
            ),
            ("m.pt", tar("config.json"), "is packed (a tar archive)"),
            ("m.tar.gz", b"\x1f\x8b\x08\0".to_vec(), "is packed (gzip)"),
            (
                "m.bin",
                b"\x28\xb5\x2f\xfd".to_vec(),
                "is packed (Zstandard)",
            ),
            (
                "m.bin",
                b"\x08\x08\x12\x07pytorch".to_vec(),
                "holds an ONNX graph",
            ),
            (
                "m.bin",
                b"\x81\xa6params\x80".to_vec(),
                "holds Flax weights",
            ),
            ("m.bin", b"GGUF\x03\0".to_vec(), "holds GGUF weights"),
            (
                "p.pt",
                b">sp|P1\nMKT\n".to_vec(),
                "is a FASTA file, not the weights of a model",
            ),
            (
                "p.pt",
                b"{\"a\": 1}".to_vec(),
                "is JSON text, not the weights of a model",
            ),
        ] {
            let (found, _) = of_content(Path::new(name), &start).unwrap();
            assert!(found.starts_with(says), "{name}: {found}");
        }
        let (_, remedy) = of_content(Path::new("m.nemo"), &tar("x")).unwrap();
        assert_eq!(
            remedy,
            "Unpack it (`tar -xf m.nemo`) and give the weights that it holds"
        );
    }

    #[test]
    fn parts_of_a_model_lead_to_its_folder() {
        for (name, says) in [
            (
                "config.json",
                "is the configuration of a model, not its weights",
            ),
            (
                "model.safetensors.index.json",
                "is the index of a model in shards",
            ),
            (
                "pytorch_model.bin.index.json",
                "is the index of a model in shards",
            ),
            (
                "vocab.txt",
                "is a part of a model's tokenizer, not its weights",
            ),
        ] {
            let found = file(name, b"{").unwrap();
            assert!(found.starts_with(says), "{found}");
            assert!(
                found.ends_with("Give the folder of the model: models/m"),
                "{found}"
            );
        }
        assert_eq!(file("esm2.pt", b"PK\x03\x04"), None);
        assert_eq!(file("model.safetensors", b"{"), None);
    }

    #[test]
    fn a_folder_of_another_framework_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["config.json", "flax_model.msgpack"].map(str::to_owned);
        let (found, remedy) = in_folder(folder.path(), &names).unwrap();
        assert!(
            found.contains("holds Flax weights (`flax_model.msgpack`)"),
            "{found}"
        );
        assert!(remedy.contains("from_flax=True"), "{remedy}");
        assert_eq!(in_folder(folder.path(), &["config.json".to_owned()]), None);
        std::fs::create_dir(folder.path().join("onnx")).unwrap();
        std::fs::write(folder.path().join("onnx/model.onnx"), "x").unwrap();
        let (found, _) = in_folder(folder.path(), &["onnx".to_owned()]).unwrap();
        assert!(
            found.contains("an ONNX graph (`onnx/model.onnx`)"),
            "{found}"
        );
    }

    #[test]
    fn other_models_are_told_by_their_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        for (json, says) in [
            (r#"{"model_type": "t5"}"#, Some("the model type \"t5\"")),
            (
                r#"{"model_type": "esmc"}"#,
                Some("ESM C, the model type \"esmc\""),
            ),
            (
                r#"{"model_type": "ESMplusplus"}"#,
                Some("ESM C, the model type \"ESMplusplus\""),
            ),
            (
                r#"{"model_type": "esm3"}"#,
                Some("ESM3, the model type \"esm3\""),
            ),
            (r#"{"model_type": "esm"}"#, None),
            (r#"{"model_type": "nv_esm"}"#, None),
            (r#"{"hidden_size": "x"}"#, None),
        ] {
            std::fs::write(&path, json).unwrap();
            assert_eq!(other_model(&path).as_deref(), says, "{json}");
        }
    }
}
