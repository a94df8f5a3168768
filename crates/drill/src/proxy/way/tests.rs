use proptest::prelude::*;
use seawall_core::flow::Fault;
use seawall_core::link;
use seawall_core::rng::Seed;
use seawall_core::time::Span;

use super::*;

const MS: fn(u64) -> Span = Span::millis;

fn at(ms: u64) -> Time {
    Time::ZERO + MS(ms)
}

fn setting(id: u64, fault: Fault) -> Setting {
    Setting {
        id,
        seed: Seed(id),
        turns: true,
        fault,
    }
}

fn late(ms: u64) -> Fault {
    Fault::Link(link::Fault::Latency {
        add: MS(ms),
        jitter: Span::ZERO,
    })
}

/// Writes what may go, and returns it.
fn write(way: &mut Way, now: Time) -> Vec<u8> {
    let mut parts = no_parts();
    let count = way.parts(now, &mut parts);
    let bytes: Vec<u8> = parts[..count].iter().flat_map(|part| part.to_vec()).collect();
    way.wrote(bytes.len());
    bytes
}

/// Faults that lose nothing.
fn harmless() -> impl Strategy<Value = Fault> {
    prop_oneof![
        (0..300_u64, 0..300_u64).prop_map(|(add, jitter)| Fault::Link(link::Fault::Latency {
            add: MS(add),
            jitter: MS(jitter),
        })),
        (1..50_u64).prop_map(|rate| Fault::Link(link::Fault::Bandwidth {
            bytes_per_s: rate as f64 * 1e4,
        })),
        Just(Fault::Link(link::Fault::Loss { share: 0.3 })),
        Just(Fault::Link(link::Fault::Partition)),
        (1..2_000_u64, 0..2_000_u64).prop_map(|(bytes, variation)| Fault::Slices {
            bytes,
            variation,
            pause: MS(1),
        }),
        Just(Fault::SlowClose { delay: MS(50) }),
    ]
}

#[derive(Clone, Debug)]
enum Op {
    Push(usize),
    Turn,
    Change(Vec<(u64, Fault)>),
    Write(usize),
    Pass(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (1..5_000_usize).prop_map(Op::Push),
        1 => Just(Op::Turn),
        1 => prop::collection::vec((0..6_u64, harmless()), 0..3).prop_map(Op::Change),
        4 => (1..4_000_usize).prop_map(Op::Write),
        3 => (0..200_u64).prop_map(Op::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn all_bytes_go_in_order_whatever_changes(ops in prop::collection::vec(op(), 1..60)) {
        let mut way = Way::default();
        let mut now = Time::ZERO;
        let (mut sent, mut heard) = (Vec::<u8>::new(), Vec::new());
        for op in ops {
            match op {
                Op::Push(count) => {
                    let bytes: Vec<u8> = (sent.len()..sent.len() + count).map(|at| (at % 251) as u8).collect();
                    sent.extend(&bytes);
                    way.push(now, bytes.into(), None);
                }
                Op::Turn => way.turn(),
                Op::Change(faults) => {
                    let mut faults = faults;
                    faults.dedup_by_key(|(id, _)| *id);
                    let chain: Vec<Setting> = faults.iter().map(|(id, fault)| setting(*id, *fault)).collect();
                    way.change(now, &chain, |_| true);
                }
                Op::Write(most) => {
                    if way.next(now) == Next::Write {
                        let mut parts = no_parts();
                        let count = way.parts(now, &mut parts);
                        let ready: Vec<u8> = parts[..count].iter().flat_map(|part| part.to_vec()).collect();
                        prop_assert!(!ready.is_empty());
                        let wrote = most.min(ready.len());
                        heard.extend(&ready[..wrote]);
                        way.wrote(wrote);
                    }
                }
                Op::Pass(ms) => now += MS(ms),
            }
            prop_assert_eq!(way.queued(), sent.len() - heard.len());
        }
        way.finish(now);
        way.change(now, &[], |_| true);
        while way.next(now) == Next::Write {
            heard.extend(write(&mut way, now));
        }
        prop_assert_eq!(way.next(now), Next::Finish);
        prop_assert!(heard == sent);
    }
}

#[test]
fn what_is_on_its_way_is_judged_anew() {
    let mut way = Way::default();
    way.change(Time::ZERO, &[setting(1, late(1_000))], |_| true);
    way.push(at(10), Bytes::from_static(b"one"), None);
    way.push(at(20), Bytes::from_static(b"two"), None);
    assert_eq!(way.next(at(30)), Next::Wait(at(1_010)));
    way.change(at(30), &[setting(1, late(100))], |_| true);
    assert_eq!(way.next(at(109)), Next::Wait(at(110)));
    assert_eq!(way.next(at(110)), Next::Write);
    assert_eq!(write(&mut way, at(110)), b"one");
    assert_eq!(way.next(at(110)), Next::Wait(at(120)));
    way.change(at(111), &[], |_| true);
    assert_eq!(write(&mut way, at(111)), b"two");
    assert!(way.free());
}

#[test]
fn a_wait_ends_with_its_toxic() {
    let mut way = Way::default();
    way.push(at(0), Bytes::from_static(b"slow"), Some((7, at(500))));
    way.push(at(0), Bytes::from_static(b"behind"), None);
    assert_eq!(way.next(at(1)), Next::Wait(at(500)));
    way.change(at(2), &[], |id| id != 7);
    assert_eq!(write(&mut way, at(2)), b"slowbehind");
}

#[test]
fn the_end_comes_after_the_bytes() {
    let mut way = Way::default();
    let close = Fault::SlowClose { delay: MS(30) };
    way.change(Time::ZERO, &[setting(1, late(100)), setting(2, close)], |_| true);
    way.push(at(0), Bytes::from_static(b"last"), None);
    way.finish(at(1));
    assert_eq!(write(&mut way, at(100)), b"last");
    assert_eq!(way.next(at(100)), Next::Wait(at(130)));
    assert_eq!(way.next(at(130)), Next::Finish);
}

#[test]
fn damage_is_done_once_and_only_while_it_is_there() {
    let all = setting(1, Fault::Corrupt { share: 1.0 });
    let mut way = Way::default();
    way.change(Time::ZERO, &[all, setting(2, late(100))], |_| true);
    way.push(at(0), Bytes::from(vec![0; 2_000]), None);
    way.change(at(50), &[], |_| true);
    assert_eq!(write(&mut way, at(50)), vec![0; 2_000], "nothing had gone yet");
    way.change(at(60), &[all], |_| true);
    way.push(at(60), Bytes::from(vec![0; 2_000]), None);
    assert_eq!(way.next(at(60)), Next::Write);
    // A second look before all is written changes nothing.
    let mut parts = no_parts();
    way.parts(at(60), &mut parts);
    let first = parts[0].to_vec();
    assert!(first.iter().all(|byte| *byte != 0));
    assert_eq!(way.next(at(60)), Next::Write);
    assert_eq!(write(&mut way, at(60))[..first.len()], first);
}
