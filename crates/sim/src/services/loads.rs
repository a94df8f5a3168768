//! What a guard decides beside a request's next step: loads, wake-ups, and the calls to the origin.

use seawall_core::guard::{CacheFault, Effect, Life, LoadId, LoadReply, LoadStep, OriginFault, Reply};
use seawall_core::record::Ending;
use seawall_core::time::{Span, Time};
use seawall_core::ttl::Class;
use seawall_scenario::FallbackWhen;

use super::Todo;
use crate::slab::Ticket;
use crate::world::{Answer, Call, Caller, Event, Stage, Target, World};

impl World {
    /// A load knows which call it waits for, so that it can be cancelled.
    pub(crate) fn remember_fetch(&mut self, id: Ticket, call: &Call) {
        if let Caller::Load {
            service,
            instance,
            load,
            ..
        } = call.caller
        {
            let instance = &mut self.services[service as usize].instances[instance as usize];
            let place = load.index() as usize;
            if instance.fetches.len() <= place {
                instance.fetches.resize(place + 1, None);
            }
            instance.fetches[place] = Some(id);
        }
    }

    /// Carries out what a guard has decided, and what follows from it, until nothing is left.
    pub(super) fn settle(&mut self, service: u16, index: u16) {
        self.collect(service, index);
        while let Some(todo) = self.todo.pop_front() {
            match todo {
                Todo::Resume {
                    service,
                    instance,
                    token,
                } => {
                    let Some(id) = self.calls.at(token).map(|(id, _)| id) else {
                        continue;
                    };
                    let waits = self.calls.get(id).is_some_and(|call| {
                        matches!(call.stage, Stage::Guarded)
                            && call.target == Target::Service(service)
                            && call.instance == instance
                    });
                    if waits {
                        if let Some(step) = self.resume(service, id, Reply::Woken) {
                            self.carry_out(service, id, step);
                        }
                        self.collect(service, instance);
                    }
                }
                Todo::Launch {
                    service,
                    instance,
                    load,
                } => {
                    self.drive(service, instance, load, LoadReply::Launched);
                    self.collect(service, instance);
                }
            }
        }
        self.watch_guard(service, index);
    }

    /// Takes a guard's effects over.
    pub(super) fn collect(&mut self, service: u16, index: u16) {
        loop {
            let instance = &mut self.services[service as usize].instances[index as usize];
            let Some(effect) = instance.guard.poll() else {
                return;
            };
            match effect {
                Effect::Wake(token) => self.todo.push_back(Todo::Resume {
                    service,
                    instance: index,
                    token,
                }),
                Effect::Launch(load) => self.todo.push_back(Todo::Launch {
                    service,
                    instance: index,
                    load,
                }),
                Effect::Cancel(load) => self.stop_fetch(service, index, load),
                Effect::Fill {
                    tier,
                    node,
                    key,
                    keep,
                    entry,
                } => {
                    // Nobody waits for it, and a failure was counted.
                    let _ = self.put(service, index, None, tier, node, key, keep, entry);
                }
                Effect::Invalidate {
                    tier,
                    node,
                    key,
                    version,
                } => {
                    self.take_out(service, index, tier, node, key, version);
                }
                Effect::GiveBack { tier, node, key } => self.give_back(service, tier, node, key),
            }
        }
    }

    /// Sees to it that a guard is woken when it wants to be.
    pub(super) fn watch_guard(&mut self, service: u16, index: u16) {
        let instance = &mut self.services[service as usize].instances[index as usize];
        let at = instance.guard.next_wake().max(self.now);
        if at < instance.wake_at {
            instance.wake_at = at;
            self.agenda.push(
                at,
                Event::Wake {
                    service,
                    instance: index,
                },
            );
        }
    }

    pub(crate) fn wake(&mut self, service: u16, index: u16) {
        let now = self.now;
        let instance = &mut self.services[service as usize].instances[index as usize];
        if now < instance.wake_at {
            // Another instant was agreed upon since. To go on from here as well would make two wakings of one, for ever.
            return;
        }
        instance.wake_at = Time::NEVER;
        // Also an instance that is down: what its guard wants at once it would want for ever.
        if instance.guard.next_wake() <= now {
            instance.guard.wake(now, &mut instance.rng);
        }
        self.settle(service, index);
    }

