//! Clients and gateways: calls as they arrive, the door they come through, and how they end.
//!
//! A client is an open loop: it does not wait for an answer before it sends the next call. When it has waited for its
//! timeout it leaves, and what it started goes on without it unless somebody cancels it; then it may try again.
//! What was shed with a word on when to come back is not tried again.

use seawall_core::arrivals::{Arrivals, Spacing};
use seawall_core::dist::Dist;
use seawall_core::gate::{Gate, Reason};
use seawall_core::keys::{Keys, MISSING};
use seawall_core::policies::Policies;
use seawall_core::queue::Queue;
use seawall_core::record::{Ending, Metric};
use seawall_core::rng::{Seed, Stream};
use seawall_core::shed::Priority;
use seawall_core::time::{Span, Time};
use seawall_core::ttl::Class;
use seawall_scenario::{Arrival, Place};

use crate::agenda::{Agenda, Lane};
use crate::meter::{Counter, Meter, Timer};
use crate::plan::Plan;
use crate::services::reason_of;
use crate::slab::Ticket;
use crate::world::{Answer, Call, Caller, Event, Stage, Target, World};

/// Keys are drawn this many at a time, ahead of their calls, so that the memory they touch is on its way.
pub(crate) const AHEAD: usize = 64;

/// A client.
pub(crate) struct ClientSim {
    pub(crate) next: Time,
    pub(crate) arrivals: Arrivals,
    pub(crate) keys: Keys,
    pub(crate) drawn: [u64; AHEAD],
    pub(crate) at: usize,
    pub(crate) arrivals_rng: Stream,
    keys_rng: Stream,
    mix_rng: Stream,
    pub(crate) service: u16,
    pub(crate) gateway: Option<u16>,
    pub(crate) writes: f64,
    pub(crate) missing: f64,
    /// A key that gets this share of the reads, while one is hot.
    pub(crate) hot: f64,
    /// The share of reads for keys that do not exist, while somebody penetrates the cache.
    pub(crate) penetration: f64,
    pub(crate) timeout: Option<Span>,
    timeouts: Lane,
    pub(crate) retries: u32,
    backoff: Span,
    pub(crate) class: Class,
    priority: Priority,
    /// What is needed to skip its hits.
    pub(crate) dozer: Option<Box<crate::elided::Dozer>>,
    endings: [Counter; 6],
    pub(crate) goodput: Counter,
    retried: Counter,
    pub(crate) took: Timer,
}

/// A client that will try again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Again {
    client: u16,
    tries: u16,
    first: Time,
    key: u64,
    read: bool,
}

/// A gateway.
pub(crate) struct GatewaySim {
    pub(crate) name: String,
    pub(crate) gate: Gate,
    pub(crate) policies: Policies,
    pub(crate) concurrency: Option<u32>,
    pub(crate) in_flight: u32,
    pub(crate) line: Queue<Ticket>,
    pub(crate) line_at: Time,
    pub(crate) latency: Option<Dist>,
    rng: Stream,
    latency_rng: Stream,
    pub(crate) shed: Vec<(Reason, Counter)>,
    pub(crate) depth: Counter,
    pub(crate) share: Counter,
    pub(crate) level: Counter,
    waited: Timer,
}

/// A latency that is always nothing costs nothing.
pub(crate) fn some_time(dist: &Dist) -> Option<Dist> {
    (*dist != Dist::Fixed(Span::ZERO)).then_some(*dist)
}

