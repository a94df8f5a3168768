//! The copies of a service, as one thing to call.
//!
//! A copy at which nobody listens is left out for a moment and another one is called, as a load balancer does. Nothing
//! else is tried twice: an error is the answer.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use seawall_core::balance::{Balancer, Strategy};
use seawall_core::rng::{Seed, Stream};
use tokio::time::Instant;

use crate::load::{AddressError, Call, Reply, Target, Web};

/// So long a copy is left out at which nobody listened.
const OUT: Duration = Duration::from_millis(200);

/// Copies of a service. Clones are the same.
#[derive(Clone, Debug)]
pub struct Copies(Arc<Inside>);

#[derive(Debug)]
struct Inside {
    /// What is asked for, with `{key}` in the place of the key.
    path: String,
    choice: Mutex<Choice>,
}

#[derive(Debug)]
struct Choice {
    copies: Vec<Arc<Copy>>,
    balancer: Balancer,
    rng: Stream,
}

#[derive(Debug)]
struct Copy {
    web: Web,
    in_flight: AtomicU32,
    out_until: Mutex<Option<Instant>>,
}

impl Copy {
    fn is_in(&self, now: Instant) -> bool {
        let until = *self.out_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_none_or(|until| until <= now)
    }
}

/// A call under way at a copy.
struct Held<'a>(&'a Copy);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Copies {
    /// Copies at these addresses, called in the name of a client: what is asked for is `/client/key`.
    ///
    /// # Errors
    /// When an address cannot be called.
    pub fn new(client: &str, addresses: &[SocketAddr], strategy: Strategy) -> Result<Copies, AddressError> {
        Copies::at(&format!("/{client}/{{key}}"), addresses, strategy)
    }

    /// Copies at these addresses that are asked for this path, with the key in the place of `{key}`.
    ///
    /// # Errors
    /// When an address cannot be called.
    pub fn at(path: &str, addresses: &[SocketAddr], strategy: Strategy) -> Result<Copies, AddressError> {
        let copies = Copies(Arc::new(Inside {
            path: path.to_owned(),
            choice: Mutex::new(Choice {
                copies: Vec::new(),
                balancer: Balancer::new(strategy, 0),
                rng: Seed(0).stream("copies", 0),
            }),
        }));
        copies.set(addresses, strategy)?;
        Ok(copies)
    }

    /// There are other copies now, or they are chosen differently. Calls under way go on.
    ///
    /// # Errors
    /// When an address cannot be called.
    pub fn set(&self, addresses: &[SocketAddr], strategy: Strategy) -> Result<(), AddressError> {
        let copy = |address: &SocketAddr| {
            let web = Web::new(&format!("http://{address}{}", self.0.path))?;
            Ok(Arc::new(Copy {
                web,
                in_flight: AtomicU32::new(0),
                out_until: Mutex::new(None),
            }))
        };
        let copies = addresses.iter().map(copy).collect::<Result<Vec<_>, _>>()?;
        let mut choice = self.0.choice.lock().unwrap_or_else(PoisonError::into_inner);
        choice.balancer = Balancer::new(strategy, copies.len());
        choice.copies = copies;
        Ok(())
    }

    fn pick(&self) -> Option<Arc<Copy>> {
        let now = Instant::now();
        let mut choice = self.0.choice.lock().unwrap_or_else(PoisonError::into_inner);
        let Choice {
            copies,
            balancer,
            rng,
        } = &mut *choice;
        let busy: Vec<u32> = copies
            .iter()
            .map(|copy| copy.in_flight.load(Ordering::Relaxed))
            .collect();
        let place = balancer.pick(rng, &busy, |place| copies[place].is_in(now))?;
        copies.get(place).cloned()
    }

    fn count(&self) -> usize {
        let choice = self.0.choice.lock().unwrap_or_else(PoisonError::into_inner);
        choice.copies.len()
    }
}

impl Target for Copies {
    async fn call(&self, call: Call) -> Reply {
        for _ in 0..self.count() {
            let Some(copy) = self.pick() else { break };
            copy.in_flight.fetch_add(1, Ordering::Relaxed);
            let held = Held(&copy);
            let reply = copy.web.call(call.clone()).await;
            drop(held);
            if !matches!(&reply, Reply::Failed(why) if why == "refused") {
                return reply;
            }
            let out = Some(Instant::now() + OUT);
            *copy.out_until.lock().unwrap_or_else(PoisonError::into_inner) = out;
        }
        Reply::Failed("no instance".to_owned())
    }
}
