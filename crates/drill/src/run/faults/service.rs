//! What breaks a service.

use std::sync::Arc;
use std::time::Duration;

use seawall_core::time::Span;
use seawall_scenario::{Event, Fault};

use super::{InForce, Undo, lease_of, nodes_of, toxic_of};
use crate::inject::Door;
use crate::inject::process::{self, Victim};
use crate::run::NoDrill;
use crate::run::felt::{Heard, Sign, Spot, Usual, Watch};
use crate::run::system::{Instance, System};

impl System {
    pub(super) async fn strike_service(
        self: &Arc<Self>,
        force: &mut InForce,
        event: &Event,
        at: usize,
        fault: &Fault,
    ) -> Result<(), NoDrill> {
        let mut numbers = nodes_of(event, self.services[at].len());
        match fault {
            Fault::Starve { share } => {
                for number in &numbers {
                    let copy = &self.services[at][*number];
                    if copy.is_ours() {
                        let among = (&**copy, self.services[at].len());
                        self.starve_instance(force, among, *share, lease_of(event))
                            .await?;
                    }
                }
                return self.tell_all(force).await;
            }
            Fault::Leak { after, .. } => {
                let instead = format!("no instance has served {after} calls and crashed");
                force.watches.push(Watch::for_others(&instead, Vec::new()));
                return self.tell_all(force).await;
            }
            Fault::Restart { each } => {
                let copies = numbers.iter().map(|number| self.services[at][*number].clone());
                self.restart_in_turn(force, copies.collect(), (*each).into());
                return Ok(());
            }
            Fault::Crash {
                instances: Some(most),
            } => numbers.truncate(*most as usize),
            _ => {}
        }
        for number in numbers {
            let copy = &self.services[at][number];
            if let Some(toxic) = toxic_of(fault, Span::ZERO) {
                self.add_toxic(force, &copy.name, toxic).await?;
                continue;
            }
            match fault {
                Fault::Kill | Fault::Crash { .. } => {
                    force.undo.push(Undo::Instance(copy.clone()));
                    self.kill_instance(copy).await?;
                }
                Fault::Hang | Fault::Pause => {
                    let victim = Victim {
                        pid: copy.pid(),
                        door: Door::http(copy.control.or(copy.listens()).unwrap_or(copy.door)),
                    };
                    force.hold_if(process::stop(&self.keeper, &[victim], lease_of(event)).await)?;
                }
                Fault::Refuse => {
                    force.undo.push(Undo::Open(copy.name.clone()));
                    self.close(&copy.name).await?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    async fn starve_instance(
        &self,
        force: &mut InForce,
        (copy, instances): (&Instance, usize),
        share: f64,
        max: Duration,
    ) -> Result<bool, NoDrill> {
        // Its part of the processors that there are, and one at least.
        let all = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        let processors = (all / instances.max(1) as f64).max(1.0);
        self.starve(force, (&copy.name, copy.pid()), (share, processors), max)
            .await
    }

    /// Ends instances and starts them again, one after the other, while the rest goes on.
    fn restart_in_turn(self: &Arc<Self>, force: &mut InForce, copies: Vec<Arc<Instance>>, each: Duration) {
        let watch = Watch::for_others("no instance was ended", Vec::new());
        let heard = watch.heard();
        force.watches.push(watch);
        let system = self.clone();
        self.errand(async move {
            for copy in copies {
                system.kill_instance(&copy).await?;
                is_down(&copy, &heard).await;
                tokio::time::sleep(each).await;
                system.revive(&copy).await?;
            }
            Ok(())
        });
    }
}

/// Looks whether nobody listens where it was.
async fn is_down(copy: &Instance, heard: &Heard) {
    let Some(address) = copy.listens() else { return };
    let spot = Spot::new(&copy.name, Door::http(address));
    if let Ok(seen) = spot
        .look(&Sign::Refused, &Usual::default(), &mut Vec::new())
        .await
    {
        heard.felt(seen);
    }
}
