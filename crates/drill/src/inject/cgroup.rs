//! Processors and memory taken away, by control groups of either version (cgroups(7)).
//!
//! A group is made before the servers are started that are to be in it ([`Group::path`] goes into
//! [`Program::cgroups`]), or takes them over while they run ([`Group::adopt`]). It limits nothing until it is told to.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::lease::{Lease, ask};
use super::{Answer, Evidence, Failed, Fault, GLANCE, Injection, NoEffect, NotUndone, Refused, until};
use crate::keeper::{Keeper, Mending, Pid, Program, descendants};

/// The period of a quota: the group may run for its part of each and stands still for the rest. Shorter than the usual
/// 100 ms, so that a server is slow all the time instead of standing still now and then.
const PERIOD_US: u64 = 20_000;
/// No quota is shorter (the kernel's own bound).
const QUOTA_MIN_US: u64 = 1_000;
/// How long it is looked for a group that is held back.
const LOOK: Duration = Duration::from_secs(4);
/// And how long of it without helping.
const PATIENCE: Duration = Duration::from_millis(500);

/// What a group limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Controller {
    /// Time on processors.
    Processor,
    /// Memory.
    Memory,
}

impl Controller {
    fn name(self) -> &'static str {
        match self {
            Controller::Processor => "cpu",
            Controller::Memory => "memory",
        }
    }
}

/// The two interfaces that Linux has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Version {
    fn limit_file(self, controller: Controller) -> &'static str {
        match (self, controller) {
            (Version::One, Controller::Processor) => "cpu.cfs_quota_us",
            (Version::Two, Controller::Processor) => "cpu.max",
            (Version::One, Controller::Memory) => "memory.limit_in_bytes",
            (Version::Two, Controller::Memory) => "memory.max",
        }
    }
}

/// Where this machine lets groups be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cgroups {
    processor: Option<(Version, PathBuf)>,
    memory: Option<(Version, PathBuf)>,
}

impl Cgroups {
    /// As it is on this machine.
    pub fn of_this_machine() -> Cgroups {
        Cgroups::read(&fs::read_to_string("/proc/self/mounts").unwrap_or_default())
    }

    /// From a list of mounts, as `/proc/self/mounts` spells it. Where a machine has both versions, a controller is of
    /// the first unless the second has it.
    pub fn read(mounts: &str) -> Cgroups {
        let mut found = Cgroups::default();
        for line in mounts.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let [_, at, kind, options, ..] = words[..] else {
                continue;
            };
            let at = PathBuf::from(at);
            for controller in [Controller::Processor, Controller::Memory] {
                let version = match kind {
                    "cgroup" if options.split(',').any(|option| option == controller.name()) => Version::One,
                    "cgroup2" if listed(&at.join("cgroup.controllers"), controller) => Version::Two,
                    _ => continue,
                };
                *found.place(controller) = Some((version, at.clone()));
            }
        }
        found
    }

    fn place(&mut self, controller: Controller) -> &mut Option<(Version, PathBuf)> {
        match controller {
            Controller::Processor => &mut self.processor,
            Controller::Memory => &mut self.memory,
        }
    }

    /// Makes a group that goes with the drill.
    ///
    /// # Errors
    /// When this machine has no such controller, or does not let groups be made.
    pub async fn group(
        &self,
        keeper: &Arc<Keeper>,
        controller: Controller,
        name: &str,
    ) -> Result<Group, Refused> {
        let name = format!("{}-{name}", drill_of(keeper));
        let (version, root) = self.clone().place(controller).clone().ok_or_else(|| {
            Refused::Impossible(format!(
                "this machine has no control groups for {}, neither of version 1 nor of 2",
                controller.name()
            ))
        })?;
        let refused = |what: &Path, error: &std::io::Error| {
            Refused::Impossible(format!(
                "no control group for {} can be made here: {}: {error}",
                controller.name(),
                what.display()
            ))
        };
        if version == Version::Two {
            let file = root.join("cgroup.subtree_control");
            if !listed(&file, controller) {
                let back = Mending::File(file.clone(), format!("-{}", controller.name()));
                Lease::for_all(keeper, back).await?;
                fs::write(&file, format!("+{}", controller.name()))
                    .map_err(|error| refused(&file, &error))?;
            }
        }
        let path = root.join(&name);
        let lease = Lease::for_all(keeper, Mending::Cgroup(path.clone())).await?;
        let made = fs::create_dir(&path).map_err(|error| refused(&path, &error));
        lease.unless(made).await?;
        Ok(Group {
            keeper: keeper.clone(),
            version,
            controller,
            path,
            lease,
        })
    }

    /// Makes a group, sets a limit and takes both away again.
    pub(super) async fn trial(&self, keeper: &Arc<Keeper>, controller: Controller) -> Result<(), Refused> {
        let group = self
            .group(keeper, controller, &format!("trial-{}", controller.name()))
            .await?;
        let file = group.path.join(group.version.limit_file(controller));
        // As it is: that it may be written is what is asked.
        let same = fs::read_to_string(&file).and_then(|limit| fs::write(&file, limit.trim()));
        group.lease.end().await?;
        same.map_err(|error| Refused::Impossible(format!("{} cannot be changed: {error}", file.display())))
    }
}

