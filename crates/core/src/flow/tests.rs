use proptest::prelude::*;

use super::*;

const MS: fn(u64) -> Span = Span::millis;

fn at(ms: u64) -> Time {
    Time::ZERO + MS(ms)
}

fn setting(id: u64, fault: Fault) -> Setting {
    Setting {
        id,
        seed: Seed(5),
        turns: true,
        fault,
    }
}

fn flow(faults: &[Fault]) -> Flow {
    let mut flow = Flow::default();
    let chain: Vec<Setting> = (0..).zip(faults).map(|(id, fault)| setting(id, *fault)).collect();
    flow.set(Time::ZERO, 0, &chain);
    flow
}

/// What becomes of each byte, when they come in parts of these sizes, all at once.
fn fates(flow: &mut Flow, sizes: &[u64]) -> Vec<Verdict> {
    let mut fates = Vec::new();
    let mut offset = 0;
    for size in sizes {
        let end = offset + size;
        while offset < end {
            let part = Part {
                offset,
                bytes: end - offset,
                message: 0,
            };
            let verdict = flow.send(Time::ZERO, part);
            let taken = match verdict {
                Verdict::Passes { bytes, .. } | Verdict::Lost { bytes } => bytes,
                _ => part.bytes,
            };
            // How many share a verdict hangs on the parts; the rest does not.
            let fate = match verdict {
                Verdict::Passes { at, alone, .. } => Verdict::Passes {
                    at,
                    bytes: 0,
                    alone,
                    last: false,
                },
                Verdict::Lost { .. } => Verdict::Lost { bytes: 0 },
                fate => fate,
            };
            if matches!(fate, Verdict::Held | Verdict::Closed(_) | Verdict::Reset(_)) {
                // What is behind it has the same fate.
                fates.resize(sizes.iter().sum::<u64>() as usize, fate);
                return fates;
            }
            fates.extend((0..taken).map(|_| fate));
            offset += taken;
        }
        flow.invariants();
    }
    fates
}

fn any_fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        (0..500_u64, 0..500_u64).prop_map(|(add, jitter)| Fault::Link(link::Fault::Latency {
            add: MS(add),
            jitter: MS(jitter)
        })),
        (0.0..0.6_f64).prop_map(|share| Fault::Link(link::Fault::Loss { share })),
        (1..3_000_u64, 0..3_000_u64, 0..5_u64).prop_map(|(bytes, variation, pause)| Fault::Slices {
            bytes,
            variation,
            pause: MS(pause)
        }),
        (0..9_000_u64).prop_map(|bytes| Fault::Limit { bytes }),
        Just(Fault::Link(link::Fault::Partition)),
        Just(Fault::Link(link::Fault::Hang)),
        (0..9_u64).prop_map(|delay| Fault::ResetAfter { delay: MS(delay) }),
        Just(Fault::Blackhole {
            close_after: Some(MS(3))
        }),
        Just(Fault::SlowClose { delay: MS(3) }),
        Just(Fault::Corrupt { share: 0.1 }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_fate_of_a_byte_does_not_hang_on_how_it_was_brought(
        faults in prop::collection::vec(any_fault(), 0..4),
        sizes in prop::collection::vec(1..3_000_u64, 1..8),
    ) {
        let total = sizes.iter().sum();
        let parts = fates(&mut flow(&faults), &sizes);
        let whole = fates(&mut flow(&faults), &[total]);
        prop_assert_eq!(parts.len() as u64, total);
        prop_assert!(parts == whole);
    }

    #[test]
    fn bytes_arrive_in_order_and_not_before_they_came(
        faults in prop::collection::vec(any_fault(), 0..4),
        steps in prop::collection::vec((0..50_u64, 1..3_000_u64, any::<bool>()), 1..30),
    ) {
        let mut flow = flow(&faults);
        let (mut now, mut last, mut offset, mut message) = (Time::ZERO, Time::ZERO, 0, 0);
        for (wait, bytes, turn) in steps {
            now += MS(wait);
            if turn {
                message = offset;
            }
            let verdict = flow.send(now, Part { offset, bytes, message });
            if let Verdict::Passes { at, bytes: taken, .. } = verdict {
                prop_assert!(at >= now && at >= last);
                prop_assert!((1..=bytes).contains(&taken));
                last = at;
                offset += taken;
            }
            flow.invariants();
        }
        flow.set(now, offset, &[]);
        let free = flow.send(now, Part { offset, bytes: 7, message });
        prop_assert_eq!(free, Verdict::Passes { at: now, bytes: 7, alone: false, last: false });
    }

    #[test]
    fn damage_does_not_hang_on_the_parts(cuts in prop::collection::vec(1..3_000_usize, 1..8), share in 0.0..1.0_f64) {
        let flow = flow(&[Fault::Corrupt { share }]);
        let total: usize = cuts.iter().sum();
        let mut whole = vec![0; total];
        flow.damage(0, &mut whole);
        let mut parts = vec![0; total];
        let mut from = 0;
        for cut in cuts {
            flow.damage(from as u64, &mut parts[from..from + cut]);
            from += cut;
        }
        prop_assert!(whole == parts);
    }
}

