//! One request to the hub, or to the storage it redirects to.
//!
//! The token goes to the hub only, every wait has a limit, and an answer is examined before it is
//! trusted. Proxies are those of the environment.

use std::cell::Cell;
use std::io::Read;

use serde::Deserialize;
use ureq::http::Response;
use ureq::{Agent, Body};

use super::address::{is_loopback, join, origin};
use super::error::HubError;
use super::headers::{Headers, Metadata, content_range, number, said};
use super::settings::{HubSettings, Token};
use super::trust::Trust;

const USER_AGENT: &str = concat!("esm-embed/", env!("CARGO_PKG_VERSION"));
const MAX_REDIRECTS: usize = 8;
/// Bytes of the list of a repository's files.
const MOST_LISTING: u64 = 8 << 20;

/// Sends requests to one hub.
pub(super) struct Client<'a> {
    agent: Agent,
    settings: &'a HubSettings,
    origin: String,
    trust: Trust,
    /// An answer has arrived: the network works, and later failures may be temporary.
    was_reached: Cell<bool>,
}

/// Why there is no usable answer.
pub(super) enum RequestFailure {
    /// It may work next time.
    Transient(String),
    /// The first request could not reach the hub.
    Unreachable(String),
    /// It will not work next time.
    Fatal(Box<HubError>),
}

impl From<HubError> for RequestFailure {
    fn from(error: HubError) -> Self {
        RequestFailure::Fatal(Box::new(error))
    }
}

/// The hub's answer to a request for a file.
pub(super) enum Answer {
    /// The file, whose content is still to be read.
    File(Metadata, Pending),
    /// 404, with the hub's code and message.
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

/// Where to read the content from.
pub(super) struct Pending {
    url: String,
    /// The content, if the hub itself sends it and the transfer has begun.
    begun: Option<Content>,
}

impl Pending {
    /// Length of the file, if its transfer has begun and the answer gives it.
    pub(super) fn size(&self) -> Option<u64> {
        self.begun.as_ref().and_then(|content| content.size)
    }
}

/// Content from an offset on.
pub(super) struct Content {
    /// Offset of the first byte.
    pub(super) start: u64,
    /// Length of the complete file, if the answer gives it.
    pub(super) size: Option<u64>,
    pub(super) reader: Box<dyn Read>,
}

struct Reply {
    status: u16,
    headers: Headers,
    reader: Box<dyn Read>,
}

impl Reply {
    fn whole(self) -> Content {
        Content {
            start: 0,
            size: number(self.headers.length.as_deref()),
            reader: self.reader,
        }
    }
}

impl<'a> Client<'a> {
    pub(super) fn new(settings: &'a HubSettings) -> Self {
        Client {
            agent: Agent::new_with_defaults(),
            settings,
            origin: origin(&settings.endpoint),
            trust: Trust::new(settings.certificates.as_ref()),
            was_reached: Cell::new(false),
        }
    }

