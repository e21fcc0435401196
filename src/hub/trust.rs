//! Which certificate authorities a connection trusts: Mozilla's, then those of a file that the
//! environment names, then the system's own.
//!
//! Proxies of hospitals and companies answer instead of the hub, with certificates of an authority that
//! only the system knows. A later choice is tried only if an earlier one does not trust the certificate.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

/// The choices, and which one is in use.
pub(super) struct Trust {
    choices: Vec<RootCerts>,
    at: Cell<usize>,
    /// What is wrong with the file that the environment names.
    unreadable: Option<String>,
}

impl Trust {
    /// The choices, if the environment names this file of certificates.
    pub(super) fn new(bundle: Option<&PathBuf>) -> Self {
        let mut trust = Trust {
            choices: vec![RootCerts::WebPki],
            at: Cell::new(0),
            unreadable: None,
        };
        match bundle.map(|path| certificates(path)) {
            None => {}
            Some(Ok(certificates)) => trust
                .choices
                .push(RootCerts::Specific(Arc::new(certificates))),
            Some(Err(why)) => trust.unreadable = Some(why),
        }
        trust.choices.push(RootCerts::PlatformVerifier);
        trust
    }

    /// The settings of a connection, by the choice that is in use.
    pub(super) fn tls(&self) -> TlsConfig {
        let roots = self.choices.get(self.at.get());
        let roots = roots.cloned().unwrap_or(RootCerts::WebPki);
        TlsConfig::builder().root_certs(roots).build()
    }

    /// Switches to the next choice if `error` is about a certificate; whether there was one.
    pub(super) fn try_next(&self, error: &ureq::Error) -> bool {
        let next = self.at.get() + 1;
        if next >= self.choices.len() || !is_of_certificate(&error.to_string()) {
            return false;
        }
        self.at.set(next);
        true
    }

    /// The error of the last choice, with what was wrong before.
    pub(super) fn explained(&self, error: &ureq::Error) -> String {
        match &self.unreadable {
            Some(why) if is_of_certificate(&error.to_string()) => format!("{error}; {why}"),
            _ => error.to_string(),
        }
    }
}

/// Whether a connection failed because a certificate was not trusted.
pub(super) fn is_of_certificate(cause: &str) -> bool {
    cause.contains("certificate")
}

/// The certificates of a PEM file.
fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>, String> {
    let shown = path.display();
    let pem = std::fs::read(path).map_err(|error| format!("{shown} cannot be read: {error}"))?;
    let certificates: Vec<_> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    match certificates.is_empty() {
        true => Err(format!("{shown} holds no certificate in PEM form")),
        false => Ok(certificates),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_skipped_and_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let refused = ureq::Error::Io(std::io::Error::other("invalid peer certificate: x"));
        let other = ureq::Error::Io(std::io::Error::other("reset"));
        for (content, says) in [
            (None, "cannot be read"),
            (Some("x"), "holds no certificate"),
        ] {
            if let Some(content) = content {
                std::fs::write(&path, content).unwrap();
            }
            let trust = Trust::new(Some(&path));
            assert!(matches!(trust.tls().root_certs(), RootCerts::WebPki));
            assert!(!trust.try_next(&other));
            assert!(trust.try_next(&refused));
            assert!(matches!(
                trust.tls().root_certs(),
                RootCerts::PlatformVerifier
            ));
            assert!(!trust.try_next(&refused));
            assert!(trust.explained(&refused).contains(says));
            assert!(!trust.explained(&other).contains(says));
        }
        let trust = Trust::new(None);
        assert!(trust.try_next(&refused) && !trust.try_next(&refused));
    }
}
