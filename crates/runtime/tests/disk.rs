//! The tier on the disk, on a real one: what a restart leaves, what the bound costs, what becomes of damage and of a disk
//! that hangs.

use std::fs;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use nix::sys::stat::Mode;
use seawall::disk::{Disk, DiskError};
use seawall::envelope::Envelope;
use seawall::{Cache, Error, MetricsPage, Options, Source, Stats};
use tokio::time::Instant;

type Users = Cache<u64, String>;

/// A folder of a test's own, gone with it.
struct Place(PathBuf);

impl Place {
    fn new(test: &str) -> Place {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{test}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Place(path)
    }

    fn open(&self, bytes: u64) -> Disk {
        Disk::open(&self.0, bytes).expect("the folder is ours")
    }

    /// The files of entries.
    fn files(&self) -> Vec<PathBuf> {
        let names = |folder: &Path| -> Vec<PathBuf> {
            let files = fs::read_dir(folder).expect("it is there");
            files.map(|file| file.expect("it can be read").path()).collect()
        };
        let folders = names(&self.0);
        let shelves = folders
            .iter()
            .filter(|path| path.is_dir() && !path.ends_with("new"));
        shelves.flat_map(|shelf| names(shelf)).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const ROOM: u64 = 64 << 20;

/// Answers with the number of the load.
#[derive(Clone, Default)]
struct Db(Arc<AtomicU64>);

impl Db {
    async fn read(&self, cache: &Users, key: u64) -> (String, Source) {
        let loads = Arc::clone(&self.0);
        let load = move || {
            let load = loads.fetch_add(1, Ordering::SeqCst);
            async move { Ok::<_, Error>(format!("value {key}, load {load}")) }
        };
        let answer = cache.get_or_load_full(&key, &Options::new(), load).await;
        let answer = answer.expect("the origin has it");
        (answer.value.expect("it exists"), answer.source)
    }

    fn loads(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

fn users(disk: Disk) -> Users {
    Cache::builder("users").tier(disk).build()
}

/// Waits for what happens in the background.
async fn until(cache: &Users, what: impl Fn(&Stats) -> bool) {
    let patience = Instant::now() + Duration::from_secs(20);
    while !what(&cache.stats()) {
        assert!(
            Instant::now() < patience,
            "it does not happen: {:?}",
            cache.stats()
        );
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Ends a cache, and waits until its disk is free.
async fn end(cache: Users, place: &Place) -> Disk {
    drop(cache);
    let patience = Instant::now() + Duration::from_secs(20);
    loop {
        match Disk::open(&place.0, ROOM) {
            Ok(disk) => return disk,
            Err(error) => assert!(Instant::now() < patience, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn what_was_kept_is_there_after_a_restart_and_what_was_purged_is_not() {
    let (place, db) = (Place::new("restart"), Db::default());
    let first = users(place.open(ROOM));
    for key in 0..20 {
        db.read(&first, key).await;
    }
    until(&first, |stats| stats.tiers[1].sets == 20).await;
    first.invalidate(&7).await.expect("the disk is told");
    assert!(
        matches!(Disk::open(&place.0, ROOM), Err(DiskError::Taken(_))),
        "one process at a time"
    );

    let second = users(end(first, &place).await);
    assert_eq!(second.stats().tiers[1].entries, Some(19));
    for key in 0..20 {
        let from = if key == 7 { Source::Origin } else { Source::Tier(1) };
        assert_eq!(db.read(&second, key).await.1, from, "key {key}");
    }
    assert_eq!(db.loads(), 21);
    // Memory has them now.
    assert_eq!(db.read(&second, 3).await.1, Source::Memory);
}

#[tokio::test]
async fn it_keeps_for_a_day_and_for_as_long_as_stale_answers_want_it() {
    let (place, db) = (Place::new("day"), Db::default());
    let cache = users(place.open(ROOM));
    db.read(&cache, 1).await;
    until(&cache, |stats| stats.tiers[1].sets == 1).await;
    let file = place.files().pop().expect("it is kept");
    let name = file
        .file_name()
        .and_then(|name| name.to_str())
        .expect("it has a name");
    let digest = u128::from_str_radix(&name[..32], 16).expect("it begins with the key");
    let bytes = Bytes::from(fs::read(&file).expect("it can be read"));
    let (envelope, _) = Envelope::open(&bytes, digest).expect("it is whole");
    let seconds = |us: u64| us.saturating_sub(envelope.created_us) / 1_000_000;
    let (fresh, kept) = (seconds(envelope.fresh_until_us), seconds(envelope.stale_until_us));
    assert!(
        (77_700..=86_400).contains(&fresh),
        "a day, shortened by up to a tenth: {fresh} s"
    );
    assert!((fresh + 299..=fresh + 301).contains(&kept), "{kept} s");
}

#[tokio::test]
async fn its_bound_is_that_of_the_disk_and_what_is_read_stays() {
    let (place, db) = (Place::new("bound"), Db::default());
    let cache: Users = Cache::builder("users")
        .no_memory()
        .tier(place.open(1 << 20))
        .build();
    for key in 0..400_u64 {
        db.read(&cache, key).await;
        until(&cache, |stats| stats.tiers[0].sets == key + 1).await;
        db.read(&cache, 0).await;
    }
    assert_eq!(
        db.read(&cache, 0).await.0,
        "value 0, load 0",
        "it was read all the time"
    );
    let stats = cache.stats();
    let taken: u64 = place.files().iter().map(|_| 4_096).sum();
    assert!((900_000..=1 << 20).contains(&taken), "{taken} bytes of blocks");
    let tier = &stats.tiers[0];
    assert_eq!(tier.entries.zip(tier.evictions), Some((256, 144)));
    let mut page = MetricsPage::default();
    cache.write_metrics(&mut page);
    assert!(
        page.text()
            .contains("cache_evictions_total{component=\"users\",tier=\"disk\"} 144\n")
    );

    // A smaller bound than before a restart.
    drop(end(cache, &place).await);
    let smaller = place.open(1 << 20);
    assert_eq!(smaller.bytes(), 1 << 20);
}

#[tokio::test]
async fn damage_is_a_miss_that_is_counted_and_mended() {
    let (place, db) = (Place::new("damage"), Db::default());
    let cache = users(place.open(ROOM));
    for key in 0..4 {
        db.read(&cache, key).await;
    }
    until(&cache, |stats| stats.tiers[1].sets == 4).await;
    let disk = end(cache, &place).await;
    for (place, file) in place.files().iter().enumerate() {
        let mut bytes = fs::read(file).expect("it can be read");
        match place {
            0 => bytes.truncate(50),
            1 => bytes[90] ^= 1,
            2 => bytes.clear(),
            _ => {
                fs::remove_file(file).expect("it can be taken away");
                continue;
            }
        }
        fs::write(file, bytes).expect("it can be written");
    }
    let cache = users(disk);
    for key in 0..4 {
        assert_eq!(db.read(&cache, key).await.1, Source::Origin, "key {key}");
    }
    let stats = cache.stats();
    assert_eq!(
        (stats.corrupt + stats.foreign, stats.tiers[1].misses),
        (3, 4),
        "{stats:?}"
    );
    until(&cache, |stats| stats.tiers[1].sets == 4).await;
    let cache = users(end(cache, &place).await);
    for key in 0..4 {
        assert_eq!(db.read(&cache, key).await.1, Source::Tier(1), "key {key}");
    }
}

#[tokio::test]
async fn somebody_who_tidies_up_costs_no_answer() {
    let (place, db) = (Place::new("tidy"), Db::default());
    let cache: Users = Cache::builder("users").no_memory().tier(place.open(ROOM)).build();
    db.read(&cache, 1).await;
    until(&cache, |stats| stats.tiers[0].sets == 1).await;
    fs::remove_dir_all(&place.0).expect("it can be taken away");
    assert_eq!(db.read(&cache, 1).await.1, Source::Origin);
    until(&cache, |stats| stats.tiers[0].sets == 2).await;
    assert_eq!(db.read(&cache, 1).await.1, Source::Tier(0));
    assert_eq!(cache.stats().tiers[0].errors, 0);

    // A folder that cannot be written to is a fault of the tier, and no more: no reason not to read what is there.
    fs::remove_dir_all(place.0.join("new")).expect("it can be taken away");
    fs::write(place.0.join("new"), "").expect("it can be written");
    for key in 100..110 {
        db.read(&cache, key).await;
        until(&cache, |stats| stats.loads == key - 97).await;
    }
    until(&cache, |stats| stats.tiers[0].errors == 10).await;
    assert_eq!(cache.health().http_status(), 200);
    assert_eq!(
        db.read(&cache, 1).await.1,
        Source::Tier(0),
        "what can be read is read"
    );
}

#[tokio::test]
async fn a_disk_that_hangs_costs_its_timeout_and_no_more_threads_than_it_may() {
    let (place, db) = (Place::new("hang"), Db::default());
    let cache: Users = Cache::builder("users")
        .no_memory()
        .tier(place.open(ROOM))
        .protect(|policies| policies.breaker = None)
        .build();
    db.read(&cache, 1).await;
    until(&cache, |stats| stats.tiers[0].sets == 1).await;
    let file = place.files().pop().expect("it is kept");
    fs::remove_file(&file).expect("it can be taken away");
    // To open a pipe that nobody writes to waits for ever.
    nix::unistd::mkfifo(&file, Mode::from_bits_truncate(0o600)).expect("a pipe can be made");
    let began = Instant::now();
    let calls: Vec<_> = (0..100)
        .map(|_| {
            let (cache, db) = (cache.clone(), db.clone());
            tokio::spawn(async move { db.read(&cache, 1).await.1 })
        })
        .collect();
    for call in calls {
        assert_ne!(call.await.expect("it ran"), Source::Tier(0));
    }
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert!(cache.stats().tiers[0].errors >= 100);
    let threads = fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    assert!(threads < 32 + 16, "{threads} threads");
    // Whoever waits is let go, or the test would not end: to open it for writing succeeds while somebody reads.
    let mut idle = 0;
    while idle < 20 {
        let flag = nix::fcntl::OFlag::O_NONBLOCK.bits();
        let writer = fs::OpenOptions::new().write(true).custom_flags(flag).open(&file);
        idle = if writer.is_ok() { 0 } else { idle + 1 };
        drop(writer);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(cache.stats().requests, 0);
}
