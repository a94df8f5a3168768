//! What is borrowed from the keeper, and calls of it that do not hold up others.

use std::sync::Arc;
use std::time::Duration;

use super::LEASE_MAX;
use crate::keeper::{Broken, Keeper, Mending};

/// Something that the keeper undoes when its time is over.
pub(super) struct Lease {
    keeper: Arc<Keeper>,
    number: u64,
}

impl Lease {
    /// Tells the keeper how to undo what is about to be done.
    pub(super) async fn take(keeper: &Arc<Keeper>, mending: Mending, max: Duration) -> Result<Lease, Broken> {
        let after = Some(max.min(LEASE_MAX));
        Lease::lend(keeper, mending, after).await
    }

    /// The same for what lasts as long as the drill.
    pub(super) async fn for_all(keeper: &Arc<Keeper>, mending: Mending) -> Result<Lease, Broken> {
        Lease::lend(keeper, mending, None).await
    }

    async fn lend(keeper: &Arc<Keeper>, mending: Mending, after: Option<Duration>) -> Result<Lease, Broken> {
        let number = ask(keeper, move |keeper| keeper.lend(mending, after)).await?;
        let keeper = keeper.clone();
        Ok(Lease { keeper, number })
    }

    /// Undoes it now; what has ended already stays as it is.
    pub(super) async fn end(&self) -> Result<(), Broken> {
        let number = self.number;
        ask(&self.keeper, move |keeper| keeper.mend(number)).await
    }

    /// Undoes it at once if what it was taken for has failed.
    pub(super) async fn unless<T, E>(&self, done: Result<T, E>) -> Result<T, E> {
        if done.is_err() {
            // It is tried again when its time is over.
            let _ = self.end().await;
        }
        done
    }
}

/// Asks the keeper, which answers over a pipe: not on a thread that drives others.
pub(super) async fn ask<T: Send + 'static, E: From<Broken> + Send + 'static>(
    keeper: &Arc<Keeper>,
    asked: impl FnOnce(&Keeper) -> Result<T, E> + Send + 'static,
) -> Result<T, E> {
    let keeper = keeper.clone();
    tokio::task::spawn_blocking(move || asked(&keeper))
        .await
        .unwrap_or_else(|error| Err(Broken::Gone(error.to_string()).into()))
}
