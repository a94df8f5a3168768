//! What breaks, for real: from a fault of the scenario to what is done to which process, connection, or server.
//!
//! What is done proves itself: an [injection](crate::inject) by its own probe, all else by somebody who
//! [watches](super::felt) from outside. What becomes of a fault, and how it is felt, is told by [`super::becomes`].

mod cache;
mod client;
mod database;
mod service;
mod undo;

use std::sync::Arc;
use std::time::Duration;

use seawall_core::time::Span;
use seawall_scenario::{Event, Fault, Place};
use tokio::task::JoinHandle;

use super::NoDrill;
use super::felt::{Gone, Heard, Watch};
use super::system::{Instance, System};
use crate::inject::cgroup::{Cgroups, Controller, Group};
use crate::inject::{Evidence, Injection, NoEffect, Refused};
use crate::keeper::Pid;
use crate::load::Load;
use crate::proxy::{Bandwidth, Kind, Latency, Partition, ResetPeer, Side, Stall, Toxic};

/// How a fault is taken back. In the order of doing; taken back in the other one.
enum Undo {
    /// A toxic of a proxy.
    Toxic(String, String),
    /// A proxy that refuses.
    Open(String),
    /// A node of a cache that is down.
    Cache(usize, usize),
    /// A node of a cache in this process that does not serve.
    Serving(usize, usize),
    /// Instances that are down.
    Instance(Arc<Instance>),
    /// A node of a database, whose pace is as it was.
    Pace(usize, usize),
    /// A node of a database, whose connections are as they were.
    Connections(usize, usize),
    /// What was injected, once it was looked whether it is felt.
    Injection(JoinHandle<(Injection, Result<Evidence, NoEffect>)>),
    /// The same for what happened at an instant and is no state that could be taken back.
    Happened(JoinHandle<Result<Evidence, NoEffect>>),
    /// Instances are told that the event is over.
    Told,
    /// The client sends what it always does.
    Spike(usize),
    HotKey(usize),
    Penetration(usize),
    /// The PostgreSQL.
    Postgres,
}

/// A fault in force.
pub(crate) struct InForce {
    event: usize,
    /// What it is, in words.
    what: String,
    is_leak: bool,
    undo: Vec<Undo>,
    watches: Vec<Watch>,
    /// What injections have noticed of themselves.
    probes: Vec<Watch>,
    /// What was seen of it as it was done.
    seen: Vec<Result<String, String>>,
}

/// A fault without an end ends by itself after this time.
const LEASE: Duration = Duration::from_mins(10);
/// One with an end, so long after that.
const GRACE: Duration = Duration::from_secs(5);

/// After what time a fault ends by itself, whatever has become of the drill.
fn lease_of(event: &Event) -> Duration {
    event.for_.map_or(LEASE, |length| Duration::from(length) + GRACE)
}

fn failed(error: &dyn std::fmt::Display) -> NoDrill {
    NoDrill::Failed(error.to_string())
}

impl InForce {
    /// The event's place in the timeline.
    pub(crate) fn event(&self) -> usize {
        self.event
    }

    /// What it is, in words.
    pub(crate) fn what(&self) -> &str {
        &self.what
    }

    /// Keeps what was injected, and looks whether it is felt while the run goes on. What happened at an instant is not taken
    /// back: it was an event and no state.
    fn hold(&mut self, mut injection: Injection, instant: bool) {
        let watch = Watch::for_others("", Vec::new());
        let heard = watch.heard();
        self.probes.push(watch);
        let tell = |heard: &Heard, felt: &Result<Evidence, NoEffect>| {
            if let Ok(evidence) = felt {
                heard.felt(evidence.to_string());
            }
        };
        self.undo.push(if instant {
            Undo::Happened(tokio::spawn(async move {
                let felt = injection.probe().await;
                tell(&heard, &felt);
                felt
            }))
        } else {
            Undo::Injection(tokio::spawn(async move {
                let felt = injection.probe().await;
                tell(&heard, &felt);
                (injection, felt)
            }))
        });
    }

