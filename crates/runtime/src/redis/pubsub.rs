//! The backplane over Redis: what one process invalidates, the others hear.
//!
//! Pub/sub loses what is said while nobody listens, and says nothing of it. So words are counted ([`super::gossip`]), each
//! process hears its own, and whenever something may have been lost each attached cache is told by
//! [`Cache::lost_invalidations`]: nothing is flushed. While the channel is down a cache may serve what another process has
//! invalidated, no longer than its memory's TTL.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::redis::cmd;
use futures_util::StreamExt as _;
use seawall_core::guard::CacheFault;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::dial::Dial;
use super::gossip::{BEAT, Gossip, SILENCE, What, Word};
use super::grants::unique;
use super::lane::Link;
use super::sentinel::Sentinels;
use crate::backplane::{Backplane, Invalidation};
use crate::cache::Cache;
use crate::key::Key;

/// So many invalidations wait to be sent. Those beyond are lost, which the others notice.
const WAITING_MAX: usize = 1 << 14;
/// So many go in one message.
const BATCH: usize = 256;
/// Between two attempts to connect.
const PAUSE: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// One message may take so long.
const SEND_FOR: Duration = Duration::from_millis(500);

/// Where all meet.
pub(super) enum Hub {
    /// At any of these: they pass messages on to each other.
    Places(Vec<Dial>),
    /// At the master.
    Sentinels(Arc<Sentinels>),
}

/// Carries invalidations between the processes of a fleet over Redis.
///
/// Give it to the builder of each cache, and attach the cache when it is built:
///
/// ```no_run
/// use seawall::Cache;
/// use seawall::redis::Redis;
/// # async fn example() -> Result<(), seawall::redis::ConfigError> {
/// let redis = Redis::url("redis://10.0.0.1")?;
/// let backplane = redis.backplane("invalidations")?;
/// let users: Cache<u64, String> =
///     Cache::builder("users").tier(redis.build()?).backplane(backplane.clone()).build();
/// backplane.attach(&users);
/// # Ok(()) }
/// ```
pub struct RedisBackplane {
    shared: Arc<Shared>,
    outbox: mpsc::Sender<Invalidation>,
}

type Listener = Box<dyn Fn(Option<Invalidation>) -> bool + Send + Sync>;

struct Shared {
    channel: String,
    sender: u64,
    /// Each takes an invalidation, or that some were lost; false when it is gone.
    listeners: Mutex<Vec<Listener>>,
    /// Invalidations that did not fit in the outbox.
    overflown: AtomicU64,
    losses: AtomicU64,
    up: AtomicBool,
}

impl fmt::Debug for RedisBackplane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisBackplane")
            .field("channel", &self.shared.channel)
            .field("up", &self.is_up())
            .finish_non_exhaustive()
    }
}

impl RedisBackplane {
    pub(super) fn start(hub: Hub, channel: String) -> Arc<RedisBackplane> {
        let (outbox, inbox) = mpsc::channel(WAITING_MAX);
        let shared = Arc::new(Shared {
            channel,
            sender: unique(),
            listeners: Mutex::default(),
            overflown: AtomicU64::new(0),
            losses: AtomicU64::new(0),
            up: AtomicBool::new(false),
        });
        let task = Task {
            shared: Arc::clone(&shared),
            hub,
            inbox,
            count: 0,
            turn: 0,
        };
        tokio::spawn(task.run());
        Arc::new(RedisBackplane { shared, outbox })
    }

    /// From now on this cache hears what other processes invalidate. One that is dropped is forgotten.
    pub fn attach<K: Key, V: Clone + Send + Sync + 'static>(&self, cache: &Cache<K, V>) {
        let engine = Arc::downgrade(&cache.engine);
        let listener = move |said: Option<Invalidation>| {
            let Some(engine) = engine.upgrade() else {
                return false;
            };
            let cache = Cache { engine };
            match said {
                Some(invalidation) => cache.hear(invalidation),
                None => cache.lost_invalidations(),
            }
            true
        };
        self.shared.listeners().push(Box::new(listener));
    }

    /// Whether it hears itself.
    pub fn is_up(&self) -> bool {
        self.shared.up.load(Ordering::Relaxed)
    }

    /// How often invalidations of others may have been lost.
    pub fn losses(&self) -> u64 {
        self.shared.losses.load(Ordering::Relaxed)
    }
}

