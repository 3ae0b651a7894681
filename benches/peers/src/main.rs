//! One table: what a call costs that succeeds at once, or is refused at once, through mainstay and through its peers.
//!
//! `cargo run --release --manifest-path benches/peers/Cargo.toml`. Every row wraps the same service, which does
//! nothing, so a row is the cost of the layer. All rows of a group run in turn within every round, and the fastest
//! round counts: what else the machine does slows all of them alike. Read the ratios, not the nanoseconds.
//!
//! The peers do not all do the same: what a row leaves out stands beside it.

use std::hint::black_box;
use std::time::{Duration, Instant};

use failsafe::futures::CircuitBreaker as _;
use mainstay::breaker::{BreakerConfig, BreakerLayer, Trip};
use mainstay::deadline::TimeoutLayer;
use mainstay::num::{Attempts, Period, Ratio};
use mainstay::retry::{RetryConfig, RetryLayer};
use mainstay::standard::Stack;
use mainstay_test_support::{Counting, allocations};
use recloser::{AsyncRecloser, Recloser};
use tower::{BoxError, Layer as _, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_resilience_circuitbreaker::CircuitBreakerLayer;
use tower_resilience_timelimiter::TimeLimiterLayer;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const ROUNDS: u32 = 20;
const CALLS: u32 = 50_000;
const LONG: Duration = Duration::from_secs(3600);

type Result<T> = std::result::Result<T, BoxError>;

/// One row: a closure that makes so many calls, and what it found.
struct Row<'a> {
    name: &'static str,
    remark: &'static str,
    run: Box<dyn FnMut(u32) + 'a>,
    nanos: f64,
    allocations: f64,
}

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    closed(&runtime);
    open(&runtime);
    retries(&runtime);
    stacks(&runtime);
    Ok(())
}

/// A service that answers at once.
fn up() -> impl Service<u64, Response = u64, Error = BoxError, Future: Send> + Clone + Send + Sync {
    service_fn(|n: u64| std::future::ready(Ok(n)))
}

/// A service that fails at once, without an allocation of its own.
fn down() -> impl Service<u64, Response = u64, Error = Down, Future: Send> + Clone + Send + Sync {
    service_fn(|_: u64| std::future::ready(Err(Down)))
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Down;

impl std::fmt::Display for Down {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("down")
    }
}

impl std::error::Error for Down {}

impl From<mainstay::error::Rejected> for Down {
    fn from(_: mainstay::error::Rejected) -> Self {
        Self
    }
}

impl mainstay::error::AsRejected for Down {
    fn as_rejected(&self) -> Option<mainstay::error::Rejected> {
        None
    }
}

fn rate() -> Trip {
    Trip::rate(Ratio::percent(50), 100, Period::secs(10))
}

fn closed(runtime: &tokio::runtime::Runtime) {
    let failsafe = failsafe::Config::new().build();
    let recloser = AsyncRecloser::from(Recloser::default());
    let peer = CircuitBreakerLayer::builder()
        .failure_rate_threshold(0.5)
        .sliding_window_size(100)
        .build()
        .expect("the peer accepts its own defaults");
    let mainstay = |trip| {
        ServiceBuilder::new()
            .layer(BreakerLayer::new("peers", trip))
            .service(up())
    };
    compare(
        "breaker, closed, the call succeeds",
        vec![
            row("no layer", "", calls(runtime, up())),
            row(
                "mainstay, rate",
                "over time",
                calls(runtime, mainstay(rate())),
            ),
            row(
                "mainstay, failures in a window",
                "",
                calls(runtime, mainstay(Trip::in_window(5, Period::secs(60)))),
            ),
            row(
                "failsafe",
                "not a layer; success rate over time",
                move |n| {
                    runtime.block_on(async {
                        for i in 0..n {
                            let call = std::future::ready(Ok::<_, Down>(u64::from(i)));
                            drop(black_box(failsafe.call(call).await));
                        }
                    });
                },
            ),
            row("recloser", "not a layer; counts calls, no time", move |n| {
                runtime.block_on(async {
                    for i in 0..n {
                        let call = std::future::ready(Ok::<_, Down>(u64::from(i)));
                        drop(black_box(recloser.call(call).await));
                    }
                });
            }),
            row(
                "tower-resilience",
                "counts calls, no time",
                calls(runtime, peer.layer(up())),
            ),
        ],
    );
}

fn open(runtime: &tokio::runtime::Runtime) {
    let config = BreakerConfig::new(Trip::consecutive(1)).open_for(Period::secs(3600));
    let mainstay = ServiceBuilder::new()
        .layer(BreakerLayer::new("peers", config))
        .service(down());
    let backoff = failsafe::backoff::constant(LONG);
    let failsafe = failsafe::Config::new()
        .failure_policy(failsafe::failure_policy::consecutive_failures(1, backoff))
        .build();
    let recloser = Recloser::custom().closed_len(1).open_wait(LONG).build();
    let recloser = AsyncRecloser::from(recloser);
    let peer = CircuitBreakerLayer::builder()
        .failure_rate_threshold(0.5)
        .sliding_window_size(2)
        .minimum_number_of_calls(2)
        .wait_duration_in_open(LONG)
        .build()
        .expect("the peer accepts its own defaults")
        .layer(down());
    compare(
        "breaker, open, the call is refused",
        vec![
            row("no layer", "fails at once", calls(runtime, down())),
            row(
                "mainstay",
                "says when to come back",
                calls(runtime, mainstay),
            ),
            row("failsafe", "not a layer", move |n| {
                runtime.block_on(async {
                    for _ in 0..n {
                        let call = std::future::ready(Err::<u64, _>(Down));
                        drop(black_box(failsafe.call(call).await));
                    }
                });
            }),
            row("recloser", "not a layer", move |n| {
                runtime.block_on(async {
                    for _ in 0..n {
                        let call = std::future::ready(Err::<u64, _>(Down));
                        drop(black_box(recloser.call(call).await));
                    }
                });
            }),
            row("tower-resilience", "", calls(runtime, peer)),
        ],
    );
}