    /// The same, of what may have been refused.
    fn hold_if(&mut self, injection: Result<Injection, Refused>) -> Result<(), NoDrill> {
        self.hold(injection.map_err(|error| failed(&error))?, false);
        Ok(())
    }

    /// An instance has crashed by itself: a leak is felt by that.
    pub(crate) fn hear_of_crash(&self, crashed: &str) {
        if self.is_leak {
            self.watches
                .iter()
                .for_each(|watch| watch.heard().felt(crashed.to_owned()));
        }
    }

    /// What was felt of it since this was asked last.
    pub(crate) fn news(&self) -> Vec<String> {
        let all = self.watches.iter().chain(&self.probes);
        all.filter_map(Watch::news).collect()
    }
}

/// The nodes of an event, of so many that there are.
pub(crate) fn nodes_of(event: &Event, count: usize) -> Vec<usize> {
    match &event.nodes {
        Some(nodes) => nodes
            .iter()
            .map(|node| *node as usize)
            .filter(|node| *node < count)
            .collect(),
        None => (0..count).collect(),
    }
}

/// The toxic that a fault of a link is, if it is one.
fn toxic_of(fault: &Fault, usual: Span) -> Option<Toxic> {
    let millis = |span: Span| (span.as_nanos() / 1_000_000).cast_signed();
    let kind = match fault {
        Fault::Latency { add, jitter } => Kind::Latency(Latency {
            latency: millis(*add),
            jitter: millis(*jitter),
            ..Latency::default()
        }),
        Fault::FarRegion { add } => Kind::Latency(Latency {
            latency: millis(*add),
            ..Latency::default()
        }),
        // Of a cache, commands that take longer are answers that come later.
        Fault::Slow { .. } | Fault::Starve { .. } => Kind::Latency(Latency {
            latency: millis(longer(fault, usual)),
            ..Latency::default()
        }),
        Fault::Bandwidth { rate } => Kind::Bandwidth(Bandwidth {
            // None at all would be another fault.
            rate: ((rate / 1_000.0) as i64).max(1),
            ..Bandwidth::default()
        }),
        Fault::Partition => Kind::Partition(Partition::default()),
        Fault::Reset => Kind::ResetPeer(ResetPeer::default()),
        Fault::Loss { share } => Kind::Stall(Stall {
            rate: *share,
            ..Stall::default()
        }),
        _ => return None,
    };
    Some(Toxic::new(Side::Downstream, kind))
}

/// How much longer work takes that usually takes this.
pub(crate) fn longer(fault: &Fault, usual: Span) -> Span {
    match fault {
        Fault::Slow { .. } | Fault::SlowQuery { .. } | Fault::Starve { .. } => {
            usual.scaled((slowness(fault) - 1.0).max(0.0))
        }
        _ => Span::ZERO,
    }
}

/// How many times as long work takes.
pub(crate) fn slowness(fault: &Fault) -> f64 {
    match fault {
        Fault::Slow { factor } | Fault::SlowQuery { factor } => *factor,
        Fault::Starve { share } => 1.0 / (1.0 - share).max(0.001),
        _ => 1.0,
    }
}

