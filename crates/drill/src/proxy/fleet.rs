//! All proxies of a process, by name: what is said to the HTTP API is done here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use seawall_core::rng::Seed;
use serde_json::Value;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use super::chain::{Active, Chain};
use super::counters::{Counters, Labels, page};
use super::draft::{Draft, ProxyError, View};
use super::passage::{Clock, Passage, Wiring};
use super::toxic::{Side, Toxic};

/// So many proxies, and toxics of a proxy, there are at most.
const PROXIES_MAX: usize = 1_024;
const TOXICS_MAX: usize = 64;

/// The proxies of a process. Clones are the same proxies; when the last one is dropped, all connections end.
#[derive(Clone)]
pub struct Proxies(Arc<Inside>);

struct Inside {
    seed: Seed,
    clock: Clock,
    /// The number of the next toxic.
    next: AtomicU64,
    proxies: Mutex<BTreeMap<String, Proxy>>,
}

struct Proxy {
    name: String,
    listen: String,
    upstream: String,
    chain: watch::Sender<Chain>,
    counters: Arc<Counters>,
    connections: Arc<AtomicU64>,
    running: Option<Passage>,
}

impl Proxies {
    /// None yet. All draws come from this seed, but for toxics with one of their own.
    pub fn new(seed: Seed) -> Proxies {
        Proxies(Arc::new(Inside {
            seed,
            clock: Clock::start(),
            next: AtomicU64::new(1),
            proxies: Mutex::new(BTreeMap::new()),
        }))
    }

    /// Adds a proxy.
    ///
    /// # Errors
    ///
    /// When there is one of this name, something is missing, or it cannot listen.
    pub async fn add(&self, draft: &Draft) -> Result<View, ProxyError> {
        draft.check("")?;
        let mut proxies = self.0.proxies.lock().await;
        if proxies.contains_key(&draft.name) {
            return Err(ProxyError::Exists);
        }
        self.insert(&mut proxies, draft).await
    }

    /// Adds proxies, in the place of those of the same name that differ in an address. Those before the first one that
    /// cannot be added are there even so.
    ///
    /// # Errors
    ///
    /// As for [`Proxies::add`], with those that are there.
    pub async fn populate(&self, drafts: &[Draft]) -> Result<Vec<View>, (ProxyError, Vec<View>)> {
        for (index, draft) in drafts.iter().enumerate() {
            let place = format!(" at proxy {}", index + 1);
            draft.check(&place).map_err(|error| (error, Vec::new()))?;
        }
        let mut proxies = self.0.proxies.lock().await;
        let mut views = Vec::new();
        for draft in drafts {
            if let Some(old) = proxies.get_mut(&draft.name) {
                if !old.differs(draft).await {
                    views.push(old.view());
                    continue;
                }
                old.stop().await;
            }
            match self.insert(&mut proxies, draft).await {
                Ok(view) => views.push(view),
                Err(error) => return Err((error, views)),
            }
        }
        Ok(views)
    }

    /// All proxies, by name.
    pub async fn list(&self) -> BTreeMap<String, View> {
        let proxies = self.0.proxies.lock().await;
        proxies
            .iter()
            .map(|(name, proxy)| (name.clone(), proxy.view()))
            .collect()
    }

    /// One proxy.
    ///
    /// # Errors
    ///
    /// When there is none of this name.
    pub async fn view(&self, name: &str) -> Result<View, ProxyError> {
        let proxies = self.0.proxies.lock().await;
        Ok(proxies.get(name).ok_or(ProxyError::NotFound)?.view())
    }

    /// Changes a proxy's addresses, and enables or disables it; what is empty stays. With another address it begins anew:
    /// its connections are closed.
    ///
    /// # Errors
    ///
    /// When there is none of this name, or it cannot listen; then it is disabled.
    pub async fn update(&self, name: &str, draft: &Draft) -> Result<View, ProxyError> {
        let mut proxies = self.0.proxies.lock().await;
        let proxy = proxies.get_mut(name).ok_or(ProxyError::NotFound)?;
        let enabled = draft.enabled.unwrap_or(proxy.running.is_some());
        let mut draft = draft.clone();
        for (new, old) in [
            (&mut draft.listen, &proxy.listen),
            (&mut draft.upstream, &proxy.upstream),
        ] {
            if new.is_empty() {
                new.clone_from(old);
            }
        }
        if proxy.differs(&draft).await {
            proxy.stop().await;
            proxy.listen = draft.listen;
            proxy.upstream = draft.upstream;
        }
        if enabled {
            proxy.start(&self.0).await?;
        } else {
            proxy.stop().await;
        }
        Ok(proxy.view())
    }

    /// Removes a proxy and closes its connections.
    ///
    /// # Errors
    ///
    /// When there is none of this name.
    pub async fn remove(&self, name: &str) -> Result<(), ProxyError> {
        let mut proxies = self.0.proxies.lock().await;
        let mut proxy = proxies.remove(name).ok_or(ProxyError::NotFound)?;
        proxy.stop().await;
        Ok(())
    }

