//! How a server is reached: by TCP, encrypted where the address says so, before a deadline.

use std::sync::{Arc, OnceLock};

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::fault::{Fault, Why};
use super::target::Target;

/// A connection, encrypted or not.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send + Sync {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + Sync> Stream for T {}

/// Connects, and says nothing yet but what TLS says.
pub(crate) async fn dial(target: &Target, deadline: Instant) -> Result<Box<dyn Stream>, Fault> {
    let place = (target.host(), target.port());
    let resolved = timeout_at(deadline, tokio::net::lookup_host(place)).await;
    let addresses: Vec<_> = resolved
        .map_err(|_| Fault::late("address for the name"))?
        .map_err(|error| Fault::new(Why::Unresolved, format!("the name has no address: {error}")))?
        .take(ADDRESSES_MAX)
        .collect();
    if addresses.is_empty() {
        return Err(Fault::new(Why::Unresolved, "the name has no address"));
    }
    let stream = timeout_at(deadline, TcpStream::connect(&addresses[..]))
        .await
        .map_err(|_| Fault::late("connection"))?
        .map_err(|error| Fault::io(&error))?;
    stream.set_nodelay(true).map_err(|error| Fault::io(&error))?;
    if !target.tls() {
        return Ok(Box::new(stream));
    }
    let name = ServerName::try_from(target.host().to_owned());
    let name = name.map_err(|_| Fault::new(Why::Error, "the host is no name that a certificate can have"))?;
    let secured = tokio_rustls::TlsConnector::from(tls()?).connect(name, stream);
    let secured = timeout_at(deadline, secured)
        .await
        .map_err(|_| {
            Fault::new(
                Why::TimedOut,
                "no answer to the TLS handshake before the deadline: does it speak TLS?",
            )
        })?
        .map_err(|error| of_tls(&error))?;
    Ok(Box::new(secured))
}

/// So many addresses of a name are tried.
const ADDRESSES_MAX: usize = 8;

/// With the certificates that this machine trusts (`SSL_CERT_FILE` names others), read once.
fn tls() -> Result<Arc<rustls::ClientConfig>, Fault> {
    static CONFIG: OnceLock<Arc<rustls::ClientConfig>> = OnceLock::new();
    if let Some(config) = CONFIG.get() {
        return Ok(Arc::clone(config));
    }
    let mut roots = rustls::RootCertStore::empty();
    for certificate in rustls_native_certs::load_native_certs().certs {
        // One that cannot be read proves nothing, and the others still do.
        let _ = roots.add(certificate);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Fault::new(Why::Error, format!("TLS cannot be used: {error}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::clone(CONFIG.get_or_init(|| Arc::new(config))))
}

fn of_tls(error: &std::io::Error) -> Fault {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidMessage(_)) => Fault::new(
            Why::Garbage,
            "it does not speak TLS (redis:// or http:// instead?)",
        ),
        Some(other) => Fault::new(Why::Error, format!("TLS: {other}")),
        None => Fault::io(error),
    }
}