#[test]
fn the_right_share_of_the_bytes_is_damaged() {
    for share in [0.0, 0.001, 0.1, 0.5, 1.0] {
        let flow = flow(&[Fault::Corrupt { share }]);
        assert!(flow.damages());
        let mut bytes = vec![0_u8; 1 << 20];
        flow.damage(0, &mut bytes);
        let changed = bytes.iter().filter(|byte| **byte != 0).count() as f64;
        let expected = share * bytes.len() as f64;
        assert!(
            (changed - expected).abs() <= 4.5 * expected.sqrt(),
            "{share}: {changed}"
        );
    }
}

#[test]
fn each_message_draws_its_own_delay() {
    let add = MS(100);
    let mut flow = flow(&[Fault::Link(link::Fault::Latency { add, jitter: add })]);
    let mut delays = std::collections::BTreeSet::new();
    for n in 0..100 {
        let now = at(n * 1_000);
        let part = Part {
            offset: n * 10,
            bytes: 10,
            message: n * 10,
        };
        let Verdict::Passes { at, .. } = flow.send(now, part) else {
            panic!("held")
        };
        delays.insert(at.since(now));
    }
    assert_eq!(delays.len(), 100);
    assert!(delays.iter().all(|delay| *delay <= MS(200)));
}

#[test]
fn slices_go_one_by_one() {
    let mut flow = flow(&[Fault::Slices {
        bytes: 10,
        variation: 0,
        pause: MS(5),
    }]);
    let times: Vec<u64> = fates(&mut flow, &[35])
        .iter()
        .map(|fate| match fate {
            Verdict::Passes { at, alone: true, .. } => at.as_nanos() / 1_000_000,
            fate => panic!("{fate:?}"),
        })
        .collect();
    let expected: Vec<u64> = (0..35).map(|byte| byte / 10 * 5).collect();
    assert_eq!(times, expected);
}

#[test]
fn a_limit_closes_behind_the_last_byte() {
    let mut flow = flow(&[Fault::Limit { bytes: 100 }]);
    let part = |offset, bytes| Part {
        offset,
        bytes,
        message: 0,
    };
    let passes = |bytes, last| Verdict::Passes {
        at: Time::ZERO,
        bytes,
        alone: false,
        last,
    };
    assert_eq!(flow.send(Time::ZERO, part(0, 60)), passes(60, false));
    assert_eq!(flow.send(Time::ZERO, part(60, 60)), passes(40, true));
    assert_eq!(flow.send(at(3), part(100, 20)), Verdict::Closed(at(3)));
}

