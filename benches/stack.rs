//! What the layers cost a call: nanoseconds and allocations, each beside the bare service.
//!
//! `cargo bench --bench stack`; with `-- --quick` it takes about a second, enough to see that it runs. Times are the
//! fastest of several rounds, since other work on the machine only ever adds. What other crates cost is measured in
//! `benches/peers`.

#![expect(
    clippy::disallowed_methods,
    reason = "a bench reads the real clock and its command line"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use mainstay::breaker::{Breaker, BreakerLayer, State, Trip};
use mainstay::deadline::{DeadlineLayer, TimeoutLayer};
use mainstay::degrade::{
    Component, Degradation, Degrade, Fact, GateLayer, Ladder, Level, Mode, When,
};
use mainstay::fallback::{FallbackConfig, FallbackLayer};
use mainstay::health::Verdict;
use mainstay::limit::adaptive::{AdaptiveConfig, AdaptiveLayer};
use mainstay::limit::concurrency::{ConcurrencyConfig, ConcurrencyLayer};
use mainstay::num::{Attempts, Period, Ratio, count};
use mainstay::outcome::Outcome;
use mainstay::presets;
use mainstay::retry::{RetryConfig, RetryLayer};
use mainstay::standard::Stack;
use mainstay::tenant::{Always, TenantConfig, TenantLayer, TenantPool};
use mainstay::time::Tick;
use mainstay_test_support::{Counting, allocations};
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt, service_fn};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Effort {
    rounds: u32,
    calls: u32,
}

fn main() {
    let quick = std::env::args().any(|arg| arg == "--quick");
    let effort = if quick {
        Effort {
            rounds: 3,
            calls: 2_000,
        }
    } else {
        Effort {
            rounds: 20,
            calls: 200_000,
        }
    };
    println!("{:32} {:>9} {:>12}", "", "ns/call", "allocs/call");
    machine(&effort);
    assessment(&effort);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime without I/O needs nothing that can be missing");
    runtime.block_on(layers(&effort));
}

fn machine(effort: &Effort) {
    let mut breaker = Breaker::new(Trip::rate(Ratio::percent(50), 20, Period::secs(10)).into());
    let mut now = Tick::ZERO;
    let mut nanos = f64::INFINITY;
    let (count, ()) = allocations(|| {
        for _ in 0..effort.rounds {
            let start = Instant::now();
            for _ in 0..effort.calls {
                now = now + Duration::from_micros(50);
                if let Ok(permit) = black_box(breaker.admit(now)).verdict {
                    let _ = black_box(breaker.settle(permit, Outcome::Success, now));
                }
            }
            nanos = nanos.min(per_call(start.elapsed(), effort.calls));
        }
    });
    print("breaker, the machine alone", nanos, count, effort);
}

/// Fifty components, a fact about each, and one of them told anew.
fn ladder() -> Degradation {
    let mut ladder = Ladder::new("bench").level(Level::new("well"));
    ladder = ladder.level(Level::new("badly").cell("x", Mode::Disabled));
    for n in 0..50 {
        let part = format!("part {n}");
        let fact = Fact::new(format!("fact {n}"), When::down(&*part), "badly");
        ladder = ladder.component(Component::new(part)).fact(fact);
    }
    Degradation::new(ladder.build().expect("names of their own"))
}

fn assessment(effort: &Effort) {
    let mut system = ladder();
    let mut now = Tick::ZERO;
    let mut nanos = f64::INFINITY;
    let calls = effort.calls / 10;
    let (count, ()) = allocations(|| {
        for _ in 0..effort.rounds {
            let start = Instant::now();
            for _ in 0..calls {
                now = now + Duration::from_micros(50);
                let told = system.observe("part 49", Verdict::Up.into(), now);
                black_box(told.expect("a component of the ladder"));
            }
            nanos = nanos.min(per_call(start.elapsed(), calls));
        }
    });
    let effort = Effort {
        rounds: effort.rounds,
        calls,
    };
    print("50 components assessed", nanos, count, &effort);
}

