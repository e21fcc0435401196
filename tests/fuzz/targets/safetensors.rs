//! A `.safetensors` file, also of an adapter: the header of a sound file, or a whole file.

#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use esm_embed_fuzz::{bases, checkpoint, fixture};
use libfuzzer_sys::fuzz_target;

/// A folder, the file in it that is replaced, the numbers of its weights, and its model if it is an adapter.
struct Base {
    tag: u8,
    folder: PathBuf,
    file: &'static str,
    body: Vec<u8>,
    of: Option<&'static str>,
}

fn bases() -> &'static [Base] {
    static BASES: OnceLock<Vec<Base>> = OnceLock::new();
    BASES.get_or_init(|| {
        let base = |(tag, folder, file, of)| Base {
            tag,
            folder: bases::whole(folder),
            file,
            body: bases::safetensors(folder, file).1,
            of,
        };
        let models = (0..).zip(bases::SAFETENSORS);
        let models = models.map(|(tag, name)| (tag, name, "model.safetensors", None));
        let (tag, name, file) = bases::SHARD;
        let adapters = bases::ADAPTERS.into_iter();
        let adapters = adapters.map(|(tag, name, file, of)| (tag, name, file, Some(of)));
        let adapters = adapters.filter(|(_, _, file, _)| file.ends_with(".safetensors"));
        let all = models.chain([(tag, name, file, None)]).chain(adapters);
        all.map(base).collect()
    })
}

fuzz_target!(|data: &[u8]| {
    let Some((tag, rest)) = data.split_first() else {
        return;
    };
    let (base, bytes) = match bases().iter().find(|base| base.tag == *tag) {
        Some(base) => {
            let length = (rest.len() as u64).to_le_bytes();
            (base, [&length, rest, &base.body].concat())
        }
        None => (&bases()[0], rest.to_vec()),
    };
    fs::write(base.folder.join(base.file), bytes).unwrap();
    match base.of {
        None => checkpoint::exercise(&base.folder),
        Some(of) => checkpoint::exercise_with(&fixture(of), Some(&base.folder)),
    }
});
