//! Steps and findings on a real Redis.

use std::io::Read as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::stage::{Folder, Redis, SHORT, apply, diagnose};

fn found(redis: &Redis) -> String {
    let url = redis.url();
    let (text, _) = diagnose(&[&[url.as_str()], SHORT.as_slice()].concat());
    text.split(':').next().unwrap_or("").to_owned()
}

#[test]
fn a_redis_that_does_not_answer_is_told_for_what_it_is() {
    let folder = Folder::new("silent");
    let redis = Redis::start(&folder, &[]);
    assert_eq!(found(&redis), "HEALTHY");
    redis.signal("-STOP");
    assert_eq!(found(&redis), "HUNG");
    redis.signal("-CONT");
    assert!(redis.ask("CLIENT PAUSE 30000 ALL").starts_with("+OK"));
    assert_eq!(found(&redis), "PAUSED");
    let port = redis.port;
    drop(redis);
    let begun = Instant::now();
    let (text, status) =
        diagnose(&[&[format!("redis://127.0.0.1:{port}").as_str()], SHORT.as_slice()].concat());
    assert!(text.starts_with("REFUSED: "), "{text}");
    assert_eq!(status, 1);
    assert!(begun.elapsed() < Duration::from_secs(8));
}

#[test]
fn a_redis_that_refuses_is_told_for_what_it_is() {
    let folder = Folder::new("refusing");
    let locked = Redis::start(&folder, &["--requirepass", "3am-secret"]);
    assert_eq!(found(&locked), "AUTH");
    let with = format!("redis://:3am-secret@127.0.0.1:{}", locked.port);
    let (text, status) = diagnose(&[&[with.as_str()], SHORT.as_slice()].concat());
    assert_eq!(status, 0, "{text}");
    let wrong = format!("redis://:not-this-one@127.0.0.1:{}", locked.port);
    let (text, _) = diagnose(&[&[wrong.as_str()], SHORT.as_slice()].concat());
    assert!(text.starts_with("AUTH: "), "{text}");
    assert!(!text.contains("not-this-one"), "a secret is never told: {text}");

    let replica = Redis::start(
        &folder,
        &["--replicaof", "127.0.0.1 1", "--replica-serve-stale-data", "yes"],
    );
    assert_eq!(found(&replica), "READ-ONLY");
}

/// Fills a Redis above its limit, so that writes are refused.
fn full(folder: &Folder) -> Redis {
    let redis = Redis::start(folder, &["--maxmemory-policy", "noeviction"]);
    for at in 0..200 {
        redis.ask(&format!("SET key:{at} {}", "x".repeat(20_000)));
    }
    redis
}

#[test]
fn more_memory_helps_when_it_is_enough_and_is_taken_back_when_it_is_not() {
    let folder = Folder::new("memory");
    let redis = full(&folder);
    // Just below what is used: a quarter more is enough.
    redis.ask("CONFIG SET maxmemory 4500000");
    assert_eq!(found(&redis), "OUT-OF-MEMORY");
    let (text, status) = apply(&redis, &folder, "raise-maxmemory", &[]);
    assert!(text.contains("this was a dry run"), "{text}");
    assert_eq!((status, redis.setting("maxmemory").as_str()), (0, "4500000"));
    let (text, status) = apply(&redis, &folder, "raise-maxmemory", &["--yes"]);
    assert!(text.contains("it helped: "), "{text}");
    assert_eq!((status, redis.setting("maxmemory").as_str()), (0, "5625000"));
    // Far below: it is not.
    redis.ask("CONFIG SET maxmemory 2000000");
    let (text, status) = apply(&redis, &folder, "raise-maxmemory", &["--yes"]);
    assert!(text.contains("it made no difference: "), "{text}");
    assert!(text.contains("taken back: maxmemory is 2000000 again"), "{text}");
    assert_eq!((status, redis.setting("maxmemory").as_str()), (1, "2000000"));
    // Evicting helps whatever the limit.
    let (text, status) = apply(&redis, &folder, "evict-lru", &["--yes"]);
    assert!(text.contains("it helped: "), "{text}");
    assert_eq!(
        (status, redis.setting("maxmemory-policy").as_str()),
        (0, "allkeys-lru")
    );
    let (text, status) = apply(&redis, &folder, "evict-lru", &["--yes"]);
    assert!(text.contains("maxmemory-policy is allkeys-lru already"), "{text}");
    assert_eq!(status, 2);
    let log = std::fs::read_to_string(folder.0.join("actions.jsonl")).expect("actions are written down");
    for what in ["begins", "done", "judged", "taken back"] {
        assert!(log.contains(&format!("\"what\":\"{what}\"")), "{what}: {log}");
    }
}

#[test]
fn clients_that_nobody_uses_make_room() {
    let folder = Folder::new("clients");
    let redis = Redis::start(&folder, &["--maxclients", "12"]);
    let connect = || TcpStream::connect(("127.0.0.1", redis.port)).expect("it listens");
    let idle: Vec<TcpStream> = (0..7).map(|_| connect()).collect();
    // Nobody has been idle for five minutes.
    let (text, status) = apply(&redis, &folder, "drop-idle-clients", &["--yes"]);
    assert!(text.contains("has been idle for 300 s"), "{text}");
    assert_eq!(status, 2);
    let (text, status) = apply(&redis, &folder, "raise-maxclients", &["--yes"]);
    // Nobody was turned away, so it could not help.
    assert!(text.contains("taken back: maxclients is 12 again"), "{text}");
    assert_eq!((status, redis.setting("maxclients").as_str()), (1, "12"));
    drop(idle);
}