impl Backplane for RedisBackplane {
    fn publish(&self, invalidation: Invalidation) {
        if self.outbox.try_send(invalidation).is_err() {
            self.shared.overflown.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Shared {
    fn listeners(&self) -> std::sync::MutexGuard<'_, Vec<Listener>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, said: Option<Invalidation>) {
        self.listeners().retain(|listener| listener(said));
    }

    fn lost(&self) {
        self.losses.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(
            channel = &*self.channel,
            "invalidations may have been lost: what is cached is refreshed as it is asked for"
        );
        self.tell(None);
    }
}

/// The task that speaks and listens, until the backplane is dropped.
struct Task {
    shared: Arc<Shared>,
    hub: Hub,
    inbox: mpsc::Receiver<Invalidation>,
    /// How many invalidations there were.
    count: u64,
    turn: usize,
}

impl Task {
    async fn run(mut self) {
        let mut pause = PAUSE;
        let mut first = true;
        loop {
            let began = Instant::now();
            let ended = self.session(&mut first).await;
            let was_up = self.shared.up.swap(false, Ordering::Relaxed);
            match ended {
                Ok(()) => return,
                Err(fault) if was_up => {
                    tracing::warn!(
                        channel = &*self.shared.channel,
                        fault = fault.name(),
                        "the backplane is down"
                    );
                }
                Err(_) => {}
            }
            // Whoever comes before others at the next attempt has missed something by then.
            first = false;
            pause = if began.elapsed() > SILENCE {
                PAUSE
            } else {
                (pause * 2).min(PAUSE_MAX)
            };
            tokio::time::sleep(pause).await;
            if self.inbox.is_closed() {
                return;
            }
        }
    }

    async fn dial(&mut self) -> Result<Dial, CacheFault> {
        match &self.hub {
            Hub::Places(places) => {
                self.turn += 1;
                Ok(places[(self.turn - 1) % places.len()].clone())
            }
            Hub::Sentinels(sentinels) => {
                let sentinels = Arc::clone(sentinels);
                if self.turn > 0 {
                    sentinels.refresh();
                }
                self.turn += 1;
                match timeout(SILENCE, sentinels.dial()).await {
                    Ok(dial) => dial,
                    Err(_) => Err(CacheFault::TimedOut),
                }
            }
        }
    }

    /// From one connection to its end. `Ok` when the backplane was dropped.
    async fn session(&mut self, first: &mut bool) -> Result<(), CacheFault> {
        let dial = self.dial().await?;
        let mut ears = dial.listen().await?;
        match timeout(SEND_FOR, ears.subscribe(&self.shared.channel)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(super::faults::fault_of(&error)),
            Err(_) => return Err(CacheFault::TimedOut),
        }
        let mouth = Link::new(dial);
        if !std::mem::replace(first, false) {
            self.shared.lost();
        }
        let mut words = ears.into_on_message();
        let mut gossip = Gossip::new(Instant::now());
        let mut heard_self = Instant::now();
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                message = words.next() => {
                    let message = message.ok_or(CacheFault::Reset)?;
                    let now = Instant::now();
                    self.take(&mut gossip, &mut heard_self, now, message.get_payload_bytes());
                }
                received = self.inbox.recv_many(&mut batch, BATCH) => {
                    if received == 0 {
                        // The others need not wonder where it has gone. If this is lost, they do.
                        let _ = self.say(&mouth, &[], What::Bye).await;
                        return Ok(());
                    }
                    self.say(&mouth, &batch, What::Beat).await?;
                    batch.clear();
                }
                _ = beat.tick() => {
                    self.say(&mouth, &[], What::Beat).await?;
                    let now = Instant::now();
                    if now.duration_since(heard_self) > SILENCE {
                        return Err(CacheFault::TimedOut);
                    }
                    if gossip.missing(now) {
                        self.shared.lost();
                    }
                }
            }
        }
    }

    fn take(&self, gossip: &mut Gossip, heard_self: &mut Instant, now: Instant, bytes: &[u8]) {
        let mut lost = false;
        for word in Word::read_all(bytes).flatten() {
            if word.sender == self.shared.sender {
                *heard_self = now;
                self.shared.up.store(true, Ordering::Relaxed);
                continue;
            }
            lost |= gossip.hear(now, &word);
            if let What::Invalid(invalidation) = word.what {
                self.shared.tell(Some(invalidation));
            }
        }
        if lost {
            self.shared.lost();
        }
    }

    /// Sends invalidations, and then a word on how many there were.
    async fn say(&mut self, mouth: &Link, batch: &[Invalidation], last: What) -> Result<(), CacheFault> {
        // They are counted and not sent: the others notice.
        self.count += self.shared.overflown.swap(0, Ordering::Relaxed);
        let mut bytes = Vec::new();
        let sender = self.shared.sender;
        for invalidation in batch {
            self.count += 1;
            let (count, what) = (self.count, What::Invalid(*invalidation));
            Word { sender, count, what }.write(&mut bytes);
        }
        let (count, what) = (self.count, last);
        Word { sender, count, what }.write(&mut bytes);
        let mut publish = cmd("PUBLISH");
        publish.arg(&self.shared.channel).arg(&bytes[..]);
        match timeout(SEND_FOR, mouth.call(&publish)).await {
            Ok(result) => result.map(drop).map_err(|failure| failure.fault()),
            Err(_) => Err(CacheFault::TimedOut),
        }
    }
}
