//! A torch file, also of an adapter or in a `.nemo`: the pickle of a sound file, a configuration, or a whole file.

#![no_main]

use std::fs;
use std::io::Cursor;
use std::path::PathBuf;
use std::sync::OnceLock;

use esm_embed_fuzz::{archive, bases, checkpoint, fixture, scratch};
use libfuzzer_sys::fuzz_target;

/// A folder with one replaced file, that file, the path to open, and the file's entries.
struct Base {
    file: PathBuf,
    opened: PathBuf,
    entries: Vec<(String, Vec<u8>)>,
}

fn bases() -> &'static [Base] {
    static BASES: OnceLock<Vec<Base>> = OnceLock::new();
    BASES.get_or_init(|| {
        let base = |(folder, file, beside): &(&str, &str, &[&str])| {
            let copied = bases::copy(folder, &format!("{file}.d"), beside);
            Base {
                file: copied.join(file),
                opened: match beside {
                    ["esm2_hd16.pt"] => copied.join("esm2_hd16.pt"),
                    _ => copied.join(file),
                },
                entries: archive::entries(&fixture(folder).join(file)),
            }
        };
        bases::TORCH.iter().map(base).collect()
    })
}

/// A `.nemo` with the part of this tag replaced.
fn nemo(tag: u8, part: &[u8]) -> Vec<u8> {
    static SOUND: OnceLock<[Vec<u8>; 2]> = OnceLock::new();
    let [config, weights] = SOUND.get_or_init(bases::nemo);
    let [first, second] = bases::NEMO_FILES;
    match bases::NEMO_TAGS.iter().position(|one| *one == tag) {
        Some(0) => archive::tar(&[(first, part), (second, weights)]),
        Some(1) => {
            let entries = archive::entries_of(Cursor::new(weights));
            let weights = archive::with_pickle(&entries, part);
            archive::tar(&[(first, config), (second, &weights)])
        }
        _ => part.to_vec(),
    }
}

/// An adapter whose pickle is replaced.
struct Adapter {
    tag: u8,
    folder: PathBuf,
    file: &'static str,
    of: &'static str,
    entries: Vec<(String, Vec<u8>)>,
}

fn adapters() -> &'static [Adapter] {
    static ADAPTERS: OnceLock<Vec<Adapter>> = OnceLock::new();
    ADAPTERS.get_or_init(|| {
        let all = bases::ADAPTERS.into_iter();
        let all = all.filter(|(_, _, file, _)| file.ends_with(".bin"));
        all.map(|(tag, name, file, of)| Adapter {
            tag,
            folder: bases::whole(name),
            file,
            of,
            entries: archive::entries(&fixture(name).join(file)),
        })
        .collect()
    })
}

fuzz_target!(|data: &[u8]| {
    let Some((tag, rest)) = data.split_first() else {
        return;
    };
    if let Some(adapter) = adapters().iter().find(|adapter| adapter.tag == *tag) {
        let bytes = archive::with_pickle(&adapter.entries, rest);
        fs::write(adapter.folder.join(adapter.file), bytes).unwrap();
        return checkpoint::exercise_with(&fixture(adapter.of), Some(&adapter.folder));
    }
    if bases::NEMO_TAGS.contains(tag) {
        let path = scratch().join("m.nemo");
        fs::write(&path, nemo(*tag, rest)).unwrap();
        return checkpoint::exercise(&path);
    }
    let (base, bytes) = match bases().get(usize::from(*tag)) {
        Some(base) => (base, archive::with_pickle(&base.entries, rest)),
        None => (&bases()[0], rest.to_vec()),
    };
    fs::write(&base.file, bytes).unwrap();
    checkpoint::exercise(&base.opened);
});
