//! The process that cleans up, whatever becomes of the one that made the mess.
//!
//! A drill starts servers, stops them in their tracks, fills disks and takes processors away. If it were itself to be
//! killed in the middle, nobody would be left who knows what to undo. So it does none of that itself: it asks its
//! *keeper*, a process of its own, over a pipe. The keeper makes the folders, starts the servers, so that they are its
//! children, and knows how each thing is undone. When the pipe closes, for whatever reason, it undoes all of it.
//!
//! A [`Keeper`] is the drill's end of the pipe. [`serve`] is the other end: `seawall` runs it when it is started as
//! `seawall keeper`, which is what [`Keeper::start`] does.
//!
//! What is only borrowed (a frozen server, a full disk) is a *lease*: it ends by itself after its time, also when nobody
//! says so. Should the keeper itself be killed, the next one that starts finds what it has left (see [`sweep`]).

mod house;
mod mending;
mod processes;
mod sweep;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use house::serve;
pub use processes::Pid;
pub(crate) use processes::descendants;
pub use sweep::sweep;

/// The keeper could not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// It does not run, or has ended.
    #[error("the process that cleans up {0}")]
    Gone(String),
    /// It says why not.
    #[error("{0}")]
    Refused(String),
}

/// A program to start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// What it is called in messages and what its log is named after: letters, digits and dashes.
    pub name: String,
    /// The file, looked for in `PATH` when it has no slash.
    pub file: PathBuf,
    /// What it is told.
    pub args: Vec<String>,
    /// What is added to its environment. Secrets belong here and not into `args`, which everybody can read.
    pub env: BTreeMap<String, String>,
    /// Where it runs; the drill's folder when this is not said.
    pub folder: Option<PathBuf>,
    /// As whom it runs, if it must not be root: the first of these that there is, and only when Seawall is root itself.
    pub users: Vec<String>,
    /// The signal that ends it (`TERM` when this is not said).
    pub quit: Option<String>,
    /// Where it will listen, if it is a server.
    pub address: Option<std::net::SocketAddr>,
    /// The cgroups that it runs in, as folders below `/sys/fs/cgroup`.
    pub cgroups: Vec<PathBuf>,
}