    /// Enables all proxies, takes away all toxics, and numbers connections from the beginning again.
    ///
    /// # Errors
    ///
    /// When one cannot listen.
    pub async fn reset(&self) -> Result<(), ProxyError> {
        let mut proxies = self.0.proxies.lock().await;
        for proxy in proxies.values_mut() {
            proxy.start(&self.0).await?;
            proxy.chain.send_replace(Chain::default());
            proxy.connections.store(0, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Adds a toxic to a proxy. What comes from now on meets it, also on the connections there are.
    ///
    /// # Errors
    ///
    /// When there is no such proxy, or a toxic of this name.
    pub async fn add_toxic(&self, proxy: &str, toxic: Toxic) -> Result<Toxic, ProxyError> {
        self.toxics(proxy, |toxics| {
            if toxics.iter().any(|active| active.toxic.name == toxic.name) {
                return Err(ProxyError::ToxicExists);
            }
            if toxics.len() >= TOXICS_MAX {
                return Err(ProxyError::TooMany("toxics"));
            }
            let id = self.0.next.fetch_add(1, Ordering::Relaxed);
            let kept = toxic.clone();
            toxics.push(Active { id, toxic });
            Ok(kept)
        })
        .await
    }

    /// Changes a toxic as the API writes it: some attributes, or the toxicity.
    ///
    /// # Errors
    ///
    /// When there is no such proxy or toxic, or the change is malformed.
    pub async fn change_toxic(&self, proxy: &str, name: &str, change: &Value) -> Result<Toxic, ProxyError> {
        self.toxics(proxy, |toxics| {
            let active = toxics.iter_mut().find(|active| active.toxic.name == name);
            let active = active.ok_or(ProxyError::ToxicNotFound)?;
            active.toxic = active.toxic.changed(change)?;
            Ok(active.toxic.clone())
        })
        .await
    }

    /// Takes a toxic away. What it held back goes at once.
    ///
    /// # Errors
    ///
    /// When there is no such proxy or toxic.
    pub async fn remove_toxic(&self, proxy: &str, name: &str) -> Result<(), ProxyError> {
        self.toxics(proxy, |toxics| {
            let place = toxics.iter().position(|active| active.toxic.name == name);
            toxics.remove(place.ok_or(ProxyError::ToxicNotFound)?);
            Ok(())
        })
        .await
    }

    /// Stops accepting, and closes connections when they end or the time is over. Says whether all had ended.
    pub async fn drain(&self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        let mut proxies = self.0.proxies.lock().await;
        let mut ended = true;
        let draining: Vec<_> = proxies
            .values_mut()
            .filter_map(|proxy| proxy.running.take())
            .map(|running| tokio::spawn(running.drain(until)))
            .collect();
        for running in draining {
            ended &= running.await.unwrap_or(false);
        }
        ended
    }

    /// What is counted, for Prometheus.
    pub async fn metrics(&self) -> String {
        let proxies = self.0.proxies.lock().await;
        let counted = proxies.values().map(|proxy| {
            let labels = Labels {
                proxy: &proxy.name,
                listener: &proxy.listen,
                upstream: &proxy.upstream,
            };
            (labels, &*proxy.counters)
        });
        page(&counted.collect::<Vec<_>>())
    }

    async fn insert(&self, proxies: &mut BTreeMap<String, Proxy>, draft: &Draft) -> Result<View, ProxyError> {
        if proxies.len() >= PROXIES_MAX && !proxies.contains_key(&draft.name) {
            return Err(ProxyError::TooMany("proxies"));
        }
        let mut proxy = Proxy {
            name: draft.name.clone(),
            listen: draft.listen.clone(),
            upstream: draft.upstream.clone(),
            chain: watch::Sender::new(Chain::default()),
            counters: Arc::default(),
            connections: Arc::default(),
            running: None,
        };
        if draft.enabled.unwrap_or(true) {
            proxy.start(&self.0).await?;
        }
        let view = proxy.view();
        proxies.insert(draft.name.clone(), proxy);
        Ok(view)
    }

    async fn toxics<T>(
        &self,
        proxy: &str,
        change: impl FnOnce(&mut Vec<Active>) -> Result<T, ProxyError>,
    ) -> Result<T, ProxyError> {
        let proxies = self.0.proxies.lock().await;
        let proxy = proxies.get(proxy).ok_or(ProxyError::NotFound)?;
        let mut toxics = Vec::clone(&proxy.chain.borrow().0);
        let done = change(&mut toxics)?;
        proxy.chain.send_replace(Chain(Arc::new(toxics)));
        Ok(done)
    }
}

impl Proxy {
    fn view(&self) -> View {
        let chain = Chain::clone(&self.chain.borrow());
        let of = |side| {
            let toxics = chain.0.iter().map(|active| active.toxic.clone());
            toxics.filter(move |toxic| toxic.stream == side)
        };
        View {
            name: self.name.clone(),
            listen: self.listen.clone(),
            upstream: self.upstream.clone(),
            enabled: self.running.is_some(),
            toxics: of(Side::Upstream).chain(of(Side::Downstream)).collect(),
        }
    }

    async fn start(&mut self, inside: &Inside) -> Result<(), ProxyError> {
        if self.running.is_some() {
            return Ok(());
        }
        self.connections.store(0, Ordering::Relaxed);
        let wiring = Wiring {
            name: self.name.clone(),
            upstream: self.upstream.clone(),
            seed: inside.seed,
            clock: inside.clock,
            chain: self.chain.subscribe(),
            counters: Arc::clone(&self.counters),
            next: Arc::clone(&self.connections),
        };
        let running = Passage::open(&self.listen, wiring).await;
        let running = running.map_err(|source| ProxyError::Listen {
            address: self.listen.clone(),
            source,
        })?;
        self.listen = running.address.to_string();
        self.running = Some(running);
        Ok(())
    }

    async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.close().await;
        }
    }

    /// Whether a draft has another address.
    async fn differs(&self, draft: &Draft) -> bool {
        if self.upstream != draft.upstream {
            return true;
        }
        if self.listen == draft.listen {
            return false;
        }
        let Ok(addresses) = tokio::net::lookup_host(&draft.listen).await else {
            return true;
        };
        !addresses
            .map(|address| address.to_string())
            .any(|address| address == self.listen)
    }
}
