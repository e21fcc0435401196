use super::super::pickle::read;
use super::*;

fn text(text: &str) -> Vec<u8> {
    [
        b"X",
        &(text.len() as u32).to_le_bytes()[..],
        text.as_bytes(),
    ]
    .concat()
}

/// A tensor of one number in the storage of this key.
fn tensor(key: &str) -> Vec<u8> {
    [
        &b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\n"[..],
        &text(key),
        b"X\x03\0\0\0cpuK\x01tQK\0)))tR",
    ]
    .concat()
}

fn dict(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let entries = entries
        .iter()
        .flat_map(|(key, value)| [text(key), value.clone()]);
    [vec![b'}', b'('], entries.flatten().collect(), vec![b'u']].concat()
}

fn weights(prefix: &str, key: &str) -> Vec<u8> {
    dict(&[
        (&format!("{prefix}embed_tokens.weight"), tensor(key)),
        (&format!("{prefix}layers.0.fc1.bias"), tensor(key)),
    ])
}

/// The first name of what is found in a value, or why nothing is.
fn found(value: &[u8]) -> Result<String, String> {
    let bytes = [b"\x80\x02", value, b"."].concat();
    let pickle = read(&bytes).unwrap();
    match find(&pickle) {
        Ok(found) => Ok(named(&pickle, found.state).next().unwrap().to_owned()),
        Err(wrong) => Err(format!("{}. {}", wrong.found, wrong.remedy)),
    }
}

#[test]
fn the_dict_with_the_embedding_is_found_under_any_keys() {
    for key in [
        "model",
        "state_dict",
        "model_state_dict",
        "module",
        "net",
        "weights",
        "x",
    ] {
        let optimizer = dict(&[("state", dict(&[("0", tensor("9"))]))]);
        let file = dict(&[("optimizer", optimizer), (key, weights("", "0"))]);
        assert_eq!(found(&file).unwrap(), "embed_tokens.weight", "{key}");
    }
    let deep = dict(&[("a", dict(&[("b", dict(&[("c", weights("m.", "0"))]))]))]);
    assert_eq!(found(&deep).unwrap(), "m.embed_tokens.weight");
    let list = [b"](", &deep[..], &dict(&[]), b"e"].concat();
    assert_eq!(found(&list).unwrap(), "m.embed_tokens.weight");
    assert_eq!(found(&weights("", "0")).unwrap(), "embed_tokens.weight");
}

#[test]
fn objects_of_unknown_classes_are_looked_into() {
    let inner = weights("", "0");
    for object in [
        // Made of it, with it as state, with it as an item, and a dict of another class.
        [b"cmine\nFrozen\n(", &inner[..], b"tR"].concat(),
        [b"cmine\nBox\n)\x81", &inner[..], b"b"].concat(),
        [&b"cmine\nBox\n)\x81"[..], &text("sd"), &inner, b"s"].concat(),
        [b"cmine\nDeque\n)R", &inner[..], b"a"].concat(),
        [&b"cmine\nStateDict\n)R"[..], &inner[1..]].concat(),
    ] {
        let found = found(&object);
        assert_eq!(found.as_deref(), Ok("embed_tokens.weight"));
    }
}

#[test]
fn several_models_are_named_by_their_keys() {
    let file = dict(&[
        ("model", weights("", "0")),
        ("ema", dict(&[("shadow", weights("", "1"))])),
    ]);
    let error = found(&file).unwrap_err();
    assert!(
        error.contains("holds the weights of 2 models, under \"model\", \"ema.shadow\""),
        "{error}"
    );
    assert!(
        error.contains(r#"weights_only=False)["model"], "weights.pt")"#),
        "{error}"
    );
    // One dict under two keys is one.
    let shared = [
        &b"}("[..],
        &text("a"),
        &weights("", "0"),
        b"q\x07",
        &text("b"),
        b"h\x07u",
    ]
    .concat();
    assert_eq!(found(&shared).unwrap(), "embed_tokens.weight");
}

#[test]
fn a_shard_is_the_dict_with_the_most_tensors() {
    let shard = dict(&[
        ("layers.1.fc1.bias", tensor("0")),
        ("layers.1.fc2.bias", tensor("1")),
    ]);
    let file = dict(&[("few", dict(&[("a", tensor("2"))])), ("state", shard)]);
    assert_eq!(found(&file).unwrap(), "layers.1.fc1.bias");
}

#[test]
fn no_file_that_holds_tensors_is_said_to_hold_none() {
    assert!(
        found(&dict(&[]))
            .unwrap_err()
            .starts_with("holds no tensors. ")
    );
    let error = found(&tensor("0")).unwrap_err();
    assert!(
        error.starts_with("holds 1 tensor, but no dict of named weights"),
        "{error}"
    );
    let by_layer = [b"}K\x06", &tensor("0")[..], b"sK\x07", &tensor("1"), b"s"].concat();
    let error = found(&by_layer).err();
    assert!(error.is_some_and(|error| error.starts_with("holds 2 tensors")));
}

#[test]
fn a_whole_module_is_called_that() {
    let module = [
        &b"cmine\nModel\n)\x81"[..],
        &dict(&[
            ("_parameters", dict(&[("weight", tensor("0"))])),
            ("_modules", dict(&[])),
        ]),
        b"b",
    ]
    .concat();
    for file in [module.clone(), dict(&[("model", module.clone())])] {
        let error = found(&file).unwrap_err();
        assert!(error.contains("a complete pickled module"), "{error}");
        assert!(error.contains(".state_dict(), \"weights.pt\")"), "{error}");
    }
    // One among the hyper-parameters does not hide the weights.
    let file = dict(&[
        ("hyper_parameters", module),
        ("state_dict", weights("", "1")),
    ]);
    assert_eq!(found(&file).unwrap(), "embed_tokens.weight");
}
