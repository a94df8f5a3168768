//! Databases with the same content: reads go to the least busy one that answers.
//!
//! A replica is behind its primary by a little. Who has to see what he has just written reads it from the cache, into
//! which the write put it, or from the primary.

use std::sync::{Mutex, PoisonError};

use seawall_core::balance::{Balancer, Ejection, Ejector, Strategy};
use seawall_core::rng::{Seed, Stream};

use super::pool::Pool;
use super::sql::{Dialect, Query, SqlOrigin};
use crate::clock::Clock;
use crate::origin::LoadError;
use seawall_core::guard::OriginFault;

/// Replicas of a database. One that fails is left out for a while, never all of them.
///
/// Without that, a dead replica would be the least busy of all and draw every read.
pub struct Replicas<DB: Dialect> {
    pools: Vec<Pool<DB>>,
    clock: Clock,
    choice: Mutex<Choice>,
}

struct Choice {
    balancer: Balancer,
    ejector: Ejector,
    rng: Stream,
}

impl<DB: Dialect> std::fmt::Debug for Replicas<DB> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Replicas").field(&self.pools).finish()
    }
}

impl<DB: Dialect> Replicas<DB> {
    /// Reads from these.
    pub fn new(pools: impl IntoIterator<Item = Pool<DB>>) -> Replicas<DB> {
        let pools: Vec<_> = pools.into_iter().collect();
        Replicas {
            clock: Clock::new(),
            choice: Mutex::new(Choice {
                balancer: Balancer::new(Strategy::LeastConnections, pools.len()),
                ejector: Ejector::new(&Ejection::default(), pools.len()),
                rng: Seed(0).stream("replicas", 0),
            }),
            pools,
        }
    }

    /// How many connections are in use, to all of them.
    pub fn active(&self) -> usize {
        self.pools.iter().map(Pool::active).sum()
    }

    /// The first row that a query gives, if any. It is asked of one replica, once.
    ///
    /// # Errors
    /// As [`Pool::fetch`].
    pub async fn fetch(&self, query: Query<DB>) -> Result<Option<DB::Row>, LoadError> {
        let Some((place, pool)) = self.pick() else {
            return Err(LoadError::new(OriginFault::Refused, "there is no replica"));
        };
        let result = pool.fetch(query).await;
        // An error of the statement says nothing about the server.
        let well = !matches!(&result, Err(error) if error.fault() != OriginFault::Error);
        let mut choice = self.choice.lock().unwrap_or_else(PoisonError::into_inner);
        choice.ejector.record(self.clock.now(), place, well);
        result
    }

    /// An origin that reads from them: what is asked for a key, and what its row says.
    pub fn origin<K, L>(
        self,
        ask: impl Fn(&K) -> Query<DB> + Send + Sync + 'static,
        read: impl Fn(&DB::Row) -> Result<L, sqlx::Error> + Send + Sync + 'static,
    ) -> SqlOrigin<DB, K, L> {
        SqlOrigin::new(self, ask, read)
    }

    fn pick(&self) -> Option<(usize, &Pool<DB>)> {
        if let [only] = &*self.pools {
            return Some((0, only));
        }
        let busy: Vec<u32> = self
            .pools
            .iter()
            .map(|pool| u32::try_from(pool.active()).unwrap_or(u32::MAX))
            .collect();
        let now = self.clock.now();
        let mut choice = self.choice.lock().unwrap_or_else(PoisonError::into_inner);
        let Choice {
            balancer,
            ejector,
            rng,
        } = &mut *choice;
        let place = balancer.pick(rng, &busy, |copy| ejector.is_in(now, copy))?;
        Some((place, self.pools.get(place)?))
    }
}
