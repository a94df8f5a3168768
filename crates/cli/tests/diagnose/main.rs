//! `seawall diagnose` against a real Redis and a real gateway: what it finds, what it does when it is told to, what it says
//! of that, and what it takes back.

#![expect(clippy::disallowed_methods, reason = "it waits for real processes")]

mod control;
mod gateway;
mod helps;
mod redis;
mod stage;
mod world;
