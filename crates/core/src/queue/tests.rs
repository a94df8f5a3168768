use super::*;
use proptest::prelude::*;

fn at(millis: u64) -> Time {
    Time::ZERO + Span::millis(millis)
}

fn settings(places: u32, timeout: u64, order: Order) -> Settings {
    Settings {
        places,
        timeout: Span::millis(timeout),
        order,
        codel: None,
    }
}

#[test]
fn orders_differ_in_who_is_served() {
    let served = |order| {
        let mut queue = Queue::new(settings(10, 1_000, order));
        for item in 0..3 {
            queue.push(at(item), item).unwrap();
        }
        std::iter::from_fn(|| queue.pop(at(5)))
            .map(|(item, _)| item)
            .collect::<Vec<_>>()
    };
    assert_eq!(served(Order::Fifo), [0, 1, 2]);
    assert_eq!(served(Order::Lifo), [2, 1, 0]);
    assert_eq!(served(Order::Adaptive), [0, 1, 2], "not overloaded");
}

#[test]
fn an_overloaded_adaptive_queue_serves_the_last_and_sheds_the_oldest() {
    let mut queue = Queue::new(settings(10, 500, Order::Adaptive));
    for item in 0..4 {
        queue.push(at(item * 50), item).unwrap();
    }
    assert_eq!(
        queue.pop(at(100)),
        Some((0, Span::millis(100))),
        "exactly the interval is fine"
    );
    assert!(queue.overloaded(at(151)));
    assert_eq!(queue.pop(at(151)), Some((3, Span::millis(1))));
    assert_eq!(queue.next_timeout(), Some(at(550)));
    assert_eq!(queue.expire(at(549)), None);
    assert_eq!(queue.expire(at(550)), Some(1));
    // Once it has been empty, it is first come, first served again.
    assert_eq!(queue.pop(at(551)), Some((2, Span::millis(451))));
    queue.push(at(552), 8).unwrap();
    queue.push(at(553), 9).unwrap();
    assert_eq!(queue.pop(at(554)).map(|next| next.0), Some(8));
}

#[test]
fn who_timed_out_is_not_served_and_gives_its_place_up() {
    let mut queue = Queue::new(settings(2, 100, Order::Fifo));
    queue.push(at(0), 0).unwrap();
    queue.push(at(90), 1).unwrap();
    assert_eq!(queue.push(at(95), 2), Err(2));
    assert_eq!(queue.push(at(100), 3), Ok(()));
    assert_eq!(queue.pop(at(100)), Some((1, Span::millis(10))));
    let left = queue.depart(at(100));
    let waited = Span::millis(100);
    assert_eq!(
        left,
        Some(Departure {
            item: 0,
            waited,
            cause: Cause::Timeout
        })
    );
    assert_eq!(queue.depart(at(100)), None);
    assert_eq!(queue.len(), 1);
}

#[test]
fn codel_leaves_a_burst_alone_and_thins_a_standing_queue() {
    let codel = Codel {
        target: Span::millis(5),
        interval: Span::millis(100),
    };
    let run = |arrivals_per_10ms: u64, burst: u64| {
        let mut queue = Queue::new(Settings {
            codel: Some(codel.clone()),
            ..settings(100_000, 60_000, Order::Fifo)
        });
        for item in 0..burst {
            queue.push(at(0), item).unwrap();
        }
        let (mut dropped, mut longest) = (0, Span::ZERO);
        for step in 0..1_000 {
            for item in 0..arrivals_per_10ms {
                queue.push(at(step * 10), item).unwrap();
            }
            // Ten are served every 10 ms.
            for _ in 0..10 {
                if let Some((_, waited)) = queue.pop(at(step * 10 + 1)) {
                    longest = longest.max(waited);
                }
            }
            while let Some(left) = queue.depart(at(step * 10 + 1)) {
                assert_eq!(left.cause, Cause::Delay);
                dropped += 1;
            }
            queue.invariants();
        }
        (dropped, longest, queue.len())
    };
    let (dropped, ..) = run(5, 50);
    assert_eq!(dropped, 0, "the burst is gone within the interval");
    // 2000 wait 2 s and go down slowly: nobody would ever be below the target without drops.
    let (dropped, ..) = run(9, 200);
    assert!(dropped > 0);
    let (dropped, longest, left) = run(11, 0);
    assert!((500..1_100).contains(&dropped), "{dropped}");
    assert!(longest < Span::millis(600), "{longest}");
    assert!(left < 500, "10% too much for 10 s would be 1000: {left}");
}

