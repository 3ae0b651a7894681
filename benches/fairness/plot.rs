//! Pictures: plain SVG without a background, in colours that can be read on light and on dark.

use std::fmt::Write as _;

use super::bars::Metric;
use super::report::{Row, Table};
use super::sim::POINTS;
use super::world::{Picture, Run};

const WIDTH: f64 = 760.0;
const LEFT: f64 = 130.0;
const RIGHT: f64 = 70.0;
const BAR: f64 = 20.0;
const STEP: f64 = 30.0;
const TOP: f64 = 64.0;

/// Of the tiers, the best first; then from the start again.
const TIERS: [&str; 8] = [
    "#4878a8", "#d08c3c", "#6a9f58", "#a8607c", "#8070b0", "#5aa0a0", "#a08858", "#808080",
];
const OURS: &str = "#c2407a";
const OTHERS: &str = "#8a94a0";

/// The pictures of a world: file name, words for those who do not see it, and the picture.
pub fn all(table: &Table) -> Vec<(String, String, String)> {
    let run = &table.run;
    let id = run.id.to_lowercase();
    let of = |picture: &Picture| match picture {
        Picture::Shares => (
            format!("{id}-shares.svg"),
            format!("What each tier got, by policy, {}", run.id),
            shares(table),
        ),
        Picture::Course => (
            format!("{id}-course.svg"),
            format!("What each tier got over time, by policy, {}", run.id),
            course(table),
        ),
        Picture::Figure(metric) => {
            let label = metric.label(run);
            (
                format!("{id}-{}.svg", label.replace(' ', "-")),
                format!("{label} by policy, {}", run.id),
                figure(table, *metric),
            )
        }
    };
    run.pictures.iter().map(of).collect()
}

