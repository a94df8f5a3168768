//! Hits that hold a thread for a while, in services whose threads are limited.
//!
//! A hit that finds a free thread is as plain as one that needs none. So keys sleep for as long as it is certain, but for
//! one run in a million million, that hits and played calls together never hold all threads of an instance; the hits
//! that are inside at one instant are Poisson in number (M/G/∞). When played calls take more room than that, everybody
//! is woken, the hits that are inside are drawn and hold their threads, and until the crowd has gone every call is
//! played.

use seawall_core::dist::Dist;
use seawall_core::draw;
use seawall_core::time::{Span, Time};

use super::Dozer;
use super::latency::longest;
use crate::world::{Event, World};

/// How long a hit holds its thread.
#[derive(Clone, Debug, Default)]
pub(super) struct Hold {
    parts: Vec<Dist>,
    /// The mean, in seconds.
    pub(super) mean: f64,
    longest: Span,
}

impl Hold {
    /// A hit that holds a thread for the sum of these.
    pub(super) fn new(parts: &[Dist]) -> Hold {
        Hold {
            parts: parts.to_vec(),
            mean: parts.iter().map(|part| part.mean().as_secs_f64()).sum(),
            longest: parts.iter().map(longest).fold(Span::ZERO, |sum, part| sum + part),
        }
    }
}

/// What a Poisson number of this mean is above with a probability of no more than 10⁻¹² or so (Bernstein's bound is below
/// that from one on, and what is less is rarer still).
pub(super) fn most(mean: f64) -> f64 {
    if mean > 0.0 {
        mean + 8.0 * libm::sqrt(mean) + 7.0
    } else {
        0.0
    }
}

impl World {
    /// How many threads of each instance played calls may hold without meeting a hit; none where there are as many as
    /// anybody wants.
    pub(super) fn room(&self, service: u16) -> Option<u32> {
        let sim = &self.services[service as usize];
        let threads = sim.threads?;
        let end = self.now + self.plan.scenario.run.every;
        let mut inside = 0.0;
        for client in self.clients.iter().filter(|client| client.service == service) {
            if let Some(dozer) = &client.dozer {
                inside += client.arrivals.peak(self.now, end) * dozer.hold.mean;
            }
        }
        let each = most(inside / sim.instances.len().max(1) as f64);
        Some(libm::floor(f64::from(threads) - each).max(0.0) as u32)
    }

    /// Whether the played calls of a service leave room for hits: more than that to begin with, so as not to wake
    /// everybody again at once.
    pub(super) fn is_roomy(&self, service: u16, on: bool) -> bool {
        let Some(room) = self.room(service) else {
            return true;
        };
        let most = if on { room } else { room / 2 };
        let instances = &self.services[service as usize].instances;
        room > 0
            && instances
                .iter()
                .all(|instance| instance.busy <= most && instance.line.is_empty())
    }

    /// Sees to it that everybody is woken when there is no longer room.
    pub(super) fn watch_crowd(&mut self) {
        for service in 0..self.services.len() as u16 {
            let dozes = self
                .clients
                .iter()
                .any(|client| client.service == service && client.dozes());
            let room = self.room(service).filter(|_| dozes);
            self.services[service as usize].crowded_above = room.unwrap_or(u32::MAX);
        }
    }

    /// A service has become crowded: wakes those who call it.
    pub(super) fn thin_out(&mut self) {
        self.crowded = false;
        for index in 0..self.clients.len() {
            let sim = &self.services[self.clients[index].service as usize];
            if sim
                .instances
                .iter()
                .any(|instance| instance.busy > sim.crowded_above)
            {
                self.rouse_client(index);
            }
        }
        self.surveyed = false;
    }

    /// The hits of a client that are inside now take their threads. To be called while its keys still sleep.
    pub(super) fn let_hold(&mut self, index: usize) {
        let now = self.now;
        let client = &mut self.clients[index];
        let service = client.service;
        let Some(dozer) = &mut client.dozer else { return };
        let sim = &mut self.services[service as usize];
        if sim.threads.is_none() || dozer.hold.mean <= 0.0 {
            return;
        }
        let rate = client.arrivals.rate(now);
        for left in dozer.inside(now, rate) {
            let instance = dozer.sleepers.rng().below(sim.instances.len() as u64) as usize;
            let copy = &mut sim.instances[instance];
            if !copy.up || sim.threads.is_some_and(|threads| copy.busy >= threads) {
                continue;
            }
            copy.busy += 1;
            sim.in_progress += 1;
            let event = Event::Release {
                service,
                instance: instance as u16,
                life: copy.life,
            };
            self.agenda.push(now + left, event);
        }
    }

    /// Draws how many hits are inside each service at the end of a period.
    pub(super) fn count_inside(&mut self) {
        let now = self.now;
        for sim in &mut self.services {
            sim.hidden = 0;
        }
        for client in &mut self.clients {
            let sim = &mut self.services[client.service as usize];
            let Some(dozer) = client.dozer.as_mut().filter(|dozer| dozer.sleepers.on) else {
                continue;
            };
            if sim.threads.is_none() || dozer.hold.mean <= 0.0 {
                continue;
            }
            let rate = client.arrivals.rate(now);
            sim.hidden += if now.since(dozer.lulled) < dozer.hold.longest {
                dozer.inside(now, rate).len() as u32
            } else {
                let rate = rate * dozer.sleepers.exposure.asleep(now);
                dozer.sleepers.number(rate * dozer.hold.mean) as u32
            };
        }
    }
}

impl Dozer {
    /// For how much longer each of the hits will hold its thread that are inside now, when all calls come at this rate.
    ///
    /// Those who came in the last while are Poisson in number, their ages even; who has not left by his age is inside.
    fn inside(&mut self, now: Time, rate: f64) -> Vec<Span> {
        let window = self.hold.longest.min(now.since(self.lulled));
        let rate = rate * self.sleepers.exposure.asleep(now);
        let rng = self.sleepers.rng();
        let came = draw::poisson(rate * window.as_secs_f64(), rng);
        let mut inside = Vec::new();
        for _ in 0..came {
            let age = window.scaled(rng.unit());
            let parts = self.hold.parts.iter();
            let hold = parts.fold(Span::ZERO, |sum, part| sum + part.draw(rng));
            if hold > age {
                inside.push(hold.saturating_sub(age));
            }
        }
        inside
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardly_ever_are_more_inside() {
        for mean in [0.01_f64, 0.1, 1.0, 4.0, 25.0, 1_000.0] {
            // The tail of a Poisson law, by its first term and a geometric bound for the rest.
            let from = most(mean).floor() + 1.0;
            let first = from * mean.ln() - mean - libm::lgamma(from + 1.0);
            let tail = first.exp() / (1.0 - mean / (from + 1.0));
            assert!(tail < 1e-12, "{mean}: {tail:e}");
            assert!(most(mean) < 10.0 + 2.0 * mean + 8.0 * mean.sqrt());
        }
    }
}
