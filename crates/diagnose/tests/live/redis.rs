//! A real Redis, well and in each kind of trouble.

use seawall_core::record::Metric;
use seawall_diagnose::probe::Sample;

use super::support::Folder;
use super::support::redis::{RedisCluster, RedisServer, until};
use super::{failures, prober, round, went_well};

const STEPS: [&str; 6] = ["connect", "reply", "alive", "info", "write", "read"];
/// Long enough for a server that is well on a busy machine.
const PATIENCE: u64 = 1_000;
/// For what is sure to time out.
const SHORT: u64 = 400;

fn well(sample: &Sample) {
    assert_eq!(failures(sample), [""; 0]);
    for step in STEPS {
        assert!(went_well(sample, step), "{step}");
    }
}

fn value(sample: &Sample, metric: Metric) -> f64 {
    sample.value(metric, "redis").unwrap_or(f64::NAN)
}

#[tokio::test]
async fn a_server_that_is_well_has_no_troubles_and_our_questions_do_not_count() {
    let server = RedisServer::start(&["--maxmemory", "100mb"]);
    let mut prober = prober(&[&server.url()], PATIENCE);
    well(&round(&mut prober, PATIENCE).await);
    for _ in 0..3 {
        let idle = round(&mut prober, PATIENCE).await;
        well(&idle);
        for metric in [
            Metric::CacheHits,
            Metric::CacheMisses,
            Metric::CacheSets,
            Metric::CacheInvalidations,
        ] {
            // What was asked while the server was counting may be told a round later.
            assert!(
                value(&idle, metric) <= 1.0,
                "{} is {}",
                metric.name(),
                value(&idle, metric)
            );
        }
        assert!(value(&idle, Metric::CacheErrors) <= 1.0);
    }
    for index in 0..50 {
        server.tell(&["SET", &format!("k{index}"), "v", "EX", "100"]);
    }
    for index in 0..70 {
        server.tell(&["GET", &format!("k{index}")]);
    }
    server.tell(&["DEL", "k1"]);
    let busy = round(&mut prober, PATIENCE).await;
    for (metric, expected) in [
        (Metric::CacheHits, 50.0),
        (Metric::CacheMisses, 20.0),
        (Metric::CacheSets, 50.0),
        (Metric::CacheInvalidations, 1.0),
        (Metric::CacheMemoryLimit, 100.0 * 1_048_576.0),
        (Metric::CacheEvicting, 0.0),
        (Metric::CacheReplica, 0.0),
    ] {
        let told = value(&busy, metric);
        assert!((told - expected).abs() <= 1.0, "{} is {told}", metric.name());
    }
    assert!(
        (49.0..=50.0).contains(&value(&busy, Metric::CacheEntries)),
        "ours may be there"
    );
    assert!(
        busy.labelled(Metric::CacheCommandSeconds, "set")
            .is_some_and(|mean| mean > 0.0 && mean < 0.01)
    );
    assert!(value(&busy, Metric::CacheUptime) < 60.0);
    assert!(value(&busy, Metric::CacheCpu) >= 0.0);
    let left: Vec<String> = server.ask(&["KEYS", "seawall:*"]).unwrap();
    assert_eq!(left, [""; 0], "nothing of ours stays");
}

#[tokio::test]
async fn a_dead_server_is_refused_and_a_new_one_is_found() {
    let mut server = RedisServer::start(&[]);
    let mut prober = prober(&[&server.url()], PATIENCE);
    well(&round(&mut prober, PATIENCE).await);
    server.kill();
    let dead = failures(&round(&mut prober, PATIENCE).await);
    assert!(dead.contains(&"connect_refused".to_owned()), "{dead:?}");
    assert!(
        dead.iter()
            .any(|why| why == "reply_closed" || why == "reply_reset"),
        "{dead:?}"
    );
    assert_eq!(failures(&round(&mut prober, PATIENCE).await), ["connect_refused"]);
    server.restart(&[]);
    well(&round(&mut prober, PATIENCE).await);
}