/// What is undone when its time comes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mending {
    /// A stopped process and all that it has started go on.
    Continue(Pid),
    /// Commands to a Redis, each on a fresh connection, in this order. `login` is sent first.
    Redis {
        /// Where it listens.
        address: std::net::SocketAddr,
        /// `AUTH` with these words, when there are any.
        login: Vec<String>,
        /// Each command as its words.
        commands: Vec<Vec<String>>,
    },
    /// A control group is emptied into its parent and removed.
    Cgroup(PathBuf),
    /// A file gets this content (a cgroup's limit, a setting below `/proc`).
    File(PathBuf, String),
    /// A file system is unmounted.
    Mount(PathBuf),
    /// A file is removed.
    Remove(PathBuf),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Order {
    Folder,
    Give {
        path: PathBuf,
        users: Vec<String>,
    },
    Start(Program),
    End {
        pid: Pid,
        patience: Duration,
    },
    Signal {
        pid: Pid,
        signal: String,
    },
    Ended(Pid),
    Lend {
        mending: Mending,
        after: Option<Duration>,
    },
    Mend(u64),
    Close,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Reply {
    Done,
    Folder(PathBuf),
    Started(Pid),
    Ended(Option<String>),
    Lent(u64),
    /// What could not be undone.
    Closed(Vec<String>),
    Refused(String),
}

/// The drill's end of the pipe. When it is dropped, everything is undone.
pub struct Keeper {
    pipe: Mutex<Pipe>,
    folder: PathBuf,
}

struct Pipe {
    child: Child,
    orders: Option<ChildStdin>,
    replies: BufReader<ChildStdout>,
}

impl Keeper {
    /// Starts one: `program` with `args` has to run [`serve`].
    ///
    /// # Errors
    /// When the program cannot be started or does not answer as a keeper does.
    pub fn start(program: &Path, args: &[&str]) -> Result<Keeper, Broken> {
        let mut child = Command::new(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A group of its own: what the terminal sends to the drill is not for the keeper.
            .process_group(0)
            .spawn()
            .map_err(|error| Broken::Gone(format!("does not start: {error}")))?;
        let (Some(orders), Some(replies)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Broken::Gone("has no pipe".into()));
        };
        let mut keeper = Keeper {
            pipe: Mutex::new(Pipe {
                child,
                orders: Some(orders),
                replies: BufReader::new(replies),
            }),
            folder: PathBuf::new(),
        };
        match keeper.ask(&Order::Folder)? {
            Reply::Folder(folder) => keeper.folder = folder,
            other => return Err(strange(&other)),
        }
        Ok(keeper)
    }

    /// The drill's own folder, which goes when all goes.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Gives a path below the folder to the first of these users that there is, if Seawall is root.
    ///
    /// # Errors
    /// When it cannot be given.
    pub fn give(&self, path: &Path, users: &[String]) -> Result<(), Broken> {
        let (path, users) = (path.to_owned(), users.to_vec());
        self.done(&Order::Give { path, users })
    }

    /// Starts a program. Its output goes to `NAME.log` in the folder.
    ///
    /// # Errors
    /// When it does not start.
    pub fn run(&self, program: &Program) -> Result<Pid, Broken> {
        match self.ask(&Order::Start(program.clone()))? {
            Reply::Started(pid) => Ok(pid),
            other => Err(strange(&other)),
        }
    }

    /// Ends a program that was started here: politely, and after `patience` by force.
    ///
    /// # Errors
    /// When the keeper is gone.
    pub fn end(&self, pid: Pid, patience: Duration) -> Result<(), Broken> {
        self.done(&Order::End { pid, patience })
    }

    /// Sends a signal (`KILL`, `STOP`, `CONT`, `TERM`, `QUIT`, `HUP`, `INT`) to a program that was started here, and with
    /// `STOP` and `CONT` to all that it has started itself.
    ///
    /// # Errors
    /// When there is no such program.
    pub fn signal(&self, pid: Pid, signal: &str) -> Result<(), Broken> {
        let signal = signal.to_owned();
        self.done(&Order::Signal { pid, signal })
    }

    /// How a program has ended; nothing while it runs.
    ///
    /// # Errors
    /// When there is no such program.
    pub fn ended(&self, pid: Pid) -> Result<Option<String>, Broken> {
        match self.ask(&Order::Ended(pid))? {
            Reply::Ended(how) => Ok(how),
            other => Err(strange(&other)),
        }
    }

    /// Notes how something is undone *before* it is done: at the end, or after this time.
    ///
    /// # Errors
    /// When the keeper is gone: then it must not be done.
    pub fn lend(&self, mending: Mending, after: Option<Duration>) -> Result<u64, Broken> {
        match self.ask(&Order::Lend { mending, after })? {
            Reply::Lent(number) => Ok(number),
            other => Err(strange(&other)),
        }
    }

    /// Undoes something now. Doing so twice is no mistake.
    ///
    /// # Errors
    /// When it could not be undone.
    pub fn mend(&self, number: u64) -> Result<(), Broken> {
        self.done(&Order::Mend(number))
    }

    /// Undoes everything and ends; says what could not be undone.
    ///
    /// # Errors
    /// When the keeper has ended before.
    pub fn close(self) -> Result<Vec<String>, Broken> {
        match self.ask(&Order::Close)? {
            Reply::Closed(left) => Ok(left),
            other => Err(strange(&other)),
        }
    }

    fn done(&self, order: &Order) -> Result<(), Broken> {
        match self.ask(order)? {
            Reply::Done => Ok(()),
            other => Err(strange(&other)),
        }
    }

    fn ask(&self, order: &Order) -> Result<Reply, Broken> {
        let gone = |error: &dyn std::fmt::Display| Broken::Gone(format!("is gone: {error}"));
        let mut pipe = self.pipe();
        let mut line = serde_json::to_string(order).map_err(|error| gone(&error))?;
        line.push('\n');
        let orders = pipe.orders.as_mut().ok_or_else(|| gone(&"it was closed"))?;
        orders.write_all(line.as_bytes()).map_err(|error| gone(&error))?;
        let mut said = String::new();
        pipe.replies.read_line(&mut said).map_err(|error| gone(&error))?;
        let reply = serde_json::from_str(&said).map_err(|error| gone(&error))?;
        match reply {
            Reply::Refused(why) => Err(Broken::Refused(why)),
            reply => Ok(reply),
        }
    }

    fn pipe(&self) -> MutexGuard<'_, Pipe> {
        self.pipe
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let mut pipe = self.pipe();
        // The end of its orders: it undoes everything and ends, and only then is all as it was.
        pipe.orders = None;
        let _ = pipe.child.wait();
    }
}

fn strange(reply: &Reply) -> Broken {
    Broken::Gone(format!("answered something else: {reply:?}"))
}
