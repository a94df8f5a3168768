//! All state of a run, and the loop that plays it.
//!
//! The loop takes what is next: an event of the agenda, a client's next call, or the end of a period. What a component
//! does with it stands in the module of its kind. Arrivals are not on the agenda: each client knows its next one, and
//! a call that is answered by a healthy cache is over before the loop turns again, without ever having been an event.

use std::collections::VecDeque;

use seawall_core::guard::{CacheFault, LoadId, Reply, Request};
use seawall_core::record::Ending;
use seawall_core::rng::{Seed, Stream};
use seawall_core::shed::Priority;
use seawall_core::time::{Span, Time};
use seawall_core::ttl::Class;
use seawall_scenario::Place;

use crate::agenda::{Agenda, Lane};
use crate::caches::CacheSim;
use crate::clients::{Again, ClientSim, GatewaySim};
use crate::databases::DatabaseSim;
use crate::meter::Meter;
use crate::plain::{Miss, Stop, Way};
use crate::plan::Plan;
use crate::sample::Watch;
use crate::services::ServiceSim;
use crate::slab::{Slab, Ticket};
use crate::{Choice, Run};

/// How a call ended, for its caller.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) ending: Ending,
    pub(crate) version: u64,
    pub(crate) negative: bool,
}

impl Answer {
    pub(crate) const ERROR: Answer = Answer::of(Ending::Error);
    pub(crate) const SHED: Answer = Answer::of(Ending::Shed);

    pub(crate) const fn of(ending: Ending) -> Answer {
        Answer {
            ending,
            version: 0,
            negative: false,
        }
    }
}

/// Who is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Service(u16),
    Database(u16),
}

/// Who called, and waits.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Caller {
    /// A client; `first` is when it first asked.
    Client { client: u16, tries: u16, first: Time },
    /// A load of a guard.
    Load {
        service: u16,
        instance: u16,
        load: LoadId,
        fallback: bool,
    },
    /// A write that a request of a guard makes; `stamp` is the request's then.
    Write { request: Ticket, stamp: u32 },
    /// Nobody waits.
    Aside,
}

/// How far a call is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stage {
    /// It waits at the gateway.
    AtDoor,
    /// It waits for a thread.
    InLine,
    /// It has a thread, and the guard decides what is next.
    Guarded,
    /// It has a thread, and a cache will say this.
    Looking(Reply),
    /// It has a thread, and works; then this is its answer.
    Working(Answer),
    /// It is over for its target, and this is on its way to the caller.
    Returning(Answer),
    /// It waits for a connection of a database.
    Queued,
    /// A database works on it.
    Running,
    /// Nobody will ever answer it.
    Lost,
}

/// One component's call to another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub(crate) caller: Caller,
    pub(crate) target: Target,
    /// Which copy, or node.
    pub(crate) instance: u16,
    /// Which of the local caches that a merged instance stands for.
    pub(crate) copy: u16,
    pub(crate) key: u64,
    pub(crate) born: Time,
    pub(crate) deadline: Time,
    /// Network time that is still to be paid on the way back.
    pub(crate) lag: Span,
    pub(crate) read: bool,
    pub(crate) class: Class,
    pub(crate) priority: Priority,
    /// The caller has stopped waiting.
    pub(crate) gone: bool,
    /// It read something corrupt that nobody checked.
    pub(crate) corrupt: bool,
    pub(crate) stage: Stage,
    pub(crate) request: Option<Request>,
    /// Tells a timer that is meant from one that was overtaken.
    pub(crate) stamp: u32,
}

