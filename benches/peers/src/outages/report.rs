//! The figures of all runs: as a table, as JSON, as a page.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::measure::{Course, Measured, Metric};
use super::plot;
use super::scenario::{Bound, Line, Scenario};

/// One metric of one entrant over the seeds.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

/// One entrant in one scenario.
#[derive(Clone, Debug)]
pub struct Row {
    pub entrant: &'static str,
    pub runs: Vec<Measured>,
}

impl Row {
    /// `None` where the metric does not apply to the entrant.
    pub fn spread(&self, metric: Metric) -> Option<Spread> {
        let mut values: Vec<f64> = self.runs.iter().filter_map(|run| run.get(metric)).collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let median = middle(&values);
        Some(Spread { median, min, max })
    }

    /// Whether a line is passed; `None` where it does not apply.
    pub fn passes(&self, line: &Line) -> Option<bool> {
        self.spread(line.metric)
            .map(|spread| line.holds(spread.median))
    }

    /// The median course.
    pub fn course(&self) -> Course {
        let of = |part: fn(&Course) -> &Vec<f64>| {
            let length = self
                .runs
                .iter()
                .map(|run| part(&run.course).len())
                .min()
                .unwrap_or(0);
            (0..length)
                .map(|second| {
                    let mut values: Vec<f64> = self
                        .runs
                        .iter()
                        .filter_map(|run| part(&run.course).get(second).copied())
                        .collect();
                    values.sort_by(f64::total_cmp);
                    middle(&values)
                })
                .collect()
        };
        Course {
            offered: of(|course| &course.offered),
            good: of(|course| &course.good),
            attempts: of(|course| &course.attempts),
        }
    }
}

/// The median; of an even number the mean of the two, so that a metric that is 0 or 1 shows when seeds disagree.
fn middle(sorted: &[f64]) -> f64 {
    let half = sorted.len() / 2;
    match (sorted.get(half), sorted.len() % 2) {
        (None, _) => f64::NAN,
        (Some(value), 1) => *value,
        (Some(value), _) => f64::midpoint(sorted[half - 1], *value),
    }
}

/// One scenario, everybody in it.
#[derive(Clone, Debug)]
pub struct Table {
    pub scenario: Scenario,
    pub rows: Vec<Row>,
}

impl Table {
    pub fn seeds(&self) -> usize {
        self.rows.first().map_or(0, |row| row.runs.len())
    }
}

/// All scenarios of one mode.
#[derive(Clone, Debug)]
pub struct Report {
    pub mode: &'static str,
    pub tables: Vec<Table>,
}

const FIRST: &[Metric] = &[
    Metric::Goodput,
    Metric::GoodputAll,
    Metric::Amplification,
    Metric::Wasted,
];
const LAST: &[Metric] = &[
    Metric::GoodP50,
    Metric::GoodP99,
    Metric::GoodP999,
    Metric::RefusedP50,
    Metric::RefusedP99,
    Metric::RefusedP999,
    Metric::Late,
    Metric::Hung,
    Metric::Leaked,
];

fn columns(scenario: &Scenario) -> Vec<Metric> {
    let mut columns = FIRST.to_vec();
    for metric in scenario.shown.iter().chain(LAST) {
        if !columns.contains(metric) {
            columns.push(*metric);
        }
    }
    columns
}

fn figure(metric: Metric, value: f64) -> String {
    if value.is_infinite() {
        return "never".to_owned();
    }
    let value = if metric.unit() == "%" {
        value * 100.0
    } else {
        value
    };
    format!("{value:.*}", metric.digits())
}

fn with_unit(metric: Metric, value: f64) -> String {
    let figure = figure(metric, value);
    match metric.unit() {
        _ if value.is_infinite() => figure,
        "" => figure,
        "%" => format!("{figure} %"),
        unit => format!("{figure} {unit}"),
    }
}

