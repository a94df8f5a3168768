//! stub
use crate::rng::Stream;
use crate::time::{Span, Time};
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Delivery {
    At(Time),
    Dropped,
    Reset,
    Refused,
    Held,
}
#[derive(Clone, Debug)]
pub struct Link;
impl Link {
    pub fn new() -> Link {
        Link
    }
    pub fn send(&mut self, now: Time, _b: u64, _r: &mut Stream) -> Delivery {
        Delivery::At(now)
    }
    pub fn delivers(&self) -> bool {
        true
    }
    pub fn clear(&mut self) {}
    pub fn refuse(&mut self, _: bool) {}
    pub fn reset(&mut self, _: bool) {}
    pub fn partition(&mut self, _: bool) {}
    pub fn latency(&mut self, _: Span, _: Span) {}
    pub fn bandwidth(&mut self, _: f64) {}
    pub fn loss(&mut self, _: f64) {}
}