/// What is scheduled.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    /// A cache has answered a call.
    Reply(Ticket),
    /// The wait of a call is over.
    Due(Ticket, u32),
    /// A call has waited long enough for its write.
    WriteTimeout(Ticket, u32),
    /// The work of a call is done.
    Finish(Ticket),
    /// The answer of a call reaches its caller.
    Return(Ticket),
    /// A thread is free again that was held by a call nobody needs to remember.
    Release { service: u16, instance: u16, life: u32 },
    /// A client has waited long enough.
    ClientTimeout(Ticket),
    /// A load has waited long enough for the origin.
    FetchTimeout(Ticket),
    /// A query has run long enough.
    QueryTimeout(Ticket),
    /// The pause of a load is over.
    LoadDue {
        service: u16,
        instance: u16,
        load: LoadId,
    },
    /// The write of a load has ended.
    Stored {
        service: u16,
        instance: u16,
        load: LoadId,
        fault: Option<CacheFault>,
    },
    /// A client tries again.
    Again(Ticket),
    /// A node of a database has finished something.
    Node { database: u16, node: u16, stamp: u32 },
    /// A cache has told a miss on the short way that it has nothing.
    Ask(Ticket),
    /// A miss on the short way is answered.
    Land(Ticket),
    /// A guard wants to be woken.
    Wake { service: u16, instance: u16 },
    /// Somebody has waited too long for a thread.
    Line { service: u16, instance: u16 },
    /// Somebody has waited too long at a gateway.
    Door { gateway: u16 },
    /// An event of the timeline begins.
    Begin(u16),
    /// An event of the timeline ends.
    End(u16),
    /// An instance of a service is up again.
    Back { service: u16, instance: u16, life: u32 },
    /// Something that takes time has been provided.
    Provided(u32),
}

/// A run.
pub(crate) struct World {
    pub(crate) now: Time,
    pub(crate) plan: Plan,
    pub(crate) seed: Seed,
    pub(crate) agenda: Agenda<Event>,
    pub(crate) clients: Vec<ClientSim>,
    pub(crate) gateways: Vec<GatewaySim>,
    pub(crate) services: Vec<ServiceSim>,
    pub(crate) caches: Vec<CacheSim>,
    pub(crate) databases: Vec<DatabaseSim>,
    pub(crate) calls: Slab<Call>,
    pub(crate) again: Slab<Again>,
    pub(crate) meter: Meter,
    pub(crate) watch: Watch,
    /// What probes draw, which is nobody else's.
    pub(crate) probes_rng: Stream,
    /// What a guard has decided and nobody has carried out yet, in order.
    pub(crate) todo: VecDeque<crate::services::Todo>,
    /// Which events of the timeline are under way.
    pub(crate) active: Vec<bool>,
    pub(crate) provisions: Vec<crate::timeline::Provision>,
    /// Each client's way, where it is plain.
    pub(crate) ways: Vec<Option<Way>>,
    /// The ways are known.
    pub(crate) surveyed: bool,
    /// When something of the timeline happens, as far as that is known.
    pub(crate) upsets: Vec<Time>,
    /// Misses on the short way.
    pub(crate) misses: Slab<Miss>,
    /// For each database, where such misses end.
    pub(crate) landings: Vec<Lane>,
    /// When hits are skipped.
    pub(crate) elided: Option<crate::elided::Elided>,
    /// A service has more calls inside than [`crate::services::ServiceSim::crowded_above`].
    pub(crate) crowded: bool,
    pub(crate) requests: u64,
    pub(crate) in_flight_max: u64,
    events: u64,
    pub(crate) periods: u64,
}

