//! Layers for `tower`: the protections that a service can use without a cache.
//!
//! | layer | what it does |
//! | --- | --- |
//! | [`DeadlineLayer`] | one deadline for all that happens below it, retries and caches included |
//! | [`GateLayer`] | rate limit, throttle of reads, shedding by priority |
//! | [`RetryLayer`] | tries again, with backoff, full jitter and a budget |
//! | [`LimitLayer`] | a limit on how many are inside, fixed or adaptive, and a bounded line before it |
//! | [`BreakerLayer`] | stops asking what does not answer |
//!
//! They are drivers of the core's machines, with the settings of the simulator's tables. This is the order from the
//! outside in which they make sense; each is of use alone. A layer's clones, and all services that it makes, share one
//! state, so a limit is one limit however often a service is cloned. Each can be retuned while it runs.
//!
//! Errors are boxed, as everywhere in tower. What a layer itself says is a [`seawall::Error`](crate::Error): why, and
//! when to come back ([`refusal`] finds it). A response that counts as a failure, a 500 for example, is told by
//! `failing`; every error of the service below counts as one, except what another of these layers said.
//!
//! Each writes its metrics on a [`MetricsPage`], under the names of the record and a component of its own.
//!
//! They are not `tower`'s own layers of similar names, which queue without a bound, do not adapt, and have no priorities.
//!
//! ```
//! use seawall::core::{breaker, limit, time::Span};
//! use seawall::layers::{BreakerLayer, DeadlineLayer, LimitLayer, refusal};
//! use tower::{Service, ServiceBuilder, ServiceExt};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! let slow = tower::service_fn(|name: &'static str| async move {
//!     tokio::time::sleep(std::time::Duration::from_millis(20)).await;
//!     Ok::<_, std::io::Error>(format!("hello, {name}"))
//! });
//! let alone = limit::Settings { max: 1, initial: 1, places: 0, ..limit::Settings::default() };
//! let service = ServiceBuilder::new()
//!     .layer(DeadlineLayer::new(std::time::Duration::from_secs(1)))
//!     .layer(LimitLayer::new(alone))
//!     .layer(BreakerLayer::new(breaker::Settings::default()))
//!     .service(slow);
//! let (first, second) = tokio::join!(service.clone().oneshot("Ada"), service.clone().oneshot("Grace"));
//! assert_eq!(first.unwrap(), "hello, Ada");
//! // There was room for one, and no line.
//! let refused = second.unwrap_err();
//! assert!(refusal(&*refused).unwrap().retry_after().is_some());
//! # });
//! ```

mod breaker;
mod deadline;
mod gate;
mod limit;
mod response;
mod retry;

use std::error::Error as StdError;
use std::sync::atomic::{AtomicU64, Ordering};

use seawall_core::gate::Reason;
use seawall_core::limit::Outcome;
use seawall_core::record::Metric;

use crate::answer::Error;
use crate::stats::MetricsPage;

pub use breaker::{Breaker, BreakerLayer};
pub use deadline::{Deadline, DeadlineLayer, DeadlineResponse, time_left};
pub use gate::{AllAlike, Ask, Asks, Gate, GateLayer};
pub use limit::{Limit, LimitLayer, Standing};
pub use response::Response;
pub use retry::{Copies, Retry, RetryLayer, Whole};

/// What a layered service fails with.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// What one of these layers said, if this error comes from one: why, and when to come back.
pub fn refusal<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(refusal) = error.downcast_ref::<Error>() {
            return Some(refusal);
        }
        next = error.source();
    }
    None
}

/// Tells which responses are failures of who made them. A closure over the response is one; [`AnyResponse`] says none.
pub trait Judge<Res>: Clone {
    /// Whether this response counts as a failure.
    fn is_failure(&self, response: &Res) -> bool;
}

/// Every response is a success.
#[derive(Clone, Copy, Debug, Default)]
pub struct AnyResponse;

impl<Res> Judge<Res> for AnyResponse {
    fn is_failure(&self, _: &Res) -> bool {
        false
    }
}

impl<Res, F: Fn(&Res) -> bool + Clone> Judge<Res> for F {
    fn is_failure(&self, response: &Res) -> bool {
        self(response)
    }
}

/// How many were turned away, by reason.
#[derive(Debug, Default)]
struct Sheds([AtomicU64; Reason::ALL.len()]);

impl Sheds {
    fn add(&self, reason: Reason) {
        self.0[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    fn sum(&self) -> u64 {
        self.0.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Writes those of these reasons: the ones that the layer may have.
    fn write(&self, reasons: &[Reason], component: &str, page: &mut MetricsPage) {
        for reason in reasons {
            let count = self.0[*reason as usize].load(Ordering::Relaxed);
            page.add(
                Metric::Shed,
                component,
                &[("reason", reason.name())],
                count as f64,
            );
        }
    }
}

/// What a result says about who was asked.
fn outcome<Res>(judge: &impl Judge<Res>, result: &Result<Res, BoxError>) -> Outcome {
    match result {
        Ok(response) if judge.is_failure(response) => Outcome::Failed,
        Ok(_) => Outcome::Ok,
        // Who was turned away has asked nobody.
        Err(error) => match refusal(&**error) {
            Some(Error::Shed { .. } | Error::Open { .. }) => Outcome::Dropped,
            _ => Outcome::Failed,
        },
    }
}
