//! What the policies come to, worked out once when they change and not with every request.

use crate::policies::Policies;
use crate::queue::Order;
use crate::ring::{Placement, Sharding};
use crate::sketch::Sketch;
use crate::time::{Span, Time};
use crate::{breaker, limit, queue, sketch};

use super::step::Tier;

/// Points of a node on the ring: its load deviates from the mean by about an eighth at most.
const VNODES: u16 = 160;

/// A tier, its breakers and its limits.
#[derive(Debug)]
pub(super) struct TierState {
    placement: Placement,
    pub(super) nodes: u16,
    pub(super) local: bool,
    pub(super) shared: bool,
    /// The TTL of what has none of its own.
    pub(super) ttl: Span,
    /// No entry is fresh for longer than this.
    pub(super) ttl_max: Span,
    own_timeout: Span,
    /// How long a look-up may take.
    pub(super) timeout: Span,
    /// One a node; none when they are off, or cannot be needed.
    pub(super) breakers: Vec<breaker::Breaker>,
}

impl TierState {
    pub(super) fn new(tier: &Tier) -> TierState {
        assert!(tier.nodes > 0, "a tier has a node");
        TierState {
            placement: Placement::new(tier.sharding, tier.nodes, VNODES),
            nodes: tier.nodes,
            local: tier.local,
            shared: tier.shared,
            ttl: tier.ttl,
            ttl_max: Span::MAX,
            own_timeout: tier.timeout,
            timeout: tier.timeout,
            breakers: Vec::new(),
        }
    }

    pub(super) fn node(&self, key: u64) -> u16 {
        if self.nodes == 1 {
            0
        } else {
            self.placement.node(key)
        }
    }

    /// Spreads keys over other nodes. Returns how many changes of state went with the breakers that it dropped.
    pub(super) fn respread(
        &mut self,
        sharding: Sharding,
        nodes: u16,
        settings: Option<&breaker::Settings>,
    ) -> u64 {
        assert!(nodes > 0, "a tier has a node");
        self.placement = Placement::new(sharding, nodes, VNODES);
        self.nodes = nodes;
        let Some(settings) = settings.filter(|_| !self.local) else {
            return 0;
        };
        let dropped = self.breakers.iter().skip(nodes as usize);
        let dropped = dropped.map(breaker::Breaker::transitions).sum();
        self.breakers
            .resize_with(nodes as usize, || breaker::Breaker::new(settings.clone()));
        dropped
    }

    /// Takes another TTL and another timeout, under these policies.
    pub(super) fn retime(&mut self, ttl: Span, timeout: Span, policies: &Policies) {
        self.ttl = ttl;
        self.own_timeout = timeout;
        self.clip(policies);
    }

    /// What the policies leave of the tier's own TTL and timeout.
    fn clip(&mut self, policies: &Policies) {
        let (own, limit) = (self.own_timeout, policies.deadline.cache);
        self.timeout = limit.map_or(own, |limit| limit.min(own));
        if self.local {
            let hot = policies.hot.as_ref();
            self.ttl_max = hot.map_or(self.ttl, |hot| hot.ttl.min(self.ttl));
        }
    }

    /// Takes other policies. Returns how many changes of state went with the breakers that it dropped.
    pub(super) fn retune(&mut self, now: Time, policies: &Policies) -> u64 {
        self.clip(policies);
        if self.local {
            return 0;
        }
        let Some(settings) = &policies.breaker else {
            let dropped = self.breakers.iter().map(breaker::Breaker::transitions).sum();
            self.breakers.clear();
            return dropped;
        };
        for breaker in &mut self.breakers {
            breaker.retune(now, settings.clone());
        }
        self.breakers
            .resize_with(self.nodes as usize, || breaker::Breaker::new(settings.clone()));
        0
    }
}

/// The limit on what is inside the origin. Without one it only counts.
pub(super) fn limiter_settings(policies: &Policies) -> limit::Settings {
    policies.limit.clone().unwrap_or(limit::Settings {
        mode: limit::Mode::Fixed,
        min: 1,
        max: u32::MAX,
        initial: u32::MAX,
        places: 0,
        timeout: Span::ZERO,
    })
}

/// The line before the origin.
pub(super) fn line_settings(policies: &Policies) -> queue::Settings {
    let settings = limiter_settings(policies);
    queue::Settings {
        places: settings.places,
        timeout: settings.timeout,
        order: Order::Fifo,
        codel: None,
    }
}

/// Which reads are counted: all, where a hot key must be found at once; one in eight where they are only ranked for
/// warming, which a sample does as well at an eighth of the cost.
pub(super) fn sketch_mask(policies: &Policies) -> u64 {
    if policies.hot.is_some() { 0 } else { 7 }
}

/// What counts the popularity of keys: for keeping the hot ones near, or for knowing what to warm.
pub(super) fn sketch(policies: &Policies) -> Option<Sketch> {
    let warm = policies.warm.as_ref().filter(|warm| warm.automatic);
    match (&policies.hot, warm) {
        (Some(hot), None) => Some(Sketch::new(hot)),
        (Some(hot), Some(_)) => Some(Sketch::with_counters(hot, sketch::COUNTERS_MAX)),
        (None, Some(warm)) => {
            let settings = sketch::Settings {
                window: warm.window,
                ..sketch::Settings::default()
            };
            Some(Sketch::with_counters(&settings, sketch::COUNTERS_MAX))
        }
        (None, None) => None,
    }
}
