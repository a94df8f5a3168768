//! Something that is done by one task at a time, and once more when it is wanted meanwhile.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// Whose turn it is.
#[derive(Debug)]
pub(super) struct Turns {
    state: Mutex<State>,
    done: watch::Sender<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    UnderWay,
    /// Under way, and wanted again.
    Wanted,
}

impl Turns {
    pub(super) fn new() -> Turns {
        Turns {
            state: Mutex::new(State::Idle),
            done: watch::Sender::new(0),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wants it done. True when the caller has to see to it; otherwise it is done again after it is done.
    pub(super) fn want(&self) -> bool {
        let mut state = self.state();
        let idle = *state == State::Idle;
        *state = if idle { State::UnderWay } else { State::Wanted };
        idle
    }

    /// It was done.
    pub(super) fn done(&self) {
        self.done.send_modify(|done| *done += 1);
    }

    /// Whether it is to be done again; if not, it has ended.
    pub(super) fn again(&self) -> bool {
        let mut state = self.state();
        let wanted = *state == State::Wanted;
        *state = if wanted { State::UnderWay } else { State::Idle };
        wanted
    }

    /// However it ended, the next one may begin.
    pub(super) fn end(&self) {
        *self.state() = State::Idle;
        self.done();
    }

    /// To be woken when it is done the next time.
    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.done.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_meanwhile_is_done_once_more() {
        let turns = Turns::new();
        assert!(turns.want());
        assert!(!turns.want() && !turns.want());
        assert!(turns.again(), "it was wanted twice, and once more will do");
        assert!(!turns.again());
        assert!(turns.want(), "it has ended");
        turns.end();
        assert!(turns.want());
    }
}
