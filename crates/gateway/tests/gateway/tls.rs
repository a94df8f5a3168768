//! TLS to clients and to upstreams, and certificates that are renewed while running.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use seawall_gateway::{Config, Gateway, StartError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;

use crate::kit::{Folder, Origin, PATIENCE, document, fetch, raw, until};

/// An authority and a certificate of its own for this name, as files.
struct Pair {
    authority: PathBuf,
    chain: PathBuf,
    key: PathBuf,
}

fn openssl(words: &[String]) {
    let done = Command::new("openssl")
        .args(words)
        .output()
        .expect("openssl is installed");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

impl Pair {
    fn new(folder: &Path, label: &str, name: &str) -> Pair {
        let file = |kind: &str| folder.join(format!("{label}.{kind}.pem"));
        let (authority, authority_key) = (file("authority"), file("authority-key"));
        let (chain, key, request) = (file("chain"), file("key"), file("request"));
        let text = |path: &PathBuf| path.to_str().expect("a plain name").to_owned();
        let run = |words: &str, names: &[&str], files: &[(&str, &PathBuf)]| {
            let mut all: Vec<String> = words.split(' ').map(str::to_owned).collect();
            all.extend(names.iter().map(|name| (*name).to_owned()));
            all.extend(
                files
                    .iter()
                    .flat_map(|(option, path)| [(*option).to_owned(), text(path)]),
            );
            openssl(&all);
        };
        let curve = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
        let subject = format!("/CN={label} authority");
        run(
            &format!("req -x509 -days 2 {curve}"),
            &["-subj", &subject],
            &[("-out", &authority), ("-keyout", &authority_key)],
        );
        let names = format!("subjectAltName=DNS:{name}");
        run(
            &format!("req -subj /CN=leaf {curve}"),
            &["-addext", &names],
            &[("-out", &request), ("-keyout", &key)],
        );
        run(
            "x509 -req -days 2 -CAcreateserial -copy_extensions copy",
            &[],
            &[
                ("-in", &request),
                ("-CA", &authority),
                ("-CAkey", &authority_key),
                ("-out", &chain),
            ],
        );
        Pair {
            authority,
            chain,
            key,
        }
    }

    fn trusted(&self) -> rustls::RootCertStore {
        let mut roots = rustls::RootCertStore::empty();
        let authority = CertificateDer::from_pem_file(&self.authority).expect("it was just made");
        roots.add(authority).expect("it is one");
        roots
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// A connection over TLS, whose server is trusted by this authority alone.
async fn connect(address: SocketAddr, pair: &Pair, protocol: &[u8]) -> std::io::Result<TlsStream<TcpStream>> {
    let mut config = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("ring knows them")
        .with_root_certificates(pair.trusted())
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").expect("it is a name");
    tokio_rustls::TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

async fn ask(stream: &mut TlsStream<TcpStream>, target: &str) -> String {
    let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("it is open");
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer));
    // Who closes without the closing message of TLS has still answered.
    let _ = read.await.expect("it answers in time");
    String::from_utf8_lossy(&answer).into_owned()
}

async fn started(origin: &Origin, pair: &Pair, file: &Path) -> Gateway {
    let tls = format!(
        "[gateway]\ncertificate = \"{}\"\nprivate_key = \"{}\"\n",
        pair.chain.display(),
        pair.key.display()
    );
    std::fs::write(file, document(&[origin.address], &tls)).expect("the folder is there");
    let config = Config::read(file).expect("it is there");
    Gateway::start(config).await.expect("it starts")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_speak_both_protocols_over_tls() {
    let folder = Folder::new("tls-clients");
    let pair = Pair::new(folder.path(), "a", "localhost");
    let origin = Origin::saying(&[("cache-control", "max-age=100")]).await;
    let gateway = started(&origin, &pair, &folder.path().join("seawall.toml")).await;

    let mut stream = connect(gateway.address(), &pair, b"http/1.1")
        .await
        .expect("it is trusted");
    let answer = ask(&mut stream, "/x").await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("/x"),
        "{answer}"
    );
    assert_eq!(origin.last().headers["x-forwarded-proto"], "https");

    let stream = connect(gateway.address(), &pair, b"h2")
        .await
        .expect("it is trusted");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let http2 = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (mut sender, connection) = http2
        .handshake(TokioIo::new(stream))
        .await
        .expect("it speaks HTTP/2");
    tokio::spawn(connection);
    let request = http::Request::get("https://localhost/x").body(Empty::<Bytes>::new());
    let response = sender
        .send_request(request.expect("it is one"))
        .await
        .expect("it answers");
    assert_eq!(
        response.into_body().collect().await.expect("a body").to_bytes(),
        "/x"
    );
    assert_eq!(origin.count(), 1, "what is kept is kept for both");

    let clear = raw(gateway.address(), b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(clear.status, 0, "nobody is answered in the clear");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_renewed_without_a_restart() {
    let folder = Folder::new("tls-renewed");
    let (old, new) = (
        Pair::new(folder.path(), "old", "localhost"),
        Pair::new(folder.path(), "new", "localhost"),
    );
    let origin = Origin::saying(&[]).await;
    let gateway = started(&origin, &old, &folder.path().join("seawall.toml")).await;
    let address = gateway.address();
    let mut before = connect(address, &old, b"http/1.1").await.expect("it is trusted");
    assert!(connect(address, &new, b"http/1.1").await.is_err());

    // Half of a change is none: the key does not fit the certificate.
    std::fs::copy(&new.chain, &old.chain).expect("it can be copied");
    tokio::time::sleep(std::time::Duration::from_millis(1_300)).await;
    assert!(
        connect(address, &old, b"http/1.1").await.is_ok(),
        "the old one stays"
    );

    std::fs::copy(&new.key, &old.key).expect("it can be copied");
    until("the new one is shown", async || {
        connect(address, &new, b"http/1.1").await.is_ok()
    })
    .await;
    assert!(connect(address, &old, b"http/1.1").await.is_err());
    assert!(
        ask(&mut before, "/").await.starts_with("HTTP/1.1 200"),
        "who is connected stays so"
    );
}

#[tokio::test]
async fn what_is_no_certificate_starts_nothing() {
    let folder = Folder::new("tls-none");
    let pair = Pair::new(folder.path(), "a", "localhost");
    let other = Pair::new(folder.path(), "b", "localhost");
    for (chain, key) in [
        (&pair.key, &pair.key),
        (&pair.chain, &other.key),
        (&pair.chain, &pair.chain),
    ] {
        let tls = format!(
            "[gateway]\ncertificate = \"{}\"\nprivate_key = \"{}\"\n",
            chain.display(),
            key.display()
        );
        let text = document(&["127.0.0.1:1".parse().expect("an address")], &tls);
        let error = Gateway::start(Config::of_text("t.toml", text))
            .await
            .expect_err("it is none");
        assert!(matches!(error, StartError::Tls(..)), "{error}");
    }
}

/// An upstream over TLS that says what it was asked for, in HTTP/1.1 or HTTP/2 as was agreed on.
async fn upstream(pair: &Pair) -> (SocketAddr, tokio::task::JoinHandle<()>) {
    let chain = CertificateDer::from_pem_file(&pair.chain).expect("it was just made");
    let key = PrivateKeyDer::from_pem_file(&pair.key).expect("it was just made");
    let mut config = rustls::ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("ring knows them")
        .with_no_client_auth()
        .with_single_cert(vec![chain], key)
        .expect("they fit");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                let service =
                    hyper::service::service_fn(async |request: http::Request<hyper::body::Incoming>| {
                        let said = format!("{:?} {}", request.version(), request.uri().path());
                        Ok::<_, std::convert::Infallible>(crate::kit::response(200, &[], &said))
                    });
                let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                let stream = TokioIo::new(stream);
                let _ = if http2 {
                    let http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    http.serve_connection(stream, service).await
                } else {
                    let http = hyper::server::conn::http1::Builder::new();
                    http.serve_connection(stream, service).await
                };
            });
        }
    });
    (address, task)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upstreams_are_spoken_to_over_tls() {
    let folder = Folder::new("tls-upstream");
    let pair = Pair::new(folder.path(), "a", "localhost");
    let other = Pair::new(folder.path(), "b", "localhost");
    let (address, task) = upstream(&pair).await;
    let told = async |tls: &str| {
        let more = format!("[upstream.api]\n{tls}\n");
        let gateway = crate::kit::gateway(&[address], &more).await;
        let answer = fetch(gateway.address(), "/x").await;
        (answer.status, answer.body)
    };
    let trusted = pair.authority.display();
    let by_name = format!("tls = {{ authority = \"{trusted}\", name = \"localhost\" }}");
    assert_eq!(told(&by_name).await, (200, "HTTP/1.1 /x".to_owned()));
    assert_eq!(
        told(&format!("{by_name}\nhttp2 = true")).await,
        (200, "HTTP/2.0 /x".to_owned())
    );
    let no_name = format!("tls = {{ authority = \"{trusted}\" }}");
    assert_eq!(told(&no_name).await.0, 502, "it is no certificate of 127.0.0.1");
    let stranger = format!(
        "tls = {{ authority = \"{}\", name = \"localhost\" }}",
        other.authority.display()
    );
    assert_eq!(told(&stranger).await.0, 502, "it is not trusted");
    assert_eq!(
        told("tls = { name = \"localhost\" }").await.0,
        502,
        "nor by this machine"
    );

    let missing = document(
        &[address],
        "[upstream.api]\ntls = { authority = \"/nowhere.pem\" }\n",
    );
    let error = Gateway::start(Config::of_text("t.toml", missing))
        .await
        .expect_err("it is not there");
    assert!(matches!(error, StartError::Tls(..)), "{error}");
    task.abort();
}
