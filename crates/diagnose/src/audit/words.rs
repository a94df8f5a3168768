//! Numbers as people read them, and as commands take them.

/// Bytes, with a unit of a thousand.
pub(super) fn bytes(count: f64) -> String {
    let units = [("GB", 1e9), ("MB", 1e6), ("kB", 1e3)];
    let unit = units.iter().find(|(_, size)| count >= *size);
    unit.map_or_else(
        || format!("{count:.0} bytes"),
        |(unit, size)| format!("{:.1} {unit}", count / size),
    )
}

/// A share in percent.
pub(super) fn share(share: f64) -> String {
    format!("{:.0}%", share * 100.0)
}

/// Whole megabytes, as `maxmemory` takes them.
pub(super) fn whole_megabytes(count: f64) -> String {
    format!("{}mb", (count / f64::from(1 << 20)).ceil().max(1.0) as u64)
}
