//! A safe, unique file name for every record.
//!
//! An identifier that is a valid file name on every system keeps its name: `P12345` becomes
//! `P12345.npy`. Any other, and any that equals an earlier one up to case, becomes
//! `PREFIX-HASH.npy`, where PREFIX is its valid part and HASH the first 16 hexadecimal digits
//! of the SHA-256 of the identifier (of identifier, row and attempt if that name is taken as well).
//! Names depend only on the identifiers and their order.

use crate::output::disk_map::{DiskMap, key};
use crate::sha256::hex;
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::io;
use std::path::Path;

/// Longest name in bytes, with its ending.
pub(super) const MAX_BYTES: usize = 200;
const ENDING: &str = ".npy";
const HASH_DIGITS: usize = 16;
/// The name of an empty identifier.
const UNNAMED: &str = "unnamed";

/// The names in use.
#[derive(Debug)]
pub(crate) struct FileNames {
    seen: DiskMap,
}

impl FileNames {
    /// No names yet. Many are in files at this path.
    pub(super) fn create(path: &Path) -> Self {
        Self {
            seen: DiskMap::create(path),
        }
    }

    /// No names yet. Many are in files without names, on the file system where `out` is or will be.
    pub(crate) fn temporary(out: &Path) -> Self {
        Self {
            seen: DiskMap::temporary(out),
        }
    }

    /// The file name of the record in `row`.
    pub(crate) fn assign(&mut self, id: &[u8], row: u64) -> io::Result<String> {
        if let Some(id) = unchanged(id) {
            let name = format!("{id}{ENDING}");
            if self.take(&name, row)? {
                return Ok(name);
            }
        }
        let mut attempt = 0;
        loop {
            let name = changed(id, row, attempt);
            if self.take(&name, row)? {
                return Ok(name);
            }
            attempt += 1;
        }
    }

    /// Whether the name was free, up to case, and is now taken.
    fn take(&mut self, name: &str, row: u64) -> io::Result<bool> {
        // Upper case first: it maps letters together that lower case does not, such as the long s.
        let folded = name.to_uppercase().to_lowercase();
        Ok(self
            .seen
            .get_or_insert(key(folded.as_bytes()), row)?
            .is_none())
    }
}

/// The file names of a few records, without a table on disk.
pub(crate) fn file_names<'a>(ids: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut seen = HashSet::new();
    let names = ids.zip(0..).map(|(id, row)| {
        let first = unchanged(id.as_bytes()).map(|id| format!("{id}{ENDING}"));
        let others = (0..).map(|attempt| changed(id.as_bytes(), row, attempt));
        let mut names = first.into_iter().chain(others);
        let free = names.find(|name| seen.insert(name.to_uppercase().to_lowercase()));
        free.unwrap_or_default()
    });
    names.collect()
}

/// Whether `name` could have been given by [`FileNames::assign`], as far as safety goes.
pub(super) fn is_safe(name: &str) -> bool {
    name.len() <= MAX_BYTES
        && name.ends_with(ENDING)
        && !name.starts_with('.')
        && !name.contains(['/', '\\', '\0', '\n'])
}

/// The identifier itself if its file name needs no change.
fn unchanged(id: &[u8]) -> Option<&str> {
    if id.len() > MAX_BYTES - ENDING.len() {
        return None;
    }
    let id = std::str::from_utf8(id).ok()?;
    (!id.is_empty() && sanitised(id) == id).then_some(id)
}

/// A name of the valid part and a hash of the identifier.
fn changed(id: &[u8], row: u64, attempt: u64) -> String {
    let mut hash = Sha256::new_with_prefix(id);
    if attempt > 0 {
        hash.update(row.to_le_bytes());
        hash.update(attempt.to_le_bytes());
    }
    let mut digits = hex(&hash.finalize());
    digits.truncate(HASH_DIGITS);

    let (start, _) = id.split_at(id.len().min(MAX_BYTES));
    let mut prefix = sanitised(&String::from_utf8_lossy(start));
    if prefix.is_empty() {
        prefix.push_str(UNNAMED);
    }
    let most = MAX_BYTES - ENDING.len() - HASH_DIGITS - 1;
    while prefix.len() > most {
        prefix.pop();
    }
    format!("{prefix}-{digits}{ENDING}")
}

/// The text with `_` for everything that some file system or shell cannot handle.
fn sanitised(text: &str) -> String {
    let mut name: String = text
        .chars()
        .map(|c| if is_kept(c) { c } else { '_' })
        .collect();
    for first in ['.', '-', ' '] {
        if name.starts_with(first) {
            name.replace_range(..1, "_");
        }
    }
    if name.ends_with(['.', ' ']) {
        name.pop();
        name.push('_');
    }
    if is_reserved_by_windows(&name) {
        name.insert(0, '_');
    }
    name
}

/// Beyond ASCII only letters and digits are kept: combining marks have two encodings that some file
/// systems treat as equal, and other characters change the direction of text or are invisible.
fn is_kept(character: char) -> bool {
    match character {
        '/' | '\\' | '<' | '>' | ':' | '"' | '|' | '?' | '*' => false,
        ' '..='~' => true,
        _ => character.is_alphanumeric(),
    }
}