    /// Lets a guard's decisions happen that were made outside of a request.
    pub(crate) fn after_guard(&mut self, service: u16, index: u16) {
        self.settle(service, index);
    }

    /// Drives a load as far as it goes at this instant.
    pub(super) fn drive(&mut self, service: u16, index: u16, load: LoadId, mut reply: LoadReply) {
        loop {
            let now = self.now;
            let instance = &mut self.services[service as usize].instances[index as usize];
            let step = instance.guard.load(now, &mut instance.rng, load, reply);
            // Those who waited are answered before the value is stored.
            if matches!(reply, LoadReply::Fetched { .. }) {
                self.wake_waiters(service, index);
            }
            match step {
                LoadStep::Fetch { key, timeout } => return self.fetch(service, index, load, key, timeout),
                LoadStep::Pause { until } => {
                    let event = Event::LoadDue {
                        service,
                        instance: index,
                        load,
                    };
                    return self.agenda.push(until.max(now), event);
                }
                LoadStep::Store {
                    tier,
                    node,
                    key,
                    keep,
                    entry,
                } => {
                    let (stored, after) = self.put(service, index, Some(load), tier, node, key, keep, entry);
                    if !after.is_zero() {
                        // What its breakers learn from it they learn when it is known.
                        let event = Event::Stored {
                            service,
                            instance: index,
                            load,
                            fault: stored.err(),
                        };
                        return self.agenda.push(now + after, event);
                    }
                    reply = LoadReply::Stored(stored);
                }
                LoadStep::Lease {
                    tier,
                    node,
                    key,
                    hold,
                } => {
                    reply = LoadReply::Leased(self.lease(service, index, tier, node, key, hold));
                }
                LoadStep::Look {
                    tier,
                    node,
                    key,
                    timeout,
                } => {
                    reply = match self.look_for(service, index, 0, tier, node, key, timeout).0 {
                        Reply::Found(entry) => LoadReply::Found(entry),
                        _ => LoadReply::Missing,
                    };
                }
                LoadStep::Parked => return,
                LoadStep::Done => {
                    let instance = &mut self.services[service as usize].instances[index as usize];
                    if let Some(joined) = instance.joined.get_mut(load.index() as usize) {
                        joined.clear();
                    }
                    return;
                }
            }
        }
    }

    pub(super) fn wake_waiters(&mut self, service: u16, index: u16) {
        self.collect(service, index);
        let waiting = std::mem::take(&mut self.todo);
        for todo in waiting {
            match todo {
                Todo::Resume {
                    service: at,
                    instance,
                    token,
                } if (at, instance) == (service, index) => {
                    let Some(id) = self.calls.at(token).map(|(id, _)| id) else {
                        continue;
                    };
                    let waits = self.calls.get(id).is_some_and(|call| {
                        matches!(call.stage, Stage::Guarded)
                            && call.target == Target::Service(service)
                            && call.instance == index
                    });
                    if waits && let Some(step) = self.resume(service, id, Reply::Woken) {
                        self.carry_out(service, id, step);
                    }
                }
                other => self.todo.push_back(other),
            }
        }
    }

    pub(crate) fn load_due(&mut self, service: u16, index: u16, load: LoadId) {
        self.drive(service, index, load, LoadReply::Due);
        self.settle(service, index);
    }

    /// A load hears how its write of the value ended.
    pub(crate) fn stored(&mut self, service: u16, index: u16, load: LoadId, fault: Option<CacheFault>) {
        let stored = fault.map_or(Ok(()), Err);
        self.drive(service, index, load, LoadReply::Stored(stored));
        self.settle(service, index);
    }

