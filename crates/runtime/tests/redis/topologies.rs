//! A cluster, sentinels, a ring with a spare server, TLS.

use std::process::Command;
use std::time::Duration;

use seawall::core::time::Span;
use seawall::redis::Redis;
use seawall::{Cache, CacheFault, Options, Store};
use tokio::time::Instant;

use crate::store::{LIMIT, address, open, sealed};
use crate::support::redis::{RedisCluster, RedisServer, Sentinels, until};
use crate::support::{Folder, free_port};

/// Over all partitions: how many answered, and how many took a write.
async fn round(store: &Redis) -> (usize, usize) {
    let limit = Duration::from_millis(300);
    let (mut read, mut written) = (0, 0);
    for node in 0..store.nodes() {
        let key = address(node.into());
        read += usize::from(store.get(node, &key, limit).await.is_ok());
        written += usize::from(store.put(node, &key, sealed(1, None), limit).await.is_ok());
    }
    (read, written)
}

async fn whole_within(store: &Redis, limit: Duration) -> Duration {
    let began = Instant::now();
    let all = usize::from(store.nodes());
    while round(store).await != (all, all) {
        assert!(began.elapsed() < limit, "it does not recover");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    began.elapsed()
}

#[tokio::test]
async fn a_cluster_loses_a_master_and_goes_on() {
    let mut cluster = RedisCluster::start();
    let store = open(&cluster.url());
    assert_eq!(store.nodes(), 64);
    assert_eq!(round(&store).await, (64, 64), "each partition has its slot");
    let sizes: Vec<u64> = cluster.servers[..3]
        .iter()
        .map(|server| server.ask(&["DBSIZE"]).expect("it answers"))
        .collect();
    assert!(
        sizes.iter().all(|size| (20..=22).contains(size)),
        "evenly spread: {sizes:?}"
    );

    cluster.servers[0].kill();
    let (read, _) = round(&store).await;
    assert!(
        (42..64).contains(&read),
        "only its share is lost, not {} of 64",
        64 - read
    );
    whole_within(&store, Duration::from_secs(15)).await;

    slot_moves(&cluster, &store).await;
}

/// A slot that moves is followed: that it does is no error to the caller.
async fn slot_moves(cluster: &RedisCluster, store: &Redis) {
    let is_master = |server: &&RedisServer| {
        let role = server.ask::<String>(&["INFO", "replication"]);
        role.is_ok_and(|role| role.contains("role:master"))
    };
    let keys = |server: &RedisServer| {
        server
            .ask::<Vec<String>>(&["KEYS", "*users:40"])
            .expect("it answers")
    };
    let (owners, others): (Vec<&RedisServer>, Vec<&RedisServer>) = cluster.servers[1..]
        .iter()
        .filter(is_master)
        .partition(|server| !keys(server).is_empty());
    let (owner, other) = (owners[0], others[0]);
    let key = keys(owner).remove(0);
    let slot: u64 = owner.ask(&["CLUSTER", "KEYSLOT", &key]).expect("it answers");
    let slot = slot.to_string();
    let id = |server: &RedisServer| server.ask::<String>(&["CLUSTER", "MYID"]).expect("it answers");
    let (from, to) = (id(owner), id(other));
    other.tell(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from]);
    owner.tell(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to]);
    owner.tell(&["MIGRATE", "127.0.0.1", &other.port.to_string(), &key, "0", "5000"]);
    let asked = store.get(40, &address(40), LIMIT).await;
    assert!(
        asked.is_ok_and(|bytes| bytes.is_some()),
        "it is asked for where it went"
    );
    other.tell(&["CLUSTER", "SETSLOT", &slot, "NODE", &to]);
    owner.tell(&["CLUSTER", "SETSLOT", &slot, "NODE", &to]);
    for _ in 0..3 {
        let moved = store.get(40, &address(40), LIMIT).await;
        assert!(moved.is_ok_and(|bytes| bytes.is_some()), "it is followed");
    }
}

#[tokio::test]
async fn sentinels_choose_another_master_and_it_is_followed() {
    let mut trio = Sentinels::start();
    let store = open(&trio.url());
    assert_eq!(round(&store).await, (1, 1));
    until("the replica has it", || {
        trio.replica.ask::<u64>(&["DBSIZE"]).is_ok_and(|size| size == 1)
    });
    trio.master.kill();
    assert_eq!(round(&store).await, (0, 0));
    let took = whole_within(&store, Duration::from_secs(15)).await;
    assert!(
        took > Duration::from_millis(300),
        "nobody was chosen that fast: {took:?}"
    );
    let role: String = trio.replica.ask(&["INFO", "replication"]).expect("it answers");
    assert!(role.contains("role:master"), "{role}");
}

#[tokio::test]
async fn a_wrong_master_name_is_unavailable_and_not_a_hang() {
    let server = RedisServer::start(&[]);
    let store = open(&format!("redis-sentinel://127.0.0.1:{}/nobody", server.port));
    let began = Instant::now();
    let result = store.get(0, &address(1), LIMIT).await;
    assert_eq!(result, Err(CacheFault::Unavailable));
    assert!(began.elapsed() < Duration::from_secs(2));
}