async fn layers(effort: &Effort) {
    let up = service_fn(|n: u64| async move { Ok::<_, BoxError>(n) });
    let period = Period::secs(30);
    let rate = Trip::rate(Ratio::percent(50), 20, Period::secs(10));
    let window = Trip::in_window(5, Period::secs(60));

    measure("the service alone", effort, up).await;
    let breaker = |trip| ServiceBuilder::new().layer(BreakerLayer::new("bench", trip));
    measure(
        "breaker (failures in a window)",
        effort,
        breaker(window).service(up),
    )
    .await;
    measure("breaker (rate)", effort, breaker(rate).service(up)).await;
    measure("breaker, open", effort, open(window).await).await;
    let retry = RetryLayer::new("bench", RetryConfig::new(Attempts::total(3)));
    measure(
        "retry",
        effort,
        ServiceBuilder::new().layer(retry).service(up),
    )
    .await;
    let fallback = FallbackLayer::value("bench", FallbackConfig::default(), 0);
    measure(
        "fallback",
        effort,
        ServiceBuilder::new().layer(fallback).service(up),
    )
    .await;
    let concurrency = ConcurrencyLayer::new("bench", ConcurrencyConfig::default());
    measure(
        "concurrency limit",
        effort,
        ServiceBuilder::new().layer(concurrency).service(up),
    )
    .await;
    let tenants = TenantConfig::new(count(1_000), presets::erp::tiers());
    let pool = TenantPool::new("bench", tenants).expect("a preset of three tiers");
    let always = Always::new(pool.tenant("acme", "enterprise"));
    measure(
        "tenants, a slot at hand",
        effort,
        TenantLayer::identify(&pool, always).layer(up),
    )
    .await;
    let degrade = Degrade::new(presets::erp::degradation());
    let gate = degrade.gate("erp").expect("a capability of the preset");
    measure("gate, open", effort, GateLayer::new(gate).layer(up)).await;
    let adaptive = AdaptiveLayer::new("bench", AdaptiveConfig::new());
    measure(
        "adaptive limit",
        effort,
        ServiceBuilder::new().layer(adaptive).service(up),
    )
    .await;
    let timeout = TimeoutLayer::new("bench", period);
    measure(
        "attempt timeout",
        effort,
        ServiceBuilder::new().layer(timeout).service(up),
    )
    .await;
    let deadline = DeadlineLayer::new("bench", period);
    measure(
        "deadline",
        effort,
        ServiceBuilder::new().layer(deadline).service(up),
    )
    .await;
    measure(
        "the standard stack",
        effort,
        Stack::standard("bench").service(up),
    )
    .await;
}

/// A service behind a circuit that stays open for longer than the bench runs.
async fn open(trip: Trip) -> impl Service<u64, Response = u64, Error = BoxError> + Clone {
    let config = mainstay::breaker::BreakerConfig::new(trip).open_for(Period::secs(3600));
    let layer = BreakerLayer::new("bench", config);
    let handle = layer.handle();
    let service = ServiceBuilder::new()
        .layer(layer)
        .service_fn(|_: u64| async { Err::<u64, _>(BoxError::from("down")) });
    while handle.state() != State::Open {
        drop(service.clone().oneshot(0).await);
    }
    service
}

async fn measure<S>(name: &str, effort: &Effort, mut service: S)
where
    S: Service<u64, Response = u64, Error = BoxError>,
{
    let mut nanos = f64::INFINITY;
    for _ in 0..effort.rounds {
        let start = Instant::now();
        for n in 0..effort.calls {
            drop(black_box(call(&mut service, n.into()).await));
        }
        nanos = nanos.min(per_call(start.elapsed(), effort.calls));
    }
    // Counted apart from the clock.
    let mut count = 0;
    for n in 0..effort.calls {
        let future = std::pin::pin!(call(&mut service, n.into()));
        let (new, ready) = poll_once(future);
        count += new;
        assert!(ready, "a service that is up answers at once");
    }
    print(
        name,
        nanos,
        count,
        &Effort {
            rounds: 1,
            calls: effort.calls,
        },
    );
}

async fn call<S>(service: &mut S, n: u64) -> Result<u64, BoxError>
where
    S: Service<u64, Response = u64, Error = BoxError>,
{
    std::future::poll_fn(|cx| service.poll_ready(cx)).await?;
    service.call(n).await
}

/// The allocations of one poll, and whether the future is done.
fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> (u64, bool) {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let (count, poll) = allocations(|| future.poll(&mut cx).map(drop));
    (count, poll.is_ready())
}

fn per_call(elapsed: Duration, calls: u32) -> f64 {
    elapsed.as_secs_f64() * 1e9 / f64::from(calls)
}

fn print(name: &str, nanos: f64, allocations: u64, effort: &Effort) {
    let calls = f64::from(effort.rounds) * f64::from(effort.calls);
    println!(
        "{name:32} {nanos:>9.1} {:>12.2}",
        allocations as f64 / calls
    );
}
