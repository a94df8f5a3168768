//! A request on its way through the guard.

use crate::coalesce::LoadId;

use super::step::Call;

/// A call that was begun. The driver keeps it between steps.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    token: u32,
    key: u64,
    load: Option<LoadId>,
}

impl Request {
    pub(super) fn skeleton(token: u32, call: &Call) -> Request {
        Request {
            token,
            key: call.key,
            load: None,
        }
    }

    /// The driver's name for it.
    pub fn token(&self) -> u32 {
        self.token
    }

    /// Its key.
    pub fn key(&self) -> u64 {
        self.key
    }

    /// The load that it waits for, or whose value it was answered with.
    pub fn load(&self) -> Option<LoadId> {
        self.load
    }
}