#[tokio::test]
async fn a_stopped_process_costs_one_deadline_and_is_well_when_it_goes_on() {
    let server = RedisServer::start(&[]);
    let mut prober = prober(&[&server.url()], SHORT);
    well(&round(&mut prober, SHORT).await);
    server.stop();
    for _ in 0..3 {
        let hung = round(&mut prober, SHORT).await;
        let failed = failures(&hung);
        assert!(went_well(&hung, "connect"), "the kernel lets in whoever comes");
        for expected in ["alive_timed_out", "reply_timed_out"] {
            assert!(failed.iter().any(|why| why == expected), "{failed:?}");
        }
        assert!(failed.iter().all(|why| why.ends_with("_timed_out")), "{failed:?}");
        assert!(!went_well(&hung, "info"));
    }
    server.go_on();
    let _ = round(&mut prober, SHORT).await;
    well(&round(&mut prober, SHORT).await);
}

#[tokio::test]
async fn a_paused_server_is_alive_and_serves_nobody() {
    let server = RedisServer::start(&[]);
    let mut prober = prober(&[&server.url()], SHORT);
    well(&round(&mut prober, SHORT).await);
    server.tell(&["CLIENT", "PAUSE", "3000", "ALL"]);
    let paused = round(&mut prober, SHORT).await;
    assert!(went_well(&paused, "alive"), "{:?}", paused.troubles);
    assert!(went_well(&paused, "connect"));
    assert!(!went_well(&paused, "reply"));
    assert_eq!(failures(&paused), ["reply_timed_out", "write_timed_out"]);
    until("the pause is over", || server.ask::<String>(&["PING"]).is_ok());
    let _ = round(&mut prober, SHORT).await;
    well(&round(&mut prober, SHORT).await);
}

#[tokio::test]
async fn held_writes_are_told_from_a_server_that_hangs() {
    let server = RedisServer::start(&[]);
    let mut prober = prober(&[&server.url()], SHORT);
    well(&round(&mut prober, SHORT).await);
    server.tell(&["CLIENT", "PAUSE", "2000", "WRITE"]);
    let paused = round(&mut prober, SHORT).await;
    assert_eq!(failures(&paused), ["write_timed_out"]);
    assert!(went_well(&paused, "reply") && went_well(&paused, "info"));
}

#[tokio::test]
async fn a_full_house_lets_nobody_in_and_still_tells_us_of_itself() {
    let server = RedisServer::start(&["--maxclients", "6"]);
    let mut prober = prober(&[&server.url()], PATIENCE);
    well(&round(&mut prober, PATIENCE).await);
    well(&round(&mut prober, PATIENCE).await);
    let mut crowd = Vec::new();
    for _ in 0..6 {
        crowd.push(
            tokio::net::TcpStream::connect(("127.0.0.1", server.port))
                .await
                .unwrap(),
        );
    }
    let full = round(&mut prober, PATIENCE).await;
    assert_eq!(failures(&full), ["reply_too_many_clients"]);
    assert!(
        went_well(&full, "info") && went_well(&full, "write"),
        "we were in before"
    );
    let rejected = value(&full, Metric::CacheRejected);
    let full = round(&mut prober, PATIENCE).await;
    assert!(rejected + value(&full, Metric::CacheRejected) >= 1.0);
    assert!((value(&full, Metric::CacheClientsLimit) - 6.0).abs() < 1e-9);
    drop(crowd);
}

#[tokio::test]
async fn a_password_is_asked_for_and_never_shown() {
    let server = RedisServer::start(&["--requirepass", "right"]);
    let url = |login: &str| format!("redis://{login}127.0.0.1:{}", server.port);
    let mut known = prober(&[&url(":right@")], PATIENCE);
    well(&round(&mut known, PATIENCE).await);
    for login in [":hushhush@", "somebody:hushhush@", ""] {
        let mut stranger = prober(&[&url(login)], PATIENCE);
        for _ in 0..2 {
            let sample = round(&mut stranger, PATIENCE).await;
            let failed = failures(&sample);
            assert!(failed.contains(&"reply_no_auth".to_owned()), "{failed:?}");
            assert!(failed.iter().all(|why| why.ends_with("_no_auth")), "{failed:?}");
            assert!(went_well(&sample, "alive"));
            assert!(!format!("{sample:?}").contains("hushhush"), "{sample:?}");
        }
    }
}

