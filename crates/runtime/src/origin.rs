//! Origins: what stands behind the cache, and what a load brings from it.

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use seawall_core::guard::OriginFault;
use seawall_core::ttl::Class;

use crate::store::Boxed;

/// What a load brought, and how it is to be kept.
///
/// A loader may return the value itself, an `Option` (where `None` means "there is no such thing"), or this.
///
/// ```
/// use std::time::Duration;
/// use seawall::Loaded;
/// let session = Loaded::new("alice").ttl(Duration::from_secs(60)).tag("sessions");
/// let secret = Loaded::new("once").no_store();
/// let nobody: Loaded<&str> = None.into();
/// # let _ = (session, secret, nobody);
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Loaded<V> {
    pub(crate) value: Option<V>,
    pub(crate) version: Option<u64>,
    pub(crate) ttl: Option<Duration>,
    pub(crate) class: Option<Class>,
    pub(crate) store: bool,
    pub(crate) tags: Vec<String>,
}

impl<V> Loaded<V> {
    /// A value, kept for as long as the call and the policies say.
    pub fn new(value: V) -> Loaded<V> {
        Some(value).into()
    }

    /// "There is no such thing". It is remembered for the negative TTL, or for [`Loaded::ttl`].
    pub fn absent() -> Loaded<V> {
        None.into()
    }

    /// Fresh for this long (before jitter, which shortens). In memory no longer than the memory's own TTL.
    pub fn ttl(mut self, ttl: Duration) -> Loaded<V> {
        self.ttl = Some(ttl);
        self
    }

    /// Fresh for as long as this class of values.
    pub fn class(mut self, class: Class) -> Loaded<V> {
        self.class = Some(class);
        self
    }

    /// Not kept: it answers those who wait for this load, and nobody else.
    pub fn no_store(mut self) -> Loaded<V> {
        self.store = false;
        self
    }

    /// The version of the value; a higher one is newer, and never overwritten by a lower one. Without it, the time
    /// at which the origin was asked, in nanoseconds since 1970.
    pub fn version(mut self, version: u64) -> Loaded<V> {
        self.version = Some(version);
        self
    }

    /// Something that it belongs to and can be invalidated by, with all else that does. At most
    /// [`TAGS_MAX`](crate::envelope::TAGS_MAX) of them, those of the call included.
    pub fn tag(mut self, tag: impl Into<String>) -> Loaded<V> {
        self.tags.push(tag.into());
        self
    }
}

impl<V> From<V> for Loaded<V> {
    fn from(value: V) -> Loaded<V> {
        Some(value).into()
    }
}

impl<V> From<Option<V>> for Loaded<V> {
    fn from(value: Option<V>) -> Loaded<V> {
        Loaded {
            value,
            version: None,
            ttl: None,
            class: None,
            store: true,
            tags: Vec::new(),
        }
    }
}

/// Why a load failed: the loader's own error, shared by all who waited, and what it means to the protections.
#[derive(Clone)]
pub struct LoadError(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    fault: OriginFault,
    retry_after: Option<Duration>,
    source: Box<dyn StdError + Send + Sync>,
}

impl LoadError {
    /// A failure that means `fault`. A loader that returns this error is not wrapped once more.
    pub fn new(fault: OriginFault, source: impl Into<Box<dyn StdError + Send + Sync>>) -> LoadError {
        LoadError(Arc::new(Inner {
            fault,
            retry_after: None,
            source: source.into(),
        }))
    }

    /// The same, with the origin's word on when to come back.
    pub fn retry_after(self, after: Duration) -> LoadError {
        match Arc::try_unwrap(self.0) {
            Ok(inner) => LoadError(Arc::new(Inner {
                retry_after: Some(after),
                ..inner
            })),
            Err(shared) => LoadError(shared),
        }
    }

    /// What it means to the protections.
    pub fn fault(&self) -> OriginFault {
        self.0.fault
    }

    /// The origin's word on when to come back, where it gave one.
    pub fn retry_after_hint(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// The loader's error, when it is of this type.
    pub fn downcast_ref<E: StdError + 'static>(&self) -> Option<&E> {
        self.0.source.downcast_ref()
    }

    /// Whatever a loader returns.
    pub(crate) fn of(error: Box<dyn StdError + Send + Sync>) -> LoadError {
        match error.downcast::<LoadError>() {
            Ok(error) => *error,
            Err(error) => LoadError::new(OriginFault::Error, error),
        }
    }
}

impl fmt::Debug for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.source, f)
    }
}

impl StdError for LoadError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.source()
    }
}

/// What stands behind a cache, for those who give it once and not with every call.
///
/// Warming and refreshes of keys that nobody has in hand need one. A closure is one too: [`from_fn`].
pub trait Origin<K, V>: Send + Sync + 'static {
    /// Loads a key. The future is dropped when the load is given up; a query that goes on at the server after that
    /// has to be bounded there.
    fn load<'a>(&'a self, key: &'a K) -> Boxed<'a, Result<Loaded<V>, LoadError>>;

    /// Which keys are worth warming, the most popular first, at most `limit` of them: what
    /// [`Cache::warm_from_origin`](crate::Cache::warm_from_origin) asks. An origin that does not know says none;
    /// [`listed`] adds it to one that does not.
    fn popular(&self, limit: usize) -> Boxed<'_, Result<Vec<K>, LoadError>>
    where
        K: Send + 'static,
    {
        let _ = limit;
        Box::pin(std::future::ready(Ok(Vec::new())))
    }
}

