//! A drill while it runs, in a terminal: the clock, what is in force, how each client fares, and what was done.
//!
//! [`Scene`] is what is known, and draws itself; [`View`] is the terminal around it and the hand on the keyboard.

mod scene;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use seawall_drill::run::News;
use tokio::sync::watch;

use super::doing::leave;
pub(super) use scene::Scene;

/// It is drawn this often when nothing is told.
const FRAME: Duration = Duration::from_millis(150);

/// The terminal, for as long as a drill lasts; given back when it is dropped.
pub(super) struct View {
    scene: Scene,
    terminal: DefaultTerminal,
    stop: Arc<watch::Sender<bool>>,
    ticks: tokio::time::Interval,
    watching: Arc<AtomicBool>,
    hand: Option<std::thread::JoinHandle<()>>,
}

impl View {
    /// Takes the terminal; nothing when it is none that can be drawn on, and then plain lines will do.
    pub(super) fn open(scene: Scene, stop: Arc<watch::Sender<bool>>) -> Option<View> {
        let terminal = ratatui::try_init().ok()?;
        let watching = Arc::new(AtomicBool::new(true));
        let (told, still) = (stop.clone(), watching.clone());
        let hand = std::thread::Builder::new()
            .name("keys".to_owned())
            .spawn(move || keys(&told, &still))
            .ok();
        Some(View {
            scene,
            terminal,
            stop,
            ticks: tokio::time::interval(FRAME),
            watching,
            hand,
        })
    }

    /// Takes notice of something.
    pub(super) fn hear(&mut self, news: &News) {
        self.scene.hear(news);
    }

    /// Draws, in a while.
    pub(super) async fn wait(&mut self) {
        self.ticks.tick().await;
        self.scene.stopping = *self.stop.borrow();
        // A terminal that is gone shows nothing, and the drill goes on.
        let _ = self.terminal.draw(|frame| self.scene.draw(frame));
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.watching.store(false, Ordering::Release);
        if let Some(hand) = self.hand.take() {
            // It looks up every tenth of a second.
            let _ = hand.join();
        }
        ratatui::restore();
    }
}

/// Waits for a hand that wants an end. In a raw terminal Ctrl-C is a key and no signal.
fn keys(stop: &watch::Sender<bool>, watching: &AtomicBool) {
    while watching.load(Ordering::Acquire) {
        match event::poll(Duration::from_millis(100)) {
            Ok(true) => {}
            Ok(false) => continue,
            Err(_) => return,
        }
        let Ok(Event::Key(key)) = event::read() else {
            continue;
        };
        let control_c = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
        if key.kind != KeyEventKind::Press || !(control_c || key.code == KeyCode::Char('q')) {
            continue;
        }
        let again = stop.send_replace(true);
        if again && control_c {
            leave();
        }
    }
}
