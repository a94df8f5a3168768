//! The calls of clients: as they arrive, and how they end.

use seawall_core::draw;
use seawall_core::gate::Reason;
use seawall_core::record::Ending;
use seawall_core::time::Span;

use super::clients::LOOKED;
use super::cohort::{Cohort, NEVER, Who};
use super::{Outcome, Stage, World};

impl World {
    /// Services remember what they found missing for as long as clients may come back for it.
    pub(super) fn remember_tries(&mut self) {
        for client in &self.clients {
            // In a line that grows, tries come to their look-ups further apart than they were made.
            let waits = 6.0 * (client.timeout.min(20.0) + client.backoff);
            let ticks = if client.retries > 0 {
                (waits / self.dt) as usize + 64
            } else {
                0
            };
            let service = &mut self.services[client.service];
            if ticks > service.loads.keyed.past.len() && !service.tiers.is_empty() {
                service.loads.remember_for(ticks);
            }
        }
    }

    /// A client's calls of this tick.
    pub(super) fn arrive(&mut self, index: usize) {
        let middle = self.now + Span::nanos(self.tick_span.as_nanos() / 2);
        let client = &mut self.clients[index];
        let mean = client.arrivals.rate(middle) * self.dt;
        let count = if client.even {
            client.carry += mean;
            let whole = libm::floor(client.carry + 1e-9);
            client.carry -= whole;
            whole as u64
        } else {
            draw::poisson(mean, &mut client.rng)
        };
        if count == 0 {
            return;
        }
        self.requests += count;
        let writes = draw::binomial(count, client.writes, &mut client.mix_rng);
        let cohort = Cohort {
            who: Who::Client {
                client: index as u8,
                tries: 0,
                seen: NEVER,
                before: NEVER,
            },
            count,
            born: self.tick,
            first: self.tick,
            read: true,
            age: 0.0,
            since: 0.0,
            lag: 0.0,
        };
        if count > writes {
            self.issue(cohort.part(count - writes));
        }
        if writes > 0 {
            self.issue(Cohort {
                read: false,
                ..cohort.part(writes)
            });
        }
    }

    /// Calls of a client are made, for the first time or again.
    pub(super) fn issue(&mut self, mut cohort: Cohort) {
        let Who::Client {
            client: index, tries, ..
        } = cohort.who
        else {
            return;
        };
        (cohort.born, cohort.age, cohort.lag) = (self.tick, 0.0, 0.0);
        let client = &mut self.clients[index as usize];
        client.inside += cohort.count;
        let (count, first) = (cohort.count, cohort.first);
        if let Some(cell) = client.cell(tries, cohort.born) {
            cell.open += count;
            cell.first = first;
            if !cohort.read {
                cell.writes += count;
            }
        }
        let (service, priority) = (client.service, client.priority);
        let Some(gateway) = client.gateway else {
            return self.enter(service, cohort);
        };
        let gateway = &mut self.gateways[gateway];
        // The mean will do: what a network takes is no cause of anything here.
        cohort.lag += gateway.latency.mean();
        let mut refused = Vec::new();
        let passed = gateway
            .door
            .admit(self.now, cohort.read, priority, cohort.count, |reason, count| {
                refused.push((reason, count));
            });
        for (reason, count) in refused {
            self.shed_at_gateway(index as usize, reason, count);
            self.close(cohort.part(count), Outcome::Shed);
        }
        if passed > 0 {
            self.enter(service, cohort.part(passed));
        }
    }

    fn shed_at_gateway(&mut self, client: usize, reason: Reason, count: u64) {
        if let Some(gateway) = self.clients[client].gateway {
            self.gateways[gateway].door.shed(&mut self.meter, reason, count);
        }
    }

    /// Calls have ended for their caller; a client that has left hears nothing of it.
    pub(super) fn close(&mut self, cohort: Cohort, outcome: Outcome) {
        let Who::Client {
            client: index,
            tries,
            seen,
            ..
        } = cohort.who
        else {
            return;
        };
        let now = self.now;
        let client = &mut self.clients[index as usize];
        let age = cohort.age + cohort.lag;
        if age > client.timeout {
            return;
        }
        let mut count = cohort.count;
        if let Some(cell) = client.cell(tries, cohort.born) {
            count = count.min(cell.open);
            cell.open -= count;
            if !cohort.read {
                cell.writes = cell.writes.saturating_sub(count);
            }
        }
        client.inside = client.inside.saturating_sub(count);
        if let Some(gateway) = client.gateway {
            let ok = matches!(outcome, Outcome::Fresh | Outcome::Stale);
            self.gateways[gateway].door.record(now, ok, count);
        }
        if outcome == Outcome::Error && u32::from(tries) < client.retries {
            self.meter.add(client.retried, count as f64);
            let wait = client.backoff;
            // Who hears of an error before it knows what was missing has not been looked up.
            return self.retry(cohort.part(count), seen, NEVER, age + wait);
        }
        let ending = match outcome {
            Outcome::Fresh => Ending::Fresh,
            Outcome::Stale => Ending::Stale,
            Outcome::Shed => Ending::Shed,
            Outcome::Error => Ending::Error,
        };
        self.end(index as usize, ending, count, cohort.born, cohort.first, age);
    }