/// Reads some keys once, one after the other; how many of them the origin was asked for.
async fn loads(cache: &Cache<u64, u64>) -> u64 {
    let before = cache.stats().origin_requests;
    for key in 0..120_u64 {
        let load = move || async move { Ok::<_, std::io::Error>(key * 2) };
        let value = cache.get_or_load(&key, &Options::new(), load).await;
        assert_eq!(value.ok(), Some(key * 2));
    }
    cache.stats().origin_requests - before
}

#[tokio::test]
async fn a_spare_server_stands_in_for_one_of_a_ring() {
    let mut servers: Vec<RedisServer> = (0..3).map(|_| RedisServer::start(&[])).collect();
    let spare = RedisServer::start(&[]);
    let size = |server: &RedisServer| server.ask::<u64>(&["DBSIZE"]).expect("it answers");
    let places = servers.iter().map(|server| format!("127.0.0.1:{}", server.port));
    let url = format!("redis-ring://{}", places.collect::<Vec<_>>().join(","));
    let ring = Redis::url(&url).expect("it is a URL");
    let ring = ring.spares([format!("127.0.0.1:{}", spare.port)], Duration::from_secs(2));
    let cache: Cache<u64, u64> = Cache::builder("users")
        .no_memory()
        .tier(ring.build().expect("it can be built"))
        .protect(|policies| {
            policies.coalesce = None;
            if let Some(breaker) = &mut policies.breaker {
                breaker.open_for = Span::millis(1_500);
            }
        })
        .build();
    assert_eq!(loads(&cache).await, 120);
    let quiet = async |what: &str| {
        let began = Instant::now();
        // Stores are written after answers have gone out.
        while loads(&cache).await > 0 {
            assert!(began.elapsed() < LIMIT, "{what}: it is never quiet");
        }
    };
    quiet("at first").await;
    assert_eq!(servers.iter().map(size).sum::<u64>(), 120);
    let owned = size(&servers[0]);
    assert!((20..60).contains(&owned), "an even share: {owned} of 120");
    assert_eq!(size(&spare), 0, "nobody needs it");

    servers[0].kill();
    // Some are lost before the breaker opens; then each key of the lost server is loaded once, into the spare one.
    quiet("with a spare server").await;
    assert_eq!(size(&spare), owned);
    let left: i64 = spare
        .ask(&["PTTL", &spare.ask::<String>(&["RANDOMKEY"]).expect("it has some")])
        .expect("it answers");
    assert!(left <= 2_000, "not for long: {left} ms");

    servers[0].restart(&[]);
    until("what the spare server had is gone", || size(&spare) == 0);
    quiet("when it is back").await;
    assert_eq!((size(&servers[0]), size(&spare)), (owned, 0));
}

#[tokio::test]
async fn tls_is_spoken_to_whom_the_authority_vouches_for() {
    let folder = Folder::new();
    let file = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    for arguments in [
        format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=authority -keyout {} -out {}",
            file("ca.key"),
            file("ca.pem")
        ),
        format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
             -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE -CA {} -CAkey {} -keyout {} -out {}",
            file("ca.pem"),
            file("ca.key"),
            file("server.key"),
            file("server.pem")
        ),
    ] {
        let output = Command::new("openssl")
            .args(arguments.split(' ').filter(|word| !word.is_empty()))
            .output();
        let output = output.expect("openssl is there");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let (certificate, key) = (file("server.pem"), file("server.key"));
    let authority = std::fs::read(file("ca.pem")).expect("it was made");
    let mut tls_port = free_port();
    let server = RedisServer::start(&[
        "--tls-port",
        &tls_port.to_string(),
        "--tls-cert-file",
        &certificate,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &file("ca.pem"),
        "--tls-auth-clients",
        "no",
    ]);
    server.tell(&["PING"]);
    let open = |host: &str, authority: Option<Vec<u8>>| {
        let builder = Redis::url(&format!("rediss://{host}:{tls_port}")).expect("it is a URL");
        builder.tls(authority).build().expect("it can be built")
    };
    let store = open("localhost", Some(authority.clone()));
    assert_eq!(round(&store).await, (1, 1));
    let strangers = open("localhost", None);
    assert_eq!(
        strangers.get(0, &address(1), LIMIT).await,
        Err(CacheFault::Refused),
        "by nobody we know"
    );
    let misnamed = open("127.0.0.1", Some(authority));
    assert_eq!(
        misnamed.get(0, &address(1), LIMIT).await,
        Err(CacheFault::Refused),
        "for another name"
    );
    tls_port = server.port;
    let plain = open_plain(tls_port);
    assert!(
        plain.get(0, &address(1), LIMIT).await.is_err(),
        "who does not speak it"
    );
}

fn open_plain(port: u16) -> Redis {
    let builder = Redis::url(&format!("rediss://localhost:{port}")).expect("it is a URL");
    builder
        .connect_timeout(Duration::from_millis(500))
        .build()
        .expect("it can be built")
}
