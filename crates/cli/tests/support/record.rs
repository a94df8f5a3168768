//! A run that was recorded.

use std::fmt::Write as _;

/// A record of 200 seconds: 1000 calls a second, of which 800 are lost from the 60th to the 100th, while the cache hangs.
pub(crate) fn record() -> String {
    let mut csv = String::from("variant,run,time_s,metric,component,instance,value\n");
    let mut series = |metric: &str, component: &str, well: u32, ill: u32| {
        for second in 0..200 {
            let value = if (60..100).contains(&second) { ill } else { well };
            writeln!(csv, "plain,0,{},{metric},{component},,{value}", second + 1)
                .expect("a string takes what is written");
        }
    };
    series("cache_hits_total", "redis", 950, 0);
    series("cache_misses_total", "redis", 50, 0);
    series("probes_total", "redis", 1, 1);
    series(
        "\"probe_failures_total{reason=\"\"reply_timed_out\"\"}\"",
        "redis",
        0,
        1,
    );
    series(
        "\"probe_failures_total{reason=\"\"alive_timed_out\"\"}\"",
        "redis",
        0,
        1,
    );
    series("\"requests_total{outcome=\"\"fresh\"\"}\"", "web", 1_000, 200);
    series("\"requests_total{outcome=\"\"timeout\"\"}\"", "web", 0, 800);
    series("goodput_total", "web", 1_000, 200);
    csv
}