/// The name of the drill's folder is the drill's alone.
fn drill_of(keeper: &Keeper) -> String {
    let name = keeper.folder().file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// Whether a list of controllers has this one.
fn listed(file: &Path, controller: Controller) -> bool {
    let list = fs::read_to_string(file).unwrap_or_default();
    list.split_whitespace().any(|name| name == controller.name())
}

/// A control group of the drill's own.
pub struct Group {
    keeper: Arc<Keeper>,
    version: Version,
    controller: Controller,
    path: PathBuf,
    lease: Lease,
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Group at {}", self.path.display())
    }
}

impl Group {
    /// Its folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes over a process of the drill's and all that it has started.
    ///
    /// # Errors
    /// When it cannot be moved.
    pub fn adopt(&self, pid: Pid) -> Result<(), Failed> {
        for each in [pid].into_iter().chain(descendants(pid)) {
            let moved = fs::write(self.path.join("cgroup.procs"), each.to_string());
            match moved {
                // It has ended meanwhile.
                Err(error)
                    if each != pid && error.raw_os_error() == Some(nix::errno::Errno::ESRCH as i32) => {}
                moved => {
                    moved.map_err(|error| Failed::new(format!("failed to move process {each}: {error}")))?;
                }
            }
        }
        Ok(())
    }

    /// Leaves the group so many processors (0.25 is a quarter of one).
    ///
    /// # Errors
    /// When it is no group for processors, or the limit is refused.
    pub async fn throttle(&self, processors: f64, max: Duration) -> Result<Injection, Refused> {
        if self.controller != Controller::Processor || !(processors > 0.0 && processors <= 1_024.0) {
            return Err(Refused::Impossible(format!(
                "{} cannot be left {processors} processors",
                self.path.display()
            )));
        }
        let quota = ((processors * PERIOD_US as f64) as u64).max(QUOTA_MIN_US);
        let limit = match self.version {
            Version::One => {
                // The group's own, and without a quota it means nothing.
                self.write("cpu.cfs_period_us", &PERIOD_US.to_string())?;
                quota.to_string()
            }
            Version::Two => format!("{quota} {PERIOD_US}"),
        };
        let limited = self.limit(&limit, max).await?;
        let counted = limited.throttled();
        Ok(Injection::new(Throttled {
            keeper: self.keeper.clone(),
            limited,
            processors,
            counted,
        }))
    }

    /// Leaves the group so much memory. What happens when it needs more is the kernel's: it frees what it can, and then
    /// kills. `pid` is the process that this is meant for.
    ///
    /// # Errors
    /// When it is no group for memory, `pid` is not in it, or more is in use that cannot be freed.
    pub async fn limit_memory(&self, bytes: u64, pid: Pid, max: Duration) -> Result<Injection, Refused> {
        if self.controller != Controller::Memory || !self.members().contains(&pid) {
            return Err(Refused::Impossible(format!(
                "{} does not limit the memory of process {pid}",
                self.path.display()
            )));
        }
        let limited = self.limit(&bytes.to_string(), max).await?;
        Ok(Injection::new(Squeezed { limited, bytes, pid }))
    }

    fn members(&self) -> Vec<Pid> {
        members(&self.path)
    }

    fn write(&self, file: &str, content: &str) -> Result<(), Failed> {
        let path = self.path.join(file);
        fs::write(&path, content)
            .map_err(|error| Failed::new(format!("failed to write {}: {error}", path.display())))
    }

    async fn limit(&self, limit: &str, max: Duration) -> Result<Limited, Refused> {
        let name = self.version.limit_file(self.controller);
        let file = self.path.join(name);
        let before = fs::read_to_string(&file).map_err(Failed::from)?.trim().to_owned();
        let lease = Lease::take(&self.keeper, Mending::File(file.clone(), before.clone()), max).await?;
        lease.unless(self.write(name, limit)).await?;
        Ok(Limited {
            group: self.path.clone(),
            file,
            before,
            lease,
        })
    }
}

