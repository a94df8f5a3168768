//! How the settings of each protection are spelled. The settings themselves belong to the protections.

use serde_json::{Value as Json, json};

use seawall_core::limit::Mode;
use seawall_core::time::Span;
use seawall_core::{
    breaker, coalesce, deadline, early, lease, limit, queue, rate, retry, shed, sketch, stale, throttle, ttl,
    warm,
};

use crate::element::{element, settings, tagged};
use crate::form::{Count, Duration, Factor, Flag, Form, Maybe, Number, Period, Rate, Share};
use crate::node::{Node, Value};
use crate::reader::Reader;
use crate::units;

settings! {
    /// Stops asking what does not answer.
    breaker::Settings, "a breaker", check = check_breaker {
        /// Opens after this many failures in a row, all within `window`; 0 switches this rule off.
        failures: Count;
        /// The window in which failures, calls and slow calls are counted.
        window: Duration;
        /// Opens when this share of the calls in the window failed.
        failure_rate: Maybe<Share>;
        /// A call that takes longer than this is slow.
        slow_call: Maybe<Duration>;
        /// Opens when this share of the calls in the window was slow.
        slow_rate: Share;
        /// How many calls the window must hold before a share of them means anything.
        minimum_calls: Count;
        /// How long it stays open the first time.
        open_for: Period;
        /// Each opening in a row lasts this many times as long as the one before.
        backoff: Factor;
        /// The longest that it stays open.
        open_max: Period;
        /// How many calls are let through at a time while half open; all of them must succeed to close it.
        probes: Count<1>;
        /// After closing, the share of calls let through grows from nothing to all over this time.
        ramp: Duration;
    }
}

fn check_breaker(cx: &mut Reader, node: &Node, settings: &mut breaker::Settings) {
    let rates = settings.failure_rate.is_some() || settings.slow_call.is_some();
    if node.field("failures").is_some() && settings.failures > 0 && node.field("window").is_none() {
        cx.mistake(
            node.at_field("failures"),
            "a number of failures means nothing without the time in which they are counted",
            "a count needs a window",
            "add `window = \"10s\"`",
        );
    } else if settings.window.is_zero() && (settings.failures > 0 || rates) {
        cx.mistake(
            node.at_field("window"),
            "a breaker counts in a window",
            "a count needs a window",
            "make it longer than nothing, such as \"10s\"",
        );
    }
    if settings.failures == 0 && !rates {
        cx.mistake(
            node.at_field("failures"),
            "this breaker never opens",
            "no rule left",
            "set `failures`, `failure_rate` or `slow_call`, or switch it off with `on = false`",
        );
    }
    if settings.open_max < settings.open_for {
        if node.field("open_max").is_some() {
            cx.mistake(
                node.at_field("open_max"),
                "the longest time open is shorter than the first one",
                "too short",
                format!("make it at least {}", settings.open_for),
            );
        }
        settings.open_max = settings.open_for;
    }
}

settings! {
    /// Many misses of one key, one load.
    coalesce::Settings, "`coalesce`" {
        /// For how long after a load ended its result is still shared.
        window: Duration;
        /// A load older than this is joined by nobody.
        age_max: Period;
        /// A request waits this long for another's load.
        wait_max: Period;
        /// At most this many requests wait for one load.
        waiters_max: Count<1>;
    }
}

settings! {
    /// One load a key over the whole fleet.
    lease::Settings, "`lease`" {
        /// A lease that was not given back ends after this time.
        hold: Period;
        /// Who did not get the lease looks into the cache again after this time.
        poll: Period;
        /// After this time without an answer it loads by itself.
        wait_max: Period;
    }
}

settings! {
    /// How long entries are kept.
    ttl::Settings, "`ttl`" {
        /// The TTL of a class that has none of its own; the cache's own TTL when absent.
        ttl: Maybe<Period>;
        /// The TTL of critical entries.
        critical: Maybe<Period>;
        /// The TTL of important entries.
        important: Maybe<Period>;
        /// The TTL of regular entries.
        regular: Maybe<Period>;
        /// Shortens each TTL at random: up to a share of it ("10%"), or up to a time ("5s").
        jitter: Maybe<JitterForm>;
        /// An entry is refreshed at an instant of its own in the last part of its life that is this long.
        stagger: Maybe<Period>;
        /// How long "there is no such thing" is remembered.
        negative: Maybe<Period>;
    }
}

/// A share, or a time.
struct JitterForm;

impl Form for JitterForm {
    type Out = ttl::Jitter;
    fn read(cx: &mut Reader, node: &Node) -> Option<ttl::Jitter> {
        if let Value::Text(text) = &node.value
            && let Ok(span) = units::duration(text)
        {
            return Some(ttl::Jitter::Up(span));
        }
        Share::read(cx, node).map(ttl::Jitter::Share)
    }
    fn schema() -> Json {
        json!({ "anyOf": [Share::schema(), Duration::schema()] })
    }
    fn spell(out: &ttl::Jitter) -> Json {
        match out {
            ttl::Jitter::Share(share) => json!(share),
            ttl::Jitter::Up(span) => Duration::spell(span),
        }
    }
}

