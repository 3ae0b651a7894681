//! The figures as a page.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::bars::{BARS, Figure, Judged};
use super::crew::Cell;
use super::entrants::{self, Kind};

/// A disk that makes less than this share of what the bars are made for says little about them.
const TOO_SLOW: f64 = 0.25;

/// What was measured, and on what.
pub struct Report {
    pub cells: Vec<Cell>,
    /// Syncs a second.
    pub probes: Vec<f64>,
    /// Seconds of a measurement, and how many of each row there are.
    pub time: f64,
    pub rounds: usize,
    /// Milliseconds that a slow sync takes more.
    pub delay: f64,
    /// The server's version, or why there is none.
    pub postgres: Result<String, String>,
}

/// A table whose columns line up in a terminal too; the first is text, the others are figures until the last.
fn table(out: &mut String, rows: &[Vec<String>]) {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let columns = rows.first().map_or(0, Vec::len);
    let text = |column: usize| column == 0 || column + 1 == columns;
    for (at, row) in rows.iter().enumerate() {
        for (column, cell) in row.iter().enumerate() {
            let width = width(column);
            let _ = match text(column) {
                true => write!(out, "| {cell:<width$} "),
                false => write!(out, "| {cell:>width$} "),
            };
        }
        out.push_str("|\n");
        if at == 0 {
            for column in 0..columns {
                let dashes = "-".repeat(width(column) + 1);
                let _ = match text(column) {
                    true => write!(out, "|{dashes}-"),
                    false => write!(out, "|{dashes}:"),
                };
            }
            out.push_str("|\n");
        }
    }
}

/// `12345.6` as `12 346`, with a thin gap that no Markdown eats.
fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn milliseconds(value: f64) -> String {
    match value {
        _ if value.is_nan() => "-".to_owned(),
        _ if value < 0.1 => format!("{value:.3}"),
        _ if value < 100.0 => format!("{value:.2}"),
        _ => thousands(value),
    }
}

impl Report {
    pub fn markdown(&self) -> String {
        let mut out = String::new();
        self.head(&mut out);
        self.lost(&mut out);
        self.bars(&mut out);
        for kind in Kind::ALL {
            self.kind(&mut out, kind);
        }
        self.slow(&mut out);
        self.settings(&mut out);
        out
    }

    fn head(&self, out: &mut String) {
        out.push_str("# How many sagas a second\n\n");
        out.push_str(
            "Written by `cargo run --release --locked --no-default-features --features sagas-peers --bin sagas -- --markdown\n\
             ../../docs/saga/speed.md` in `benches/peers`, on two cores of a virtual machine; a PostgreSQL server and its \
             clients\nshare them. The job is the same for everybody: six steps that do nothing, one after the other, so many \
             sagas in flight.\nEvery saga's end is waited for and checked, and so is the number of steps done.\n\n",
        );
        let mut probes = self.probes.clone();
        probes.sort_by(f64::total_cmp);
        if let (Some(least), Some(most)) = (probes.first(), probes.last()) {
            let _ = writeln!(
                out,
                "The disk: **{} syncs a second** in the middle of {} probes, {} at least and {} at most (4 KiB appended and \
                 synced, one\nafter the other; before and after each measurement).",
                thousands(probes[probes.len() / 2]),
                probes.len(),
                thousands(*least),
                thousands(*most)
            );
        }
        let _ = match &self.postgres {
            Ok(version) => writeln!(
                out,
                "PostgreSQL {version}, as it is installed, on the same disk."
            ),
            Err(why) => writeln!(out, "**No rows for PostgreSQL**: {why}."),
        };
        let absent = entrants::absent();
        if !absent.is_empty() {
            let _ = writeln!(out, "**Not built in**: {}.", absent.join(", "));
        }
        let _ = writeln!(
            out,
            "Each measurement takes about {} s, in a process of its own; each row stands with the best of its {}.\n",
            self.time, self.rounds
        );
        out.push_str(
            "- **syncs per saga**: calls of `fsync` and `fdatasync`, counted in the process, whoever calls them; of a \
             PostgreSQL server\n  those of its log, by its own count. Below one where several sagas share a sync.\n\
             - **CPU**: processor time of the process per saga, without the server's.\n\
             - **mainstay is**: our sagas a second over the row's. Below one we lose, and it says so.\n\n",
        );
    }

