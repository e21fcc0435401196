//! Torch files that are truncated, have flipped bits or false lengths, and pickles that try to run
//! code.

use std::fs::{self, OpenOptions};

use esm_embed::checkpoint::Checkpoint;

use crate::support::{archive, entries, error, fixture, with_pickle, written};

const PT: &str = "fair_esm/esm2_hd24.pt";

#[test]
fn a_file_cut_anywhere_is_an_error() {
    let bytes = fs::read(fixture(PT)).unwrap();
    let (_folder, path) = written("esm2.pt", &bytes);
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    let directory = bytes
        .windows(4)
        .position(|four| four == b"PK\x01\x02")
        .unwrap();
    let cuts = (0..directory).step_by(997).chain(directory..bytes.len());
    for cut in cuts.collect::<Vec<_>>().into_iter().rev() {
        file.set_len(cut as u64).unwrap();
        let found = error(&path);
        assert!(found.contains("esm2.pt: "), "{cut}: {found}");
    }
}

#[test]
fn a_flipped_bit_never_panics() {
    let bytes = fs::read(fixture(PT)).unwrap();
    let directory = bytes
        .windows(4)
        .position(|four| four == b"PK\x01\x02")
        .unwrap();
    let pickle = 0..7000.min(directory);
    let (_folder, path) = written("esm2.pt", &bytes);
    for at in pickle.step_by(7).chain((directory..bytes.len()).step_by(3)) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        fs::write(&path, &damaged).unwrap();
        if let Err(error) = Checkpoint::open(&path) {
            assert!(error.to_string().contains("esm2.pt: "), "{at}: {error}");
        }
    }
}

#[test]
fn a_flipped_bit_of_the_pickle_fails_its_checksum() {
    let mut bytes = fs::read(fixture(PT)).unwrap();
    let at = bytes
        .windows(7)
        .position(|window| window == b"q_proj.")
        .unwrap();
    bytes[at] ^= 1;
    let (_folder, path) = written("esm2.pt", &bytes);
    let found = error(&path);
    assert!(
        found.contains("data.pkl` does not have its checksum"),
        "{found}"
    );
}

/// A torch file of one pickle.
fn pickled(pickle: &[u8]) -> Vec<u8> {
    archive(&[
        ("m/data.pkl".into(), pickle.to_vec()),
        ("m/version".into(), b"3\n".to_vec()),
    ])
}

#[test]
fn a_pickle_that_names_code_is_refused_and_runs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("ran");
    let command = format!("touch {}", mark.display());
    let text = [
        b"X",
        &(command.len() as u32).to_le_bytes()[..],
        command.as_bytes(),
    ]
    .concat();
    let classic = |global: &str| {
        let (module, name) = global.rsplit_once('.').unwrap();
        let global = format!("c{module}\n{name}\n");
        [b"\x80\x02", global.as_bytes(), &text, b"\x85R."].concat()
    };
    for global in [
        "os.system",
        "posix.system",
        "subprocess.Popen",
        "builtins.eval",
        "builtins.exec",
        "cProfile.run",
        "__builtin__.__import__",
        "runpy._run_code",
        "torch.hub.load",
        "torch.load",
        "torch.storage._load_from_bytes",
        "pickle.loads",
    ] {
        let (_folder, path) = written("model.pt", &pickled(&classic(global)));
        let found = error(&path);
        assert!(
            found.contains(&format!("model.pt: its pickle asks to run {global}, ")),
            "{found}"
        );
        assert!(found.contains("it was not run"), "{found}");
    }
    let stacked = [
        b"\x80\x04\x8c\x02os\x8c\x06system\x93",
        &text[..],
        b"\x85R.",
    ]
    .concat();
    let (_folder, path) = written("model.pt", &pickled(&stacked));
    assert!(error(&path).contains("asks to run os.system"));
    // By opcodes that no checkpoint uses.
    for other in [
        &b"(X\x01\0\0\0xios\nsystem\n."[..],
        b"(cos\nsystem\nX\x01\0\0\0xo.",
        b"\x82\x01.",
    ] {
        let (_folder, path) = written("model.pt", &pickled(other));
        assert!(Checkpoint::open(&path).is_err());
    }
    assert!(!mark.exists());
}

#[test]
fn code_hidden_beside_sound_weights_is_refused() {
    // In place of the arguments, in an otherwise sound fixture.
    let (_folder, path) = with_pickle(
        "esm2_hd24",
        b"cargparse\nNamespace\n",
        b"csubprocess\nPopen\n",
    );
    let found = error(&path);
    assert!(found.contains("asks to run subprocess.Popen"), "{found}");
    // In a shard of a Hugging Face folder.
    let folder = crate::support::copy("esm2_hd16_bin_sharded");
    let shard = folder.path().join("pytorch_model-00002-of-00003.bin");
    fs::write(&shard, pickled(b"\x80\x02cos\nsystem\n)R.")).unwrap();
    let found = error(folder.path());
    assert!(
        found.contains("00002-of-00003.bin: its pickle asks to run os.system"),
        "{found}"
    );
}

