//! How many instructions a call costs in the hot paths: the gate against growing slower unnoticed.
//!
//! Times on shared cores vary twofold, the count of instructions does not. `.ci/run instructions` runs
//! `cargo bench --bench instructions -- --check`: each path runs twice under valgrind, once with twice as many calls, and
//! the difference is what the calls cost. It fails if a path costs more than 5 % more than
//! `benches/instructions.json` says, or allocates. `UPDATE=1` writes the file anew: to accept a cost, or to record what
//! was won.
//!
//! Another compiler than the one on record makes other code of the same source: then the bound is 15 %, which still
//! catches what matters, a lock or a clock or a reference count more.
//!
//! Without `--check` every path runs for a moment without valgrind and must not allocate.

#![expect(
    clippy::disallowed_methods,
    reason = "a bench reads its environment and command line"
)]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::future::poll_fn;
use std::hint::black_box;
use std::num::NonZeroU32;
use std::pin::{Pin, pin};
use std::process::{Command, ExitCode};
use std::task::{Context, Poll};
use std::time::Duration;

use mainstay::breaker::{BreakerConfig, BreakerLayer, KeyedBreakerLayer, Order, Trip, Window};
use mainstay::deadline::{DeadlineLayer, TimeoutLayer};
use mainstay::error::{AsRejected, Rejected, TimedOut};
use mainstay::fallback::{FallbackConfig, FallbackLayer};
use mainstay::limit::adaptive::{AdaptiveConfig, AdaptiveLayer};
use mainstay::limit::concurrency::{ConcurrencyConfig, ConcurrencyLayer};
use mainstay::num::{Attempts, Period, Ratio};
use mainstay::retry::{Backoff, BudgetConfig, Jitter, RetryConfig, RetryLayer};
use mainstay::standard::Stack;
use mainstay_test_support::{Counting, allocations};
use tokio::runtime::Runtime;
use tokio::task::unconstrained;
use tower::{BoxError, Layer, Service, service_fn};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Where the figures are kept.
const RECORD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions.json");

/// What a path may cost more than on record, and with another compiler.
const TOLERANCE: f64 = 0.05;
const OTHER_COMPILER: f64 = 0.15;

/// Below so many instructions a percentage says nothing.
const SLACK: f64 = 2.0;

/// More than are ever taken.
const PLACES: NonZeroU32 = NonZeroU32::MAX;

const CALLS: u32 = 20_000;

type BoxResult<T> = Result<T, BoxError>;

/// A hot path: makes so many calls of one kind, and says how many allocations they made.
type Path = fn(&Runtime, u32) -> u64;

const PATHS: &[(&str, Path)] = &[
    ("no layer", |rt, n| calls(rt, n, up())),
    ("breaker, consecutive", |rt, n| {
        breaker(rt, n, Trip::consecutive(5))
    }),
    ("breaker, in window", |rt, n| {
        breaker(rt, n, Trip::in_window(5, Period::secs(60)))
    }),
    ("breaker, rate over time", |rt, n| breaker(rt, n, rate())),
    ("breaker, rate over calls", |rt, n| {
        let window = Window::calls(100);
        breaker(rt, n, Trip::rate_of(Ratio::percent(50), 100, window))
    }),
    ("breaker, rate and slowness", |rt, n| {
        let window = Window::Time(Period::secs(1_000));
        let slow = Trip::slow(Period::secs(1), Ratio::percent(50), 100, window);
        breaker(rt, n, BreakerConfig::new(rate()).or(slow))
    }),
    ("breaker, open", open),
    ("breaker, keyed", |rt, n| {
        let layer = KeyedBreakerLayer::new("keyed", Trip::consecutive(5), 100, |n: &u64| n % 16);
        calls(rt, n, layer.layer(up()))
    }),
    ("retry", |rt, n| {
        let layer = RetryLayer::new("retry", RetryConfig::new(Attempts::total(3)));
        calls(rt, n, layer.layer(up()))
    }),
    ("retry, fails once", |rt, n| {
        let config = RetryConfig::new(Attempts::total(3))
            .backoff(Backoff::constant(Duration::ZERO).jitter(Jitter::None))
            .budget(BudgetConfig::new(Ratio::ONE));
        calls(rt, n, RetryLayer::new("retry", config).layer(fails_once()))
    }),
    ("deadline", |rt, n| {
        let layer = DeadlineLayer::new("deadline", Period::secs(3_600));
        calls(rt, n, layer.layer(up()))
    }),
    ("attempt timeout", |rt, n| {
        let layer = TimeoutLayer::new("timeout", Period::secs(3_600));
        calls(rt, n, layer.layer(up()))
    }),
    ("attempt timeout, pending once", |rt, n| {
        let layer = TimeoutLayer::new("timeout", Period::secs(3_600));
        calls(rt, n, layer.layer(slow()))
    }),
    ("fallback", |rt, n| {
        let layer = FallbackLayer::value("fallback", FallbackConfig::default(), 0);
        calls(rt, n, layer.layer(up()))
    }),
    ("concurrency limit", |rt, n| {
        let layer = ConcurrencyLayer::new("limit", ConcurrencyConfig::new(PLACES));
        calls(rt, n, layer.layer(up()))
    }),
    ("adaptive limit", |rt, n| {
        let layer = AdaptiveLayer::new("adaptive", AdaptiveConfig::default());
        calls(rt, n, layer.layer(up()))
    }),
    ("standard stack", |rt, n| {
        calls(rt, n, Stack::standard("stack").service(up()))
    }),
    ("standard stack, pending once", |rt, n| {
        calls(rt, n, Stack::standard("stack").service(slow()))
    }),
];

