//! A place that is asked from outside, and what is seen there of a fault.

use std::net::SocketAddr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{ConnectOptions, Connection};
use tokio::time::{Instant, timeout};

use crate::inject::{Door, Knock, Speaks};

/// Who does not answer within this time is silent, unless it usually takes long.
const SILENCE: Duration = Duration::from_millis(200);
/// No knock is waited for any longer.
const PATIENCE_MAX: Duration = Duration::from_secs(2);
/// So often it is asked before anything is wrong.
const CALM: usize = 5;
/// A parcel takes about this long in a narrow place.
const CARRIED: Duration = Duration::from_millis(150);
/// A mean is one of so many.
const SEVERAL: usize = 5;
/// What is later by less cannot be told from what else happens.
const NOTICED: Duration = Duration::from_micros(500);

/// What is asked.
#[derive(Clone, Debug)]
enum Question {
    /// A greeting, which is answered at the door.
    Knock,
    /// These words.
    Words(Vec<u8>, &'static str),
    /// A query, which takes a connection and its time.
    Query,
}

/// A place, and what is asked there.
#[derive(Clone, Debug)]
pub(crate) struct Spot {
    name: String,
    door: Door,
    question: Question,
}

/// What is seen of a fault.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Sign {
    /// An answer takes so much longer.
    Later(Duration),
    /// The same on average: what takes now longer and now shorter anyway shows nothing by one answer.
    Slower(Duration),
    /// There is no answer.
    Silent,
    /// Nobody listens.
    Refused,
    /// Connections are cut.
    Cut,
    /// The answer begins like this.
    Says(&'static str),
    /// So many bytes a second get through.
    Narrow(f64),
}

/// What is seen when nothing is wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Usual {
    /// How long an answer takes.
    knock: Duration,
    /// How long the parcel takes that the narrow place is tried with.
    parcel: Duration,
}

/// A time as people say it.
fn ms(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1e3;
    if ms < 10.0 {
        format!("{ms:.1} ms")
    } else {
        format!("{ms:.0} ms")
    }
}

/// As many bytes as take a while at this rate.
fn parcel(rate: f64) -> usize {
    (rate * CARRIED.as_secs_f64()) as usize
}

impl Spot {
    /// A door, with a greeting.
    pub(crate) fn new(name: &str, door: Door) -> Spot {
        Spot {
            name: name.to_owned(),
            door,
            question: Question::Knock,
        }
    }

    /// A service, asked for this path.
    pub(crate) fn path(name: &str, address: SocketAddr, path: &str) -> Spot {
        let words = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        Spot {
            name: name.to_owned(),
            door: Door::http(address),
            question: Question::Words(words.into_bytes(), "GET"),
        }
    }

    /// A Redis, asked for a key that is not there.
    pub(crate) fn read(name: &str, address: SocketAddr) -> Spot {
        Spot {
            name: name.to_owned(),
            door: Door::redis(address),
            question: Question::Words(b"*2\r\n$3\r\nGET\r\n$13\r\nseawall:probe\r\n".to_vec(), "GET"),
        }
    }

    /// A PostgreSQL, with a query of the table that clients read.
    pub(crate) fn query(name: &str, address: SocketAddr) -> Spot {
        Spot {
            name: name.to_owned(),
            door: Door::postgres(address),
            question: Question::Query,
        }
    }

    /// What it is called.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What it is known by, with what is looked for.
    pub(crate) fn key(&self, sign: &Sign) -> String {
        match sign {
            Sign::Narrow(rate) => format!("{} {} {rate}", self.what(), self.door.address),
            _ => format!("{} {}", self.what(), self.door.address),
        }
    }

    fn what(&self) -> String {
        let word = match (&self.question, self.door.speaks) {
            (Question::Words(_, word), _) => word,
            (Question::Query, _) => "a SELECT",
            (Question::Knock, Speaks::Redis) => "PING",
            (Question::Knock, Speaks::Postgres) => "a greeting",
            (Question::Knock, Speaks::Http) => "HEAD",
        };
        format!("{word} at {}", self.name)
    }

    async fn ask(&self, patience: Duration) -> Knock {
        match &self.question {
            Question::Knock => self.door.knock(patience).await,
            Question::Words(words, _) => self.door.ask(words, patience).await,
            Question::Query => {
                let begun = Instant::now();
                match timeout(patience, query(self.door.address)).await {
                    Ok(Ok(())) => Knock::Answered(begun.elapsed(), String::new()),
                    Ok(Err(error)) => Knock::HungUp(error.to_string()),
                    Err(_) => Knock::Silent,
                }
            }
        }
    }

    /// What is seen here while nothing is wrong: the median of a few knocks, and a parcel when a sign wants one.
    pub(crate) async fn usual(&self, sign: &Sign) -> Usual {
        let mut times = Vec::new();
        for _ in 0..CALM {
            if let Knock::Answered(took, _) = self.ask(PATIENCE_MAX).await {
                times.push(took);
            }
        }
        times.sort();
        let knock = times.get(times.len() / 2).copied().unwrap_or_default();
        let carried = match sign {
            Sign::Narrow(rate) => self.door.parcel(parcel(*rate), PATIENCE_MAX).await.ok(),
            _ => None,
        };
        Usual {
            knock,
            parcel: carried.map_or(Duration::ZERO, |(_, took)| took),
        }
    }

