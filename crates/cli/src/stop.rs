//! Why a command ended early, and with which exit status.

use std::fmt::Write;
use std::io::{IsTerminal, Write as _, stderr};
use std::process::ExitCode;

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme};
use seawall_scenario::{Mistake, Mistakes};

/// Why a command ended early.
pub(crate) enum Stop {
    /// The document is wrong: every mistake with its place.
    Document(Mistakes),
    /// What was typed is wrong: each mistake with its place.
    Mistakes(Vec<Mistake>),
    /// Another input is wrong: what, and how to mend it.
    Input(String, String),
    /// It could not be done: what, and why.
    Failed(String),
}

impl Stop {
    /// Exit status 2 for wrong input, 3 for what could not be done.
    pub(crate) fn status(&self) -> ExitCode {
        match self {
            Stop::Document(_) | Stop::Mistakes(_) | Stop::Input(..) => ExitCode::from(2),
            Stop::Failed(_) => ExitCode::from(3),
        }
    }

    /// In one line.
    pub(crate) fn brief(&self) -> String {
        match self {
            Stop::Document(mistakes) => mistakes.to_string(),
            Stop::Mistakes(mistakes) => mistakes.first().map_or_else(String::new, ToString::to_string),
            Stop::Input(what, _) | Stop::Failed(what) => what.replace('\n', "; "),
        }
    }

    /// Says it on the standard error stream. Nobody is left to tell when that is closed.
    pub(crate) fn tell(&self) {
        let text = match self {
            Stop::Document(mistakes) => whole(mistakes),
            Stop::Mistakes(mistakes) => rendered(mistakes),
            Stop::Input(what, help) => format!("error: {what}\n  help: {help}\n"),
            Stop::Failed(what) => format!("error: {what}\n"),
        };
        let _ = stderr().write_all(text.as_bytes());
    }
}

impl From<Mistakes> for Stop {
    fn from(mistakes: Mistakes) -> Stop {
        Stop::Document(mistakes)
    }
}

fn whole(mistakes: &Mistakes) -> String {
    let mut text = rendered(mistakes.list());
    let _ = writeln!(text, "error: {mistakes}");
    if mistakes.more() > 0 {
        let _ = writeln!(text, "  {} more are not shown; mend these first", mistakes.more());
    }
    text
}

fn rendered(mistakes: &[Mistake]) -> String {
    let theme = if stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        GraphicalTheme::unicode()
    } else {
        GraphicalTheme::unicode_nocolor()
    };
    let handler = GraphicalReportHandler::new_themed(theme).with_links(false);
    let mut text = String::new();
    for mistake in mistakes {
        let start = text.len();
        if handler
            .render_report(&mut text, mistake as &dyn Diagnostic)
            .is_err()
        {
            text.truncate(start);
            let _ = writeln!(text, "{mistake}");
        }
    }
    text
}
