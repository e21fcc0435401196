//! One request to the hub, or to the storage it redirects to.
//!
//! The requests are hf-hub's (its TLS, proxies, token and user agent) with what it leaves out: time
//! limits, a token that no other host sees, and an answer that is looked at before it is believed.

use std::cell::Cell;
use std::io::Read;

use hf_hub::Cache;
use hf_hub::api::sync::{Api, ApiBuilder};

use super::cache::is_safe_name;
use super::error::HubError;
use super::settings::{HubSettings, Token};

const MAX_REDIRECTS: usize = 8;

/// Sends requests to one hub.
pub(super) struct Client<'a> {
    api: Api,
    settings: &'a HubSettings,
    origin: String,
    /// An answer has come: the network works, and a later failure may pass.
    was_reached: Cell<bool>,
}

/// Why there is no answer to use.
pub(super) enum Failure {
    /// It may work the next time.
    Transient(String),
    /// The first request found no way to the hub.
    Unreachable(String),
    /// It will not work the next time.
    Fatal(Box<HubError>),
}

/// What the hub knows of a file before any of its bytes have come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Metadata {
    /// The commit the revision means now.
    pub(super) commit: String,
    /// Names the content: the sha256 of large files.
    pub(super) etag: Option<String>,
    /// Length of the content, where the hub tells it apart from the transfer.
    pub(super) linked_size: Option<u64>,
}

/// The hub's answer to the question for a file.
pub(super) enum Answer {
    /// The file, its content still to come.
    File(Metadata, Pending),
    /// 404, with the hub's own code and words for it.
    Missing {
        /// `X-Error-Code`: `RepoNotFound`, `RevisionNotFound`, `EntryNotFound` or nothing.
        code: String,
        /// `X-Error-Message`, as a clause to append.
        said: String,
    },
    /// 401 or 403.
    Refused {
        /// Which of the two.
        status: u16,
        /// `X-Error-Message`, as a clause to append.
        said: String,
    },
}

/// Where the content is to be read.
pub(super) struct Pending {
    url: String,
    /// The answer already under way, if the hub sends the content itself.
    reply: Option<Reply>,
}

/// Content from some offset on.
pub(super) struct Content {
    /// The byte of the file that comes first.
    pub(super) start: u64,
    /// Length of the whole file, if the answer tells.
    pub(super) size: Option<u64>,
    pub(super) reader: Box<dyn Read>,
}

struct Reply {
    status: u16,
    headers: Headers,
    reader: Box<dyn Read>,
}

#[derive(Default)]
struct Headers {
    location: Option<String>,
    commit: Option<String>,
    linked_etag: Option<String>,
    linked_size: Option<String>,
    etag: Option<String>,
    length: Option<String>,
    range: Option<String>,
    kind: Option<String>,
    error_code: Option<String>,
    error_message: Option<String>,
}

impl<'a> Client<'a> {
    pub(super) fn new(settings: &'a HubSettings) -> Result<Self, HubError> {
        let api = ApiBuilder::from_cache(Cache::new(settings.cache.clone()))
            .with_endpoint(settings.endpoint.clone())
            .with_token(settings.token.as_ref().map(|t| Token::secret(t).to_owned()))
            .with_progress(false)
            .with_user_agent("esm-embed", env!("CARGO_PKG_VERSION"))
            .build()
            .map_err(|error| HubError::NotAHub {
                url: settings.endpoint.clone(),
                what: format!("no request can be made ({error})"),
            })?;
        Ok(Client {
            api,
            settings,
            origin: origin(&settings.endpoint),
            was_reached: Cell::new(false),
        })
    }

    /// Asks for a file at a revision. Redirects are followed on the hub itself; the one that leads
    /// elsewhere is left to [`Client::content`], so that nothing is transferred before it is wanted.
    pub(super) fn ask(&self, repo: &str, revision: &str, file: &str) -> Result<Answer, Failure> {
        let revision = revision.replace('/', "%2F");
        let asked = format!(
            "{}/{repo}/resolve/{revision}/{file}",
            self.settings.endpoint
        );
        let mut url = asked.clone();
        let mut seen = Headers::default();
        for _ in 0..MAX_REDIRECTS {
            let reply = self.get(&url, 0)?;
            let said = said(reply.headers.error_message.as_deref());
            match reply.status {
                200 => {
                    seen.keep_first(&reply.headers);
                    let metadata = seen.metadata(&asked)?;
                    let reply = Some(reply);
                    return Ok(Answer::File(metadata, Pending { url, reply }));
                }
                301 | 302 | 303 | 307 | 308 => {
                    seen.keep_first(&reply.headers);
                    let location = reply.headers.location.as_deref().unwrap_or_default();
                    url = join(&url, location)
                        .ok_or_else(|| not_a_hub(&asked, "a redirect led nowhere".to_owned()))?;
                    if origin(&url) != self.origin {
                        let metadata = seen.metadata(&asked)?;
                        return Ok(Answer::File(metadata, Pending { url, reply: None }));
                    }
                }
                404 | 410 => {
                    let code = reply.headers.error_code.unwrap_or_default();
                    return Ok(Answer::Missing { code, said });
                }
                status @ (401 | 403) => return Ok(Answer::Refused { status, said }),
                status => return Err(status_failure(&asked, status, &said)),
            }
        }
        Err(not_a_hub(&asked, "redirects without end".to_owned()))
    }

