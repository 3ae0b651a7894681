//! The figures of all runs, as tables.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::bars::{Bar, Metric};
use super::measure::Measured;
use super::scenario::always;
use super::world::Run;

/// A figure over the seeds.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

/// One policy in one world, each seed.
#[derive(Clone, Debug)]
pub struct Row {
    pub policy: &'static str,
    pub seeds: Vec<Measured>,
}

impl Row {
    pub fn spread(&self, metric: Metric) -> Option<Spread> {
        let mut values: Vec<f64> = self.seeds.iter().filter_map(|run| metric.of(run)).collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let half = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[half]
        } else {
            f64::midpoint(values[half - 1], values[half])
        };
        Some(Spread { median, min, max })
    }

    /// Whether every seed keeps to the line. What cannot be told breaks no line: nobody was refused, nobody waited.
    pub fn meets(&self, bar: &Bar) -> bool {
        let values = self.seeds.iter().filter_map(|run| bar.metric.of(run));
        values.into_iter().all(|value| bar.holds(value))
    }

    fn cell(&self, metric: Metric, with_range: bool) -> String {
        let Some(spread) = self.spread(metric) else {
            return "–".to_owned();
        };
        let [median, min, max] = [spread.median, spread.min, spread.max].map(|v| metric.figure(v));
        if with_range && min != max {
            format!("{median} ({min}–{max})")
        } else {
            median
        }
    }
}

/// One world, every policy.
#[derive(Clone, Debug)]
pub struct Table {
    pub run: Run,
    pub rows: Vec<Row>,
}

impl Table {
    /// What the bars are about, what else is shown, and what a policy did that it must not.
    fn columns(&self) -> Vec<Metric> {
        let run = &self.run;
        let mut columns: Vec<Metric> = run.bars.iter().map(|bar| bar.metric).collect();
        columns.extend(&run.shown);
        if columns.is_empty() {
            columns.extend((0..run.tiers.len()).map(Metric::TierShare));
            for group in 0..run.groups.len() {
                columns.extend([
                    Metric::Served(group),
                    Metric::WorstServed(group),
                    Metric::WaitP50(group),
                    Metric::WaitP99(group),
                    Metric::NoMean(group),
                ]);
            }
            columns.extend([Metric::Used, Metric::Idle]);
        }
        let over = |row: &Row| row.seeds.iter().any(|run| run.over > 0);
        if self.rows.iter().any(over) {
            columns.push(Metric::Over);
        }
        let mut once = Vec::new();
        for column in columns {
            if !once.contains(&column) {
                once.push(column);
            }
        }
        once
    }

    /// The lines of the scenario, then those of every run.
    fn bars(&self) -> Vec<Bar> {
        self.run.bars.iter().copied().chain(always()).collect()
    }

    /// Lines that a policy does not meet. Those of a scenario that was changed do not count.
    pub fn missed(&self, policy: &str) -> Vec<String> {
        let mut missed = Vec::new();
        for row in self.rows.iter().filter(|row| row.policy == policy) {
            let bars = if self.run.altered {
                always()
            } else {
                self.bars()
            };
            for bar in bars.iter().filter(|bar| !row.meets(bar)) {
                let (id, label) = (&self.run.id, bar.metric.label(&self.run));
                let cell = row.cell(bar.metric, true);
                let unit = bar.metric.unit_name();
                missed.push(format!(
                    "{id}: {label} {cell}{unit}, the line is {}",
                    bar.bound()
                ));
            }
        }
        missed
    }

