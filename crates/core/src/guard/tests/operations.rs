//! What holds whatever happens: random calls, replies, departures and changes of policy.

use proptest::prelude::*;

use super::driver::{local, ms, tier};
use crate::guard::*;
use crate::policies::Policies;
use crate::ring::Sharding;
use crate::rng::Seed;
use crate::{breaker, coalesce, deadline, early, lease, limit, retry, sketch, stale, ttl, warm};

#[derive(Clone, Debug)]
enum Operation {
    Wait(u64),
    Call {
        key: u64,
        read: bool,
        patience: Option<u64>,
    },
    /// Reply to one of the requests that wait for a look-up or a write.
    Reply(usize, u8),
    /// Reply to one of the loads.
    Load(usize, u8),
    Abandon(usize),
    Retune(u32),
    Purge(u64),
    Epoch,
    Warm,
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        4 => (0_u64..200).prop_map(Operation::Wait),
        8 => (0_u64..6, prop::bool::weighted(0.9), prop::option::of(0_u64..300))
            .prop_map(|(key, read, patience)| Operation::Call { key, read, patience }),
        12 => (any::<usize>(), any::<u8>()).prop_map(|(which, how)| Operation::Reply(which, how)),
        8 => (any::<usize>(), any::<u8>()).prop_map(|(which, how)| Operation::Load(which, how)),
        2 => any::<usize>().prop_map(Operation::Abandon),
        1 => any::<u32>().prop_map(Operation::Retune),
        1 => (0_u64..6).prop_map(Operation::Purge),
        1 => Just(Operation::Epoch),
        1 => Just(Operation::Warm),
    ]
}

/// Each bit switches one protection on.
fn policies(bits: u32) -> Policies {
    fn on<T>(bits: u32, bit: u32, value: T) -> Option<T> {
        (bits >> bit & 1 == 1).then_some(value)
    }
    Policies {
        breaker: on(
            bits,
            0,
            breaker::Settings {
                failures: 2,
                ramp: ms(100),
                ..breaker::Settings::default()
            },
        ),
        origin_breaker: on(
            bits,
            1,
            breaker::Settings {
                failures: 2,
                ..breaker::Settings::default()
            },
        ),
        coalesce: on(
            bits,
            2,
            coalesce::Settings {
                window: ms(u64::from(bits >> 20 & 1) * 50),
                age_max: ms(400),
                wait_max: ms(150),
                waiters_max: WAITERS_MAX,
            },
        ),
        lease: on(bits, 3, lease::Settings::default()),
        ttl: ttl::Settings {
            negative: on(bits, 4, ms(100)),
            stagger: on(bits, 5, ms(100)),
            ..ttl::Settings::default()
        },
        early: on(bits, 6, early::Settings::default()),
        stale: on(
            bits,
            7,
            stale::Settings {
                refreshes_max: 2,
                ..stale::Settings::default()
            },
        ),
        deadline: deadline::Settings {
            total: on(bits, 8, ms(1_000)),
            cache: on(bits, 9, ms(20)),
            soft: on(bits, 10, ms(50)),
            hard: on(bits, 11, ms(300)),
            cancel: bits >> 12 & 1 == 1,
        },
        retry: on(bits, 13, retry::Settings::default()),
        limit: on(
            bits,
            14,
            limit::Settings {
                max: 2,
                places: 2,
                mode: mode(bits),
                ..limit::Settings::default()
            },
        ),
        warm: on(bits, 15, warm::Settings::default()),
        hot: on(bits, 16, sketch::Settings::default()),
        integrity: bits >> 17 & 1 == 1,
        ..Policies::default()
    }
}

fn mode(bits: u32) -> limit::Mode {
    match bits >> 18 & 3 {
        0 | 1 => limit::Mode::Fixed,
        2 => limit::Mode::Aimd {
            latency: ms(100),
            decrease: 0.5,
        },
        _ => limit::Mode::Gradient { tolerance: 1.5 },
    }
}

const WAITERS_MAX: u32 = 3;

