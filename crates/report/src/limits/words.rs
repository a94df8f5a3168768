//! What was found as text: the verdict, the tables, what was tried.

use crate::class::Class;
use crate::figures::Figures;
use crate::limits::{Aim, Limits, Line, Scan, Turn};
use crate::wording::{counted, listed, number, percent, right, seconds, width, wrapped};

/// The limits for a terminal that is so many columns wide.
pub fn text(limits: &Limits, columns: usize) -> String {
    let mut lines = vec![limits.title.clone(), String::new()];
    for (index, sentence) in verdict(limits).into_iter().enumerate() {
        let first = if index == 0 { "Verdict: " } else { "  " };
        for (row, line) in wrapped(&sentence, columns - first.len()).into_iter().enumerate() {
            lines.push(format!("{}{line}", if row == 0 { first } else { "  " }));
        }
    }
    traffic(limits, &mut lines);
    protections(limits, &mut lines);
    database(limits, &mut lines);
    lines.push(String::new());
    for line in foot(limits) {
        lines.extend(wrapped(&line, columns));
    }
    let trimmed: Vec<&str> = lines.iter().map(|line| line.trim_end()).collect();
    trimmed.join("\n") + "\n"
}

/// The answers, one sentence each.
fn verdict(limits: &Limits) -> Vec<String> {
    let mut told = vec![format!(
        "as written ({}/s), `{}` {}",
        number(limits.rate),
        limits.variant,
        limits.as_written.class.words()
    )];
    told.extend(traffic_verdict(limits));
    if !limits.trials.is_empty() || limits.unfinished.is_empty() {
        told.push(protection_verdict(limits));
    }
    let database = limits.database.as_ref().filter(|scan| !scan.probes.is_empty());
    told.extend(database.map(|scan| database_verdict(limits, scan)));
    told.extend(
        limits
            .unfinished
            .iter()
            .map(|what| format!("not finished for want of time: {what}")),
    );
    told
}

fn traffic_verdict(limits: &Limits) -> Vec<String> {
    let of = |class| limits.traffic.turn(Line::Worse(class));
    let rate = |factor: f64| format!("{}/s (×{})", number(limits.rate * factor), number(factor));
    let mut told = Vec::new();
    if let Some(turn) = of(Class::Degrades) {
        told.push(match (turn.better, turn.worse) {
            (Some(better), Some(_)) => format!("it holds up to {}", rate(better)),
            (None, Some(worse)) => format!("it does not hold even at {}", rate(worse)),
            (Some(better), None) => format!("it still holds at {}", rate(better)),
            (None, None) => String::new(),
        });
    }
    let stays_down = limits
        .traffic
        .probes
        .iter()
        .any(|probe| probe.figures.class == Class::NeverRecovers);
    if let (Some(turn), true) = (of(Class::NeverRecovers), stays_down) {
        told.push(match (turn.better, turn.worse) {
            (Some(better), Some(worse)) => format!(
                "it becomes vulnerable to staying down between {} and {}: from there on it never recovers by itself",
                rate(better),
                rate(worse)
            ),
            (_, Some(worse)) => format!("it stays down even at {}", rate(worse)),
            _ => String::new(),
        });
    } else if let Some(turn) = of(Class::NeverRecovers) {
        told.push(match (turn.worse, turn.better) {
            (Some(_), Some(better)) => format!(
                "it always recovers by itself, up to {}, above which the load alone is too much",
                rate(better)
            ),
            (None, Some(better)) => format!("it recovers by itself even at {}", rate(better)),
            _ => "the load alone is too much wherever it was tried".to_owned(),
        });
    }
    if let Some(Turn {
        worse: Some(worse), ..
    }) = of(Class::Ill)
        && stays_down
    {
        told.push(format!("from {} on the load alone is too much", rate(*worse)));
    }
    told.retain(|sentence| !sentence.is_empty());
    told.extend(reversals(&limits.traffic, true, "traffic"));
    told
}