fn open(out: &mut String, height: f64, title: &str) {
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <style>text{{fill:#444}}.axis{{stroke:#8888;fill:none}}.ours{{font-weight:bold}}\
         @media(prefers-color-scheme:dark){{text{{fill:#bbb}}}}</style>\n\
         <text x=\"8\" y=\"20\" font-size=\"14\" font-weight=\"bold\">{title}</text>"
    );
}

fn label(out: &mut String, y: f64, policy: &str) {
    let class = if policy == "mainstay" {
        " class=\"ours\""
    } else {
        ""
    };
    let _ = writeln!(
        out,
        "<text x=\"{}\" y=\"{y:.1}\" text-anchor=\"end\"{class}>{policy}</text>",
        LEFT - 8.0
    );
}

fn legend(out: &mut String, run: &Run) {
    let mut x = LEFT;
    for (tier, colour) in run.tiers.iter().zip(TIERS.iter().cycle()) {
        let _ = writeln!(
            out,
            "<rect x=\"{x:.1}\" y=\"34\" width=\"12\" height=\"12\" fill=\"{colour}\"/>\
             <text x=\"{:.1}\" y=\"44\">{}</text>",
            x + 17.0,
            tier.name
        );
        x += 40.0 + 7.0 * tier.name.len() as f64;
    }
}

fn shares(table: &Table) -> String {
    let run = &table.run;
    let mut out = String::new();
    let height = TOP + STEP * table.rows.len() as f64 + 26.0;
    open(
        &mut out,
        height,
        &format!("{}: share of the seats by tier", run.id),
    );
    legend(&mut out, run);
    let wide = WIDTH - LEFT - RIGHT;
    let fluid = run.fluid().unwrap_or_default();
    for (place, row) in table.rows.iter().enumerate() {
        let y = TOP + STEP * place as f64;
        label(&mut out, y + 14.0, row.policy);
        let mut x = LEFT;
        for (tier, colour) in (0..run.tiers.len()).zip(TIERS.iter().cycle()) {
            let share = row
                .spread(Metric::TierShare(tier))
                .map_or(0.0, |s| s.median);
            let width = wide * share / 100.0;
            let _ = writeln!(
                out,
                "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{BAR}\" fill=\"{colour}\"/>"
            );
            if share >= 6.0 {
                let _ = writeln!(
                    out,
                    "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" style=\"fill:#fff\">{share:.1}</text>",
                    x + width / 2.0,
                    y + 14.0
                );
            }
            x += width;
        }
    }
    let bottom = TOP + STEP * table.rows.len() as f64;
    let mut x = LEFT;
    for share in &fluid {
        x += wide * share;
        let _ = writeln!(
            out,
            "<line x1=\"{x:.1}\" y1=\"{}\" x2=\"{x:.1}\" y2=\"{:.1}\" class=\"axis\" stroke-dasharray=\"3 3\"/>",
            TOP - 8.0,
            bottom
        );
    }
    let _ = writeln!(
        out,
        "<text x=\"{LEFT}\" y=\"{:.1}\">per cent of all seat time; dashed: how a fluid would be shared by weights and reserves</text>\n</svg>",
        bottom + 14.0
    );
    out
}

/// On a scale of powers of ten where the figures differ by more than thirty times.
fn figure(table: &Table, metric: Metric) -> String {
    let run = &table.run;
    let values: Vec<(&Row, f64)> = table
        .rows
        .iter()
        .filter_map(|row| row.spread(metric).map(|spread| (row, spread.median)))
        .collect();
    let most = values.iter().fold(0.0, |most: f64, v| most.max(v.1));
    let least = values
        .iter()
        .map(|v| v.1)
        .filter(|v| *v > 0.0)
        .fold(most, f64::min);
    let powers = most > 0.0 && most / least > 30.0;
    let (from, to) = if powers {
        (decade(least, false), decade(most, true))
    } else {
        (0.0, most.max(1e-9))
    };
    let wide = WIDTH - LEFT - RIGHT - 40.0;
    let width = |value: f64| {
        if !powers {
            return wide * value / to;
        }
        let part = |x: f64| super::draw::ln(x / from) / super::draw::ln(to / from);
        if value <= from {
            2.0
        } else {
            wide * part(value)
        }
    };
    let mut out = String::new();
    let height = TOP - 20.0 + STEP * table.rows.len() as f64 + 30.0;
    let (title, unit) = (metric.label(run), metric.unit_name());
    let scale = if powers { ", powers of ten" } else { "" };
    open(
        &mut out,
        height,
        &format!("{}: {title},{unit}{scale}", run.id),
    );
    for (place, row) in table.rows.iter().enumerate() {
        let y = TOP - 20.0 + STEP * place as f64;
        label(&mut out, y + 14.0, row.policy);
        let value = values.iter().find(|(other, _)| other.policy == row.policy);
        let colour = if row.policy == "mainstay" {
            OURS
        } else {
            OTHERS
        };
        let (wide, text) = match value {
            Some((_, value)) => (width(*value), metric.figure(*value)),
            None => (0.0, "none".to_owned()),
        };
        let _ = writeln!(
            out,
            "<rect x=\"{LEFT}\" y=\"{y:.1}\" width=\"{wide:.1}\" height=\"{BAR}\" fill=\"{colour}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\">{text}</text>",
            LEFT + wide + 6.0,
            y + 14.0
        );
    }
    let bottom = TOP - 20.0 + STEP * table.rows.len() as f64;
    let _ = writeln!(
        out,
        "<line x1=\"{LEFT}\" y1=\"{:.1}\" x2=\"{LEFT}\" y2=\"{bottom:.1}\" class=\"axis\"/>\n</svg>",
        TOP - 28.0
    );
    out
}

/// The power of ten at or below, or at or above.
fn decade(value: f64, above: bool) -> f64 {
    let mut power = 1e-6;
    while power * 10.0 <= value {
        power *= 10.0;
    }
    if above && power < value {
        power * 10.0
    } else {
        power
    }
}

fn course(table: &Table) -> String {
    const TALL: f64 = 84.0;
    let run = &table.run;
    let mut out = String::new();
    let height = TOP + (TALL + 16.0) * table.rows.len() as f64 + 34.0;
    open(
        &mut out,
        height,
        &format!("{}: seats in use by tier, over time", run.id),
    );
    legend(&mut out, run);
    let wide = WIDTH - LEFT - RIGHT;
    let point = run.end / POINTS as f64;
    let seats = run.capacity.changes(run.end);
    let seats = seats
        .iter()
        .fold(1.0, |most: f64, change| most.max(f64::from(change.1)));
    let shown = POINTS.min(((run.warmup * 2.5 / point) as usize).max(POINTS / 4));
    let across = |place: usize| LEFT + wide * place as f64 / shown as f64;
    for (place, row) in table.rows.iter().enumerate() {
        let bottom = TOP + (TALL + 16.0) * place as f64 + TALL;
        label(&mut out, bottom - TALL / 2.0, row.policy);
        let Some(measured) = row.seeds.first() else {
            continue;
        };
        let high = |seats_held: f64| bottom - TALL * (seats_held / point / seats).min(1.05);
        let mut below = vec![0.0; shown];
        for (tier, colour) in (0..run.tiers.len()).zip(TIERS.iter().cycle()) {
            let above: Vec<f64> = (0..shown)
                .map(|at| below[at] + measured.course[at].1[tier])
                .collect();
            let mut path = String::new();
            for (at, held) in above.iter().enumerate() {
                let y = high(*held);
                let _ = write!(
                    path,
                    "{:.1},{y:.1} {:.1},{y:.1} ",
                    across(at),
                    across(at + 1)
                );
            }
            for (at, held) in below.iter().enumerate().rev() {
                let y = high(*held);
                let _ = write!(
                    path,
                    "{:.1},{y:.1} {:.1},{y:.1} ",
                    across(at + 1),
                    across(at)
                );
            }
            let _ = writeln!(
                out,
                "<polygon points=\"{}\" fill=\"{colour}\"/>",
                path.trim_end()
            );
            below = above;
        }
        let _ = writeln!(
            out,
            "<line x1=\"{LEFT}\" y1=\"{bottom:.1}\" x2=\"{:.1}\" y2=\"{bottom:.1}\" class=\"axis\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\">{seats}</text>",
            LEFT + wide,
            LEFT + wide + 6.0,
            bottom - TALL + 8.0
        );
    }
    let bottom = TOP + (TALL + 16.0) * table.rows.len() as f64;
    let last = point * shown as f64;
    for quarter in 0..=4 {
        let x = LEFT + wide * f64::from(quarter) / 4.0;
        let _ = writeln!(
            out,
            "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{:.0}</text>",
            bottom + 4.0,
            last * f64::from(quarter) / 4.0
        );
    }
    let _ = writeln!(
        out,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">seconds (seed 1)</text>\n</svg>",
        LEFT + wide / 2.0,
        bottom + 22.0
    );
    out
}
