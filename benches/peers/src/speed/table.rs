//! The figures on the terminal, as a page, and as JSON.

use serde_json::{Value, json};

use super::measure::{Figures, Measured};
use super::row::Who;

impl Measured {
    /// What `row` adds to the bare call, on one thread or two.
    fn over(&self, row: &Figures, threads: usize) -> f64 {
        (row.nanos[threads] - self.bare.nanos[threads]).max(0.1)
    }

    fn ours(&self) -> Option<&Figures> {
        let ours = self.rows.iter().find(|(_, who, _)| *who == Who::Ours);
        ours.map(|(row, ..)| row)
    }

    /// Ours over that of `row`, where the two do the same.
    fn ratio(&self, row: &Figures, who: Who, threads: usize) -> Option<f64> {
        if who != Who::Peer {
            return None;
        }
        Some(self.over(self.ours()?, threads) / self.over(row, threads))
    }

    /// Ours over that of the best peer.
    fn worst(&self, threads: usize) -> Option<(&'static str, f64)> {
        let ratios = self
            .rows
            .iter()
            .filter_map(|(row, who, _)| Some((row.name, self.ratio(row, *who, threads)?)));
        ratios.max_by(|(_, a), (_, b)| a.total_cmp(b))
    }
}

pub fn print(group: &Measured) {
    let [alone, together] = group.bare.nanos;
    println!("\n{}  (bare {alone:.1} / {together:.1} ns)", group.title);
    println!(
        "  {:34} {:>8} {:>6}  {:>8} {:>6}  {:>6}",
        "over the bare call", "1 thread", "ratio", "2", "ratio", "allocs"
    );
    for (row, who, remark) in &group.rows {
        let ratio = |threads| {
            let ratio = group.ratio(row, *who, threads);
            ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"))
        };
        println!(
            "  {:34} {:>8.1} {:>6}  {:>8.1} {:>6}  {:>6.2}  {remark}",
            row.name,
            group.over(row, 0),
            ratio(0),
            group.over(row, 1),
            ratio(1),
            row.allocations,
        );
    }
}

/// Each group beside its best peer: a line for a row that is won or lost.
pub fn summary(all: &[Measured]) {
    println!("\nours / the best peer that does the same");
    for group in all {
        let Some(ours) = group.ours() else { continue };
        let beside = |threads| {
            let (over, worst) = (group.over(ours, threads), group.worst(threads));
            worst.map_or_else(
                || format!("{over:6.1} ns      (no peer)"),
                |(peer, ratio)| {
                    let lost = if ratio > 1.0 { " LOST" } else { "" };
                    format!("{over:6.1} ns {ratio:5.2} ({peer}){lost}")
                },
            )
        };
        println!("  {:34} {:44} {}", group.title, beside(0), beside(1));
    }
}

/// A row of ours that allocates, if one does.
pub fn allocating(all: &[Measured]) -> Option<String> {
    let rows = all
        .iter()
        .flat_map(|group| group.rows.iter().map(move |row| (group, row)));
    rows.filter(|(_, (_, who, _))| *who == Who::Ours)
        .find(|(_, (row, ..))| row.allocations > 0.0)
        .map(|(group, (row, ..))| format!("{}, {}", group.title, row.name))
}

pub fn json(all: &[Measured]) -> String {
    let rows: Vec<Value> = all
        .iter()
        .flat_map(|group| {
            group.rows.iter().map(|(row, who, remark)| {
                json!({
                    "group": group.title,
                    "name": row.name,
                    "who": match who {
                        Who::Ours => "mainstay",
                        Who::Peer => "peer",
                        Who::Less => "does less",
                    },
                    "remark": remark,
                    "nanos": [group.over(row, 0), group.over(row, 1)],
                    "bare": group.bare.nanos,
                    "ratio": [group.ratio(row, *who, 0), group.ratio(row, *who, 1)],
                    "allocations": row.allocations,
                })
            })
        })
        .collect();
    let mut text = format!("{:#}", json!({ "threads": [1, 2], "rows": rows }));
    text.push('\n');
    text
}

/// `docs/speed.md`.
pub fn markdown(all: &[Measured]) -> String {
    let mut page = String::from(HEAD);
    for group in all {
        let [alone, together] = group.bare.nanos;
        page += &format!(
            "\n## {}\n\nThe bare call: {alone:.1} ns, {together:.1} ns on each of two threads.\n\n\
             | over the bare call | ns, 1 thread | ratio | ns, 2 threads | ratio | allocations | |\n\
             |---|---|---|---|---|---|---|\n",
            group.title
        );
        for (row, who, remark) in &group.rows {
            let ratio = |threads| match group.ratio(row, *who, threads) {
                Some(ratio) if ratio > 1.0 => format!("**{ratio:.2} lost**"),
                Some(ratio) => format!("{ratio:.2}"),
                None => String::new(),
            };
            page += &format!(
                "| {} | {:.1} | {} | {:.1} | {} | {:.2} | {remark} |\n",
                row.name,
                group.over(row, 0),
                ratio(0),
                group.over(row, 1),
                ratio(1),
                row.allocations,
            );
        }
    }
    page
}

const HEAD: &str = "# What a call costs

Written by `cargo run --release --manifest-path benches/peers/Cargo.toml --bin mainstay-peers -- --markdown docs/speed.md`,
on two cores of a virtual machine. Read the ratios, not the nanoseconds: ours over the peer's, in the same run, where both do
the same work; below one we are ahead, and what is lost says so.

Where we lose, and why:

- **A rate limit that is asked by hand**, alone or for each of many keys: ours asks the runtime's clock, which a test can
  pause and which costs most of the call; governor's default clock reads the processor's counter. With the standard
  library's clock beneath both, the difference is about a third.
- **A retry that fails once**: ours asks a classifier, the budget twice and the clock, honours what the callee said about
  when to come back, and says what it does to whoever listens. tower's asks its budget.
- **An attempt timeout alone whose call is pending**: ours tells the layers below how much time is left. Beside a total
  deadline, where it usually stands, both share one timer and it is ahead.
";
