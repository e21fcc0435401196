//! The key that requests must have, compared in constant time.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use sha2::{Digest, Sha256};
use std::fmt;
use subtle::ConstantTimeEq;
use thiserror::Error;

/// A key that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadKey {
    /// It has no characters.
    #[error("the key is empty")]
    Empty,
    /// No client could send it.
    #[error("the key holds a character that a header cannot carry: use visible ASCII characters")]
    NotVisible,
}

/// A key, of which only the SHA-256 is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey([u8; 32]);

impl ApiKey {
    /// From its text.
    ///
    /// # Errors
    /// It is empty, or cannot be sent in a header.
    pub fn new(text: &str) -> Result<ApiKey, BadKey> {
        match text.as_bytes() {
            [] => Err(BadKey::Empty),
            key if key.iter().all(u8::is_ascii_graphic) => Ok(ApiKey(digest(key))),
            _ => Err(BadKey::NotVisible),
        }
    }

    /// Whether a request has the key: `Authorization: Bearer KEY` or `X-API-Key: KEY`. Takes the same
    /// time for every wrong key of a length.
    pub fn is_in(&self, headers: &HeaderMap) -> bool {
        let bearer = headers.get(AUTHORIZATION).and_then(|value| {
            let (scheme, key) = value.as_bytes().split_at_checked(7)?;
            scheme.eq_ignore_ascii_case(b"bearer ").then_some(key)
        });
        let key = headers.get("x-api-key").map(|value| value.as_bytes());
        let given = bearer.or(key);
        given.is_some_and(|given| self.0.ct_eq(&digest(given.trim_ascii())).into())
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

fn digest(key: &[u8]) -> [u8; 32] {
    Sha256::digest(key).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn has(key: &ApiKey, name: &'static str, value: &[u8]) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_bytes(value).unwrap());
        key.is_in(&headers)
    }

    #[test]
    fn the_key_comes_as_bearer_or_as_itself() {
        let key = ApiKey::new("s3cret").unwrap();
        for (name, value) in [
            ("authorization", "Bearer s3cret"),
            ("authorization", "bearer s3cret"),
            ("authorization", "BEARER  s3cret"),
            ("x-api-key", "s3cret"),
        ] {
            assert!(has(&key, name, value.as_bytes()), "{name}: {value}");
        }
        for (name, value) in [
            ("authorization", &b"s3cret"[..]),
            ("authorization", b"Bearer"),
            ("authorization", b"Bearer "),
            ("authorization", b"Basic s3cret"),
            ("authorization", b"Bearer s3cre"),
            ("authorization", b"Bearer s3crett"),
            ("authorization", b"\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8"),
            ("x-api-key", b"S3cret"),
            ("x-api-key", b""),
            ("cookie", b"s3cret"),
        ] {
            assert!(!has(&key, name, value));
        }
        assert!(!key.is_in(&HeaderMap::new()));
    }

    #[test]
    fn a_wrong_bearer_is_not_replaced_by_another_header() {
        let key = ApiKey::new("s3cret").unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_static("Bearer other"));
        headers.insert("x-api-key", HeaderValue::from_static("s3cret"));
        assert!(!key.is_in(&headers));
    }

    #[test]
    fn keys_that_no_header_carries_are_refused() {
        assert_eq!(ApiKey::new(""), Err(BadKey::Empty));
        for text in ["a b", "a\n", "schlüssel", "\u{7f}"] {
            assert_eq!(ApiKey::new(text), Err(BadKey::NotVisible), "{text:?}");
        }
        assert_eq!(format!("{:?}", ApiKey::new("s3cret").unwrap()), "ApiKey(…)");
    }
}
