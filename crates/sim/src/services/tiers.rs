//! Look-ups and writes of an instance, in the caches that it shares and in those of its own.

use seawall_core::guard::{self, Entry, LoadId, Reply};
use seawall_core::time::Span;

use crate::world::{Call, World};

impl World {
    pub(super) fn look(
        &mut self,
        service: u16,
        call: &Call,
        tier: u8,
        node: u16,
        timeout: Span,
    ) -> (Reply, Span) {
        self.look_for(service, call.instance, call.copy, tier, node, call.key, timeout)
    }

    #[expect(clippy::too_many_arguments, reason = "a look-up has this many coordinates")]
    pub(super) fn look_for(
        &mut self,
        service: u16,
        index: u16,
        copy: u16,
        tier: u8,
        node: u16,
        key: u64,
        timeout: Span,
    ) -> (Reply, Span) {
        let cache = self.services[service as usize].tiers[tier as usize];
        let instance = &mut self.services[service as usize].instances[index as usize];
        if let Some(store) = instance.locals[tier as usize].get_mut(copy as usize) {
            return self.caches[cache].look_local(self.now, store, key, &mut self.meter);
        }
        self.caches[cache].look(self.now, node, key, timeout, &mut self.meter)
    }

    #[expect(clippy::too_many_arguments, reason = "a write has this many coordinates")]
    pub(super) fn put(
        &mut self,
        service: u16,
        index: u16,
        load: Option<LoadId>,
        tier: u8,
        node: u16,
        key: u64,
        keep: Span,
        entry: Entry,
    ) -> (Result<(), guard::CacheFault>, Span) {
        let cache = self.services[service as usize].tiers[tier as usize];
        let copies = self.services[service as usize].copies;
        let instance = &mut self.services[service as usize].instances[index as usize];
        if instance.locals[tier as usize].is_empty() {
            let written = self.plan.scenario.caches[cache].timeout;
            let patience = self.services[service as usize].policies.deadline.cache;
            let patience = patience.map_or(written, |own| own.min(written));
            return self.caches[cache].put(self.now, node, key, keep, entry, patience, &mut self.meter);
        }
        let joined = load
            .and_then(|load| instance.joined.get(load.index() as usize))
            .filter(|joined| !joined.is_empty());
        let stores = &mut instance.locals[tier as usize];
        if let Some(joined) = joined {
            for copy in joined {
                self.caches[cache].put_local(
                    self.now,
                    &mut stores[*copy as usize],
                    key,
                    keep,
                    entry,
                    &mut self.meter,
                );
            }
        } else {
            let copy = seawall_core::rng::mix(key ^ self.now.as_nanos()) % u64::from(copies);
            self.caches[cache].put_local(
                self.now,
                &mut stores[copy as usize],
                key,
                keep,
                entry,
                &mut self.meter,
            );
        }
        (Ok(()), Span::ZERO)
    }

    pub(super) fn take_out(&mut self, service: u16, index: u16, tier: u8, node: u16, key: u64, version: u64) {
        let cache = self.services[service as usize].tiers[tier as usize];
        let instance = &mut self.services[service as usize].instances[index as usize];
        let stores = &mut instance.locals[tier as usize];
        if stores.is_empty() {
            self.caches[cache].take_out(self.now, node, key, version, &mut self.meter);
        } else {
            for store in stores {
                self.caches[cache].take_out_local(self.now, store, key, version, &mut self.meter);
            }
        }
    }

    pub(super) fn lease(
        &mut self,
        service: u16,
        index: u16,
        tier: u8,
        node: u16,
        key: u64,
        hold: Span,
    ) -> bool {
        let cache = self.services[service as usize].tiers[tier as usize];
        self.caches[cache].lease(self.now, node, key, hold, u64::from(index))
    }

    pub(super) fn give_back(&mut self, service: u16, tier: u8, node: u16, key: u64) {
        let cache = self.services[service as usize].tiers[tier as usize];
        self.caches[cache].give_back(self.now, node, key);
    }

    /// Whether the shared cache that would hold a key does not answer.
    pub(super) fn caches_fail(&self, service: u16, key: u64) -> bool {
        let sim = &self.services[service as usize];
        sim.first_shared
            .is_some_and(|cache| self.caches[cache].fails(key))
    }
}
