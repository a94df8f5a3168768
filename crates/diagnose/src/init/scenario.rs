//! What was measured, as a scenario: each number with where it comes from.

use std::fmt::Write as _;

use super::measure::Measured;
use super::popularity::{EXPONENT, Keys, Leaving, count, exponent};

/// What cannot be measured from outside.
#[derive(Clone, Debug, PartialEq)]
pub struct Assumed {
    /// Queries that the database works on at once at full speed.
    pub processors: f64,
    /// How long a client waits, in seconds.
    pub timeout: f64,
    /// Where it was measured, without secrets, for the heading.
    pub places: Vec<String>,
}

/// Requests a second that are simulated one by one in reasonable time; more are simulated as a share.
const RATE_MAX: f64 = 5_000.0;
/// Before the failure, while it lasts, and after it, in seconds.
const CALM: u64 = 30;
const GONE: u64 = 60;

/// The scenario. It says of itself what it expects in its first half minute: what was measured.
pub fn document(measured: &Measured, assumed: &Assumed) -> String {
    let mut out = String::new();
    let leaving = leaving(measured);
    let (keys, why) = keys(measured, leaving);
    head(&mut out, measured, assumed, leaving);
    clients(&mut out, measured, assumed, (keys, &why));
    cache(&mut out, measured, leaving);
    database(&mut out, measured, assumed);
    expectations(&mut out, measured);
    out
}

/// How entries leave: whichever takes more of them.
fn leaving(measured: &Measured) -> Leaving {
    let evicts = measured.evicted > measured.expired && measured.evicted > 0.1;
    match measured.ttl {
        Some(ttl) if !evicts => Leaving::Expired(ttl),
        _ => Leaving::Evicted(measured.entries.max(1.0)),
    }
}

fn keys(measured: &Measured, leaving: Leaving) -> (Keys, String) {
    let fitted = match (leaving, measured.untouched) {
        (Leaving::Expired(ttl), Some((idle, seen))) => {
            exponent(measured.lookups, measured.hit_rate, ttl, idle, seen)
        }
        _ => None,
    };
    let (exponent, by) = match (fitted, measured.untouched) {
        (Some(exponent), Some((idle, seen))) => (
            exponent,
            format!(
                "{:.0}% of entries were not asked for in {idle:.0} s (OBJECT IDLETIME)",
                seen * 100.0
            ),
        ),
        _ => (EXPONENT, "assumed: nothing measured tells it".to_owned()),
    };
    let keys = Keys {
        count: count(
            exponent,
            measured.lookups,
            measured.hit_rate.clamp(0.001, 0.999),
            leaving,
        )
        .max(1.0),
        exponent,
    };
    (keys, by)
}

fn head(out: &mut String, measured: &Measured, assumed: &Assumed, leaving: Leaving) {
    let _ = writeln!(
        out,
        "# Measured of {} for {:.0} s.",
        assumed.places.join(" and "),
        measured.window
    );
    out.push_str("# What could not be measured is called assumed: look at it first.\n");
    if let Some(past) = measured.past {
        let _ = writeln!(
            out,
            "# Before that, by Prometheus: {:.0} look-ups a second, {:.0} at the most. The peak is the worse time to lose a cache.",
            past.mean, past.peak
        );
    }
    out.push_str("title = \"The system as it was measured, and its cache gone for a minute\"\n\n[run]\n");
    let life = match leaving {
        Leaving::Expired(ttl) => ttl,
        Leaving::Evicted(_) => 60.0,
    };
    let after = (life * 1.5).clamp(60.0, 900.0).ceil() as u64;
    let _ = writeln!(out, "duration = \"{}s\"", CALM + GONE + after);
    out.push_str("warmup = \"5s\"\nseed = 1\nevery = \"1s\"\nprefilled = true # it was in full work\n");
    let scale = (RATE_MAX / measured.lookups).min(1.0);
    if scale < 1.0 {
        let _ = writeln!(
            out,
            "scale = {} # so that it takes seconds; 1 plays every request",
            figure(scale)
        );
    }
    out.push('\n');
}

fn clients(out: &mut String, measured: &Measured, assumed: &Assumed, (keys, why): (Keys, &str)) {
    let _ = write!(
        out,
        "[client.readers]\ncalls = \"app\"\n\
         rate = \"{}/s\" # look-ups (keyspace_hits and keyspace_misses of INFO): each is taken for a read\n\
         # As many keys as make the hit rate that was measured, {:.1}%. The exponent: {why}.\n\
         keys = {{ zipf = {{ count = {:.0}, exponent = {} }} }}\n\
         timeout = \"{}\" # assumed\nretries = 0 # assumed; retries make everything below worse\n\n",
        figure(measured.lookups),
        measured.hit_rate * 100.0,
        keys.count,
        keys.exponent,
        span(assumed.timeout),
    );
    let other = others(measured);
    if other > 0.0 {
        let _ = write!(
            out,
            "# The database had {} more transactions a second than there were misses.\n\
             [client.others]\ncalls = \"direct\"\nrate = \"{}/s\"\nkeys = {{ uniform = {{ count = 1000000 }} }}\n\
             timeout = \"{}\" # assumed\n\n[service.direct]\ninstances = 1\nthreads = 10000\norigin = \"postgres\"\n\n",
            figure(other),
            figure(other),
            span(assumed.timeout),
        );
    }
    let instances = measured.instances.max(1);
    let _ = write!(
        out,
        "[service.app]\ninstances = {instances} # machines that clients of the cache come from (CLIENT LIST)\n\
         threads = {} # assumed: as many as all reads of a second need\nqueue = 1000 # assumed\n\
         caches = [\"redis\"]\n{}\n\n",
        (measured.lookups / instances as f64).ceil().clamp(10.0, 10_000.0),
        if measured.database.is_some() {
            "origin = \"postgres\""
        } else {
            "origin = \"postgres\" # not measured"
        },
    );
}