impl ClientSim {
    pub(crate) fn new(
        plan: &Plan,
        index: usize,
        seed: Seed,
        meter: &mut Meter,
        agenda: &mut Agenda<Event>,
    ) -> ClientSim {
        let client = &plan.scenario.clients[index];
        let (gateway, service) = match client.calls {
            Place::Gateway(gateway) => (Some(gateway as u16), plan.scenario.gateways[gateway].calls),
            other => (None, other),
        };
        let service = match service {
            Place::Service(service) => service as u16,
            _ => unreachable!("a document is only read when clients reach a service"),
        };
        let entity = index as u64;
        let mut arrivals_rng = seed.stream("arrivals", entity);
        let changes = plan.changes(client);
        let spacing = match client.arrivals {
            Arrival::Poisson => Spacing::Poisson,
            Arrival::Even => Spacing::Even,
        };
        let mut arrivals = Arrivals::new(spacing, client.rate, &changes);
        let name = client.name.as_str();
        let endings = Ending::ALL.map(|ending| meter.counter(Metric::Requests, name, Some(ending.name())));
        ClientSim {
            next: arrivals.next(&mut arrivals_rng),
            arrivals,
            keys: keys_of(&client.keys),
            drawn: [0; AHEAD],
            at: AHEAD,
            arrivals_rng,
            keys_rng: seed.stream("keys", entity),
            mix_rng: seed.stream("mix", entity),
            service,
            gateway,
            writes: client.writes,
            missing: client.missing,
            hot: 0.0,
            penetration: 0.0,
            timeout: client.timeout,
            timeouts: agenda.lane(),
            retries: client.retries,
            backoff: client.backoff,
            class: client.class,
            priority: client.priority,
            dozer: None,
            endings,
            goodput: meter.counter(Metric::Goodput, name, None),
            retried: meter.counter(Metric::Retries, name, None),
            took: meter.timer(Metric::RequestDuration, name),
        }
    }

    /// Lets the client send this many times as much from now on.
    pub(crate) fn set_factor(&mut self, now: Time, factor: f64) {
        self.next = self.arrivals.set_factor(now, factor).unwrap_or(self.next);
    }

    /// Lets the client send so many calls a second from now on.
    pub(crate) fn set_rate(&mut self, now: Time, rate: f64) {
        self.next = self.arrivals.set_rate(now, rate).unwrap_or(self.next);
    }

    /// What counts its good answers.
    pub(crate) fn fresh(&self) -> Counter {
        self.endings[Ending::Fresh as usize]
    }

    /// Whether only the calls of keys that are awake are played.
    #[inline]
    pub(crate) fn dozes(&self) -> bool {
        self.dozer.as_ref().is_some_and(|dozer| dozer.is_on())
    }

    /// What the next call is for: a key, and whether it reads.
    fn draw(&mut self) -> (u64, bool) {
        let mut key = self.drawn[self.at];
        self.at += 1;
        let mut read = true;
        if self.writes > 0.0 {
            read = !self.mix_rng.chance(self.writes);
        }
        if read && self.hot > 0.0 && self.mix_rng.chance(self.hot) {
            key = 0;
        }
        let nowhere = self.missing.max(self.penetration);
        if read && nowhere > 0.0 && self.mix_rng.chance(nowhere) {
            key = MISSING | self.mix_rng.below(1 << 20);
        }
        (key, read)
    }
}

pub(crate) fn keys_of(keys: &seawall_scenario::Keys) -> Keys {
    Keys::new(keys.law())
}

impl GatewaySim {
    pub(crate) fn new(plan: &Plan, index: usize, seed: Seed, meter: &mut Meter) -> GatewaySim {
        let gateway = &plan.scenario.gateways[index];
        let document = plan.scenario.policies(Place::Gateway(index));
        let played = plan.resized(&document, Place::Gateway(index));
        let name = gateway.name.as_str();
        GatewaySim {
            name: gateway.name.clone(),
            gate: Gate::new(Time::ZERO, &played),
            line: Queue::new(played.line(None)),
            line_at: Time::NEVER,
            policies: document,
            concurrency: gateway.concurrency,
            in_flight: 0,
            latency: some_time(&gateway.latency),
            rng: seed.stream("gate", index as u64),
            latency_rng: seed.stream("gateway latency", index as u64),
            shed: Vec::new(),
            depth: meter.counter(Metric::QueueDepth, name, None),
            share: meter.counter(Metric::ThrottleRatio, name, None),
            level: meter.counter(Metric::DegradationLevel, name, None),
            waited: meter.timer(Metric::QueueWait, name),
        }
    }
}

/// The line at a door: as the protection says, or as long as the component has it.
impl World {
    /// A client's next call arrives.
    pub(crate) fn arrive(&mut self, index: usize) {
        if self.clients[index].dozes() {
            return self.arrive_awake(index);
        }
        if self.clients[index].at == AHEAD {
            self.draw_ahead(index);
        }
        let client = &mut self.clients[index];
        let (key, read) = client.draw();
        client.next = client.arrivals.next(&mut client.arrivals_rng);
        self.issue(index, key, read, self.now, 0);
    }

