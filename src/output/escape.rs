//! Any bytes as one field of a tab-separated table, and back.

/// Appends `field` so that it has no tab, line break or other control character, is valid UTF-8,
/// and does not start with a quotation mark.
///
/// - backslash, tab, carriage return and line feed become `\\`, `\t`, `\r` and `\n`;
/// - every byte of another control character, of the line separators U+2028 and U+2029, and of
///   what is not UTF-8 becomes `\x` and two hexadecimal digits;
/// - a quotation mark at the start of the field becomes `\x22`, because many readers take it for the
///   start of a quoted field; further on it has no such meaning and stays.
///
/// [`unescape`] restores the bytes.
pub fn escape(field: &[u8], out: &mut Vec<u8>) {
    let mut field = field;
    if let Some(rest) = field.strip_prefix(b"\"") {
        out.extend_from_slice(b"\\x22");
        field = rest;
    }
    for chunk in field.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\\' => out.extend_from_slice(b"\\\\"),
                '\t' => out.extend_from_slice(b"\\t"),
                '\r' => out.extend_from_slice(b"\\r"),
                '\n' => out.extend_from_slice(b"\\n"),
                _ => {
                    let bytes = &mut [0; 4];
                    let bytes = character.encode_utf8(bytes).as_bytes();
                    if character.is_control() || matches!(character, '\u{2028}' | '\u{2029}') {
                        push_hex(bytes, out);
                    } else {
                        out.extend_from_slice(bytes);
                    }
                }
            }
        }
        push_hex(chunk.invalid(), out);
    }
}

/// The bytes that [`escape`] was given, or `None` where a backslash opens no known escape.
pub fn unescape(field: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.iter().copied();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'\\' => match rest.next()? {
                b'\\' => b'\\',
                b't' => b'\t',
                b'r' => b'\r',
                b'n' => b'\n',
                b'x' => hex_value(rest.next()?)? << 4 | hex_value(rest.next()?)?,
                _ => return None,
            },
            byte => byte,
        });
    }
    Some(bytes)
}

/// `text` as [`escape`] writes it.
pub(super) fn escaped(text: &str) -> String {
    let mut bytes = Vec::new();
    escape(text.as_bytes(), &mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn push_hex(bytes: &[u8], out: &mut Vec<u8>) {
    for byte in bytes {
        out.extend_from_slice(format!("\\x{byte:02x}").as_bytes());
    }
}

fn hex_value(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn escaped(field: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        escape(field, &mut out);
        out
    }

    #[test]
    fn table() {
        for (field, expected) in [
            (&b"sp|P12345|X"[..], &b"sp|P12345|X"[..]),
            (b"", b""),
            (b"a\tb\r\nc\\d", b"a\\tb\\r\\nc\\\\d"),
            (b"\x00\x1b[31m\x7f", b"\\x00\\x1b[31m\\x7f"),
            (b"caf\xe9", b"caf\\xe9"),
            ("café".as_bytes(), "café".as_bytes()),
            (
                "a\u{85}b\u{2028}".as_bytes(),
                b"a\\xc2\\x85b\\xe2\\x80\\xa8",
            ),
            (b"\"quoted\" 5\"", b"\\x22quoted\" 5\""),
        ] {
            assert_eq!(escaped(field), expected);
        }
    }

    #[test]
    fn what_is_no_escape_is_refused() {
        for field in [&b"\\"[..], b"\\a", b"\\x1", b"\\xg0", b"\\x"] {
            assert_eq!(unescape(field), None);
        }
    }

    proptest! {
        #[test]
        fn round_trip(field in prop::collection::vec(
            prop_oneof![any::<u8>(), Just(b'\\'), Just(b'"'), Just(b'\t'), Just(0xe2), Just(0x80), Just(0xa8)], 0..40))
        {
            let out = escaped(&field);
            let text = std::str::from_utf8(&out).unwrap();
            let unwanted = |c: char| c.is_control() || c == '\u{2028}';
            prop_assert!(!text.contains(unwanted));
            prop_assert!(!text.starts_with('"'));
            prop_assert_eq!(unescape(&out), Some(field));
        }
    }
}