#[tokio::test]
async fn a_user_who_may_not_write_is_told_so() {
    let server = RedisServer::start(&[]);
    server.tell(&["ACL", "SETUSER", "reader", "on", ">pw", "~*", "+@all", "-set"]);
    let mut prober = prober(
        &[&format!("redis://reader:pw@127.0.0.1:{}", server.port)],
        PATIENCE,
    );
    assert_eq!(failures(&round(&mut prober, PATIENCE).await), ["write_denied"]);
}

#[tokio::test]
async fn refused_writes_say_why() {
    let full = RedisServer::start(&["--maxmemory", "1mb"]);
    let mut of_full = prober(&[&full.url()], PATIENCE);
    let _ = round(&mut of_full, PATIENCE).await;
    let filled = failures(&round(&mut of_full, PATIENCE).await);
    assert_eq!(
        filled,
        ["write_out_of_memory"],
        "an empty server takes about a megabyte itself"
    );
    // Within a round INFO and the write are asked at once, and either may come first: two rounds have counted one.
    let mut counted = 0.0;
    for _ in 0..2 {
        let sample = round(&mut of_full, PATIENCE).await;
        counted += sample
            .labelled(Metric::CacheErrors, "out_of_memory")
            .unwrap_or(0.0);
    }
    assert!(counted >= 1.0, "{counted}");

    let replica = RedisServer::start(&["--replicaof", "127.0.0.1", &full.port.to_string()]);
    let mut of_replica = prober(&[&replica.url()], PATIENCE);
    let sample = round(&mut of_replica, PATIENCE).await;
    assert_eq!(failures(&sample), ["write_read_only"]);
    assert!((value(&sample, Metric::CacheReplica) - 1.0).abs() < 1e-9);

    let cluster = RedisServer::start(&["--cluster-enabled", "yes", "--cluster-port", "0"]);
    let mut of_cluster = prober(&[&cluster.url()], PATIENCE);
    assert_eq!(
        failures(&round(&mut of_cluster, PATIENCE).await),
        ["write_cluster_down"]
    );
}

#[tokio::test]
async fn a_node_of_a_cluster_is_not_blamed_for_keys_of_others() {
    let cluster = RedisCluster::start();
    let urls: Vec<String> = cluster.servers.iter().map(RedisServer::url).collect();
    for (number, url) in urls.iter().enumerate() {
        let mut prober = prober(&[url], PATIENCE);
        let mut recording = seawall_diagnose::probe::Recording::new(seawall_core::time::Span::secs(1), 60);
        for _ in 0..4 {
            let sample = round(&mut prober, PATIENCE).await;
            assert_eq!(failures(&sample), [""; 0], "{url}");
            // Three masters, and then their copies, which take no writes of clients.
            assert_eq!(went_well(&sample, "write"), number < 3, "{url}");
            assert_eq!(went_well(&sample, "read"), number < 3, "{url}");
            recording.push(sample);
        }
        let errors: String = cluster.servers[number].ask(&["INFO", "errorstats"]).unwrap();
        assert!(!errors.contains("MOVED"), "we were turned away: {errors}");
        let record = recording.record();
        let diagnosis = seawall_diagnose::diagnose(&record, record.periods - 1, 0..0);
        assert!(diagnosis.is_healthy(), "{:?}", diagnosis.first());
    }
}

#[tokio::test]
async fn a_server_that_cannot_save_takes_no_writes() {
    let folder = Folder::new();
    let path = folder.path().join("data");
    std::fs::create_dir(&path).unwrap();
    let server = RedisServer::start(&["--dir", &path.to_string_lossy(), "--save", "3600 1000000"]);
    let mut prober = prober(&[&server.url()], PATIENCE);
    well(&round(&mut prober, PATIENCE).await);
    std::fs::remove_dir_all(&path).unwrap();
    server.tell(&["SET", "k", "v"]);
    server.tell(&["BGSAVE"]);
    until("it could not save", || {
        let info: String = server.ask(&["INFO", "persistence"]).unwrap();
        info.contains("rdb_last_bgsave_status:err")
    });
    let sample = round(&mut prober, PATIENCE).await;
    assert_eq!(
        failures(&sample),
        ["reply_disk_full", "write_disk_full"],
        "it refuses PING as well"
    );
}

