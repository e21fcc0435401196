//! TLS from PEM files.

use crate::server::job::TlsFiles;
use anyhow::{Result, anyhow, bail};
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{Error, InconsistentKeys, ServerConfig};

/// Accepts connections with the certificate; HTTP/2 and HTTP/1.1 by ALPN.
///
/// # Errors
/// A file that cannot be read or holds something else, or a key that is not that of the certificate.
pub fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor> {
    let TlsFiles { certificate, key } = files;
    let shown = |path: &Path| path.display().to_string();
    let chain = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect);
    let chain: Vec<CertificateDer<'static>> =
        chain.map_err(|error| unreadable(certificate, error))?;
    if chain.is_empty() {
        bail!(
            "{}: it holds no certificate\nhint: give a PEM file with BEGIN CERTIFICATE",
            shown(certificate)
        );
    }
    let key_der = PrivateKeyDer::from_pem_file(key).map_err(|error| match error {
        pem::Error::NoItemsFound => anyhow!(
            "{}: it holds no private key that can be read\n\
             hint: give a PEM file with BEGIN PRIVATE KEY\n\
             hint: decrypt a key with a password first: `openssl pkey -in KEY -out DECRYPTED`",
            shown(key)
        ),
        error => unreadable(key, error),
    })?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key_der)
        .map_err(|error| match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => anyhow!(
                "{}: it is not the key of the certificate in {}\n\
                 hint: give the key that belongs to the first certificate in that file",
                shown(key),
                shown(certificate)
            ),
            error => anyhow!("{} and {}: {error}", shown(certificate), shown(key)),
        })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn unreadable(path: &Path, error: pem::Error) -> anyhow::Error {
    let path = path.display();
    match error {
        pem::Error::Io(error) => anyhow!("{path}: {error}"),
        error => anyhow!("{path}: it is not a PEM file: {error}"),
    }
}
