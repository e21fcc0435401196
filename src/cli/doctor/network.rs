//! Whether the hub can be reached: a short test, for information only.

use super::ReportLine;
use esm_embed::hub::HubSettings;
use serde::Serialize;
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::mpsc;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(3);

/// Variables that name a proxy.
const PROXIES: [&str; 6] = [
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// The hub's address and whether something answers there.
#[derive(Debug, Serialize)]
pub struct Network {
    /// The address, without a password in it; null if the settings are wrong.
    hub: Option<String>,
    /// Whether it was tested.
    asked: bool,
    /// Whether it answered; null if it was not tested.
    reachable: Option<bool>,
    /// The result, or why it was not tested, in words.
    answer: String,
}

impl Network {
    /// Connects to the hub, unless the settings forbid it.
    pub fn look(hub: &Result<HubSettings, String>) -> Network {
        let not_asked = |hub, why: String| Network {
            hub,
            asked: false,
            reachable: None,
            answer: format!("not tested: {why}"),
        };
        let Ok(hub) = hub else {
            return not_asked(
                None,
                "the settings are wrong, see the model cache".to_owned(),
            );
        };
        let proxy = PROXIES
            .into_iter()
            .find(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
        let address = Some(without_password(&hub.endpoint));
        match proxy {
            _ if hub.offline => not_asked(
                address,
                "HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set".to_owned(),
            ),
            Some(name) => not_asked(address, format!("downloads go through the proxy in {name}")),
            None => match reach(&hub.endpoint) {
                Ok(()) => Network {
                    hub: address,
                    asked: true,
                    reachable: Some(true),
                    answer: "yes".to_owned(),
                },
                Err(why) => Network {
                    hub: address,
                    asked: true,
                    reachable: Some(false),
                    answer: format!("no: {why}"),
                },
            },
        }
    }

    /// As text.
    pub fn lines(self) -> Vec<ReportLine> {
        match self.hub {
            Some(hub) => vec![("hub", hub), ("reachable", self.answer)],
            None => vec![("hub", self.answer)],
        }
    }
}

/// Opens a connection, or says why it cannot. A name look-up has no time limit, so it runs in a
/// thread, which is abandoned if it takes too long.
fn reach(endpoint: &str) -> Result<(), String> {
    let Some((host, port)) = host_and_port(endpoint) else {
        return Err("the address names no host".to_owned());
    };
    let (sender, receiver) = mpsc::channel();
    let asked = (host.clone(), port);
    let thread = std::thread::Builder::new().spawn(move || {
        let connected = asked.to_socket_addrs().and_then(|mut addresses| {
            let address = addresses.next().ok_or(std::io::ErrorKind::NotFound)?;
            TcpStream::connect_timeout(&address, LIMIT)
        });
        // Nobody receives it if the limit has passed.
        let _ = sender.send(connected.map(drop));
    });
    if let Err(error) = thread {
        return Err(format!("cannot start the test: {error}"));
    }
    match receiver.recv_timeout(LIMIT) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(format!("{host}: {error}")),
        Err(_) => Err(format!(
            "{host} did not answer within {} s",
            LIMIT.as_secs()
        )),
    }
}

/// Host and port of a web address.
fn host_and_port(endpoint: &str) -> Option<(String, u16)> {
    let (scheme, rest) = endpoint.split_once("://")?;
    let authority = rest.split('/').next()?;
    let authority = authority.rsplit('@').next()?;
    let default = if scheme == "http" { 80 } else { 443 };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (authority, default),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

/// The address without a name and password in it.
fn without_password(endpoint: &str) -> String {
    match endpoint.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = authority.rsplit('@').next().unwrap_or_default();
            format!("{scheme}://{host}{path}")
        }
        None => endpoint.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        let found = |endpoint: &str| host_and_port(endpoint);
        let host = |name: &str, port| Some((name.to_owned(), port));
        assert_eq!(found("https://huggingface.co"), host("huggingface.co", 443));
        assert_eq!(found("http://a.b:8080/x"), host("a.b", 8080));
        assert_eq!(found("http://u:p@a.b/x"), host("a.b", 80));
        assert_eq!(found("http://[::1]"), host("::1", 80));
        assert_eq!(found("http://[::1]:90"), host("::1", 90));
        assert_eq!(found("https://"), None);
        assert_eq!(found("https://a:b"), None);
    }

    #[test]
    fn passwords_are_not_shown() {
        assert_eq!(without_password("https://u:p@a.b/x@y"), "https://a.b/x@y");
        assert_eq!(without_password("https://a.b"), "https://a.b");
    }

    #[test]
    fn a_port_that_answers_and_one_that_does_not() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        assert_eq!(reach(&endpoint), Ok(()));
        drop(listener);
        let why = reach(&endpoint).unwrap_err();
        assert!(why.starts_with("127.0.0.1: "), "{why}");
    }
}
