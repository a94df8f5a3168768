//! The app itself: whether it calls itself ready, and what it measures under our names.

use std::time::Duration;

use seawall_core::record::Metric;
use tokio::time::Instant;

use super::fault::{Fault, Why};
use super::http::{Answer, get};
use super::page::Page;
use super::sample::{Place, Sample};
use super::step::{Ledger, Step};
use super::target::Target;

/// An app that is asked how it is, once a round.
pub struct AppProbe {
    target: Target,
    place: Place,
    before: Option<Page>,
}

const STEPS: [Step; 2] = [Step::Ready, Step::Metrics];
/// A page of metrics is no longer.
const PAGE_MAX: usize = 8 << 20;
/// An answer about health is no longer.
const HEALTH_MAX: usize = 64 << 10;

impl AppProbe {
    /// Nothing is asked yet.
    pub fn new(target: Target, place: Place) -> AppProbe {
        AppProbe {
            target,
            place,
            before: None,
        }
    }

    /// Where it is.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Asks both, and is back by the deadline whatever the app does. A page that is not there is not missed.
    pub async fn round(&mut self, deadline: Instant) -> Sample {
        let mut ledger = Ledger::default();
        let (ready, page) = tokio::join!(
            timed(get(&self.target, "health/ready", HEALTH_MAX, deadline)),
            timed(get(&self.target, "metrics", PAGE_MAX, deadline)),
        );
        let mut sample = Sample::default();
        let said = match ready {
            Ok((answer, took)) => {
                ledger.add(Step::Ready, Ok(took));
                readiness(&answer)
            }
            Err(fault) => {
                ledger.failed(Step::Ready, fault);
                f64::NAN
            }
        };
        sample.points.push(self.place.point(Metric::Ready, said));
        match page {
            Ok((answer, took)) if answer.status == 200 => {
                let page = Page::read(&answer.text());
                if page.is_empty() {
                    let fault = Fault::new(Why::Garbage, "what came is no page of metrics");
                    ledger.failed(Step::Metrics, fault);
                } else {
                    ledger.add(Step::Metrics, Ok(took));
                    page.tell(self.before.as_ref(), &self.place, &mut sample);
                    self.before = Some(page);
                }
            }
            Ok((answer, took)) => match answer.status {
                404 => ledger.add(Step::Metrics, Ok(took)),
                401 | 403 => ledger.failed(Step::Metrics, Fault::new(Why::NoAuth, "the page is not for us")),
                status => ledger.failed(Step::Metrics, Fault::new(Why::Error, format!("status {status}"))),
            },
            Err(fault) => ledger.failed(Step::Metrics, fault),
        }
        ledger.tell(&self.place, &STEPS, &mut sample);
        sample
    }
}

async fn timed<T>(asked: impl Future<Output = Result<T, Fault>>) -> Result<(T, Duration), Fault> {
    let begun = Instant::now();
    Ok((asked.await?, begun.elapsed()))
}

/// 1 ready, 0.5 degraded, 0 not ready; not known when it says neither.
fn readiness(answer: &Answer) -> f64 {
    match answer.status {
        200..=299 if answer.text().to_lowercase().contains("degraded") => 0.5,
        200..=299 => 1.0,
        500..=599 => 0.0,
        _ => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn degraded_is_neither_ready_nor_dead() {
        let said = |status, body: &'static str| {
            let body = body.into();
            readiness(&Answer { status, body })
        };
        assert!((said(200, "{\"status\":\"ready\"}") - 1.0).abs() < 1e-9);
        assert!((said(200, "{\"status\":\"degraded\",\"impaired\":[\"redis\"]}") - 0.5).abs() < 1e-9);
        assert!(said(503, "{\"status\":\"not ready\"}").abs() < 1e-9);
        assert!(said(404, "").is_nan());
    }
}
