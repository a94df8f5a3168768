//! The keeper's own side: what it has made, and how all of it goes.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::{Uid, User, getpid};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::processes::{descendants, seen, send, send_all};
use super::sweep::sweep;
use super::{Mending, Order, Pid, Program, Reply};

/// What folders of drills are called.
pub(super) const PREFIX: &str = "seawall-drill-";
/// The file in a folder that says what was made.
pub(super) const NOTES: &str = "made";
/// How long servers may take to end by themselves, and then by force.
const LAST_WORDS: Duration = Duration::from_secs(3);
const BY_FORCE: Duration = Duration::from_secs(10);
const GLANCE: Duration = Duration::from_millis(5);
/// The longest order.
const ORDER_MAX: usize = 1 << 20;

/// What a keeper writes down, so that the next one can clean up after it.
#[derive(Serialize, Deserialize)]
pub(super) enum Note {
    Keeper(Pid, u64),
    Process(Pid, u64),
    Lent(u64, Mending),
    Mended(u64),
}

struct Running {
    child: Child,
    name: String,
    quit: Signal,
    address: Option<SocketAddr>,
    ended: Option<String>,
}

struct Lent {
    mending: Mending,
    /// The connection over which it will be mended, if it needs one.
    line: Option<TcpStream>,
    until: Option<Instant>,
}

struct House {
    folder: PathBuf,
    notes: File,
    running: BTreeMap<Pid, Running>,
    lent: BTreeMap<u64, Lent>,
    next: u64,
}

/// Keeps house for whoever is at the other end of standard input and output, until that ends; then undoes everything.
/// Says on standard error what could not be undone.
///
/// # Errors
/// When it cannot begin.
pub fn serve() -> io::Result<bool> {
    // What is orphaned becomes the keeper's own, so that nothing that was ever started here gets out of its sight.
    nix::sys::prctl::set_child_subreaper(true).map_err(io::Error::from)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    // Whoever interrupts the drill interrupts the drill: the keeper ends when the drill has.
    runtime.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        for kind in [
            SignalKind::interrupt(),
            SignalKind::terminate(),
            SignalKind::hangup(),
        ] {
            // Once asked for, a signal no longer ends the process, also when nobody listens.
            drop(signal(kind)?);
        }
        io::Result::Ok(())
    })?;
    let swept = sweep();
    let orders = read_orders();
    let mut house = House::build()?;
    let left = house.keep(&orders);
    left.iter().chain(&swept).for_each(|line| tell(line));
    Ok(left.is_empty())
}

#[expect(clippy::print_stderr, reason = "nobody else is left to tell")]
fn tell(line: &str) {
    eprintln!("seawall keeper: {line}");
}

fn read_orders() -> Receiver<String> {
    let (sender, orders) = sync_channel(16);
    std::thread::spawn(move || {
        let mut input = io::stdin().lock();
        loop {
            let mut line = Vec::new();
            let whole = io::Read::take(&mut input, ORDER_MAX as u64).read_until(b'\n', &mut line);
            // An order that was not finished is not carried out.
            if whole.is_err() || line.pop() != Some(b'\n') {
                return;
            }
            if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
        }
    });
    orders
}