    /// Said before anything is won.
    fn lost(&self, out: &mut String) {
        let lost = self.cells.iter().filter_map(|cell| {
            let ratio = self.ratio(cell).filter(|ratio| *ratio < 1.0)?;
            let slow = if cell.slow { ", slow syncs" } else { "" };
            let synced = match (cell.entrant.kind, cell.entrant.durable) {
                (Kind::File, false) => ", which does not sync",
                _ => "",
            };
            Some(format!(
                "- to {}{synced}, {} in flight{slow}: {ratio:.2} × as many.\n",
                cell.entrant.label, cell.flight
            ))
        });
        let lost: String = lost.collect();
        let compared = self.cells.iter().any(|cell| self.ratio(cell).is_some());
        match lost.is_empty() {
            _ if !compared => {}
            true => out.push_str("We lose to nobody in this run.\n\n"),
            false => {
                let _ = writeln!(out, "Where we lose:\n\n{lost}");
            }
        }
    }

    fn bars(&self, out: &mut String) {
        let judged: Vec<Judged> = BARS
            .into_iter()
            .filter_map(|bar| bar.judge(&self.cells))
            .collect();
        if judged.is_empty() {
            return;
        }
        out.push_str("## What we ask of ourselves\n\n");
        out.push_str(
            "The bars are for a disk that makes 10,000 syncs a second. On a slower one they are a share of it, by the probe \
             beside\nthe row.\n\n",
        );
        let head = [
            "",
            "in flight",
            "bar",
            "share of the disk",
            "asked here",
            "found",
            "",
        ];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        for judged in &judged {
            let bar = judged.bar;
            let (what, show): (&str, fn(f64) -> String) = match bar.figure {
                Figure::Rate => ("sagas/s", thousands),
                Figure::P99 => ("p99, ms", milliseconds),
                Figure::Syncs => ("syncs of a lone saga", thousands),
            };
            let slow = if bar.slow { ", slow syncs" } else { "" };
            let share = match bar.by_disk {
                true => format!("{:.2}", judged.share),
                false => "-".to_owned(),
            };
            rows.push(vec![
                format!("{}{slow}, {what}", bar.entrant),
                bar.flight.to_string(),
                show(bar.bar),
                share,
                show(judged.asked),
                show(judged.found),
                match judged.met() {
                    true if judged.share < TOO_SLOW => "met, on a disk too slow to tell",
                    true => "met",
                    false => "**lost**",
                }
                .to_owned(),
            ]);
        }
        table(out, &rows);
        out.push('\n');
    }

    fn kind(&self, out: &mut String, kind: Kind) {
        let cells: Vec<&Cell> = self
            .cells
            .iter()
            .filter(|cell| cell.entrant.kind == kind && !cell.slow)
            .collect();
        if cells.is_empty() {
            return;
        }
        let _ = writeln!(out, "## {}\n", kind.title());
        if kind == Kind::File {
            out.push_str(
                "Rows that are *not synced* survive the end of the process and lose what they have acknowledged with the \
                 power.\n\n",
            );
        }
        self.rows(out, &cells);
    }

    fn slow(&self, out: &mut String) {
        let cells: Vec<&Cell> = self.cells.iter().filter(|cell| cell.slow).collect();
        if cells.is_empty() {
            return;
        }
        let _ = writeln!(out, "## On a disk like a cloud's\n");
        let _ = writeln!(
            out,
            "Every sync takes {} ms more. Those who sync, only.\n",
            self.delay
        );
        self.rows(out, &cells);
    }

