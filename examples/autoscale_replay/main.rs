//! What autoscaling policies cost, and whom they keep waiting, on the same traces.
//!
//! ```text
//! cargo run --release --example autoscale_replay                      # a few traces, a few seconds
//! cargo run --release --example autoscale_replay -- --full            # all of them, five seeds, three warm-ups
//! cargo run --release --example autoscale_replay -- --full --shape bursts --warm-up 60 --seeds 1    # one of them
//! cargo run --release --example autoscale_replay -- --docs docs/autoscaling   # the plots and the table of the docs
//! cargo run --release --example autoscale_replay -- --csv FILE --capacity 1   # your own trace
//! ```
//!
//! It fails where a promise is broken on a generated trace: more than one turn an hour on average, replicas taken away during
//! a metric outage, or more replica hours than the best setting of the Kubernetes autoscaler at one long wait in a hundred
//! (where load has no structure, 5 % more). The recorded hour is shown and promises nothing: an hour is no average.

#![expect(clippy::disallowed_methods, reason = "reads the command line")]
#![expect(
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    reason = "an example prints, and its numbers are small"
)]

mod kubernetes;
mod plots;
mod policies;
mod sweep;

use mainstay::autoscale::simulate::{Shape, Trace};
use std::error::Error;
use std::fmt::Write;
use std::path::Path;

use policies::{ALL, FEW, Kind};
use sweep::{Row, Sweep};

/// The share of long waits at which hours are compared.
const SHARE: f64 = 0.01;
/// How much more the unpredictable trace may cost.
const UNPREDICTABLE: f64 = 1.05;
const AZURE: &str = include_str!("../data/azure_llm_code_2023.csv");

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let after = |name: &str| {
        let place = args.iter().position(|arg| arg == name)?;
        args.get(place + 1).map(String::as_str)
    };
    if let Some(file) = after("--csv") {
        let capacity = after("--capacity").map_or(Ok(1), str::parse)?;
        let trace = Trace::from_csv(file, &std::fs::read_to_string(file)?)?;
        print!("{}", table(&recorded(&trace, capacity, 300)?));
        return Ok(());
    }
    if let Some(folder) = after("--docs") {
        return plots::write(Path::new(folder));
    }
    let full = args.iter().any(|arg| arg == "--full");
    let given: Vec<u32> = after("--warm-up")
        .map(str::parse)
        .transpose()?
        .into_iter()
        .collect();
    let warm_ups: &[u32] = match (&given[..], full) {
        ([], true) => &[60, 300, 600],
        ([], false) => &[300],
        (given, _) => given,
    };
    let seeds = after("--seeds").map_or(Ok(if full { 5 } else { 1 }), str::parse)?;
    let only = after("--shape")
        .map(|name| {
            let found = Shape::ALL.into_iter().find(|shape| shape.as_str() == name);
            found.ok_or_else(|| format!("no shape is called {name}"))
        })
        .transpose()?;
    let mut broken = Vec::new();
    for &warm_up in warm_ups {
        println!("\n## {warm_up} s to start\n");
        let compared = compare(warm_up, full, seeds, only)?;
        print!("{}", table(&compared));
        for (shape, rows) in &compared {
            broken.extend(promises(shape, rows, warm_up));
        }
    }
    println!("\n## An hour of a real service: Azure LLM inference trace 2023 (code), CC-BY 4.0\n");
    print!(
        "{}",
        table(&recorded(&Trace::from_csv("azure code", AZURE)?, 1, 60)?)
    );
    if broken.is_empty() {
        return Ok(());
    }
    Err(broken.join("\n").into())
}

type Compared = Vec<(String, Vec<Row>)>;