    /// The content from byte `offset` on, or from an earlier one if the server wants it so.
    pub(super) fn content(&self, pending: Pending, offset: u64) -> Result<Content, Failure> {
        if let (Some(reply), 0) = (pending.reply, offset) {
            return Ok(Content {
                start: 0,
                size: number(reply.headers.length.as_deref()),
                reader: reply.reader,
            });
        }
        let mut url = pending.url;
        for _ in 0..MAX_REDIRECTS {
            let reply = self.get(&url, offset)?;
            match reply.status {
                200 => {
                    return Ok(Content {
                        start: 0,
                        size: number(reply.headers.length.as_deref()),
                        reader: reply.reader,
                    });
                }
                206 => {
                    let range = reply.headers.range.as_deref().unwrap_or_default();
                    return match content_range(range) {
                        Some((start, size)) if start <= offset => Ok(Content {
                            start,
                            size,
                            reader: reply.reader,
                        }),
                        _ => Err(Failure::Transient(format!(
                            "the server sent the range `{}` when asked for bytes {offset} on",
                            printable(range)
                        ))),
                    };
                }
                301 | 302 | 303 | 307 | 308 => {
                    let location = reply.headers.location.as_deref().unwrap_or_default();
                    url = join(&url, location).ok_or_else(|| {
                        not_a_hub(&origin(&url), "a redirect led nowhere".to_owned())
                    })?;
                }
                // The signed address has run out, or the range is beyond the file that is there now.
                status @ (401 | 403 | 404 | 416) => {
                    return Err(Failure::Transient(format!(
                        "{} answered with status {status}",
                        origin(&url)
                    )));
                }
                status => return Err(status_failure(&origin(&url), status, "")),
            }
        }
        Err(not_a_hub(&origin(&url), "redirects without end".to_owned()))
    }

    fn get(&self, url: &str, offset: u64) -> Result<Reply, Failure> {
        // hf-hub hands out its prepared request for this one address alone.
        let mut request = self.api.model(String::new()).info_request().uri(url);
        if origin(url) != self.origin
            && let Some(headers) = request.headers_mut()
        {
            headers.remove("authorization");
        }
        if offset > 0 {
            request = request.header("Range", format!("bytes={offset}-"));
        }
        let settings = self.settings;
        let mut config = request.config();
        if is_loopback(url) {
            config = config.proxy(None);
        }
        let response = config
            .max_redirects(0)
            .http_status_as_error(false)
            // A compressed transfer has another length than the file.
            .accept_encoding("identity")
            .timeout_resolve(Some(settings.connect_timeout))
            .timeout_connect(Some(settings.connect_timeout))
            .timeout_recv_response(Some(settings.stall_timeout))
            .timeout_per_read(Some(settings.stall_timeout))
            .build()
            .call()
            .map_err(|error| {
                if self.was_reached.get() {
                    Failure::Transient(format!("{}: {error}", origin(url)))
                } else {
                    Failure::Unreachable(error.to_string())
                }
            })?;
        self.was_reached.set(true);
        let header = |name: &str| {
            let value = response.headers().get(name)?;
            value.to_str().ok().map(str::to_owned)
        };
        let headers = Headers {
            location: header("location"),
            commit: header("x-repo-commit"),
            linked_etag: header("x-linked-etag"),
            linked_size: header("x-linked-size"),
            etag: header("etag"),
            length: header("content-length"),
            range: header("content-range"),
            kind: header("content-type"),
            error_code: header("x-error-code"),
            error_message: header("x-error-message"),
        };
        Ok(Reply {
            status: response.status().as_u16(),
            headers,
            reader: Box::new(response.into_body().into_reader()),
        })
    }
}