/// What the driver has to do next for a request or a load.
struct Desk {
    guard: Guard,
    rng: Stream,
    now: Time,
    requests: Vec<(Request, Step)>,
    loads: Vec<(LoadId, LoadStep)>,
    begun: u64,
    ended: u64,
}

impl Desk {
    fn settle(&mut self, request: Request, step: Step) {
        // A wait that is over at once would never end.
        if let Step::Wait { until } = step {
            assert!(until > self.now);
        }
        if let Step::Done(_) = step {
            assert!(request.ended());
            self.ended += 1;
        } else {
            self.requests.push((request, step));
        }
        self.effects();
    }

    fn effects(&mut self) {
        while let Some(effect) = self.guard.poll() {
            match effect {
                Effect::Wake(token) => {
                    let place = self
                        .requests
                        .iter()
                        .position(|(request, _)| request.token() == token);
                    let place = place.expect("only those are woken who wait");
                    let (mut request, step) = self.requests.swap_remove(place);
                    assert!(matches!(step, Step::Wait { .. }));
                    let step = self
                        .guard
                        .resume(self.now, &mut self.rng, &mut request, Reply::Woken);
                    assert!(
                        matches!(step, Step::Done(_)),
                        "a load that has ended ends the wait"
                    );
                    self.ended += 1;
                }
                Effect::Launch(load) => {
                    assert!(
                        self.loads.iter().all(|(other, _)| *other != load),
                        "a load is driven once"
                    );
                    self.loads.push((load, LoadStep::Parked));
                }
                Effect::Cancel(load) => {
                    let before = self.loads.len();
                    self.loads.retain(|(other, _)| *other != load);
                    assert_eq!(self.loads.len() + 1, before, "what is cancelled is driven");
                }
                Effect::Fill { .. } | Effect::Invalidate { .. } | Effect::GiveBack { .. } => {}
            }
        }
    }

    fn entry(&self, how: u8) -> Entry {
        let past = self.now - ms(400);
        Entry {
            stored: past,
            fresh_until: self.now + ms(u64::from(how)) - ms(100),
            refresh_at: self.now + ms(u64::from(how / 2)) - ms(100),
            cost: ms(20),
            version: u64::from(how % 5),
            negative: how.is_multiple_of(7),
            intact: !how.is_multiple_of(11),
        }
    }

    fn reply(&mut self, which: usize, how: u8) {
        let Some((mut request, step)) = self.take(which) else {
            return;
        };
        let reply = match step {
            Step::Lookup { .. } if how < 60 => {
                Reply::CacheFailed(CacheFault::ALL[how as usize % CacheFault::ALL.len()])
            }
            Step::Lookup { .. } if how < 160 => Reply::Missing,
            Step::Lookup { .. } => Reply::Found(self.entry(how)),
            Step::Wait { until } if until <= self.now => Reply::Due,
            Step::Wait { .. } => return self.requests.push((request, step)),
            Step::Write { .. } if how < 60 => Reply::WriteFailed(OriginFault::Error),
            Step::Write { .. } => Reply::Written {
                version: u64::from(how),
            },
            Step::Done(_) => panic!("it has ended"),
        };
        let step = self.guard.resume(self.now, &mut self.rng, &mut request, reply);
        self.settle(request, step);
    }

    fn take(&mut self, which: usize) -> Option<(Request, Step)> {
        let place = which.checked_rem(self.requests.len())?;
        Some(self.requests.swap_remove(place))
    }

