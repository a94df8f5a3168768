//! The databases of a system: one real PostgreSQL behind a door for each node, or tables where there is none.

use std::net::SocketAddr;

use seawall_core::rng::Seed;
use seawall_scenario::{Fault, Place, Scenario, What};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{ConnectOptions, Executor};

use super::{System, rows_of};
use crate::app::{APP, TABLE};
use crate::inject::postgres::{self, Tablespace};
use crate::paced::{Node, Paced, Speed};
use crate::run::table::{Rows, Table};
use crate::run::{NoDrill, Order};
use crate::stack::Postgres;

/// What a row takes beside its value, with its part of the index, in bytes.
const ROW: u64 = 200;
/// The room on a small disk beside the rows that there are from the beginning, in bytes.
const ROOM: u64 = 64 << 20;
/// Rows that are written in one statement.
const ROWS: usize = 1_000;

/// One node of a database.
pub(crate) struct DatabaseNode {
    pub(crate) name: String,
    pub(crate) node: Node,
    /// Where its proxy listens.
    pub(crate) door: SocketAddr,
    front: Front,
}

impl DatabaseNode {
    /// Whether it is the drill's own.
    pub(crate) fn is_ours(&self) -> bool {
        !matches!(self.front, Front::Elsewhere)
    }
}

/// What stands at the door of a node, for as long as it is held.
#[expect(dead_code, reason = "they are there to be dropped")]
enum Front {
    Paced(Paced),
    Table(Table),
    Elsewhere,
}

impl System {
    pub(super) async fn start_databases(&mut self, order: &Order) -> Result<(), NoDrill> {
        let scenario = self.scaled.scenario.clone();
        if scenario.databases.is_empty() {
            return Ok(());
        }
        let mut real = None;
        let needed = (0..scenario.databases.len()).map(Place::Database);
        let mut needed =
            needed.filter(|place| scenario.environment.at.iter().all(|(known, _)| known != place));
        if !order.embedded && needed.next().is_some() {
            let postgres = Postgres::start(&self.keeper, "postgres", &[]).await?;
            real = Some(postgres.address());
            if fills_up(&scenario) {
                let bytes = rows_of(&self.scaled) * (self.truth.value(0, 0).len() as u64 + ROW) + ROOM;
                let made = Tablespace::prepare(&self.keeper, &postgres, bytes).await;
                self.tablespace = Some(made.map_err(|error| NoDrill::Refused(error.to_string()))?);
            }
            self.postgres = Some(postgres);
        }
        if let Some(address) = real {
            self.fill(address).await?;
            self.let_in().await?;
        }
        for (index, database) in scenario.databases.iter().enumerate() {
            let mut nodes = Vec::new();
            let rows = Rows::default();
            if let Some(address) = self.elsewhere(Place::Database(index)).await? {
                let name = format!("{}-0", database.name);
                let node = Node::new(None, None, database.curve(1.0));
                let door = self.link(&name, address, &database.latency).await?;
                self.parts.push(format!("{}: at {address}", database.name));
                self.databases.push(vec![DatabaseNode {
                    name,
                    node,
                    door,
                    front: Front::Elsewhere,
                }]);
                continue;
            }
            for at in 0..database.nodes() {
                let name = format!("{}-{at}", database.name);
                let curve = database.curve(self.scaled.nodes[index]);
                let node = Node::new(database.connections, database.queue, curve);
                let speed = Speed {
                    read: database.service_time,
                    write: database.write_law(),
                    timeout: database.timeout,
                };
                let draws = Seed(scenario.run.seed.wrapping_add(u64::from(at) + 1));
                let (address, front) = if let Some(real) = real {
                    let paced = Paced::start(real, node.clone(), speed, draws).await;
                    let paced = paced.map_err(|error| NoDrill::Failed(error.to_string()))?;
                    (paced.address(), Front::Paced(paced))
                } else {
                    let table =
                        Table::start(node.clone(), speed, rows.clone(), self.truth.clone(), draws).await?;
                    (table.address, Front::Table(table))
                };
                let door = self.link(&name, address, &database.latency).await?;
                nodes.push(DatabaseNode {
                    name,
                    node,
                    door,
                    front,
                });
            }
            self.parts.push(format!(
                "{}: {}, paced as {} node{}",
                database.name,
                if real.is_some() {
                    "real PostgreSQL"
                } else {
                    "embedded table"
                },
                nodes.len(),
                if nodes.len() == 1 { "" } else { "s" }
            ));
            self.databases.push(nodes);
        }
        Ok(())
    }

    /// Lets instances in, and do with the table what they like.
    async fn let_in(&self) -> Result<(), NoDrill> {
        let Some(postgres) = &self.postgres else {
            return Ok(());
        };
        let server = postgres::Server::from(postgres);
        let made = postgres::role(&server, APP, &["things"]).await;
        made.map_err(|error| NoDrill::Failed(error.to_string()))?;
        Ok(())
    }

    /// Writes a row for each key that clients ask for.
    async fn fill(&self, address: SocketAddr) -> Result<(), NoDrill> {
        let failed = |error: sqlx::Error| NoDrill::Failed(format!("failed to fill the database: {error}"));
        let mut connection = PgConnectOptions::new_without_pgpass()
            .host(&address.ip().to_string())
            .port(address.port())
            .username("drill")
            .database("postgres")
            .ssl_mode(PgSslMode::Disable)
            .connect()
            .await
            .map_err(failed)?;
        connection.execute(TABLE).await.map_err(failed)?;
        let keys: Vec<u64> = (0..rows_of(&self.scaled)).collect();
        for keys in keys.chunks(ROWS) {
            let names: Vec<String> = keys.iter().map(u64::to_string).collect();
            let values: Vec<Vec<u8>> = keys.iter().map(|key| self.truth.value(*key, 0)).collect();
            let query = sqlx::query("INSERT INTO things SELECT * FROM unnest($1::text[], $2::bytea[])");
            query
                .bind(names)
                .bind(values)
                .execute(&mut connection)
                .await
                .map_err(failed)?;
        }
        connection.execute("ANALYZE things").await.map_err(failed)?;
        Ok(())
    }
}

/// Whether the disk of a database will be full.
fn fills_up(scenario: &Scenario) -> bool {
    scenario.timeline.iter().any(|event| {
        matches!(event.on, Some(Place::Database(_))) && event.what == What::Fault(Fault::DiskFull)
    })
}