/// Transactions that no miss explains.
fn others(measured: &Measured) -> f64 {
    let misses = measured.lookups * (1.0 - measured.hit_rate);
    let more = measured
        .database
        .as_ref()
        .map_or(0.0, |database| database.requests - misses);
    if more > misses * 0.05 && more > 1.0 {
        more
    } else {
        0.0
    }
}

fn cache(out: &mut String, measured: &Measured, leaving: Leaving) {
    let nodes = measured.nodes.max(1);
    let _ = writeln!(out, "[cache.redis]\nnodes = {nodes} # addresses that were given");
    match leaving {
        Leaving::Expired(ttl) => {
            let _ = writeln!(
                out,
                "ttl = \"{}\" # the longest that was left of {} keys that were looked at, and a little",
                span(ttl),
                measured.seen
            );
        }
        Leaving::Evicted(entries) => {
            let _ = writeln!(
                out,
                "capacity = {:.0} # entries of a node: it is full, and evicts {:.0} a second",
                (entries / nodes as f64).max(1.0),
                measured.evicted
            );
            if let Some(ttl) = measured.ttl {
                let _ = writeln!(
                    out,
                    "ttl = \"{}\" # of {} keys that were looked at",
                    span(ttl),
                    measured.seen
                );
            }
        }
    }
    if measured.forever > 0.01 {
        let _ = writeln!(
            out,
            "# {:.0}% of the keys that were looked at have no end.",
            measured.forever * 100.0
        );
    }
    let _ = write!(
        out,
        "latency = \"{}\" # the median of PING, from here\ntimeout = \"500ms\" # assumed\n",
        span(measured.reply.max(1e-5))
    );
    if measured.clients_limit > 0.0 {
        let _ = writeln!(out, "max_clients = {:.0} # maxclients", measured.clients_limit);
    }
    let _ = write!(
        out,
        "# {:.0} entries (with those that have expired and are not taken out yet), {:.0} written, {:.0} expired and {:.0} evicted a second.\n\n",
        measured.entries, measured.sets, measured.expired, measured.evicted
    );
}

fn database(out: &mut String, measured: &Measured, assumed: &Assumed) {
    let none = super::measure::Database::default();
    let database = measured.database.as_ref().unwrap_or(&none);
    let (inside, why) = match database.service {
        Some(service) => (
            service.max(1e-5),
            "the mean of all transactions inside the server (pg_stat_database)",
        ),
        None => (0.002, "assumed: there were too few transactions"),
    };
    let _ = writeln!(
        out,
        "[database.postgres]\nservice_time = {} # {}: {why}{}",
        law(inside, database.reply),
        span(inside),
        database.reply.map_or_else(String::new, |(median, _)| format!(
            "; and {}: the median of SELECT 1 from here, the network and what stands before the server",
            span(median)
        ))
    );
    if database.limit > 0.0 {
        let _ = writeln!(
            out,
            "connections = {:.0} # max_connections without those reserved; {:.0} were open",
            database.limit, database.sessions
        );
    }
    let _ = write!(
        out,
        "capacity = \"{}/s\" # assumed: {} queries at once at full speed. This decides what a lost cache does; a load test tells it\n\
         timeout = \"10s\" # assumed\n\n",
        figure(assumed.processors / inside),
        figure(assumed.processors)
    );
}

/// How long callers wait: the work inside the server, and the way there and back. Work is taken to be exponential, and so is a
/// way whose mean is far from its median; another is the same each time.
fn law(inside: f64, reply: Option<(f64, f64)>) -> String {
    let (median, mean) = reply.unwrap_or_default();
    if median <= inside {
        return format!("{{ exponential = \"{}\" }}", span(inside + median));
    }
    if mean > 1.3 * median {
        return format!("{{ exponential = \"{}\" }}", span(inside + mean));
    }
    format!("\"{}\"", span(inside + median))
}