fn members(group: &Path) -> Vec<Pid> {
    let listed = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    listed
        .lines()
        .filter_map(|line| line.trim().parse().ok().map(Pid))
        .collect()
}

/// A limit in force.
struct Limited {
    group: PathBuf,
    file: PathBuf,
    before: String,
    lease: Lease,
}

impl Limited {
    fn now(&self) -> Result<String, Failed> {
        let read = fs::read_to_string(&self.file);
        Ok(read
            .map_err(|error| Failed::new(error.to_string()))?
            .trim()
            .to_owned())
    }

    async fn undo(&self) -> Result<(), NotUndone> {
        self.lease.end().await?;
        let now = self.now()?;
        if now != self.before {
            return Err(NotUndone(format!(
                "{} is {now} and was {}",
                self.file.display(),
                self.before
            )));
        }
        Ok(())
    }

    /// In how many periods the group was held back so far. Both versions call it the same.
    fn throttled(&self) -> u64 {
        let counts = fs::read_to_string(self.group.join("cpu.stat")).unwrap_or_default();
        let found = counts.lines().find_map(|line| line.strip_prefix("nr_throttled "));
        found.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
    }
}

struct Throttled {
    keeper: Arc<Keeper>,
    limited: Limited,
    processors: f64,
    counted: u64,
}

impl Throttled {
    /// Waits until the group is held back.
    async fn is_held_back(&self, patience: Duration) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < patience {
            if self.limited.throttled() > self.counted {
                return true;
            }
            sleep(GLANCE).await;
        }
        false
    }

    /// Somebody in the group who would take all there is.
    async fn burn(&self) -> Result<Pid, NoEffect> {
        let burner = Program {
            name: "burner".into(),
            file: "sh".into(),
            args: ["-c", "while :; do :; done"].map(str::to_owned).to_vec(),
            cgroups: vec![self.limited.group.clone()],
            ..Program::default()
        };
        Ok(ask(&self.keeper, move |keeper| keeper.run(&burner)).await?)
    }
}

impl Fault for Throttled {
    fn probe(&mut self) -> Answer<'_, NoEffect> {
        Box::pin(async {
            let mut burnt = "";
            // A group that wants nothing is not held back: then it is made to want something, for a moment.
            if !self.is_held_back(PATIENCE).await {
                burnt = ", when it wanted more";
                let pid = self.burn().await?;
                self.is_held_back(LOOK).await;
                ask(&self.keeper, move |keeper| keeper.end(pid, Duration::ZERO)).await?;
            }
            let periods = self.limited.throttled().saturating_sub(self.counted);
            if periods == 0 {
                return Err(NoEffect("the group was never held back".into()));
            }
            Ok(Evidence::new(
                format!("left it {:.2} processors", self.processors),
                format!("it was held back in {periods} periods{burnt}"),
            ))
        })
    }

    fn undo(self: Box<Self>) -> Answer<'static, NotUndone> {
        Box::pin(async move {
            self.limited.undo().await?;
            // The period in which it ended may still be counted.
            until(|| self.is_free()).await?;
            Ok(Evidence::new("took the quota away", "the group is not held back"))
        })
    }
}

impl Throttled {
    async fn is_free(&self) -> Result<(), Failed> {
        let before = self.limited.throttled();
        sleep(Duration::from_micros(PERIOD_US * 3)).await;
        if self.limited.throttled() == before {
            return Ok(());
        }
        Err(Failed::new("the group is still held back"))
    }
}

struct Squeezed {
    limited: Limited,
    bytes: u64,
    pid: Pid,
}

impl Fault for Squeezed {
    fn probe(&mut self) -> Answer<'_, NoEffect> {
        Box::pin(async {
            let now = self.limited.now()?;
            if now == self.limited.before {
                return Err(NoEffect(format!("the limit is {now}")));
            }
            if !members(&self.limited.group).contains(&self.pid) {
                return Err(NoEffect(format!("process {} is not in the group", self.pid)));
            }
            Ok(Evidence::new(
                format!("left process {} {} bytes of memory", self.pid, self.bytes),
                format!("the kernel holds it to {now} bytes"),
            ))
        })
    }

    fn undo(self: Box<Self>) -> Answer<'static, NotUndone> {
        Box::pin(async move {
            self.limited.undo().await?;
            Ok(Evidence::new(
                "took the limit away",
                format!("the limit is {}", self.limited.before),
            ))
        })
    }
}