    /// A load asks the origin.
    pub(super) fn fetch(&mut self, service: u16, index: u16, load: LoadId, key: u64, timeout: Span) {
        let sim = &self.services[service as usize];
        let spares = matches!(sim.fallback, Some((_, FallbackWhen::CacheDown)));
        let target = match sim.fallback {
            Some((target, _)) if spares && self.caches_fail(service, key) => Some(target),
            _ => sim.origin,
        };
        let Some(target) = target else {
            // The service makes the answer by itself, and its own work follows.
            let fetched = LoadReply::Fetched {
                version: 0,
                negative: false,
                took: Span::ZERO,
                life: Life::Class,
            };
            return self.drive(service, index, load, fetched);
        };
        let caller = Caller::Load {
            service,
            instance: index,
            load,
            fallback: false,
        };
        self.call_origin(caller, target, key, timeout);
    }

    pub(super) fn call_origin(&mut self, caller: Caller, target: Target, key: u64, timeout: Span) {
        let mut call = Call {
            caller,
            target,
            instance: 0,
            copy: 0,
            key,
            born: self.now,
            deadline: Time::NEVER,
            lag: Span::ZERO,
            read: true,
            class: Class::Regular,
            priority: seawall_core::shed::Priority::Normal,
            gone: false,
            corrupt: false,
            stage: Stage::Guarded,
            request: None,
            stamp: 0,
        };
        self.send(&mut call);
        if timeout != Span::MAX
            && let Caller::Load {
                service,
                instance,
                load,
                ..
            } = caller
        {
            let instance = &self.services[service as usize].instances[instance as usize];
            if let Some(Some(id)) = instance.fetches.get(load.index() as usize) {
                self.agenda.push(self.now + timeout, Event::FetchTimeout(*id));
            }
        }
    }

    /// The origin has answered a load.
    pub(crate) fn fetched(
        &mut self,
        call: &Call,
        service: u16,
        index: u16,
        load: LoadId,
        fallback: bool,
        answer: Answer,
    ) {
        let sim = &mut self.services[service as usize];
        if let Some(fetch) = sim.instances[index as usize]
            .fetches
            .get_mut(load.index() as usize)
        {
            *fetch = None;
        }
        let reply = match answer.ending {
            Ending::Fresh | Ending::Stale | Ending::Wrong => LoadReply::Fetched {
                version: answer.version,
                negative: answer.negative,
                took: self.now.since(call.born),
                life: Life::Class,
            },
            Ending::Shed => LoadReply::FetchFailed(OriginFault::Overloaded),
            Ending::Timeout => LoadReply::FetchFailed(OriginFault::TimedOut),
            Ending::Error => match sim.fallback {
                Some((target, FallbackWhen::OriginDown)) if !fallback => {
                    let caller = Caller::Load {
                        service,
                        instance: index,
                        load,
                        fallback: true,
                    };
                    return self.call_origin(caller, target, call.key, Span::MAX);
                }
                _ => LoadReply::FetchFailed(OriginFault::Error),
            },
        };
        self.drive(service, index, load, reply);
        self.settle(service, index);
    }

    /// A load has waited long enough for the origin, which may go on working for nobody.
    pub(crate) fn fetch_timeout(&mut self, id: Ticket) {
        let Some(call) = self.calls.get_mut(id) else {
            return;
        };
        if call.gone {
            return;
        }
        let seen = *call;
        call.gone = true;
        let Caller::Load {
            service,
            instance,
            load,
            fallback,
        } = seen.caller
        else {
            return;
        };
        if matches!(seen.stage, Stage::Returning(_)) {
            self.calls.remove(id);
        } else if self.services[service as usize].cancels {
            self.cancel(id);
        }
        self.fetched(
            &seen,
            service,
            instance,
            load,
            fallback,
            Answer::of(Ending::Timeout),
        );
    }

    /// A guard gives a load up.
    pub(super) fn stop_fetch(&mut self, service: u16, index: u16, load: LoadId) {
        let sim = &mut self.services[service as usize];
        let cancels = sim.cancels;
        let fetch = sim.instances[index as usize]
            .fetches
            .get_mut(load.index() as usize)
            .and_then(Option::take);
        let Some(id) = fetch else { return };
        if let Some(call) = self.calls.get_mut(id) {
            call.gone = true;
            if matches!(call.stage, Stage::Returning(_)) {
                self.calls.remove(id);
            } else if cancels {
                self.cancel(id);
            }
        }
    }
}
