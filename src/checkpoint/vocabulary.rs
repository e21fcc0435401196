//! `vocab.txt`: the alphabet that the embedding's rows stand for.

use std::path::Path;

use super::config::ALPHABET_SIZE;
use super::error::CheckpointError;
use super::json;

/// The tokens of ESM-1b, ESM-1v and ESM-2 in the order of their numbers.
const ALPHABET: [&str; ALPHABET_SIZE] = [
    "<cls>", "<pad>", "<eos>", "<unk>", "L", "A", "G", "V", "S", "E", "R", "T", "I", "D", "P", "K",
    "Q", "N", "F", "Y", "M", "H", "W", "C", "X", "B", "U", "Z", "O", ".", "-", "<null_1>",
    "<mask>",
];

/// Checks that the file lists the ESM alphabet first and in order. Tokens that a user added
/// after it are never produced and do no harm.
pub(super) fn check(path: &Path) -> Result<(), CheckpointError> {
    let bytes = json::bytes(path)?;
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = text.lines().map(str::trim_end);
    for (number, token) in ALPHABET.iter().enumerate() {
        let line = lines.next().unwrap_or("nothing");
        if line != *token {
            let line: String = line.escape_debug().take(40).collect();
            return Err(CheckpointError::Unsupported {
                path: path.to_path_buf(),
                found: format!("another alphabet (token {number} is `{line}`, not `{token}`)"),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_in_order_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vocab.txt");
        std::fs::write(&path, ALPHABET.join("\n")).unwrap();
        check(&path).unwrap();
        std::fs::write(&path, ALPHABET.join("\r\n") + "\r\n<mine>\r\n").unwrap();
        check(&path).unwrap();
        std::fs::write(&path, ALPHABET.join("\n").replace("L\nA", "A\nL")).unwrap();
        let error = check(&path).unwrap_err().to_string();
        assert!(error.contains("token 4 is `A`, not `L`"), "{error}");
        std::fs::write(&path, "<cls>\n").unwrap();
        let error = check(&path).unwrap_err().to_string();
        assert!(
            error.contains("token 1 is `nothing`, not `<pad>`"),
            "{error}"
        );
    }
}
