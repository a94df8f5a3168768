//! Early refresh: the odd reader refreshes an entry before it expires, the more likely the nearer the end (XFetch).

/// How eagerly entries are refreshed early.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// 1 is optimal for exponential gaps; more is earlier.
    pub beta: f64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { beta: 1.0 }
    }
}
