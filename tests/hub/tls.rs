//! A Hub behind a proxy whose certificate only the system, or a file, vouches for.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;

use crate::server::bench::{Bench, REPO, contains, model};
use assert_cmd::Command;
use esm_embed::hub::{Hub, HubError};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A proxy that speaks TLS and forwards everything to a Hub that does not.
struct Proxy {
    endpoint: String,
    /// The certificate of its authority, in PEM form.
    authority: String,
}

impl Proxy {
    fn start(hub: &str) -> Proxy {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["localhost".to_owned()])
            .unwrap()
            .signed_by(&key, &authority)
            .unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
            )
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!(
            "https://localhost:{}",
            listener.local_addr().unwrap().port()
        );
        let hub = hub.strip_prefix("http://").unwrap().to_owned();
        let config = Arc::new(config);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (config, hub) = (Arc::clone(&config), hub.clone());
                std::thread::spawn(move || pass_on(client, config, &hub));
            }
        });
        Proxy {
            endpoint,
            authority: authority.pem(),
        }
    }
}

/// One request and its answer; ends early if the client does not trust the certificate.
fn pass_on(client: TcpStream, config: Arc<ServerConfig>, hub: &str) -> Option<()> {
    let mut client = StreamOwned::new(ServerConnection::new(config).ok()?, client);
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).ok()?;
        request.extend(byte);
    }
    let mut hub = TcpStream::connect(hub).ok()?;
    hub.write_all(&request).ok()?;
    let mut answer = Vec::new();
    hub.read_to_end(&mut answer).ok()?;
    client.write_all(&answer).ok()?;
    client.conn.send_close_notify();
    client.flush().ok()
}

fn fetch(home: &Path, endpoint: &str, vars: &[(&str, &Path)]) -> (i32, String, String) {
    let output = Command::cargo_bin("esm-embed")
        .unwrap()
        .env_clear()
        .env("HF_HOME", home)
        .env("HF_ENDPOINT", endpoint)
        .envs(vars.iter().copied())
        .args(["fetch", REPO])
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn an_unknown_authority_is_named_with_a_remedy() {
    let mut bench = Bench::new();
    bench.settings.endpoint = Proxy::start(&bench.server.endpoint).endpoint;
    let error = bench.resolve().unwrap_err();
    assert!(matches!(error, HubError::Certificate { .. }), "{error}");
    contains(
        &error.to_string(),
        &["neither by Mozilla's roots", "SSL_CERT_FILE"],
    );
    bench.settings.certificates = Some("/no/such/ca.pem".into());
    contains(&bench.error(), &["/no/such/ca.pem cannot be read"]);
}

#[test]
fn an_authority_from_a_file_is_trusted() {
    let bench = Bench::new();
    let proxy = Proxy::start(&bench.server.endpoint);
    let file = bench.cache.path().join("ca.pem");
    std::fs::write(&file, &proxy.authority).unwrap();
    let mut settings = bench.settings.clone();
    settings.endpoint = proxy.endpoint.clone();
    settings.certificates = Some(file.clone());
    Hub::new(settings)
        .unwrap()
        .resolve(&model(), None, &())
        .unwrap();
    for variable in ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"] {
        let home = tempfile::tempdir().unwrap();
        let (code, _, err) = fetch(home.path(), &proxy.endpoint, &[(variable, &file)]);
        assert_eq!(code, 0, "{variable}: {err}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn an_authority_of_the_system_is_trusted() {
    let bench = Bench::new();
    let proxy = Proxy::start(&bench.server.endpoint);
    // The folder of the system's certificates, under the names that OpenSSL gives them.
    let folder = tempfile::tempdir().unwrap();
    let home = tempfile::tempdir().unwrap();
    let with_folder = || {
        fetch(
            home.path(),
            &proxy.endpoint,
            &[("SSL_CERT_DIR", folder.path())],
        )
    };
    let (code, _, err) = with_folder();
    assert_eq!(code, 1, "{err}");
    std::fs::write(folder.path().join("0123abcd.0"), &proxy.authority).unwrap();
    let (code, out, err) = with_folder();
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("snapshots"), "{out}");
}
