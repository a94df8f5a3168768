//! A real cache before a real database, under a load that is known: measured, written down, simulated.

use std::time::Duration;

use bytes::BytesMut;
use seawall_core::record::Metric;
use seawall_core::rng::Seed;
use seawall_diagnose::init::{Assumed, Wanted, document, measure};
use seawall_diagnose::probe::Target;
use seawall_resp::{Limits, Replies, Value, request};
use seawall_scenario::{AS_WRITTEN, Document};
use seawall_sim::{Engine, Options, replicate};
use sqlx::{Connection, Executor, PgConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

use super::support::postgres::PostgresServer;
use super::support::redis::RedisServer;

const KEYS: usize = 3_000;
const EXPONENT: f64 = 0.9;
const TTL_MS: &str = "4000";
/// Readers, and look-ups a second of each.
const READERS: u64 = 4;
const RATE: f64 = 200.0;

/// A connection that asks one thing after another.
struct Cache {
    stream: TcpStream,
    replies: Replies,
    read: BytesMut,
}

impl Cache {
    async fn ask(&mut self, words: &[&str]) -> Value {
        let mut bytes = BytesMut::new();
        request(words, &mut bytes);
        self.stream.write_all(&bytes).await.unwrap();
        loop {
            if let Some(value) = self.replies.next(&mut self.read).unwrap() {
                return value;
            }
            assert!(
                self.stream.read_buf(&mut self.read).await.unwrap() > 0,
                "it hung up"
            );
        }
    }
}

/// Looks keys up at random instants; what is missing is read from the database and stored.
async fn reader(number: u64, port: u16, database: String) {
    let mut cache = Cache {
        stream: TcpStream::connect(("127.0.0.1", port)).await.unwrap(),
        replies: Replies::new(Limits::default()),
        read: BytesMut::new(),
    };
    let mut database = PgConnection::connect(&database).await.unwrap();
    let mut sums: Vec<f64> = Vec::with_capacity(KEYS);
    for key in 1..=KEYS {
        let before = sums.last().copied().unwrap_or(0.0);
        sums.push(before + (key as f64).powf(-EXPONENT));
    }
    let mut random = Seed(7).stream("reader", number);
    let mut at = Instant::now();
    loop {
        at += Duration::from_secs_f64(-(1.0 - random.unit()).ln() / RATE);
        sleep_until(at).await;
        let drawn = random.unit() * sums[KEYS - 1];
        let key = sums.partition_point(|sum| *sum < drawn);
        let name = format!("page:{key}");
        if cache.ask(&["GET", &name]).await.is_nil() {
            let id = i32::try_from(key).unwrap();
            sqlx::query("SELECT id FROM pages WHERE id = $1")
                .bind(id)
                .execute(&mut database)
                .await
                .unwrap();
            cache.ask(&["SET", &name, "some content", "PX", TTL_MS]).await;
        }
    }
}

#[expect(clippy::print_stderr, reason = "a number in the documents comes from here")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_measured_is_what_the_simulator_predicts() {
    let (cache, database) = (
        RedisServer::start(&["--maxmemory", "100mb"]),
        PostgresServer::start(&[]),
    );
    let mut owner = PgConnection::connect(&database.url()).await.unwrap();
    owner
        .execute("CREATE TABLE pages (id int PRIMARY KEY); INSERT INTO pages SELECT generate_series(0, 3000)")
        .await
        .unwrap();
    drop(owner);
    let mut readers = tokio::task::JoinSet::new();
    for number in 0..READERS {
        readers.spawn(reader(number, cache.port, database.url()));
    }
    // Until it is as it stays: more than one life of an entry.
    tokio::time::sleep(Duration::from_secs(6)).await;
    let targets: Vec<Target> = [cache.url(), database.url()]
        .iter()
        .map(|url| url.parse().unwrap())
        .collect();
    let wanted = Wanted {
        window: Duration::from_secs(8),
        patience: Duration::from_secs(1),
        keys_max: 1_000,
    };
    let measured = measure(&targets, wanted).await.unwrap();
    readers.shutdown().await;
    measured.enough().unwrap();
    let known = RATE * READERS as f64;
    assert!((measured.lookups / known - 1.0).abs() < 0.1, "{measured:?}");
    assert!(
        measured.ttl.is_some_and(|ttl| (ttl - 4.0).abs() < 0.1),
        "{measured:?}"
    );
    assert_eq!(measured.instances, 1);
    let misses = measured.lookups * (1.0 - measured.hit_rate);
    let of_database = measured.database.clone().unwrap();
    assert!((of_database.requests / misses - 1.0).abs() < 0.15, "{measured:?}");
    assert!(
        of_database.service.is_some_and(|secs| secs > 1e-6 && secs < 0.1),
        "{measured:?}"
    );

    let assumed = Assumed {
        processors: 8.0,
        timeout: 2.0,
        places: targets.iter().map(ToString::to_string).collect(),
    };
    let text = document(&measured, &assumed);
    let scenario = Document::parse("now.toml", &text)
        .unwrap()
        .scenario(AS_WRITTEN, &[])
        .unwrap();
    let options = Options {
        seed: 1,
        run: 0,
        scale: scenario.run.scale,
        engine: Engine::Auto,
    };
    let run = replicate(&[(scenario.clone(), options)], 1, &|_| {})
        .pop()
        .unwrap();
    let record = run.map_err(|refusal| refusal.to_string()).unwrap().record;
    for judged in scenario.judge(std::slice::from_ref(&record)) {
        assert!(
            judged.met,
            "{}: {} where {} was measured\n{text}",
            judged.that, judged.seen, judged.wanted
        );
    }
    // What it was not fitted to: how many entries live. Redis itself also counts those that have expired and are not
    // taken out yet, so by Little's law: those written in one life.
    let entries = record.values(Metric::CacheEntries, "redis", None)[record.window(0.0, 30.0)].to_vec();
    let entries = entries.iter().sum::<f64>() / entries.len() as f64;
    let living = measured.sets * 4.0;
    assert!(
        (entries / living - 1.0).abs() < 0.1,
        "{entries} predicted, {living} measured"
    );
    assert!(
        measured.entries >= living * 0.9,
        "{} told, {living} measured",
        measured.entries
    );
    eprintln!(
        "hit rate {:.3}, misses {misses:.1}/s, database {:.1}/s, entries {living:.0} measured and {entries:.0} predicted",
        measured.hit_rate, of_database.requests
    );
}

#[tokio::test]
async fn a_cache_that_nobody_uses_and_one_that_is_gone_are_no_scenario() {
    let mut cache = RedisServer::start(&[]);
    let targets: Vec<Target> = vec![cache.url().parse().unwrap()];
    let wanted = Wanted {
        window: Duration::from_millis(1_200),
        patience: Duration::from_millis(300),
        keys_max: 10,
    };
    let measured = measure(&targets, wanted).await.unwrap();
    assert!(measured.enough().is_err());
    cache.kill();
    let gone = measure(&targets, wanted).await.unwrap_err();
    assert_eq!(gone.target, targets[0].to_string());
}
