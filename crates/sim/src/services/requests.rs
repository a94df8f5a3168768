//! A request inside a service: carried from step to step until it is answered.

use seawall_core::guard::{self, Kind, OriginFault, Outcome, Reply, Request, Source, Step};
use seawall_core::record::Ending;
use seawall_core::time::{Span, Time};

use super::SOON;
use crate::slab::Ticket;
use crate::world::{Answer, Call, Caller, Event, Stage, Target, World};

impl World {
    /// Gives a call a number.
    pub(super) fn keep(&mut self, call: &Call) -> Ticket {
        let id = self.calls.insert(*call);
        self.schedule_client_timeout(id, call);
        self.remember_fetch(id, call);
        id
    }

    /// A call has its thread. `kept` is its number when it has one already.
    pub(super) fn start(&mut self, service: u16, call: &mut Call, kept: Option<Ticket>) {
        self.call_aside(service, call);
        let now = self.now;
        let sim = &mut self.services[service as usize];
        sim.in_progress += 1;
        let in_progress = sim.in_progress;
        let instance = &mut sim.instances[call.instance as usize];
        instance.busy += 1;
        self.crowded |= instance.busy > sim.crowded_above;
        instance.served += 1;
        if let Some(trips) = &sim.trips
            && in_progress > trips.above + 1
            && now >= sim.tripped_until
        {
            sim.tripped_until = now + trips.for_;
        }
        if !sim.guarded {
            return self.work_alone(service, call, kept);
        }
        if sim.copies > 1 {
            call.copy = sim.rng.below(u64::from(sim.copies)) as u16;
        }
        let instance = &mut sim.instances[call.instance as usize];
        let token = kept.map_or_else(|| self.calls.vacant(), Ticket::place);
        let asked = guard::Call {
            key: call.key,
            read: call.read,
            class: call.class,
            priority: call.priority,
            deadline: if sim.cancels { call.deadline } else { Time::NEVER },
            ..guard::Call::read(call.key)
        };
        let mut request = Request::new(token, &asked);
        let step = instance.guard.begin(now, &mut instance.rng, &mut request);
        let index = call.instance;
        let crashes = sim
            .leak
            .as_ref()
            .is_some_and(|leak| instance.served >= leak.after);
        match kept {
            Some(id) => {
                if let Some(slot) = self.calls.get_mut(id) {
                    *slot = Call {
                        stage: Stage::Guarded,
                        request: Some(request),
                        ..*call
                    };
                }
                self.carry_out(service, id, step);
            }
            None => self.carry_loose(service, call, &mut request, step),
        }
        // Most calls end here, and their guard has nothing else to say.
        if self.services[service as usize].instances[index as usize]
            .guard
            .is_restless()
        {
            self.settle(service, index);
        }
        if crashes {
            self.leaked(service, index);
        }
    }

    /// The service makes the answer by itself.
    pub(super) fn work_alone(&mut self, service: u16, call: &Call, kept: Option<Ticket>) {
        let now = self.now;
        let sim = &mut self.services[service as usize];
        let instance = &sim.instances[call.instance as usize];
        let crashes = sim
            .leak
            .as_ref()
            .is_some_and(|leak| instance.served >= leak.after);
        let answer = sim.outcome(now, Answer::of(Ending::Fresh));
        let work = sim.work();
        let index = call.instance;
        let id = match kept {
            Some(id) => id,
            None => self.keep(call),
        };
        if let Some(slot) = self.calls.get_mut(id) {
            slot.stage = Stage::Working(answer);
        }
        self.agenda.push(now + work, Event::Finish(id));
        if crashes {
            self.leaked(service, index);
        }
    }