fn retries(runtime: &tokio::runtime::Runtime) {
    let mainstay = RetryLayer::new("peers", RetryConfig::new(Attempts::total(3)));
    let unbudgeted = RetryConfig::new(Attempts::total(3)).without_budget();
    let unbudgeted = RetryLayer::new("peers", unbudgeted);
    let peer = tower_resilience_retry::RetryLayer::<u64, u64, BoxError>::builder()
        .max_attempts(3)
        .exponential_backoff(Duration::from_millis(50))
        .build();
    compare(
        "retry, the first attempt succeeds",
        vec![
            row("no layer", "", calls(runtime, up())),
            row(
                "mainstay",
                "budget, deadline",
                calls(runtime, ServiceBuilder::new().layer(mainstay).service(up())),
            ),
            row(
                "mainstay, without a budget",
                "deadline",
                calls(
                    runtime,
                    ServiceBuilder::new().layer(unbudgeted).service(up()),
                ),
            ),
            row(
                "tower",
                "no budget, no backoff",
                calls(
                    runtime,
                    ServiceBuilder::new().retry(ThreeTimes(3)).service(up()),
                ),
            ),
            row(
                "tower-resilience",
                "no budget",
                calls(runtime, peer.layer(up())),
            ),
        ],
    );
}

/// tower's own retry with the least policy there can be.
#[derive(Clone)]
struct ThreeTimes(u32);

impl tower::retry::Policy<u64, u64, BoxError> for ThreeTimes {
    type Future = std::future::Ready<()>;

    fn retry(&mut self, _: &mut u64, result: &mut Result<u64>) -> Option<Self::Future> {
        if result.is_ok() || self.0 <= 1 {
            return None;
        }
        self.0 -= 1;
        Some(std::future::ready(()))
    }

    fn clone_request(&mut self, request: &u64) -> Option<u64> {
        Some(*request)
    }
}

fn stacks(runtime: &tokio::runtime::Runtime) {
    let tower = ServiceBuilder::new()
        .timeout(Duration::from_secs(30))
        .retry(ThreeTimes(3))
        .concurrency_limit(1_000)
        .timeout(Duration::from_secs(10))
        .service(up());
    let timeout = TimeoutLayer::new("peers", Period::secs(10));
    let breaker = CircuitBreakerLayer::builder()
        .failure_rate_threshold(0.5)
        .build()
        .expect("the peer accepts its own defaults");
    let limiter = |time| TimeLimiterLayer::builder().timeout_duration(time).build();
    let guarded = breaker.layer(limiter(Duration::from_secs(10)).layer(up()));
    let guarded = guarded.map_err(|error| BoxError::from(error.to_string()));
    let retry = tower_resilience_retry::RetryLayer::<u64, u64, BoxError>::builder()
        .max_attempts(3)
        .exponential_backoff(Duration::from_millis(50))
        .build();
    let retried = retry.layer(guarded);
    let peer = limiter(Duration::from_secs(30)).layer(retried);
    compare(
        "a whole stack, the first attempt succeeds",
        vec![
            row("no layer", "", calls(runtime, up())),
            row(
                "mainstay, standard",
                "",
                calls(runtime, Stack::standard("peers").service(up())),
            ),
            row(
                "mainstay, one timeout",
                "for scale",
                calls(runtime, ServiceBuilder::new().layer(timeout).service(up())),
            ),
            row(
                "tower",
                "no breaker: a limit in its place; no budget",
                calls(runtime, tower),
            ),
            row("tower-resilience", "no budget", calls(runtime, peer)),
        ],
    );
}

fn row<'a>(name: &'static str, remark: &'static str, run: impl FnMut(u32) + 'a) -> Row<'a> {
    Row {
        name,
        remark,
        run: Box::new(run),
        nanos: f64::INFINITY,
        allocations: 0.0,
    }
}

/// Calls `service` so many times, one after the other.
fn calls<'a, S>(runtime: &'a tokio::runtime::Runtime, mut service: S) -> impl FnMut(u32) + 'a
where
    S: Service<u64> + 'a,
{
    move |n| {
        runtime.block_on(async {
            for i in 0..n {
                if std::future::poll_fn(|cx| service.poll_ready(cx))
                    .await
                    .is_ok()
                {
                    drop(black_box(service.call(i.into()).await));
                }
            }
        });
    }
}

fn compare(title: &str, mut rows: Vec<Row<'_>>) {
    for row in &mut rows {
        (row.run)(1_000); // opens what is to be open, fills what is to be full
        let (count, ()) = allocations(|| (row.run)(CALLS));
        row.allocations = count as f64 / f64::from(CALLS);
    }
    for _ in 0..ROUNDS {
        for row in &mut rows {
            let start = Instant::now();
            (row.run)(CALLS);
            let nanos = start.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS);
            row.nanos = row.nanos.min(nanos);
        }
    }
    println!(
        "\n{title}\n{:34} {:>9} {:>7} {:>12}",
        "", "ns/call", "ratio", "allocs/call"
    );
    // Beside the first row of mainstay.
    let unit = rows
        .iter()
        .find(|row| row.name.starts_with("mainstay"))
        .map_or(1.0, |row| row.nanos);
    for row in &rows {
        println!(
            "{:34} {:>9.1} {:>7.2} {:>12.2}  {}",
            row.name,
            row.nanos,
            row.nanos / unit,
            row.allocations,
            row.remark
        );
    }
}