    fn rows(&self, out: &mut String, cells: &[&Cell]) {
        let head = [
            "",
            "in flight",
            "sagas/s",
            "p50 ms",
            "p99 ms",
            "syncs per saga",
            "CPU µs",
            "probe",
            "mainstay is",
        ];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        let mut flights: Vec<usize> = cells.iter().map(|cell| cell.flight).collect();
        flights.sort_unstable();
        flights.dedup();
        for flight in flights {
            for cell in cells.iter().filter(|cell| cell.flight == flight) {
                rows.push(self.row(cell));
            }
        }
        table(out, &rows);
        out.push('\n');
    }

    fn row(&self, cell: &Cell) -> Vec<String> {
        let entrant = cell.entrant;
        let mut row = vec![entrant.label.to_owned(), cell.flight.to_string()];
        let mut remarks = Vec::new();
        let Some(best) = cell.best() else {
            row.extend(["-"; 6].map(str::to_owned));
            row.push(cell.flaw().unwrap_or_default());
            return row;
        };
        row.push(thousands(best.run.rate()));
        row.push(milliseconds(best.run.p50));
        row.push(milliseconds(best.run.p99));
        let syncs = best.run.syncs_per_saga();
        row.push(syncs.map_or_else(|| "-".to_owned(), |syncs| format!("{syncs:.2}")));
        row.push(thousands(best.run.work_per_saga()));
        row.push(match entrant.kind {
            Kind::Memory => "-".to_owned(),
            Kind::File | Kind::Postgres => thousands(best.probe),
        });
        if let Some(ratio) = self.ratio(cell) {
            remarks.push(match ratio {
                _ if ratio < 1.0 => format!("**lost**: {ratio:.2} ×"),
                _ if ratio < 10.0 => format!("{ratio:.1} ×"),
                _ => format!("{} ×", thousands(ratio)),
            });
        }
        if entrant.kind == Kind::File && !entrant.durable {
            remarks.push("not synced".to_owned());
        }
        remarks.extend(cell.flaw());
        row.push(remarks.join("; "));
        row
    }

    /// Our sagas a second over the row's; `None` for our own rows.
    fn ratio(&self, cell: &Cell) -> Option<f64> {
        if cell.entrant.ours() {
            return None;
        }
        let id = entrants::ours(cell.entrant.kind);
        let ours = self.cells.iter().find(|ours| {
            ours.entrant.id == id && ours.flight == cell.flight && ours.slow == cell.slow
        })?;
        Some(ours.best()?.run.rate() / cell.best()?.run.rate())
    }

    fn settings(&self, out: &mut String) {
        out.push_str("## How each is set up\n\n");
        out.push_str(
            "Two threads of tokio for everybody. Nobody but mainstay, steno and cano knows undos; with the others they are \
             code of\nthe workflow, and the job has none to run.\n\n",
        );
        let mut told: Vec<&str> = Vec::new();
        for cell in &self.cells {
            let entrant = cell.entrant;
            if !told.contains(&entrant.id) {
                told.push(entrant.id);
                let _ = writeln!(out, "- **{}**: {}.", entrant.label, entrant.settings);
            }
        }
    }

    pub fn json(&self) -> Value {
        let bars = BARS.into_iter().filter_map(|bar| {
            let judged = bar.judge(&self.cells)?;
            Some(json!({
                "entrant": bar.entrant, "in_flight": bar.flight, "slow": bar.slow,
                "figure": format!("{:?}", bar.figure), "bar": bar.bar, "share": judged.share,
                "asked": judged.asked, "found": judged.found, "met": judged.met(),
            }))
        });
        json!({
            "seconds": self.time, "rounds": self.rounds, "slow_sync_ms": self.delay,
            "probes": self.probes, "postgres": self.postgres.as_ref().ok(), "bars": bars.collect::<Vec<_>>(),
            "rows": self.cells.iter().map(Cell::json).collect::<Vec<_>>(),
        })
    }

    /// What is wrong with our own rows.
    pub fn flaws(&self) -> Vec<String> {
        let ours = self.cells.iter().filter(|cell| cell.entrant.ours());
        ours.filter_map(|cell| {
            let flaw = cell.flaw()?;
            Some(format!(
                "{}, {} in flight: {flaw}",
                cell.entrant.id, cell.flight
            ))
        })
        .collect()
    }
}