    /// Calls what is called on every request that does work, and waits for none of it.
    pub(super) fn call_aside(&mut self, service: u16, of: &Call) {
        for index in 0..self.services[service as usize].also.len() {
            let target = self.services[service as usize].also[index];
            let mut call = Call {
                caller: Caller::Aside,
                target,
                born: self.now,
                deadline: Time::NEVER,
                lag: Span::ZERO,
                gone: false,
                corrupt: false,
                request: None,
                stage: Stage::Guarded,
                stamp: 0,
                copy: 0,
                instance: 0,
                ..*of
            };
            self.send(&mut call);
        }
    }

    /// Carries a loose call as far as it goes at this instant.
    pub(super) fn carry_loose(
        &mut self,
        service: u16,
        call: &mut Call,
        request: &mut Request,
        mut step: Step,
    ) {
        let mut spent = Span::ZERO;
        loop {
            match step {
                Step::Lookup { tier, node, timeout } => {
                    let sim = &mut self.services[service as usize];
                    let cache = &mut self.caches[sim.tiers[tier as usize]];
                    let instance = &mut sim.instances[call.instance as usize];
                    if instance.locals[tier as usize].is_empty()
                        && let Some((entry, took)) =
                            cache.find(self.now, node, call.key, timeout, &mut self.meter)
                    {
                        spent += took;
                        call.corrupt = !entry.intact;
                        step = instance
                            .guard
                            .resume_found(self.now, &mut instance.rng, request, entry);
                        continue;
                    }
                    let (reply, took) = self.look(service, call, tier, node, timeout);
                    if !matches!(reply, Reply::Found(_)) && !took.is_zero() || took > SOON {
                        call.stage = Stage::Looking(reply);
                        call.request = Some(*request);
                        let id = self.keep(call);
                        return self.agenda.push(self.now + spent + took, Event::Reply(id));
                    }
                    spent += took;
                    if let Reply::Found(entry) = reply {
                        call.corrupt = !entry.intact;
                    }
                    let sim = &mut self.services[service as usize];
                    let instance = &mut sim.instances[call.instance as usize];
                    step = instance.guard.resume(self.now, &mut instance.rng, request, reply);
                }
                Step::Done(outcome) => return self.done_loose(service, call, outcome, spent),
                Step::Wait { .. } | Step::Write { .. } => {
                    call.stage = Stage::Guarded;
                    call.request = Some(*request);
                    let id = self.keep(call);
                    return self.carry_out(service, id, step);
                }
            }
        }
    }

    /// A loose call is done: its thread is held for `spent` and the service's own work, and it is forgotten.
    pub(super) fn done_loose(&mut self, service: u16, call: &mut Call, outcome: Outcome, spent: Span) {
        let answer = self.answer_of(service, call, outcome);
        let sim = &mut self.services[service as usize];
        let held = spent + sim.work();
        let soon = held + call.lag <= SOON;
        if soon && matches!(call.caller, Caller::Client { .. }) {
            let life = sim.instances[call.instance as usize].life;
            if held.is_zero() || (sim.threads.is_none() && sim.trips.is_none()) {
                self.free_thread(service, call.instance);
            } else {
                let instance = call.instance;
                self.agenda.push(
                    self.now + held,
                    Event::Release {
                        service,
                        instance,
                        life,
                    },
                );
            }
            return self.close(call, answer, self.now + held + call.lag);
        }
        call.stage = Stage::Working(answer);
        let id = self.keep(call);
        self.agenda.push(self.now + held, Event::Finish(id));
    }

    /// What a guard's outcome is worth to the caller.
    pub(super) fn answer_of(&mut self, service: u16, call: &Call, outcome: Outcome) -> Answer {
        let answer = match outcome {
            Outcome::Answer { from, kind, version } => {
                let corrupt = call.corrupt && matches!(from, Source::Tier(_));
                let ending = match kind {
                    _ if corrupt => Ending::Wrong,
                    Kind::Stale => Ending::Stale,
                    Kind::Fresh | Kind::Negative => Ending::Fresh,
                };
                Answer {
                    ending,
                    version,
                    negative: kind == Kind::Negative,
                }
            }
            Outcome::Written { version } => Answer {
                ending: Ending::Fresh,
                version,
                negative: false,
            },
            Outcome::Shed(reason) => {
                self.shed_at_service(service, reason);
                Answer::SHED
            }
            Outcome::Failed | Outcome::Absent => Answer::ERROR,
            Outcome::TimedOut => Answer::of(Ending::Error),
        };
        let now = self.now;
        self.services[service as usize].outcome(now, answer)
    }

