//! What the store does when all is well.

use std::time::Duration;

use seawall::envelope::Envelope;
use seawall::redis::Redis;
use seawall::{Address, CacheFault, Sealed, Store};

use crate::support::redis::RedisServer;

pub(crate) const LIMIT: Duration = Duration::from_secs(5);

pub(crate) fn address(key: u64) -> Address {
    Address {
        hash: key,
        digest: key.into(),
        text: format!("users:{key}").into(),
    }
}

pub(crate) fn sealed(version: u64, keep: Option<Duration>) -> Sealed {
    let envelope = Envelope {
        version,
        ..Envelope::default()
    };
    Sealed {
        bytes: envelope.seal(format!("value {version}").as_bytes()),
        version,
        keep,
    }
}

pub(crate) fn open(url: &str) -> Redis {
    Redis::url(url)
        .expect("it is a URL")
        .build()
        .expect("it can be built")
}

/// The version that is there.
pub(crate) async fn version(store: &Redis, key: u64) -> Result<Option<u64>, CacheFault> {
    let bytes = store.get(0, &address(key), LIMIT).await?;
    Ok(bytes.map(|bytes| Envelope::open(&bytes, 0).expect("it is ours").0.version))
}

#[tokio::test]
async fn a_higher_version_is_never_overwritten_nor_taken_out() {
    let server = RedisServer::start(&[]);
    let store = open(&server.url());
    let put = async |number: u64| store.put(0, &address(1), sealed(number, None), LIMIT).await;
    assert_eq!(version(&store, 1).await, Ok(None));
    // Above and below the half of 64 bits, where numbers and strings are easily compared wrongly.
    for (written, there) in [(5, 5), (300, 300), (7, 300), (1 << 63, 1 << 63), (255, 1 << 63)] {
        assert_eq!(put(written).await, Ok(()));
        assert_eq!(version(&store, 1).await, Ok(Some(there)), "after {written}");
    }
    assert_eq!(store.delete(0, &address(1), 1 << 63, LIMIT).await, Ok(()));
    assert_eq!(
        version(&store, 1).await,
        Ok(Some(1 << 63)),
        "what is as new stays"
    );
    assert_eq!(store.delete(0, &address(1), (1 << 63) + 1, LIMIT).await, Ok(()));
    assert_eq!(version(&store, 1).await, Ok(None));
    assert_eq!(put(9).await, Ok(()));
    assert_eq!(store.delete(0, &address(1), u64::MAX, LIMIT).await, Ok(()));
    assert_eq!(version(&store, 1).await, Ok(None));
}

#[tokio::test]
async fn what_is_no_envelope_is_overwritten() {
    let server = RedisServer::start(&[]);
    let store = open(&server.url());
    let longer = "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz";
    for words in [
        &["SET", "users:1", longer][..],
        &["RPUSH", "users:1", "a"],
        &["SET", "users:1", "x"],
    ] {
        server.tell(&["DEL", "users:1"]);
        server.tell(words);
        assert_eq!(store.put(0, &address(1), sealed(1, None), LIMIT).await, Ok(()));
        assert_eq!(version(&store, 1).await, Ok(Some(1)), "after {words:?}");
    }
}

#[tokio::test]
async fn the_version_of_another_keys_value_is_nothing_to_go_by() {
    let server = RedisServer::start(&[]);
    let store = open(&server.url());
    let of = |digest: u128, version: u64| Sealed {
        bytes: Envelope {
            version,
            digest,
            ..Envelope::default()
        }
        .seal(b"value"),
        version,
        keep: None,
    };
    for (digest, written, there) in [(5, 900, (5, 900)), (6, 7, (6, 7)), (6, 3, (6, 7))] {
        let put = store.put(0, &address(1), of(digest, written), LIMIT).await;
        assert_eq!(put, Ok(()));
        let bytes = store.get(0, &address(1), LIMIT).await;
        let bytes = bytes.expect("it answers").expect("it is there");
        let held = Envelope::open(&bytes, there.0).map(|(envelope, _)| envelope.version);
        assert_eq!(held, Ok(there.1), "after version {written} of key {digest}");
    }
}

#[tokio::test]
async fn a_value_ends_by_itself() {
    let server = RedisServer::start(&[]);
    let store = open(&server.url());
    let keep = Some(Duration::from_secs(100));
    assert_eq!(store.put(0, &address(1), sealed(1, keep), LIMIT).await, Ok(()));
    let left: i64 = server.ask(&["PTTL", "users:1"]).expect("it answers");
    assert!((90_000..=100_000).contains(&left), "{left} ms");
    assert_eq!(
        store
            .put(0, &address(2), sealed(1, Some(Duration::MAX)), LIMIT)
            .await,
        Ok(())
    );
    assert_eq!(version(&store, 2).await, Ok(Some(1)));
}

#[tokio::test]
async fn a_server_that_forgot_the_scripts_is_told_again() {
    let server = RedisServer::start(&[]);
    let store = open(&server.url());
    for number in 1..4 {
        server.tell(&["SCRIPT", "FLUSH"]);
        assert_eq!(
            store.put(0, &address(1), sealed(number, None), LIMIT).await,
            Ok(())
        );
        assert_eq!(version(&store, 1).await, Ok(Some(number)));
    }
}

#[tokio::test]
async fn one_of_a_fleet_holds_a_lease() {
    let server = RedisServer::start(&[]);
    let (one, other) = (open(&server.url()), open(&server.url()));
    let hold = Duration::from_mins(1);
    let key = address(1);
    assert_eq!(one.lease(0, &key, hold, LIMIT).await, Ok(true));
    assert_eq!(other.lease(0, &key, hold, LIMIT).await, Ok(false));
    assert_eq!(other.give_back(0, &key, LIMIT).await, Ok(()));
    assert_eq!(
        other.lease(0, &key, hold, LIMIT).await,
        Ok(false),
        "it was not the other's to give"
    );
    assert_eq!(one.give_back(0, &key, LIMIT).await, Ok(()));
    assert_eq!(other.lease(0, &key, hold, LIMIT).await, Ok(true));

    // A lease that ended by itself and is another's now is not given back by the first.
    server.tell(&["DEL", "users:1 lease"]);
    assert_eq!(one.lease(0, &key, hold, LIMIT).await, Ok(true));
    assert_eq!(other.give_back(0, &key, LIMIT).await, Ok(()));
    assert_eq!(other.lease(0, &key, hold, LIMIT).await, Ok(false));
    let left: i64 = server.ask(&["PTTL", "users:1 lease"]).expect("it answers");
    assert!((50_000..=60_000).contains(&left), "it ends by itself: {left} ms");
}

#[tokio::test]
async fn databases_prefixes_and_logins_are_kept_to() {
    let server = RedisServer::start(&[]);
    server.tell(&["ACL", "SETUSER", "cache", "on", ">hunter2", "~app:*", "+@all"]);
    let url = format!("redis://cache:hunter2@127.0.0.1:{}/3", server.port);
    let builder = Redis::url(&url).expect("it is a URL");
    let store = builder.clone().prefix("app:").build().expect("it can be built");
    assert_eq!(store.put(0, &address(1), sealed(1, None), LIMIT).await, Ok(()));
    let keyspace: String = server.ask(&["INFO", "keyspace"]).expect("it answers");
    assert!(keyspace.contains("db3:keys=1"), "{keyspace}");
    let elsewhere = builder.build().expect("it can be built");
    assert_eq!(
        version(&elsewhere, 1).await,
        Err(CacheFault::NoAuth),
        "not its keys"
    );
}
