//! A site: an upstream with all that protects it and all that is kept of it.
//!
//! Each upstream has a cache of its own, and with it a limit, a breaker and a budget of its own: one that is slow
//! takes no place from the others.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::HeaderValue;
use seawall::{Cache, CacheBuilder};
use seawall_core::policies::Policies;
use seawall_core::time::Span;
use seawall_core::{breaker, coalesce, deadline, limit, queue, shed, stale, ttl};
use tokio::time::Instant;

use crate::stored::Stored;
use crate::tier::{FORM, Responses, Tier};
use crate::upstream::{Hold, Upstream};
use crate::vary::Vary;

/// So many resources are remembered as not for keeping.
const PASSED_MAX: usize = 100_000;

/// What protects an upstream, and the door, where the document says nothing.
///
/// | protection | default |
/// | --- | --- |
/// | those of the library | as [`seawall::default_policies`] says, but for these: |
/// | deadline | 30 s for a request, all in all; a load is given up after 30 s |
/// | coalescing | a wait of 30 s |
/// | TTL | as responses say; a route's `class` is for those that say nothing, and `negative`, which is off, for 404 and 410 |
/// | origin breaker | opens for 5 s after 20 failures in 10 s |
/// | origin limit | 100 at a time; 1000 more wait up to 5 s |
/// | queue at the door | 1000 places, 30 s |
/// | shedding | three levels above 80% of the places inside |
/// | stale | for 300 s when the upstream fails, unless a response forbids or bounds it |
/// | balancing | least connections |
pub fn default_policies() -> Policies {
    let library = seawall::default_policies();
    Policies {
        origin_breaker: Some(breaker::Settings {
            failures: 20,
            ..breaker::Settings::default()
        }),
        coalesce: Some(coalesce::Settings {
            age_max: Span::secs(30),
            wait_max: Span::secs(30),
            ..coalesce::Settings::default()
        }),
        deadline: deadline::Settings {
            total: Some(Span::secs(30)),
            hard: Some(Span::secs(30)),
            ..deadline::Settings::default()
        },
        limit: Some(limit::Settings {
            min: 1,
            max: 100,
            initial: 100,
            places: 1_000,
            timeout: Span::secs(5),
            ..limit::Settings::default()
        }),
        stale: Some(stale::Settings {
            while_revalidating: Span::ZERO,
            ..stale::Settings::default()
        }),
        ttl: ttl::Settings {
            negative: None,
            ..library.ttl
        },
        queue: Some(queue::Settings::default()),
        shed: Some(shed::Settings::default()),
        balance: Some(seawall_core::balance::Strategy::LeastConnections),
        ..library
    }
}

/// What is kept of an upstream; it outlives changes of the document.
pub(crate) struct Keep {
    pub(crate) cache: Cache<Arc<str>, Stored>,
    pub(crate) vary: Vary,
    /// Until when something is remembered as not for keeping.
    passed: quick_cache::sync::Cache<Arc<str>, Instant>,
    /// What is asked anew in the background.
    refreshing: Mutex<BTreeSet<Arc<str>>>,
    pub(crate) counts: Counts,
}

/// How requests ended, by what was done for them.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    counts: [[AtomicU64; 6]; How::ALL.len()],
}

/// What was done for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// Answered with what is kept.
    Hit,
    /// Answered with what is kept and past its freshness.
    Stale,
    /// Loaded, by it or by another.
    Miss,
    /// Passed through.
    Pass,
    /// Turned away.
    Shed,
}

impl How {
    pub(crate) const ALL: [How; 5] = [How::Hit, How::Stale, How::Miss, How::Pass, How::Shed];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            How::Hit => "hit",
            How::Stale => "stale",
            How::Miss => "miss",
            How::Pass => "pass",
            How::Shed => "shed",
        }
    }
}

impl Counts {
    pub(crate) fn count(&self, how: How, status: http::StatusCode) {
        let class = (status.as_u16() / 100).min(5) as usize;
        self.counts[how as usize][class].fetch_add(1, Ordering::Relaxed);
    }

    /// Every count that is not nothing: what was done, the first digit of the status, how often.
    pub(crate) fn each(&self) -> impl Iterator<Item = (How, usize, u64)> + '_ {
        How::ALL.into_iter().flat_map(move |how| {
            let classes = self.counts[how as usize].iter().enumerate();
            classes.map(move |(class, count)| (how, class, count.load(Ordering::Relaxed)))
        })
    }
}

impl Keep {
    /// In so many bytes of memory, for so long; and in the second tier, if there is one.
    pub(crate) fn new(
        name: &str,
        (memory, ttl_max): (u64, Duration),
        tier: Option<&Tier>,
        via: &HeaderValue,
        policies: &Policies,
    ) -> Arc<Keep> {
        let builder = Cache::builder(name)
            .memory(memory)
            .memory_ttl(ttl_max)
            .weigh(|key: &Arc<str>, stored: &Stored| key.len() + stored.weight())
            .policies(policies.clone())
            .critical_origin();
        let cache = shared(builder, name, tier, via);
        Arc::new(Keep {
            cache,
            vary: Vary::new(),
            passed: quick_cache::sync::Cache::new(PASSED_MAX),
            refreshing: Mutex::default(),
            counts: Counts::default(),
        })
    }

