//! A picture of a scenario: goodput above, load below, over time.

use std::fmt::Write as _;

use super::measure::{Course, seconds};
use super::report::Table;
use super::scenario::Scenario;

const WIDTH: f64 = 800.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 76.0;
const PANEL: f64 = 190.0;
const GAP: f64 = 50.0;
const HEIGHT: f64 = TOP + 2.0 * PANEL + GAP + 48.0;

/// By entrant, so that a colour means the same in every picture.
fn colour(entrant: &str) -> (&'static str, f64) {
    match entrant {
        "mainstay" => ("#c2185b", 2.4),
        "tower" => ("#1565c0", 1.4),
        "backon" => ("#2e7d32", 1.4),
        "tower-resilience" => ("#6a1b9a", 1.4),
        "oracle" => ("#9e9e9e", 1.4),
        _ => ("#ef6c00", 1.4),
    }
}

pub fn file(scenario: &Scenario) -> String {
    format!("{}.svg", scenario.id.to_lowercase())
}

pub fn svg(table: &Table) -> String {
    let scenario = &table.scenario;
    let rows: Vec<_> = table
        .rows
        .iter()
        .map(|row| (row.entrant, smooth(row.course(), scenario)))
        .collect();
    let offered = rows
        .first()
        .map(|(_, course)| course.offered.clone())
        .unwrap_or_default();
    let most = |part: fn(&Course) -> &Vec<f64>| {
        rows.iter()
            .flat_map(|(_, course)| part(course))
            .fold(0.0, |a: f64, b| a.max(*b))
    };
    let good = most(|course| &course.good).max(most(|course| &course.offered));
    let load = most(|course| &course.attempts);
    let end = seconds(scenario.end);

    let mut out = String::new();
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\" fill=\"#222\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n\
         <text x=\"{LEFT}\" y=\"20\" font-size=\"15\" font-weight=\"bold\">{}: {}</text>",
        scenario.id, scenario.title
    );
    let mut x = LEFT;
    for (entrant, _) in &rows {
        let (colour, width) = colour(entrant);
        let _ = writeln!(
            out,
            "<line x1=\"{x}\" y1=\"40\" x2=\"{}\" y2=\"40\" stroke=\"{colour}\" stroke-width=\"{}\"/>\
             <text x=\"{}\" y=\"44\">{entrant}</text>",
            x + 18.0,
            width + 0.6,
            x + 23.0
        );
        x += 36.0 + 6.8 * entrant.len() as f64;
    }
    let _ = writeln!(
        out,
        "<line x1=\"{x}\" y1=\"40\" x2=\"{}\" y2=\"40\" stroke=\"#555\" stroke-dasharray=\"3 3\"/><text x=\"{}\" y=\"44\">offered</text>",
        x + 18.0,
        x + 23.0
    );
    for (place, title, most, part) in [
        (
            0,
            "good answers a second",
            good,
            (|course| &course.good) as fn(&Course) -> &Vec<f64>,
        ),
        (1, "attempts a second", load, |course| &course.attempts),
    ] {
        let top = TOP + f64::from(place) * (PANEL + GAP);
        let (step, most) = scale(most);
        panel(&mut out, scenario, top, title, step, most);
        path(
            &mut out,
            &offered,
            end,
            top,
            most,
            "stroke=\"#555\" stroke-dasharray=\"3 3\"",
        );
        // Ours on top, or the others would hide it where all are the same.
        let ours = |row: &&(&str, Course)| row.0 == "mainstay";
        let others = rows.iter().filter(|row| !ours(row));
        for (entrant, course) in others.chain(rows.iter().filter(ours)) {
            let (colour, width) = colour(entrant);
            path(
                &mut out,
                part(course),
                end,
                top,
                most,
                &format!("stroke=\"{colour}\" stroke-width=\"{width}\""),
            );
        }
    }
    let _ = writeln!(
        out,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">seconds (shaded: the fault)</text>\n</svg>",
        f64::midpoint(LEFT, WIDTH - RIGHT),
        HEIGHT - 10.0
    );
    out
}

/// A few requests a second make a saw, so they are shown as a mean over 5 s.
fn smooth(course: Course, scenario: &Scenario) -> Course {
    if scenario.peak() > 5.0 {
        return course;
    }
    let mean = |values: &Vec<f64>| {
        (0..values.len())
            .map(|at| {
                let part = &values[at.saturating_sub(2)..(at + 3).min(values.len())];
                part.iter().sum::<f64>() / part.len() as f64
            })
            .collect()
    };
    Course {
        offered: mean(&course.offered),
        good: mean(&course.good),
        attempts: mean(&course.attempts),
    }
}

/// A round step and a most that is a multiple of it.
fn scale(most: f64) -> (f64, f64) {
    let most = most.max(1.0) * 1.05;
    let power = 10_f64.powf((most / 4.0).log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0]
        .map(|n| n * power)
        .into_iter()
        .find(|step| most / step <= 5.0);
    let step = step.unwrap_or(power * 10.0);
    (step, (most / step).ceil() * step)
}

fn panel(out: &mut String, scenario: &Scenario, top: f64, title: &str, step: f64, most: f64) {
    let (right, bottom, end) = (WIDTH - RIGHT, top + PANEL, seconds(scenario.end));
    let across = |at: f64| LEFT + (right - LEFT) * at / end;
    let (from, to) = (
        across(seconds(scenario.fault.0)),
        across(seconds(scenario.fault.1)),
    );
    let _ = writeln!(
        out,
        "<rect x=\"{from:.1}\" y=\"{top}\" width=\"{:.1}\" height=\"{PANEL}\" fill=\"#f3efe6\"/>\n\
         <text x=\"{LEFT}\" y=\"{}\" fill=\"#555\">{title}</text>",
        to - from,
        top - 8.0
    );
    let mut value = 0.0;
    while value <= most + step / 2.0 {
        let y = bottom - PANEL * value / most;
        let _ = writeln!(
            out,
            "<line x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{right}\" y2=\"{y:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{value}</text>",
            LEFT - 6.0,
            y + 4.0
        );
        value += step;
    }
    let mut at = 0.0;
    while at <= end {
        let x = across(at);
        let _ = writeln!(
            out,
            "<line x1=\"{x:.1}\" y1=\"{bottom}\" x2=\"{x:.1}\" y2=\"{}\" stroke=\"#888\"/>\
             <text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{at}</text>",
            bottom + 4.0,
            bottom + 17.0
        );
        at += if end > 60.0 { 15.0 } else { 10.0 };
    }
    let _ = writeln!(
        out,
        "<line x1=\"{LEFT}\" y1=\"{bottom}\" x2=\"{right}\" y2=\"{bottom}\" stroke=\"#888\"/>"
    );
}

fn path(out: &mut String, values: &[f64], end: f64, top: f64, most: f64, style: &str) {
    let points = values.iter().enumerate().map(|(second, value)| {
        let x = LEFT + (WIDTH - RIGHT - LEFT) * (second as f64 + 0.5) / end;
        let y = top + PANEL - PANEL * (value / most).min(1.0);
        format!("{x:.1},{y:.1}")
    });
    let points = points.collect::<Vec<_>>().join(" ");
    let _ = writeln!(out, "<polyline points=\"{points}\" fill=\"none\" {style}/>");
}
