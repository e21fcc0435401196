//! TLS from PEM files.

use crate::server::job::TlsFiles;
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Accepts connections with the certificate; HTTP/2 and HTTP/1.1 by ALPN.
///
/// # Errors
/// A file that cannot be read or holds something else, or a key that is not that of the certificate.
pub fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor> {
    let TlsFiles { certificate, key } = files;
    let shown = |path: &Path| path.display().to_string();
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificate)
        .with_context(|| shown(certificate))?
        .collect::<Result<_, _>>()
        .with_context(|| shown(certificate))?;
    if chain.is_empty() {
        bail!(
            "{}: it holds no certificate\nhint: give a PEM file with BEGIN CERTIFICATE",
            shown(certificate)
        );
    }
    let key_der = PrivateKeyDer::from_pem_file(key).with_context(|| shown(key))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key_der)
        .with_context(|| format!("{} and {}", shown(certificate), shown(key)))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
