//! Why a cache cannot be reached: the step of the probe that fails tells, where "down" would not.
//!
//! | connects | answers | a malformed command is refused | so it is |
//! | --- | --- | --- | --- |
//! | refused | | | refused: nobody listens |
//! | no answer | | | unreachable: packets are dropped |
//! | yes | no | no | hung: the kernel accepts, the process stands still |
//! | yes | no | yes | paused: the process reads and holds commands back |
//! | yes | an error | | loading, full, or the login is wrong |

use super::words::{count, share, time};
use crate::failure::Failure;
use crate::finding::{Case, Finding};
use crate::situation::Situation;
use crate::view::{Cache, Probed};

const PROBE: &str = "a probe of the cache";
const ASKED: &str = "the errors of those who ask the cache, by reason";

/// A cache that nobody probes is judged by what those met who asked it.
pub(super) fn examine(situation: &Situation, cache: &Cache, findings: &mut Vec<Finding>) {
    let nobody = Probed::default();
    let probed = if cache.probed.is_empty() {
        std::slice::from_ref(&nobody)
    } else {
        &cache.probed
    };
    for node in probed {
        let look = Look {
            situation,
            cache,
            node,
            nodes: probed.len(),
        };
        findings.extend([
            look.refused(),
            look.unreachable(),
            look.hung(),
            look.paused(),
            look.reset(),
            look.loading(),
            look.auth(),
            look.too_many_clients(),
            look.killed(),
        ]);
    }
}

struct Look<'a> {
    situation: &'a Situation<'a>,
    cache: &'a Cache,
    node: &'a Probed,
    nodes: usize,
}

