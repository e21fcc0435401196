//! The key, and TLS.

use crate::bench::Bench;
use crate::support::{Answer, Server, json_request};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::json;
use std::io::Write;
use std::sync::Arc;

#[test]
fn without_the_key_only_probes_and_documents_are_answered() {
    let bench = Bench::new();
    bench.write("key", "s3cret-key\n");
    let file = format!("--api-key-file {}", bench.path("key").display());
    for (line, variables) in [
        ("--api-key s3cret-key", &[][..]),
        (&file, &[("ESM_EMBED_API_KEY", "another")]),
        ("", &[("ESM_EMBED_API_KEY", "s3cret-key")]),
    ] {
        let server = Server::start_with(line, variables);
        let body = json!({"inputs": "MKT"});
        let says = "the key is missing or wrong: send the header Authorization: Bearer KEY";
        for headers in [
            &[][..],
            &[("authorization", "Bearer s3cret-kex")],
            &[("authorization", "Bearer s3cret-key2")],
            &[("authorization", "s3cret-key")],
            &[("authorization", "Bearer another")],
            &[("x-api-key", "")],
            &[("authorization", "Bearer x"), ("x-api-key", "s3cret-key")],
        ] {
            for path in ["/embed", "/", "/v1/embeddings", "/nix"] {
                let answer = server.post_for(path, &body, headers);
                assert_eq!(answer.error(401), says, "{headers:?}");
                assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
                let json = answer.json();
                let code = match path {
                    "/v1/embeddings" => &json["error"]["code"],
                    _ => &json["error_type"],
                };
                assert_eq!(code, "Unauthorized");
            }
            server.send("GET", "/info", headers, b"").error(401);
            server.send("GET", "/metrics", headers, b"").error(401);
        }
        for path in ["/health", "/ping", "/openapi.json", "/docs/"] {
            assert_eq!(server.get(path).status, 200, "{path}");
        }
        for header in [
            ("authorization", "Bearer s3cret-key"),
            ("x-api-key", "s3cret-key"),
        ] {
            assert_eq!(server.post_for("/embed", &body, &[header]).status, 200);
            assert_eq!(server.send("GET", "/metrics", &[header], b"").status, 200);
        }
        assert!(
            !server.messages().contains("s3cret"),
            "{}",
            server.messages()
        );
    }
}

/// A server with a certificate of its own, and a client that trusts it and offers these protocols.
fn encrypted(protocols: &[&str]) -> (Server, StreamOwned<ClientConnection, std::net::TcpStream>) {
    let bench = Bench::new();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    bench.write("cert.pem", certificate.pem());
    bench.write("key.pem", key.serialize_pem());
    let [cert_file, key_file] = ["cert.pem", "key.pem"].map(|name| bench.path(name));
    let line = format!(
        "--tls-cert {} --tls-key {}",
        cert_file.display(),
        key_file.display()
    );
    let server = Server::listening(&line, &[]);
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
    let name = ServerName::try_from("localhost").unwrap();
    let client = ClientConnection::new(Arc::new(config), name).unwrap();
    let stream = StreamOwned::new(client, server.connect());
    (server, stream)
}

#[test]
fn certificates_and_keys_that_cannot_be_used_are_explained() {
    let bench = Bench::new();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    bench.write("cert.pem", params.self_signed(&key).unwrap().pem());
    bench.write("other.pem", KeyPair::generate().unwrap().serialize_pem());
    for (certificate, key, says) in [
        (
            "cert.pem",
            "other.pem",
            "error: other.pem: it is not the key of the certificate in cert.pem\n  hint: give the key that \
             belongs to the first certificate in that file\n",
        ),
        (
            "cert.pem",
            "cert.pem",
            "error: cert.pem: it holds no private key that can be read\n  hint: give a PEM file with BEGIN \
             PRIVATE KEY\n  hint: decrypt a key with a password first: `openssl pkey -in KEY -out DECRYPTED`\n",
        ),
        ("cert.pem", "none.pem", "error: none.pem: No such file"),
        ("none.pem", "other.pem", "error: none.pem: No such file"),
    ] {
        let model = crate::bench::expand("$MODEL");
        let ended = bench.call(&format!(
            "serve --model {model} --tls-cert {certificate} --tls-key {key}"
        ));
        assert_eq!((ended.code, &*ended.out), (1, ""), "{}", ended.err);
        assert!(ended.err.starts_with(says), "{}", ended.err);
    }
}

#[test]
fn requests_are_answered_over_tls_and_the_protocol_is_negotiated() {
    let (server, mut stream) = encrypted(&["http/1.1"]);
    stream
        .write_all(&json_request("/embed", &json!({"inputs": "MKT"})))
        .unwrap();
    let answer = Answer::read(&mut stream).unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json().as_array().unwrap().len(), 1);
    assert_eq!(stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
    // Plain text on the same port is no request.
    let mut plain = server.connect();
    plain
        .write_all(&json_request("/embed", &json!({"inputs": "MKT"})))
        .unwrap();
    assert!(Answer::read(&mut plain).is_err());

    let (_server, mut stream) = encrypted(&["h2", "http/1.1"]);
    // The preface of HTTP/2 and empty settings; the server begins with its settings (type 4).
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .unwrap();
    stream.flush().unwrap();
    let mut frame = [0; 9];
    std::io::Read::read_exact(&mut stream, &mut frame).unwrap();
    assert_eq!(frame[3], 4);
    assert_eq!(stream.conn.alpn_protocol(), Some(&b"h2"[..]));
}