fn rate() -> Trip {
    // Slices so long that none ends within a run, which would take the lock once.
    Trip::rate(Ratio::percent(50), 100, Period::secs(1_000))
}

fn breaker(runtime: &Runtime, n: u32, config: impl Into<BreakerConfig>) -> u64 {
    calls(runtime, n, BreakerLayer::new("breaker", config).layer(up()))
}

fn open(runtime: &Runtime, n: u32) -> u64 {
    let config = BreakerConfig::new(Trip::consecutive(1)).open_for(Period::secs(3_600));
    let layer = BreakerLayer::new("breaker", config);
    layer
        .handle()
        .open(Order::new("bench", "what a refusal costs"));
    calls(runtime, n, layer.layer(up()))
}

/// Answers at once.
fn up() -> impl Service<u64, Response = u64, Error = Down, Future: Send> + Clone {
    service_fn(|n: u64| std::future::ready(Ok(n)))
}

/// Answers when it is polled for the second time.
fn slow() -> impl Service<u64, Response = u64, Error = Down, Future: Send> + Clone {
    service_fn(|n: u64| {
        let mut pending = true;
        poll_fn(move |cx| {
            if std::mem::take(&mut pending) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(Ok(n))
        })
    })
}

/// Fails every other time that it is asked.
fn fails_once() -> impl Service<u64, Response = u64, Error = Down, Future: Send> + Clone {
    thread_local! {
        static FAILED: Cell<bool> = const { Cell::new(false) };
    }
    service_fn(|n: u64| {
        let fails = !FAILED.get();
        FAILED.set(fails);
        std::future::ready(if fails { Err(Down::Failed) } else { Ok(n) })
    })
}

/// What a call fails with: of a refusal that is boxed, the box would be counted.
#[derive(Debug)]
enum Down {
    Failed,
    Refused(Rejected),
    TimedOut,
}

impl From<Rejected> for Down {
    fn from(rejected: Rejected) -> Self {
        Self::Refused(rejected)
    }
}

impl From<TimedOut> for Down {
    fn from(_: TimedOut) -> Self {
        Self::TimedOut
    }
}

impl AsRejected for Down {
    fn as_rejected(&self) -> Option<Rejected> {
        match self {
            Self::Refused(rejected) => Some(*rejected),
            Self::Failed | Self::TimedOut => None,
        }
    }
}

fn calls<S>(runtime: &Runtime, n: u32, mut service: S) -> u64
where
    S: Service<u64, Response = u64, Error = Down>,
{
    let mut run = |n: u32| {
        runtime.block_on(unconstrained(async {
            for i in 0..n {
                let ready = poll_fn(|cx| service.poll_ready(cx)).await;
                if ready.is_ok() {
                    let mut call = pin!(service.call(i.into()));
                    drop(black_box(poll_fn(|cx| again(call.as_mut(), cx)).await));
                }
            }
        }));
    };
    run(1_000); // fills what is to be full, and makes what is made once
    allocations(|| run(n)).0
}

