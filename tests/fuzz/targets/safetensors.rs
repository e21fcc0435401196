//! A `.safetensors` file: the header of a sound file, or a whole file.

#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use esm_embed_fuzz::{bases, checkpoint};
use libfuzzer_sys::fuzz_target;

/// A folder with a configuration, and the numbers of its weights.
struct Base {
    folder: PathBuf,
    body: Vec<u8>,
}

fn bases() -> &'static [Base] {
    static BASES: OnceLock<Vec<Base>> = OnceLock::new();
    BASES.get_or_init(|| {
        let base = |name: &&str| Base {
            folder: bases::copy(name, name, &["config.json"]),
            body: bases::safetensors(name).1,
        };
        bases::SAFETENSORS.iter().map(base).collect()
    })
}

fuzz_target!(|data: &[u8]| {
    let Some((tag, rest)) = data.split_first() else {
        return;
    };
    let (base, bytes) = match bases().get(usize::from(*tag)) {
        Some(base) => {
            let length = (rest.len() as u64).to_le_bytes();
            (base, [&length, rest, &base.body].concat())
        }
        None => (&bases()[0], rest.to_vec()),
    };
    fs::write(base.folder.join("model.safetensors"), bytes).unwrap();
    checkpoint::exercise(&base.folder);
});
