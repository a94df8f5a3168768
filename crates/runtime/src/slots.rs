//! Places for requests that wait to be woken. It is part of what the lock around the guard protects.

use std::task::Waker;

/// By token: whether the request was woken, and how to wake it.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

#[derive(Debug, Default)]
struct Slot {
    woken: bool,
    waker: Option<Waker>,
}

impl Slots {
    /// A place for a request. Its token is the guard's name for the request.
    pub(crate) fn take(&mut self) -> u32 {
        if let Some(token) = self.free.pop() {
            return token;
        }
        self.slots.push(Slot::default());
        (self.slots.len() - 1) as u32
    }

    /// The request has ended.
    pub(crate) fn give_back(&mut self, token: u32) {
        self.slots[token as usize] = Slot::default();
        self.free.push(token);
        if self.free.len() == self.slots.len() && self.slots.len() > SPARE {
            *self = Slots::default();
        }
    }

    /// Wakes a request. What is returned is to be called, outside of the lock.
    pub(crate) fn wake(&mut self, token: u32) -> Option<Waker> {
        let slot = self.slots.get_mut(token as usize)?;
        slot.woken = true;
        slot.waker.take()
    }

    /// Whether the request was woken since it last asked; if not, `waker` is called when it is.
    pub(crate) fn poll(&mut self, token: u32, waker: &Waker) -> bool {
        let slot = &mut self.slots[token as usize];
        if std::mem::take(&mut slot.woken) {
            return true;
        }
        match &mut slot.waker {
            Some(known) if known.will_wake(waker) => {}
            known => *known = Some(waker.clone()),
        }
        false
    }

    /// Requests that have a place.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

/// After a rush, so many places are kept for the next one.
const SPARE: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_used_again_and_forgets() {
        let mut slots = Slots::default();
        let token = slots.take();
        assert!(slots.wake(token).is_none());
        slots.give_back(token);
        assert_eq!(slots.take(), token);
        assert!(!slots.poll(token, Waker::noop()), "it was another who was woken");
        assert!(slots.wake(token).is_some());
        assert!(slots.poll(token, Waker::noop()));
        assert_eq!(slots.len(), 1);
        slots.give_back(token);
        assert_eq!(slots.len(), 0);
        assert!(slots.wake(99).is_none());
    }
}