    /// Asks for a file at a revision. Redirects within the hub are followed; one that leads elsewhere is
    /// left to [`Client::content`], so that nothing is transferred before it is needed.
    pub(super) fn ask(
        &self,
        repo: &str,
        revision: &str,
        file: &str,
    ) -> Result<Answer, RequestFailure> {
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
                    let metadata = seen.metadata().map_err(|what| not_a_hub(&asked, what))?;
                    let begun = Some(reply.whole());
                    return Ok(Answer::File(metadata, Pending { url, begun }));
                }
                301 | 302 | 303 | 307 | 308 => {
                    seen.keep_first(&reply.headers);
                    let location = reply.headers.location.as_deref().unwrap_or_default();
                    url = join(&url, location).ok_or_else(|| {
                        not_a_hub(&asked, "it redirects to no valid address".to_owned())
                    })?;
                    // Before the commit is known, it is the hub itself that has moved, for example to https.
                    if origin(&url) != self.origin && seen.commit.is_some() {
                        let metadata = seen.metadata().map_err(|what| not_a_hub(&asked, what))?;
                        return Ok(Answer::File(metadata, Pending { url, begun: None }));
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
        Err(not_a_hub(&asked, "it redirects without end".to_owned()))
    }

    /// The names of a repository's files at a revision, if the hub lists them.
    pub(super) fn list(&self, repo: &str, revision: &str) -> Option<Vec<String>> {
        #[derive(Deserialize)]
        struct Listing {
            siblings: Vec<Sibling>,
        }
        #[derive(Deserialize)]
        struct Sibling {
            rfilename: String,
        }
        let revision = revision.replace('/', "%2F");
        let endpoint = &self.settings.endpoint;
        let url = format!("{endpoint}/api/models/{repo}/revision/{revision}");
        let reply = self.get(&url, 0).ok().filter(|reply| reply.status == 200)?;
        let listing: Listing = serde_json::from_reader(reply.reader.take(MOST_LISTING)).ok()?;
        let siblings = listing.siblings.into_iter();
        Some(siblings.map(|sibling| sibling.rfilename).collect())
    }

    /// One request, with the certificate authorities that are trusted at the moment.
    fn send(&self, url: &str, offset: u64) -> Result<Response<Body>, ureq::Error> {
        let mut request = self.agent.get(url).header("User-Agent", USER_AGENT);
        if let Some(token) = &self.settings.token
            && origin(url) == self.origin
        {
            request = request.header("Authorization", format!("Bearer {}", Token::secret(token)));
        }
        if offset > 0 {
            request = request.header("Range", format!("bytes={offset}-"));
        }
        let settings = self.settings;
        let mut config = request.config();
        if is_loopback(url) {
            config = config.proxy(None);
        }
        config
            .max_redirects(0)
            .http_status_as_error(false)
            // A compressed transfer has another length than the file.
            .accept_encoding("identity")
            .tls_config(self.trust.tls())
            .timeout_resolve(Some(settings.connect_timeout))
            .timeout_connect(Some(settings.connect_timeout))
            .timeout_recv_response(Some(settings.stall_timeout))
            .timeout_per_read(Some(settings.stall_timeout))
            .build()
            .call()
    }

    /// The content from byte `offset` on, or from an earlier one if the server sends more.
    pub(super) fn content(&self, pending: Pending, offset: u64) -> Result<Content, RequestFailure> {
        if let (Some(begun), 0) = (pending.begun, offset) {
            return Ok(begun);
        }
        let mut url = pending.url;
        for _ in 0..MAX_REDIRECTS {
            let reply = self.get(&url, offset)?;
            match reply.status {
                200 => return Ok(reply.whole()),
                206 => {
                    let range = reply.headers.range.as_deref().unwrap_or_default();
                    return match content_range(range) {
                        Some((start, size)) if start <= offset => Ok(Content {
                            start,
                            size,
                            reader: reply.reader,
                        }),
                        _ => Err(RequestFailure::Transient(format!(
                            "the server sent the range `{}` when asked for bytes {offset} on",
                            crate::printable::name(range)
                        ))),
                    };
                }
                301 | 302 | 303 | 307 | 308 => {
                    let location = reply.headers.location.as_deref().unwrap_or_default();
                    url = join(&url, location).ok_or_else(|| {
                        not_a_hub(&origin(&url), "it redirects to no valid address".to_owned())
                    })?;
                }
                // The signed address has expired, or the range is beyond the end of the file.
                status @ (401 | 403 | 404 | 416) => {
                    return Err(RequestFailure::Transient(format!(
                        "{} answered with status {status}",
                        origin(&url)
                    )));
                }
                status => return Err(status_failure(&origin(&url), status, "")),
            }
        }
        Err(not_a_hub(
            &origin(&url),
            "it redirects without end".to_owned(),
        ))
    }

    fn get(&self, url: &str, offset: u64) -> Result<Reply, RequestFailure> {
        let response = loop {
            match self.send(url, offset) {
                Ok(response) => break response,
                Err(error) if self.trust.try_next(&error) => {}
                Err(error) => {
                    let cause = self.trust.explained(&error);
                    return Err(match self.was_reached.get() {
                        true => RequestFailure::Transient(format!("{}: {cause}", origin(url))),
                        false => RequestFailure::Unreachable(cause),
                    });
                }
            }
        };
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

fn not_a_hub(url: &str, what: String) -> RequestFailure {
    RequestFailure::Fatal(Box::new(HubError::NotAHub {
        url: url.to_owned(),
        what,
    }))
}

fn status_failure(url: &str, status: u16, said: &str) -> RequestFailure {
    match status {
        408 | 425 | 429 | 500..=599 => {
            RequestFailure::Transient(format!("{url} answered with status {status}{said}"))
        }
        _ => not_a_hub(url, format!("it answered with status {status}{said}")),
    }
}
