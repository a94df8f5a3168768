//! Servers that are asked over TLS: a real Redis and a real PostgreSQL, with certificates that are made here. The machine needs
//! `redis-server`, `postgres`, `psql` and `openssl`.

#![allow(
    clippy::unwrap_used,
    reason = "a test may panic, and its helpers are not marked as tests"
)]

#[path = "support/psql.rs"]
mod psql;
#[path = "../../runtime/tests/support/mod.rs"]
mod support;

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use support::postgres::PostgresServer;
use support::redis::RedisServer;
use support::{Folder, free_port};

/// Whom clients trust, and a certificate for `localhost` that this authority has signed.
struct Papers(Folder);

impl Papers {
    fn new() -> Papers {
        let papers = Papers(Folder::new());
        let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
        // Two authorities of one name would be told apart by their signatures only.
        let name = papers
            .0
            .path()
            .file_name()
            .unwrap()
            .to_string_lossy()
            .into_owned();
        let authority = format!("/CN=authority {name}");
        let mut sign = vec![
            "-x509", "-days", "2", "-subj", &authority, "-keyout", "ca.key", "-out", "ca.crt",
        ];
        sign.extend(key);
        papers.openssl("req", &sign);
        let mut ask = vec![
            "-subj",
            "/CN=localhost",
            "-keyout",
            "server.key",
            "-out",
            "server.csr",
        ];
        ask.extend(key);
        papers.openssl("req", &ask);
        std::fs::write(papers.path("names"), "subjectAltName=DNS:localhost\n").unwrap();
        papers.openssl(
            "x509",
            &[
                "-req",
                "-in",
                "server.csr",
                "-CA",
                "ca.crt",
                "-CAkey",
                "ca.key",
                "-CAcreateserial",
                "-days",
                "2",
                "-extfile",
                "names",
                "-out",
                "server.crt",
            ],
        );
        papers
    }

    fn openssl(&self, command: &str, arguments: &[&str]) {
        let done = Command::new("openssl")
            .arg(command)
            .args(arguments)
            .current_dir(self.0.path())
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn authority(&self) -> PathBuf {
        self.path("ca.crt")
    }
}

/// `seawall` where only this authority is trusted.
fn seawall(authority: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_seawall"))
        .args(arguments)
        .env("SSL_CERT_FILE", authority)
        .env_remove("SSL_CERT_DIR")
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// What a trusted server, a stranger, and one of another name come to.
fn trusted_and_not(papers: &Papers, url: &str) {
    let strangers = Papers::new();
    let audit = ["audit", url, "--window", "100ms", "--fail-on", "never"];
    let good = seawall(&papers.authority(), &audit);
    assert_eq!(good.status.code(), Some(0), "{}", said(&good));
    let elsewhere = url.replace("localhost", "127.0.0.1");
    let nameless = ["audit", &elsewhere, "--window", "100ms"];
    for (authority, audit, why) in [
        (strangers.authority(), &audit[..], "UnknownIssuer"),
        (papers.authority(), &nameless[..], "not valid for name"),
    ] {
        let bad = seawall(&authority, audit);
        assert_eq!(bad.status.code(), Some(2), "{}", said(&bad));
        let told = said(&bad);
        assert_eq!(told.matches("error:").count(), 1, "{told}");
        assert!(told.contains("certificate") && told.contains(why), "{told}");
        assert!(told.contains("SSL_CERT_FILE"), "{told}");
        assert!(!told.contains("hushhush"), "{told}");
    }
    let diagnose = ["diagnose", url, "--for", "2s"];
    let good = seawall(&papers.authority(), &diagnose);
    assert_eq!(good.status.code(), Some(0), "{}", said(&good));
    let bad = seawall(&strangers.authority(), &diagnose);
    assert_eq!(bad.status.code(), Some(2), "{}", said(&bad));
    assert!(said(&bad).contains("UnknownIssuer"), "{}", said(&bad));
}

#[test]
fn a_redis_is_asked_over_tls() {
    let (papers, port) = (Papers::new(), free_port());
    let path = |name: &str| papers.path(name).to_string_lossy().into_owned();
    let _server = RedisServer::start(&[
        "--tls-port",
        &port.to_string(),
        "--tls-cert-file",
        &path("server.crt"),
        "--tls-key-file",
        &path("server.key"),
        "--tls-ca-cert-file",
        &path("ca.crt"),
        "--tls-auth-clients",
        "no",
        "--requirepass",
        "hushhush",
    ]);
    trusted_and_not(&papers, &format!("rediss://:hushhush@localhost:{port}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_postgres_is_asked_over_tls() {
    let (papers, server) = (Papers::new(), PostgresServer::start(&[]));
    let address = ([127, 0, 0, 1], server.port).into();
    let ask = async |query: &str| psql::psql_as("app", address, query).await.0;
    let data = PathBuf::from(ask("SHOW data_directory").await);
    let owner = data.metadata().unwrap();
    for name in ["server.crt", "server.key"] {
        let file = data.join(name);
        std::fs::copy(papers.path(name), &file).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::chown(&file, Some(owner.uid()), Some(owner.gid())).unwrap();
    }
    ask("ALTER SYSTEM SET ssl = on").await;
    ask("SELECT pg_reload_conf()").await;
    for _ in 0..200 {
        if ask("SHOW ssl").await == "on" {
            break;
        }
    }
    let url = format!("postgres://app:hushhush@localhost:{}/postgres", server.port);
    trusted_and_not(&papers, &format!("{url}?sslmode=verify-full"));
}
