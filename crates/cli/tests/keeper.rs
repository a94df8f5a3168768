//! The process that cleans up after a drill, with real servers, and drills that are killed.

#[path = "support/psql.rs"]
mod psql;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use seawall_core::dist::Dist;
use seawall_core::processor::Curve;
use seawall_core::rng::Seed;
use seawall_core::time::Span;
use seawall_drill::inject::cgroup::{Cgroups, Controller};
use seawall_drill::inject::disk::Small;
use seawall_drill::inject::process;
use seawall_drill::inject::redis::{self, Server};
use seawall_drill::keeper::{Keeper, Mending, Program};
use seawall_drill::paced::{Node, Paced, Speed};
use seawall_drill::stack::{Postgres, Redis};
use tokio::time::Instant;

use psql::psql;

const SEAWALL: &str = env!("CARGO_BIN_EXE_seawall");
/// Set in the process that plays the drill which is killed, to the address of a Redis that is not its own.
const PLAYED: &str = "SEAWALL_TEST_PLAYED";
const PATIENCE: Duration = Duration::from_secs(30);

fn keeper() -> Keeper {
    Keeper::start(Path::new(SEAWALL), &["keeper"]).expect("a keeper")
}

/// A folder for temporary files of one test alone.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str) -> Temporary {
        let path = std::env::temp_dir().join(format!("seawall-test-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("our own folder");
        Temporary(path)
    }

    /// Processes that run in this folder.
    fn processes(&self) -> Vec<String> {
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").expect("Linux").flatten() {
            let is_here = fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(&self.0));
            if is_here {
                let words = fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
                found.push(words.replace('\0', " "));
            }
        }
        found
    }

    fn files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.0).expect("a folder").flatten();
        entries.map(|entry| entry.path()).collect()
    }

    /// Waits until nothing is left here.
    fn is_left_clean(&self) {
        let begun = Instant::now();
        while !(self.processes().is_empty() && self.files().is_empty()) {
            assert!(
                begun.elapsed() < PATIENCE,
                "left behind: {:?} {:?}",
                self.processes(),
                self.files()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Whether a process is stopped, runs, or is not there.
fn state(pid: i32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

#[tokio::test]
async fn real_servers_start_stop_end_and_leave_nothing() {
    let keeper = keeper();
    let folder = keeper.folder().to_owned();
    let redis = Redis::start(&keeper, "redis", &[("maxmemory", "10mb")])
        .await
        .expect("a Redis");
    let postgres = Postgres::start(&keeper, "postgres", &[])
        .await
        .expect("a PostgreSQL");
    let before = redis.pid();
    redis.kill(&keeper).expect("it ends");
    assert!(state(before.0).is_none_or(|state| state == 'Z'));
    redis.restart(&keeper).await.expect("a Redis on the same port");
    assert_ne!(redis.pid(), before);
    postgres.kill(&keeper).expect("it ends");
    postgres
        .restart(&keeper)
        .await
        .expect("a PostgreSQL on the same port");
    for pid in [redis.pid(), postgres.pid()] {
        keeper.signal(pid, "STOP").expect("it is running");
        assert_eq!(state(pid.0), Some('T'));
    }
    let (one, other) = (redis.pid(), postgres.pid());
    assert_eq!(keeper.close().expect("the keeper"), Vec::<String>::new());
    for pid in [one, other] {
        assert_eq!(state(pid.0), None, "stopped servers are ended as well");
    }
    assert!(!folder.exists());
}

#[test]
fn a_lease_ends_by_itself_and_what_is_undone_twice_is_undone_once() {
    let keeper = keeper();
    let file = keeper.folder().join("limit");
    fs::write(&file, "20%").expect("our own folder");
    let undone = Mending::File(file.clone(), "100%".into());
    let held = keeper.lend(undone.clone(), None).expect("a keeper");
    let lease = keeper
        .lend(undone, Some(Duration::from_millis(50)))
        .expect("a keeper");
    let begun = Instant::now();
    while fs::read_to_string(&file).expect("the file") != "100%" {
        assert!(begun.elapsed() < PATIENCE, "a lease without end");
        std::thread::sleep(Duration::from_millis(5));
    }
    fs::write(&file, "20%").expect("our own folder");
    keeper.mend(lease).expect("it is already undone");
    assert_eq!(fs::read_to_string(&file).expect("the file"), "20%");
    keeper.mend(held).expect("it can be undone");
    assert_eq!(fs::read_to_string(&file).expect("the file"), "100%");
}

#[test]
fn no_password_is_written_down() {
    let keeper = keeper();
    let undone = Mending::Redis {
        address: "127.0.0.1:1".parse().expect("an address"),
        login: vec!["open-sesame".into()],
        commands: vec![vec!["PING".into()]],
    };
    let number = keeper.lend(undone, None).expect("a keeper");
    let file = keeper.folder().join("made");
    let made = fs::read_to_string(&file).expect("what was made");
    assert!(made.contains("Keeper") && !made.contains("sesame"), "{made}");
    let permissions = fs::metadata(&file).expect("a file").permissions().mode();
    assert_eq!(permissions & 0o077, 0, "nobody else reads it");
    let error = keeper.mend(number).expect_err("nobody listens").to_string();
    assert!(
        error.starts_with("failed to send PING to Redis at 127.0.0.1:1"),
        "{error}"
    );
    assert!(!error.contains("sesame"), "{error}");
    let left = keeper.close().expect("a keeper");
    assert!(left.len() == 1 && !left[0].contains("sesame"), "{left:?}");
}

#[tokio::test]
async fn a_real_postgres_is_as_slow_as_it_should_be() {
    let keeper = keeper();
    let postgres = Postgres::start(&keeper, "postgres", &[])
        .await
        .expect("a PostgreSQL");
    let node = Node::new(Some(1), Some(1), Curve::Servers(1.0));
    let speed = Speed {
        read: Dist::Fixed(Span::millis(400)),
        write: Dist::Fixed(Span::millis(50)),
        timeout: Some(Span::millis(700)),
    };
    let paced = Paced::start(postgres.address(), node.clone(), speed, Seed(1))
        .await
        .expect("a free port");
    let (door, server) = (paced.address(), postgres.address());
    let table = "CREATE TABLE items (key int PRIMARY KEY, value text)";
    assert_eq!(psql(door, table).await.0, "CREATE TABLE");
    let (said, took) = psql(door, "INSERT INTO items VALUES (7, 'seven')").await;
    assert!(
        said == "INSERT 0 1" && took >= Duration::from_millis(50),
        "{said} {took:?}"
    );
    let read = "SELECT value FROM items WHERE key = 7";
    let (said, took) = psql(door, read).await;
    assert!(
        said == "seven" && took >= Duration::from_millis(400),
        "{said} {took:?}"
    );
    // An error is the server's own.
    let (said, _) = psql(door, "SELECT nothing FROM items").await;
    assert!(said.contains("42703"), "{said}");
    // One has the connection, one waits for it until it is too old, and the next finds no place in the line.
    let first = tokio::spawn(psql(door, read));
    until(|| node.inside() == (1, 0)).await;
    let second = tokio::spawn(psql(door, read));
    until(|| node.inside() == (1, 1)).await;
    let (said, _) = psql(door, read).await;
    assert!(said.contains("53300"), "{said}");
    assert_eq!(first.await.expect("it ends").0, "seven");
    let (said, took) = second.await.expect("it ends");
    assert!(
        said.contains("57014") && took >= Duration::from_millis(700),
        "{said} {took:?}"
    );
    // Within a transaction nothing is cut, for the server would not know of it.
    let (said, _) = psql(door, "BEGIN; SELECT value FROM items WHERE key = 7; COMMIT").await;
    assert!(said.contains("seven"), "{said}");
    assert_eq!(psql(server, read).await.0, "seven");
    assert_eq!(node.inside(), (0, 0));
    keeper.signal(postgres.pid(), "STOP").expect("it is running");
    let hung = tokio::time::timeout(Duration::from_secs(1), psql(door, read)).await;
    assert!(hung.is_err(), "what hangs behind the door hangs");
    keeper.signal(postgres.pid(), "CONT").expect("it is running");
    assert_eq!(psql(door, read).await.0, "seven", "and goes on when it does");
}

async fn until(mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "it does not come to that");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[test]
fn what_cannot_be_done_is_refused_with_the_reason() {
    let keeper = keeper();
    let program = |name: &str, file: &str| Program {
        name: name.into(),
        file: file.into(),
        ..Program::default()
    };
    let said = |program: &Program| keeper.run(program).expect_err("a refusal").to_string();
    assert!(said(&program("gone", "/no/such/file")).contains("failed to start gone (/no/such/file)"));
    assert!(said(&program("../up", "true")).contains("no name for a program"));
    let out = Mending::Remove(keeper.folder().join("none"));
    let number = keeper.lend(out, None).expect("a keeper");
    keeper.mend(number).expect("what is not there needs no removing");
    let cgroup = keeper.folder().join("made");
    let number = keeper.lend(Mending::Cgroup(cgroup), None).expect("a keeper");
    let error = keeper.mend(number).expect_err("a file is no cgroup").to_string();
    assert!(error.contains("failed to remove the cgroup"), "{error}");
    let left = keeper.close().expect("a keeper");
    assert!(
        left.len() == 1 && left[0].contains("failed to remove the cgroup"),
        "{left:?}"
    );
}

#[test]
fn a_process_that_hides_behind_another_is_found() {
    let temporary = Temporary::new("orphans");
    let keeper = keeper();
    let shell = Program {
        name: "shell".into(),
        file: "sh".into(),
        // Its grandchild outlives it, in a session of its own, and does not listen to SIGTERM.
        args: ["-c", "trap '' TERM; setsid sleep 600 & exit 0"]
            .map(str::to_owned)
            .to_vec(),
        folder: Some(temporary.0.clone()),
        ..Program::default()
    };
    let pid = keeper.run(&shell).expect("a shell");
    while keeper.ended(pid).expect("a keeper").is_none() {
        std::thread::sleep(Duration::from_millis(5));
    }
    while !temporary
        .processes()
        .iter()
        .any(|words| words.starts_with("sleep"))
    {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(keeper.close().expect("the keeper"), Vec::<String>::new());
    assert_eq!(temporary.processes(), Vec::<String>::new());
}

/// Longer than any test.
const LONG: Duration = Duration::from_mins(10);

/// Not a test of its own: what the next test starts and kills.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn played_drill() {
    let Some(stranger) = std::env::var(PLAYED).ok() else {
        return;
    };
    let keeper = Arc::new(keeper());
    // A server that is not the drill's own, and stays when the drill is gone.
    let stranger = Server::at(stranger.parse().expect("an address"));
    let mut faults = vec![
        redis::out_of_memory(&keeper, &stranger, LONG)
            .await
            .expect("a Redis"),
        redis::read_only(&keeper, &stranger, LONG).await.expect("a Redis"),
        redis::too_many_clients(&keeper, &stranger, LONG)
            .await
            .expect("a Redis"),
    ];
    let own = if is_root() {
        // The server's folder is on a small disk.
        let disk = Small::mount(&keeper, &keeper.folder().join("redis"), 4 << 20, &[])
            .await
            .expect("root");
        let group = Cgroups::of_this_machine()
            .group(&keeper, Controller::Processor, "killed")
            .await
            .expect("root");
        let own = Redis::start(&keeper, "redis", &[("save", "3600 1")])
            .await
            .expect("a Redis");
        group.adopt(own.pid()).expect("our own process");
        faults.push(group.throttle(0.5, LONG).await.expect("root"));
        let server = Server::at(own.address());
        let full = redis::disk_full(&keeper, &server, &disk, LONG).await;
        faults.push(full.expect("a small disk"));
        own
    } else {
        Redis::start(&keeper, "redis", &[]).await.expect("a Redis")
    };
    let server = Server::at(own.address());
    faults.push(redis::pause(&server, LONG).await.expect("a Redis"));
    let postgres = Postgres::start(&keeper, "postgres", &[])
        .await
        .expect("a PostgreSQL");
    faults.push(
        process::stop(&keeper, &[(&own).into(), (&postgres).into()], LONG)
            .await
            .expect("they run"),
    );
    std::future::pending::<()>().await;
}

/// Small disks and control groups are for root alone.
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// What a Redis answers to a line on a new connection; nothing when it cuts it off.
fn said(address: SocketAddr, line: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("somebody listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("it is no zero");
    let mut said = [0; 256];
    let heard = writeln!(stream, "{line}\r").and_then(|()| stream.read(&mut said));
    String::from_utf8_lossy(&said[..heard.unwrap_or(0)]).into_owned()
}

fn is_well(stranger: SocketAddr) -> bool {
    said(stranger, "SET a 1").starts_with("+OK")
        && said(stranger, "CONFIG GET maxmemory").ends_with("maxmemory\r\n$1\r\n0\r\n")
        && said(stranger, "CONFIG GET maxclients").contains("\r\n777\r\n")
}

/// Control groups of drills whose group has the name that the played drill gives it.
fn groups() -> Vec<PathBuf> {
    let roots = [
        "/sys/fs/cgroup/cpu",
        "/sys/fs/cgroup/cpu,cpuacct",
        "/sys/fs/cgroup",
    ];
    let all = roots
        .iter()
        .filter_map(|root| fs::read_dir(root).ok())
        .flatten()
        .flatten();
    all.map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().ends_with("-killed"))
        .collect()
}

#[tokio::test]
async fn a_drill_that_is_killed_at_any_moment_leaves_nothing() {
    let temporary = Temporary::new("killed");
    let keeper = keeper();
    let settings = [("maxclients", "777")];
    let stranger = Redis::start(&keeper, "stranger", &settings)
        .await
        .expect("a Redis");
    let stranger = stranger.address();
    let mut felt = 0;
    // From before the keeper is there to long after all servers are.
    for round in 0..12_u64 {
        let mut drill = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "played_drill", "--nocapture"])
            .env(PLAYED, stranger.to_string())
            .env("TMPDIR", &temporary.0)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("this test once more");
        std::thread::sleep(Duration::from_millis(round * round * 20));
        felt += u32::from(!is_well(stranger) && groups().is_empty() != is_root());
        drill.kill().expect("it is our child");
        let how = drill.wait().expect("it is our child");
        assert_eq!(how.signal(), Some(9), "round {round}: it was still running");
        temporary.is_left_clean();
        let begun = Instant::now();
        while !is_well(stranger) || !groups().is_empty() {
            assert!(begun.elapsed() < PATIENCE, "round {round}: {:?}", groups());
            std::thread::sleep(Duration::from_millis(5));
        }
        let mounts = fs::read_to_string("/proc/self/mounts").expect("Linux");
        assert!(!mounts.contains(&*temporary.0.to_string_lossy()), "{mounts}");
    }
    assert!(felt > 0, "no drill came so far as to break anything");
}

#[test]
fn a_keeper_that_was_killed_before_its_first_note_leaves_no_folder_for_long() {
    let temporary = Temporary::new("empty");
    let mut gone = Command::new("true").spawn().expect("a program");
    gone.wait().expect("it is our child");
    let stat = fs::read_to_string("/proc/self/stat").expect("Linux");
    let started = stat.rsplit_once(") ").expect("its name").1.split(' ').nth(19);
    let folder = |pid: u32, started: &str| temporary.0.join(format!("seawall-drill-{pid}-{started}"));
    let left = folder(gone.id(), "1");
    // One whose keeper runs, one of a process that has the number of another one now, and one that is no drill's.
    let own = folder(std::process::id(), started.expect("its start"));
    let reused = folder(std::process::id(), "1");
    let other = temporary.0.join("seawall-drill-notes");
    for folder in [&left, &own, &reused, &other] {
        fs::create_dir(folder).expect("our own folder");
    }
    let mut next = Command::new(SEAWALL)
        .arg("keeper")
        .env("TMPDIR", &temporary.0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("a keeper");
    assert!(next.wait().expect("it is our child").success());
    assert!(!left.exists() && !reused.exists());
    assert!(own.exists() && other.exists());
}

#[test]
fn a_keeper_that_was_killed_is_cleaned_up_after_by_the_next() {
    let temporary = Temporary::new("swept");
    let start = || {
        Command::new(SEAWALL)
            .arg("keeper")
            .env("TMPDIR", &temporary.0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a keeper")
    };
    let mut first = start();
    let order = r#"{"Start":{"name":"sleep","file":"sleep","args":["600"],"env":{},"folder":null,"users":[],"quit":null,"address":null,"cgroups":[]}}"#;
    writeln!(first.stdin.as_mut().expect("a pipe"), "{order}").expect("it listens");
    let mut said = String::new();
    let mut replies = BufReader::new(first.stdout.take().expect("a pipe"));
    replies.read_line(&mut said).expect("it answers");
    assert!(said.contains("Started"), "{said}");
    first.kill().expect("it is our child");
    first.wait().expect("it is our child");
    assert_eq!(temporary.processes().len(), 1, "nobody cleans up");
    let mut second = start();
    drop(second.stdin.take());
    assert!(second.wait().expect("it is our child").success());
    temporary.is_left_clean();
}