    /// Whether this was found not to be for keeping, a short while ago.
    pub(crate) fn is_passed(&self, key: &Arc<str>) -> bool {
        match self.passed.get(key) {
            Some(until) if Instant::now() < until => true,
            Some(_) => {
                self.passed.remove(key);
                false
            }
            None => false,
        }
    }

    /// Remembers that this is not for keeping.
    pub(crate) fn pass(&self, key: &Arc<str>, time: Duration) {
        if !time.is_zero() {
            self.passed.insert(Arc::clone(key), Instant::now() + time);
        }
    }

    /// Forgets what was found not to be for keeping: what is kept is decided by other rules now.
    pub(crate) fn forget_passed(&self) {
        self.passed.clear();
    }

    /// Takes a resource out, with all its variants. Whatever it was found to be is forgotten.
    pub(crate) async fn purge(&self, resource: &Arc<str>) {
        self.cache.invalidate_tag(&tag_of(resource));
        self.passed.remove(resource);
        // What a tier beyond memory could not be told is told again by the cache.
        let _ = self.cache.invalidate(resource).await;
    }

    /// Begins to ask for something anew, unless that is under way or too much of it is.
    pub(crate) fn refresh(self: &Arc<Self>, key: &Arc<str>, max: usize) -> Option<Refreshing> {
        let mut refreshing = self.refreshing.lock().unwrap_or_else(PoisonError::into_inner);
        let begins = refreshing.len() < max && refreshing.insert(Arc::clone(key));
        begins.then(|| Refreshing(Arc::clone(self), Arc::clone(key)))
    }
}

/// With a second tier, where there is one. What is wrong with it was told when the gateway started.
fn shared(
    builder: CacheBuilder<Arc<str>, Stored>,
    name: &str,
    tier: Option<&Tier>,
    via: &HeaderValue,
) -> Cache<Arc<str>, Stored> {
    let parts = tier.and_then(|tier| Some((tier, tier.build().ok()?, tier.backplane(name).ok()?)));
    let Some((tier, redis, backplane)) = parts else {
        return builder.build();
    };
    let (ttl, timeout) = (tier.settings.ttl.into(), tier.settings.timeout.into());
    let cache = builder
        .codec(Responses { via: via.clone() })
        .value_version(FORM)
        .layer(Arc::new(redis), Some(ttl), timeout)
        .backplane(backplane.clone())
        .build();
    backplane.attach(&cache);
    cache
}

/// By which all variants of a resource are purged.
pub(crate) fn tag_of(resource: &str) -> String {
    format!("resource:{resource}")
}

/// By which all that is below an address is purged; it ends with `/`.
pub(crate) fn prefix_tag(prefix: &str) -> String {
    format!("below:{prefix}")
}

/// By which all is purged that the upstream gave this word.
pub(crate) fn word_tag(word: &str) -> String {
    format!("word:{word}")
}

/// A response may be purged by so many addresses above it, and by so many words.
pub(crate) const PREFIXES_MAX: usize = 8;
const WORDS_MAX: usize = 6;
/// What upstreams name words in.
const SURROGATE_KEY: http::HeaderName = http::HeaderName::from_static("surrogate-key");

/// All that a response can be purged by.
pub(crate) fn tags_of(resource: &str, stored: &Stored) -> Vec<String> {
    let mut tags = vec![tag_of(resource)];
    let path = resource.split('?').next().unwrap_or(resource);
    let slashes = path.match_indices('/').map(|(at, _)| at);
    tags.extend(slashes.take(PREFIXES_MAX).map(|at| prefix_tag(&path[..=at])));
    let words = stored
        .get()
        .and_then(|response| response.head.fields().get(SURROGATE_KEY));
    let words = words.and_then(|words| words.to_str().ok()).unwrap_or("");
    tags.extend(words.split_ascii_whitespace().take(WORDS_MAX).map(word_tag));
    tags
}

/// Something is asked for anew.
pub(crate) struct Refreshing(Arc<Keep>, Arc<str>);

impl Drop for Refreshing {
    fn drop(&mut self) {
        let mut refreshing = self.0.refreshing.lock().unwrap_or_else(PoisonError::into_inner);
        refreshing.remove(&self.1);
    }
}

/// An upstream with all that protects it.
pub(crate) struct Site {
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) keep: Arc<Keep>,
    pub(crate) policies: Policies,
    /// How many refreshes may run in the background.
    pub(crate) refreshes_max: usize,
}

impl Site {
    pub(crate) fn new(upstream: Arc<Upstream>, keep: Arc<Keep>, policies: Policies) -> Arc<Site> {
        let stale = policies.stale.as_ref();
        let site = Site {
            refreshes_max: stale.map_or(0, |stale| stale.refreshes_max as usize),
            upstream,
            keep,
            policies,
        };
        site.follow();
        Arc::new(site)
    }

    /// Tells the cache its policies; one that is held closed has no breaker.
    pub(crate) fn follow(&self) {
        let mut policies = self.policies.clone();
        if self.upstream.held() == Hold::Closed {
            policies.origin_breaker = None;
        }
        self.keep.cache.retune(&policies);
        self.upstream.spread(policies.balance.unwrap_or_default());
    }
}