impl House {
    fn build() -> io::Result<House> {
        let me = Pid(getpid().as_raw());
        let started = seen(me).map_or(0, |seen| seen.started);
        let folder = std::env::temp_dir().join(format!("{PREFIX}{me}-{started}"));
        fs::create_dir(&folder)?;
        // Servers that run as somebody else have to get through, and need not see what else is here.
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o711))?;
        let notes = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(folder.join(NOTES))?;
        let mut house = House {
            folder,
            notes,
            running: BTreeMap::new(),
            lent: BTreeMap::new(),
            next: 0,
        };
        house.note(&Note::Keeper(me, started))?;
        Ok(house)
    }

    fn note(&mut self, note: &Note) -> io::Result<()> {
        let mut line = serde_json::to_vec(note)?;
        line.push(b'\n');
        self.notes.write_all(&line)
    }

    /// Carries out orders until there are none any more; says what is left.
    fn keep(&mut self, orders: &Receiver<String>) -> Vec<String> {
        loop {
            let now = Instant::now();
            let next = self.lent.values().filter_map(|lent| lent.until).min();
            let line = match next {
                None => orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(next) => orders.recv_timeout(next.saturating_duration_since(now)),
            };
            let order = match line {
                Ok(line) => serde_json::from_str(&line).map_err(|error| error.to_string()),
                Err(RecvTimeoutError::Timeout) => {
                    self.end_leases();
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return self.close(),
            };
            let closes = matches!(order, Ok(Order::Close));
            let reply = order
                .and_then(|order| self.carry_out(order))
                .unwrap_or_else(Reply::Refused);
            let left = match &reply {
                Reply::Closed(left) => left.clone(),
                _ => Vec::new(),
            };
            let told = serde_json::to_string(&reply).unwrap_or_default();
            let mut out = io::stdout().lock();
            // Nobody may be there any more; the next order says so.
            let _ = writeln!(out, "{told}").and_then(|()| out.flush());
            if closes {
                return left;
            }
        }
    }

    fn carry_out(&mut self, order: Order) -> Result<Reply, String> {
        let failed = |error: io::Error| error.to_string();
        Ok(match order {
            Order::Folder => Reply::Folder(self.folder.clone()),
            Order::Give { path, users } => {
                if let Some(user) = somebody(&users)? {
                    if !path.starts_with(&self.folder) {
                        return Err(format!("{} is not in the drill's folder", path.display()));
                    }
                    chown(&path, Some(user.uid.as_raw()), Some(user.gid.as_raw())).map_err(failed)?;
                }
                Reply::Done
            }
            Order::Start(program) => Reply::Started(self.start(&program)?),
            Order::End { pid, patience } => {
                self.end(pid, patience)?;
                Reply::Done
            }
            Order::Signal { pid, signal } => {
                self.signal(pid, &signal)?;
                Reply::Done
            }
            Order::Ended(pid) => {
                let running = self.running.get_mut(&pid).ok_or_else(|| unknown(pid))?;
                running.look();
                Reply::Ended(running.ended.clone())
            }
            Order::Lend { mending, after } => {
                let number = self.next;
                self.next += 1;
                // The next keeper would not dare to talk to a server of which it knows nothing but an address, and a
                // password belongs into no file.
                if !matches!(mending, Mending::Redis { .. }) {
                    self.note(&Note::Lent(number, mending.clone())).map_err(failed)?;
                }
                let line = mending.line();
                let until = after.map(|after| Instant::now() + after);
                self.lent.insert(number, Lent { mending, line, until });
                Reply::Lent(number)
            }
            Order::Mend(number) => {
                self.mend(number)?;
                Reply::Done
            }
            Order::Close => Reply::Closed(self.close()),
        })
    }

    fn start(&mut self, program: &Program) -> Result<Pid, String> {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if program.name.is_empty() || !program.name.chars().all(fits) {
            return Err(format!("{:?} is no name for a program", program.name));
        }
        let failed = |error: io::Error| {
            format!(
                "failed to start {} ({}): {error}",
                program.name,
                program.file.display()
            )
        };
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.join(format!("{}.log", program.name)))
            .map_err(failed)?;
        let quit = signal_named(program.quit.as_deref().unwrap_or("TERM"))?;
        let mut command = Command::new(&program.file);
        command
            .args(&program.args)
            .envs(&program.env)
            .current_dir(program.folder.as_ref().unwrap_or(&self.folder))
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(failed)?)
            .stderr(log)
            .process_group(0);
        if let Some(user) = somebody(&program.users)? {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        let child = command.spawn().map_err(failed)?;
        let pid = Pid(i32::try_from(child.id()).map_err(|error| failed(io::Error::other(error)))?);
        let started = seen(pid).map_or(0, |seen| seen.started);
        self.running.insert(
            pid,
            Running {
                child,
                name: program.name.clone(),
                quit,
                address: program.address,
                ended: None,
            },
        );
        self.note(&Note::Process(pid, started)).map_err(failed)?;
        for cgroup in &program.cgroups {
            fs::write(cgroup.join("cgroup.procs"), pid.to_string()).map_err(failed)?;
        }
        Ok(pid)
    }

    fn end(&mut self, pid: Pid, patience: Duration) -> Result<(), String> {
        let running = self.running.get_mut(&pid).ok_or_else(|| unknown(pid))?;
        send_all(pid, Signal::SIGCONT)?;
        send(pid, running.quit)?;
        let begun = Instant::now();
        while running.look() && begun.elapsed() < patience {
            sleep(GLANCE);
        }
        let begun = Instant::now();
        while running.look() && begun.elapsed() < BY_FORCE {
            for each in descendants(pid) {
                send(each, Signal::SIGKILL)?;
            }
            send(pid, Signal::SIGKILL)?;
            sleep(GLANCE);
        }
        if running.look() {
            return Err(format!("{} (process {pid}) does not end", running.name));
        }
        Ok(())
    }

    fn signal(&mut self, pid: Pid, name: &str) -> Result<(), String> {
        let signal = signal_named(name)?;
        let running = self.running.get_mut(&pid).ok_or_else(|| unknown(pid))?;
        if !running.look() {
            return Err(format!("{} (process {pid}) has ended", running.name));
        }
        match signal {
            Signal::SIGSTOP => {
                send_all(pid, signal)?;
                running.stands_still(pid)
            }
            Signal::SIGCONT => send_all(pid, signal),
            _ => send(pid, signal),
        }
    }

    fn mend(&mut self, number: u64) -> Result<(), String> {
        let Some(lent) = self.lent.get_mut(&number) else {
            return Ok(());
        };
        let line = lent.line.take();
        lent.mending.carry_out(line)?;
        self.lent.remove(&number);
        // What is noted as lent and not as mended is only mended once more.
        let _ = self.note(&Note::Mended(number));
        Ok(())
    }

    fn end_leases(&mut self) {
        let now = Instant::now();
        let ended = |lent: &Lent| lent.until.is_some_and(|until| until <= now);
        let due: Vec<u64> = self
            .lent
            .iter()
            .filter(|(_, lent)| ended(lent))
            .map(|(number, _)| *number)
            .collect();
        for number in due {
            if self.mend(number).is_err()
                && let Some(lent) = self.lent.get_mut(&number)
            {
                // Once more when all is undone.
                lent.until = None;
            }
        }
    }

    /// Undoes everything; says what is left.
    fn close(&mut self) -> Vec<String> {
        let mut left = Vec::new();
        let own: Vec<SocketAddr> = self.running.values().filter_map(|each| each.address).collect();
        self.end_all(&mut left);
        for (_, lent) in std::mem::take(&mut self.lent).into_iter().rev() {
            // A server of ours has taken its settings with it.
            let went = match &lent.mending {
                Mending::Redis { address, .. } => own.contains(address),
                Mending::Continue(pid) => seen(*pid).is_none(),
                _ => false,
            };
            if !went {
                left.extend(lent.mending.carry_out(lent.line).err());
            }
        }
        if let Err(error) = fs::remove_dir_all(&self.folder)
            && error.kind() != io::ErrorKind::NotFound
        {
            left.push(format!("failed to remove {}: {error}", self.folder.display()));
        }
        left
    }

    fn end_all(&mut self, left: &mut Vec<String>) {
        for (pid, running) in &mut self.running {
            if running.look() {
                left.extend(send_all(*pid, Signal::SIGCONT).err());
                left.extend(send(*pid, running.quit).err());
            }
        }
        let begun = Instant::now();
        while self.running.values_mut().any(Running::look) && begun.elapsed() < LAST_WORDS {
            sleep(GLANCE);
        }
        // All that was ever started here and still runs is a descendant now.
        let me = Pid(getpid().as_raw());
        let begun = Instant::now();
        loop {
            self.running.values_mut().for_each(|running| {
                running.look();
            });
            let still = descendants(me);
            if still.is_empty() {
                return;
            }
            if begun.elapsed() > BY_FORCE {
                left.extend(still.iter().map(|pid| format!("process {pid} does not end")));
                return;
            }
            for pid in still {
                left.extend(send(pid, Signal::SIGKILL).err());
            }
            sleep(GLANCE);
        }
    }
}