#[test]
fn more_clients_are_let_in_when_they_were_turned_away() {
    assert!(crowded(20), "twenty have room in twenty-four");
    assert!(!crowded(60), "sixty have not");
}

/// Visitors who come again and again, stay for a while, and are gone with this.
struct Crowd {
    stop: std::sync::mpsc::Sender<()>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Crowd {
    fn of(visitors: usize, port: u16) -> Crowd {
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            let mut held: Vec<(Instant, TcpStream)> = Vec::new();
            let waited = std::sync::mpsc::RecvTimeoutError::Timeout;
            while stopped.recv_timeout(Duration::from_millis(20)) == Err(waited) {
                held.retain(|(since, _)| since.elapsed() < Duration::from_millis(300));
                // Who goes leaves a place for a moment.
                std::thread::sleep(Duration::from_millis(40));
                while held.len() < visitors
                    && let Ok(stream) = TcpStream::connect(("127.0.0.1", port))
                {
                    held.push((Instant::now(), stream));
                }
            }
        });
        Crowd {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        let _ = self.stop.send(());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Whether it helped so many to let twice as many in as twelve; what did not help is taken back.
fn crowded(visitors: usize) -> bool {
    let folder = Folder::new("full");
    let redis = Redis::start(&folder, &["--maxclients", "12"]);
    let crowd = Crowd::of(visitors, redis.port);
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!(found(&redis), "TOO-MANY-CLIENTS");
    let (text, status) = apply(&redis, &folder, "raise-maxclients", &["--yes"]);
    drop(crowd);
    let helped = status == 0;
    let said = if helped {
        "it helped: "
    } else {
        "taken back: maxclients is 12 again"
    };
    assert!(text.contains(said), "{text}");
    assert_eq!(redis.setting("maxclients"), if helped { "24" } else { "12" });
    helped
}

#[test]
fn writes_are_taken_again_without_the_disk() {
    let folder = Folder::new("disk");
    let inner = Folder(folder.0.join("data"));
    std::fs::create_dir_all(&inner.0).expect("a folder in our own");
    let redis = Redis::start(&inner, &[]);
    // A snapshot that fails is what a full disk makes of it, and one that has lost its folder fails.
    drop(inner);
    redis.ask("SET key value");
    redis.ask("CONFIG SET save \"3600 1\"");
    redis.ask("BGSAVE");
    let begun = Instant::now();
    while !redis.ask("SET key value").contains("MISCONF") {
        assert!(begun.elapsed() < Duration::from_secs(10), "the snapshot fails");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(found(&redis), "DISK-FULL");
    let (text, status) = apply(&redis, &folder, "allow-writes-without-disk", &["--yes"]);
    assert!(text.contains("it helped: "), "{text}");
    assert_eq!(
        (status, redis.setting("stop-writes-on-bgsave-error").as_str()),
        (0, "no")
    );
}

#[test]
fn what_is_wrong_with_the_input_is_said() {
    let (text, status) = diagnose(&[]);
    assert!(text.contains("there is nothing to ask"), "{text}");
    assert_eq!(status, 2);
    let (text, status) = diagnose(&["redis://127.0.0.1:1", "--apply", "raise-maxmemry"]);
    assert!(text.contains("did you mean `raise-maxmemory`?"), "{text}");
    assert_eq!(status, 2);
    let (text, status) = diagnose(&["redis://127.0.0.1:1", "--apply", "start-redis"]);
    assert!(
        text.contains("only a person does this") && text.contains("-p 1 ping"),
        "{text}"
    );
    assert_eq!(status, 0);
    let (text, status) = diagnose(
        &[
            &["redis://127.0.0.1:1", "--apply", "coalesce", "--yes"],
            SHORT.as_slice(),
        ]
        .concat(),
    );
    assert!(text.contains("--gateway"), "{text}");
    assert_eq!(status, 2);
}

#[test]
fn who_has_been_idle_makes_room_for_those_who_work() {
    let folder = Folder::new("idle");
    let redis = Redis::start(&folder, &["--maxclients", "24"]);
    let connect = || TcpStream::connect(("127.0.0.1", redis.port)).expect("it listens");
    // They take nearly all the places and never say a word; those who work have to share what is left.
    let idle: Vec<TcpStream> = (0..20).map(|_| connect()).collect();
    let crowd = Crowd::of(12, redis.port);
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(2) {
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(found(&redis), "TOO-MANY-CLIENTS");
    let (text, status) = apply(&redis, &folder, "drop-idle-clients", &["--yes", "--idle", "2s"]);
    drop(crowd);
    assert!(text.contains("20 idle clients are gone"), "{text}");
    assert!(text.contains("it helped: "), "{text}");
    assert_eq!(status, 0);
    // Redis has hung up on all of them.
    for mut stream in idle {
        stream
            .set_read_timeout(Some(Duration::from_secs(2)))
            .expect("a socket has a timeout");
        assert_eq!(stream.read(&mut [0]).ok(), Some(0));
    }
}
