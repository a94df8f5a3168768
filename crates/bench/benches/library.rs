//! What the library costs: a hit in memory beside bare `quick_cache` and moka, and a whole protected miss beside the
//! bare loader. `cargo bench -p seawall-bench --bench library`.
//!
//! All contenders run in turn in each round, so that what disturbs the machine disturbs all of them; of each the best
//! round counts.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark measures time and says so"
)]

use std::convert::Infallible;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use seawall::{Cache, Options};
use seawall_core::keys::{Keys, Law};
use seawall_core::rng::Seed;
use tokio::runtime::Runtime;

const KEYS: u64 = 10_000;
const HITS: usize = 20_000;
const MISSES: usize = 2_000;
const ROUNDS: usize = 60;

type Value = Arc<str>;

/// The caches that are compared, all full.
#[derive(Clone)]
struct Contenders {
    bare: Arc<quick_cache::sync::Cache<u64, Value>>,
    moka: moka::future::Cache<u64, Value>,
    ours: Cache<u64, Value>,
    asked: Arc<Vec<u64>>,
}

impl Contenders {
    async fn new() -> Contenders {
        let contenders = Contenders {
            bare: Arc::new(quick_cache::sync::Cache::new(2 * KEYS as usize)),
            moka: moka::future::Cache::builder()
                .max_capacity(2 * KEYS)
                .time_to_live(Duration::from_mins(5))
                .build(),
            ours: Cache::builder("bench").build(),
            asked: Arc::new(asked()),
        };
        for key in 0..KEYS {
            let value = value(key);
            contenders.bare.insert(key, Arc::clone(&value));
            contenders.moka.insert(key, Arc::clone(&value)).await;
            contenders.ours.insert(&key, &Options::new(), value);
        }
        while contenders.ours.get(&(KEYS - 1)).await.is_none() {
            tokio::task::yield_now().await;
        }
        contenders
    }

    #[expect(clippy::unused_async, reason = "it is driven as the others are")]
    async fn bare(self) {
        for key in self.asked.iter() {
            black_box(self.bare.get(key));
        }
    }

    async fn moka(self) {
        for key in self.asked.iter() {
            let key = *key;
            black_box(self.moka.get_with(key, async move { value(key) }).await);
        }
    }

    async fn ours(self) {
        let options = Options::new();
        for key in self.asked.iter() {
            let key = *key;
            let load = move || async move { Ok::<_, Infallible>(value(key)) };
            let found = self.ours.get_or_load(&key, &options, load).await;
            let _ = black_box(found);
        }
    }
}

fn value(key: u64) -> Value {
    format!("value {key}").into()
}

fn asked() -> Vec<u64> {
    let (mut rng, law) = (
        Seed(1).stream("bench", 0),
        Law::Zipf {
            count: KEYS,
            exponent: 0.9,
        },
    );
    let keys = Keys::new(law);
    (0..HITS).map(|_| keys.draw(&mut rng)).collect()
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .expect("there is a runtime");
    let contenders = runtime.block_on(Contenders::new());
    for tasks in [1, 2] {
        let mut best = [f64::INFINITY; 3];
        for _ in 0..ROUNDS {
            let round = [
                together(&runtime, tasks, || contenders.clone().bare()),
                together(&runtime, tasks, || contenders.clone().moka()),
                together(&runtime, tasks, || contenders.clone().ours()),
            ];
            for (best, round) in best.iter_mut().zip(round) {
                *best = best.min(round);
            }
        }
        let [bare, moka, ours] = best;
        println!("a hit in memory, {tasks} at a time");
        println!("{bare:>9.1} ns  quick_cache");
        println!("{moka:>9.1} ns  moka, get_with");
        println!("{ours:>9.1} ns  seawall, get_or_load");
        println!(
            "{:>9.2}     seawall / moka; {:.2} seawall / quick_cache",
            ours / moka,
            ours / bare
        );
    }
    misses(&runtime);
}

/// Nanoseconds that one hit takes where so many tasks ask at a time.
fn together<F: Future<Output = ()> + Send + 'static>(
    runtime: &Runtime,
    tasks: usize,
    task: impl Fn() -> F,
) -> f64 {
    runtime.block_on(async {
        let start = Instant::now();
        let tasks: Vec<_> = (0..tasks).map(|_| tokio::spawn(task())).collect();
        for task in tasks {
            task.await.expect("no task panics");
        }
        start.elapsed().as_nanos() as f64 / HITS as f64
    })
}

/// A miss from call to answer, with a loader that takes no time and with one that takes a millisecond.
fn misses(runtime: &Runtime) {
    for (name, pause, count) in [
        ("no time", Duration::ZERO, MISSES),
        ("1 ms", Duration::from_millis(1), 20),
    ] {
        let mut best = [f64::INFINITY; 2];
        for round in 0..ROUNDS as u64 {
            let ours: Cache<u64, Value> = Cache::builder("bench").build();
            let load = move |key: u64| async move {
                if !pause.is_zero() {
                    tokio::time::sleep(pause).await;
                }
                Ok::<_, Infallible>(value(key))
            };
            let keys = move || (0..count as u64).map(move |key| key + round * count as u64);
            let bare = runtime.block_on(runtime.spawn(async move {
                let start = Instant::now();
                for key in keys() {
                    let _ = black_box(load(key).await);
                }
                start.elapsed()
            }));
            let protected = runtime.block_on(runtime.spawn(async move {
                let (start, options) = (Instant::now(), Options::new());
                for key in keys() {
                    let _ = black_box(ours.get_or_load(&key, &options, move || load(key)).await);
                }
                start.elapsed()
            }));
            for (best, round) in best.iter_mut().zip([bare, protected]) {
                let round = round.expect("no task panics").as_nanos() as f64 / count as f64;
                *best = best.min(round);
            }
        }
        let [bare, protected] = best;
        println!("a miss, with a loader that takes {name}");
        println!("{bare:>9.0} ns  the loader alone");
        println!("{protected:>9.0} ns  protected");
        println!(
            "{:>9.2}     protected / alone; {:.0} ns more",
            protected / bare,
            protected - bare
        );
    }
}
