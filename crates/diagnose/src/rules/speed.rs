//! Why a cache that answers takes long: the commands, the processor, or the way.
//!
//! The time inside the server and the time of a probe are two measurements. A slow way lengthens only the second. A slow
//! command lengthens the first and keeps the processor busy; a processor that is taken away lengthens it and does not.

use super::words::{count, or_unknown, share, time, times};
use crate::failure::Failure;
use crate::finding::{Case, Finding};
use crate::situation::Situation;
use crate::view::{Cache, Probed};

/// Commands that are quicker are quick, however much quicker they were.
const INSIDE_LEAST_S: f64 = 1e-3;
const PROBE: &str = "how long a probe takes";
const INSIDE: &str = "how long commands take inside the cache (commandstats)";

pub(super) fn examine(situation: &Situation, cache: &Cache, findings: &mut Vec<Finding>) {
    let nobody = Probed::default();
    let slowest = cache.probed.iter().max_by(|one, other| {
        let reply = |probed: &Probed| probed.reply.mean(situation.now.clone()).unwrap_or(0.0);
        reply(one).total_cmp(&reply(other))
    });
    let pace = Pace {
        situation,
        cache,
        node: slowest.unwrap_or(&nobody),
    };
    findings.extend([pace.network(), pace.commands(), pace.starved()]);
}

struct Pace<'a> {
    situation: &'a Situation<'a>,
    cache: &'a Cache,
    node: &'a Probed,
}

impl Pace<'_> {
    fn reply(&self) -> (Option<f64>, Option<f64>) {
        let now = self.node.reply.mean(self.situation.now.clone());
        (now, self.node.reply.median(self.situation.calm))
    }

    fn inside(&self) -> (Option<f64>, Option<f64>) {
        let now = self.cache.command.mean(self.situation.now.clone());
        (now, self.cache.command.median(self.situation.calm))
    }

    /// Whether a probe takes much longer than it did: five times, and as long as anybody would notice.
    fn late(&self) -> Option<bool> {
        match self.reply() {
            (Some(now), Some(calm)) => Some(now >= 5.0 * calm && now >= calm + 0.002),
            (Some(now), None) => Some(now >= 0.1),
            _ => None,
        }
    }

    /// How many times as long commands take inside the cache; what is below a millisecond is no matter.
    fn longer(&self) -> Option<f64> {
        match self.inside() {
            (Some(now), Some(calm)) if now < INSIDE_LEAST_S => Some((now / calm.max(1e-6)).min(1.0)),
            (Some(now), Some(calm)) => Some(now / calm.max(1e-6)),
            _ => None,
        }
    }

    fn case(&self, failure: Failure) -> Case {
        let node = if self.cache.probed.len() > 1 {
            self.node.node
        } else {
            None
        };
        Case::new(failure, &self.cache.name).of_node(node)
    }

    fn tell_reply(&self) -> String {
        let (now, calm) = self.reply();
        format!(
            "PING takes {}, {} while it was calm",
            or_unknown(now, time),
            or_unknown(calm, time)
        )
    }

    fn tell_inside(&self) -> String {
        let (now, calm) = self.inside();
        format!(
            "a command takes {} inside it, {} while it was calm",
            or_unknown(now, time),
            or_unknown(calm, time)
        )
    }

    /// Processors used, now and while it was calm; nothing when it is asked for so little that they say nothing.
    fn busy(&self) -> (Option<f64>, Option<f64>) {
        if self.situation.asked(self.cache).is_some_and(|asked| asked < 0.5) {
            return (None, None);
        }
        let now = self.cache.cpu.mean(self.situation.now.clone());
        (now, self.cache.cpu.median(self.situation.calm))
    }

    fn network(&self) -> Finding {
        let mut case = self.case(Failure::NetworkLatency);
        case.weigh(self.late(), 5.0, -7.0, PROBE, || self.tell_reply());
        let quick = self.longer().map(|longer| longer < 3.0);
        let quick = quick.filter(|_| self.late() == Some(true));
        case.weigh(quick, 3.0, -6.0, INSIDE, || self.tell_inside());
        case.close()
    }

    fn commands(&self) -> Finding {
        let mut case = self.case(Failure::SlowCommands);
        let longer = self.longer();
        case.weigh(longer.map(|longer| longer >= 4.0), 6.5, -6.0, INSIDE, || {
            self.tell_inside()
        });
        let (now, calm) = self.busy();
        let burns = now
            .zip(calm)
            .map(|(now, calm)| now > 0.6 || now > 2.0 * calm + 0.05);
        let burns = burns.filter(|_| longer.is_some_and(|longer| longer >= 4.0));
        case.weigh(burns, 3.0, -3.0, "how busy its processor is", || {
            format!("it uses {} of a processor", share(now.unwrap_or(0.0)))
        });
        let written = self.cache.slow.sum(self.situation.now.clone());
        let usual = self.cache.slow.median(self.situation.calm).unwrap_or(0.0);
        let more =
            written.map(|written| written > 3.0 * usual * self.situation.now.len() as f64 && written > 0.0);
        case.weigh(more, 3.0, -1.0, "its SLOWLOG", || {
            format!("{} new entries of its SLOWLOG", count(written.unwrap_or(0.0)))
        });
        case.close()
    }

    fn starved(&self) -> Finding {
        let mut case = self.case(Failure::CpuStarved);
        let longer = self.longer();
        case.weigh(longer.map(|longer| longer >= 3.0), 4.0, -6.0, INSIDE, || {
            self.tell_inside()
        });
        let (now, calm) = self.busy();
        let slow = longer.is_some_and(|longer| longer >= 3.0);
        let idle = now
            .zip(calm)
            .map(|(now, calm)| now <= 1.3 * calm + 0.02 || now < 0.5);
        case.weigh(
            idle.filter(|_| slow),
            4.0,
            -5.0,
            "how busy its processor is",
            || {
                format!(
                    "though all takes {} as long it uses {} of a processor, {} while it was calm",
                    times(longer.unwrap_or(1.0)),
                    or_unknown(now, share),
                    or_unknown(calm, share)
                )
            },
        );
        case.close()
    }
}