fn compare(
    warm_up: u32,
    full: bool,
    seeds: u64,
    only: Option<Shape>,
) -> Result<Compared, Box<dyn Error>> {
    let shapes: &[Shape] = match (full, only) {
        (_, Some(only)) => &[only],
        (true, None) => &Shape::ALL,
        (false, None) => &[Shape::Bursts, Shape::Outage, Shape::Steps],
    };
    let (kinds, days) = if full { (&ALL[..], 7) } else { (&FEW[..], 5) };
    let sweep = Sweep {
        capacity: 10,
        warm_up,
        learning: 3 * 86_400,
        full,
    };
    let row = |shape: &Shape| -> Result<_, String> {
        let traces: Vec<Trace> = (1..=seeds)
            .map(|seed| Trace::generated(*shape, days, seed))
            .collect();
        let rows = sweep
            .rows(kinds, &traces)
            .map_err(|error| error.to_string())?;
        Ok((shape.as_str().to_owned(), rows))
    };
    // Each shape on a thread of its own: they share nothing.
    std::thread::scope(|scope| {
        let runs: Vec<_> = shapes
            .iter()
            .map(|shape| scope.spawn(move || row(shape)))
            .collect();
        let ended = runs
            .into_iter()
            .map(|run| run.join().map_err(|_| "a replay panicked".to_owned()));
        ended
            .map(|rows| rows.and_then(|rows| rows).map_err(Into::into))
            .collect()
    })
}

fn recorded(trace: &Trace, capacity: u32, warm_up: u32) -> Result<Compared, Box<dyn Error>> {
    let sweep = Sweep {
        capacity,
        warm_up,
        learning: 0,
        full: true,
    };
    let rows = sweep.rows(&ALL, std::slice::from_ref(trace))?;
    Ok(vec![(trace.name().to_owned(), rows)])
}

/// Replica hours at one long wait in a hundred, and the most turns an hour at any headroom.
fn table(compared: &Compared) -> String {
    let mut text = String::new();
    for (place, (name, rows)) in compared.iter().enumerate() {
        if place == 0 {
            let kinds = rows.iter().map(|row| row.kind.name());
            let head: Vec<_> = kinds.map(|kind| format!("{kind} | turns")).collect();
            let _ = writeln!(text, "| trace | {} |", head.join(" | "));
            let _ = writeln!(text, "|---|{}", "---:|".repeat(2 * rows.len()));
        }
        let cells: Vec<_> = rows
            .iter()
            .map(|row| {
                let hours = row
                    .curve
                    .at(SHARE)
                    .map_or("never".to_owned(), |hours| format!("{hours:.0}"));
                format!("{hours} | {:.2}", row.curve.turns_an_hour())
            })
            .collect();
        let _ = writeln!(text, "| {name} | {} |", cells.join(" | "));
    }
    text
}

fn promises(shape: &str, rows: &[Row], warm_up: u32) -> Vec<String> {
    let mut broken = Vec::new();
    let best = rows
        .iter()
        .filter(|row| row.kind.is_hpa())
        .filter_map(|row| row.curve.at(SHARE))
        .reduce(f64::min);
    for row in rows
        .iter()
        .filter(|row| matches!(row.kind, Kind::Foreseeing | Kind::Gpu))
    {
        let name = row.kind.name();
        if row.curve.turns_an_hour() > 1.0 {
            broken.push(format!(
                "{shape}, {warm_up} s: {name} turns more than once an hour on average"
            ));
        }
        if row.blind_removals > 0 {
            broken.push(format!(
                "{shape}, {warm_up} s: {name} takes replicas away blindly"
            ));
        }
    }
    let ours = rows
        .iter()
        .find(|row| row.kind == Kind::Foreseeing)
        .and_then(|row| row.curve.at(SHARE));
    let structured = Shape::ALL
        .iter()
        .any(|known| known.as_str() == shape && known.is_structured());
    let allowed = if structured { 1.0 } else { UNPREDICTABLE };
    match (ours, best) {
        (Some(ours), Some(best)) if ours <= best * allowed => {}
        (_, None) => {}
        (ours, Some(best)) => broken.push(format!(
            "{shape}, {warm_up} s: {ours:?} hours where the Kubernetes autoscaler has {best:.0}"
        )),
    }
    broken
}