/// Median and, where the seeds differ visibly, least and most.
fn cell(row: &Row, metric: Metric, with_range: bool) -> String {
    let Some(spread) = row.spread(metric) else {
        return "–".to_owned();
    };
    let [median, min, max] =
        [spread.median, spread.min, spread.max].map(|value| figure(metric, value));
    if with_range && min != max {
        format!("{median} ({min}–{max})")
    } else {
        median
    }
}

fn bound(line: &Line) -> String {
    match line.bound {
        Bound::AtLeast(bound) => format!("≥ {}", with_unit(line.metric, bound)),
        Bound::AtMost(bound) => format!("≤ {}", with_unit(line.metric, bound)),
    }
}

fn verdict(row: &Row, line: &Line) -> &'static str {
    match row.passes(line) {
        Some(true) => "pass",
        Some(false) => "FAIL",
        None => "–",
    }
}

impl Report {
    /// Every line that `entrant` does not pass.
    pub fn failures(&self, entrant: &str) -> Vec<String> {
        let mut failures = Vec::new();
        for table in &self.tables {
            for row in table.rows.iter().filter(|row| row.entrant == entrant) {
                for line in table
                    .scenario
                    .lines
                    .iter()
                    .filter(|line| row.passes(line) != Some(true))
                {
                    let cell = cell(row, line.metric, true);
                    let (id, label, bound) = (table.scenario.id, line.metric.label(), bound(line));
                    failures.push(format!("{id}: {label} {cell}, the line is {bound}"));
                }
                for metric in [Metric::Late, Metric::Hung, Metric::Leaked] {
                    if row.spread(metric).is_some_and(|spread| spread.max > 0.0) {
                        failures.push(format!(
                            "{}: {} {}",
                            table.scenario.id,
                            metric.label(),
                            cell(row, metric, true)
                        ));
                    }
                }
            }
        }
        failures
    }

    pub fn terminal(&self) -> String {
        let mut out = String::new();
        for table in &self.tables {
            let scenario = &table.scenario;
            let _ = writeln!(
                out,
                "\n{} {} ({}, {} seeds, medians)",
                scenario.id,
                scenario.title,
                self.mode,
                table.seeds()
            );
            let columns = columns(scenario);
            let _ = write!(out, "{:17}", "");
            for metric in &columns {
                let head = match metric.unit() {
                    "" => metric.label().to_owned(),
                    unit => format!("{} {unit}", metric.label()),
                };
                let _ = write!(out, " {head:>9}");
            }
            out.push('\n');
            for row in &table.rows {
                let _ = write!(out, "{:17}", row.entrant);
                for metric in &columns {
                    let head = metric.label().chars().count() + 1 + metric.unit().chars().count();
                    let width = if metric.unit().is_empty() {
                        head - 1
                    } else {
                        head
                    }
                    .max(9);
                    let _ = write!(out, " {:>width$}", cell(row, *metric, false));
                }
                for line in &scenario.lines {
                    let _ = write!(
                        out,
                        "  {} {} {}",
                        line.metric.label(),
                        bound(line),
                        verdict(row, line)
                    );
                }
                out.push('\n');
            }
        }
        out
    }

    pub fn json(&self) -> Value {
        let tables = self.tables.iter().map(|table| {
            let rows = table.rows.iter().map(|row| {
                let mut metrics = Map::new();
                for metric in Metric::ALL {
                    if let Some(spread) = row.spread(*metric) {
                        // JSON has no infinity: what never happened is null.
                        let value = json!({ "median": spread.median, "min": spread.min, "max": spread.max });
                        metrics.insert(metric.key().to_owned(), value);
                    }
                }
                let lines = table.scenario.lines.iter().map(|line| {
                    json!({ "metric": line.metric.key(), "line": bound(line), "passes": row.passes(line) })
                });
                json!({ "entrant": row.entrant, "metrics": metrics, "lines": lines.collect::<Vec<_>>() })
            });
            json!({ "id": table.scenario.id, "seeds": table.seeds(), "title": table.scenario.title, "rows": rows.collect::<Vec<_>>() })
        });
        json!({ "mode": self.mode, "scenarios": tables.collect::<Vec<_>>() })
    }