    fn load(&mut self, which: usize, how: u8) {
        let Some(place) = which.checked_rem(self.loads.len()) else {
            return;
        };
        let (load, step) = self.loads.swap_remove(place);
        let reply = match step {
            LoadStep::Parked => LoadReply::Launched,
            LoadStep::Pause { until } if until > self.now => return self.loads.push((load, step)),
            LoadStep::Pause { .. } => LoadReply::Due,
            LoadStep::Fetch { .. } if how < 80 => LoadReply::FetchFailed(OriginFault::TimedOut),
            LoadStep::Fetch { .. } => LoadReply::Fetched {
                version: u64::from(how),
                negative: how.is_multiple_of(9),
                took: ms(20),
                life: Life::Class,
            },
            LoadStep::Store { .. } if how < 60 => LoadReply::Stored(Err(CacheFault::TimedOut)),
            LoadStep::Store { .. } => LoadReply::Stored(Ok(())),
            LoadStep::Lease { .. } => LoadReply::Leased(how < 128),
            LoadStep::Look { .. } if how < 128 => LoadReply::Missing,
            LoadStep::Look { .. } => LoadReply::Found(self.entry(how)),
            LoadStep::Done => panic!("it is over"),
        };
        let step = self.guard.load(self.now, &mut self.rng, load, reply);
        if !matches!(step, LoadStep::Done | LoadStep::Parked) {
            self.loads.push((load, step));
        }
        self.effects();
    }

    fn step(&mut self, token: u32, operation: &Operation) {
        match *operation {
            Operation::Wait(millis) => self.now += ms(millis),
            Operation::Call { key, read, patience } => {
                let deadline = patience.map_or(Time::NEVER, |patience| self.now + ms(patience));
                let call = Call {
                    read,
                    deadline,
                    ..Call::read(key)
                };
                let mut request = Request::new(token, &call);
                let step = self.guard.begin(self.now, &mut self.rng, &mut request);
                self.begun += 1;
                self.settle(request, step);
            }
            Operation::Reply(which, how) => self.reply(which, how),
            Operation::Load(which, how) => self.load(which, how),
            Operation::Abandon(which) => {
                if let Some((request, _)) = self.take(which) {
                    self.guard.abandon(self.now, request);
                    self.ended += 1;
                }
            }
            Operation::Retune(bits) => self.guard.retune(self.now, &policies(bits)),
            Operation::Purge(key) => self.guard.purge(self.now, key),
            Operation::Epoch => self.guard.bump_epoch(self.now),
            Operation::Warm => self.guard.warm(self.now, vec![0, 1, 2, 3]),
        }
        self.effects();
        if self.guard.next_wake() <= self.now {
            self.guard.wake(self.now, &mut self.rng);
            self.effects();
            assert!(self.guard.next_wake() > self.now, "waking gets it done");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_request_ends_once_and_nothing_is_lost(
        bits in any::<u32>(),
        operations in prop::collection::vec(operation(), 1..250),
    ) {
        let tiers = vec![local(), Tier { nodes: 3, sharding: Sharding::Ring, ..tier() }, tier()];
        let setup = Setup { tiers, instances: 1, policies: policies(bits) };
        let mut desk = Desk {
            guard: Guard::new(Time::ZERO, &setup),
            rng: Seed(1).stream("guard", 0),
            now: Time::ZERO + Span::secs(1),
            requests: Vec::new(),
            loads: Vec::new(),
            begun: 0,
            ended: 0,
        };
        for (token, operation) in (0_u32..).zip(&operations) {
            desk.step(token, operation);
            desk.guard.invariants();
            prop_assert_eq!(desk.guard.requests(), desk.requests.len() as u64);
            prop_assert_eq!(desk.begun, desk.ended + desk.requests.len() as u64);
        }
        // Let everything come to its end.
        for round in 0..200_000_usize {
            if desk.requests.is_empty() && desk.guard.loads() == 0 {
                break;
            }
            let operation = match round % 3 {
                0 => Operation::Wait(50),
                1 => Operation::Reply(round / 3, 100),
                _ => Operation::Load(round / 3, 200),
            };
            desk.step(0, &operation);
            desk.guard.invariants();
        }
        prop_assert_eq!((desk.guard.requests(), desk.guard.loads(), desk.guard.queued()), (0, 0, 0));
        prop_assert_eq!(desk.guard.in_flight(), 0, "no place at the origin is lost");
        prop_assert_eq!(desk.begun, desk.ended);
    }
}
