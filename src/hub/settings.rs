//! Cache folder, hub, token and time limits, as the environment sets them.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::HubError;

/// The public hub.
const PUBLIC_HUB: &str = "https://huggingface.co";

/// An access token; its `Debug` form hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// A token as the hub issued it.
    pub fn new(token: impl Into<String>) -> Self {
        Token(token.into())
    }

    /// The text sent to the hub.
    pub(super) fn secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

/// Settings of a [`Hub`](super::Hub).
#[derive(Debug, Clone)]
pub struct HubSettings {
    /// The folder that holds `models--organisation--name` folders.
    pub cache: PathBuf,
    /// Address of the hub, without a slash at its end.
    pub endpoint: String,
    /// Sent only to the endpoint, never to a host it redirects to.
    pub token: Option<Token>,
    /// A PEM file of certificate authorities that are trusted in addition to Mozilla's and the system's.
    pub certificates: Option<PathBuf>,
    /// Never touch the network.
    pub offline: bool,
    /// How often a request is repeated after a failure that may be temporary; progress of a transfer
    /// resets the count.
    pub retries: u32,
    /// Wait before the first retry; it doubles each time, up to 16 times this.
    pub retry_wait: Duration,
    /// Limit for looking up the host's name, and again for connecting to it.
    pub connect_timeout: Duration,
    /// Limit for the hub's answer, and for a stalled transfer.
    pub stall_timeout: Duration,
}

impl HubSettings {
    /// The public hub, no token, and this cache folder.
    pub fn new(cache: impl Into<PathBuf>) -> Self {
        HubSettings {
            cache: cache.into(),
            endpoint: PUBLIC_HUB.to_owned(),
            token: None,
            certificates: None,
            offline: false,
            retries: 4,
            retry_wait: Duration::from_millis(500),
            connect_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(30),
        }
    }

    /// Folder of the remembered checksums of model files. Hugging Face's tools warn about every folder of
    /// the cache that is not a repository, except `.locks`.
    pub fn remembered(&self) -> PathBuf {
        self.cache.join(".locks/esm-embed")
    }

    /// Settings from the environment, as Hugging Face's own tools read it:
    ///
    /// | | first that is set |
    /// |---|---|
    /// | cache | `HF_HUB_CACHE`, `HUGGINGFACE_HUB_CACHE`, `$HF_HOME/hub`, `$XDG_CACHE_HOME/huggingface/hub`, `~/.cache/huggingface/hub` |
    /// | endpoint | `HF_ENDPOINT`, `https://huggingface.co` |
    /// | token | `HF_TOKEN`, `HUGGING_FACE_HUB_TOKEN`, the file `HF_TOKEN_PATH`, the file `token` beside the cache in `HF_HOME`; none with `HF_HUB_DISABLE_IMPLICIT_TOKEN=1` |
    /// | certificates | `SSL_CERT_FILE`, `REQUESTS_CA_BUNDLE`, `CURL_CA_BUNDLE` |
    /// | offline | `HF_HUB_OFFLINE` or `TRANSFORMERS_OFFLINE` is `1`, `on`, `yes` or `true` |
    ///
    /// # Errors
    /// There is no cache folder, the endpoint is not a web address, or the token cannot be sent.
    pub fn from_env() -> Result<Self, HubError> {
        Self::from_vars(|name| std::env::var_os(name))
    }

    /// [`HubSettings::from_env`] with the variables looked up by `var`.
    ///
    /// # Errors
    /// As [`HubSettings::from_env`].
    pub fn from_vars(var: impl Fn(&str) -> Option<OsString>) -> Result<Self, HubError> {
        let set = |name: &str| var(name).filter(|value| !value.is_empty());
        let home = set("HOME").map(PathBuf::from).or_else(std::env::home_dir);
        let folder = |name: &str| set(name).map(|value| under_home(value.into(), home.as_deref()));
        let text = |name: &str| {
            set(name)
                .and_then(|v| v.into_string().ok())
                .map(|v| v.trim().to_owned())
                .filter(|v| !v.is_empty())
        };
        let switch = |name: &str| {
            text(name).is_some_and(|v| {
                ["1", "on", "yes", "true"]
                    .iter()
                    .any(|yes| v.eq_ignore_ascii_case(yes))
            })
        };

        let hf_home = folder("HF_HOME")
            .or_else(|| folder("XDG_CACHE_HOME").map(|cache| cache.join("huggingface")))
            .or_else(|| home.as_ref().map(|h| h.join(".cache/huggingface")));
        let cache = folder("HF_HUB_CACHE")
            .or_else(|| folder("HUGGINGFACE_HUB_CACHE"))
            .or_else(|| hf_home.as_ref().map(|h| h.join("hub")))
            .ok_or(HubError::NoCacheFolder)?;

        let mut settings = HubSettings::new(cache);
        if let Some(endpoint) = text("HF_ENDPOINT") {
            settings.endpoint = checked_endpoint(&endpoint)?;
        }
        settings.certificates = ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"]
            .into_iter()
            .find_map(folder);
        settings.offline = switch("HF_HUB_OFFLINE") || switch("TRANSFORMERS_OFFLINE");
        if !switch("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
            let named = ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"]
                .into_iter()
                .find_map(|name| text(name).map(|token| (token, name.to_owned())));
            let token = named.or_else(|| {
                let file =
                    folder("HF_TOKEN_PATH").or_else(|| hf_home.map(|home| home.join("token")))?;
                let token = std::fs::read_to_string(&file).ok()?.trim().to_owned();
                (!token.is_empty()).then(|| (token, file.display().to_string()))
            });
            settings.token = token
                .map(|(token, from)| checked_token(token, from))
                .transpose()?;
        }
        Ok(settings)
    }
}

