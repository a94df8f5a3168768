//! What a watch shows in a terminal: the verdict first, then why, what it costs, what to do, and what happened.

use std::collections::VecDeque;
// Writing to a string does not fail, so what comes of it is not looked at.
use std::fmt::Write as _;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Block, Borders, Paragraph, Sparkline, Wrap};
use seawall_core::record::{Ending, Metric};
use seawall_diagnose::Severity;
use seawall_diagnose::incident::{Course, Incident, Utc};
use seawall_diagnose::probe::Sample;
use seawall_diagnose::runbook::Step;

use super::lines::{cost, step, verdict};

/// So many periods are remembered.
const PERIODS_MAX: usize = 400;
/// So many lines about the watch itself.
const SAID_MAX: usize = 20;

/// What is known of a system that is watched.
#[derive(Debug, Default)]
pub(super) struct Scene {
    now: Option<Utc>,
    learning: bool,
    incident: Option<Incident>,
    /// Something is likely, and not for long enough to be told of.
    suspicion: Option<String>,
    steps: Vec<String>,
    asked: VecDeque<u64>,
    good: VecDeque<u64>,
    hit_rate: VecDeque<u64>,
    said: VecDeque<String>,
}

impl Scene {
    /// Takes notice of a period.
    pub(super) fn see(&mut self, now: Utc, course: &Course, steps: &[Step], sample: &Sample, every_s: f64) {
        self.now = Some(now);
        self.learning = course.is_learning();
        self.incident = course.incident().cloned();
        let first = course.diagnosis().and_then(|diagnosis| diagnosis.first());
        self.suspicion = first.map(|finding| format!("{} of {}", finding.failure, finding.component));
        self.steps = steps.iter().map(step).collect();
        let (mut asked, mut good) = (0.0, 0.0);
        for ending in Ending::ALL {
            let of = |point: &&seawall_diagnose::probe::Point| {
                point.metric == Metric::Requests && point.label.as_deref() == Some(ending.name())
            };
            let count: f64 = sample.points.iter().filter(of).map(|point| point.value).sum();
            asked += count;
            good += if ending.is_good() { count } else { 0.0 };
        }
        let of = |metric| -> f64 {
            let points = sample.points.iter().filter(|point| point.metric == metric);
            points
                .map(|point| point.value)
                .filter(|value| value.is_finite())
                .sum()
        };
        let hits = of(Metric::CacheHits);
        let lookups = hits + of(Metric::CacheMisses) + of(Metric::CacheErrors);
        let rate = if lookups > 0.0 {
            100.0 * hits / lookups
        } else {
            0.0
        };
        for (values, value) in [
            (&mut self.asked, asked / every_s),
            (&mut self.good, good / every_s),
            (&mut self.hit_rate, rate),
        ] {
            values.push_back(value.round() as u64);
            if values.len() > PERIODS_MAX {
                values.pop_front();
            }
        }
    }

    /// Something about the watch itself.
    pub(super) fn say(&mut self, text: &str) {
        self.said.push_back(text.to_owned());
        if self.said.len() > SAID_MAX {
            self.said.pop_front();
        }
    }

    fn open(&self) -> Option<&Incident> {
        self.incident.as_ref().filter(|incident| incident.is_open())
    }

    /// The verdict, and how it is coloured.
    fn verdict(&self) -> (String, Color) {
        if let Some(incident) = self.open() {
            let colour = match incident.severity {
                Severity::P0 | Severity::P1 => Color::Red,
                Severity::P2 => Color::Yellow,
            };
            return (verdict(incident), colour);
        }
        match (&self.now, self.learning, &self.suspicion) {
            (None, ..) => ("beginning".to_owned(), Color::Yellow),
            (_, true, _) => ("learning what is calm".to_owned(), Color::Yellow),
            (_, _, Some(what)) => (format!("looking closer: {what}"), Color::Yellow),
            (_, _, None) => ("all is well".to_owned(), Color::Green),
        }
    }