impl System {
    /// Begins the fault of this event of the timeline.
    pub(crate) async fn begin(
        self: &Arc<Self>,
        index: usize,
        event: &Event,
        fault: &Fault,
        loads: &[Load],
    ) -> Result<InForce, NoDrill> {
        let mut force = InForce {
            event: index,
            what: self.scaled.scenario.describe(event),
            is_leak: matches!(fault, Fault::Leak { .. }),
            undo: Vec::new(),
            watches: Vec::new(),
            probes: Vec::new(),
            seen: Vec::new(),
        };
        let done = match event.on {
            Some(Place::Client(at)) => {
                self.strike_client(&mut force, event, at, fault, loads);
                Ok(())
            }
            Some(Place::Cache(at)) => self.strike_cache(&mut force, event, at, fault).await,
            Some(Place::Database(at)) => self.strike_database(&mut force, event, at, fault).await,
            Some(Place::Service(at)) => self.strike_service(&mut force, event, at, fault).await,
            _ => Ok(()),
        };
        if let Err(error) = done {
            // What was done until then is not left as it is.
            force.watches.clear();
            let ended = self.end(force, loads).await;
            return Err(match ended.gone.into_iter().find_map(Result::err) {
                Some(left) => NoDrill::Failed(format!("{error}; and it was not taken back: {left}")),
                None => error,
            });
        }
        for (spot, sign) in self.signs(event, fault) {
            let usual = self.usual(&spot, &sign).await;
            let mut watch = Watch::at(spot.clone(), sign, usual);
            for undo in &force.undo {
                // Of few packets that are lost, one that is not says nothing.
                if let (Undo::Toxic(proxy, toxic), Fault::Loss { .. }) = (undo, fault)
                    && *proxy == spot.name()
                {
                    let gone = Gone::Toxic(self.proxies.clone(), proxy.clone(), toxic.clone());
                    watch = watch.and_gone(gone);
                }
            }
            force.watches.push(watch);
        }
        Ok(force)
    }

    async fn add_toxic(&self, force: &mut InForce, proxy: &str, toxic: Toxic) -> Result<(), NoDrill> {
        let name = format!("event-{}", force.event);
        let toxic = Toxic {
            name: name.clone(),
            ..toxic
        };
        self.proxies
            .add_toxic(proxy, toxic)
            .await
            .map_err(NoDrill::proxy)?;
        force.undo.push(Undo::Toxic(proxy.to_owned(), name));
        Ok(())
    }

    /// Takes this share of the processors that a process may use, by a control group, where this machine has them; whether
    /// it was done.
    async fn starve(
        &self,
        force: &mut InForce,
        (name, pid): (&str, Pid),
        (share, processors): (f64, f64),
        max: Duration,
    ) -> Result<bool, NoDrill> {
        let Some(group) = self.group(name).await? else {
            force.seen.push(Ok(format!(
                "{name} keeps its processors, for this machine makes no control groups; what takes its time takes longer"
            )));
            return Ok(false);
        };
        group.adopt(pid).map_err(|error| failed(&error))?;
        let left = (1.0 - share).max(LEFT_MIN) * processors;
        force.hold_if(group.throttle(left, max).await)?;
        Ok(true)
    }

    /// The control group of a process; none where there are no such groups.
    async fn group(&self, name: &str) -> Result<Option<Arc<Group>>, NoDrill> {
        let mut groups = self.groups.lock().await;
        if let Some(group) = groups.get(name) {
            return Ok(Some(group.clone()));
        }
        let made = Cgroups::of_this_machine()
            .group(&self.keeper, Controller::Processor, name)
            .await;
        match made {
            Ok(group) => {
                let group = Arc::new(group);
                groups.insert(name.to_owned(), group.clone());
                Ok(Some(group))
            }
            Err(Refused::Impossible(_)) => Ok(None),
            Err(error) => Err(failed(&error)),
        }
    }

    /// Tells all instances of all services that an event begins, and notes that they have to be told of its end.
    async fn tell_all(&self, force: &mut InForce) -> Result<(), NoDrill> {
        force.undo.push(Undo::Told);
        self.tell(force.event, true).await
    }

    /// Tells all instances that run.
    pub(crate) async fn tell(&self, event: usize, begins: bool) -> Result<(), NoDrill> {
        let copies = self.services.iter().chain(&self.spares).flatten();
        let up = copies.filter(|copy| copy.up.load(std::sync::atomic::Ordering::Acquire));
        let controls: Vec<_> = up.filter_map(|copy| copy.control).collect();
        for control in controls {
            super::asking::tell(control, event, begins).await?;
        }
        Ok(())
    }
}

/// Whatever is taken, so much of a processor is left: none at all would be another fault.
const LEFT_MIN: f64 = 0.05;
