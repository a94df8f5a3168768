//! One round of an adaptive limit: the calls that began since its last change, and what they say.

use crate::time::Span;

/// How many calls a mean latency takes at least: fewer are mostly noise.
const SAMPLES_MIN: u32 = 20;
/// The limit never falls by more than this in one round.
const GRADIENT_MIN: f64 = 0.5;
/// How much of the difference to a round's mean the latency at ease takes over.
const SMOOTHING: f64 = 0.2;

#[derive(Clone, Debug, Default)]
pub(super) struct Round {
    ok: u32,
    failed: u32,
    latency_sum: f64,
    /// The most that were inside at a time.
    pub(super) peak: u32,
}

impl Round {
    /// A round that begins with this many inside.
    pub(super) fn new(in_flight: u32) -> Round {
        Round {
            peak: in_flight,
            ..Round::default()
        }
    }

    /// The new limit after one more call, when it changes: one more after a `limit` of good calls, `decrease` times
    /// after one bad call. Calls of before the change do not count, so it falls once in a round trip.
    pub(super) fn aimd(&mut self, limit: u32, bad: bool, decrease: f64) -> Option<u32> {
        if bad {
            let less = (f64::from(limit) * decrease) as u32;
            return Some(less.min(limit.saturating_sub(1)));
        }
        self.ok = self.ok.saturating_add(1);
        (self.ok >= limit && self.used(limit)).then(|| limit.saturating_add(1))
    }

    /// Takes in the latency of one more call, or its failure, for [`Round::gradient`].
    pub(super) fn count(&mut self, latency: Span, failed: bool) {
        if failed {
            self.failed += 1;
        } else {
            self.ok += 1;
            self.latency_sum += latency.as_nanos() as f64;
        }
    }

    /// The limit of the next round, when this one is over.
    ///
    /// With g = latency at ease × `tolerance` / latency now, within 1/2 and 1, and no more than the share of good
    /// calls: limit × g + √limit × (2g − 1). The second term is the room to grow; without it no limit would rise.
    pub(super) fn gradient(
        &self,
        limit: u32,
        floor: u32,
        tolerance: f64,
        ease: &mut Option<f64>,
    ) -> Option<u32> {
        let size = limit.max(SAMPLES_MIN);
        // Failures may be timeouts, and slow to come: half a round of them is enough.
        if self.ok + self.failed < size && self.failed.saturating_mul(2) < size {
            return None;
        }
        let used = self.used(limit);
        let mut gradient = f64::from(self.ok) / f64::from(self.ok + self.failed);
        if self.ok > 0 {
            let latency = self.latency_sum / f64::from(self.ok);
            let at_ease = ease.get_or_insert(latency);
            if used {
                gradient = gradient.min(*at_ease * tolerance / latency.max(1.0));
            }
            // It rises only when this limit cannot be the cause of the latency; else a slow overload would become
            // the measure of ease, and the limit would follow it up.
            if latency < *at_ease || !used || limit <= floor {
                *at_ease += (latency - *at_ease) * SMOOTHING;
            }
        }
        let gradient = gradient.clamp(GRADIENT_MIN, 1.0);
        let now = f64::from(limit);
        let next = (now * gradient + libm::sqrt(now) * (2.0 * gradient - 1.0)) as u32;
        Some(if used { next } else { next.min(limit) })
    }

    pub(super) fn invariants(&self) {
        assert!(
            self.latency_sum >= 0.0 && (self.ok > 0 || self.latency_sum <= 0.0),
            "latency without calls"
        );
    }

    /// Whether the limit was at least half used.
    fn used(&self, limit: u32) -> bool {
        self.peak.saturating_mul(2) >= limit
    }
}