impl World {
    pub(crate) fn new(plan: Plan, seed: Seed) -> World {
        let mut meter = Meter::new();
        let mut agenda = Agenda::new();
        let scenario = plan.scenario.clone();
        let clients = (0..scenario.clients.len())
            .map(|index| ClientSim::new(&plan, index, seed, &mut meter, &mut agenda))
            .collect();
        let gateways = (0..scenario.gateways.len())
            .map(|index| GatewaySim::new(&plan, index, seed, &mut meter))
            .collect();
        let services = (0..scenario.services.len())
            .map(|index| ServiceSim::new(&plan, index, seed, &mut meter))
            .collect();
        let caches = (0..scenario.caches.len())
            .map(|index| CacheSim::new(&plan, index, seed, &mut meter))
            .collect();
        let databases = (0..scenario.databases.len())
            .map(|index| DatabaseSim::new(&plan, index, seed, &mut meter))
            .collect();
        let run = &scenario.run;
        let periods = (run.warmup + run.duration)
            .as_nanos()
            .div_ceil(run.every.as_nanos().max(1));
        for (index, event) in scenario.timeline.iter().enumerate() {
            agenda.push(Time::ZERO + run.warmup + event.at, Event::Begin(index as u16));
            if let Some(length) = event.for_ {
                agenda.push(
                    Time::ZERO + run.warmup + event.at + length,
                    Event::End(index as u16),
                );
            }
        }
        let upsets = upsets_of(&plan);
        let landings = scenario.databases.iter().map(|_| agenda.lane()).collect();
        let mut world = World {
            now: Time::ZERO,
            seed,
            agenda,
            clients,
            gateways,
            services,
            caches,
            databases,
            calls: Slab::new(),
            again: Slab::new(),
            watch: Watch::new(&plan),
            probes_rng: seed.stream("probes", 0),
            meter,
            todo: VecDeque::new(),
            active: vec![false; scenario.timeline.len()],
            provisions: Vec::new(),
            ways: vec![None; scenario.clients.len()],
            surveyed: false,
            upsets,
            misses: Slab::new(),
            landings,
            elided: None,
            crowded: false,
            requests: 0,
            in_flight_max: 0,
            events: 0,
            periods,
            plan,
        };
        if scenario.run.prefilled {
            world.prefill();
        }
        world
    }

    /// Plays the run to its end.
    pub(crate) fn play(&mut self, progress: &dyn Fn(f64)) {
        let every = self.plan.scenario.run.every;
        for period in 1..=self.periods {
            let end = Time::from_nanos(every.as_nanos() * period);
            self.play_until(end);
            self.now = end;
            if self.elided.is_some() {
                self.count_hits();
            }
            self.sample();
            self.surveyed = false;
            progress(period as f64 / self.periods as f64);
        }
    }

    /// Plays all that happens before `end`.
    fn play_until(&mut self, end: Time) {
        loop {
            let (mut next, mut then) = (end, end);
            let mut client = None;
            for (index, each) in self.clients.iter().enumerate() {
                if each.next < next {
                    then = next;
                    next = each.next;
                    client = Some(index);
                } else {
                    then = then.min(each.next);
                }
            }
            // At one instant, what was scheduled comes before what arrives.
            if let Some(at) = self.agenda.peek()
                && at <= next
                && at < end
                && let Some((at, event)) = self.agenda.pop()
            {
                debug_assert!(at >= self.now, "time never runs back");
                self.now = at;
                self.events += 1;
                self.happen(event);
                if self.elided.is_some() {
                    self.hear();
                }
                // The event may have changed a client's next arrival.
                continue;
            }
            let Some(client) = client else { return };
            if !self.surveyed {
                self.survey();
                if self.elided.is_some() {
                    // Keys that fell asleep have changed what comes next.
                    continue;
                }
            }
            if let Some(way) = self.ways[client]
                && !self.clients[client].dozes()
            {
                let horizon = self.agenda.peek().map_or(then, |at| at.min(then));
                if self.stroll(client, way, horizon) == Stop::Horizon && self.clients[client].next != next {
                    continue;
                }
            }
            self.now = self.clients[client].next;
            self.requests += 1;
            self.arrive(client);
            if self.elided.is_some() {
                self.hear();
            }
            self.in_flight_max = self.in_flight_max.max(self.calls.len() as u64);
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Reply(id) => self.replied(id),
            Event::Due(id, stamp) => self.due(id, stamp),
            Event::WriteTimeout(id, stamp) => self.written(id, stamp, Answer::of(Ending::Timeout)),
            Event::Finish(id) => self.finished(id),
            Event::Return(id) => self.returned(id),
            Event::Release {
                service,
                instance,
                life,
            } => self.release(service, instance, life),
            Event::ClientTimeout(id) => self.client_timeout(id),
            Event::FetchTimeout(id) => self.fetch_timeout(id),
            Event::QueryTimeout(id) => self.query_timeout(id),
            Event::LoadDue {
                service,
                instance,
                load,
            } => self.load_due(service, instance, load),
            Event::Stored {
                service,
                instance,
                load,
                fault,
            } => self.stored(service, instance, load, fault),
            Event::Again(id) => self.try_again(id),
            Event::Node {
                database,
                node,
                stamp,
            } => self.node_finishes(database, node, stamp),
            Event::Ask(id) => self.asks(id),
            Event::Land(id) => self.lands(id),
            Event::Wake { service, instance } => self.wake(service, instance),
            Event::Line { service, instance } => self.line_timeouts(service, instance),
            Event::Door { gateway } => self.door_timeouts(gateway),
            Event::Begin(index) => {
                self.rouse(&event);
                self.surveyed = false;
                self.begin_event(index as usize);
            }
            Event::End(index) => {
                self.rouse(&event);
                self.surveyed = false;
                self.end_event(index as usize);
            }
            Event::Back {
                service,
                instance,
                life,
            } => {
                self.rouse(&event);
                self.surveyed = false;
                self.back(service, instance, life);
            }
            Event::Provided(index) => {
                self.rouse(&event);
                self.surveyed = false;
                self.provided(index as usize);
            }
        }
    }

