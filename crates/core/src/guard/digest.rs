//! What the policies come to, worked out once when they change and not with every request.

use crate::policies::Policies;
use crate::queue::Order;
use crate::ring::{Placement, Sharding};
use crate::rng::{Stream, mix};
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
    /// Spare nodes, numbered after the others.
    pub(super) spares: u16,
    /// Nothing on a spare node is kept for longer than this.
    spare_ttl: Span,
    /// One a node, spare ones included; none when they are off, or cannot be needed.
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
            spares: 0,
            spare_ttl: Span::MAX,
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

    /// The spare node that stands in for the key's own.
    pub(super) fn spare(&self, key: u64) -> Option<u16> {
        // Not the hash that the ring uses: the keys of one lost node are spread over all spares.
        let place = mix(!key).checked_rem(self.spares.into())?;
        Some(self.nodes + place as u16)
    }

    /// The longest that something is kept on this node.
    pub(super) fn keep_max(&self, node: u16) -> Span {
        if node < self.nodes {
            Span::MAX
        } else {
            self.spare_ttl
        }
    }

    /// The node to ask for this key: its own, or a spare one while that one's breaker refuses. `None` when no node may
    /// be asked.
    #[inline]
    pub(super) fn admit(
        &mut self,
        now: Time,
        rng: &mut Stream,
        key: u64,
    ) -> Option<(u16, Option<breaker::Permit>)> {
        let node = self.node(key);
        let Some(breaker) = self.breakers.get_mut(node as usize) else {
            return Some((node, None));
        };
        match breaker.admit(now, rng) {
            breaker::Admission::Pass(permit) => Some((node, Some(permit))),
            breaker::Admission::Refuse { .. } => self.admit_spare(now, rng, key),
        }
    }

    #[cold]
    fn admit_spare(
        &mut self,
        now: Time,
        rng: &mut Stream,
        key: u64,
    ) -> Option<(u16, Option<breaker::Permit>)> {
        let node = self.spare(key)?;
        match self.breakers.get_mut(node as usize)?.admit(now, rng) {
            breaker::Admission::Pass(permit) => Some((node, Some(permit))),
            breaker::Admission::Refuse { .. } => None,
        }
    }

    /// The node that would be asked for this key now, as far as can be told without asking.
    pub(super) fn standing(&self, now: Time, key: u64) -> Option<u16> {
        let node = self.node(key);
        let refuses = |node: &u16| {
            let breaker = self.breakers.get(*node as usize);
            breaker.is_some_and(|breaker| breaker.state(now) == breaker::State::Open)
        };
        Some(node)
            .filter(|node| !refuses(node))
            .or_else(|| self.spare(key).filter(|spare| !refuses(spare)))
    }

    /// Gets other spare nodes. Returns how many changes of state went with the breakers that it dropped.
    pub(super) fn set_spares(&mut self, spares: u16, ttl: Span, settings: Option<&breaker::Settings>) -> u64 {
        (self.spares, self.spare_ttl) = (spares, ttl);
        self.fit(settings.filter(|_| !self.local))
    }

    /// One breaker a node.
    fn fit(&mut self, settings: Option<&breaker::Settings>) -> u64 {
        let Some(settings) = settings else { return 0 };
        let nodes = self.nodes as usize + self.spares as usize;
        let dropped = self.breakers.iter().skip(nodes);
        let dropped = dropped.map(breaker::Breaker::transitions).sum();
        self.breakers
            .resize_with(nodes, || breaker::Breaker::new(settings.clone()));
        dropped
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
        self.fit(settings.filter(|_| !self.local))
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
        self.fit(Some(settings))
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
    match (&policies.hot, &policies.warm) {
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
