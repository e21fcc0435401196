use proptest::prelude::*;

use super::*;

/// `{"a": [1, -2, 3.5, None, True], "b": "x"}` in protocol 2.
const PLAIN: &[u8] =
    b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01]q\x02(K\x01J\xfe\xff\xff\xffG@\x0c\0\0\0\0\0\0N\x88eX\x01\x00\x00\x00bX\x01\x00\x00\x00xu.";

fn refused(bytes: &[u8]) -> String {
    match read(bytes) {
        Err(PickleError::Refused(global)) => global,
        other => panic!("{other:?}"),
    }
}

#[test]
fn plain_containers() {
    let pickle = read(PLAIN).unwrap();
    let list = pickle.get(pickle.root, "a").unwrap();
    let Some(Node::List(values)) = pickle.node(list) else {
        panic!()
    };
    assert_eq!(
        values,
        &[
            Value::Int(1),
            Value::Int(-2),
            Value::Float(3.5),
            Value::None,
            Value::Bool(true)
        ]
    );
    assert_eq!(
        pickle.text(pickle.get(pickle.root, "b").unwrap()),
        Some("x")
    );
    assert_eq!(pickle.get(pickle.root, "c"), None);
}

#[test]
fn a_namespace_keeps_its_attributes() {
    let bytes = b"\x80\x02cargparse\nNamespace\n)\x81}X\x05\x00\x00\x00headsK\x14sb.";
    let pickle = read(bytes).unwrap();
    assert_eq!(pickle.get(pickle.root, "heads"), Some(Value::Int(20)));
    assert_eq!(pickle.setting(pickle.root, "heads"), Some(Value::Int(20)));
}

#[test]
fn a_tensor_is_a_view_of_a_storage() {
    let bytes = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nHalfStorage\nX\x01\0\0\x007X\x03\0\0\0cpuK\x06tQK\x02K\x02K\x02\x86K\x02K\x01\x86\x89ccollections\nOrderedDict\n)RtR.";
    let pickle = read(bytes).unwrap();
    let Some(Node::Tensor {
        storage,
        offset: 2,
        shape,
        strides,
    }) = pickle.node(pickle.root)
    else {
        panic!("{pickle:?}")
    };
    assert_eq!(pickle.sizes(*shape, 2), Some(vec![2, 2]));
    assert_eq!(pickle.sizes(*strides, 2), Some(vec![2, 1]));
    let Some(Node::Storage { kind, key, count }) = pickle.node(*storage) else {
        panic!()
    };
    assert_eq!((*kind, *key, *count), ("HalfStorage", "7", 6));
}

#[test]
fn code_is_refused_and_named() {
    assert_eq!(
        refused(b"\x80\x02cos\nsystem\nX\x04\0\0\0true\x85R."),
        "os.system"
    );
    assert_eq!(
        refused(b"\x80\x04\x8c\x05posix\x8c\x06system\x93."),
        "posix.system"
    );
    assert_eq!(
        refused(b"\x80\x02c__builtin__\neval\n(X\x01\0\0\x001tR."),
        "__builtin__.eval"
    );
}

#[test]
fn opcodes_that_import_by_other_ways_are_errors() {
    for bytes in [
        &b"\x80\x02(X\x04\0\0\0trueios\nsystem\n."[..],
        b"\x80\x02(X\x01\0\0\0xo.",
        b"\x80\x02\x82\x01.",
        b"cos\x85R.",
    ] {
        assert!(
            matches!(read(bytes), Err(PickleError::Malformed(_))),
            "{bytes:?}"
        );
    }
}

#[test]
fn a_pickle_cut_anywhere_is_an_error() {
    for length in 0..PLAIN.len() {
        assert!(read(&PLAIN[..length]).is_err(), "{length}");
    }
}

#[test]
fn lengths_and_counts_are_bounded() {
    for (bytes, says) in [
        (
            b"\x80\x04\x8d\0\0\0\0\0\0\0\x80.".to_vec(),
            "ends too early",
        ),
        (b"\x80\x02X\xff\xff\xff\xff.".to_vec(), "ends too early"),
        (
            [b"\x80\x02N".to_vec(), vec![b'2'; 500_000]].concat(),
            "stacks more than",
        ),
        (
            [b"\x80\x02".to_vec(), b"}0".repeat(500_000)].concat(),
            "builds more than",
        ),
        (
            [b"\x80\x02".to_vec(), vec![b'('; 500_000]].concat(),
            "marks",
        ),
        (
            [b"\x80\x02]".to_vec(), b"(NNNNNNNNe".repeat(200_000)].concat(),
            "holds more than",
        ),
        (
            [b"\x80\x04N".to_vec(), vec![0x94; 500_000]].concat(),
            "remembers more than",
        ),
    ] {
        match read(&bytes) {
            Err(PickleError::Malformed(found)) => assert!(found.contains(says), "{found}"),
            other => panic!("{says}: {other:?}"),
        }
    }
}

#[test]
fn a_list_that_holds_itself_is_held() {
    let pickle = read(b"\x80\x02]q\x00h\x00a.").unwrap();
    let Some(Node::List(values)) = pickle.node(pickle.root) else {
        panic!()
    };
    assert_eq!(values, &[pickle.root]);
}

#[test]
fn long_integers() {
    assert_eq!(long(&[]), Value::Int(0));
    assert_eq!(long(&[0xff]), Value::Int(-1));
    assert_eq!(long(&[0xff, 0]), Value::Int(255));
    assert_eq!(long(&[0; 9]), Value::Opaque);
}

proptest! {
    #[test]
    fn any_bytes_end_in_a_value_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let read = read(&bytes);
        prop_assert!(read.is_ok() || matches!(read, Err(PickleError::Malformed(_) | PickleError::Refused(_))));
    }

    #[test]
    fn any_changed_byte_ends_in_a_value_or_an_error(at in 0..PLAIN.len(), value: u8) {
        let mut bytes = PLAIN.to_vec();
        bytes[at] = value;
        let read = read(&bytes);
        prop_assert!(read.is_ok() || matches!(read, Err(PickleError::Malformed(_) | PickleError::Refused(_))));
    }
}
