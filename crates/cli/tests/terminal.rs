//! `seawall watch` in a terminal: what its screen shows, and how it leaves it. The terminal is a real one of the kernel's, and
//! what is written to it is read as a terminal reads it. The machine needs `setsid`.

#![allow(
    clippy::unwrap_used,
    reason = "a test may panic, and its helpers are not marked as tests"
)]
#![expect(clippy::disallowed_methods, reason = "a terminal lives in real time")]

#[path = "support/record.rs"]
mod record;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::num::NonZero;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};

const PATIENCE: Duration = Duration::from_mins(1);
/// Opening it does not make it ours (`O_NOCTTY` of Linux).
const NO_CONTROL: i32 = 0o400;

/// A terminal of so many columns and rows, and a watch in it.
struct Terminal {
    child: Child,
    keys: File,
    line: File,
    shown: Arc<Mutex<vt100::Parser>>,
    /// How the line was set before.
    before: String,
    folder: PathBuf,
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn cells(number: u16) -> NonZero<u16> {
    NonZero::new(number).expect("a terminal has some")
}

/// How a line is set, to be compared.
fn settings(line: &File) -> String {
    let set = tcgetattr(line).unwrap();
    format!(
        "{:?} {:?} {:?} {:?}",
        set.input_modes, set.output_modes, set.control_modes, set.local_modes
    )
}

impl Terminal {
    /// Plays a record in which a cache hangs from the 60th second to the 100th.
    fn watching(name: &str, columns: u16, rows: u16) -> Terminal {
        let folder = std::env::temp_dir().join(format!("seawall-terminal-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let run = folder.join("run.csv");
        fs::write(&run, record::record()).unwrap();
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let path = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let mut open = File::options();
        open.read(true).write(true).custom_flags(NO_CONTROL);
        let line = open.open(path).unwrap();
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&line, size).unwrap();
        let before = settings(&line);
        let child = Command::new("setsid")
            .args([
                "--ctty",
                env!("CARGO_BIN_EXE_seawall"),
                "watch",
                "--source-record",
            ])
            .arg(&run)
            .args([
                "--from",
                "40",
                "--speed",
                "20",
                "--began",
                "2026-11-22T02:00:00Z",
                "--state",
            ])
            .arg(folder.join("state"))
            .env("TERM", "xterm-256color")
            .env_remove("NO_COLOR")
            .stdin(line.try_clone().unwrap())
            .stdout(line.try_clone().unwrap())
            .stderr(line.try_clone().unwrap())
            .spawn()
            .unwrap();
        let keys = File::from(master);
        let mut written = keys.try_clone().unwrap();
        let shown = Arc::new(Mutex::new(vt100::Parser::new(cells(rows), cells(columns), 0)));
        let seen = shown.clone();
        std::thread::spawn(move || {
            let mut bytes = [0; 4_096];
            while let Ok(read) = written.read(&mut bytes) {
                seen.lock().unwrap().process(&bytes[..read]);
            }
        });
        Terminal {
            child,
            keys,
            line,
            shown,
            before,
            folder,
        }
    }

    /// The rows of the screen.
    fn rows(&self) -> Vec<String> {
        let shown = self.shown.lock().unwrap();
        let (_, columns) = shown.screen().size();
        shown.screen().rows(0, columns.get()).collect()
    }

    /// Waits until all of this is on the screen at once; the screen.
    fn until(&self, wanted: &[&str]) -> Vec<String> {
        let begun = Instant::now();
        loop {
            let rows = self.rows();
            let text = rows.join("\n");
            if wanted.iter().all(|wanted| text.contains(wanted)) {
                return rows;
            }
            assert!(begun.elapsed() < PATIENCE, "{wanted:?} is not on\n{text}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for its end in order, and sees to it that the terminal is as it was.
    fn left(mut self) {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "it does not end:\n{}",
                self.rows().join("\n")
            );
            std::thread::sleep(Duration::from_millis(20));
        };
        assert_eq!(
            settings(&self.line),
            self.before,
            "keys are echoed and read by lines again"
        );
        // What it wrote last may still be on its way.
        let begun = Instant::now();
        let is_left = || {
            let shown = self.shown.lock().unwrap();
            !shown.screen().alternate_screen() && !shown.screen().hide_cursor()
        };
        while !is_left() {
            assert!(begun.elapsed() < PATIENCE, "the screen is not given back");
            std::thread::sleep(Duration::from_millis(20));
        }
        // One when the incident was under way.
        assert!(matches!(status.code(), Some(0 | 1)), "{status:?}");
    }
}

/// What is on the screen while the cache hangs.
const HUNG: [&str; 5] = [
    "P0 hung of redis",
    "why",
    "what to do",
    "what happened",
    "q or Ctrl-C: end",
];

#[test]
fn a_small_terminal_shows_all_that_matters_and_is_given_back() {
    let mut terminal = Terminal::watching("small", 80, 24);
    let rows = terminal.until(&HUNG);
    let text = rows.join("\n");
    assert!(rows[0].starts_with("P0 hung of redis ("), "{text}");
    assert!(rows[1].starts_with("80% of the calls are lost"), "{text}");
    for part in [
        "right answers: 200 of 1000/s",
        "hit rate: 0%",
        "1. ",
        "+ ",
        "detected: hung of redis",
    ] {
        assert!(text.contains(part), "{part} is not on\n{text}");
    }
    assert!(
        rows[23].starts_with("q or Ctrl-C: end   2026-11-22 02:01:"),
        "{text}"
    );
    terminal.keys.write_all(b"\x03").unwrap();
    terminal.left();
}

#[test]
fn a_tiny_terminal_shows_the_verdict_and_what_to_do() {
    let mut terminal = Terminal::watching("tiny", 40, 20);
    let rows = terminal.until(&HUNG);
    let text = rows.join("\n");
    assert!(rows[0].starts_with("P0 hung of redis"), "{text}");
    assert!(rows[19].starts_with("q or Ctrl-C: end"), "{text}");
    for part in ["1. ", "+ ", "detected: hung of redis"] {
        assert!(text.contains(part), "{part} is not on\n{text}");
    }
    terminal.keys.write_all(b"q").unwrap();
    terminal.left();
}

#[test]
fn a_terminal_is_given_back_to_who_sends_a_signal() {
    for signal in [Signal::INT, Signal::TERM] {
        let terminal = Terminal::watching(if signal == Signal::INT { "int" } else { "term" }, 80, 24);
        terminal.until(&["q or Ctrl-C: end"]);
        kill_process(Pid::from_child(&terminal.child), signal).unwrap();
        terminal.left();
    }
}
