//! All servers together, once a period.

use std::time::Duration;

use tokio::time::Instant;

use super::app::AppProbe;
use super::details::{Details, details};
use super::fault::Fault;
use super::log::LogProbe;
use super::postgres::PostgresProbe;
use super::redis::RedisProbe;
use super::sample::{Place, Sample};
use super::target::{Kind, Target};

/// How it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// All questions of a round are over after this time.
    pub patience: Duration,
    /// Whether a key of our own is written to each cache, read and deleted. Nothing else is ever written.
    pub canary: bool,
    /// So many keys are looked at for [`Prober::details`].
    pub keys_max: usize,
}

impl Default for Options {
    /// A second, with a key of our own, 500 keys.
    fn default() -> Options {
        Options {
            patience: Duration::from_secs(1),
            canary: true,
            keys_max: 500,
        }
    }
}

/// Asks all parts of a system how they are.
///
/// ```no_run
/// # async fn shown() -> Result<(), Box<dyn std::error::Error>> {
/// use seawall_core::time::Span;
/// use seawall_diagnose::probe::{Options, Prober, Recording};
/// let targets = ["redis://localhost", "postgres://localhost/app"].map(|text| text.parse());
/// let targets = targets.into_iter().collect::<Result<Vec<_>, _>>()?;
/// let mut prober = Prober::new(targets, Options::default());
/// let mut recording = Recording::new(Span::secs(1), 900);
/// let mut beat = tokio::time::interval(std::time::Duration::from_secs(1));
/// for _ in 0..10 {
///     beat.tick().await;
///     recording.push(prober.round().await);
/// }
/// println!("{:?}", recording.record().components(seawall_core::record::Metric::CacheHits));
/// # Ok(())
/// # }
/// ```
pub struct Prober {
    options: Options,
    caches: Vec<RedisProbe>,
    databases: Vec<PostgresProbe>,
    apps: Vec<AppProbe>,
    logs: Vec<LogProbe>,
}

/// So many servers are asked.
pub const TARGETS_MAX: usize = 64;

impl Prober {
    /// Nothing is asked yet. Servers of a kind are one component (`redis`, `postgres`, `app`), and are numbered in their order
    /// where there are several. No more than [`TARGETS_MAX`] are taken.
    pub fn new(targets: Vec<Target>, options: Options) -> Prober {
        let mut prober = Prober::of_nothing(options);
        let targets: Vec<Target> = targets.into_iter().take(TARGETS_MAX).collect();
        let of = |kind| targets.iter().filter(move |target| target.kind() == kind);
        let place = |kind, component: &str, number: usize| Place {
            component: component.to_owned(),
            instance: (of(kind).count() > 1).then_some(number as u32),
        };
        for (number, target) in of(Kind::Redis).enumerate() {
            let place = place(Kind::Redis, "redis", number);
            prober = prober.with_cache(target.clone(), place);
        }
        for (number, target) in of(Kind::Postgres).enumerate() {
            let place = place(Kind::Postgres, "postgres", number);
            prober = prober.with_database(target.clone(), place);
        }
        for (number, target) in of(Kind::Http).enumerate() {
            prober
                .apps
                .push(AppProbe::new(target.clone(), place(Kind::Http, "app", number)));
        }
        prober
    }

    /// Asks nobody yet: whoever knows the parts of a system adds them by their names.
    pub fn of_nothing(options: Options) -> Prober {
        Prober {
            options,
            caches: Vec::new(),
            databases: Vec::new(),
            apps: Vec::new(),
            logs: Vec::new(),
        }
    }

    /// Asks this Redis as well.
    #[must_use]
    pub fn with_cache(mut self, target: Target, place: Place) -> Prober {
        let probe = RedisProbe::new(target, place, self.options.canary);
        self.caches.push(probe);
        self
    }

    /// Asks this PostgreSQL as well.
    #[must_use]
    pub fn with_database(mut self, target: Target, place: Place) -> Prober {
        self.databases.push(PostgresProbe::new(target, place));
        self
    }

    /// Follows a log as well.
    #[must_use]
    pub fn with_log(mut self, log: LogProbe) -> Prober {
        self.logs.push(log);
        self
    }

    /// The caches, in their order.
    pub fn caches(&self) -> &[RedisProbe] {
        &self.caches
    }

    /// The databases, in their order.
    pub fn databases(&self) -> &[PostgresProbe] {
        &self.databases
    }

    /// Asks everything at once. It takes no longer than the patience, and a little.
    pub async fn round(&mut self) -> Sample {
        let deadline = Instant::now() + self.options.patience;
        let (caches, databases, apps, logs) = tokio::join!(
            all(self.caches.iter_mut().map(|probe| probe.round(deadline))),
            all(self.databases.iter_mut().map(|probe| probe.round(deadline))),
            all(self.apps.iter_mut().map(|probe| probe.round(deadline))),
            all(self.logs.iter_mut().map(|probe| probe.round(deadline))),
        );
        let mut sample = Sample::default();
        for part in [caches, databases, apps, logs].into_iter().flatten() {
            sample.extend(part);
        }
        sample
    }

    /// What stands beside the numbers, of each cache in turn. How hot the hottest key is, is a number of the rounds that
    /// follow, where the server counts uses and has few enough keys to look at all of them.
    pub async fn details(&mut self) -> Vec<Result<Details, Fault>> {
        let (patience, keys_max) = (self.options.patience * 3, self.options.keys_max);
        let mut told = Vec::with_capacity(self.caches.len());
        for probe in &mut self.caches {
            let found = details(probe.target(), keys_max, Instant::now() + patience).await;
            if let Ok(found) = &found {
                probe.surveyed(&found.survey);
            }
            told.push(found);
        }
        told
    }
}

/// Waits for all of them at once. They borrow what they ask with, so they are no tasks of their own.
async fn all<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut waiting: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(move |context| {
        let mut ready = true;
        for (future, done) in &mut waiting {
            if done.is_none() {
                match future.as_mut().poll(context) {
                    std::task::Poll::Ready(value) => *done = Some(value),
                    std::task::Poll::Pending => ready = false,
                }
            }
        }
        if ready {
            return std::task::Poll::Ready(waiting.iter_mut().filter_map(|(_, done)| done.take()).collect());
        }
        std::task::Poll::Pending
    })
    .await
}