    /// Who passes how many lines, and a section for each scenario.
    ///
    /// `pictures` is the folder of the pictures, relative to the page; none are shown without it.
    pub fn markdown(&self, pictures: Option<&str>) -> String {
        let mut out = self.summary();
        for table in &self.tables {
            let scenario = &table.scenario;
            let _ = writeln!(
                out,
                "\n### {}: {}\n\n{}\n",
                scenario.id, scenario.title, scenario.about
            );
            if let Some(pictures) = pictures {
                let file = plot::file(scenario);
                let _ = writeln!(
                    out,
                    "![Goodput and load over time, {}]({pictures}/{file})\n",
                    scenario.id
                );
            }
            let lines = scenario
                .lines
                .iter()
                .map(|line| format!("{} {}", line.metric.label(), bound(line)));
            heading(&mut out, &mut lines.collect::<Vec<_>>().into_iter());
            for row in &table.rows {
                let _ = write!(out, "| {} |", row.entrant);
                for line in &scenario.lines {
                    let passes = match row.passes(line) {
                        Some(true) => ": pass",
                        Some(false) => ": **FAIL**",
                        None => "",
                    };
                    let _ = write!(out, " {}{passes} |", cell(row, line.metric, true));
                }
                out.push('\n');
            }
            out.push('\n');
            let rest = columns(scenario);
            let rest = || {
                rest.iter()
                    .filter(|metric| scenario.lines.iter().all(|line| line.metric != **metric))
            };
            let heads = rest().map(|metric| match metric.unit() {
                "" => metric.label().to_owned(),
                unit => format!("{}, {unit}", metric.label()),
            });
            heading(&mut out, &mut heads.into_iter());
            for row in &table.rows {
                let _ = write!(out, "| {} |", row.entrant);
                for metric in rest() {
                    let _ = write!(out, " {} |", cell(row, *metric, true));
                }
                out.push('\n');
            }
        }
        out
    }

    fn summary(&self) -> String {
        let mut out = String::new();
        let ids = self.tables.iter().map(|table| table.scenario.id.to_owned());
        heading(
            &mut out,
            &mut ids.chain(["of the oracle's goodput".to_owned()]),
        );
        let entrants: Vec<_> = self.tables.first().map_or(Vec::new(), |table| {
            table.rows.iter().map(|row| row.entrant).collect()
        });
        for entrant in entrants {
            let _ = write!(out, "| {entrant} |");
            let mut logarithms = Vec::new();
            for table in &self.tables {
                let goodput = |name: &str| {
                    let row = table.rows.iter().find(|row| row.entrant == name)?;
                    row.spread(Metric::GoodputAll).map(|spread| spread.median)
                };
                if let (Some(own), Some(best)) = (goodput(entrant), goodput("oracle")) {
                    logarithms.push((own / best).max(1e-3).ln());
                }
                let row = table.rows.iter().find(|row| row.entrant == entrant);
                let verdicts = table
                    .scenario
                    .lines
                    .iter()
                    .filter_map(|line| row.and_then(|row| row.passes(line)));
                let (passed, all) = verdicts.fold((0, 0), |(passed, all), pass| {
                    (passed + i32::from(pass), all + 1)
                });
                let _ = write!(out, " {passed} of {all} |");
            }
            if logarithms.is_empty() {
                out.push_str(" – |\n");
            } else {
                let mean = (logarithms.iter().sum::<f64>() / logarithms.len() as f64).exp();
                let _ = writeln!(out, " {:.1} % |", mean * 100.0);
            }
        }
        out
    }
}

fn heading(out: &mut String, heads: &mut dyn Iterator<Item = String>) {
    let heads: Vec<_> = heads.collect();
    let _ = writeln!(
        out,
        "| |{}",
        heads
            .iter()
            .map(|head| format!(" {head} |"))
            .collect::<String>()
    );
    let _ = writeln!(
        out,
        "|---|{}",
        heads.iter().map(|_| "---:|").collect::<String>()
    );
}