#[test]
fn codel_drops_ever_faster() {
    let codel = Codel {
        target: Span::millis(5),
        interval: Span::millis(100),
    };
    let mut queue = Queue::new(Settings {
        codel: Some(codel),
        ..settings(10_000, 60_000, Order::Fifo)
    });
    for item in 0..2_000 {
        queue.push(at(0), item).unwrap();
    }
    let mut drops = Vec::new();
    for now in 10..1_000 {
        queue.pop(at(now));
        while queue.expire(at(now)).is_some() {
            drops.push(now);
        }
    }
    // RFC 8289: first after an interval, then interval / sqrt(n) apart.
    assert_eq!(&drops[..5], [110, 210, 281, 339, 389]);
}

#[test]
fn codel_goes_on_where_it_was_when_the_queue_stands_again() {
    let codel = Codel {
        target: Span::millis(5),
        interval: Span::millis(100),
    };
    let mut control = codel::Control::default();
    let mut drops = |from: u64, to: u64, waited: u64| {
        let waited = Span::millis(waited);
        (from..to)
            .filter(|now| control.drops(&codel, at(*now), waited, 9))
            .count()
    };
    let first = drops(0, 2_000, 50);
    assert_eq!(drops(2_000, 2_100, 1), 0);
    let again = drops(2_100, 2_500, 50);
    let fresh = codel::Control::default();
    control = fresh;
    let mut drops = |from: u64, to: u64| {
        (from..to)
            .filter(|now| control.drops(&codel, at(*now), Span::millis(50), 9))
            .count()
    };
    assert!(again > 2 * drops(2_100, 2_500), "{first} drops, then {again}");
}

#[test]
fn codel_never_drops_the_only_one() {
    let codel = Codel {
        target: Span::millis(5),
        interval: Span::millis(100),
    };
    let mut queue = Queue::new(Settings {
        codel: Some(codel),
        ..settings(10, 1_000, Order::Fifo)
    });
    for step in 0..100 {
        queue.push(at(step * 50), step).unwrap();
        assert_eq!(queue.pop(at(step * 50 + 50)), Some((step, Span::millis(50))));
    }
    // Nor the last of a queue that stood.
    queue.push(at(6_000), 0).unwrap();
    queue.push(at(6_000), 1).unwrap();
    assert!(queue.pop(at(6_100)).is_some());
    assert_eq!(queue.pop(at(6_300)), Some((1, Span::millis(300))));
}

#[test]
fn codel_forgets_a_queue_that_emptied_by_timeouts() {
    let codel = Codel {
        target: Span::millis(5),
        interval: Span::millis(100),
    };
    let mut queue = Queue::new(Settings {
        codel: Some(codel),
        ..settings(10, 50, Order::Fifo)
    });
    for item in 0..3 {
        queue.push(at(0), item).unwrap();
    }
    assert!(queue.pop(at(10)).is_some());
    while queue.expire(at(50)).is_some() {}
    for item in 0..3 {
        queue.push(at(200), item).unwrap();
    }
    assert!(queue.pop(at(210)).is_some());
    assert_eq!(
        queue.expire(at(210)),
        None,
        "this queue has stood for 10 ms, not for 200 ms"
    );
}

#[test]
fn a_client_that_leaves_is_taken_out() {
    let mut queue = Queue::new(settings(10, 100, Order::Fifo));
    for item in 0..4 {
        queue.push(at(item), item).unwrap();
    }
    assert_eq!(queue.remove(|item| *item == 2), Some(2));
    assert_eq!(queue.remove(|item| *item == 2), None);
    assert_eq!(queue.iter().copied().collect::<Vec<_>>(), [0, 1, 3]);
    assert_eq!(queue.pop(at(100)).map(|next| next.0), Some(1));
    assert_eq!(
        queue.remove(|item| *item == 0),
        Some(0),
        "timed out, but not collected yet"
    );
    assert_eq!(queue.expire(at(100)), None);
}