fn reversals(scan: &Scan, more_is_worse: bool, of_what: &str) -> Option<String> {
    let reversals = scan.reversals(more_is_worse);
    let (a, b) = reversals.first()?;
    let more = match reversals.len() {
        1 => String::new(),
        count => format!(" ({} in all)", counted(count, "such place", "such places")),
    };
    Some(format!(
        "the limit is no clean line: at {} it {}, at {} it {}{more}; more runs (--runs) may tell whether that is luck, \
         and less {of_what} alone is no promise",
        a.words,
        a.figures.class.words(),
        b.words,
        b.figures.class.words(),
    ))
}

fn protection_verdict(limits: &Limits) -> String {
    let wish = limits.aim.words();
    let at = format!("{}/s", number(limits.rate * limits.tried_at));
    if limits.aim == Aim::Hold && limits.unprotected.class == Class::Holds {
        return format!("at {at} it needs no protection");
    }
    let enough = limits.enough();
    let best = limits
        .trials
        .iter()
        .max_by(|a, b| a.figures.goodput_during.total_cmp(&b.figures.goodput_during));
    match (enough.as_slice(), best) {
        ([], Some(best)) => format!(
            "at {at}, no protection that was tried is enough {wish}; the most goodput during the fault, {}, is with {} \
             ({} without)",
            percent(best.figures.goodput_during),
            best.name(),
            percent(limits.unprotected.goodput_during),
        ),
        ([], None) => "no protection was tried".to_owned(),
        (enough, _) => {
            let names = listed(&enough.iter().map(|trial| trial.name()).collect::<Vec<_>>());
            match (enough.len(), enough[0].settings.len()) {
                (1, 1) => format!("at {at}, {names} alone is enough {wish}"),
                (1, _) => format!("at {at}, no single protection is enough {wish}, and {names} is"),
                (_, 1) => format!("at {at}, any one of these is enough {wish}: {names}"),
                _ => format!(
                    "at {at}, no single protection is enough {wish}, and any of these pairs is: {names}"
                ),
            }
        }
    }
}

fn database_verdict(limits: &Limits, scan: &Scan) -> String {
    let wish = limits.aim.words();
    let at = format!("{}/s", number(limits.rate * limits.tried_at));
    let words = |factor: f64| {
        let probe = scan
            .probes
            .iter()
            .find(|probe| probe.factor.to_bits() == factor.to_bits());
        probe.map_or_else(String::new, |probe| probe.words.clone())
    };
    let need = match scan
        .turn(Line::Fails(limits.aim))
        .map(|turn| (turn.better, turn.worse))
    {
        Some((Some(better), Some(worse))) if better <= 1.0 => format!(
            "without any protection, at {at}, the database is large enough {wish}; {} would no longer be",
            words(worse)
        ),
        Some((Some(better), _)) => format!(
            "without any protection, at {at}, it would take {} {wish}; as written it is {}",
            words(better),
            limits.database_words
        ),
        Some((None, Some(worse))) => {
            format!(
                "without any protection, at {at}, not even {} is enough {wish}",
                words(worse)
            )
        }
        _ => "no database was tried".to_owned(),
    };
    match reversals(scan, false, "database") {
        Some(reversal) => format!("{need}; {reversal}"),
        None => need,
    }
}

fn traffic(limits: &Limits, lines: &mut Vec<String>) {
    lines.push(String::new());
    lines.push("Traffic, all clients by the same factor".to_owned());
    scan_table(&limits.traffic, lines);
}

fn database(limits: &Limits, lines: &mut Vec<String>) {
    let Some(scan) = limits.database.as_ref().filter(|scan| !scan.probes.is_empty()) else {
        return;
    };
    lines.push(String::new());
    lines.push(format!(
        "Database, without protection, at {}/s",
        number(limits.rate * limits.tried_at)
    ));
    scan_table(scan, lines);
}

fn scan_table(scan: &Scan, lines: &mut Vec<String>) {
    let rows = scan.probes.iter().map(|probe| {
        let mut row = vec![format!("×{}", number(probe.factor)), probe.words.clone()];
        row.extend(cells(&probe.figures));
        row
    });
    table(
        &["", "", "", "before", "during", "after", "recovers in", "peak"],
        &rows.collect::<Vec<_>>(),
        lines,
    );
}

