use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn text(text: &str) -> Value {
    Value::Text(Bytes::copy_from_slice(text.as_bytes()))
}

fn filled(count: u64, expires: impl Fn(u64) -> u64) -> Keyspace {
    let mut keys = Keyspace::new(1);
    for number in 0..count {
        let key = Bytes::from(format!("key:{number}"));
        keys.set(0, 0, &key, text("x"), Some(expires(number)));
    }
    keys
}

fn left(keys: &mut Keyspace, count: u64) -> Vec<u64> {
    let there = |number: &u64| keys.peek(0, 0, format!("key:{number}").as_bytes()).is_some();
    (0..count).filter(there).collect()
}

fn room(keys: &mut Keyspace, policy: &str, share: f64) -> bool {
    let limit = (keys.bytes() as f64 * share) as usize;
    let made = keys.make_room(Policy::from_name(policy).expect("a policy"), limit);
    keys.invariants();
    made
}

#[test]
fn each_policy_takes_whom_it_should() {
    let mut keys = filled(10, |_| FOREVER);
    keys.get(0, 0, b"key:0");
    assert!(room(&mut keys, "allkeys-lru", 0.3));
    assert_eq!(left(&mut keys, 10), [0, 8, 9]);

    let expiring = |number: u64| {
        if number.is_multiple_of(2) {
            100 - number
        } else {
            FOREVER
        }
    };
    let mut keys = filled(10, expiring);
    keys.get(0, 0, b"key:0");
    assert!(room(&mut keys, "volatile-lru", 0.8));
    assert_eq!(left(&mut keys, 10)[..4], [0, 1, 3, 5], "2 and 4 have gone");

    let mut keys = filled(10, expiring);
    assert!(room(&mut keys, "volatile-ttl", 0.9));
    assert!(!left(&mut keys, 10).contains(&8), "8 ends first");

    for policy in ["volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl"] {
        let mut keys = filled(10, expiring);
        assert!(!room(&mut keys, policy, 0.1), "{policy}: half of them stay");
        assert_eq!(left(&mut keys, 10), [1, 3, 5, 7, 9]);
    }
    let mut keys = filled(100, |_| FOREVER);
    for _ in 0..10 {
        for number in 0..50 {
            keys.get(0, 0, format!("key:{number}").as_bytes());
        }
    }
    assert!(room(&mut keys, "allkeys-lfu", 0.6));
    let used = left(&mut keys, 100).into_iter().filter(|number| *number < 50);
    assert!(used.count() >= 45, "hardly any of those that are used");
    let mut keys = filled(100, |_| FOREVER);
    assert!(room(&mut keys, "allkeys-random", 0.5));
    assert!((30..70).contains(&left(&mut keys, 50).len().saturating_mul(2)));
    assert!(!room(&mut keys, "noeviction", 0.5));
    assert!((48..53).contains(&keys.fate.evicted));
}

#[test]
fn what_has_expired_is_gone_when_asked_for_and_by_the_sweep() {
    let mut keys = filled(10, |number| 10 + number);
    assert!(keys.peek(12, 0, b"key:2").is_none());
    assert_eq!((keys.count(0), keys.fate.expired), (9, 1));
    keys.sweep(15, 100);
    assert_eq!((keys.count(0), keys.fate.expired), (4, 6));
    keys.invariants();
}

#[test]
fn a_scan_meets_every_key_that_stays() {
    let mut keys = filled(100, |_| FOREVER);
    let (mut cursor, mut seen, mut round) = (0, Vec::new(), 0);
    loop {
        cursor = keys.scan(0, 0, cursor, 7, |entry| seen.push(entry.key.clone()));
        // Half of the keys go, and others come in their places.
        keys.remove(0, 0, format!("key:{}", 99 - round).as_bytes());
        keys.set(0, 0, &Bytes::from(format!("new:{round}")), text("y"), None);
        round += 1;
        if cursor == 0 {
            break;
        }
    }
    for number in 0..80 {
        assert!(seen.contains(&Bytes::from(format!("key:{number}"))), "{number}");
    }
}

#[derive(Clone, Debug)]
enum Op {
    Set(u8, usize, Option<u64>),
    Get(u8),
    Remove(u8),
    Expire(u8, u64),
    Wait(u64),
    Sweep,
    Flush,
}

fn op() -> impl Strategy<Value = Op> {
    let key = 0_u8..6;
    let at = prop_oneof![1_u64..50, Just(FOREVER)];
    prop_oneof![
        4 => (key.clone(), 0_usize..60, prop::option::of(at.clone())).prop_map(|(key, size, at)| Op::Set(key, size, at)),
        2 => key.clone().prop_map(Op::Get),
        1 => key.clone().prop_map(Op::Remove),
        2 => (key, at).prop_map(|(key, at)| Op::Expire(key, at)),
        2 => (0_u64..20).prop_map(Op::Wait),
        1 => Just(Op::Sweep),
        1 => Just(Op::Flush),
    ]
}

proptest! {
    #[test]
    fn it_is_a_map_with_expiry(ops in prop::collection::vec(op(), 0..60)) {
        let mut keys = Keyspace::new(1);
        let mut model: BTreeMap<u8, (usize, u64)> = BTreeMap::new();
        let mut now = 0;
        let deadline = |now: u64, at: u64| if at == FOREVER { FOREVER } else { now + at };
        for op in ops {
            match op {
                Op::Set(key, size, at) => {
                    let at = at.map(|at| deadline(now, at));
                    let value = Value::Text(Bytes::from(vec![b'x'; size]));
                    keys.set(now, 3, &Bytes::from(vec![key]), value, at);
                    let before = model.get(&key).map_or(FOREVER, |(_, at)| *at);
                    model.insert(key, (size, at.unwrap_or(before)));
                }
                Op::Get(key) => {
                    let found = keys.get(now, 3, &[key]).map(|entry| (entry.value.clone(), entry.expires));
                    let expected = model.get(&key).map(|(size, at)| (Value::Text(vec![b'x'; *size].into()), *at));
                    prop_assert_eq!(found, expected);
                }
                Op::Remove(key) => prop_assert_eq!(keys.remove(now, 3, &[key]), model.remove(&key).is_some()),
                Op::Expire(key, at) => {
                    let found = keys.set_expiry(now, 3, &[key], deadline(now, at));
                    let there = model.get_mut(&key).map(|(_, expires)| *expires = deadline(now, at));
                    prop_assert_eq!(found, there.is_some());
                }
                Op::Wait(for_) => now += for_,
                Op::Sweep => keys.sweep(now, 100),
                Op::Flush => {
                    keys.flush(3);
                    model.clear();
                }
            }
            model.retain(|_, (_, at)| *at > now);
            keys.invariants();
        }
        keys.sweep(now, 100);
        prop_assert_eq!(keys.count(3), model.len());
    }
}