#[test]
fn what_a_fault_counts_begins_when_it_comes() {
    let mut flow = Flow::default();
    let limit = setting(1, Fault::Limit { bytes: 100 });
    flow.set(at(10), 1_000, &[limit]);
    let part = Part {
        offset: 1_000,
        bytes: 200,
        message: 0,
    };
    let first = |verdict| match verdict {
        Verdict::Passes { bytes, .. } => bytes,
        other => panic!("{other:?}"),
    };
    assert_eq!(first(flow.send(at(11), part)), 100);
    // Another fault joins, and what was counted stays counted.
    let late = setting(2, Fault::SlowClose { delay: MS(7) });
    flow.set(at(12), 1_050, &[limit, late]);
    let part = Part {
        offset: 1_050,
        ..part
    };
    assert_eq!(first(flow.send(at(13), part)), 50);
    assert!(matches!(flow.finish(at(20)), Verdict::Passes { at: end, .. } if end == at(27)));
    // Taken away and set again, it begins anew.
    flow.set(at(30), 1_050, &[]);
    flow.set(at(30), 1_050, &[limit]);
    assert_eq!(first(flow.send(at(31), part)), 100);
}

#[test]
fn a_reset_waits_for_the_first_byte() {
    let mut flow = flow(&[Fault::ResetAfter { delay: MS(50) }]);
    let part = Part {
        offset: 0,
        bytes: 10,
        message: 0,
    };
    assert_eq!(flow.send(at(100), part), Verdict::Reset(at(150)));
    assert_eq!(flow.send(at(120), part), Verdict::Reset(at(150)));
    assert_eq!(flow.finish(at(130)), Verdict::Reset(at(150)));
    assert_eq!(flow.closes_at(), Time::NEVER);
}

#[test]
fn a_black_hole_takes_all_and_closes_in_time() {
    let mut flow = Flow::default();
    let close_after = Some(MS(50));
    flow.set(at(5), 0, &[setting(1, Fault::Blackhole { close_after })]);
    let part = Part {
        offset: 0,
        bytes: 10,
        message: 0,
    };
    assert_eq!(flow.send(at(6), part), Verdict::Lost { bytes: 10 });
    assert_eq!(flow.closes_at(), at(55));
    assert_eq!(flow.finish(at(7)), Verdict::Closed(at(7)));
}

#[test]
fn through_a_partition_nothing_passes_until_it_ends() {
    let mut flow = flow(&[Fault::Link(link::Fault::Partition)]);
    assert!(!flow.connects());
    let part = Part {
        offset: 0,
        bytes: 10,
        message: 0,
    };
    assert_eq!(flow.send(at(1), part), Verdict::Held);
    assert_eq!(flow.finish(at(2)), Verdict::Held);
    flow.set(at(3), 0, &[]);
    assert!(flow.connects() && flow.healthy());
}

#[test]
fn what_has_gone_still_took_its_time() {
    let narrow = Fault::Link(link::Fault::Bandwidth { bytes_per_s: 1_000.0 });
    let slices = Fault::Slices {
        bytes: 100,
        variation: 0,
        pause: MS(100),
    };
    for (fault, first, second) in [(narrow, 100, 200), (slices, 0, 100)] {
        let chain = [setting(1, fault)];
        let mut flow = Flow::default();
        flow.set(Time::ZERO, 0, &chain);
        let part = |offset| Part {
            offset,
            bytes: 100,
            message: 0,
        };
        let passes = |ms| Verdict::Passes {
            at: at(ms),
            bytes: 100,
            alone: fault == slices,
            last: false,
        };
        assert_eq!(flow.send(Time::ZERO, part(0)), passes(first));
        assert_eq!(flow.send(Time::ZERO, part(100)), passes(second));
        flow.gone(100);
        // Another toxic joins: what is on its way passes when it would have.
        flow.set(
            at(150),
            100,
            &[chain[0], setting(2, Fault::Corrupt { share: 0.0 })],
        );
        assert_eq!(flow.send(Time::ZERO, part(100)), passes(second));
        flow.set(at(150), 100, &[]);
        flow.set(at(150), 100, &chain);
        assert_eq!(
            flow.send(at(150), part(100)),
            passes(150 + first),
            "a new one begins anew"
        );
    }
}