impl Headers {
    /// The first answer in a chain of redirects is the hub's own: what it says counts.
    fn keep_first(&mut self, later: &Headers) {
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

    fn metadata(&self, url: &str) -> Result<Metadata, Failure> {
        let commit = self.commit.as_deref().ok_or_else(|| {
            let kind = self.kind.as_deref().unwrap_or("of no stated type");
            not_a_hub(
                url,
                format!(
                    "its answer ({}) has no X-Repo-Commit header",
                    printable(kind)
                ),
            )
        })?;
        let named = |what: &str, name: &str| {
            if is_safe_name(name) {
                Ok(name.to_owned())
            } else {
                let what = format!("its {what} is `{}`", printable(name));
                Err(not_a_hub(url, what))
            }
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

fn not_a_hub(url: &str, what: String) -> Failure {
    Failure::Fatal(Box::new(HubError::NotAHub {
        url: url.to_owned(),
        what,
    }))
}

fn status_failure(url: &str, status: u16, said: &str) -> Failure {
    match status {
        408 | 425 | 429 | 500..=599 => {
            Failure::Transient(format!("{url} answered with status {status}{said}"))
        }
        _ => not_a_hub(url, format!("it answered with status {status}{said}")),
    }
}

/// What the hub said, as a clause to append to an error.
fn said(message: Option<&str>) -> String {
    message.map_or_else(String::new, |m| format!(": {}", printable(m)))
}

/// Foreign text without control characters, and not too much of it.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

fn number(text: Option<&str>) -> Option<u64> {
    text?.trim().parse().ok()
}

/// `W/"abc"` → `abc`.
fn bare_etag(etag: &str) -> &str {
    let etag = etag.trim();
    etag.strip_prefix("W/").unwrap_or(etag).trim_matches('"')
}

/// `bytes 10-19/20` → 10 and 20; `*` for the size → no size.
fn content_range(range: &str) -> Option<(u64, Option<u64>)> {
    let (range, size) = range.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    Some((start.trim().parse().ok()?, number(Some(size))))
}

/// Scheme, host and port: what a token belongs to.
fn origin(url: &str) -> String {
    let after_scheme = url.find("://").map_or(0, |at| at + 3);
    let end = url
        .get(after_scheme..)
        .and_then(|rest| rest.find(['/', '?', '#']))
        .map_or(url.len(), |at| after_scheme + at);
    url.get(..end).unwrap_or(url).to_ascii_lowercase()
}

/// Whether the host is this machine, which no proxy can stand for.
fn is_loopback(url: &str) -> bool {
    let origin = origin(url);
    let host = origin.split_once("://").map_or("", |(_, host)| host);
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    address == "localhost"
        || address
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// The address a `Location` header means, seen from `base`.
fn join(base: &str, location: &str) -> Option<String> {
    let location = location.trim();
    if location.is_empty() {
        return None;
    }
    if location.starts_with("http://") || location.starts_with("https://") {
        return Some(location.to_owned());
    }
    if let Some(rest) = location.strip_prefix("//") {
        let (scheme, _) = base.split_once("://")?;
        return Some(format!("{scheme}://{rest}"));
    }
    if location.starts_with('/') {
        return Some(format!("{}{location}", origin(base)));
    }
    if location.contains("://") {
        return None;
    }
    let path = base.split(['?', '#']).next().unwrap_or(base);
    let folder = path.rfind('/').and_then(|at| path.get(..=at))?;
    Some(format!("{folder}{location}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_joined() {
        let base = "https://Hub.org:8/a/b?q=/x";
        let joined = |location| join(base, location);
        assert_eq!(
            joined("http://cdn/x?s=1").as_deref(),
            Some("http://cdn/x?s=1")
        );
        assert_eq!(joined("//cdn/x").as_deref(), Some("https://cdn/x"));
        assert_eq!(joined("/x").as_deref(), Some("https://hub.org:8/x"));
        assert_eq!(joined("c").as_deref(), Some("https://Hub.org:8/a/c"));
        assert_eq!(joined(""), None);
        assert_eq!(joined("file:///etc/passwd"), None);
    }

    #[test]
    fn a_token_belongs_to_scheme_host_and_port() {
        assert_eq!(origin("https://Hub.org/a/b"), "https://hub.org");
        assert_eq!(origin("https://hub.org"), "https://hub.org");
        assert_ne!(origin("https://hub.org/a"), origin("http://hub.org/a"));
        assert_ne!(origin("https://hub.org/a"), origin("https://hub.org:8/a"));
        assert_ne!(
            origin("https://hub.org/a"),
            origin("https://hub.org.evil/a")
        );
    }

    #[test]
    fn this_machine_is_known_by_its_names() {
        for here in [
            "http://127.0.0.1:8000/a",
            "http://localhost/a",
            "http://[::1]:80/",
            "http://[::1]",
            "https://LOCALHOST:1",
        ] {
            assert!(is_loopback(here), "{here}");
        }
        for elsewhere in [
            "http://localhost.evil/",
            "http://10.0.0.1:80/",
            "http://hub",
        ] {
            assert!(!is_loopback(elsewhere), "{elsewhere}");
        }
    }

    #[test]
    fn headers_are_read() {
        assert_eq!(bare_etag("\"abc\""), "abc");
        assert_eq!(bare_etag("W/\"abc\""), "abc");
        assert_eq!(content_range("bytes 10-19/20"), Some((10, Some(20))));
        assert_eq!(content_range("bytes 10-19/*"), Some((10, None)));
        assert_eq!(content_range("bytes */20"), None);
        assert_eq!(content_range("10-19/20"), None);
        assert_eq!(printable("a\u{1b}[31m\nb"), "a[31mb");
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
        let metadata = seen.metadata("u").ok();
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
            assert!(
                matches!(headers.metadata("u"), Err(Failure::Fatal(_))),
                "{etag}"
            );
        }
        let headers = Headers {
            commit: Some("../c".to_owned()),
            ..Headers::default()
        };
        assert!(matches!(headers.metadata("u"), Err(Failure::Fatal(_))));
    }
}
