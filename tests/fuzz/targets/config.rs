//! The small text files of a checkpoint: `config.json`, `vocab.txt`, the index of shards, and an adapter's
//! `adapter_config.json`.

#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use esm_embed_fuzz::{bases, checkpoint, fixture};
use libfuzzer_sys::fuzz_target;

/// A folder, the file in it that the input replaces, and its model if it is an adapter.
struct Base {
    tag: u8,
    folder: PathBuf,
    file: &'static str,
    of: Option<&'static str>,
}

fn bases() -> &'static [Base] {
    static BASES: OnceLock<Vec<Base>> = OnceLock::new();
    BASES.get_or_init(|| {
        let mut all = Vec::new();
        for (tag, name) in (0..).zip(bases::SAFETENSORS) {
            all.push(Base {
                tag,
                folder: bases::whole(name),
                file: "config.json",
                of: None,
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
            (bases::SHARD.0, bases::SHARD.1, "config.json"),
        ] {
            all.push(Base {
                tag,
                folder: bases::whole(name),
                file,
                of: None,
            });
        }
        for (tag, name, _, of) in bases::ADAPTERS {
            all.push(Base {
                tag,
                folder: bases::whole(name),
                file: "adapter_config.json",
                of: Some(of),
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
    match base.of {
        None => checkpoint::exercise(&base.folder),
        Some(of) => checkpoint::exercise_with(&fixture(of), Some(&base.folder)),
    }
});
