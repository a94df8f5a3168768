//! A drill while it runs, in a terminal: the clock, what is in force, how each client fares, and what was done.
//!
//! [`Scene`] is what is known, and draws itself; [`View`] is the terminal around it and the hand on the keyboard.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Gauge, Paragraph, Sparkline};
use ratatui::{DefaultTerminal, Frame};
use seawall_core::record::Ending;
use seawall_drill::load::Progress;
use seawall_drill::run::News;
use seawall_drill::verdict::Phase;
use seawall_scenario::{Scenario, What};
use tokio::sync::watch;

use super::doing::{leave, line};

/// So many lines are remembered.
const LINES_MAX: usize = 200;
/// So many periods.
const PERIODS_MAX: usize = 400;
/// It is drawn this often when nothing is told.
const FRAME: Duration = Duration::from_millis(150);
/// Rows of a client.
const CLIENT: u16 = 4;
/// Columns of the words beside a client's curves.
const WORDS: u16 = 34;

/// What is known of a drill under way.
#[derive(Debug)]
pub(super) struct Scene {
    title: String,
    phases: Vec<Phase>,
    /// What lasts, in the words in which it is told: it is in force until it is over.
    lasting: Vec<String>,
    in_force: Vec<String>,
    stage: String,
    /// From when, now, and until when, in seconds of the scenario's clock.
    clock: (f64, Option<f64>, f64),
    period: f64,
    clients: Vec<Watched>,
    lines: VecDeque<String>,
    stopping: bool,
}

/// One client.
#[derive(Debug, Default)]
struct Watched {
    name: String,
    last: Option<Progress>,
    rates: VecDeque<u64>,
    good: VecDeque<u64>,
    p99: VecDeque<u64>,
}

impl Scene {
    /// A drill that has not begun.
    pub(super) fn new(name: &str, scenario: &Scenario, phases: &[Phase]) -> Scene {
        let lasting = scenario
            .timeline
            .iter()
            .filter(|event| matches!(&event.what, What::Fault(fault) if !fault.is_instant()));
        let clients = scenario.clients.iter().map(|client| Watched {
            name: client.name.clone(),
            ..Watched::default()
        });
        Scene {
            title: format!("{name}, {}", scenario.variant),
            phases: phases.to_vec(),
            lasting: lasting.map(|event| scenario.describe(event)).collect(),
            in_force: Vec::new(),
            stage: String::new(),
            clock: (
                -scenario.run.warmup.as_secs_f64(),
                None,
                scenario.run.duration.as_secs_f64(),
            ),
            period: scenario.run.every.as_secs_f64(),
            clients: clients.collect(),
            lines: VecDeque::new(),
            stopping: false,
        }
    }

    /// Takes notice of something.
    pub(super) fn hear(&mut self, news: &News) {
        if let Some(line) = line(news) {
            self.lines.push_back(line);
            if self.lines.len() > LINES_MAX {
                self.lines.pop_front();
            }
        }
        match news {
            News::Stage(what) => self.stage.clone_from(what),
            News::Ready(_) => self.stage.clear(),
            News::Done(_, what) if self.lasting.contains(what) => self.in_force.push(what.clone()),
            News::Over(_, what) => self.in_force.retain(|one| one != what),
            News::Period(clock, clients) => {
                self.clock.1 = Some(*clock);
                for (name, progress) in clients {
                    if let Some(client) = self.clients.iter_mut().find(|client| client.name == *name) {
                        client.hear(progress, self.period);
                    }
                }
            }
            _ => {}
        }
    }

    fn phase(&self) -> &str {
        let Some(now) = self.clock.1 else { return "" };
        let phase = self
            .phases
            .iter()
            .find(|phase| phase.from <= now && now < phase.to);
        phase.map_or("", |phase| phase.name.as_str())
    }