/// `~` and `~/…` with the home folder in its place.
fn under_home(path: PathBuf, home: Option<&Path>) -> PathBuf {
    match (path.strip_prefix("~"), home) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path,
    }
}

pub(super) fn checked_endpoint(endpoint: &str) -> Result<String, HubError> {
    let trimmed = endpoint.trim_end_matches('/');
    let host = trimmed
        .strip_prefix("https://")
        .or_else(|| trimmed.strip_prefix("http://"))
        .unwrap_or("");
    let good = host.bytes().all(|b| b.is_ascii_graphic()) && !host.contains(['?', '#']);
    if host.is_empty() || host.starts_with('/') || !good {
        return Err(HubError::Endpoint(endpoint.to_owned()));
    }
    Ok(trimmed.to_owned())
}

fn checked_token(token: String, from: String) -> Result<Token, HubError> {
    if token.bytes().all(|b| b.is_ascii_graphic()) {
        Ok(Token(token))
    } else {
        Err(HubError::Token { from })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(vars: &[(&str, &str)]) -> Result<HubSettings, HubError> {
        HubSettings::from_vars(|name| {
            vars.iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn the_cache_folder_follows_the_variables_in_their_order() {
        let cache = |vars: &[(&str, &str)]| {
            let mut all = vec![("HOME", "/h")];
            all.extend_from_slice(vars);
            settings(&all).unwrap().cache
        };
        assert_eq!(cache(&[]), Path::new("/h/.cache/huggingface/hub"));
        assert_eq!(
            cache(&[("XDG_CACHE_HOME", "/x")]),
            Path::new("/x/huggingface/hub")
        );
        assert_eq!(
            cache(&[("XDG_CACHE_HOME", "/x"), ("HF_HOME", "~/hf")]),
            Path::new("/h/hf/hub")
        );
        assert_eq!(
            cache(&[("HF_HOME", "/hf"), ("HF_HUB_CACHE", "/c")]),
            Path::new("/c")
        );
        assert_eq!(
            cache(&[("HF_HOME", "")]),
            Path::new("/h/.cache/huggingface/hub")
        );
    }

    #[test]
    fn the_endpoint_is_a_web_address() {
        let endpoint = |text: &str| settings(&[("HF_ENDPOINT", text)]).map(|s| s.endpoint);
        assert_eq!(
            endpoint("http://127.0.0.1:8000/hub//").unwrap(),
            "http://127.0.0.1:8000/hub"
        );
        assert_eq!(endpoint(" ").unwrap(), "https://huggingface.co");
        for bad in [
            "hub.example.org",
            "https://",
            "ftp://x",
            "http://a b",
            "https:///x",
        ] {
            assert!(
                matches!(endpoint(bad), Err(HubError::Endpoint(found)) if found == bad),
                "{bad}"
            );
        }
    }

    #[test]
    fn offline_is_read_as_the_python_tools_read_it() {
        for yes in ["1", "ON", "yes", "True"] {
            assert!(settings(&[("HF_HUB_OFFLINE", yes)]).unwrap().offline);
        }
        for no in ["0", "off", "", "no"] {
            assert!(!settings(&[("HF_HUB_OFFLINE", no)]).unwrap().offline);
        }
        assert!(settings(&[("TRANSFORMERS_OFFLINE", "1")]).unwrap().offline);
    }

    #[test]
    fn the_file_of_authorities_is_the_first_that_is_set() {
        let file = |vars: &[(&str, &str)]| settings(vars).unwrap().certificates;
        let [ssl, requests, curl] = ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"];
        let home = ("HOME", "/h");
        assert_eq!(file(&[home]), None);
        assert_eq!(file(&[home, (curl, "/c")]), Some("/c".into()));
        assert_eq!(
            file(&[home, (curl, "/c"), (requests, "~/r")]),
            Some("/h/r".into())
        );
        assert_eq!(
            file(&[home, (requests, "/r"), (ssl, "/s")]),
            Some("/s".into())
        );
    }

    #[test]
    fn the_token_comes_from_variable_or_file() {
        let home = tempfile::tempdir().unwrap();
        let home_text = home.path().to_str().unwrap();
        assert_eq!(settings(&[("HF_HOME", home_text)]).unwrap().token, None);
        std::fs::write(home.path().join("token"), "hf_file\n").unwrap();
        std::fs::write(home.path().join("other"), "hf_other").unwrap();
        let other = home.path().join("other");
        let token = |vars: &[(&str, &str)]| {
            let mut all = vec![("HF_HOME", home_text)];
            all.extend_from_slice(vars);
            settings(&all).unwrap().token
        };
        assert_eq!(token(&[]), Some(Token::new("hf_file")));
        assert_eq!(
            token(&[("HF_TOKEN_PATH", other.to_str().unwrap())]),
            Some(Token::new("hf_other"))
        );
        assert_eq!(
            token(&[("HF_TOKEN", " hf_env ")]),
            Some(Token::new("hf_env"))
        );
        assert_eq!(token(&[("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]), None);
        assert!(matches!(
            settings(&[("HF_TOKEN", "two words")]),
            Err(HubError::Token { from }) if from == "HF_TOKEN"
        ));
        assert_eq!(format!("{:?}", Token::new("hf_secret")), "Token(hidden)");
    }
}
