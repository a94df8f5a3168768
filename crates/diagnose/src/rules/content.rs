//! What became of the entries of a cache that answers: gone, expired together, loaded over and over, or not right.

use super::access::restarted;
use super::words::{count, or_unknown, share, time, times};
use crate::failure::Failure;
use crate::finding::{Case, Finding};
use crate::situation::Situation;
use crate::view::Cache;

const ENTRIES: &str = "how many entries the cache holds";
const EXPIRED: &str = "how many entries expire";

/// Periods over which a sudden loss is looked for.
const SUDDEN: usize = 3;

pub(super) fn examine(situation: &Situation, cache: &Cache, findings: &mut Vec<Finding>) {
    let content = Content { situation, cache };
    findings.extend([
        content.cold(),
        content.mass_expiry(),
        content.stampede(),
        content.corruption(),
        content.hot_key(),
        content.penetration(),
    ]);
}

struct Content<'a> {
    situation: &'a Situation<'a>,
    cache: &'a Cache,
}

impl Content<'_> {
    fn case(&self, failure: Failure) -> Case {
        Case::new(failure, &self.cache.name)
    }

    /// The largest share of the entries that went within a few periods since the calm, and when it was.
    fn lost_at_once(&self) -> Option<(f64, usize)> {
        let usual = self
            .cache
            .entries
            .median(self.situation.calm)
            .filter(|usual| *usual > 0.0)?;
        let since = &self.situation.since;
        let first = since.start.saturating_sub(1);
        let mut most = (0.0_f64, since.start);
        for at in first..since.end {
            let Some(before) = self.cache.entries.at(at) else {
                continue;
            };
            let after =
                (at + 1..(at + 1 + SUDDEN).min(since.end)).filter_map(|next| self.cache.entries.at(next));
            let Some(least) = after.reduce(f64::min) else {
                continue;
            };
            let lost = (before - least) / usual;
            if lost > most.0 {
                most = (lost, at);
            }
        }
        Some(most)
    }

    /// The largest number of entries that expired within a few periods since the calm, as a share of all.
    fn expired_at_once(&self) -> Option<f64> {
        let usual = self
            .cache
            .entries
            .median(self.situation.calm)
            .filter(|usual| *usual > 0.0)?;
        if !self.cache.expired.is_measured() {
            return None;
        }
        let since = &self.situation.since;
        let most = (since.start..since.end)
            .filter_map(|at| self.cache.expired.sum(at..(at + SUDDEN).min(since.end)))
            .fold(0.0_f64, f64::max);
        Some(most / usual)
    }

    /// What expires within as many periods while it is calm, as a share of all entries.
    fn expires_usually(&self) -> f64 {
        let usual = self
            .cache
            .entries
            .median(self.situation.calm)
            .unwrap_or(0.0)
            .max(1.0);
        self.cache
            .expired
            .quantile(self.situation.calm, 0.9)
            .unwrap_or(0.0)
            * SUDDEN as f64
            / usual
    }

    /// Whether look-ups find less than they did, by a fifth at least.
    fn finds_less(&self, case: &mut Case, pro: f64, contra: f64) {
        let (now, calm) = self.situation.hit_rates(self.cache);
        let less = now.zip(calm).map(|(now, calm)| now < 0.8 * calm);
        case.weigh(less, pro, contra, "its hits and misses", || {
            format!(
                "{} of the look-ups are hits, {} while it was calm",
                or_unknown(now, share),
                or_unknown(calm, share)
            )
        });
    }

    fn answers(&self, case: &mut Case, contra: f64) {
        let reached = self.situation.reached(self.cache);
        case.weigh(reached, 0.5, contra, "", || match reached {
            Some(true) => "it answers".to_owned(),
            _ => "it cannot be reached, so what it holds is not the question".to_owned(),
        });
    }

    fn cold(&self) -> Finding {
        let mut case = self.case(Failure::Cold);
        let lost = self.lost_at_once();
        let expired = self.expired_at_once().unwrap_or(0.0);
        let fell = lost.map(|(lost, _)| lost >= 0.3 && lost > 2.0 * expired);
        case.weigh(fell, 5.0, -5.0, ENTRIES, || {
            let (lost, at) = lost.unwrap_or_default();
            let ago = (self.situation.since.end.saturating_sub(at + 1)) as f64 * self.situation.view.period;
            format!(
                "{} of the entries were gone at once, {} ago; {} expired",
                share(lost),
                time(ago),
                share(expired)
            )
        });
        let youngest = self
            .cache
            .probed
            .iter()
            .filter_map(|node| restarted(self.situation, node))
            .reduce(f64::min);
        if let Some(age) = youngest {
            case.supports(true, 4.0, || format!("its process began {} ago", time(age)));
        }
        let taken = self.cache.invalidations.most(self.situation.since.clone());
        let usual = self.cache.entries.median(self.situation.calm);
        if let (Some(taken), Some(usual)) = (taken, usual) {
            case.supports(taken > 0.3 * usual && usual > 0.0, 2.0, || {
                format!("{} entries were taken out in one period", count(taken))
            });
        }
        self.finds_less(&mut case, 2.0, -3.0);
        self.answers(&mut case, -8.0);
        case.close()
    }

    fn mass_expiry(&self) -> Finding {
        let mut case = self.case(Failure::MassExpiry);
        let (expired, usual) = (self.expired_at_once(), self.expires_usually());
        let many = expired.map(|expired| expired >= 0.1 && expired >= 4.0 * usual);
        case.weigh(many, 6.0, -5.0, EXPIRED, || {
            format!(
                "{} of the entries expired within {}; {} do while it is calm",
                share(expired.unwrap_or(0.0)),
                time(SUDDEN as f64 * self.situation.view.period),
                share(usual)
            )
        });
        self.finds_less(&mut case, 3.0, -2.0);
        self.answers(&mut case, -6.0);
        case.close()
    }

    /// Fill amplification: writes for each entry that is there more, or was there and went. A cache that is filled once
    /// has 1; one in which many load the same has as many as load it.
    fn amplification(&self) -> Option<f64> {
        let (cache, lately) = (self.cache, &self.situation.lately);
        let sets = cache.sets.sum(lately.clone())?;
        let before = cache.entries.at(lately.start.checked_sub(1)?)?;
        let after = cache.entries.last(lately.clone())?;
        let gone: f64 = [&cache.expired, &cache.evictions, &cache.invalidations]
            .into_iter()
            .filter_map(|line| line.sum(lately.clone()))
            .sum();
        let needed = (after - before + gone).max(1.0);
        (sets >= 20.0).then_some(sets / needed)
    }

    fn stampede(&self) -> Finding {
        let mut case = self.case(Failure::Stampede);
        let misses = situation_ratio(self);
        case.weigh(
            misses.map(|times| times >= 3.0),
            2.5,
            -4.0,
            "its hits and misses",
            || {
                format!(
                    "{} as many misses as while it was calm",
                    times(misses.unwrap_or(0.0))
                )
            },
        );
        let usual = self.usual_amplification();
        let amplification = self.amplification();
        let more = amplification.map(|factor| factor >= 3.0 && factor >= 1.5 * usual.unwrap_or(1.0));
        case.weigh(
            more,
            4.5,
            -4.0,
            "how many entries are written, are there, and go",
            || {
                format!(
                    "{} writes for each entry that was missing",
                    amplification.map_or_else(String::new, |x| format!("{x:.1}"))
                )
            },
        );
        let per_miss = self.sets_per_miss();
        case.weigh(
            per_miss.map(|sets| (0.5..=1.5).contains(&sets)),
            1.0,
            -0.5,
            "",
            || format!("{:.2} writes for each miss", per_miss.unwrap_or(0.0)),
        );
        let identical = self
            .situation
            .view
            .origins
            .iter()
            .filter_map(|origin| origin.identical.most(self.situation.now.clone()))
            .reduce(f64::max);
        case.weigh(
            identical.map(|many| many >= 3.0),
            4.0,
            -1.0,
            "the queries that run at the origin",
            || {
                format!(
                    "the same query runs {} times at once at the origin",
                    count(identical.unwrap_or(0.0))
                )
            },
        );
        self.answers(&mut case, -8.0);
        case.close()
    }

    fn usual_amplification(&self) -> Option<f64> {
        let sets = self.cache.sets.median(self.situation.calm)?;
        let gone: f64 = [
            &self.cache.expired,
            &self.cache.evictions,
            &self.cache.invalidations,
        ]
        .into_iter()
        .filter_map(|line| line.median(self.situation.calm))
        .sum();
        (gone > 0.0).then(|| (sets / gone).clamp(1.0, 5.0))
    }

    fn sets_per_miss(&self) -> Option<f64> {
        let lately = &self.situation.lately;
        let misses = self
            .cache
            .misses
            .sum(lately.clone())
            .filter(|misses| *misses > 0.0)?;
        Some(self.cache.sets.sum(lately.clone())? / misses)
    }

    fn corruption(&self) -> Finding {
        let mut case = self.case(Failure::Corruption);
        let wrong: Option<f64> = self
            .situation
            .view
            .clients
            .iter()
            .filter_map(|client| client.wrong.sum(self.situation.now.clone()))
            .reduce(|one, other| one + other);
        case.weigh(
            wrong.map(|wrong| wrong > 0.0),
            9.0,
            -0.5,
            "whether answers are right",
            || format!("{} wrong answers", count(wrong.unwrap_or(0.0))),
        );
        let failed = ["corrupt", "wrong_type"]
            .into_iter()
            .filter_map(|reason| self.situation.errors(self.cache, reason))
            .reduce(|one, other| one + other);
        case.weigh(
            failed.map(|failed| failed > 0.0005),
            8.5,
            -0.5,
            "the errors of those who read, by reason",
            || {
                format!(
                    "{} of what is read cannot be what was stored",
                    share(failed.unwrap_or(0.0))
                )
            },
        );
        let differs = self
            .cache
            .probed
            .iter()
            .filter_map(|probed| self.situation.failing(probed, &["read_wrong"]))
            .reduce(f64::max);
        case.weigh(differs.map(|differs| differs > 0.0), 9.0, -0.5, "", || {
            format!(
                "what a probe wrote came back different in {} of the probes",
                share(differs.unwrap_or(0.0))
            )
        });
        case.close()
    }

    fn hot_key(&self) -> Finding {
        let mut case = self.case(Failure::HotKey);
        let now = self.cache.hot.mean(self.situation.now.clone());
        let calm = self.cache.hot.median(self.situation.calm);
        let hot = now.map(|now| now >= 0.15 && now >= 2.5 * calm.unwrap_or(0.05));
        case.weigh(
            hot,
            7.0,
            -6.0,
            "which keys are asked for (the library's, or an LFU policy's)",
            || {
                format!(
                    "{} of the look-ups are for one key, {} while it was calm",
                    or_unknown(now, share),
                    or_unknown(calm, share)
                )
            },
        );
        case.close()
    }

    fn penetration(&self) -> Finding {
        let mut case = self.case(Failure::Penetration);
        let misses = situation_ratio(self);
        case.weigh(
            misses.map(|times| times >= 1.5),
            1.5,
            -4.0,
            "its hits and misses",
            || {
                format!(
                    "{} as many misses as while it was calm",
                    times(misses.unwrap_or(0.0))
                )
            },
        );
        let lately = &self.situation.lately;
        let share_of = |empty: Option<f64>, asked: Option<f64>| match (empty, asked) {
            (Some(empty), Some(asked)) if asked > 0.0 => Some(empty / asked),
            _ => None,
        };
        let empty = self
            .situation
            .view
            .origins
            .iter()
            .filter_map(|origin| {
                share_of(
                    origin.empty.sum(lately.clone()),
                    origin.requests.sum(lately.clone()),
                )
            })
            .reduce(f64::max);
        case.weigh(
            empty.map(|empty| empty >= 0.2),
            6.0,
            -6.0,
            "what the origin finds",
            || {
                format!(
                    "{} of what the origin is asked for does not exist",
                    share(empty.unwrap_or(0.0))
                )
            },
        );
        let per_miss = self.sets_per_miss();
        if empty.is_none() {
            case.weigh(per_miss.map(|sets| sets <= 0.5), 3.0, -3.0, "", || {
                format!("{:.2} writes for each miss", per_miss.unwrap_or(0.0))
            });
        }
        self.answers(&mut case, -5.0);
        case.close()
    }
}

/// How many times as many misses there are as while it was calm.
fn situation_ratio(content: &Content) -> Option<f64> {
    let floor = content.cache.hits.median(content.situation.calm).unwrap_or(0.0) * 0.01;
    content.situation.grown(&content.cache.misses, floor.max(1.0))
}
