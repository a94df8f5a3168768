//! Same scenario, same seed: the same record, to the bit, on any number of threads.

use seawall_core::record::Record;
use seawall_sim::Engine;

use crate::laws::EVERYTHING;
use crate::support::{runs_by, scenario};

fn bits(record: &Record) -> Vec<u64> {
    let values = record.series().iter().flat_map(|series| series.values.iter());
    values
        .map(|value| if value.is_nan() { u64::MAX } else { value.to_bits() })
        .collect()
}

#[test]
fn a_seed_gives_the_same_bits_on_one_thread_and_on_two() {
    let scenario = scenario(EVERYTHING);
    let [one, two] = [1, 2].map(|threads| runs_by(Engine::Elided, 5, &scenario, 3, threads, 1.0));
    for (one, two) in one.iter().zip(&two) {
        assert_eq!(bits(&one.record), bits(&two.record));
        assert_eq!((one.requests, one.events), (two.requests, two.events));
        assert_eq!(one.choice, two.choice);
    }
    assert_ne!(
        bits(&one[0].record),
        bits(&one[1].record),
        "and another run others"
    );
}