impl Look<'_> {
    fn case(&self, failure: Failure) -> Case {
        let node = if self.nodes > 1 { self.node.node } else { None };
        Case::new(failure, &self.cache.name).of_node(node)
    }

    fn failing(&self, causes: &[&str]) -> Option<f64> {
        self.situation.failing(self.node, causes)
    }

    /// Weighs how many probes failed with one of these causes.
    fn probes(&self, case: &mut Case, causes: &[&str], pro: f64, contra: f64, what: &str) {
        let failing = self.failing(causes);
        case.weigh(failing.map(|failing| failing >= 0.5), pro, contra, PROBE, || {
            format!("{what} in {} of the probes", share(failing.unwrap_or(0.0)))
        });
    }

    /// Weighs how many look-ups and writes failed for this reason. What probes of this very node say weighs more.
    fn errors(&self, case: &mut Case, reason: &str, pro: f64, contra: f64) {
        let failed = self.situation.errors(self.cache, reason);
        let expected = 0.3 / self.nodes as f64;
        case.weigh(
            failed.map(|failed| failed >= expected),
            pro,
            contra,
            ASKED,
            || {
                let said = reason.replace('_', " ");
                format!("{} of the calls to it: {said}", share(failed.unwrap_or(0.0)))
            },
        );
    }

    /// Whether connections come about.
    fn connects(&self) -> Option<bool> {
        let failing = self.situation.failing_at(self.node, "connect")?;
        Some(failing < 0.5)
    }

    fn silent(&self) -> Option<bool> {
        Some(self.failing(&["reply_timed_out"])? >= 0.5)
    }

    fn refused(&self) -> Finding {
        let mut case = self.case(Failure::Refused);
        self.probes(
            &mut case,
            &["connect_refused"],
            9.0,
            -9.0,
            "connections are refused",
        );
        self.errors(&mut case, "refused", 4.0, -1.0);
        self.logged(&mut case, "connection_refused");
        case.close()
    }

    fn unreachable(&self) -> Finding {
        let mut case = self.case(Failure::Unreachable);
        let causes = ["connect_timed_out", "connect_unresolved"];
        self.probes(
            &mut case,
            &causes,
            9.0,
            -9.0,
            "connections come to nothing, without a word",
        );
        self.errors(&mut case, "timed_out", 3.0, -1.0);
        case.close()
    }

    fn hung(&self) -> Finding {
        let mut case = self.case(Failure::Hung);
        self.silent_but_connected(&mut case);
        let alive = self.failing(&["alive_timed_out"]).map(|failing| failing >= 0.5);
        let decides = alive.filter(|_| self.silent() == Some(true));
        case.weigh(decides, 3.0, -9.0, "", || match alive {
            Some(true) => "it refuses not even a malformed command".to_owned(),
            _ => "it refuses a malformed command: the process runs".to_owned(),
        });
        self.errors(&mut case, "timed_out", 2.0, -1.0);
        case.close()
    }

    fn paused(&self) -> Finding {
        let mut case = self.case(Failure::Paused);
        self.silent_but_connected(&mut case);
        let alive = self.failing(&["alive_timed_out"]).map(|failing| failing < 0.5);
        let decides = alive.filter(|_| self.silent() == Some(true));
        case.weigh(decides, 3.0, -9.0, PROBE, || match alive {
            Some(true) => "it refuses a malformed command at once: the process runs".to_owned(),
            _ => "it refuses not even a malformed command".to_owned(),
        });
        self.errors(&mut case, "timed_out", 1.0, 0.0);
        case.close()
    }

    fn silent_but_connected(&self, case: &mut Case) {
        let so = self
            .connects()
            .zip(self.silent())
            .map(|(open, silent)| open && silent);
        case.weigh(so, 6.5, -9.0, PROBE, || {
            let words = |so: bool, yes: &str, no: &str| if so { yes.to_owned() } else { no.to_owned() };
            let open = words(
                self.connects() == Some(true),
                "connections come about",
                "no connection comes about",
            );
            let silent = words(self.silent() == Some(true), "nobody answers", "PING is answered");
            format!("{open}, {silent}")
        });
    }

    fn reset(&self) -> Finding {
        let mut case = self.case(Failure::Reset);
        let causes = ["connect_reset", "reply_reset", "reply_closed"];
        self.probes(&mut case, &causes, 8.0, -7.0, "connections are cut");
        self.errors(&mut case, "reset", 4.0, -1.0);
        case.close()
    }

    fn loading(&self) -> Finding {
        let mut case = self.case(Failure::Loading);
        self.probes(
            &mut case,
            &["reply_loading", "connect_loading"],
            9.0,
            -9.0,
            "LOADING is the answer",
        );
        self.errors(&mut case, "loading", 5.0, -1.0);
        self.logged(&mut case, "loading");
        case.close()
    }

    fn auth(&self) -> Finding {
        let mut case = self.case(Failure::Auth);
        let causes = ["connect_no_auth", "reply_no_auth", "write_no_auth"];
        self.probes(&mut case, &causes, 9.0, -9.0, "the login is not accepted");
        self.errors(&mut case, "no_auth", 5.0, -1.0);
        self.logged(&mut case, "no_auth");
        case.close()
    }

    fn too_many_clients(&self) -> Finding {
        let (situation, cache) = (self.situation, self.cache);
        let mut case = self.case(Failure::TooManyClients);
        let causes = ["connect_too_many_clients", "reply_too_many_clients"];
        // Those who get in go again: what a single moment shows varies, so a few more seconds are looked at.
        let failing = situation.failing_lately(self.node, &causes);
        case.weigh(failing.map(|failing| failing >= 0.3), 8.0, -4.0, PROBE, || {
            format!(
                "{} of the new connections are turned away",
                share(failing.unwrap_or(0.0))
            )
        });
        let turned_away = cache.rejected.sum(situation.lately.clone());
        case.weigh(turned_away.map(|count| count > 0.0), 4.0, -2.0, PROBE, || {
            format!("it turned {} connections away", count(turned_away.unwrap_or(0.0)))
        });
        let failed = situation.errors_lately(cache, "too_many_clients");
        case.weigh(failed.map(|failed| failed >= 0.01), 6.0, -3.0, ASKED, || {
            format!(
                "{} of the calls to it: too many clients",
                share(failed.unwrap_or(0.0))
            )
        });
        let clients = cache.clients.mean(situation.now.clone());
        let limit = cache
            .clients_limit
            .last(situation.now.clone())
            .filter(|limit| *limit > 0.0);
        if let (Some(clients), Some(limit)) = (clients, limit) {
            case.weigh(Some(clients >= 0.97 * limit), 3.0, -2.0, "", || {
                format!("{} clients of {} that it lets in", count(clients), count(limit))
            });
        }
        self.logged(&mut case, "too_many_clients");
        case.close()
    }

    /// What the kernel has killed is refused at first and empty afterwards; only a witness can tell it from a restart.
    fn killed(&self) -> Finding {
        let mut case = self.case(Failure::Killed);
        let witnessed: f64 = ["oom_killed", "killed"]
            .into_iter()
            .filter_map(|reason| self.logs(reason))
            .sum();
        case.weigh(
            Some(witnessed > 0.0),
            9.0,
            -3.0,
            "the logs, `dmesg`, or the pod's last state",
            || {
                if witnessed > 0.0 {
                    "a log or the cluster says that it was killed for want of memory".to_owned()
                } else {
                    "nobody saw it being killed (`dmesg -T | grep -i oom`, the pod's last state)".to_owned()
                }
            },
        );
        if let Some(uptime) = self.restarted() {
            case.supports(true, 2.0, || format!("its process is {} old", time(uptime)));
        }
        case.close()
    }

    fn restarted(&self) -> Option<f64> {
        restarted(self.situation, self.node)
    }

    fn logs(&self, reason: &str) -> Option<f64> {
        let line = self.situation.view.logs.iter().find(|(name, _)| name == reason);
        line.and_then(|(_, line)| line.sum(self.situation.since.clone()))
    }

    fn logged(&self, case: &mut Case, reason: &str) {
        if let Some(lines) = self.logs(reason).filter(|lines| *lines > 0.0) {
            case.supports(true, 3.0, || format!("{} lines of logs say so", count(lines)));
        }
    }
}

/// The age of a node's process, when it has begun since the calm.
pub(super) fn restarted(situation: &Situation, node: &Probed) -> Option<f64> {
    let uptime = node.uptime.last(situation.now.clone())?;
    let older = node.uptime.median(situation.calm)?;
    let passed = situation.seconds(&situation.since) + 2.0;
    (uptime < passed && uptime < older).then_some(uptime)
}