settings! {
    /// The odd reader refreshes an entry before it expires, the more likely the nearer the end (XFetch).
    early::Settings, "`early`" {
        /// 1 is optimal; more is earlier.
        beta: Number;
    }
}

settings! {
    /// Stale answers, within bounds.
    stale::Settings, "`stale`" {
        /// An entry this long past its freshness is served while it is refreshed in the background.
        while_revalidating: Duration;
        /// An entry this long past its freshness is served when its refresh fails.
        on_error: Duration;
        /// At most this many background refreshes run at a time, per instance.
        refreshes_max: Count<1>;
    }
}

settings! {
    /// One budget of time for a request.
    deadline::Settings, "`deadline`" {
        /// The whole request, from its arrival.
        total: Maybe<Period>;
        /// One look-up in a shared cache.
        cache: Maybe<Period>;
        /// After this long a reader of a load is answered stale, and the load goes on.
        soft: Maybe<Period>;
        /// After this long a load is given up.
        hard: Maybe<Period>;
        /// Whether work is stopped when nobody waits for its result any more.
        cancel: Flag;
    }
}

settings! {
    /// How failed loads are tried again.
    retry::Settings, "`retry`" {
        /// All attempts, the first one included.
        attempts: Count<1>;
        /// The ceiling of the pause before the first retry; it doubles with each.
        backoff: Duration;
        /// The highest ceiling.
        backoff_max: Duration;
        /// Draw the pause evenly between nothing and the ceiling.
        jitter: Flag;
        /// Retries may be at most this share of calls; "none" is a storm in waiting.
        budget: Maybe<Share>;
        /// The budget never falls below this many retries a second.
        budget_min: Number;
    }
}

settings! {
    /// The bounded queue of requests at the door.
    queue::Settings, "`queue`" {
        /// How many may wait.
        places: Count;
        /// Who has waited this long is shed.
        timeout: Period;
        /// Who is served next.
        order: queue::Order;
        /// Sheds from a queue that stands.
        codel: Maybe<CodelForm>;
    }
}

/// CoDel's two times.
struct CodelForm;

impl Form for CodelForm {
    type Out = queue::Codel;
    fn read(cx: &mut Reader, node: &Node) -> Option<queue::Codel> {
        let table = CodelTable::read(cx, node)?;
        Some(queue::Codel {
            target: table.target,
            interval: table.interval,
        })
    }
    fn schema() -> Json {
        CodelTable::schema()
    }
    fn spell(out: &queue::Codel) -> Json {
        json!({ "target": Duration::spell(&out.target), "interval": Duration::spell(&out.interval) })
    }
}

element! {
    /// CoDel (RFC 8289), for requests.
    struct CodelTable, "`codel`" {
        /// The wait that is fine.
        target: Span, default Period = Span::millis(5);
        /// Waits above the target for this long mean that the queue stands.
        interval: Span, default Period = Span::millis(100);
    }
}

settings! {
    /// How many calls may be inside the origin, from one instance.
    limit::Settings, "`limit`", check = check_limit {
        /// How the limit is found: fixed, or adaptive.
        mode: limit::Mode;
        /// The floor of an adaptive limit.
        min: Count<1>;
        /// The limit, or the ceiling of an adaptive one.
        max: Count<1>;
        /// Where an adaptive limit begins.
        initial: Count<1>;
        /// How many may wait for a place.
        places: Count;
        /// Who has waited this long for a place is shed.
        timeout: Duration;
    }
}

tagged! {
    Mode => Mode, "a mode" {
        /// It is `max`, always.
        "fixed" = Fixed;
        /// Additive increase, multiplicative decrease.
        "aimd" = Aimd { latency: Period, decrease: Share = 0.8 };
        /// Follows the ratio of the lowest latency seen to the latency now.
        "gradient" = Gradient { tolerance: Factor = 2.0 };
    }
}

fn check_limit(cx: &mut Reader, node: &Node, settings: &mut limit::Settings) {
    if settings.min > settings.max {
        cx.mistake(
            node.at_field("min"),
            "the floor is above the ceiling",
            "too large",
            format!("make it at most {}", settings.max),
        );
        return;
    }
    let initial = settings.initial.clamp(settings.min, settings.max);
    if initial != settings.initial && node.field("initial").is_some() {
        cx.mistake(
            node.at_field("initial"),
            "the limit begins outside its bounds",
            "out of range",
            format!("begin between {} and {}", settings.min, settings.max),
        );
    }
    settings.initial = initial;
}

settings! {
    /// How many requests a second are let in.
    rate::Settings, "`rate`", check = check_rate {
        /// The rate; where an adaptive one begins.
        rate: Rate;
        /// How many may come at once; a tenth of a second's worth when absent.
        burst: Number;
        /// Moves the rate between two bounds by what became of the calls.
        adaptive: Maybe<AdaptiveForm>;
    }
}

