use super::*;
use proptest::prelude::*;

fn at(millis: u64) -> Time {
    Time::ZERO + Span::millis(millis)
}

#[test]
fn the_leader_leaves_and_the_others_go_on() {
    let mut flights: Flights<u8> = Flights::new(&Settings::default());
    let load = flights.lead(at(0), 1, true);
    let leader = flights.wait(load, 10);
    let Join::Waits(_, follower) = flights.join(at(0), 1, 11) else {
        panic!()
    };
    assert_eq!(flights.leave(leader), Some((load, 1)));
    let mut woken = Vec::new();
    flights.land(load, 5, true, |token| woken.push(token));
    assert_eq!(woken, [11]);
    assert_eq!(flights.collect(follower), Some(5));
    assert_eq!(flights.collect(follower), None, "once");
    flights.close(at(5), load);
    assert!(flights.is_empty());
}

#[test]
fn an_old_load_is_not_joined() {
    let mut flights: Flights<u8> = Flights::new(&Settings {
        age_max: Span::millis(10),
        ..Settings::default()
    });
    let old = flights.lead(at(0), 1, true);
    flights.wait(old, 1);
    assert!(matches!(flights.join(at(9), 1, 2), Join::Waits(..)));
    assert_eq!(flights.join(at(10), 1, 3), Join::Nothing);
    let new = flights.lead(at(10), 1, true);
    flights.wait(new, 3);
    flights.land(old, 1, true, |_| ());
    assert!(
        matches!(flights.join(at(11), 1, 4), Join::Waits(load, _) if load == new),
        "the old load's landing leaves the new one's key alone"
    );
}

#[test]
fn waiters_are_bounded() {
    let mut flights: Flights<u8> = Flights::new(&Settings {
        waiters_max: 2,
        ..Settings::default()
    });
    let load = flights.lead(at(0), 1, true);
    let leader = flights.wait(load, 0);
    assert!(matches!(flights.join(at(0), 1, 1), Join::Waits(..)));
    assert_eq!(flights.join(at(0), 1, 2), Join::Full);
    flights.leave(leader);
    assert!(matches!(flights.join(at(0), 1, 2), Join::Waits(..)));
}

#[test]
fn a_result_is_shared_for_the_window_unless_detached() {
    let mut flights: Flights<u8> = Flights::new(&Settings {
        window: Span::millis(10),
        ..Settings::default()
    });
    for key in [1, 2] {
        let load = flights.lead(at(0), key, true);
        flights.land(load, 7, true, |_| ());
        flights.close(at(5), load);
    }
    flights.detach(2);
    assert!(matches!(flights.join(at(14), 1, 0), Join::Shares(_, 7)));
    assert_eq!(flights.join(at(14), 2, 0), Join::Nothing);
    assert_eq!(flights.join(at(15), 1, 0), Join::Nothing);
    assert_eq!(flights.next(), at(15));
    flights.expire(at(15));
    assert_eq!(flights.next(), Time::NEVER);
}

#[derive(Clone, Debug)]
enum Operation {
    Miss(u64),
    Leave(usize),
    Land(usize),
    Collect(usize),
    Detach(u64),
    Wait(u64),
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        6 => (0_u64..5).prop_map(Operation::Miss),
        2 => any::<usize>().prop_map(Operation::Leave),
        2 => any::<usize>().prop_map(Operation::Land),
        3 => any::<usize>().prop_map(Operation::Collect),
        1 => (0_u64..5).prop_map(Operation::Detach),
        1 => (0_u64..30).prop_map(Operation::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn everybody_is_told_once(operations in prop::collection::vec(operation(), 1..200)) {
        let settings = Settings { window: Span::millis(5), age_max: Span::millis(20), waiters_max: 3, ..Settings::default() };
        let mut flights: Flights<u32> = Flights::new(&settings);
        let mut now = Time::ZERO;
        let mut live: Vec<LoadId> = Vec::new();
        let mut waiting: Vec<(WaiterId, u32)> = Vec::new();
        let mut woken: Vec<u32> = Vec::new();
        for (token, operation) in (0_u32..).zip(operations) {
            match operation {
                Operation::Miss(key) => match flights.join(now, key, token) {
                    Join::Waits(load, waiter) => {
                        prop_assert!(flights.waiting(load) <= 3);
                        waiting.push((waiter, token));
                    }
                    Join::Nothing => {
                        let load = flights.lead(now, key, true);
                        waiting.push((flights.wait(load, token), token));
                        live.push(load);
                    }
                    Join::Shares(..) | Join::Full => {}
                },
                Operation::Leave(which) if !waiting.is_empty() => {
                    let (waiter, token) = waiting.swap_remove(which % waiting.len());
                    flights.leave(waiter);
                    woken.retain(|woken| *woken != token);
                }
                Operation::Land(which) if !live.is_empty() => {
                    let load = live.swap_remove(which % live.len());
                    flights.land(load, load.index(), true, |token| woken.push(token));
                    flights.close(now, load);
                }
                Operation::Collect(which) if !waiting.is_empty() => {
                    let place = which % waiting.len();
                    let (waiter, token) = waiting[place];
                    let told = flights.collect(waiter).is_some();
                    prop_assert_eq!(told, woken.contains(&token));
                    if told {
                        waiting.swap_remove(place);
                        woken.retain(|woken| *woken != token);
                    }
                }
                Operation::Detach(key) => flights.detach(key),
                Operation::Wait(millis) => {
                    now += Span::millis(millis);
                    flights.expire(now);
                }
                Operation::Leave(_) | Operation::Land(_) | Operation::Collect(_) => {}
            }
            flights.invariants();
            prop_assert_eq!(flights.waiters(), waiting.len());
            prop_assert_eq!(flights.len(), live.len());
        }
    }
}