/// FileNames of devices, with any ending: `nul`, `COM1.x`.
fn is_reserved_by_windows(name: &str) -> bool {
    let stem = name
        .split('.')
        .next()
        .unwrap_or(name)
        .trim_end()
        .to_ascii_uppercase();
    match stem.as_str() {
        "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$" | "CLOCK$" => true,
        _ => ["COM", "LPT"].iter().any(|device| {
            let mut number = stem.strip_prefix(device).unwrap_or("").chars();
            matches!(
                (number.next(), number.next()),
                (Some('0'..='9' | '¹' | '²' | '³'), None)
            )
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn names(ids: &[&[u8]]) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let mut names = FileNames::create(&dir.path().join("names.seen"));
        (0..)
            .zip(ids)
            .map(|(row, id)| names.assign(id, row).unwrap())
            .collect()
    }

    #[test]
    fn good_identifiers_stay() {
        for id in [
            "P12345",
            "sp_P12345_X",
            "A.1",
            "a-b",
            "protéine",
            "蛋白",
            "CONSERVED",
            "COM10",
            "x.CON",
            "a b",
        ] {
            assert_eq!(names(&[id.as_bytes()]), [format!("{id}.npy")]);
        }
    }

    #[test]
    fn nasty_identifiers_are_changed() {
        for (id, expected) in [
            (&b""[..], "unnamed-e3b0c44298fc1c14.npy"),
            (b".", "_-cdb4ee2aea69cc6a.npy"),
            (b"..", "__-5ec1f7e700f37c3d.npy"),
            (b"../../etc/passwd", "_._.._etc_passwd-3754d6cb3a38e118.npy"),
            (b".hidden", "_hidden-"),
            (b"-rf", "_rf-"),
            (b"sp|P12345|X", "sp_P12345_X-"),
            (b"a/b", "a_b-c14cddc033f64b9d.npy"),
            (b"a:b", "a_b-"),
            (b"a\\b", "a_b-"),
            (b"a\tb\n", "a_b_-"),
            (b"a\0b", "a_b-"),
            (b"CON", "_CON-"),
            (b"con.1", "_con.1-"),
            (b"LpT9", "_LpT9-"),
            ("COM²".as_bytes(), "_COM²-"),
            (b"a ", "a_-"),
            (b"a.", "a_-"),
            (b"caf\xe9", "caf_-"),
            ("cafe\u{301}".as_bytes(), "cafe_-"),
            ("a\u{202e}b".as_bytes(), "a_b-"),
        ] {
            let name = &names(&[id])[0];
            assert!(name.starts_with(expected), "{id:?}: {name}");
            let (_, digits) = name.strip_suffix(".npy").unwrap().rsplit_once('-').unwrap();
            assert!(
                digits.len() == 16 && digits.bytes().all(|b| b.is_ascii_hexdigit()),
                "{name}"
            );
            assert!(is_safe(name));
        }
    }

    #[test]
    fn case_does_not_tell_files_apart() {
        let names = names(&[b"A", b"a", b"A", "ſx".as_bytes(), b"SX"]);
        assert_eq!(names[0], "A.npy");
        assert_eq!(names[1], "a-ca978112ca1bbdca.npy");
        assert_eq!(names[2], "A-559aead08264d579.npy");
        assert_eq!(names[3], "ſx.npy");
        assert!(names[4].starts_with("SX-"));
    }

    #[test]
    fn a_taken_hash_gets_another() {
        // The second identifier is the very name that the first one was given.
        let names = names(&[b"a/b", b"a_b-c14cddc033f64b9d", b"a/b"]);
        assert_eq!(names[0], "a_b-c14cddc033f64b9d.npy");
        assert!(
            names[1].starts_with("a_b-c14cddc033f64b9d-"),
            "{}",
            names[1]
        );
        assert!(names[2].starts_with("a_b-") && names[2] != names[0]);
    }

    #[test]
    fn long_identifiers_are_cut_between_characters() {
        let exact = "x".repeat(196);
        assert_eq!(names(&[exact.as_bytes()])[0].len(), 200);
        let ascii = names(&["x".repeat(300).as_bytes()]).remove(0);
        assert_eq!(ascii.len(), 200);
        assert!(ascii.starts_with(&"x".repeat(179)));
        let wide = names(&["é".repeat(150).as_bytes()]).remove(0);
        assert_eq!(wide.len(), 199);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn names_are_safe_unique_and_repeatable(ids in prop::collection::vec(
            prop_oneof![
                "[aAbB]{0,2}".prop_map(String::into_bytes),
                "[./:aé ſsS-]{0,3}".prop_map(String::into_bytes),
                "(CON|nul|com[0-9])[.a]?".prop_map(String::into_bytes),
                prop::collection::vec(any::<u8>(), 0..6),
                "[aé]{150,260}".prop_map(String::into_bytes),
            ], 0..60))
        {
            let ids: Vec<&[u8]> = ids.iter().map(Vec::as_slice).collect();
            let given = names(&ids);
            prop_assert_eq!(&given, &names(&ids));
            let folded: HashSet<String> = given.iter().map(|name| name.to_lowercase()).collect();
            prop_assert_eq!(folded.len(), ids.len());
            for name in &given {
                prop_assert!(is_safe(name), "{}", name);
                prop_assert!(!name.chars().any(char::is_control));
                prop_assert!(!is_reserved_by_windows(name));
            }
        }
    }
}