impl Running {
    /// Whether it runs.
    fn look(&mut self) -> bool {
        if self.ended.is_none() {
            self.ended = match self.child.try_wait() {
                Ok(None) => None,
                Ok(Some(status)) => Some(status.to_string()),
                Err(error) => Some(error.to_string()),
            };
        }
        self.ended.is_none()
    }

    /// Waits until it is stopped: a signal is only taken when the process next has its turn on a processor.
    fn stands_still(&mut self, pid: Pid) -> Result<(), String> {
        let begun = Instant::now();
        while self.look() && !seen(pid).is_some_and(|seen| seen.stopped) {
            if begun.elapsed() > BY_FORCE {
                return Err(format!("{} (process {pid}) does not stop", self.name));
            }
            sleep(GLANCE);
        }
        Ok(())
    }
}

fn unknown(pid: Pid) -> String {
    format!("process {pid} was not started here")
}

fn signal_named(name: &str) -> Result<Signal, String> {
    Ok(match name {
        "KILL" => Signal::SIGKILL,
        "STOP" => Signal::SIGSTOP,
        "CONT" => Signal::SIGCONT,
        "TERM" => Signal::SIGTERM,
        "QUIT" => Signal::SIGQUIT,
        "HUP" => Signal::SIGHUP,
        "INT" => Signal::SIGINT,
        _ => return Err(format!("no such signal: {name}")),
    })
}

/// The first of these users that there is, when this is root.
fn somebody(users: &[String]) -> Result<Option<User>, String> {
    if users.is_empty() || !Uid::effective().is_root() {
        return Ok(None);
    }
    let named = |name: &String| User::from_name(name).ok().flatten();
    let found = users.iter().find_map(named);
    found.map(Some).ok_or_else(|| {
        format!(
            "this must not run as root, and there is no user {}",
            users.join(" or ")
        )
    })
}