#[tokio::test]
async fn a_server_that_loads_is_not_dead() {
    let mut server = RedisServer::start(&["--rdbcompression", "no"]);
    let script = "for i = 1, 20000 do redis.call('SET', 'k' .. i, 'v') end";
    server.tell(&["EVAL", script, "0"]);
    server.tell(&["SAVE"]);
    server.restart(&[
        "--key-load-delay",
        "200",
        "--loading-process-events-interval-bytes",
        "1024",
    ]);
    let mut prober = prober(&[&server.url()], PATIENCE);
    let sample = round(&mut prober, PATIENCE).await;
    assert_eq!(failures(&sample), ["reply_loading", "write_loading"]);
    assert!(went_well(&sample, "info"));
    assert!(went_well(&sample, "alive"));
}

#[tokio::test]
async fn a_script_that_does_not_end_is_busy_and_not_hung() {
    let server = RedisServer::start(&["--busy-reply-threshold", "50"]);
    let mut prober = prober(&[&server.url()], PATIENCE);
    well(&round(&mut prober, PATIENCE).await);
    let port = server.port;
    let script = std::thread::spawn(move || {
        let client = redis::Client::open(format!("redis://127.0.0.1:{port}")).unwrap();
        let mut connection = client.get_connection().unwrap();
        let endless = redis::cmd("EVAL")
            .arg("while true do end")
            .arg(0)
            .query::<()>(&mut connection);
        assert!(endless.is_err(), "it was killed");
    });
    until("it is busy", || server.ask::<String>(&["PING"]).is_err());
    let busy = round(&mut prober, PATIENCE).await;
    server.tell(&["SCRIPT", "KILL"]);
    script.join().unwrap();
    let failed = failures(&busy);
    assert!(failed.contains(&"reply_busy".to_owned()), "{failed:?}");
    assert!(failed.contains(&"write_busy".to_owned()), "{failed:?}");
    assert!(went_well(&busy, "alive"));
}

#[tokio::test]
async fn details_are_told_without_values() {
    let server = RedisServer::start(&[
        "--slowlog-log-slower-than",
        "0",
        "--maxmemory-policy",
        "allkeys-lfu",
    ]);
    for index in 0..40 {
        server.tell(&["SET", &format!("user:{index}"), "hunter2", "EX", "100"]);
    }
    for _ in 0..2_000 {
        server.tell(&["GET", "user:7"]);
    }
    server.tell(&["SET", "blob", &"x".repeat(100_000)]);
    let mut prober = prober(&[&server.url()], PATIENCE);
    let details = prober.details().await.remove(0).unwrap();
    assert!(
        details
            .slow
            .iter()
            .any(|slow| slow.command == "SET" || slow.command == "GET"),
        "{details:?}"
    );
    assert!(!format!("{details:?}").contains("hunter2"));
    assert_eq!(
        (
            details.survey.keys,
            details.survey.seen.len(),
            details.survey.whole
        ),
        (41, 41, true)
    );
    let biggest = details.survey.biggest().unwrap();
    assert!(
        biggest.pattern == "blob" && biggest.bytes > Some(100_000),
        "{biggest:?}"
    );
    assert!(
        details
            .survey
            .forever()
            .is_some_and(|forever| (forever - 1.0 / 41.0).abs() < 1e-9)
    );
    assert!(
        details.survey.hottest_share().is_some_and(|share| share > 0.5),
        "{:?}",
        details.survey.hottest_share()
    );
    assert_eq!(details.clients.count, 0, "{:?}", details.clients);
    let sample = round(&mut prober, PATIENCE).await;
    assert!(value(&sample, Metric::HotKeyShare) > 0.5);
    assert_eq!(
        sample.value(Metric::CacheHits, "redis"),
        None,
        "it is the first round"
    );
}