#[test]
fn names_that_leave_the_archive_are_refused() {
    let mut entries = entries(&fixture(PT));
    entries.push(("../../escaped".into(), b"x".to_vec()));
    let (folder, path) = written("esm2.pt", &archive(&entries));
    let found = error(&path);
    assert!(
        found.contains("`../../escaped`, which points outside"),
        "{found}"
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_compressed_entry_is_not_unpacked() {
    let mut bytes = archive(&entries(&fixture(PT)));
    let directory = bytes
        .windows(4)
        .position(|four| four == b"PK\x01\x02")
        .unwrap();
    bytes[directory + 10] = 8;
    bytes[directory + 24..directory + 28].copy_from_slice(&0xffff_fff0u32.to_le_bytes());
    let (_folder, path) = written("esm2.pt", &bytes);
    let found = error(&path);
    assert!(
        found.contains("compressed") && found.contains("for 4294967280"),
        "{found}"
    );
    assert!(found.contains("without compression"), "{found}");
}

#[test]
fn storages_must_exist_and_be_large_enough() {
    let all = entries(&fixture(PT));
    let is_first = |name: &str| name.ends_with("/data/0");
    let without: Vec<_> = all
        .iter()
        .filter(|(name, _)| !is_first(name))
        .cloned()
        .collect();
    let (_folder, path) = written("esm2.pt", &archive(&without));
    let found = error(&path);
    assert!(
        found.contains("has its numbers in an entry that is missing"),
        "{found}"
    );
    let mut short = all;
    for (_, bytes) in short.iter_mut().filter(|(name, _)| is_first(name)) {
        bytes.truncate(bytes.len() - 2);
    }
    let (_folder, path) = written("esm2.pt", &archive(&short));
    let found = error(&path);
    assert!(
        found.contains("has a storage of another size than its entry"),
        "{found}"
    );
}

/// A pickle of one tensor over the storage `0` of six floats.
fn tensor_pickle(offset: &[u8], shape: &[u8], strides: &[u8]) -> Vec<u8> {
    let name = b"X\x13\0\0\0embed_tokens.weight";
    let storage = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x06tQ";
    let head = [
        &b"\x80\x02}"[..],
        name,
        b"ctorch._utils\n_rebuild_tensor_v2\n(",
    ]
    .concat();
    [&head[..], storage, offset, shape, strides, b"\x89}tRs."].concat()
}

#[test]
fn views_must_lie_within_their_storage() {
    let two = |a: &[u8], b: &[u8]| [a, b, b"\x86"].concat();
    let huge = b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f";
    for (offset, shape, strides) in [
        (
            &b"K\x01"[..],
            two(b"K\x02", b"K\x03"),
            two(b"K\x03", b"K\x01"),
        ),
        (huge, two(b"K\x02", b"K\x03"), two(b"K\x03", b"K\x01")),
        (b"K\0", two(huge, huge), two(b"K\x03", b"K\x01")),
        (b"K\0", two(huge, b"K\x02"), two(b"K\0", b"K\0")),
        (b"K\0", two(b"K\x02", b"K\x03"), two(huge, b"K\x01")),
        (b"K\0", two(b"K\x09", b"K\x09"), two(b"K\0", b"K\0")),
    ] {
        let pickle = tensor_pickle(offset, &shape, &strides);
        let entries = [
            ("m/data.pkl".into(), pickle),
            ("m/data/0".into(), vec![0; 24]),
        ];
        let (_folder, path) = written("model.pt", &archive(&entries));
        let found = error(&path);
        assert!(
            found.contains("`embed_tokens.weight` reaches past its storage"),
            "{found}"
        );
    }
    let pickle = tensor_pickle(b"K\0", b"J\xff\xff\xff\xffK\x02\x86", b"K\x01K\x01\x86");
    let entries = [
        ("m/data.pkl".into(), pickle),
        ("m/data/0".into(), vec![0; 24]),
    ];
    let (_folder, path) = written("model.pt", &archive(&entries));
    assert!(error(&path).contains("has a malformed shape"));
}

#[test]
fn a_duplicate_tensor_is_an_error() {
    let mut pickle = tensor_pickle(b"K\0", b"K\x02K\x03\x86", b"K\x03K\x01\x86");
    let again = pickle[3..].to_vec();
    pickle.pop();
    let doubled = [&pickle[..], &again].concat();
    let entries = [
        ("m/data.pkl".into(), doubled),
        ("m/data/0".into(), vec![0; 24]),
    ];
    let (_folder, path) = written("model.pt", &archive(&entries));
    let found = error(&path);
    assert!(
        found.contains("the tensor `embed_tokens.weight` is already in"),
        "{found}"
    );
}

#[test]
fn archives_not_written_by_torch_save_are_named() {
    let open = |entries: &[(&str, &[u8])]| {
        let entries: Vec<_> = entries
            .iter()
            .map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec()))
            .collect();
        let (_folder, path) = written("model.pt", &archive(&entries));
        error(&path)
    };
    assert!(open(&[("a/b", b"x")]).contains("without the one data.pkl of torch.save"));
    assert!(open(&[("a/data.pkl", b"N."), ("b/data.pkl", b"N.")]).contains("the one data.pkl"));
    assert!(open(&[("a/data.pkl", b"N."), ("a/constants.pkl", b"N.")]).contains("TorchScript"));
    assert!(open(&[("a/data.pkl", b"N."), ("a/byteorder", b"big")]).contains("big-endian"));
    assert!(open(&[("a/data.pkl", b"N.")]).contains("holds no tensors"));
}