    fn end(&mut self, client: usize, ending: Ending, count: u64, born: u32, first: u32, age: f64) {
        let client = &self.clients[client];
        self.meter.add(client.endings[ending as usize], count as f64);
        if ending.is_good() {
            self.meter.add(client.goodput, count as f64);
        }
        let took = age + f64::from(born - first) * self.dt;
        self.meter
            .time_many(client.took, Span::from_secs_f64(took), count);
    }

    /// Calls are made again when they are this old.
    fn retry(&mut self, mut cohort: Cohort, seen: u32, before: u32, age: f64) {
        if let Who::Client { client, tries, .. } = cohort.who {
            cohort.who = Who::Client {
                client,
                tries: tries + 1,
                seen,
                before,
            };
            cohort.age = age;
            let due = self.tick_of(&cohort, age).max(self.tick + 1);
            self.wheel.push(due, Stage::Again, cohort);
        }
    }

    /// Calls whose client has waited long enough.
    pub(super) fn time_out(&mut self, index: usize) {
        let timeout = self.clients[index].timeout;
        if timeout.is_infinite() {
            return;
        }
        let ticks = (timeout / self.dt + 0.5) as u32;
        let Some(born) = self.tick.checked_sub(ticks) else {
            return;
        };
        for tries in 0..self.clients[index].open.len() as u16 {
            let client = &mut self.clients[index];
            let Some(cell) = client.cell(tries, born) else {
                continue;
            };
            let late = std::mem::take(cell);
            if late.open == 0 {
                continue;
            }
            client.inside = client.inside.saturating_sub(late.open);
            let again = u32::from(tries) < client.retries;
            let (backoff, retried) = (client.backoff, client.retried);
            let (gateway, service) = (client.gateway, client.service);
            let cohort = Cohort {
                who: Who::Client {
                    client: index as u8,
                    tries,
                    seen: NEVER,
                    before: NEVER,
                },
                count: late.open,
                born,
                first: late.first,
                read: true,
                age: timeout,
                since: 0.0,
                lag: 0.0,
            };
            if let Some(gateway) = gateway {
                self.gateways[gateway].door.record(self.now, false, late.open);
            }
            self.abandon(service, &cohort);
            if again {
                self.meter.add(retried, late.open as f64);
                let writes = late.writes.min(late.open);
                let missed = late.missed.min(late.open - writes);
                self.retry(cohort.part(missed), late.launched, NEVER, timeout + backoff);
                self.retry(
                    cohort.part(late.open - writes - missed),
                    NEVER,
                    born,
                    timeout + backoff,
                );
                let writing = Cohort {
                    read: false,
                    ..cohort.part(writes)
                };
                self.retry(writing, NEVER, NEVER, timeout + backoff);
            } else {
                self.end(index, Ending::Timeout, late.open, born, late.first, timeout);
            }
        }
    }

    /// Reads of a client are looked up now.
    pub(super) fn note_looked(&mut self, cohort: &Cohort) {
        let tick = self.tick;
        let Who::Client { client, tries, .. } = cohort.who else {
            return;
        };
        let client = &mut self.clients[client as usize];
        if client.retries == 0 {
            return;
        }
        while client.looked.len() <= tries as usize {
            client.looked.push(vec![(NEVER, NEVER); LOOKED]);
        }
        client.looked[tries as usize][cohort.born as usize % LOOKED] = (cohort.born, tick);
    }

    /// When reads of a client that were made in a tick were looked up, if they were.
    pub(super) fn looked(&self, client: u8, tries: u16, born: u32) -> Option<u32> {
        let looked = self.clients[client as usize].looked.get(tries as usize)?;
        let (known, tick) = looked[born as usize % LOOKED];
        (known == born).then_some(tick)
    }

    /// Calls of a client wait for a load from now on, or no longer.
    pub(super) fn note_missed(&mut self, cohort: &Cohort, waits: bool) {
        let Who::Client { client, tries, .. } = cohort.who else {
            return;
        };
        let tick = self.tick;
        let client = &mut self.clients[client as usize];
        if client.timeout.is_finite()
            && (f64::from(tick - cohort.born) * self.dt) <= client.timeout
            && let Some(cell) = client.cell(tries, cohort.born)
        {
            if waits {
                cell.missed += cohort.count;
                cell.launched = tick;
            } else {
                cell.missed = cell.missed.saturating_sub(cohort.count);
            }
        }
    }

    /// Whether the client of a cohort has left.
    pub(super) fn has_left(&self, cohort: &Cohort) -> bool {
        match cohort.who {
            Who::Client { client, .. } => self.age(cohort) > self.clients[client as usize].timeout,
            _ => false,
        }
    }
}
