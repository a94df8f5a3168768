//! Servers that do not answer as they should: each is a failure with a name, within the deadline.

use std::time::Duration;

use seawall_core::record::Metric;
use seawall_core::time::Span;
use seawall_diagnose::probe::prometheus::{Past, past};
use seawall_diagnose::probe::{LogProbe, Place, Why};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{failures, prober, round, went_well};

const PATIENCE: u64 = 500;

/// What a liar does with a connection.
#[derive(Clone, Copy)]
enum Lie {
    /// Says nothing.
    Silent,
    /// Hangs up.
    HangUp,
    /// Says this once, and waits.
    Say(&'static str),
    /// Says this, a byte at a time, with pauses.
    Drip(&'static str),
    /// Says this for ever.
    Endless(&'static str, &'static str),
}

/// Listens on a port of its own, which it gives.
async fn liar(lie: Lie) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(tell(stream, lie));
        }
    });
    port
}

async fn tell(mut stream: TcpStream, lie: Lie) {
    let mut heard = [0; 1_024];
    match lie {
        Lie::Silent => while stream.read(&mut heard).await.is_ok_and(|length| length > 0) {},
        Lie::HangUp => {
            let _ = stream.read(&mut heard).await;
        }
        Lie::Say(words) => {
            let _ = stream.read(&mut heard).await;
            let _ = stream.write_all(words.as_bytes()).await;
            while stream.read(&mut heard).await.is_ok_and(|length| length > 0) {}
        }
        Lie::Drip(words) => {
            for byte in words.bytes() {
                if stream.write_all(&[byte]).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
        Lie::Endless(first, then) => {
            let _ = stream.read(&mut heard).await;
            let mut words = first.to_owned();
            while stream.write_all(words.as_bytes()).await.is_ok() {
                words = then.repeat(1_000);
            }
        }
    }
}

#[tokio::test]
async fn what_is_no_redis_is_a_failure_with_a_name() {
    for (lie, expected) in [
        (Lie::Silent, "alive_timed_out"),
        (Lie::HangUp, "alive_closed"),
        (Lie::Say("HTTP/1.1 400 Bad Request\r\n\r\n"), "alive_garbage"),
        (Lie::Say("\u{0}\u{1}\u{2}\r\n"), "alive_garbage"),
        (Lie::Say("+OK\r\n"), "alive_garbage"),
        (Lie::Say("$999999999999\r\n"), "alive_garbage"),
        (
            Lie::Drip("-ERR wrong number of arguments for 'ping' command\r\n"),
            "alive_timed_out",
        ),
        (Lie::Endless("", "-ERR no\r\n"), "reply_error"),
        (Lie::Endless("$4000000\r\n", "x"), "alive_garbage"),
    ] {
        let url = format!("redis://:hushhush@127.0.0.1:{}", liar(lie).await);
        let mut prober = prober(&[&url], PATIENCE);
        for _ in 0..2 {
            let sample = round(&mut prober, PATIENCE).await;
            let failed = failures(&sample);
            assert!(
                failed.iter().any(|why| why == expected),
                "{expected} is not in {failed:?}"
            );
            assert!(went_well(&sample, "connect"));
            assert!(!format!("{sample:?}").contains("hushhush"));
        }
    }
}

#[tokio::test]
async fn what_is_no_postgres_is_a_failure_with_a_name() {
    for (lie, expected) in [
        (Lie::Silent, "connect_timed_out"),
        (Lie::HangUp, "connect_closed"),
        (
            Lie::Drip("N-------------------------------------------"),
            "connect_timed_out",
        ),
        (Lie::Say("-ERR what is this\r\n"), "connect_garbage"),
    ] {
        let url = format!(
            "postgres://app:hushhush@127.0.0.1:{}/x?sslmode=disable",
            liar(lie).await
        );
        let mut prober = prober(&[&url], PATIENCE);
        let sample = round(&mut prober, PATIENCE).await;
        let failed = failures(&sample);
        let hung_up = expected == "connect_closed" && failed == ["connect_reset"];
        assert!(
            hung_up || failed == [expected] || failed == ["connect_timed_out"],
            "{failed:?} is not {expected}"
        );
        assert!(!format!("{sample:?}").contains("hushhush"));
    }
}

#[tokio::test]
async fn what_is_no_app_is_a_failure_with_a_name() {
    let page = "HTTP/1.1 200 OK\r\n\r\n";
    for (lie, expected) in [
        (Lie::Silent, "ready_timed_out"),
        (Lie::HangUp, "ready_closed"),
        (Lie::Say("-ERR unknown command\r\n"), "ready_garbage"),
        (Lie::Drip("HTTP/1.1 200 OK\r\n"), "ready_timed_out"),
        (Lie::Endless(page, "threads_busy 1\n"), "ready_garbage"),
        (Lie::Endless("HTTP/1.1 200 OK\r\n", "a: b\r\n"), "ready_garbage"),
    ] {
        let url = format!("http://127.0.0.1:{}", liar(lie).await);
        let mut prober = prober(&[&url], PATIENCE);
        let sample = round(&mut prober, PATIENCE).await;
        let failed = failures(&sample);
        assert!(
            failed.iter().any(|why| why == expected),
            "{expected} is not in {failed:?}"
        );
    }
}

#[tokio::test]
async fn an_app_tells_of_itself() {
    let told =
        "HTTP/1.1 200 OK\r\ncontent-length: 45\r\n\r\nthreads_busy 3 # degraded\ncache_hits_total 7\n\n";
    let url = format!("http://127.0.0.1:{}", liar(Lie::Say(told)).await);
    let mut prober = prober(&[&url], PATIENCE);
    let sample = round(&mut prober, PATIENCE).await;
    assert_eq!(failures(&sample), [""; 0]);
    assert_eq!(sample.value(Metric::Ready, "app"), Some(0.5));
    assert_eq!(sample.value(Metric::ThreadsBusy, "app"), Some(3.0));
}

#[tokio::test]
async fn nobody_is_there() {
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().port()
    };
    let urls = ["redis", "postgres", "http"].map(|scheme| format!("{scheme}://127.0.0.1:{port}"));
    let mut prober = prober(&urls.each_ref().map(String::as_str), PATIENCE);
    let sample = round(&mut prober, PATIENCE).await;
    let expected = [
        "connect_refused",
        "connect_refused",
        "metrics_refused",
        "ready_refused",
    ];
    assert_eq!(failures(&sample), expected);

    let mut nameless = super::prober(&["redis://nobody.invalid"], PATIENCE);
    let failed = failures(&round(&mut nameless, PATIENCE).await);
    assert!(
        failed == ["connect_unresolved"] || failed == ["connect_timed_out"],
        "{failed:?}"
    );
    let mut far = super::prober(&["redis://192.0.2.1"], PATIENCE);
    let failed = failures(&round(&mut far, PATIENCE).await);
    // Some networks answer for what is not there.
    assert!(
        failed == ["connect_timed_out"] || failed == ["connect_refused"],
        "{failed:?}"
    );
}

#[tokio::test]
async fn a_prometheus_that_knows_nothing_says_so() {
    let nothing = "HTTP/1.1 200 OK\r\ncontent-length: 63\r\n\r\n{\"status\":\"success\",\"data\":{\"resultType\":\"matrix\",\"result\":[]}}";
    let refused = "HTTP/1.1 400 Bad Request\r\ncontent-length: 39\r\n\r\n{\"status\":\"error\",\"error\":\"bad_data x\"}";
    for (lie, why) in [
        (Lie::Say(nothing), Why::Lost),
        (Lie::Say(refused), Why::Error),
        (
            Lie::Say("HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n"),
            Why::NoAuth,
        ),
        (
            Lie::Say("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"),
            Why::Garbage,
        ),
        (Lie::Silent, Why::TimedOut),
        (Lie::Drip("HTTP/1.1 200 OK\r\n"), Why::TimedOut),
    ] {
        let url = format!("http://reader:hushhush@127.0.0.1:{}", liar(lie).await);
        let wanted = Past {
            end: 1_700_000_000,
            periods: 60,
            period: Span::secs(1),
        };
        let asked = past(&url.parse().unwrap(), wanted, Duration::from_millis(PATIENCE)).await;
        let fault = asked.unwrap_err();
        assert_eq!(fault.why, why, "{fault}");
        assert!(!fault.text.contains("hushhush"));
    }
}

#[tokio::test]
async fn a_log_is_followed_when_it_is_rotated() {
    let folder = super::support::Folder::new();
    let path = folder.path().join("app.log");
    let deadline = || tokio::time::Instant::now() + Duration::from_millis(PATIENCE);
    std::fs::write(&path, "Connection refused\n").unwrap();
    let mut new_only = LogProbe::file(&path, Place::new("app"), false);
    let mut all = LogProbe::file(&path, Place::new("app"), true);
    let count = |sample: &seawall_diagnose::probe::Sample, reason| sample.labelled(Metric::LogLines, reason);
    assert_eq!(
        count(&new_only.round(deadline()).await, "refused"),
        None,
        "that was before"
    );
    assert_eq!(count(&all.round(deadline()).await, "refused"), Some(1.0));
    let append = |text: &str| {
        use std::io::Write;
        let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    };
    append("CacheError: OOM command not allowed\nfine\nCacheErr");
    assert_eq!(
        count(&new_only.round(deadline()).await, "out_of_memory"),
        Some(1.0)
    );
    append("or: what\n");
    std::fs::rename(&path, folder.path().join("app.log.1")).unwrap();
    std::fs::write(&path, "LOADING Redis is loading the dataset\n").unwrap();
    let rotated = new_only.round(deadline()).await;
    assert_eq!(
        (count(&rotated, "error"), count(&rotated, "loading")),
        (Some(1.0), Some(1.0))
    );
    std::fs::write(&path, "x timeout\n").unwrap();
    assert_eq!(
        count(&new_only.round(deadline()).await, "timed_out"),
        Some(1.0),
        "it was cut"
    );

    let (mut ours, theirs) = tokio::io::duplex(64);
    let mut stream = LogProbe::stream(theirs, Place::new("app"));
    ours.write_all(b"MISCONF Redis\nendless ").await.unwrap();
    let short = || tokio::time::Instant::now() + Duration::from_millis(50);
    assert_eq!(count(&stream.round(short()).await, "disk_full"), Some(1.0));
    drop(ours);
}
