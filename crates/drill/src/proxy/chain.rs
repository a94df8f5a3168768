//! The toxics of a proxy as they stand at one instant, and what one connection has of them.

use std::sync::Arc;

use seawall_core::flow::{Fault, Setting};

use super::attributes::Kind;
use super::dialogue::Rule;
use super::passage::Wiring;
use super::toxic::{Side, Toxic};

/// A toxic in force, with a number that no other one has.
#[derive(Clone, Debug)]
pub(super) struct Active {
    pub(super) id: u64,
    pub(super) toxic: Toxic,
}

/// All toxics of a proxy, in the order in which they were added.
#[derive(Clone, Debug, Default)]
pub(super) struct Chain(pub(super) Arc<Vec<Active>>);

impl Chain {
    pub(super) fn has(&self, id: u64) -> bool {
        self.0.iter().any(|active| active.id == id)
    }

    /// Whether no connection at all can be made.
    pub(super) fn cuts_off(&self) -> bool {
        let toxics = self.0.iter().map(|active| &active.toxic);
        let mut cuts = toxics.filter(|toxic| matches!(toxic.attributes, Kind::Partition(_)));
        cuts.any(|toxic| toxic.toxicity >= 1.0)
    }

    /// Whether a connection can be made.
    pub(super) fn connects(&self, wiring: &Wiring, number: u64) -> bool {
        let mut cuts = self
            .0
            .iter()
            .filter(|active| matches!(active.toxic.attributes, Kind::Partition(_)));
        cuts.all(|active| active.toxic.seed(wiring.seed, &wiring.name, number).is_none())
    }
}

/// What one direction of one connection has of the toxics.
#[derive(Default)]
pub(super) struct Share {
    pub(super) settings: Vec<Setting>,
    /// Only upstream: commands are asked there.
    pub(super) rules: Vec<Rule>,
}

impl Share {
    pub(super) fn of(chain: &Chain, wiring: &Wiring, side: Side, number: u64) -> Share {
        let mut share = Share::default();
        for active in chain.0.iter() {
            let toxic = &active.toxic;
            let Some(seed) = toxic.seed(wiring.seed, &wiring.name, number) else {
                continue;
            };
            if let Kind::Resp(resp) = &toxic.attributes {
                if side == Side::Upstream {
                    let resp = resp.clone();
                    share.rules.push(Rule {
                        id: active.id,
                        seed,
                        resp,
                    });
                }
            } else if toxic.stream == side {
                share.settings.extend(toxic.setting(active.id, seed));
            }
        }
        share
    }

    /// Whether the connection is closed when this becomes that: bytes have been thrown away, and nothing sensible can
    /// come behind them.
    pub(super) fn closes_without(&self, next: &Share) -> bool {
        let taken = |setting: &&Setting| matches!(setting.fault, Fault::Blackhole { .. });
        let kept = |id| next.settings.iter().any(|setting| setting.id == id);
        self.settings
            .iter()
            .filter(taken)
            .any(|setting| !kept(setting.id))
    }
}
