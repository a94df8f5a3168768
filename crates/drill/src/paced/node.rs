//! A node of a database in real time: who has a connection, and how fast queries are.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use seawall_core::processor::{Curve, Processor};
use seawall_core::station::{Offered, Station};
use seawall_core::time::{Span, Time};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep_until, timeout_at};

/// Why a query was not played to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// There is no connection, and no place in the line.
    Full,
    /// It became older than the server lets queries become.
    TooOld,
}

/// A node: the [`Station`] and the [`Processor`] of the simulator, driven by the real clock.
#[derive(Clone)]
pub struct Node {
    shared: Arc<Shared>,
}

struct Shared {
    machines: Mutex<Machines>,
    changed: Notify,
    origin: Instant,
}

struct Machines {
    station: Station<u64>,
    processor: Processor,
    waiting: BTreeMap<u64, oneshot::Sender<()>>,
    working: BTreeMap<u64, oneshot::Sender<()>>,
    next: u64,
}

/// A connection that a query has. Dropped, it is free again; while its query is worked on, when that is done.
pub struct Place {
    shared: Arc<Shared>,
    id: u64,
    works: bool,
}

impl Node {
    /// A node with so many connections and places in the line before them. A task sees to its clock for as long as
    /// there is anything of it.
    pub fn new(connections: Option<u32>, places: Option<u32>, curve: Curve) -> Node {
        let connections = connections.map_or(usize::MAX, |most| most as usize);
        let shared = Arc::new(Shared {
            machines: Mutex::new(Machines {
                station: Station::new(connections, places.map(|places| places as usize)),
                processor: Processor::new(curve, 1.0),
                waiting: BTreeMap::new(),
                working: BTreeMap::new(),
                next: 0,
            }),
            changed: Notify::new(),
            origin: Instant::now(),
        });
        let weak = Arc::downgrade(&shared);
        tokio::spawn(async move {
            while let Some(shared) = weak.upgrade() {
                let next = shared.finish();
                let changed = shared.changed.notified();
                match next {
                    Some(next) => {
                        tokio::select! {
                            () = sleep_until(next) => {}
                            () = changed => {}
                        }
                    }
                    None => changed.await,
                }
            }
        });
        Node { shared }
    }

    /// Asks for a connection, and waits for it in the line.
    ///
    /// # Errors
    /// When the line is full, or the deadline passes first.
    pub async fn enter(&self, deadline: Option<Instant>) -> Result<Place, Cut> {
        let (sender, receiver) = oneshot::channel();
        let place = {
            let mut machines = self.shared.machines();
            machines.next += 1;
            let id = machines.next;
            let offered = machines.station.offer(id);
            if offered == Offered::Refused {
                return Err(Cut::Full);
            }
            let place = Place {
                shared: self.shared.clone(),
                id,
                works: false,
            };
            if offered == Offered::Begun {
                return Ok(place);
            }
            machines.waiting.insert(id, sender);
            place
        };
        if patiently(deadline, receiver).await {
            return Ok(place);
        }
        // Dropping the place takes it out of the line.
        Err(Cut::TooOld)
    }

    /// How many have a connection, and how many wait for one.
    pub fn inside(&self) -> (usize, usize) {
        let machines = self.shared.machines();
        (machines.station.busy(), machines.station.waiting())
    }

    /// How many it lets in at once; nothing when there is no limit.
    pub fn connections(&self) -> Option<usize> {
        let most = self.shared.machines().station.connections();
        (most != usize::MAX).then_some(most)
    }

    /// Changes how many connections there are.
    pub fn set_connections(&self, connections: Option<u32>, places: Option<u32>) {
        let mut machines = self.shared.machines();
        let connections = connections.map_or(usize::MAX, |most| most as usize);
        machines
            .station
            .retune(connections, places.map(|places| places as usize));
        machines.admit();
    }

    /// Makes everything this many times as fast: 1 is normal, 0.1 a slow query's plan, 0 a stopped server.
    pub fn set_pace(&self, pace: f64) {
        let now = self.shared.now();
        self.shared.machines().processor.set_pace(now, pace);
        self.shared.changed.notify_one();
    }

    /// Changes how the speed depends on how many run.
    pub fn set_curve(&self, curve: Curve) {
        let now = self.shared.now();
        self.shared.machines().processor.set_curve(now, curve);
        self.shared.changed.notify_one();
    }
}

impl Place {
    /// Works for as long as this would take alone.
    ///
    /// # Errors
    /// When the deadline passes first; then the work stops.
    pub async fn work(mut self, span: Span, deadline: Option<Instant>) -> Result<(), Cut> {
        let (sender, receiver) = oneshot::channel();
        let now = self.shared.now();
        {
            let mut machines = self.shared.machines();
            machines.working.insert(self.id, sender);
            machines.processor.begin(now, self.id, span);
        }
        self.works = true;
        self.shared.changed.notify_one();
        if patiently(deadline, receiver).await {
            return Ok(());
        }
        let now = self.shared.now();
        let mut machines = self.shared.machines();
        machines.working.remove(&self.id);
        if machines.processor.cancel(now, self.id) {
            machines.leave();
        }
        drop(machines);
        self.shared.changed.notify_one();
        Err(Cut::TooOld)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What is worked on is worked on to its end, whether or not anybody waits for it.
        if self.works {
            return;
        }
        let mut machines = self.shared.machines();
        machines.waiting.remove(&self.id);
        if !machines.station.withdraw(self.id) {
            machines.leave();
        }
    }
}