fn expectations(out: &mut String, measured: &Measured) {
    let _ = write!(
        out,
        "[[timeline]]\nat = \"{CALM}s\"\nfor = \"{GONE}s\"\non = \"redis\"\nfault = \"kill\"\nnote = \"and comes back empty\"\n\n"
    );
    let near = |value: f64| (value * 0.9, value * 1.1);
    let (low, high) = near(measured.hit_rate * 100.0);
    let _ = write!(
        out,
        "# What was measured is what is predicted before the failure.\n\
         [[expect]]\nthat = \"the hit rate is the one that was measured\"\nmetric = \"cache_hit_rate\"\nof = \"redis\"\n\
         over = [\"0s\", \"{CALM}s\"]\nmean = {{ between = [\"{}%\", \"{}%\"] }}\n\n",
        figure(low),
        figure(high.min(100.0))
    );
    let misses = measured.lookups * (1.0 - measured.hit_rate);
    let (low, high) = near(misses + others(measured));
    let _ = write!(
        out,
        "[[expect]]\nthat = \"and so is the database's load\"\nmetric = \"origin_requests_total\"\nof = \"postgres\"\n\
         over = [\"0s\", \"{CALM}s\"]\nmean = {{ between = [\"{}/s\", \"{}/s\"] }}\n",
        figure(low),
        figure(high)
    );
}

/// Four digits, as people write numbers.
fn figure(value: f64) -> String {
    if value <= 0.0 {
        return "0".to_owned();
    }
    let digits = 3 - libm::floor(libm::log10(value)) as i32;
    if digits <= 0 {
        let unit = libm::pow(10.0, f64::from(-digits));
        return format!("{:.0}", libm::round(value / unit) * unit);
    }
    let text = format!("{value:.*}", digits as usize);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A length of time with a unit.
fn span(secs: f64) -> String {
    let (unit, size) = match secs {
        _ if secs >= 1.0 => ("s", 1.0),
        _ if secs >= 1e-3 => ("ms", 1e-3),
        _ => ("us", 1e-6),
    };
    format!("{}{unit}", figure(secs / size))
}

#[cfg(test)]
mod tests {
    use seawall_scenario::Document;

    use super::super::measure::{Database, Past};
    use super::super::popularity::hit_rate;
    use super::*;

    fn measured() -> Measured {
        Measured {
            window: 10.0,
            nodes: 1,
            lookups: 1_234.0,
            hit_rate: 0.83,
            sets: 210.0,
            expired: 200.0,
            entries: 12_000.0,
            memory: 1e7,
            clients_limit: 10_000.0,
            reply: 0.000_31,
            instances: 2,
            clients: 20,
            seen: 1_000,
            ttl: Some(60.02),
            database: Some(Database {
                requests: 400.0,
                service: Some(0.001_5),
                reply: Some((0.000_4, 0.000_5)),
                sessions: 30.0,
                limit: 97.0,
            }),
            past: Some(Past {
                mean: 900.0,
                peak: 2_000.0,
            }),
            ..Measured::default()
        }
    }

    fn assumed() -> Assumed {
        Assumed {
            processors: 8.0,
            timeout: 2.0,
            places: vec!["redis://c:6379".into(), "postgres://d:5432/x".into()],
        }
    }

    #[test]
    fn it_is_a_scenario_in_each_case() {
        let whole = measured();
        let full = Measured {
            ttl: None,
            evicted: 90.0,
            expired: 0.0,
            ..measured()
        };
        let little = Measured {
            database: None,
            past: None,
            instances: 0,
            ttl: None,
            hit_rate: 0.0,
            ..measured()
        };
        let large = Measured {
            lookups: 3.0e6,
            nodes: 16,
            hit_rate: 0.9999,
            ..measured()
        };
        for measured in [whole, full, little, large] {
            let text = document(&measured, &assumed());
            let read = Document::parse("now.toml", &text);
            let read = read.unwrap_or_else(|mistakes| panic!("{mistakes}\n{text}"));
            for variant in read.variants() {
                read.scenario(variant, &[])
                    .unwrap_or_else(|mistakes| panic!("{mistakes}\n{text}"));
            }
        }
    }

    #[test]
    fn each_number_says_where_it_comes_from() {
        let text = document(&measured(), &assumed());
        for line in [
            "rate = \"1234/s\" # look-ups",
            "ttl = \"60.02s\" # the longest",
            "latency = \"310us\" # the median of PING",
            "service_time = { exponential = \"1.9ms\" } # 1.5ms: the mean of all transactions inside",
            "; and 400us: the median of SELECT 1 from here",
            "connections = 97 # max_connections",
            "capacity = \"5333/s\" # assumed",
            "rate = \"190.2/s\"",
            "900 look-ups a second, 2000 at the most",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn the_way_to_a_database_is_a_part_of_how_long_it_takes() {
        assert_eq!(law(0.002, None), "{ exponential = \"2ms\" }");
        assert_eq!(law(0.002, Some((0.001, 0.001))), "{ exponential = \"3ms\" }");
        assert_eq!(law(0.000_1, Some((0.02, 0.021))), "\"20.1ms\"");
        assert_eq!(law(0.000_1, Some((0.0139, 0.02))), "{ exponential = \"20.1ms\" }");
    }

    #[test]
    fn its_keys_make_the_hit_rate() {
        let measured = measured();
        let (keys, _) = keys(&measured, Leaving::Expired(60.0));
        let made = hit_rate(keys, measured.lookups, Leaving::Expired(60.0));
        assert!((made - measured.hit_rate).abs() < 0.002, "{made}");
    }
}
