//! TLS: the listener's certificate, which may be renewed while running, and connections to upstreams.
//!
//! It chooses no cipher and no version by itself: those of rustls, with ring.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::Uri;
use http::uri::Scheme;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use seawall_scenario::{Deployment, UpstreamTls};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::gateway::StartError;

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// No file of certificates is longer.
const FILE_MAX: u64 = 1 << 20;

/// The listener's certificate, as its files are now.
pub(crate) struct Certificate {
    chain: String,
    key: String,
    /// What the files held when they were last looked at.
    seen: Mutex<(Vec<u8>, Vec<u8>)>,
    config: ArcSwap<ServerConfig>,
}

impl Certificate {
    /// Reads it for the first time.
    pub(crate) fn open(chain: &str, key: &str) -> Result<Arc<Certificate>, StartError> {
        let seen = (read(chain)?, read(key)?);
        let config = server(&seen.0, &seen.1).map_err(|error| StartError::Tls(chain.to_owned(), error))?;
        Ok(Arc::new(Certificate {
            chain: chain.to_owned(),
            key: key.to_owned(),
            seen: Mutex::new(seen),
            config: ArcSwap::from_pointee(config),
        }))
    }

    /// For the next connection.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config.load_full())
    }

    /// Looks at the files. One that was half written or does not fit the other changes nothing, and is looked at again
    /// when it has changed.
    pub(crate) fn renew(&self) {
        let (Ok(chain), Ok(key)) = (read(&self.chain), read(&self.key)) else {
            return;
        };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if (&seen.0, &seen.1) == (&chain, &key) {
            return;
        }
        match server(&chain, &key) {
            Ok(config) => {
                self.config.store(Arc::new(config));
                tracing::info!("{} was read anew", self.chain);
            }
            Err(error) => tracing::error!("{} stays as it was: {error}", self.chain),
        }
        *seen = (chain, key);
    }
}

fn read(path: &str) -> Result<Vec<u8>, StartError> {
    use std::io::Read as _;
    let failed = |error| StartError::Read(path.to_owned(), error);
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(FILE_MAX).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn server(chain: &[u8], key: &[u8]) -> Result<ServerConfig, AnyError> {
    let chain = certificates(chain)?;
    let key =
        PrivateKeyDer::from_pem_slice(key).map_err(|error| format!("there is no private key: {error}"))?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, AnyError> {
    let list: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>()?;
    if list.is_empty() {
        return Err("there is no certificate in it".into());
    }
    Ok(list)
}

/// How an upstream is spoken to over TLS.
struct Client {
    config: Arc<ClientConfig>,
    name: Option<ServerName<'static>>,
}

impl Client {
    fn new(settings: &UpstreamTls, http2: bool) -> Result<Client, AnyError> {
        let mut roots = RootCertStore::empty();
        if let Some(path) = &settings.authority {
            for certificate in certificates(&read(path)?)? {
                roots.add(certificate)?;
            }
        } else {
            // What this machine trusts and cannot be read is trusted no less by others.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![if http2 {
            b"h2".to_vec()
        } else {
            b"http/1.1".to_vec()
        }];
        let name = settings.name.clone().map(ServerName::try_from).transpose()?;
        Ok(Client {
            config: Arc::new(config),
            name,
        })
    }
}

/// Whether the files that a document names for its upstreams can be used.
pub(crate) fn check(deployment: &Deployment) -> Result<(), StartError> {
    for upstream in &deployment.upstreams {
        if let Some(settings) = &upstream.tls {
            let wrong = |error| StartError::Tls(format!("`tls` of upstream `{}`", upstream.name), error);
            Client::new(settings, upstream.http2).map_err(wrong)?;
        }
    }
    Ok(())
}

/// Connects to servers, over TLS where that is wanted.
#[derive(Clone)]
pub(crate) struct Connector {
    http: HttpConnector,
    /// Absent in the clear; an error where what is trusted cannot be read.
    tls: Option<Result<Arc<Client>, ()>>,
    timeout: Duration,
}

impl Connector {
    pub(crate) fn new(upstream: &seawall_scenario::Upstream) -> Connector {
        let timeout: Duration = upstream.connect_timeout.into();
        let mut http = HttpConnector::new();
        http.set_connect_timeout(Some(timeout));
        http.set_nodelay(true);
        http.enforce_http(false);
        let tls = upstream.tls.as_ref().map(|settings| {
            // It was checked when the document was taken over; files may be gone since.
            let client = Client::new(settings, upstream.http2);
            client
                .map(Arc::new)
                .map_err(|error| tracing::error!(upstream = upstream.name, "nobody is trusted: {error}"))
        });
        Connector { http, tls, timeout }
    }

    /// How its servers are addressed.
    pub(crate) fn scheme(&self) -> Scheme {
        if self.tls.is_some() {
            Scheme::HTTPS
        } else {
            Scheme::HTTP
        }
    }
}

impl tower_service::Service<Uri> for Connector {
    type Response = Link;
    type Error = AnyError;
    type Future = Pin<Box<dyn Future<Output = Result<Link, AnyError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), AnyError>> {
        self.http.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let host = uri.host().unwrap_or("").trim_matches(['[', ']']).to_owned();
        let stream = self.http.call(uri);
        let (tls, timeout) = (self.tls.clone(), self.timeout);
        Box::pin(async move {
            let stream = stream.await?;
            let Some(tls) = tls else {
                return Ok(Link::Plain(stream));
            };
            let Ok(tls) = tls else {
                return Err("what is trusted cannot be read".into());
            };
            let name = match &tls.name {
                Some(name) => name.clone(),
                None => ServerName::try_from(host)?,
            };
            let greeting = TlsConnector::from(Arc::clone(&tls.config)).connect(name, stream.into_inner());
            let stream = tokio::time::timeout(timeout, greeting).await??;
            Ok(Link::Tls(Box::new(TokioIo::new(stream))))
        })
    }
}

/// A connection to a server.
pub(crate) enum Link {
    Plain(TokioIo<TcpStream>),
    Tls(Box<TokioIo<TlsStream<TcpStream>>>),
}

impl Connection for Link {
    fn connected(&self) -> Connected {
        match self {
            Link::Plain(stream) => stream.inner().connected(),
            Link::Tls(stream) => stream.inner().get_ref().0.connected(),
        }
    }
}

impl Read for Link {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Link::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Link::Tls(stream) => Pin::new(&mut **stream).poll_read(context, buffer),
        }
    }
}

impl Write for Link {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Link::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Link::Tls(stream) => Pin::new(&mut **stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Link::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Link::Tls(stream) => Pin::new(&mut **stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Link::Plain(stream) => stream.is_write_vectored(),
            Link::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Link::Plain(stream) => Pin::new(stream).poll_flush(context),
            Link::Tls(stream) => Pin::new(&mut **stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Link::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Link::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(context),
        }
    }
}