    /// Hands an answer to whoever called.
    pub(crate) fn deliver(&mut self, call: &Call, answer: Answer) {
        if call.gone {
            return;
        }
        match call.caller {
            Caller::Client { .. } => self.close(call, answer, self.now),
            Caller::Load {
                service,
                instance,
                load,
                fallback,
            } => {
                self.fetched(call, service, instance, load, fallback, answer);
            }
            Caller::Write { request, stamp } => self.written(request, stamp, answer),
            Caller::Aside => {}
        }
    }

    /// Sends an answer back over the network that a call came by. The call keeps its number, so that the caller can
    /// still stop waiting.
    pub(crate) fn send_back_kept(&mut self, id: Ticket, answer: Answer) {
        let Some(call) = self.calls.get_mut(id) else {
            return;
        };
        if call.gone || call.lag.is_zero() {
            if let Some(call) = self.calls.remove(id) {
                self.deliver(&call, answer);
            }
            return;
        }
        call.stage = Stage::Returning(answer);
        let at = self.now + call.lag;
        self.agenda.push(at, Event::Return(id));
    }

    fn returned(&mut self, id: Ticket) {
        let Some(call) = self.calls.remove(id) else { return };
        if let Stage::Returning(answer) = call.stage {
            self.deliver(&call, answer);
        }
    }

    pub(crate) fn target(place: Place) -> Option<Target> {
        match place {
            Place::Service(index) => Some(Target::Service(index as u16)),
            Place::Database(index) => Some(Target::Database(index as u16)),
            _ => None,
        }
    }

    /// Calls a service or a database.
    pub(crate) fn send(&mut self, call: &mut Call) {
        match call.target {
            Target::Service(service) => self.enter(service, call),
            Target::Database(database) => self.query(database, call),
        }
    }

    /// Stops the work on a call, wherever it is.
    pub(crate) fn cancel(&mut self, id: Ticket) {
        match self.calls.get(id).map(|call| call.target) {
            Some(Target::Service(service)) => self.cancel_request(service, id),
            Some(Target::Database(database)) => self.cancel_query(database, id),
            None => {}
        }
    }

    pub(crate) fn into_run(self, mut choice: Choice) -> Run {
        if self.elided.is_some() {
            let played = 1.0 - self.elided_calls() as f64 / self.requests.max(1) as f64;
            choice.envelope = format!(
                "exact in law; {:.1}% of the requests were played one by one",
                100.0 * played
            );
        }
        let run = &self.plan.scenario.run;
        Run {
            record: self.meter.into_record(run.every, run.warmup, self.plan.scale),
            requests: self.requests,
            events: self.events,
            in_flight_max: self.in_flight_max,
            choice,
        }
    }
}

/// When the timeline's events begin and end.
fn upsets_of(plan: &Plan) -> Vec<Time> {
    let start = Time::ZERO + plan.scenario.run.warmup;
    let mut upsets = Vec::new();
    for event in &plan.scenario.timeline {
        upsets.push(start + event.at);
        upsets.extend(event.for_.map(|length| start + event.at + length));
    }
    upsets
}