/// An origin that also says which of its keys are popular: `list` is given how many at most, and brings them with the
/// most popular first.
///
/// ```
/// let load = |key: u64| async move { Ok::<_, std::io::Error>(key * 2) };
/// let list = |limit: usize| async move { Ok::<_, std::io::Error>((0..limit as u64).collect()) };
/// let origin = seawall::origin::listed(seawall::origin::from_fn(load), list);
/// # let _: Box<dyn seawall::Origin<u64, u64>> = Box::new(origin);
/// ```
pub fn listed<O, F>(origin: O, list: F) -> Listed<O, F> {
    Listed { origin, list }
}

/// The origin that [`listed`] makes.
#[derive(Clone, Copy, Debug)]
pub struct Listed<O, F> {
    origin: O,
    list: F,
}

impl<K, V, O, F, Fut, E> Origin<K, V> for Listed<O, F>
where
    O: Origin<K, V>,
    F: Fn(usize) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Vec<K>, E>> + Send + 'static,
    E: Into<Box<dyn StdError + Send + Sync>>,
{
    fn load<'a>(&'a self, key: &'a K) -> Boxed<'a, Result<Loaded<V>, LoadError>> {
        self.origin.load(key)
    }

    fn popular(&self, limit: usize) -> Boxed<'_, Result<Vec<K>, LoadError>>
    where
        K: Send + 'static,
    {
        let list = (self.list)(limit);
        Box::pin(async move { list.await.map_err(|error| LoadError::of(error.into())) })
    }
}

/// An origin from a closure.
///
/// ```
/// let origin = seawall::origin::from_fn(|key: u64| async move { Ok::<_, std::io::Error>(key * 2) });
/// # let _: Box<dyn seawall::Origin<u64, u64>> = Box::new(origin);
/// ```
pub fn from_fn<F>(load: F) -> FromFn<F> {
    FromFn(load)
}

/// The origin that [`from_fn`] makes.
#[derive(Clone, Copy, Debug)]
pub struct FromFn<F>(F);

impl<K, V, F, Fut, L, E> Origin<K, V> for FromFn<F>
where
    K: Clone + Send + Sync + 'static,
    F: Fn(K) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<L, E>> + Send + 'static,
    L: Into<Loaded<V>> + 'static,
    V: 'static,
    E: Into<Box<dyn StdError + Send + Sync>>,
{
    fn load<'a>(&'a self, key: &'a K) -> Boxed<'a, Result<Loaded<V>, LoadError>> {
        let load = (self.0)(key.clone());
        Box::pin(async move { flatten(load.await) })
    }
}

/// What a loader returned, in our own words.
pub(crate) fn flatten<V, L, E>(result: Result<L, E>) -> Result<Loaded<V>, LoadError>
where
    L: Into<Loaded<V>>,
    E: Into<Box<dyn StdError + Send + Sync>>,
{
    result
        .map(Into::into)
        .map_err(|error| LoadError::of(error.into()))
}

/// Begins one attempt to load; called again for each retry.
pub(crate) type Loader<V> = Arc<dyn Fn() -> Boxed<'static, Result<Loaded<V>, LoadError>> + Send + Sync>;

/// The loader of one call.
pub(crate) fn loader<V, F, Fut, L, E>(load: F) -> Loader<V>
where
    V: 'static,
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<L, E>> + Send + 'static,
    L: Into<Loaded<V>> + 'static,
    E: Into<Box<dyn StdError + Send + Sync>> + 'static,
{
    Arc::new(move || {
        let load = load();
        Box::pin(async move { flatten(load.await) })
    })
}

/// The loader of one key of an origin.
pub(crate) fn loader_of<K, V>(origin: &Arc<dyn Origin<K, V>>, key: &K) -> Loader<V>
where
    K: Clone + Send + Sync + 'static,
    V: 'static,
{
    let (origin, key) = (Arc::clone(origin), key.clone());
    Arc::new(move || {
        let (origin, key) = (Arc::clone(&origin), key.clone());
        Box::pin(async move { origin.load(&key).await })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("no such table")]
    struct NoTable;

    #[test]
    fn an_error_keeps_its_type_and_its_meaning() {
        let plain: Result<Loaded<u8>, _> = flatten::<u8, u8, _>(Err(NoTable));
        let plain = plain.expect_err("it failed");
        assert!(plain.downcast_ref::<NoTable>().is_some());
        assert_eq!(
            (plain.fault(), plain.to_string().as_str()),
            (OriginFault::Error, "no such table")
        );
        let told = LoadError::new(OriginFault::Overloaded, NoTable).retry_after(Duration::from_secs(2));
        let kept: Result<Loaded<u8>, _> = flatten::<u8, u8, _>(Err(told));
        let kept = kept.expect_err("it failed");
        assert_eq!(kept.fault(), OriginFault::Overloaded);
        assert_eq!(kept.retry_after_hint(), Some(Duration::from_secs(2)));
        assert!(
            kept.downcast_ref::<NoTable>().is_some(),
            "it is not wrapped twice"
        );
    }
}