    /// Draws the next keys, and reads what they will touch so that it is near when it is needed.
    pub(crate) fn draw_ahead(&mut self, index: usize) {
        let client = &mut self.clients[index];
        client.keys.draw_many(&mut client.keys_rng, &mut client.drawn);
        client.at = 0;
        let service = &self.services[client.service as usize];
        if let Some(cache) = service.first_shared {
            self.caches[cache].touch(&client.drawn);
        }
    }

    pub(crate) fn issue(&mut self, index: usize, key: u64, read: bool, first: Time, tries: u16) {
        let client = &self.clients[index];
        let mut call = Call {
            caller: Caller::Client {
                client: index as u16,
                tries,
                first,
            },
            target: Target::Service(client.service),
            instance: 0,
            copy: 0,
            key,
            born: self.now,
            deadline: client.timeout.map_or(Time::NEVER, |timeout| self.now + timeout),
            lag: Span::ZERO,
            read,
            class: client.class,
            priority: client.priority,
            gone: false,
            corrupt: false,
            stage: Stage::Guarded,
            request: None,
            stamp: 0,
        };
        let Some(gateway) = client.gateway else {
            return self.send(&mut call);
        };
        let door = &mut self.gateways[gateway as usize];
        if let Some(latency) = &door.latency {
            call.lag = latency.draw(&mut door.latency_rng);
        }
        if let Err(refusal) = door.gate.admit(self.now, &mut door.rng, read, call.priority) {
            self.shed_at_gateway(gateway, refusal.reason);
            return self.close_outside(&call, Answer::SHED, self.now + call.lag);
        }
        let door = &mut self.gateways[gateway as usize];
        match door.concurrency {
            None => self.send(&mut call),
            Some(most) if door.in_flight < most => {
                door.in_flight += 1;
                self.send(&mut call);
            }
            Some(_) => self.wait_at_gateway(gateway, &mut call),
        }
    }

    fn wait_at_gateway(&mut self, gateway: u16, call: &mut Call) {
        call.stage = Stage::AtDoor;
        let id = self.calls.insert(*call);
        self.schedule_client_timeout(id, call);
        let door = &mut self.gateways[gateway as usize];
        if door.line.push(self.now, id).is_err() {
            self.calls.remove(id);
            self.shed_at_gateway(gateway, Reason::QueueFull);
            return self.close_outside(call, Answer::SHED, self.now);
        }
        self.watch_gateway_line(gateway);
    }

    fn watch_gateway_line(&mut self, gateway: u16) {
        let door = &mut self.gateways[gateway as usize];
        if let Some(at) = door.line.next_timeout() {
            let at = at.max(self.now);
            if at < door.line_at {
                door.line_at = at;
                self.agenda.push(at, Event::Door { gateway });
            }
        }
    }

    pub(crate) fn door_timeouts(&mut self, gateway: u16) {
        let door = &mut self.gateways[gateway as usize];
        if self.now < door.line_at {
            return;
        }
        door.line_at = Time::NEVER;
        while let Some(departure) = self.gateways[gateway as usize].line.depart(self.now) {
            let Some(call) = self.calls.remove(departure.item) else {
                continue;
            };
            self.shed_at_gateway(gateway, reason_of(departure.cause));
            self.close_outside(&call, Answer::SHED, self.now);
        }
        self.watch_gateway_line(gateway);
    }

    /// A place at a gateway is free: the next one in its line enters.
    fn leave_gateway(&mut self, gateway: u16) {
        let now = self.now;
        let door = &mut self.gateways[gateway as usize];
        if door.concurrency.is_none() {
            return;
        }
        door.in_flight = door.in_flight.saturating_sub(1);
        while let Some((id, waited)) = self.gateways[gateway as usize].line.pop(now) {
            let Some(mut call) = self.calls.remove(id) else {
                continue;
            };
            let door = &mut self.gateways[gateway as usize];
            self.meter.time(door.waited, waited);
            door.in_flight += 1;
            self.send(&mut call);
            break;
        }
        self.watch_gateway_line(gateway);
    }

