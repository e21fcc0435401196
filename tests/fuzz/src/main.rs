//! Writes the first inputs into the given folder.

use std::path::Path;

fn main() {
    match std::env::args_os().nth(1) {
        Some(corpus) => esm_embed_fuzz::seeds::write(Path::new(&corpus)),
        None => panic!("name the folder for the corpora"),
    }
}