/// Polls until it is ready: a turn of the runtime would cost more than any layer.
fn again<F: Future>(mut call: Pin<&mut F>, cx: &mut Context<'_>) -> Poll<F::Output> {
    loop {
        if let Poll::Ready(result) = call.as_mut().poll(cx) {
            return Poll::Ready(result);
        }
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let found = match args.as_slice() {
        ["--path", name, n, ..] => run_one(name, n),
        _ if args.contains(&"--check") => check(),
        _ => run_all(),
    };
    match found {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn runtime() -> BoxResult<Runtime> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    Ok(builder.enable_time().build()?)
}

fn run_one(name: &str, n: &str) -> BoxResult<()> {
    let path = PATHS.iter().find(|(path, _)| *path == name);
    let (_, path) = path.ok_or("no such path")?;
    black_box(path(&runtime()?, n.parse()?));
    Ok(())
}

fn run_all() -> BoxResult<()> {
    let runtime = runtime()?;
    let mut failed = false;
    for (name, path) in PATHS {
        let allocated = path(&runtime, 1_000);
        failed |= allocated > 0;
        println!("{name:32} {allocated:>6} allocations in 1000 calls");
    }
    if failed {
        return Err("a hot path allocates".into());
    }
    Ok(())
}

/// The compiler, and what each path cost.
struct Record {
    rustc: String,
    host: String,
    instructions: BTreeMap<String, f64>,
}

fn check() -> BoxResult<()> {
    run_all()?;
    let (rustc, host) = compiler()?;
    let record = read_record()?;
    let update = std::env::var_os("UPDATE").is_some_and(|value| value == "1");
    let same = record.as_ref().is_some_and(|old| old.rustc == rustc);
    let tolerance = if same { TOLERANCE } else { OTHER_COMPILER };
    if let Some(old) = &record {
        if old.host != host {
            return Err(format!("the record is of {}, this is {host}", old.host).into());
        }
        if !same {
            let old = &old.rustc;
            println!("recorded with rustc {old}, this is {rustc}: 15 % more may pass");
        }
    }
    println!(
        "\n{:32} {:>9} {:>9} {:>8}",
        "instructions per call", "now", "record", "change"
    );
    let mut grown = Vec::new();
    let mut now = BTreeMap::new();
    for (name, _) in PATHS {
        let cost = cost(name)?;
        let old = record.as_ref().and_then(|old| old.instructions.get(*name));
        let change = match old {
            Some(old) => format!("{:+.1} %", (cost / old - 1.0) * 100.0),
            None => "new".to_owned(),
        };
        let is_grown = old.is_none_or(|old| cost > old * (1.0 + tolerance) + SLACK);
        if is_grown {
            grown.push(*name);
        }
        let mark = if is_grown { "  <--" } else { "" };
        let old = old.map_or_else(String::new, |old| format!("{old:.1}"));
        println!("{name:32} {cost:>9.1} {old:>9} {change:>8}{mark}");
        now.insert(*name, cost);
    }
    if update {
        std::fs::write(RECORD, render(&rustc, &host, &now))?;
        println!("\nrecorded");
        return Ok(());
    }
    if grown.is_empty() {
        return Ok(());
    }
    Err(format!(
        "\nmore instructions than recorded, or none recorded: {}\n\
         if that is the price of something better: UPDATE=1 .ci/run instructions, and commit it",
        grown.join("; ")
    )
    .into())
}

/// Instructions per call: the difference of two runs, so that what is done once does not count.
fn cost(path: &str) -> BoxResult<f64> {
    let (once, twice) = (instructions(path, CALLS)?, instructions(path, 2 * CALLS)?);
    let calls = twice
        .checked_sub(once)
        .ok_or("more calls, fewer instructions")?;
    Ok(calls as f64 / f64::from(CALLS))
}

fn instructions(path: &str, calls: u32) -> BoxResult<u64> {
    let output = Command::new("valgrind")
        .args([
            "--tool=cachegrind",
            "--cache-sim=no",
            "--cachegrind-out-file=/dev/null",
        ])
        .arg(std::env::current_exe()?)
        .args(["--path", path, &calls.to_string()])
        .output()
        .map_err(|error| format!("valgrind: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("{path}: {said}").into());
    }
    // `==42== I   refs:      1,234,567`
    let count = said.lines().find_map(|line| line.split_once("refs:"));
    let count = count.ok_or_else(|| format!("{path}: no count of instructions in: {said}"))?;
    let digits: String = count.1.chars().filter(char::is_ascii_digit).collect();
    Ok(digits.parse()?)
}

/// The compiler's version and the target it builds for.
fn compiler() -> BoxResult<(String, String)> {
    let output = Command::new("rustc").arg("-vV").output()?;
    let said = String::from_utf8(output.stdout)?;
    let field = |name: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(name));
        line.map(str::to_owned)
            .ok_or("rustc -vV says nothing of itself")
    };
    Ok((field("release: ")?, field("host: ")?))
}

fn read_record() -> BoxResult<Option<Record>> {
    let text = match std::fs::read_to_string(RECORD) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let json: serde_json::Value = serde_json::from_str(&text)?;
    let field = |name: &str| {
        json.get(name)
            .ok_or_else(|| format!("{RECORD}: no `{name}`"))
    };
    let instructions = field("instructions")?.as_object().into_iter().flatten();
    Ok(Some(Record {
        rustc: field("rustc")?.as_str().unwrap_or_default().to_owned(),
        host: field("host")?.as_str().unwrap_or_default().to_owned(),
        instructions: instructions
            .map(|(name, cost)| (name.clone(), cost.as_f64().unwrap_or(0.0)))
            .collect(),
    }))
}

/// The record in the order of the paths, so that a change reads well.
fn render(rustc: &str, host: &str, now: &BTreeMap<&str, f64>) -> String {
    let mut text = format!("{{\n  \"rustc\": \"{rustc}\",\n  \"host\": \"{host}\",\n");
    text.push_str("  \"instructions\": {\n");
    let costs: Vec<String> = PATHS
        .iter()
        .filter_map(|(name, _)| {
            now.get(name)
                .map(|cost| format!("    \"{name}\": {cost:.1}"))
        })
        .collect();
    let _ = write!(text, "{}\n  }}\n}}\n", costs.join(",\n"));
    text
}
