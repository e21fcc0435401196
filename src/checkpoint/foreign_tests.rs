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
            &["my.pt"],
            "holds `my.pt`, but not config.json with",
            "`model=./my.pt`",
        ),
        (
            &["README.md"],
            "holds no weights; it holds `README.md`",
            "choose another revision",
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
    let (_, remedy) = of_content(Path::new("m.tar"), &tar("x")).unwrap();
    assert_eq!(
        remedy,
        "unpack it with `tar -xf m.tar`, and use the weights that it holds"
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
            found.ends_with("use the folder of the model: models/m"),
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
fn other_models_are_recognised_by_their_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    for (json, says) in [
        (r#"{"model_type": "t5"}"#, Some("the model type \"t5\"")),
        (r#"{"model_type": "esmc"}"#, None),
        (r#"{"model_type": "ESMplusplus"}"#, None),
        (
            r#"{"model_type": "esm3"}"#,
            Some("ESM3, the model type \"esm3\""),
        ),
        (
            r#"{"model_type": "esmfold2"}"#,
            Some("ESMFold2, the model type \"esmfold2\""),
        ),
        (r#"{"model_type": "esm"}"#, None),
        (r#"{"model_type": "nv_esm"}"#, None),
        (r#"{"hidden_size": "x"}"#, None),
    ] {
        std::fs::write(&path, json).unwrap();
        assert_eq!(other_model(&path).as_deref(), says, "{json}");
    }
}

#[test]
fn esm_c_is_recognised_by_its_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    for (json, is_esm_c) in [
        (r#"{"model_type": "esmc"}"#, true),
        (r#"{"model_type": "ESMplusplus"}"#, true),
        (r#"{"architectures": ["ESMCForMaskedLM"]}"#, true),
        (r#"{"model_type": "esm"}"#, false),
        (r#"{"d_model": 960}"#, false),
        ("[", false),
    ] {
        std::fs::write(&path, json).unwrap();
        assert_eq!(describes_esm_c(&path), is_esm_c, "{json}");
    }
}