fn check_rate(_: &mut Reader, node: &Node, settings: &mut rate::Settings) {
    if node.field("rate").is_some() && node.field("burst").is_none() {
        settings.burst = (settings.rate / 10.0).max(1.0);
    }
    if let Some(adaptive) = &settings.adaptive {
        settings.rate = if node.field("rate").is_some() {
            settings.rate
        } else {
            adaptive.max
        };
        settings.rate = settings.rate.clamp(adaptive.min, adaptive.max);
    }
}

/// How a rate is written.
fn per_second(rate: f64) -> String {
    format!("{rate}/s")
}

/// How the mode of a limit is written.
pub(crate) fn spell_mode(mode: &limit::Mode) -> Json {
    match mode {
        Mode::Fixed => json!("fixed"),
        Mode::Aimd { latency, decrease } => {
            json!({ "aimd": { "latency": Duration::spell(latency), "decrease": decrease } })
        }
        Mode::Gradient { tolerance } => json!({ "gradient": { "tolerance": tolerance } }),
    }
}

/// The bounds of an adaptive rate.
struct AdaptiveForm;

impl Form for AdaptiveForm {
    type Out = rate::Adaptive;
    fn read(cx: &mut Reader, node: &Node) -> Option<rate::Adaptive> {
        let table = AdaptiveTable::read(cx, node)?;
        if table.min <= table.max {
            return Some(rate::Adaptive {
                min: table.min,
                max: table.max,
                window: table.window,
                failures: table.failures,
            });
        }
        cx.mistake(
            node.at_field("min"),
            "the lowest rate is above the highest",
            "too large",
            "make it smaller than `max`",
        );
        None
    }
    fn schema() -> Json {
        AdaptiveTable::schema()
    }
    fn spell(out: &rate::Adaptive) -> Json {
        json!({
            "min": per_second(out.min),
            "max": per_second(out.max),
            "window": Duration::spell(&out.window),
            "failures": out.failures
        })
    }
}

element! {
    /// Moves a rate between two bounds.
    struct AdaptiveTable, "`adaptive`" {
        /// The lowest rate.
        min: f64, default Rate = 10.0;
        /// The highest rate.
        max: f64, default Rate = 1_000.0;
        /// How often it moves, and the window it looks back on.
        window: Span, default Period = Span::secs(60);
        /// The share of failed calls in a window above which the rate falls.
        failures: f64, default Share = 0.1;
    }
}

settings! {
    /// Lets through a share of the reads while the origin is slow or the cache is gone; writes always pass.
    throttle::Settings, "`throttle`", check = check_throttle {
        /// The origin is slow above this (99th percentile).
        latency: Maybe<Period>;
        /// Also throttle as long as the cache is reported down.
        on_cache_down: Flag;
        /// How often it decides.
        every: Period;
        /// Each decision to close multiplies the share by this.
        decrease: Share;
        /// Each decision to open adds this to the share.
        increase: Share;
        /// The share never falls below this.
        min: Share;
        /// All must have been well for this long before it opens by a step.
        hold: Duration;
    }
}

fn check_throttle(cx: &mut Reader, node: &Node, settings: &mut throttle::Settings) {
    if settings.latency.is_none() && !settings.on_cache_down {
        cx.mistake(
            node.at_field("latency"),
            "this throttle never closes",
            "no rule left",
            "set `latency`, or `on_cache_down = true`, or switch it off with `on = false`",
        );
    }
    if settings.increase <= 0.0 {
        cx.mistake(
            node.at_field("increase"),
            "this throttle never opens again",
            "out of range",
            "make it more than nothing, such as \"5%\"",
        );
    }
}

settings! {
    /// Shedding by priority, in levels with hysteresis.
    shed::Settings, "`shed`" {
        /// The utilization at which level 1 begins.
        threshold: Share;
        /// How many levels there are.
        levels: Levels;
        /// A level is left when utilization is this much below where it begins.
        hysteresis: Share;
        /// How long utilization must stay there before a level is left.
        hold: Duration;
    }
}

/// A number of levels.
struct Levels;

impl Form for Levels {
    type Out = u8;
    fn read(cx: &mut Reader, node: &Node) -> Option<u8> {
        let levels = Count::<1>::read(cx, node)?;
        if levels <= 10 {
            return Some(levels as u8);
        }
        cx.mistake(
            node.at,
            "these are too many levels",
            "out of range",
            "use at most 10",
        );
        None
    }
    fn schema() -> Json {
        json!({ "type": "integer", "minimum": 1, "maximum": 10 })
    }
    fn spell(out: &u8) -> Json {
        json!(out)
    }
}

settings! {
    /// Refilling a cold cache at a pace, the most popular keys first.
    warm::Settings, "`warm`" {
        /// Loads a second, over all instances of the service.
        pace: Rate;
        /// Keep the keys that bring this share of the traffic.
        threshold: Share;
        /// The window over which popularity is counted.
        window: Period;
        /// Begin by itself when a cache comes back empty; otherwise only when told to.
        automatic: Flag;
    }
}

settings! {
    /// Keeping hot keys in each instance's memory.
    sketch::Settings, "`hot`" {
        /// A key that brings at least this share of an instance's reads is hot.
        share: Share;
        /// How long a hot key is kept.
        ttl: Period;
        /// The window over which reads are counted.
        window: Period;
    }
}
