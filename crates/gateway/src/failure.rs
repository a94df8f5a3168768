//! Why an upstream did not answer, and whose fault that is. What is done about it is decided elsewhere.

use std::error::Error as StdError;

use seawall_core::guard::OriginFault;

use crate::body::{Stalled, TooLarge};

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("the upstream is held open by an operator")]
    Held,
    #[error("no connection to the upstream is free")]
    Busy,
    #[error("the upstream cannot be reached: {0}")]
    Refused(Box<dyn StdError + Send + Sync>),
    #[error("the upstream did not answer in time")]
    TimedOut,
    #[error("the upstream broke off: {0}")]
    Broken(Box<dyn StdError + Send + Sync>),
    #[error("the request's body is longer than {0} bytes")]
    TooLarge(u64),
    #[error("the request's body did not come in time")]
    Stalled,
    #[error("the request's body cannot be read")]
    Client,
}

impl Failure {
    /// What it means to the protections.
    pub(crate) fn fault(&self) -> OriginFault {
        match self {
            Failure::Held | Failure::Refused(_) => OriginFault::Refused,
            Failure::Busy => OriginFault::Overloaded,
            Failure::TimedOut => OriginFault::TimedOut,
            _ => OriginFault::Error,
        }
    }

    /// Whether the client is at fault.
    pub(crate) fn is_clients(&self) -> bool {
        matches!(self, Failure::TooLarge(_) | Failure::Stalled | Failure::Client)
    }
}

/// What an error of a connection is.
pub(crate) fn failure(error: impl StdError + Send + Sync + 'static) -> Failure {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(&error);
    while let Some(error) = cause {
        if let Some(TooLarge(max)) = error.downcast_ref() {
            return Failure::TooLarge(*max);
        }
        if error.is::<Stalled>() {
            return Failure::Stalled;
        }
        if let Some(error) = error.downcast_ref::<hyper::Error>()
            && error.is_user()
        {
            let inner = error.source();
            if let Some(TooLarge(max)) = inner.and_then(|inner| inner.downcast_ref()) {
                return Failure::TooLarge(*max);
            }
            if matches!(inner, Some(inner) if inner.is::<Stalled>()) {
                return Failure::Stalled;
            }
            return Failure::Client;
        }
        cause = error.source();
    }
    Failure::Broken(error.into())
}
