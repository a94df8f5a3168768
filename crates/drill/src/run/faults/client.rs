//! What clients do when something is wrong with them.

use std::time::Duration;

use seawall_core::arrivals::Arrivals;
use seawall_core::keys::Keys;
use seawall_core::time::{Span, Time};
use seawall_scenario::{Action, Event, Fault, Place, What};

use super::{InForce, Undo};
use crate::load::Load;
use crate::run::clients::settings;
use crate::run::felt::{Counted, Watch};
use crate::run::system::System;

impl System {
    pub(super) fn strike_client(
        &self,
        force: &mut InForce,
        event: &Event,
        at: usize,
        fault: &Fault,
        loads: &[Load],
    ) {
        let Some(load) = loads.get(at) else { return };
        force.undo.push(match fault {
            Fault::Spike { factor } => {
                load.set_factor(*factor);
                Undo::Spike(at)
            }
            Fault::HotKey { share } => {
                load.hot_key(*share);
                Undo::HotKey(at)
            }
            Fault::Penetration { share } => {
                load.missing(*share);
                Undo::Penetration(at)
            }
            _ => return,
        });
        let client = &self.scaled.scenario.clients[at];
        let share = match fault {
            Fault::HotKey { .. } => Keys::new(client.keys.law()).probability(0),
            _ => client.missing,
        };
        let run = &self.scaled.scenario.run;
        let end = load.began() + Duration::from(run.warmup + run.duration);
        let counted = Counted::new(
            &client.name,
            load.sent(),
            fault.clone(),
            (self.rate_at(at, event.at), share),
            end,
        );
        force.watches.push(Watch::counted(counted));
    }

    /// The calls a second that a client would send at this instant if nothing were wrong with it.
    fn rate_at(&self, at: usize, instant: Span) -> f64 {
        let timeline = self.scaled.scenario.timeline.iter();
        let told = timeline.filter(|event| event.on == Some(Place::Client(at)) && event.at <= instant);
        let mut told = told.filter_map(|event| match event.what {
            What::Action(Action::Rate(rate)) => Some(rate),
            _ => None,
        });
        told.next_back().unwrap_or_else(|| {
            let settings = settings(self, at);
            let arrivals = Arrivals::new(settings.spacing, settings.rate, &settings.changes);
            arrivals.rate(Time::ZERO + self.scaled.scenario.run.warmup + instant)
        })
    }
}