fn protections(limits: &Limits, lines: &mut Vec<String>) {
    if limits.trials.is_empty() {
        return;
    }
    lines.push(String::new());
    lines.push(format!(
        "Protections at {}/s: ✓ is enough",
        number(limits.rate * limits.tried_at)
    ));
    let mut rows = vec![
        [
            vec![" ".to_owned(), "none".to_owned()],
            cells(&limits.unprotected),
        ]
        .concat(),
    ];
    rows.extend(limits.trials.iter().map(|trial| {
        let mark = if trial.enough { "✓" } else { " " };
        [vec![mark.to_owned(), trial.name()], cells(&trial.figures)].concat()
    }));
    table(
        &["", "", "", "before", "during", "after", "recovers in", "peak"],
        &rows,
        lines,
    );
    if !limits.loosest.is_empty() {
        lines.push(String::new());
        lines.push("The loosest settings that are still enough".to_owned());
        for loosest in &limits.loosest {
            let beyond = match &loosest.not_enough {
                Some(setting) => format!("{setting} is not"),
                None => "no looser one was tried".to_owned(),
            };
            let mixed = if loosest.mixed {
                "; in between it is now so, now so"
            } else {
                ""
            };
            lines.push(format!(
                "  {}: {} is enough, {beyond}{mixed}",
                loosest.name, loosest.enough
            ));
        }
    }
    let told: Vec<&crate::limits::Trial> = limits
        .trials
        .iter()
        .filter(|trial| trial.settings.len() == 1)
        .collect();
    lines.push(String::new());
    lines.push("As they were tried".to_owned());
    for (path, value) in told.iter().flat_map(|trial| &trial.settings) {
        lines.push(format!("  --set '{path}={value}'"));
    }
    for (name, why) in &limits.unfit {
        lines.push(format!("  {name}: not tried, {why}"));
    }
}

/// Class, goodput before, during and after, time to recover, peak of the origin.
fn cells(figures: &Figures) -> Vec<String> {
    let class = match figures.never_recovers_ratio {
        ratio if ratio > 0.0 && ratio < 1.0 => {
            format!("{} ({} of runs stay down)", figures.class.words(), percent(ratio))
        }
        _ => figures.class.words().to_owned(),
    };
    vec![
        class,
        percent(figures.goodput_before),
        percent(figures.goodput_during),
        percent(figures.goodput_after),
        seconds(figures.recovery_s),
        percent(figures.origin_peak_ratio),
    ]
}

/// A table: the first three columns to the left, the others to the right.
fn table(heads: &[&str], rows: &[Vec<String>], lines: &mut Vec<String>) {
    const LEFT: usize = 3;
    let columns = heads.len();
    let widest: Vec<usize> = (0..columns)
        .map(|column| {
            let cells = rows.iter().map(|row| width(&row[column]));
            cells.max().unwrap_or(0).max(width(heads[column]))
        })
        .collect();
    let line = |cells: Vec<&str>| {
        let cell = |(column, cell): (usize, &str)| {
            if column < LEFT {
                format!("{cell}{}", " ".repeat(widest[column] - width(cell)))
            } else {
                right(cell, widest[column])
            }
        };
        let cells: Vec<String> = cells.into_iter().enumerate().map(cell).collect();
        format!("  {}", cells.join("  "))
    };
    lines.push(line(heads.to_vec()));
    for row in rows {
        lines.push(line(row.iter().map(String::as_str).collect()));
    }
}

fn foot(limits: &Limits) -> Vec<String> {
    let engines: Vec<String> = limits
        .engines
        .iter()
        .map(|engine| format!("the {engine} engine"))
        .collect();
    vec![
        format!(
            "{}: each limit is known to {}, from {} a trial, seed {} in every trial, {} of full size; {} played by {}",
            limits.file,
            percent(limits.tolerance),
            counted(limits.runs as usize, "run", "runs"),
            limits.seed,
            percent(limits.scale),
            counted(limits.played as usize, "run", "runs"),
            listed(&engines)
        ),
        "before, during, after: right answers in time as a share of calls. peak: of what the origin can complete. \
         Holds: 95% of before, during the fault and after it. Recovers: 95% of before in the last 30 s of the run."
            .to_owned(),
    ]
}
