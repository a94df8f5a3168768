//! Crashes, others who write, and bounds.

use super::*;
use crate::incident::tests::example;

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("seawall-store-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn kept(folder: &Folder) -> Vec<Incident> {
    Store::look(&folder.0).expect("a store").incidents
}

fn note(text: &str) -> What {
    What::Noted {
        by: "me".to_owned(),
        text: text.to_owned(),
    }
}

#[test]
fn what_is_saved_is_there_again() {
    let folder = Folder::new("again");
    assert!(kept(&folder).is_empty());
    let mut incident = example();
    {
        let (mut store, opening) = Store::watch(&folder.0).expect("a store");
        assert!(opening.incidents.is_empty());
        store.save(&incident, true).expect("room");
        incident.enter(incident.seen, note("one more"));
        incident.tally.asked += 7.0;
        store.save(&incident, false).expect("room");
        store.save(&incident, false).expect("room");
        let error = Store::watch(&folder.0).expect_err("one watches already");
        assert!(matches!(error, StoreError::Watched(_)), "{error}");
    }
    assert_eq!(kept(&folder), std::slice::from_ref(&incident));
    let (mut store, opening) = Store::watch(&folder.0).expect("nobody watches any more");
    assert_eq!(opening.incidents, std::slice::from_ref(&incident));
    store.save(&incident, true).expect("room");
    assert_eq!(kept(&folder), [incident], "nothing is written twice");
}

#[test]
fn a_crash_at_any_byte_loses_no_whole_line() {
    let folder = Folder::new("torn");
    let mut incident = example();
    let (mut store, _) = Store::watch(&folder.0).expect("a store");
    store.save(&incident, true).expect("room");
    let before = incident.clone();
    let whole = store.known;
    incident.enter(incident.seen, note("the last words"));
    store.save(&incident, true).expect("room");
    drop(store);
    let path = journal_of(&folder.0);
    let all = fs::read(&path).expect("the journal");
    for end in (whole as usize..all.len()).step_by(37) {
        fs::write(&path, &all[..end]).expect("room");
        let (mut store, opening) = Store::watch(&folder.0).expect("a store");
        assert_eq!(opening.torn, end as u64 != whole && all[end - 1] != b'\n');
        assert_eq!(opening.bad_lines, 0);
        assert_eq!(opening.incidents, std::slice::from_ref(&before), "cut at {end}");
        store.save(&incident, true).expect("room");
        assert_eq!(kept(&folder), std::slice::from_ref(&incident), "cut at {end}");
        drop(store);
    }
}

#[test]
fn damage_in_the_middle_is_told_and_costs_its_line_alone() {
    let folder = Folder::new("damage");
    let incident = example();
    let (mut store, _) = Store::watch(&folder.0).expect("a store");
    store.save(&incident, true).expect("room");
    drop(store);
    let path = journal_of(&folder.0);
    let text = fs::read_to_string(&path).expect("the journal");
    fs::write(&path, text.replacen("scale the service", "scale the servicf", 1)).expect("room");
    let opening = Store::look(&folder.0).expect("a store");
    assert_eq!((opening.bad_lines, opening.torn), (1, false));
    assert_eq!(opening.incidents[0].timeline.len(), incident.timeline.len() - 1);
}

#[test]
fn what_others_write_arrives_once() {
    let folder = Folder::new("others");
    let mut incident = example();
    incident.closed = None;
    incident.timeline.truncate(4);
    let (mut store, _) = Store::watch(&folder.0).expect("a store");
    store.save(&incident, true).expect("room");
    let told =
        Store::write(&folder.0, "hung-redis", incident.seen, note("look at this")).expect("it is there");
    assert_eq!(told.timeline.len(), 5);
    let error = Store::write(&folder.0, "nothing", incident.seen, note("")).expect_err("no such");
    assert_eq!(error.to_string(), "no incident is called `nothing`");
    let arrived = store.arrived(Some(&incident.id)).expect("the journal");
    assert_eq!(arrived.len(), 1);
    for one in arrived {
        incident.enter(one.entry.at, one.entry.what);
    }
    store.save(&incident, false).expect("room");
    assert_eq!(store.arrived(Some(&incident.id)).expect("the journal"), []);
    assert_eq!(kept(&folder), std::slice::from_ref(&incident));
    // Closed by hand, and the one who watches dies before it takes notice.
    let by = What::ClosedByHand {
        by: "me".to_owned(),
        false_alarm: true,
    };
    Store::write(&folder.0, "last", incident.seen, by).expect("it is there");
    store.save(&incident, false).expect("room");
    let found = kept(&folder);
    assert_eq!(
        (found[0].state(), found[0].closed),
        ("false alarm", Some(incident.seen))
    );
}

#[test]
fn the_last_incidents_are_kept() {
    let folder = Folder::new("bounds");
    {
        let (mut store, _) = Store::watch(&folder.0).expect("a store");
        for number in 0..INCIDENTS_MAX + 20 {
            let mut incident = example();
            incident.id = format!("incident-{number:04}");
            store.save(&incident, false).expect("room");
        }
    }
    let before = fs::metadata(journal_of(&folder.0)).expect("the journal").len();
    drop(Store::watch(&folder.0).expect("a store"));
    assert!(fs::metadata(journal_of(&folder.0)).expect("the journal").len() < before);
    let all = kept(&folder);
    assert_eq!(all.len(), INCIDENTS_MAX);
    assert_eq!((all[0].id.as_str(), all[0].timeline.len()), ("incident-0020", 10));
}

#[test]
fn a_journal_does_not_grow_without_end() {
    let folder = Folder::new("size");
    let mut incident = example();
    let (mut store, _) = Store::watch(&folder.0).expect("a store");
    let most = BYTES_MAX + (1 << 20);
    incident.reason = "x".repeat(100_000);
    for _ in 0..200 {
        store.save(&incident, false).expect("room");
        let size = fs::metadata(journal_of(&folder.0)).expect("the journal").len();
        assert!(size < most, "{size}");
    }
    incident.enter(incident.seen, note("still the same incident"));
    store.save(&incident, true).expect("room");
    assert_eq!(kept(&folder), [incident]);
}
