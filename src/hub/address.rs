//! Web addresses: whose they are, and where a redirect leads.

use std::net::IpAddr;

use ureq::http::Uri;

/// Scheme, host and port: what a token belongs to.
pub(super) fn origin(url: &str) -> String {
    let origin = url.parse::<Uri>().ok().and_then(|uri| {
        let port = uri
            .port()
            .map_or_else(String::new, |port| format!(":{port}"));
        Some(format!("{}://{}{port}", uri.scheme_str()?, uri.host()?))
    });
    origin
        .unwrap_or_else(|| url.to_owned())
        .to_ascii_lowercase()
}

/// Whether the host is this machine, which no proxy can reach.
pub(super) fn is_loopback(url: &str) -> bool {
    let uri = url.parse::<Uri>().ok();
    let host = uri.as_ref().and_then(Uri::host).unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || address
            .parse()
            .is_ok_and(|address: IpAddr| address.is_loopback())
}

/// The address a `Location` header means, seen from `base`.
pub(super) fn join(base: &str, location: &str) -> Option<String> {
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
}