    /// Looks once: what is seen of the fault, or what is seen instead. `before` is what earlier looks have measured.
    pub(crate) async fn look(
        &self,
        sign: &Sign,
        usual: &Usual,
        before: &mut Vec<Duration>,
    ) -> Result<String, String> {
        let what = self.what();
        let often = ms(usual.knock);
        match sign {
            Sign::Later(by) => {
                let patience = (usual.knock + *by * 2 + SILENCE).min(PATIENCE_MAX + *by);
                match self.ask(patience).await {
                    Knock::Answered(took, _) if took >= usual.knock + (*by).max(NOTICED) => {
                        Ok(format!("{what} took {} instead of {often}", ms(took)))
                    }
                    Knock::Silent => Ok(format!(
                        "{what} had no answer within {} instead of {often}",
                        ms(patience)
                    )),
                    other => Err(self.instead(&other)),
                }
            }
            Sign::Slower(by) => self.look_for_slowness(*by, usual, before).await,
            Sign::Silent => {
                let patience = (usual.knock * 4).max(SILENCE);
                match self.ask(patience).await {
                    Knock::Silent => Ok(format!(
                        "{what} had no answer within {}, and took {often} before",
                        ms(patience)
                    )),
                    other => Err(self.instead(&other)),
                }
            }
            Sign::Refused => match self.ask(SILENCE * 2).await {
                Knock::Nobody(why) => Ok(format!("{what}: {why}")),
                other => Err(self.instead(&other)),
            },
            Sign::Cut => match self.ask(SILENCE * 2).await {
                Knock::HungUp(why) => Ok(format!("{what}: {why}")),
                other => Err(self.instead(&other)),
            },
            Sign::Says(word) => match self.ask(PATIENCE_MAX).await {
                Knock::Answered(_, line) if line.contains(word) => Ok(format!("{what} is answered `{line}`")),
                other => Err(self.instead(&other)),
            },
            Sign::Narrow(rate) => match self.carried(*rate).await {
                Ok((bytes, took)) if narrow(bytes, took, *rate) && took > usual.parcel * 2 => Ok(format!(
                    "{bytes} bytes from {} took {} instead of {}",
                    self.name,
                    ms(took),
                    ms(usual.parcel)
                )),
                Ok((bytes, took)) => Err(format!("{bytes} bytes from {} took {}", self.name, ms(took))),
                Err(Knock::Silent) => Ok(format!("what {} sends takes too long to wait for", self.name)),
                Err(other) => Err(self.instead(&other)),
            },
        }
    }

    /// How many bytes it sent when as many were asked for as such a link takes a while for.
    async fn carried(&self, rate: f64) -> Result<(usize, Duration), Knock> {
        self.door.parcel(parcel(rate), CARRIED * 10 + PATIENCE_MAX).await
    }

    async fn look_for_slowness(
        &self,
        by: Duration,
        usual: &Usual,
        before: &mut Vec<Duration>,
    ) -> Result<String, String> {
        let what = self.what();
        let took = match self.ask(PATIENCE_MAX).await {
            Knock::Answered(took, _) => took,
            Knock::Silent => PATIENCE_MAX,
            other => return Err(self.instead(&other)),
        };
        before.push(took);
        let (count, mean) = (
            before.len(),
            before.iter().sum::<Duration>() / before.len() as u32,
        );
        let seen = format!("{count} times {what} took {} on average", ms(mean));
        if count >= SEVERAL && mean >= usual.knock + by {
            return Ok(format!("{seen} instead of {}", ms(usual.knock)));
        }
        Err(seen)
    }

    fn instead(&self, knock: &Knock) -> String {
        let what = self.what();
        match knock {
            Knock::Answered(took, line) if line.is_empty() => {
                format!("{what} was answered after {}", ms(*took))
            }
            Knock::Answered(took, line) => format!("{what} was answered `{line}` after {}", ms(*took)),
            Knock::Silent => format!("{what} had no answer"),
            Knock::Nobody(why) | Knock::HungUp(why) => format!("{what}: {why}"),
        }
    }

    /// Looks once whether it is over: by what, or what is still seen.
    pub(crate) async fn look_after(&self, sign: &Sign, usual: &Usual) -> Result<String, String> {
        if let Sign::Narrow(rate) = sign {
            return match self.carried(*rate).await {
                Ok((bytes, took)) if !narrow(bytes, took, *rate) => {
                    Ok(format!("{bytes} bytes from {} take {}", self.name, ms(took)))
                }
                Ok((bytes, took)) => Err(format!(
                    "{bytes} bytes from {} still take {}",
                    self.name,
                    ms(took)
                )),
                Err(other) => Err(self.instead(&other)),
            };
        }
        let said = self.ask(PATIENCE_MAX).await;
        let Knock::Answered(took, line) = &said else {
            return Err(self.instead(&said));
        };
        let still = match sign {
            Sign::Later(by) => *took >= usual.knock + (*by / 2).max(NOTICED),
            Sign::Says(word) => line.contains(word),
            _ => false,
        };
        if still {
            return Err(self.instead(&said));
        }
        Ok(format!("{} takes {}", self.what(), ms(*took)))
    }
}

/// Whether so many bytes took as long as they do at this rate, or half of that.
fn narrow(bytes: usize, took: Duration, rate: f64) -> bool {
    took.as_secs_f64() >= 0.5 * bytes as f64 / rate
}

async fn query(address: SocketAddr) -> Result<(), sqlx::Error> {
    let mut session = PgConnectOptions::new_without_pgpass()
        .host(&address.ip().to_string())
        .port(address.port())
        .username("drill")
        .database("postgres")
        .ssl_mode(PgSslMode::Disable)
        .disable_statement_logging()
        .connect()
        .await?;
    sqlx::raw_sql("SELECT key FROM things LIMIT 1")
        .execute(&mut session)
        .await?;
    session.close().await
}