    /// Carries a kept call as far as it goes at this instant.
    pub(super) fn carry_out(&mut self, service: u16, id: Ticket, mut step: Step) {
        loop {
            let Some(call) = self.calls.get(id).copied() else {
                return;
            };
            match step {
                Step::Lookup { tier, node, timeout } => {
                    let (reply, took) = self.look(service, &call, tier, node, timeout);
                    if !took.is_zero() {
                        if let Some(call) = self.calls.get_mut(id) {
                            call.stage = Stage::Looking(reply);
                        }
                        return self.agenda.push(self.now + took, Event::Reply(id));
                    }
                    match self.resume(service, id, reply) {
                        Some(next) => step = next,
                        None => return,
                    }
                }
                Step::Wait { until } => {
                    if let Some(call) = self.calls.get_mut(id) {
                        call.stage = Stage::Guarded;
                        call.stamp += 1;
                        if until != Time::NEVER {
                            let stamp = call.stamp;
                            self.agenda.push(until.max(self.now), Event::Due(id, stamp));
                        }
                    }
                    return;
                }
                Step::Write { timeout } => return self.write(service, id, &call, timeout),
                Step::Done(outcome) => {
                    let answer = self.answer_of(service, &call, outcome);
                    if let Some(call) = self.calls.get_mut(id) {
                        call.stage = Stage::Working(answer);
                    }
                    let held = self.services[service as usize].work();
                    if held.is_zero() {
                        return self.finished(id);
                    }
                    return self.agenda.push(self.now + held, Event::Finish(id));
                }
            }
        }
    }

    pub(super) fn resume(&mut self, service: u16, id: Ticket, reply: Reply) -> Option<Step> {
        let call = self.calls.get_mut(id)?;
        if let Reply::Found(entry) = reply {
            call.corrupt = !entry.intact;
        }
        call.stage = Stage::Guarded;
        call.stamp += 1;
        let instance = &mut self.services[service as usize].instances[call.instance as usize];
        let request = call.request.as_mut()?;
        let step = instance.guard.resume(self.now, &mut instance.rng, request, reply);
        let (copy, load) = (call.copy, request.load());
        if let (
            true,
            Step::Done(Outcome::Answer {
                from: Source::Load, ..
            }),
            Some(load),
        ) = (self.services[service as usize].copies > 1, step, load)
        {
            let instance = &mut self.services[service as usize].instances[call.instance as usize];
            let place = load.index() as usize;
            if instance.joined.len() <= place {
                instance.joined.resize(place + 1, Vec::new());
            }
            instance.joined[place].push(copy);
        }
        Some(step)
    }

    /// Resumes a kept call, and carries out what the guard wants then.
    pub(super) fn go_on(&mut self, id: Ticket, reply: Reply) {
        let Some(call) = self.calls.get(id) else { return };
        let Target::Service(service) = call.target else {
            return;
        };
        let instance = call.instance;
        if let Some(step) = self.resume(service, id, reply) {
            self.carry_out(service, id, step);
        }
        self.settle(service, instance);
    }

    /// A cache has answered.
    pub(crate) fn replied(&mut self, id: Ticket) {
        let Some(call) = self.calls.get(id) else { return };
        if let Stage::Looking(reply) = call.stage {
            self.go_on(id, reply);
        }
    }

    /// A wait is over.
    pub(crate) fn due(&mut self, id: Ticket, stamp: u32) {
        let Some(call) = self.calls.get(id) else { return };
        if call.stamp == stamp && matches!(call.stage, Stage::Guarded) {
            self.go_on(id, Reply::Due);
        }
    }

