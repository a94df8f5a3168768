//! The library's tier on it: versions, leases, the backplane, all by the scripts done natively.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use seawall::envelope::Envelope;
use seawall::redis::Redis;
use seawall::{Address, Cache, CacheFault, Options, Sealed, Store};
use seawall_drill::server::{Condition, Server, Settings};

const LIMIT: Duration = Duration::from_secs(5);

fn start() -> (Server, Redis) {
    let server = Server::start(&Settings::default()).expect("it starts");
    let store = open(&server);
    (server, store)
}

fn open(server: &Server) -> Redis {
    let store = Redis::url(&server.url()).expect("it is a URL");
    store.build().expect("it can be built")
}

fn address(key: u64) -> Address {
    Address {
        hash: key,
        digest: key.into(),
        text: format!("users:{key}").into(),
    }
}

fn sealed(version: u64) -> Sealed {
    let envelope = Envelope {
        version,
        ..Envelope::default()
    };
    Sealed {
        bytes: envelope.seal(b"value"),
        version,
        keep: Some(Duration::from_secs(100)),
    }
}

async fn version(store: &Redis) -> Option<u64> {
    let bytes = store.get(0, &address(1), LIMIT).await.expect("it answers");
    bytes.map(|bytes| Envelope::open(&bytes, 0).expect("it is ours").0.version)
}

#[tokio::test]
async fn a_higher_version_is_never_overwritten_nor_taken_out() {
    let (_server, store) = start();
    for (written, there) in [(5, 5), (300, 300), (7, 300), (1 << 63, 1 << 63), (255, 1 << 63)] {
        assert_eq!(store.put(0, &address(1), sealed(written), LIMIT).await, Ok(()));
        assert_eq!(version(&store).await, Some(there), "after {written}");
    }
    assert_eq!(store.delete(0, &address(1), 1 << 63, LIMIT).await, Ok(()));
    assert_eq!(version(&store).await, Some(1 << 63), "what is as new stays");
    assert_eq!(store.delete(0, &address(1), (1 << 63) + 1, LIMIT).await, Ok(()));
    assert_eq!(version(&store).await, None);
}

#[tokio::test]
async fn one_of_a_fleet_holds_a_lease() {
    let (server, store) = start();
    let other = open(&server);
    let hold = Duration::from_mins(1);
    assert_eq!(store.lease(0, &address(1), hold, LIMIT).await, Ok(true));
    assert_eq!(other.lease(0, &address(1), hold, LIMIT).await, Ok(false));
    assert_eq!(store.give_back(0, &address(1), LIMIT).await, Ok(()));
    assert_eq!(other.lease(0, &address(1), hold, LIMIT).await, Ok(true));
}

#[tokio::test]
async fn a_cache_reads_through_it_and_names_its_faults() {
    let (server, _) = start();
    let loads = Arc::new(AtomicU32::new(0));
    let read = async |store: Redis| {
        let cache: Cache<u64, String> = Cache::builder("users").no_memory().tier(store).build();
        let loads = Arc::clone(&loads);
        let load = move || {
            loads.fetch_add(1, Ordering::Relaxed);
            async { Ok::<_, std::io::Error>("Ada".to_owned()) }
        };
        let value = cache.get_or_load(&1, &Options::new(), load).await;
        // The write follows the answer.
        for _ in 0..200 {
            if server.keys() > 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        value.expect("it is there")
    };
    assert_eq!(read(open(&server)).await, "Ada");
    assert_eq!(read(open(&server)).await, "Ada");
    assert_eq!(
        loads.load(Ordering::Relaxed),
        1,
        "the second cache finds it in the server"
    );

    let store = open(&server);
    server.set_condition(Condition::Loading);
    assert_eq!(store.get(0, &address(1), LIMIT).await, Err(CacheFault::Loading));
    server.set_condition(Condition::Serving);
    server.configure("maxmemory", "1").expect("it is a number");
    let put = store.put(0, &address(2), sealed(1), LIMIT).await;
    assert_eq!(put, Err(CacheFault::OutOfMemory));
}
