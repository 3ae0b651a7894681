//! What a call costs through mainstay and through its peers, in one run and one table.
//!
//! `cargo run --release --manifest-path benches/peers/Cargo.toml`; `-- --json FILE` writes the figures, `--markdown FILE`
//! a page of them, `--only retry` runs the groups whose name has that in it, `--quick` takes a second and shows that it
//! runs.
//!
//! Every row of a group wraps the same service, so a row is what its layer costs. Each row runs on one thread, then on
//! two that share the policy, each pinned to a core and with a clone of the service. The rows of a group take turns in
//! short slices and the median of many counts: what else the machine does hits all of them alike. Read the ratios, not
//! the nanoseconds.
//!
//! A figure is what the row adds to the bare call. The ratio beside a peer is ours over the peer's: below one we are
//! ahead. It stands only beside peers that do the same work; what the others leave out is said. It fails if one of our
//! rows allocates.

#![expect(
    clippy::disallowed_methods,
    reason = "a bench reads the real clock and its command line, and runs threads"
)]

mod speed;

use mainstay_test_support::Counting;

use speed::measure::{Effort, Measured};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

type BoxResult<T> = Result<T, tower::BoxError>;

fn main() -> BoxResult<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| {
        let at = args.iter().position(|arg| arg == name)?;
        args.get(at + 1).cloned()
    };
    let effort = if args.iter().any(|arg| arg == "--quick") {
        Effort::QUICK
    } else {
        Effort::FULL
    };
    let only = value("--only").unwrap_or_default();
    let mut all: Vec<Measured> = Vec::new();
    for group in speed::groups() {
        if !group.title.contains(&only) {
            continue;
        }
        let measured = speed::measure::measure(group, &effort)?;
        speed::table::print(&measured);
        all.push(measured);
    }
    speed::table::summary(&all);
    if let Some(file) = value("--json") {
        std::fs::write(file, speed::table::json(&all))?;
    }
    if let Some(file) = value("--markdown") {
        std::fs::write(file, speed::table::markdown(&all))?;
    }
    match speed::table::allocating(&all) {
        Some(row) => Err(format!("{row} allocates").into()),
        None => Ok(()),
    }
}
