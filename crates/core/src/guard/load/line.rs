//! The line before the origin: who gets in, who leaves it, and whose time is over.

use crate::coalesce::LoadId;
use crate::gate::Reason;
use crate::rng::Stream;
use crate::time::Time;
use crate::{breaker, limit};

use super::super::Guard;
use super::super::step::Effect;
use super::{Landing, Room, State};

impl Guard {
    /// A place at the origin, for a load that comes now. Who comes now goes behind those who wait in line.
    pub(in crate::guard) fn enter(&mut self, now: Time, rng: &mut Stream) -> Room {
        let open = |breaker: &breaker::Breaker| breaker.state(now) == breaker::State::Open;
        if self.origin.as_ref().is_some_and(open) {
            return Room::Open;
        }
        if !self.line.is_empty() {
            return Room::Full;
        }
        self.enter_from_line(now, rng)
    }

    fn enter_from_line(&mut self, now: Time, rng: &mut Stream) -> Room {
        let Some(place) = self.limiter.acquire(now) else {
            return Room::Full;
        };
        let Some(breaker) = &mut self.origin else {
            return Room::Inside(place, None);
        };
        match breaker.admit(now, rng) {
            breaker::Admission::Pass(permit) => Room::Inside(place, Some(permit)),
            breaker::Admission::Refuse { .. } => {
                self.limiter.release(now, place, limit::Outcome::Dropped);
                Room::Open
            }
        }
    }

    /// Lets those in the line before the origin go on, or leave.
    pub(in crate::guard) fn promote(&mut self, now: Time, rng: &mut Stream) {
        self.promote_all(now, rng);
        // What could be done for the line is done.
        self.wake_now = false;
    }

    fn promote_all(&mut self, now: Time, rng: &mut Stream) {
        loop {
            while let Some(id) = self.line.expire(now) {
                self.land(id, Landing::Shed(Reason::OriginTimeout), false);
                self.close(now, id);
            }
            if self.line.is_empty() {
                return;
            }
            let room = self.enter_from_line(now, rng);
            if let Room::Full | Room::Later = room {
                return;
            }
            let next = self.line.pop(now).map(|(id, _)| id);
            match (room, next) {
                (Room::Inside(place, permit), Some(id)) => {
                    let load = &mut self.loads[id.index() as usize];
                    (load.place, load.permit, load.state) = (Some(place), permit, State::Launched);
                    self.effects.push_back(Effect::Launch(id));
                }
                (Room::Inside(place, permit), None) => {
                    self.leave_origin(now, permit, Some(place), None);
                }
                (_, Some(id)) => {
                    self.land(id, Landing::Shed(Reason::OriginOpen), false);
                    self.close(now, id);
                }
                (_, None) => {}
            }
        }
    }

    /// Gives up the loads whose hard timeout has come: their keys are free, their work is cancelled.
    pub(in crate::guard) fn give_up_loads(&mut self, now: Time) {
        while let Some((at, id)) = self.hard.front().copied() {
            if at > now {
                break;
            }
            self.hard.pop_front();
            if !self.flights.is_live(id) || self.loads[id.index() as usize].state == State::Storing {
                continue;
            }
            self.stop(id);
            let load = &self.loads[id.index() as usize];
            if load.state == State::Fetching {
                // The origin did not answer: that is news of it.
                let took = now.since(load.sent);
                self.leave_origin_load(now, id, Some((false, took)));
            }
            self.counters.loads_given_up += 1;
            self.land(id, Landing::TimedOut, false);
            self.close(now, id);
        }
    }

    /// When it is given up, kept in order.
    pub(super) fn arm(&mut self, at: Time, id: LoadId) {
        // The timeout is the same for all, so this is the end of the line except after it was made shorter.
        let place = self.hard.partition_point(|(other, _)| *other <= at);
        self.hard.insert(place, (at, id));
    }

    /// Nobody waits for this load any more: stops it, unless it has something else to live for.
    pub(in crate::guard) fn cancel_unwanted(&mut self, now: Time, id: LoadId) {
        let load = &self.loads[id.index() as usize];
        if load.goes_on || load.state == State::Storing || !self.flights.is_live(id) {
            return;
        }
        self.stop(id);
        self.close(now, id);
        self.counters.loads_cancelled += 1;
        // Its place is for another; that is seen to at the next wake-up, which is due at once.
        self.wake_now = true;
    }

    fn stop(&mut self, id: LoadId) {
        if self.loads[id.index() as usize].state == State::Queued {
            self.line.remove(|waiting| *waiting == id);
        } else {
            self.effects.push_back(Effect::Cancel(id));
        }
    }
}
