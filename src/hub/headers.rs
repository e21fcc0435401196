//! What the hub's headers say about a file.

use super::cache::is_safe_name;
use crate::printable;

/// What the hub says about a file before its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Metadata {
    /// The current commit of the revision.
    pub(super) commit: String,
    /// The name of the content: for large files, its SHA-256.
    pub(super) etag: Option<String>,
    /// Length of the content, if the hub states it separately from the transfer.
    pub(super) linked_size: Option<u64>,
}

/// The headers of an answer that describe a file.
#[derive(Default)]
pub(super) struct Headers {
    pub(super) location: Option<String>,
    pub(super) commit: Option<String>,
    pub(super) linked_etag: Option<String>,
    pub(super) linked_size: Option<String>,
    pub(super) etag: Option<String>,
    pub(super) length: Option<String>,
    pub(super) range: Option<String>,
    pub(super) kind: Option<String>,
    pub(super) error_code: Option<String>,
    pub(super) error_message: Option<String>,
}

impl Headers {
    /// The first answer in a chain of redirects is the hub's own, so its headers count.
    pub(super) fn keep_first(&mut self, later: &Headers) {
        let keep = |first: &mut Option<String>, later: &Option<String>| {
            if first.is_none() {
                first.clone_from(later);
            }
        };
        keep(&mut self.commit, &later.commit);
        keep(&mut self.linked_etag, &later.linked_etag);
        keep(&mut self.linked_size, &later.linked_size);
        keep(&mut self.etag, &later.etag);
        keep(&mut self.kind, &later.kind);
    }

    /// What they say about the file; an error is what is wrong with them.
    pub(super) fn metadata(&self) -> Result<Metadata, String> {
        let commit = self.commit.as_deref().ok_or_else(|| {
            let kind = self.kind.as_deref().unwrap_or("of no stated type");
            format!(
                "its answer ({}) has no X-Repo-Commit header",
                printable::name(kind)
            )
        })?;
        let named = |what: &str, name: &str| match is_safe_name(name) {
            true => Ok(name.to_owned()),
            false => Err(format!("its {what} is `{}`", printable::name(name))),
        };
        Ok(Metadata {
            commit: named("X-Repo-Commit", commit)?,
            etag: self
                .linked_etag
                .as_deref()
                .or(self.etag.as_deref())
                .map(|etag| named("ETag", bare_etag(etag)))
                .transpose()?,
            linked_size: number(self.linked_size.as_deref()),
        })
    }
}

/// What the hub said, as a clause to append to an error.
pub(super) fn said(message: Option<&str>) -> String {
    message.map_or_else(String::new, |m| format!(": {}", printable::name(m)))
}

pub(super) fn number(text: Option<&str>) -> Option<u64> {
    text?.trim().parse().ok()
}

/// `W/"abc"` → `abc`.
fn bare_etag(etag: &str) -> &str {
    let etag = etag.trim();
    etag.strip_prefix("W/").unwrap_or(etag).trim_matches('"')
}

/// `bytes 10-19/20` → 10 and 20; `*` for the size → no size.
pub(super) fn content_range(range: &str) -> Option<(u64, Option<u64>)> {
    let (range, size) = range.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    Some((start.trim().parse().ok()?, number(Some(size))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read() {
        assert_eq!(bare_etag("\"abc\""), "abc");
        assert_eq!(bare_etag("W/\"abc\""), "abc");
        assert_eq!(content_range("bytes 10-19/20"), Some((10, Some(20))));
        assert_eq!(content_range("bytes 10-19/*"), Some((10, None)));
        assert_eq!(content_range("bytes */20"), None);
        assert_eq!(content_range("10-19/20"), None);
    }

    #[test]
    fn the_hubs_own_answer_counts() {
        let mut seen = Headers {
            commit: Some("c1".to_owned()),
            linked_etag: Some("\"linked\"".to_owned()),
            linked_size: Some("12".to_owned()),
            ..Headers::default()
        };
        seen.keep_first(&Headers {
            commit: Some("c2".to_owned()),
            etag: Some("\"storage\"".to_owned()),
            ..Headers::default()
        });
        let metadata = seen.metadata().ok();
        assert_eq!(
            metadata,
            Some(Metadata {
                commit: "c1".to_owned(),
                etag: Some("linked".to_owned()),
                linked_size: Some(12)
            })
        );
    }

    #[test]
    fn names_that_lead_out_of_the_cache_are_refused() {
        for etag in ["\"../../x\"", "/etc/passwd", "\"\"", "\"..\""] {
            let headers = Headers {
                commit: Some("c".to_owned()),
                etag: Some(etag.to_owned()),
                ..Headers::default()
            };
            assert!(headers.metadata().is_err(), "{etag}");
        }
        let headers = Headers {
            commit: Some("../c".to_owned()),
            ..Headers::default()
        };
        assert!(headers.metadata().is_err());
    }
}
