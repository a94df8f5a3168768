//! What was found out of faults: what was felt of them, and what became of them when they were taken back.

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::Stage;
use crate::run::News;
use crate::run::faults::InForce;
use crate::run::felt::until_gone;

/// Somebody who looks until a fault is gone: by what it shows, or why it does not.
pub(super) type Healing = JoinHandle<Result<Vec<String>, String>>;

/// What was found out about faults.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// What was felt of them.
    pub(super) evidence: Vec<String>,
    /// Those of which nothing was.
    pub(super) unfelt: Vec<String>,
    /// Those that could not be taken back.
    pub(super) left: Vec<String>,
    /// What could not be done.
    pub(super) troubles: Vec<String>,
}

impl<T: Fn(News)> Stage<'_, T> {
    pub(super) async fn over(&mut self, event: usize) {
        let (ended, stay) = std::mem::take(&mut self.in_force)
            .into_iter()
            .partition(|force: &InForce| force.event() == event);
        self.in_force = stay;
        let ended: Vec<InForce> = ended;
        for force in ended {
            let what = force.what().to_owned();
            if self.take_back(force).await {
                (self.tell)(News::Over(self.clock(), what));
            }
        }
    }

    /// Takes a fault back, and notes what was seen of it; whether it was taken back.
    async fn take_back(&mut self, force: InForce) -> bool {
        let what = force.what().to_owned();
        let ended = self.system.end(force, self.loads).await;
        for felt in ended.felt {
            match felt {
                Ok(felt) => self.found.evidence.push(format!("{what}: felt: {felt}")),
                Err(instead) => {
                    (self.tell)(News::Trouble(format!("no effect: {what}: {instead}")));
                    self.found.unfelt.push(format!("{what}: {instead}"));
                }
            }
        }
        let mut whole = true;
        for gone in ended.gone {
            match gone {
                Ok(gone) => self.found.evidence.push(format!("{what}: gone: {gone}")),
                Err(why) => {
                    whole = false;
                    self.stays(&what, &why);
                }
            }
        }
        if !ended.after.is_empty() {
            let others = self.others.clone();
            self.after
                .push((what, tokio::spawn(until_gone(ended.after, others))));
        }
        whole
    }

    /// Notes that a fault could not be taken back.
    fn stays(&mut self, what: &str, why: &str) {
        (self.tell)(News::Trouble(format!("not taken back: {what}: {why}")));
        self.found.left.push(format!("{what}: {why}"));
    }

    /// Takes back all that is still in force, and waits until all that was shows that it is gone.
    pub(super) async fn roll_back(&mut self, alone: &watch::Sender<bool>) {
        for force in std::mem::take(&mut self.in_force).into_iter().rev() {
            self.take_back(force).await;
        }
        for failed in self.system.end_errands().await {
            self.trouble(failed.to_string());
        }
        for (at, number, _) in std::mem::take(&mut self.down) {
            let copy = &self.system.services[at][number];
            if let Err(error) = self.system.revive(copy).await {
                self.found.left.push(error.to_string());
            }
        }
        // Nothing is in anybody's way any more.
        alone.send_replace(true);
        for (what, after) in std::mem::take(&mut self.after) {
            match after.await {
                Ok(Ok(gone)) => {
                    let gone = gone.into_iter().map(|gone| format!("{what}: gone: {gone}"));
                    self.found.evidence.extend(gone);
                }
                Ok(Err(why)) => self.stays(&what, &why),
                Err(error) => self.stays(&what, &error.to_string()),
            }
        }
    }
}
