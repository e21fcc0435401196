//! SHA-256 of files, streams and text, in lower-case hexadecimal.

use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// SHA-256 of a file, and its length in bytes.
///
/// # Errors
/// What reading it ends with.
pub fn sha256_file(path: &Path) -> io::Result<(String, u64)> {
    sha256_read(&mut File::open(path)?)
}

/// SHA-256 of everything that a source gives, and the number of bytes.
///
/// # Errors
/// What reading it ends with.
pub fn sha256_read(source: &mut impl Read) -> io::Result<(String, u64)> {
    let mut sha256 = Sha256::new();
    let mut bytes = 0;
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = match source.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        sha256.update(buffer.get(..read).unwrap_or_default());
        bytes += read as u64;
    }
    Ok((hex(&sha256.finalize()), bytes))
}

/// SHA-256 of bytes in memory.
pub fn sha256_of(bytes: impl AsRef<[u8]>) -> String {
    hex(&Sha256::digest(bytes))
}

/// Whether the text is a SHA-256 in hexadecimal.
pub fn is_sha256(text: &str) -> bool {
    parse(text).is_some()
}

/// The bytes of a SHA-256 in hexadecimal; None if the text is not a SHA-256.
pub fn parse(text: &str) -> Option<[u8; 32]> {
    parse_hex(text)
}

/// The bytes of hexadecimal digits, two for each; None if the text is anything else.
pub fn parse_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != 2 * N || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}

/// Lower-case hexadecimal digits, two for each byte.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 180-2, appendix B.1.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_file_and_its_bytes_have_one_digest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("abc");
        std::fs::write(&path, "abc").unwrap();
        assert_eq!(sha256_file(&path).unwrap(), (ABC.to_owned(), 3));
        assert_eq!(sha256_of(b"abc"), ABC);
        assert!(is_sha256(ABC) && !is_sha256("abc"));
        assert_eq!(parse(ABC).map(|bytes| hex(&bytes)).as_deref(), Some(ABC));
        assert_eq!(parse("abc"), None);
    }
}