    /// A request writes to the origin.
    pub(super) fn write(&mut self, service: u16, id: Ticket, of: &Call, timeout: Span) {
        let Some(target) = self.services[service as usize].origin else {
            return self.go_on(id, Reply::Written { version: 0 });
        };
        let stamp = of.stamp + 1;
        if let Some(call) = self.calls.get_mut(id) {
            call.stamp = stamp;
            if timeout != Span::MAX {
                self.agenda
                    .push(self.now + timeout, Event::WriteTimeout(id, stamp));
            }
        }
        let mut child = self.child(of, Caller::Write { request: id, stamp }, target, of.key);
        self.send(&mut child);
    }

    /// The origin has answered a write, or has taken too long.
    pub(crate) fn written(&mut self, request: Ticket, stamp: u32, answer: Answer) {
        // Whichever comes second comes too late; so does what comes after a crash.
        let writes = |call: &Call| call.stamp == stamp && matches!(call.stage, Stage::Guarded);
        if !self.calls.get(request).is_some_and(writes) {
            return;
        }
        let reply = match answer.ending {
            Ending::Fresh | Ending::Stale => Reply::Written {
                version: answer.version,
            },
            Ending::Shed => Reply::WriteFailed(OriginFault::Overloaded),
            Ending::Timeout => Reply::WriteFailed(OriginFault::TimedOut),
            _ => Reply::WriteFailed(OriginFault::Error),
        };
        self.go_on(request, reply);
    }

    pub(super) fn child(&self, of: &Call, caller: Caller, target: Target, key: u64) -> Call {
        Call {
            caller,
            target,
            instance: 0,
            copy: 0,
            key,
            born: self.now,
            deadline: Time::NEVER,
            lag: Span::ZERO,
            read: of.read,
            class: of.class,
            priority: of.priority,
            gone: false,
            corrupt: false,
            stage: Stage::Guarded,
            request: None,
            stamp: 0,
        }
    }

    /// The work on a call is done: its thread is free, and its answer goes back.
    pub(crate) fn finished(&mut self, id: Ticket) {
        let Some(call) = self.calls.get(id).copied() else {
            return;
        };
        let (Target::Service(service), Stage::Working(answer)) = (call.target, call.stage) else {
            return;
        };
        self.free_thread(service, call.instance);
        let meters = &self.services[service as usize].meters;
        if !matches!(call.caller, Caller::Client { .. }) {
            self.meter.time(meters.origin_took, self.now.since(call.born));
            if answer == Answer::ERROR {
                self.meter.count(meters.origin_errors);
            }
        }
        if call.gone {
            self.meter.count(meters.wasted);
        }
        if matches!(call.caller, Caller::Client { .. }) && call.lag <= SOON {
            self.calls.remove(id);
            if !call.gone {
                self.close(&call, answer, self.now + call.lag);
            }
            return;
        }
        self.send_back_kept(id, answer);
    }

    /// Stops the work on a call of a service.
    pub(crate) fn cancel_request(&mut self, service: u16, id: Ticket) {
        let Some(call) = self.calls.get(id).copied() else {
            return;
        };
        let index = call.instance;
        match call.stage {
            Stage::InLine => {
                let instance = &mut self.services[service as usize].instances[index as usize];
                instance.line.remove(|waiting| *waiting == id);
                self.calls.remove(id);
            }
            Stage::Guarded | Stage::Looking(_) => {
                if let Some(request) = call.request {
                    let instance = &mut self.services[service as usize].instances[index as usize];
                    instance.guard.abandon(self.now, request);
                }
                self.calls.remove(id);
                self.free_thread(service, index);
                self.settle(service, index);
            }
            Stage::Working(_) => {
                self.calls.remove(id);
                self.free_thread(service, index);
            }
            _ => {
                self.calls.remove(id);
            }
        }
    }
}