    fn draw(&self, frame: &mut Frame<'_>) {
        let clients = u16::try_from(self.clients.len())
            .unwrap_or(u16::MAX)
            .saturating_mul(CLIENT);
        let [head, gauge, broken, rows, log, foot] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(1),
            Constraint::Length(u16::try_from(self.in_force.len()).unwrap_or(1).clamp(1, 3)),
            Constraint::Length(clients.min(frame.area().height.saturating_sub(8))),
            Constraint::Min(3),
            Constraint::Length(1),
        ])
        .areas(frame.area());
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let now = if self.stage.is_empty() {
            self.phase()
        } else {
            self.stage.as_str()
        };
        frame.render_widget(
            Line::from(vec![
                Span::styled(&self.title, bold),
                Span::raw("  "),
                Span::raw(now),
            ]),
            head,
        );
        let (from, at, to) = self.clock;
        let share = at.map_or(0.0, |at| ((at - from) / (to - from).max(1e-9)).clamp(0.0, 1.0));
        let label = at.map_or_else(|| "not begun".to_owned(), |at| format!("{at:.0} s of {to:.0} s"));
        frame.render_widget(
            Gauge::default()
                .ratio(share)
                .label(label)
                .gauge_style(Style::new().fg(Color::Blue)),
            gauge,
        );
        let force: Vec<Line<'_>> = match self.in_force.as_slice() {
            [] => vec![Line::raw("nothing is broken on purpose")],
            all => all
                .iter()
                .map(|one| Line::styled(format!("! {one}"), bold.fg(Color::Red)))
                .collect(),
        };
        frame.render_widget(Paragraph::new(force), broken);
        for (place, client) in self.clients.iter().enumerate() {
            let top = rows.y + u16::try_from(place).unwrap_or(u16::MAX).saturating_mul(CLIENT);
            if top + CLIENT <= rows.y + rows.height {
                client.draw(
                    frame,
                    Rect {
                        y: top,
                        height: CLIENT,
                        ..rows
                    },
                );
            }
        }
        let room = usize::from(log.height.saturating_sub(1));
        let lines: Vec<Line<'_>> = self
            .lines
            .iter()
            .rev()
            .take(room)
            .rev()
            .map(|line| Line::raw(line.as_str()))
            .collect();
        frame.render_widget(
            Paragraph::new(lines).block(Block::new().borders(Borders::TOP).title("what was done")),
            log,
        );
        let foot_text = if self.stopping {
            "ending, and taking everything back; once more: leave that to the process that cleans up"
        } else {
            "q or Ctrl-C: end it and take everything back"
        };
        frame.render_widget(
            Line::styled(foot_text, Style::new().add_modifier(Modifier::DIM)),
            foot,
        );
    }
}

impl Watched {
    fn hear(&mut self, progress: &Progress, period: f64) {
        let all: u64 = progress.last.iter().sum();
        let good: u64 = Ending::ALL
            .into_iter()
            .filter(|ending| ending.is_good())
            .map(|ending| progress.last[ending as usize])
            .sum();
        let a_second = |count: u64| (count as f64 / period.max(1e-3)).round() as u64;
        let micros = (progress.p99.as_secs_f64() * 1e6) as u64;
        for (values, value) in [
            (&mut self.rates, a_second(all)),
            (&mut self.good, a_second(good)),
            (&mut self.p99, micros),
        ] {
            values.push_back(value);
            if values.len() > PERIODS_MAX {
                values.pop_front();
            }
        }
        self.last = Some(*progress);
    }

    fn draw(&self, frame: &mut Frame<'_>, area: Rect) {
        let [words, good, p99] = Layout::horizontal([
            Constraint::Length(WORDS),
            Constraint::Fill(1),
            Constraint::Fill(1),
        ])
        .spacing(1)
        .areas(area);
        let (rate, right) = (
            self.rates.back().copied().unwrap_or(0),
            self.good.back().copied().unwrap_or(0),
        );
        let share = if rate > 0 {
            format!("{:.0}%", 100.0 * right as f64 / rate as f64)
        } else {
            "–".to_owned()
        };
        let (p50, slow, wrong, flight) = self.last.as_ref().map_or((0.0, 0.0, 0, 0), |last| {
            (
                last.p50.as_secs_f64() * 1e3,
                last.p99.as_secs_f64() * 1e3,
                last.of(Ending::Wrong),
                last.in_flight,
            )
        });
        let bad = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);
        let mut lines = vec![
            Line::styled(self.name.as_str(), Style::new().add_modifier(Modifier::BOLD)),
            Line::raw(format!("{rate}/s, {share} answered well")),
            Line::raw(format!("p50 {p50:.1} ms, p99 {slow:.1} ms")),
        ];
        lines.push(if wrong > 0 {
            Line::styled(format!("{wrong} WRONG ANSWERS"), bad)
        } else {
            Line::raw(format!("{flight} under way"))
        });
        frame.render_widget(Paragraph::new(lines), words);
        // Both rates on one scale: what is not answered well is the gap at the top.
        let most = self.rates.iter().copied().max().unwrap_or(1).max(1);
        curve(
            frame,
            good,
            &format!("right answers/s, up to {most}"),
            &self.good,
            Some(most),
            Color::Green,
        );
        let slowest = self.p99.iter().copied().max().unwrap_or(0) as f64 / 1e3;
        curve(
            frame,
            p99,
            &format!("p99, up to {slowest:.0} ms"),
            &self.p99,
            None,
            Color::Yellow,
        );
    }
}

