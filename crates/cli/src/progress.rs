//! A bar on the standard error stream for what takes more than a second; silent when that is no terminal.

use std::io::{IsTerminal, stderr};
use std::sync::OnceLock;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Parts of the whole, fine enough for a smooth bar.
const STEPS: u64 = 1000;
/// How long nothing is shown.
const PATIENCE: Duration = Duration::from_secs(1);

/// The bar; it is only made when there is something to wait for.
pub(crate) struct Progress {
    started: std::time::Instant,
    bar: OnceLock<ProgressBar>,
    visible: bool,
    what: String,
}

impl Progress {
    /// A bar for something, in a few words.
    #[expect(
        clippy::disallowed_methods,
        reason = "a person waits in real time, not in virtual time"
    )]
    pub(crate) fn new(what: &str) -> Progress {
        Progress {
            started: std::time::Instant::now(),
            bar: OnceLock::new(),
            visible: stderr().is_terminal(),
            what: what.to_owned(),
        }
    }

    /// Shows the share that is done.
    pub(crate) fn show(&self, share: f64) {
        if self.visible && self.started.elapsed() >= PATIENCE {
            let bar = self.bar.get_or_init(|| bar(&self.what));
            bar.set_position((share.clamp(0.0, 1.0) * STEPS as f64) as u64);
        }
    }

    /// Takes the bar away.
    pub(crate) fn end(self) {
        if let Some(bar) = self.bar.get() {
            bar.finish_and_clear();
        }
    }
}

fn bar(what: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(STEPS), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{msg} {wide_bar} {percent}% {eta} left");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_message(what.to_owned());
    bar
}