    pub(crate) fn shed_at_gateway(&mut self, gateway: u16, reason: Reason) {
        let door = &mut self.gateways[gateway as usize];
        let counter = if let Some((_, counter)) = door.shed.iter().find(|(known, _)| *known == reason) {
            *counter
        } else {
            let counter = self.meter.counter(Metric::Shed, &door.name, Some(reason.name()));
            door.shed.push((reason, counter));
            counter
        };
        self.meter.count(counter);
    }

    /// Starts a client's patience with a call that has a number.
    pub(crate) fn schedule_client_timeout(&mut self, id: Ticket, call: &Call) {
        if let Caller::Client { client, .. } = call.caller {
            let client = &self.clients[client as usize];
            if client.timeout.is_some() {
                // A call that waited at a gateway has its patience cut short already, so it comes out of turn.
                if call.born == self.now {
                    self.agenda
                        .push_lane(client.timeouts, call.deadline, Event::ClientTimeout(id));
                } else {
                    self.agenda
                        .push(call.deadline.max(self.now), Event::ClientTimeout(id));
                }
            }
        }
    }

    /// The client of a call has waited long enough.
    pub(crate) fn client_timeout(&mut self, id: Ticket) {
        let Some(call) = self.calls.get_mut(id) else {
            return;
        };
        if call.gone {
            return;
        }
        let seen = *call;
        call.gone = true;
        let in_gateway = matches!(seen.stage, Stage::AtDoor);
        if in_gateway {
            self.leave_line(&seen, id);
        }
        if in_gateway || matches!(seen.stage, Stage::Returning(_) | Stage::Lost) {
            self.calls.remove(id);
        } else if let Target::Service(service) = seen.target
            && self.services[service as usize].cancels
        {
            self.cancel(id);
        }
        if in_gateway {
            self.close_outside(&seen, Answer::of(Ending::Timeout), self.now);
        } else {
            self.close(&seen, Answer::of(Ending::Timeout), self.now);
        }
    }

    fn leave_line(&mut self, call: &Call, id: Ticket) {
        let Caller::Client { client, .. } = call.caller else {
            return;
        };
        if let Some(gateway) = self.clients[client as usize].gateway {
            self.gateways[gateway as usize]
                .line
                .remove(|waiting| *waiting == id);
        }
    }

    /// A call that was let in has ended for its client, at an instant that is now or near.
    pub(crate) fn close(&mut self, call: &Call, answer: Answer, at: Time) {
        self.close_outside(call, answer, at);
        if let Caller::Client { client, .. } = call.caller
            && let Some(gateway) = self.clients[client as usize].gateway
        {
            self.gateways[gateway as usize]
                .gate
                .record(self.now, answer.ending.is_good());
            self.leave_gateway(gateway);
        }
    }

    /// A call that never came past the gateway has ended, or only the client's side of one that did.
    fn close_outside(&mut self, call: &Call, answer: Answer, at: Time) {
        let Caller::Client {
            client: index,
            tries,
            first,
        } = call.caller
        else {
            return;
        };
        let client = &mut self.clients[index as usize];
        let late = client
            .timeout
            .is_some_and(|timeout| at.since(call.born) > timeout);
        let ending = if late { Ending::Timeout } else { answer.ending };
        let at = if late { call.deadline } else { at };
        if matches!(ending, Ending::Error | Ending::Timeout) && u32::from(tries) < client.retries {
            self.meter.count(client.retried);
            let when = at.max(self.now) + client.backoff;
            let id = self.again.insert(Again {
                client: index,
                tries: tries + 1,
                first,
                key: call.key,
                read: call.read,
            });
            self.agenda.push(when, Event::Again(id));
            return;
        }
        self.meter.count(client.endings[ending as usize]);
        if ending.is_good() {
            self.meter.count(client.goodput);
        }
        self.meter.time(client.took, at.since(first));
    }

    pub(crate) fn try_again(&mut self, id: Ticket) {
        if let Some(again) = self.again.remove(id) {
            self.issue(
                again.client as usize,
                again.key,
                again.read,
                again.first,
                again.tries,
            );
        }
    }
}
