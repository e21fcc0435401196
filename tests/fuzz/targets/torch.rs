//! A torch file: the pickle of a sound file, or a whole file.

#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use esm_embed_fuzz::{archive, bases, checkpoint, fixture};
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

fuzz_target!(|data: &[u8]| {
    let Some((tag, rest)) = data.split_first() else {
        return;
    };
    let (base, bytes) = match bases().get(usize::from(*tag)) {
        Some(base) => (base, archive::with_pickle(&base.entries, rest)),
        None => (&bases()[0], rest.to_vec()),
    };
    fs::write(&base.file, bytes).unwrap();
    checkpoint::exercise(&base.opened);
});
