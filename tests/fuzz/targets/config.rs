//! The small text files of a checkpoint: `config.json`, `vocab.txt`, the index of shards.

#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use esm_embed_fuzz::{bases, checkpoint};
use libfuzzer_sys::fuzz_target;

/// A copy of a whole folder.
fn whole(name: &str) -> PathBuf {
    let files = bases::files(name);
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    bases::copy(name, name, &files)
}

/// A folder, and the file in it that the input replaces.
struct Base {
    tag: u8,
    folder: PathBuf,
    file: &'static str,
}

fn bases() -> &'static [Base] {
    static BASES: OnceLock<Vec<Base>> = OnceLock::new();
    BASES.get_or_init(|| {
        let mut all = Vec::new();
        for (tag, name) in (0..).zip(bases::SAFETENSORS) {
            all.push(Base {
                tag,
                folder: whole(name),
                file: "config.json",
            });
        }
        for (tag, name, file) in [
            (b'v', "esm2_hd64", "vocab.txt"),
            (b'p', "saprot_hd16", "vocab.txt"),
            (b's', "esm2_hd16_sharded", "model.safetensors.index.json"),
            (
                b'b',
                "esm2_hd16_bin_sharded",
                "pytorch_model.bin.index.json",
            ),
        ] {
            all.push(Base {
                tag,
                folder: whole(name),
                file,
            });
        }
        all
    })
}

fuzz_target!(|data: &[u8]| {
    let Some((tag, rest)) = data.split_first() else {
        return;
    };
    let Some(base) = bases().iter().find(|base| base.tag == *tag) else {
        return;
    };
    fs::write(base.folder.join(base.file), rest).unwrap();
    checkpoint::exercise(&base.folder);
});