/// Whether it came before the deadline.
async fn patiently(deadline: Option<Instant>, receiver: oneshot::Receiver<()>) -> bool {
    match deadline {
        Some(deadline) => matches!(timeout_at(deadline, receiver).await, Ok(Ok(()))),
        None => receiver.await.is_ok(),
    }
}

impl Shared {
    fn machines(&self) -> MutexGuard<'_, Machines> {
        self.machines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Time {
        Time::from_nanos(self.origin.elapsed().as_nanos() as u64)
    }

    /// Lets go what is done by now; says when the next one is.
    fn finish(&self) -> Option<Instant> {
        let now = self.now();
        let mut machines = self.machines();
        while let Some(id) = machines.processor.finish(now) {
            if let Some(sender) = machines.working.remove(&id) {
                // Nobody may wait for it any more.
                let _ = sender.send(());
            }
            machines.leave();
        }
        let next = machines.processor.next()?;
        Some(self.origin + std::time::Duration::from_nanos(next.as_nanos()))
    }
}

impl Machines {
    fn leave(&mut self) {
        let mut next = self.station.leave();
        while let Some(id) = next {
            self.begin(id);
            next = self.station.admit();
        }
    }

    fn admit(&mut self) {
        while let Some(id) = self.station.admit() {
            self.begin(id);
        }
    }

    fn begin(&mut self, id: u64) {
        if let Some(sender) = self.waiting.remove(&id) {
            // Whoever has just left the line gives the connection back when its place is dropped.
            let _ = sender.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    async fn query(node: Node, work: u64, patience: Option<u64>) -> (Result<(), Cut>, u128) {
        let begun = Instant::now();
        let deadline = patience.map(|patience| begun + ms(patience));
        let done = async {
            let place = node.enter(deadline).await?;
            place.work(Span::millis(work), deadline).await
        };
        (done.await, begun.elapsed().as_millis())
    }

    #[tokio::test(start_paused = true)]
    async fn queries_share_the_processor_and_wait_for_connections() {
        let node = Node::new(Some(2), Some(1), Curve::Servers(1.0));
        let queries = [10, 10, 10, 10].map(|work| tokio::spawn(query(node.clone(), work, None)));
        let mut seen = Vec::new();
        for query in queries {
            seen.push(query.await.expect("it ends"));
        }
        // Two share for 20 ms, the third has a processor of its own after them, the fourth finds no place.
        assert_eq!(
            seen,
            [(Ok(()), 20), (Ok(()), 20), (Ok(()), 30), (Err(Cut::Full), 0)]
        );
        assert_eq!(node.inside(), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_or_works_too_long_is_cut_and_the_rest_goes_on() {
        let node = Node::new(Some(1), None, Curve::Servers(1.0));
        let first = tokio::spawn(query(node.clone(), 100, Some(50)));
        tokio::task::yield_now().await;
        let second = tokio::spawn(query(node.clone(), 10, Some(20)));
        let third = tokio::spawn(query(node.clone(), 10, Some(200)));
        assert_eq!(
            second.await.expect("it ends"),
            (Err(Cut::TooOld), 20),
            "in the line"
        );
        assert_eq!(first.await.expect("it ends"), (Err(Cut::TooOld), 50), "at work");
        assert_eq!(third.await.expect("it ends"), (Ok(()), 60));
        assert_eq!(node.inside(), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn work_goes_on_when_nobody_waits_and_places_come_back() {
        let node = Node::new(Some(1), None, Curve::Servers(1.0));
        let place = node.enter(None).await.expect("a free connection");
        let work = tokio::spawn(place.work(Span::millis(40), None));
        tokio::time::sleep(ms(10)).await;
        work.abort();
        assert_eq!(node.inside(), (1, 0), "the server is not told");
        let unused = {
            let node = node.clone();
            tokio::spawn(async move { node.enter(None).await.map(drop) })
        };
        let next = tokio::spawn(query(node.clone(), 5, None));
        unused.await.expect("it ends").expect("a connection");
        assert_eq!(next.await.expect("it ends"), (Ok(()), 35));
        assert_eq!(node.inside(), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stopped_node_goes_on_where_it_was() {
        let node = Node::new(None, None, Curve::Servers(f64::INFINITY));
        let work = tokio::spawn(query(node.clone(), 20, None));
        tokio::time::sleep(ms(5)).await;
        node.set_pace(0.0);
        tokio::time::sleep(ms(100)).await;
        assert!(!work.is_finished());
        node.set_pace(0.5);
        assert_eq!(work.await.expect("it ends"), (Ok(()), 135));
    }
}