#[test]
fn fewer_places_turn_nobody_out_and_a_shorter_timeout_does() {
    let mut queue = Queue::new(settings(10, 1_000, Order::Fifo));
    for item in 0..5 {
        queue.push(at(item * 10), item).unwrap();
    }
    queue.retune(at(50), settings(2, 1_000, Order::Fifo));
    assert_eq!((queue.len(), queue.push(at(50), 9)), (5, Err(9)));
    queue.retune(at(50), settings(2, 40, Order::Fifo));
    assert_eq!(queue.expire(at(50)), Some(0));
    assert_eq!(queue.expire(at(50)), Some(1));
    assert_eq!((queue.expire(at(50)), queue.len()), (None, 3));
}

#[test]
fn a_queue_without_places_takes_nobody() {
    let mut queue = Queue::new(settings(0, 100, Order::Fifo));
    assert_eq!(queue.push(at(0), 1), Err(1));
    assert_eq!(queue.next_timeout(), None);
}

#[test]
fn it_is_bounded_even_when_nobody_is_collected() {
    let mut queue = Queue::new(settings(4, 1, Order::Fifo));
    let taken = (0..100)
        .filter(|step| queue.push(at(step * 10), *step).is_ok())
        .count();
    assert!(taken <= 8, "{taken}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn everyone_comes_out_once_in_time_and_in_order(
        places in 0_u32..20,
        timeout in 1_u64..200,
        order in prop::sample::select(vec![Order::Fifo, Order::Lifo, Order::Adaptive]),
        codel in prop::option::of((1_u64..20, 1_u64..60)),
        steps in prop::collection::vec((0_u8..9, 0_u64..40), 1..400),
    ) {
        let codel = codel.map(|(target, interval)| Codel {
            target: Span::millis(target),
            interval: Span::millis(interval),
        });
        let chosen = Settings { codel: codel.clone(), ..settings(places, timeout, order) };
        let timeout = chosen.timeout;
        let mut queue = Queue::new(chosen);
        let (mut now, mut next, mut inside) = (at(0), 0_u32, std::collections::BTreeMap::new());
        for (what, wait) in steps {
            now += Span::millis(wait);
            match what {
                0..=4 => {
                    if queue.push(now, next).is_ok() {
                        inside.insert(next, now);
                    }
                    next += 1;
                }
                5..=7 => {
                    let before: Vec<u32> = queue.iter().copied().collect();
                    let overloaded = queue.overloaded(now);
                    if let Some((item, waited)) = queue.pop(now) {
                        prop_assert_eq!(inside.remove(&item), Some(now - waited));
                        prop_assert!(waited < timeout);
                        let rest: Vec<u32> = queue.iter().copied().collect();
                        let last_first = order == Order::Lifo || (order == Order::Adaptive && overloaded);
                        if last_first {
                            prop_assert_eq!(Some(&item), before.last());
                        } else {
                            prop_assert!(rest.iter().all(|other| *other > item));
                        }
                    } else {
                        prop_assert!(queue.is_empty());
                    }
                }
                _ => {
                    let oldest = queue.iter().next().copied();
                    prop_assert_eq!(queue.remove(|_| true), oldest);
                    oldest.map(|item| inside.remove(&item));
                }
            }
            while let Some(left) = queue.depart(now) {
                prop_assert_eq!(inside.remove(&left.item), Some(now - left.waited));
                match left.cause {
                    Cause::Timeout => prop_assert!(left.waited >= timeout),
                    Cause::Delay => prop_assert!(codel.as_ref().is_some_and(|codel| left.waited >= codel.target)),
                }
            }
            queue.invariants();
            prop_assert_eq!(queue.len(), inside.len());
            prop_assert!(queue.next_timeout().is_none_or(|timeout| timeout > now));
        }
    }
}