    /// Draws all of it.
    pub(super) fn draw(&self, frame: &mut Frame<'_>) {
        let [head, impact, curves, middle, log, foot] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(1),
            Constraint::Length(4),
            Constraint::Fill(3),
            Constraint::Fill(2),
            Constraint::Length(1),
        ])
        .areas(frame.area());
        let (text, colour) = self.verdict();
        let bold = Style::new().add_modifier(Modifier::BOLD);
        frame.render_widget(Line::styled(text, bold.fg(colour)), head);
        frame.render_widget(Line::raw(self.impact()), impact);
        self.curves(frame, curves);
        let [evidence, steps] = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)])
            .spacing(1)
            .areas(middle);
        block(frame, evidence, "why", self.evidence());
        let numbered = self.steps.iter().enumerate();
        let steps_told: Vec<Line<'_>> = numbered
            .map(|(number, step)| Line::raw(format!("{}. {step}", number + 1)))
            .collect();
        block(frame, steps, "what to do", steps_told);
        block(
            frame,
            log,
            "what happened",
            self.timeline(usize::from(log.height)),
        );
        let said = self.said.back().map_or("", String::as_str);
        let dim = Style::new().add_modifier(Modifier::DIM);
        let now = self.now.map(Utc::told).unwrap_or_default();
        frame.render_widget(
            Line::styled(format!("q or Ctrl-C: end   {now}   {said}"), dim),
            foot,
        );
    }

    fn impact(&self) -> String {
        match &self.incident {
            Some(incident) if incident.is_open() => {
                let mut text = format!("{}; {}", incident.reason, cost(incident));
                for reason in &incident.escalate {
                    let _ = write!(text, "; ESCALATE: {reason}");
                }
                text
            }
            Some(incident) => format!("the last one: {}", verdict(incident)),
            None => "no incident is on record".to_owned(),
        }
    }

    fn evidence(&self) -> Vec<Line<'_>> {
        let Some(found) = self.open().and_then(|incident| incident.found.as_ref()) else {
            return Vec::new();
        };
        let mut lines = vec![Line::raw(found.failure.what())];
        let marked = |mark: &str, fact: &String, colour| {
            Line::styled(format!("{mark} {fact}"), Style::new().fg(colour))
        };
        lines.extend(found.pro.iter().map(|fact| marked("+", fact, Color::Green)));
        lines.extend(found.contra.iter().map(|fact| marked("-", fact, Color::Red)));
        lines.extend(
            found
                .unknown
                .iter()
                .map(|what| Line::raw(format!("? {what} would tell more"))),
        );
        lines
    }

    fn timeline(&self, rows: usize) -> Vec<Line<'_>> {
        let Some(incident) = &self.incident else {
            return Vec::new();
        };
        let room = rows.saturating_sub(1);
        let from = incident.timeline.len().saturating_sub(room);
        incident.timeline[from..]
            .iter()
            .map(|entry| Line::raw(format!("{} {}", entry.at.clock(), entry.line())))
            .collect()
    }

    fn curves(&self, frame: &mut Frame<'_>, area: Rect) {
        let [calls, hits] = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)])
            .spacing(1)
            .areas(area);
        let most = self.asked.iter().copied().max().unwrap_or(0).max(1);
        let (asked, good) = (
            self.asked.back().copied().unwrap_or(0),
            self.good.back().copied().unwrap_or(0),
        );
        let title = if self.asked.iter().any(|asked| *asked > 0) {
            format!("right answers: {good} of {asked}/s")
        } else {
            "calls are not measured".to_owned()
        };
        curve(frame, calls, &title, &self.good, most, Color::Green);
        let rate = self.hit_rate.back().copied().unwrap_or(0);
        curve(
            frame,
            hits,
            &format!("hit rate: {rate}%"),
            &self.hit_rate,
            100,
            Color::Blue,
        );
    }
}

fn block(frame: &mut Frame<'_>, area: Rect, title: &str, lines: Vec<Line<'_>>) {
    let around = Block::new().borders(Borders::TOP).title(title);
    frame.render_widget(
        Paragraph::new(lines).wrap(Wrap { trim: false }).block(around),
        area,
    );
}

/// The newest at the right.
fn curve(frame: &mut Frame<'_>, area: Rect, title: &str, values: &VecDeque<u64>, most: u64, colour: Color) {
    let room = usize::from(area.width);
    let shown: Vec<u64> = values
        .iter()
        .skip(values.len().saturating_sub(room))
        .copied()
        .collect();
    let line = Sparkline::default()
        .data(&shown)
        .max(most)
        .style(Style::new().fg(colour))
        .block(Block::new().title(title));
    frame.render_widget(line, area);
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use seawall_core::time::Span;
    use seawall_diagnose::probe::Point;
    use seawall_diagnose::runbook::{Known, plan};

    fn drawn(scene: &Scene) -> String {
        let mut terminal = Terminal::new(TestBackend::new(110, 30)).expect("it is in memory");
        terminal.draw(|frame| scene.draw(frame)).expect("it is in memory");
        terminal.backend().to_string()
    }

    /// A cache that refuses from the 30th second on, and nine calls in ten that are lost then.
    fn seen(seconds: u32) -> Scene {
        let mut course = Course::new(Span::secs(1));
        let mut scene = Scene::default();
        for second in 0..seconds {
            let ill = f64::from(u8::from(second >= 30));
            let point = |metric, component: &str, label: Option<&str>, value| Point {
                metric,
                component: component.to_owned(),
                instance: None,
                label: label.map(str::to_owned),
                value,
            };
            let points = vec![
                point(Metric::CacheHits, "redis", None, 90.0 * (1.0 - ill)),
                point(Metric::CacheMisses, "redis", None, 10.0 * (1.0 - ill)),
                point(Metric::Probes, "redis", None, 1.0),
                point(Metric::ProbeFailures, "redis", Some("connect_refused"), ill),
                point(Metric::Requests, "web", Some("fresh"), 100.0 - 90.0 * ill),
                point(Metric::Requests, "web", Some("error"), 90.0 * ill),
                point(Metric::Goodput, "web", None, 100.0 - 90.0 * ill),
            ];
            let now = Utc::from_millis(1_795_312_800_000).after_s(f64::from(second));
            course.observe(now, &points);
            let sample = Sample {
                points,
                ..Sample::default()
            };
            let diagnosis = course.diagnosis().filter(|_| course.open().is_some());
            let steps = diagnosis.map(|diagnosis| plan(diagnosis, &Known::default()));
            scene.see(now, &course, &steps.unwrap_or_default(), &sample, 1.0);
        }
        scene
    }

    #[test]
    fn the_verdict_comes_first_and_then_why() {
        assert!(drawn(&Scene::default()).contains("beginning"));
        assert!(drawn(&seen(5)).contains("learning what is calm"));
        assert!(drawn(&seen(25)).contains("all is well"));
        let text = drawn(&seen(40));
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].contains("P0 refused of redis"), "{text}");
        assert!(lines[1].contains("of the calls are lost"), "{text}");
        assert!(text.contains("right answers: 10 of 100/s"), "{text}");
        assert!(text.contains("Nobody listens at the cache's address"), "{text}");
        assert!(
            text.contains("1. ") && text.contains("02:00:32 detected: refused of redis"),
            "{text}"
        );
    }
}
