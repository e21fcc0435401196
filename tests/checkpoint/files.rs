//! Paths that do not lead to weights, and incomplete folders.

use std::fs;
use std::path::Path;

use crate::support::{copy, edit, encoder, error, fixture, open, written};

#[test]
fn a_file_that_is_not_a_checkpoint_is_named() {
    let missing = error(Path::new("no/such/model"));
    assert!(
        missing.starts_with("no/such/model: no such file or folder\nhint: name"),
        "{missing}"
    );
    for (bytes, says) in [
        (&b""[..], "is empty\nhint: download it again"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
            "git lfs pointer",
        ),
        (
            b"<!DOCTYPE html>\n<html>Not Found</html>",
            "is a web page, not the file it should be",
        ),
        (
            b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.",
            "the form that torch wrote before version 1.6",
        ),
        (b"PK\x03\x04", "no zip directory at its end"),
        (b"just some text", "does not start as a zip archive"),
        (&[0; 4096], "does not start as a zip archive"),
    ] {
        let (_folder, path) = written("weights.pt", bytes);
        let found = error(&path);
        assert!(
            found.contains("weights.pt") && found.contains(says),
            "{found}"
        );
    }
    let tar = [&b"sys_info"[..], &[0; 249], b"ustar", &[0; 300]].concat();
    let (_folder, path) = written("weights.pt", &tar);
    assert!(error(&path).contains("before version 1.6"));
    let (_folder, path) = written("model.safetensors", b"<html></html>");
    assert!(error(&path).contains("is a web page"));
}

#[test]
fn missing_files_of_a_folder_are_named() {
    let folder = copy("esm2_hd16");
    fs::remove_file(folder.path().join("config.json")).unwrap();
    let found = error(folder.path());
    assert!(
        found.contains("no config.json; it holds model.safetensors, vocab.txt"),
        "{found}"
    );
    let found = error(&folder.path().join("model.safetensors"));
    assert!(found.contains("has no config.json beside it"), "{found}");
    fs::remove_file(folder.path().join("model.safetensors")).unwrap();
    let found = error(folder.path());
    assert!(
        found.contains("is a folder without model.safetensors"),
        "{found}"
    );
    assert!(found.contains("it holds vocab.txt"), "{found}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_pipe_is_refused_without_waiting() {
    use rustix::fs::{CWD, Mode, mkfifoat};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.pt");
    mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
    assert!(error(&path).contains("is not a regular file"));
}

#[test]
fn a_git_lfs_pointer_instead_of_the_configuration_is_named() {
    let folder = copy("esm2_hd16");
    let pointer = "version https://git-lfs.github.com/spec/v1\n";
    fs::write(folder.path().join("config.json"), pointer).unwrap();
    let found = error(folder.path());
    assert!(
        found.contains("config.json: is a git lfs pointer"),
        "{found}"
    );
}

#[cfg(unix)]
#[test]
fn a_dangling_link_is_named() {
    let folder = copy("esm2_hd16");
    let weights = folder.path().join("model.safetensors");
    fs::remove_file(&weights).unwrap();
    std::os::unix::fs::symlink("../blobs/gone", &weights).unwrap();
    let found = error(folder.path());
    assert!(
        found.contains("model.safetensors: is a link to a file that does not exist"),
        "{found}"
    );
}

#[test]
fn a_missing_shard_is_named() {
    for (name, shard) in [
        ("esm2_hd16_sharded", "model-00002-of-00003.safetensors"),
        ("esm2_hd16_bin_sharded", "pytorch_model-00002-of-00003.bin"),
    ] {
        let folder = copy(name);
        fs::remove_file(folder.path().join(shard)).unwrap();
        let found = error(folder.path());
        assert!(
            found.contains(&format!("{shard}: this shard is missing, but ")),
            "{found}"
        );
    }
}

#[test]
fn a_shard_in_place_of_another_is_noticed() {
    let folder = copy("esm2_hd16_sharded");
    let shard = |i| {
        folder
            .path()
            .join(format!("model-0000{i}-of-00003.safetensors"))
    };
    fs::copy(shard(1), shard(2)).unwrap();
    let found = error(folder.path());
    assert!(
        found.contains("is already in") && found.contains("00001-of-00003"),
        "{found}"
    );
}

#[test]
fn a_tensor_missing_from_its_shard_is_named_with_the_shard() {
    let folder = copy("esm2_hd16_sharded");
    let names = (1..4).map(|i| format!("model-0000{i}-of-00003.safetensors"));
    let key = b"esm.encoder.layer.1.intermediate.dense.bias";
    for name in names {
        let path = folder.path().join(&name);
        let mut bytes = fs::read(&path).unwrap();
        if let Some(at) = bytes.windows(key.len()).position(|window| window == key) {
            bytes[at] = b'x';
            fs::write(&path, bytes).unwrap();
            let found = error(folder.path());
            assert!(
                found.contains(&format!(
                    "{name}: the tensor `esm.encoder.layer.1.intermediate.dense.bias` is missing"
                )),
                "{found}"
            );
            return;
        }
    }
    panic!("no shard holds the tensor");
}

#[test]
fn an_index_stays_in_its_folder_and_names_each_tensor_once() {
    let index = "model.safetensors.index.json";
    let folder = copy("esm2_hd16_sharded");
    edit(
        &folder,
        index,
        "model-00001-of-00003.safetensors",
        "../model-00001-of-00003.safetensors",
    );
    let found = error(folder.path());
    assert!(found.contains("which is not a plain file name"), "{found}");
    let folder = copy("esm2_hd16_sharded");
    edit(
        &folder,
        index,
        r#""weight_map": {"#,
        r#""weight_map": {"lm_head.bias": "a", "#,
    );
    let found = error(folder.path());
    assert!(
        found.contains("the name `lm_head.bias` occurs twice"),
        "{found}"
    );
}

#[test]
fn a_file_shortened_while_it_is_read_is_an_error() {
    let folder = copy("esm2_hd16");
    let checkpoint = open(folder.path());
    checkpoint.check_unchanged().unwrap();
    let path = folder.path().join("model.safetensors");
    let length = path.metadata().unwrap().len();
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_len(length / 2).unwrap();
    let says = "model.safetensors: changed while it was read\n\
                hint: wait until nothing writes to it, then run again";
    let mut gone = 0;
    for name in encoder(checkpoint.config()) {
        if let Err(error) = checkpoint.weight(&name).unwrap().to_vec() {
            assert!(error.to_string().ends_with(says), "{error}");
            gone += 1;
        }
    }
    assert!(gone > 0);
    let found = checkpoint.check_unchanged().unwrap_err().to_string();
    assert!(found.ends_with(says), "{found}");
}

#[test]
fn a_damaged_contact_regression_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("esm2_hd16.pt");
    fs::copy(fixture("fair_esm/esm2_hd16.pt"), &path).unwrap();
    fs::write(
        folder.path().join("esm2_hd16-contact-regression.pt"),
        b"PK\x03\x04 cut",
    )
    .unwrap();
    let found = error(&path);
    assert!(
        found.contains("esm2_hd16-contact-regression.pt: has no zip directory"),
        "{found}"
    );
}