    pub fn terminal(&self) -> String {
        let run = &self.run;
        let mut out = String::new();
        let _ = writeln!(out, "\n{}  {}", run.id, run.title);
        let columns = self.columns();
        let heads: Vec<String> = columns
            .iter()
            .map(|metric| format!("{}{}", metric.label(run), metric.unit_name()))
            .collect();
        let width = |head: &String| head.chars().count().max(8);
        let _ = write!(out, "{:16}", "");
        for head in &heads {
            let _ = write!(out, "  {head:>width$}", width = width(head));
        }
        out.push('\n');
        for row in &self.rows {
            let _ = write!(out, "{:16}", row.policy);
            for (metric, head) in columns.iter().zip(&heads) {
                let cell = row.cell(*metric, false);
                let _ = write!(out, "  {cell:>width$}", width = width(head));
            }
            out.push('\n');
        }
        if let Some(fluid) = run.fluid().filter(|fluid| fluid.len() > 1) {
            let shares: Vec<String> = run
                .tiers
                .iter()
                .zip(&fluid)
                .map(|(tier, share)| format!("{} {:.1} %", tier.name, share * 100.0))
                .collect();
            let _ = writeln!(
                out,
                "  a fluid would be shared {} of {:.1} seats",
                shares.join(", "),
                run.seats()
            );
        }
        for row in self.rows.iter().filter(|row| row.policy == "mainstay") {
            out.push_str(&reasons(run, row));
            let note = if run.altered && !run.bars.is_empty() {
                "  (a line of the scenario as written)"
            } else {
                ""
            };
            for (place, bar) in self.bars().iter().enumerate() {
                let verdict = if row.meets(bar) { "met   " } else { "MISSED" };
                let _ = writeln!(
                    out,
                    "  {verdict}  {} {}{}, the line is {}{}",
                    bar.metric.label(run),
                    row.cell(bar.metric, true),
                    bar.metric.unit_name(),
                    bar.bound(),
                    if place < run.bars.len() { note } else { "" },
                );
            }
        }
        out
    }

    /// A section of the page.
    pub fn markdown(&self, pictures: &[(String, String)]) -> String {
        let run = &self.run;
        let mut out = format!(
            "\n## {}: {}\n\n{}\n",
            run.id,
            run.title,
            wrapped(&run.about)
        );
        for (file, what) in pictures {
            let _ = writeln!(out, "\n![{what}]({file})");
        }
        let columns = self.columns();
        let _ = write!(out, "\n| |");
        for metric in &columns {
            let unit = metric.unit_name().trim();
            let comma = if unit.is_empty() { "" } else { ", " };
            let _ = write!(out, " {}{comma}{unit} |", metric.label(run));
        }
        let _ = writeln!(out, "\n|---|{}", "---:|".repeat(columns.len()));
        for row in &self.rows {
            let _ = write!(out, "| {} |", row.policy);
            for metric in &columns {
                let _ = write!(out, " {} |", row.cell(*metric, true));
            }
            out.push('\n');
        }
        let _ = write!(out, "\n| line |");
        for row in &self.rows {
            let _ = write!(out, " {} |", row.policy);
        }
        let _ = writeln!(out, "\n|---|{}", "---|".repeat(self.rows.len()));
        for bar in &run.bars {
            let _ = write!(out, "| {} {} |", bar.metric.label(run), bar.bound());
            for row in &self.rows {
                let _ = write!(
                    out,
                    " {} |",
                    if row.meets(bar) { "met" } else { "**missed**" }
                );
            }
            out.push('\n');
        }
        out
    }

    /// How many of the scenario's lines each policy meets.
    pub fn met(&self) -> Vec<(usize, usize)> {
        let all = self.run.bars.len();
        let met = |row: &Row| self.run.bars.iter().filter(|bar| row.meets(bar)).count();
        self.rows.iter().map(|row| (met(row), all)).collect()
    }
}

/// Why requests got no seat, by group, in a thousand requests offered.
fn reasons(run: &Run, row: &Row) -> String {
    let mut out = String::new();
    for (place, group) in run.groups.iter().enumerate() {
        let fates = || row.seeds.iter().map(|seed| &seed.groups[place]);
        let offered: u64 = fates().map(|fate| fate.offered).sum();
        let mut all = BTreeMap::new();
        for (why, count) in fates().flat_map(|fate| &fate.reasons) {
            *all.entry(*why).or_insert(0) += count;
        }
        if !all.is_empty() {
            let all = all.iter().map(|(why, count)| {
                let share = *count as f64 / offered as f64 * 1e3;
                format!("{why} {share:.2}")
            });
            let all: Vec<String> = all.collect();
            let _ = writeln!(
                out,
                "  of 1000 of {} refused: {}",
                group.name,
                all.join(", ")
            );
        }
    }
    out
}

/// Lines of at most 120 characters.
pub fn wrapped(text: &str) -> String {
    let mut out = String::new();
    let mut width = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if width > 0 && width + 1 + length > 120 {
            out.push('\n');
            width = 0;
        } else if width > 0 {
            out.push(' ');
            width += 1;
        }
        out.push_str(word);
        width += length;
    }
    out
}
