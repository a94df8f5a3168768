//! What is known of a drill under way, and how it is drawn.

use std::collections::VecDeque;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Gauge, Paragraph, Sparkline};
use seawall_core::record::Ending;
use seawall_drill::load::Progress;
use seawall_drill::run::News;
use seawall_drill::verdict::Phase;
use seawall_scenario::{Scenario, What};

use crate::drill::doing::line;

/// So many lines are remembered.
const LINES_MAX: usize = 200;
/// So many periods.
const PERIODS_MAX: usize = 400;
/// Rows of a client.
const CLIENT: u16 = 4;
/// Columns of the words beside a client's curves.
const WORDS: u16 = 34;

/// What is known of a drill under way.
#[derive(Debug)]
pub(in crate::drill) struct Scene {
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
    pub(super) stopping: bool,
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
    pub(in crate::drill) fn new(name: &str, scenario: &Scenario, phases: &[Phase]) -> Scene {
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

    pub(super) fn draw(&self, frame: &mut Frame<'_>) {
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

#[cfg(test)]
mod tests;
