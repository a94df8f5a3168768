//! The terminal, for as long as a watch lasts; given back when it is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};

use super::scene::Scene;

/// It is drawn this often.
const FRAME: Duration = Duration::from_millis(250);

/// A terminal that is drawn on.
pub(super) struct Screen {
    pub(super) scene: Scene,
    terminal: DefaultTerminal,
    ticks: tokio::time::Interval,
    ended: Arc<AtomicBool>,
    watching: Arc<AtomicBool>,
    hand: Option<std::thread::JoinHandle<()>>,
}

impl Screen {
    /// Takes the terminal; nothing when it is none that can be drawn on, and then plain lines will do.
    pub(super) fn open() -> Option<Screen> {
        let terminal = ratatui::try_init().ok()?;
        let (ended, watching) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(true)));
        let (end, still) = (Arc::clone(&ended), Arc::clone(&watching));
        let hand = std::thread::Builder::new()
            .name("keys".to_owned())
            .spawn(move || keys(&end, &still))
            .ok();
        Some(Screen {
            scene: Scene::default(),
            terminal,
            ticks: tokio::time::interval(FRAME),
            ended,
            watching,
            hand,
        })
    }

    /// The next time to draw.
    pub(super) async fn frame(&mut self) {
        self.ticks.tick().await;
    }

    /// Draws. Whether somebody wants an end.
    pub(super) fn draw(&mut self) -> bool {
        // A terminal that is gone shows nothing, and the watch goes on.
        let _ = self.terminal.draw(|frame| self.scene.draw(frame));
        self.ended.load(Ordering::Acquire)
    }
}

impl Drop for Screen {
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
fn keys(end: &AtomicBool, watching: &AtomicBool) {
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
        if key.kind == KeyEventKind::Press && (control_c || key.code == KeyCode::Char('q')) {
            end.store(true, Ordering::Release);
        }
    }
}
