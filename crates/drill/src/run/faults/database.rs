//! What breaks a database.

use std::sync::Arc;

use seawall_core::time::Span;
use seawall_scenario::{Event, Fault};

use super::{InForce, Undo, lease_of, nodes_of, slowness, toxic_of};
use crate::app::APP;
use crate::inject::process::{self, Victim};
use crate::inject::{self, Door};
use crate::paced::Node;
use crate::run::NoDrill;
use crate::run::felt::{Heard, Watch};
use crate::run::system::{System, keeping};

impl System {
    /// Whether what is done to the one PostgreSQL that there is would be done to what the event names: all nodes of the one
    /// database.
    pub(crate) fn is_whole(&self, event: &Event) -> bool {
        event.nodes.is_none() && self.databases.len() == 1 && self.postgres.is_some()
    }

    pub(super) async fn strike_database(
        self: &Arc<Self>,
        force: &mut InForce,
        event: &Event,
        at: usize,
        fault: &Fault,
    ) -> Result<(), NoDrill> {
        let whole = self.is_whole(event);
        for number in nodes_of(event, self.databases[at].len()) {
            let node = &self.databases[at][number];
            let slows = matches!(fault, Fault::Slow { .. } | Fault::Starve { .. });
            if let Some(toxic) = toxic_of(fault, Span::ZERO)
                && !slows
            {
                self.add_toxic(force, &node.name, toxic).await?;
                continue;
            }
            if let Some(pace) = pace_of(fault, whole) {
                force.undo.push(Undo::Pace(at, number));
                node.node.set_pace(pace);
            }
            match fault {
                Fault::Kill | Fault::Refuse => {
                    force.undo.push(Undo::Open(node.name.clone()));
                    self.close(&node.name).await?;
                }
                // The limit of the server itself is no business of a door.
                Fault::Connections { waits: false, .. } if whole => {}
                Fault::Connections { max, waits } => {
                    force.undo.push(Undo::Connections(at, number));
                    let line = self.scaled.scenario.databases[at].queue;
                    let places = if *waits { line } else { Some(0) };
                    node.node.set_connections(Some(*max), places);
                    let (node, name, max, waits) = (node.node.clone(), node.name.clone(), *max, *waits);
                    let watch = Watch::of(Vec::new(), |heard| async move {
                        is_full(&node, &name, (max, waits), &heard).await;
                    });
                    force.watches.push(watch);
                }
                _ => {}
            }
        }
        if !whole {
            return Ok(());
        }
        self.strike_postgres(force, event, fault).await
    }

    /// What is done to the one server that all nodes are.
    async fn strike_postgres(
        self: &Arc<Self>,
        force: &mut InForce,
        event: &Event,
        fault: &Fault,
    ) -> Result<(), NoDrill> {
        let Some(postgres) = &self.postgres else {
            return Ok(());
        };
        let max = lease_of(event);
        match fault {
            Fault::Kill => {
                force.undo.push(Undo::Postgres);
                keeping(|| postgres.kill(&self.keeper))?;
                Ok(())
            }
            Fault::Hang | Fault::Pause => {
                let victim = Victim {
                    pid: postgres.pid(),
                    door: Door::postgres(postgres.address()),
                };
                force.hold_if(process::stop(&self.keeper, &[victim], max).await)
            }
            Fault::Lock => {
                let server = inject::postgres::Server::from(postgres);
                force.hold_if(inject::postgres::lock(&server, &["things"], max).await)
            }
            Fault::Connections {
                max: most,
                waits: false,
            } => {
                let server = inject::postgres::Server::from(postgres);
                let app = server.clone().of(APP);
                force.hold_if(inject::postgres::connections(&server, &app, *most, max).await)
            }
            Fault::ReadOnly => {
                let server = inject::postgres::Server::from(postgres);
                let app = server.clone().of(APP);
                force.hold_if(inject::postgres::read_only(&server, &app, max).await)
            }
            Fault::DiskFull => {
                let disk = self.tablespace.as_ref();
                let disk =
                    disk.ok_or_else(|| NoDrill::Failed("its tables are on no small disk".to_owned()))?;
                force.hold_if(inject::postgres::disk_full(&self.keeper, disk, max).await)
            }
            Fault::Starve { share } => {
                let processors = std::thread::available_parallelism().map_or(1, usize::from);
                let who = ("postgres", postgres.pid());
                self.starve(force, who, (*share, processors as f64), max).await?;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// How fast the door of a node lets queries be, if this changes it.
fn pace_of(fault: &Fault, whole: bool) -> Option<f64> {
    match fault {
        Fault::Slow { .. } | Fault::SlowQuery { .. } | Fault::Starve { .. } => {
            Some(1.0 / slowness(fault).max(1e-6))
        }
        Fault::Hang | Fault::Pause => Some(0.0),
        // The lock itself is waited for.
        Fault::Lock if !whole => Some(0.0),
        _ => None,
    }
}

/// Looks until as many are at work as may be, and somebody waits if anybody can.
async fn is_full(node: &Node, name: &str, (max, waits): (u32, bool), heard: &Heard) {
    loop {
        let (busy, waiting) = node.inside();
        let seen = format!("{busy} queries at work at {name}, and {waiting} in the line");
        let full = if waits { waiting > 0 } else { busy == max as usize };
        if full && busy <= max as usize {
            return heard.felt(seen);
        }
        heard.missed(seen);
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}
