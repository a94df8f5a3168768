//! Unmodified clients: `redis-cli`, `redis-benchmark`, and the crate `redis`.

use std::process::Command;

use redis::{Commands, RedisResult};
use seawall_drill::server::{Server, Settings};

fn start() -> Server {
    Server::start(&Settings::default()).expect("it starts")
}

/// What a program says that is told where the server is.
fn run(program: &str, server: &Server, args: &[&str]) -> String {
    let port = server.address().port().to_string();
    let output = Command::new(program)
        .args(["-h", "127.0.0.1", "-p", &port])
        .args(args)
        .output()
        .expect("it comes with redis-tools");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn redis_cli_works() {
    let server = start();
    let cli = |args: &[&str]| run("redis-cli", &server, args);
    assert_eq!(cli(&["set", "greeting", "hello", "ex", "100"]), "OK\n");
    assert_eq!(cli(&["-3", "get", "greeting"]), "hello\n");
    cli(&["mset", "user:1", "a", "user:2", "b"]);
    let scanned = cli(&["--scan", "--pattern", "user:*"]);
    assert_eq!(scanned.lines().count(), 2, "{scanned}");
    let big = cli(&["--bigkeys", "-i", "0"]);
    assert!(big.contains("3 strings with"), "{big}");
    let info = cli(&["info", "keyspace"]);
    assert!(info.contains("db0:keys=3,expires=1"), "{info}");
    assert!(cli(&["-3", "client", "list"]).contains("cmd=client|list"));
    assert!(cli(&["debug", "sleep", "0"]).contains("DEBUG command not allowed"));
}

#[test]
fn redis_benchmark_works() {
    let server = start();
    let said = run(
        "redis-benchmark",
        &server,
        &["-q", "-t", "get,set", "-n", "2000", "-c", "20"],
    );
    for word in ["SET: ", "GET: ", "requests per second"] {
        assert!(said.contains(word), "{said}");
    }
    run(
        "redis-benchmark",
        &server,
        &[
            "-q",
            "-3",
            "-t",
            "mset,incr,ping",
            "-n",
            "1000",
            "-P",
            "16",
            "-r",
            "50",
        ],
    );
    assert!(
        server.keys() > 50 && server.commands() > 6_000,
        "{} {}",
        server.keys(),
        server.commands()
    );
}

#[test]
fn the_crate_redis_works() -> RedisResult<()> {
    let server = start();
    for protocol in ["resp2", "resp3"] {
        let client = redis::Client::open(format!("{}/?protocol={protocol}", server.url()))?;
        let mut connection = client.get_connection()?;
        let () = connection.set_ex("a", 7, 100)?;
        assert_eq!(connection.incr::<_, _, i64>("a", 3)?, 10);
        let values: Vec<Option<String>> = connection.mget(&["a", "b"])?;
        assert_eq!(values, [Some("10".to_owned()), None]);
        assert!((1..=100).contains(&connection.ttl::<_, i64>("a")?));
        let (x, y): (i64, String) = redis::pipe()
            .incr("x", 1)
            .ignore()
            .cmd("STRLEN")
            .arg("a")
            .get("a")
            .query(&mut connection)?;
        assert_eq!((x, y.as_str()), (2, "10"));
        let keys: Vec<String> = connection
            .scan_match::<_, String>("a*")?
            .collect::<RedisResult<_>>()?;
        assert_eq!(keys, ["a"]);
    }
    let client = redis::Client::open(server.url())?;
    let (mut ears, mut mouth) = (client.get_connection()?, client.get_connection()?);
    let mut ears = ears.as_pubsub();
    ears.subscribe("news")?;
    ears.psubscribe("n*")?;
    assert_eq!(mouth.publish::<_, _, i64>("news", "rain")?, 2);
    let (one, two) = (ears.get_message()?, ears.get_message()?);
    assert_eq!(one.get_payload::<String>()?, "rain");
    assert_eq!((two.from_pattern(), two.get_channel_name()), (true, "news"));
    Ok(())
}