/// The newest at the right.
fn curve(
    frame: &mut Frame<'_>,
    area: Rect,
    title: &str,
    values: &VecDeque<u64>,
    most: Option<u64>,
    colour: Color,
) {
    let room = usize::from(area.width);
    let shown: Vec<u64> = values
        .iter()
        .skip(values.len().saturating_sub(room))
        .copied()
        .collect();
    let mut line = Sparkline::default()
        .data(&shown)
        .style(Style::new().fg(colour))
        .block(Block::new().title(title));
    if let Some(most) = most {
        line = line.max(most);
    }
    frame.render_widget(line, area);
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use seawall_core::time::{Span as Time, Time as Instant};
    use seawall_scenario::Document;

    fn scene() -> Scene {
        let text = r#"
            title = "the cache stands still"
            run = { duration = "20s", warmup = "5s" }
            client.web = { calls = "app", rate = "100/s", keys = { uniform = { count = 10 } } }
            service.app = { caches = ["redis"], origin = "db" }
            cache.redis = { ttl = "1h" }
            database.db = { service_time = "1ms" }
            timeline = [{ at = "5s", for = "10s", on = "redis", fault = "hang" }]
        "#;
        let document = Document::parse("still.toml", text).expect("a good document");
        let scenario = document.scenario("as-written", &[]).expect("a variant");
        Scene::new(
            "still.toml",
            &scenario,
            &seawall_drill::verdict::phases(&scenario),
        )
    }

    fn drawn(scene: &Scene) -> String {
        let mut terminal = Terminal::new(TestBackend::new(90, 20)).expect("it is in memory");
        terminal.draw(|frame| scene.draw(frame)).expect("it is in memory");
        terminal.backend().to_string()
    }

    fn period(at: f64, last: [u64; 6]) -> News {
        let progress = Progress {
            now: Instant::ZERO,
            in_flight: 3,
            ended: last,
            overruns: 0,
            last,
            p50: Time::millis(2),
            p99: Time::millis(40),
        };
        News::Period(at, vec![("web".to_owned(), progress)])
    }

    #[test]
    fn what_is_in_force_is_told_until_it_is_over() {
        let mut scene = scene();
        scene.hear(&News::Stage("starting servers".into()));
        let text = drawn(&scene);
        assert!(
            text.contains("still.toml, as-written  starting servers"),
            "{text}"
        );
        assert!(
            text.contains("not begun") && text.contains("nothing is broken on purpose"),
            "{text}"
        );
        scene.hear(&News::Ready(vec!["one Redis".into()]));
        scene.hear(&period(6.0, [90, 0, 0, 10, 0, 0]));
        scene.hear(&News::Done(5.0, scene.lasting[0].clone()));
        let text = drawn(&scene);
        assert!(text.contains("! redis accepts and never answers"), "{text}");
        assert!(text.contains("6 s of 20 s") && text.contains("hang"), "{text}");
        assert!(
            text.contains("100/s, 90% answered well") && text.contains("p50 2.0 ms, p99 40.0 ms"),
            "{text}"
        );
        scene.hear(&News::Over(15.0, scene.lasting[0].clone()));
        let text = drawn(&scene);
        assert!(
            text.contains("nothing is broken on purpose") && text.contains("over: redis accepts"),
            "{text}"
        );
    }

    #[test]
    fn a_wrong_answer_is_not_to_be_overlooked() {
        let mut scene = scene();
        scene.hear(&period(1.0, [90, 0, 2, 0, 0, 0]));
        assert!(drawn(&scene).contains("2 WRONG ANSWERS"));
    }

    #[test]
    fn a_small_terminal_is_no_reason_to_fall() {
        let mut scene = scene();
        scene.hear(&period(1.0, [90, 0, 0, 0, 0, 0]));
        for size in [(1, 1), (10, 3), (30, 8)] {
            let mut terminal = Terminal::new(TestBackend::new(size.0, size.1)).expect("it is in memory");
            terminal.draw(|frame| scene.draw(frame)).expect("it is in memory");
        }
    }
}
