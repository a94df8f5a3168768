//! The first part of a load, where another process may be loading the same key: the lease, and looking again.

use crate::coalesce::LoadId;
use crate::lease::{Contender, Grant, Step as Turn, Token};
use crate::rng::Stream;
use crate::time::{Span, Time};

use super::super::Guard;
use super::super::step::{Entry, LoadStep};
use super::{Landing, Purpose, State};

impl Guard {
    pub(super) fn launched(&mut self, now: Time, rng: &mut Stream, id: LoadId) -> LoadStep {
        let load = &self.loads[id.index() as usize];
        if load.entry.is_some() {
            return self.inserted(now, rng, id);
        }
        if load.place.is_some() || load.contender.is_some() {
            return self.approach(now, rng, id);
        }
        let (key, purpose) = (load.key, load.purpose);
        if let (Some((tier, node)), Some(settings)) = (self.lease_tier(now, key), &self.policies.lease) {
            let contender = Contender::new(settings, now);
            let load = &mut self.loads[id.index() as usize];
            load.contender = Some(contender);
            (load.tier, load.node) = (tier, node);
            if purpose != Purpose::Warm {
                return self.ask_lease(id);
            }
        } else if purpose == Purpose::Warm
            && let Some((tier, node)) = self.shared_tier(now, key)
        {
            let load = &mut self.loads[id.index() as usize];
            (load.tier, load.node) = (tier, node);
        } else {
            return self.approach(now, rng, id);
        }
        self.look_again(now, id)
    }

    fn ask_lease(&mut self, id: LoadId) -> LoadStep {
        let hold = self
            .policies
            .lease
            .as_ref()
            .map_or(Span::ZERO, |settings| settings.hold);
        let load = &mut self.loads[id.index() as usize];
        load.state = State::Leasing;
        LoadStep::Lease {
            tier: load.tier,
            node: load.node,
            key: load.key,
            hold,
        }
    }

    pub(super) fn lease_answered(
        &mut self,
        now: Time,
        rng: &mut Stream,
        id: LoadId,
        granted: bool,
    ) -> LoadStep {
        let hold = self
            .policies
            .lease
            .as_ref()
            .map_or(Span::ZERO, |settings| settings.hold);
        let load = &mut self.loads[id.index() as usize];
        if granted {
            load.leased = Some((load.tier, load.node));
        }
        // Which token it was is between the store and the driver.
        let grant = if granted {
            Grant::Granted(Token(0))
        } else {
            Grant::Held { until: now + hold }
        };
        let turn = load
            .contender
            .as_ref()
            .map_or(Turn::Load, |contender| contender.step(now, grant));
        match turn {
            Turn::Load => self.approach(now, rng, id),
            // Another instance refreshes or warms it: that will do.
            Turn::LookAgain { .. } if load.goes_on && self.flights.waiting(id) == 0 => {
                self.land(id, Landing::Failed, false);
                self.close(now, id);
                LoadStep::Done
            }
            Turn::LookAgain { at } => {
                load.state = State::LeasePause;
                LoadStep::Pause { until: at }
            }
        }
    }

    pub(super) fn look_again(&mut self, now: Time, id: LoadId) -> LoadStep {
        let load = &mut self.loads[id.index() as usize];
        load.state = State::Looking;
        load.sent = now;
        let timeout = self.tiers[load.tier as usize].timeout;
        LoadStep::Look {
            tier: load.tier,
            node: load.node,
            key: load.key,
            timeout,
        }
    }

    pub(super) fn looked(
        &mut self,
        now: Time,
        rng: &mut Stream,
        id: LoadId,
        found: Option<&Entry>,
    ) -> LoadStep {
        let load = &self.loads[id.index() as usize];
        let usable = |entry: &&Entry| {
            now < entry.fresh_until
                && (entry.intact || !self.policies.integrity)
                && entry.stored >= self.freshness.epoch_began
                && !self.marks.overtaken(load.key, entry.stored, entry.version)
        };
        match found.filter(usable) {
            Some(entry) => {
                let landing = Landing::Value {
                    version: entry.version,
                    negative: entry.negative,
                };
                self.land(id, landing, true);
                self.close(now, id);
                LoadStep::Done
            }
            None if load.contender.is_some() => self.ask_lease(id),
            None => self.approach(now, rng, id),
        }
    }
}
