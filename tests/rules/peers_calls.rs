//! Failures that were reproduced in other retries, budgets, limits and clocks.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::{Request, Response};
use http_body_util::BodyExt;
use mainstay::breaker::{
    Breaker, BreakerConfig, BreakerLayer, HalfOpen, KeyedBreakerLayer, Ramp, State, Trip, Window,
};
use mainstay::deadline::{DeadlineLayer, TimeoutLayer};
use mainstay::error::Reason;
use mainstay::fallback::{FallbackConfig, FallbackLayer, Outcomes};
use mainstay::limit::adaptive::{Adaptive, AdaptiveConfig, AdaptiveLayer, Bounds, Sample};
use mainstay::limit::concurrency::{Admission, Concurrency, ConcurrencyConfig, ConcurrencyLayer};
use mainstay::limit::rate::{Rate, RateConfig, RateLayer, RateLimit};
use mainstay::num::{Attempts, Factor, Period, Ratio, count};
use mainstay::outcome::{Failure, Outcome};
use mainstay::reqwest::TryClone;
use mainstay::retry::{
    Backoff, Budget, BudgetConfig, ConcurrencyBudget, Growth, Jitter, QuotaBudget, RatioBudget,
    Retry, RetryConfig, RetryLayer, ThrottleBudget,
};
use mainstay::rng::Rng;
use mainstay::rt;
use mainstay::standard::Stack;
use mainstay::time::Tick;
use mainstay::{grpc, http as mainstay_http};
use mainstay_test_support::allocations;
use metrics_util::MetricKind;
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};

use crate::callee::{Callee, Fault, Judge, Turn, ask, ms, poll, secs, start};

const FAILED: Outcome = Outcome::Failure(Failure::Error);

fn constant(attempts: u32, wait: Duration) -> RetryConfig {
    let backoff = Backoff::constant(wait).jitter(Jitter::None);
    RetryConfig::new(Attempts::total(attempts)).backoff(backoff)
}

/// How often the callee is asked whether it is ready while it is not, in so long a time.
async fn asked<S>(service: S, callee: &Callee) -> u64
where
    S: Service<u32, Response = u32, Error = Fault, Future: Send> + Clone + Send + 'static,
{
    callee.set_ready(false);
    let waiting: Vec<_> = (0..10)
        .map(|_| tokio::spawn(service.clone().oneshot(1)))
        .collect();
    tokio::time::sleep(ms(200)).await;
    let asked = callee.asked();
    callee.set_ready(true);
    for call in waiting {
        assert_eq!(call.await.unwrap(), Ok(1));
    }
    asked
}

/// Who waits is woken when there is something to do, and by nothing else; who follows does not fail with who led.
#[tokio::test(start_paused = true)]
async fn failure_08_nobody_spins_and_nobody_fails_for_another() {
    let callee = || Callee::new(Turn::Answer);
    let breaker = BreakerLayer::new("peers", BreakerConfig::default());
    let keyed = KeyedBreakerLayer::new("peers", BreakerConfig::default(), 9, |key: &u32| *key);
    let retry = RetryLayer::new("peers", RetryConfig::default());
    let deadline = DeadlineLayer::new("peers", Period::secs(9));
    let timeout = TimeoutLayer::new("peers", Period::secs(9));
    let fallback = FallbackLayer::value("peers", FallbackConfig::default(), 7);
    // Ten callers, each asks once; a timer that is made may ask once more.
    let one = callee();
    assert!(asked(breaker.layer(one.clone()), &one).await <= 20);
    let one = callee();
    assert!(asked(keyed.layer(one.clone()), &one).await <= 20);
    let one = callee();
    assert!(asked(retry.layer(one.clone()), &one).await <= 20);
    let one = callee();
    assert!(asked(deadline.layer(one.clone()), &one).await <= 20);
    let one = callee();
    assert!(asked(timeout.layer(one.clone()), &one).await <= 20);
    let one = callee();
    assert!(asked(fallback.layer(one.clone()), &one).await <= 20);
    let one = callee();
    let places = ConcurrencyLayer::new("peers", ConcurrencyConfig::new(count(20)));
    assert!(asked(places.layer(one.clone()), &one).await <= 20);
    let one = callee();
    let adaptive = AdaptiveLayer::new("peers", AdaptiveConfig::new());
    assert!(asked(adaptive.layer(one.clone()), &one).await <= 20);
    let one = callee();
    let rate = RateLayer::new("peers", Rate::burst(20, Period::secs(1)));
    assert!(asked(rate.layer(one.clone()), &one).await <= 20);
    let one = callee();
    assert!(asked(Stack::standard("peers").service(one.clone()), &one).await <= 20);

    // Who comes while the probe is out is told so at once, and the probe that is cancelled leaves its place to the next.
    let layer = BreakerLayer::new("peers", Trip::consecutive(1));
    let callee = Callee::new(Turn::Fail);
    let mut service = layer.layer(callee.clone());
    assert!(ask(&service, 1).await.is_err());
    tokio::time::sleep(secs(5)).await;
    callee.set(Turn::AnswerAfter(secs(1)));
    let mut leader = start(&mut service, 1).await;
    assert!(poll(&mut leader).is_pending());
    let began = rt::now();
    let refused = ask(&service, 2).await.unwrap_err();
    assert_eq!(
        (refused.reason(), rt::now()),
        (Some(Reason::ProbesBusy), began)
    );
    drop(leader);
    assert_eq!(ask(&service, 3).await, Ok(3));
}

/// No delay is longer than the cap, whatever chance adds.
#[tokio::test(start_paused = true)]
async fn failure_09_jitter_keeps_to_the_cap() {
    let cap = ms(300);
    let jitters = [
        Jitter::None,
        Jitter::Add(Ratio::ONE),
        Jitter::Around(Ratio::percent(50)),
        Jitter::Full,
        Jitter::Equal,
        Jitter::Decorrelated,
    ];
    let growths = [
        Backoff::exponential(ms(100), cap),
        Backoff::exponential(ms(100), cap).factor(Factor::percent(65_000)),
        Backoff::linear(ms(100), cap),
        Backoff::exponential(cap, cap),
    ];
    for backoff in growths
        .into_iter()
        .flat_map(|growth| jitters.map(|jitter| growth.jitter(jitter)))
    {
        let config = RetryConfig::new(Attempts::total(30))
            .backoff(backoff)
            .without_budget();
        let layer = RetryLayer::seeded("peers", config, 9);
        let attempts = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&attempts);
        let callee = service_fn(move |_: u32| {
            seen.lock().unwrap().push(rt::now());
            async { Err::<u32, _>(Fault::Down) }
        });
        assert!(ask(&layer.layer(callee), 1).await.is_err());
        let attempts = attempts.lock().unwrap();
        assert_eq!(attempts.len(), 30);
        for pair in attempts.windows(2) {
            // Timers have a resolution of a millisecond.
            let waited = pair[1].since(pair[0]);
            assert!(waited <= cap + ms(1), "{waited:?} of {backoff:?}");
        }
    }
    let uncapped = Backoff::exponential(ms(100), cap)
        .jitter(Jitter::Add(Ratio::ONE))
        .cap_first();
    assert!(
        (0..100).any(|seed| uncapped.delay(9, cap, &mut Rng::new(seed)) > cap),
        "only on demand"
    );
}

/// A budget adds the share that it says; no share is rounded to none or all; seven idle days cost no time.
#[tokio::test(start_paused = true)]
async fn failure_10_budgets_bind() {
    let config = constant(10, Duration::ZERO).budget(
        BudgetConfig::new(Ratio::percent(20))
            .per_second(0)
            .burst(100),
    );
    let layer = RetryLayer::new("peers", config).classify(Judge);
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let half = service_fn(move |request: u32| {
        let fails = counted.fetch_add(1, Ordering::Relaxed) % 2 == 0;
        async move { if fails { Err(Fault::Down) } else { Ok(request) } }
    });
    let mut service = layer.layer(half);
    for request in 0..10_000 {
        let _ = start(&mut service, request).await.await;
    }
    let calls = calls.load(Ordering::Relaxed);
    assert!(
        (11_000..=12_100).contains(&calls),
        "{calls} for ten thousand requests"
    );

    for percent in [1, 10, 33, 60, 66, 90, 99, 100] {
        let config = BudgetConfig::new(Ratio::percent(percent))
            .per_second(0)
            .burst(10_000);
        let mut budget = Budget::new(config, Tick::ZERO);
        while budget.withdraw(Tick::ZERO) {}
        (0..10_000).for_each(|_| budget.begin(Tick::ZERO));
        let retries = (0..20_000).filter(|_| budget.withdraw(Tick::ZERO)).count();
        assert_eq!(retries, usize::from(percent) * 100, "{percent} %");
    }

    // Real time, with a wide berth: a loop that caught up took 60 ms for each of these.
    let kinds = [
        RatioBudget::new(Ratio::percent(20)),
        RatioBudget::new(Ratio::percent(20)).ttl(Period::millis(1)),
    ];
    for config in kinds {
        let mut budget = Budget::new(config.into(), Tick::ZERO);
        let began = Instant::now();
        for week in 1..=1_000 {
            let now = Tick::ZERO + secs(7 * 24 * 3_600) * week;
            budget.begin(now);
            let _ = budget.withdraw(now);
        }
        assert!(
            began.elapsed() < secs(1),
            "{:?} for a thousand idle weeks",
            began.elapsed()
        );
    }
    for rate in [
        Rate::burst(1_000, Period::millis(1)),
        Rate::windows(1_000, Period::millis(1)),
    ] {
        let mut limit = RateLimit::new(rate);
        let began = Instant::now();
        for week in 1..=1_000 {
            let now = Tick::ZERO + secs(7 * 24 * 3_600) * week;
            let taken = (0..2)
                .filter(|_| limit.reserve(count(600), now).is_ok())
                .count();
            assert_eq!(taken, 1, "no more than the burst, however long it was idle");
        }
        assert!(
            began.elapsed() < secs(1),
            "{:?} for a thousand idle weeks",
            began.elapsed()
        );
    }
}

/// The refusal of an open circuit goes through the retry at once.
#[tokio::test(start_paused = true)]
async fn failure_11_a_retry_does_not_repeat_its_own_refusal() {
    let breaker = BreakerLayer::new("peers", Trip::consecutive(1));
    let retry = RetryLayer::new("peers", constant(5, ms(20))).classify(Judge);
    let callee = Callee::new(Turn::Fail);
    let service = retry.layer(breaker.layer(callee.clone()));
    assert_eq!(ask(&service, 1).await, Err(Fault::Down));
    let (began, retries) = (rt::now(), retry.handle().retries());
    for _ in 0..1_000 {
        assert_eq!(
            ask(&service, 1).await.unwrap_err().reason(),
            Some(Reason::CircuitOpen)
        );
    }
    assert_eq!(
        (rt::now(), retry.handle().retries(), callee.calls()),
        (began, retries, 1)
    );
}

/// The waits of so many calls of one service, or of its clones.
async fn waits(layers: impl Fn() -> RetryLayer) -> Vec<Duration> {
    let mut waits = Vec::new();
    for _ in 0..50 {
        let callee = Callee::new(Turn::Fail);
        let began = rt::now();
        assert!(ask(&layers().layer(callee), 1).await.is_err());
        waits.push(rt::now().since(began));
    }
    waits
}

/// Clients, clones and calls each have a jitter of their own, and it is finer than a second.
#[tokio::test(start_paused = true)]
async fn failure_12_everybody_has_a_jitter_of_their_own() {
    let config = RetryConfig::new(Attempts::total(2))
        .backoff(Backoff::constant(secs(1)).jitter(Jitter::Full));
    let one = RetryLayer::new("peers", config);
    let clones = waits(|| one.clone()).await;
    let clients = waits(|| RetryLayer::new("peers", config)).await;
    for mut waits in [clones, clients] {
        waits.sort_unstable();
        assert!(waits[49] <= ms(1_001));
        assert!(waits[49] - waits[0] >= ms(500), "{waits:?}");
        waits.dedup();
        assert!(waits.len() >= 40, "{waits:?}");
        assert!(waits.iter().filter(|wait| wait.subsec_millis() > 0).count() >= 40);
    }
    // Those who ask for the same numbers get them.
    let again = || RetryLayer::seeded("peers", config, 12);
    let same = waits(again).await;
    assert!(same.windows(2).all(|pair| pair[0] == pair[1]));
}

/// Whoever is asked to wait half a second does.
#[tokio::test(start_paused = true)]
async fn failure_15_a_hint_is_waited_for() {
    let layer = RetryLayer::new("peers", RetryConfig::default()).classify(Judge);
    let callee = Callee::new(Turn::Busy(ms(500)));
    for attempts in [3, 6, 9] {
        let began = rt::now();
        assert!(ask(&layer.layer(callee.clone()), 1).await.is_err());
        let took = rt::now().since(began);
        assert!(took >= ms(1_000) && took <= ms(1_252), "{took:?}");
        assert_eq!(callee.calls(), attempts);
    }
}

/// A setting that cannot be is refused when it is made; every other, however odd, works.
#[test]
fn failure_16_no_setting_panics_later() {
    let nano = Period::new("p", Duration::from_nanos(1)).unwrap();
    let longest = Period::new("p", Duration::from_nanos(u64::MAX)).unwrap();
    let periods = [nano, Period::millis(1), Period::secs(1), longest];
    assert!(Period::new("window", Duration::ZERO).is_err());
    assert!(Attempts::new("attempts", 0).is_err());
    assert!(Ratio::new("ratio", f64::NAN).is_err());
    assert!(Factor::new("factor", 0.99).is_err());
    let ratios = [Ratio::ZERO, Ratio::percent(1), Ratio::ONE];
    let mut rng = Rng::new(16);
    let mut draw = |n: usize| usize::try_from(rng.next_u64()).unwrap_or(0) % n;
    for _ in 0..2_000 {
        let (period, other) = (periods[draw(4)], periods[draw(4)]);
        let (ratio, size) = (ratios[draw(3)], [1, 2, 1_000][draw(3)]);
        let window = [Window::calls(size), Window::Time(period)][draw(2)];
        let trips = [
            Trip::consecutive(u32::MAX),
            Trip::in_window(size, period),
            Trip::streak(size, period),
            Trip::rate_of(ratio, size, window),
            Trip::slow(other, ratio, 1, window),
        ];
        let half_open = [
            HalfOpen::new(size, 1).out_of(u32::MAX),
            HalfOpen::ratio(size, ratio).deadline(other),
        ];
        // The longest wait may be shorter than the first, and the start of a ramp at its end.
        let config = BreakerConfig::new(trips[draw(5)])
            .or(trips[draw(5)])
            .open_for(other)
            .growing(
                [Factor::percent(100), Factor::percent(u16::MAX)][draw(2)],
                period,
            )
            .jitter(ratio)
            .half_open(half_open[draw(2)])
            .ramp(Ramp::linear(ratio, other))
            .compressed(NonZeroU32::new(size).unwrap());
        let mut breaker = Breaker::new(config);
        let mut now = Tick::ZERO;
        let mut permits = Vec::new();
        for _ in 0..60 {
            now = [now, now + period.get(), now.back(ms(1)), now + secs(1)][draw(4)];
            permits.extend(breaker.admit(now).verdict.ok());
            if let Some(permit) = permits.pop().filter(|_| draw(3) > 0) {
                let outcome = [Outcome::Success, FAILED, Outcome::Ignored][draw(3)];
                breaker.settle_after(permit, outcome, other.get(), now);
            }
            let _ = (
                breaker.poll_timeout(),
                breaker.failures(now),
                breaker.slowness(now),
            );
        }

        let delays = Backoff::exponential(period.get(), other.get())
            .factor(Factor::percent(u16::MAX))
            .first_exponent(u32::MAX)
            .jitter(Jitter::Add(ratio));
        assert!(delays.delay(u32::MAX, Duration::MAX, &mut Rng::new(1)) <= other.get());
        assert!(matches!(delays.growth(), Growth::Exponential(_)));
        let budgets: [BudgetConfig; 4] = [
            RatioBudget::new(ratio)
                .per_second(u32::MAX)
                .burst(size)
                .ttl(period)
                .into(),
            QuotaBudget::new(size)
                .transient(0)
                .throttling(u32::MAX)
                .bonus(u32::MAX)
                .into(),
            ThrottleBudget::new([0, u32::MAX][draw(2)], ratio).into(),
            ConcurrencyBudget::new(ratio)
                .minimum([0, u32::MAX][draw(2)])
                .of_all()
                .into(),
        ];
        let mut budget = Budget::new(budgets[draw(4)], now);
        for _ in 0..20 {
            budget.begin(now);
            let grant = budget.admit(None, FAILED, now);
            budget.settle(grant, [Outcome::Success, FAILED][draw(2)]);
            if draw(5) == 0 {
                budget.reconfigure(budgets[draw(4)], now);
            }
            assert!(budget.tokens(now) >= 0.0);
        }
        let config = RetryConfig::new(Attempts::total(u32::MAX))
            .backoff(delays)
            .longest_hint(Duration::MAX)
            .hint_spread(ratio);
        let mut retry = Retry::new(config, Rng::new(1));
        let busy = Outcome::Overload {
            retry_after: Some(Duration::MAX),
        };
        for deadline in [None, Some(Tick::NEVER), Some(Tick::ZERO)] {
            let _ = retry.decide(busy, deadline, now);
        }
    }
}

/// As above, for limits.
#[test]
fn failure_16_no_setting_of_a_limit_panics_later() {
    let nano = Period::new("p", Duration::from_nanos(1)).unwrap();
    let longest = Period::new("p", Duration::from_nanos(u64::MAX)).unwrap();
    let periods = [nano, Period::millis(1), Period::secs(1), longest];
    assert!(
        Bounds::new("bounds", count(9), count(1)).is_err(),
        "the most below the least"
    );
    let mut rng = Rng::new(16);
    let mut draw = |n: usize| usize::try_from(rng.next_u64()).unwrap_or(0) % n;
    for _ in 0..2_000 {
        let (period, other) = (periods[draw(4)], periods[draw(4)]);
        let permits = [1, 3, 1_000, u32::MAX][draw(4)];
        let rates = [
            Rate::burst(permits, period),
            Rate::even(permits, period),
            Rate::windows(permits, period),
        ];
        let mut limit = RateLimit::new(RateConfig::new(rates[draw(3)]).patience(other));
        let mut now = Tick::ZERO;
        for _ in 0..40 {
            now = [now, now + period.get(), now.back(ms(1)), now + other.get()][draw(4)];
            let taken = limit.reserve(count([1, 7, u32::MAX][draw(3)]), now);
            if let Some(place) = taken.ok().filter(|_| draw(2) == 0) {
                limit.cancel(place, now);
            }
            if draw(9) == 0 {
                limit.reload(rates[draw(3)], now);
            }
            let _ = limit.look(now);
        }

        // A start outside of the bounds is brought within them.
        let bounds = [
            Bounds::between(1, 1),
            Bounds::between(1, u32::MAX),
            Bounds::between(7, 9),
        ];
        let config = AdaptiveConfig::new()
            .bounds(bounds[draw(3)])
            .start(count(permits))
            .window(period)
            .relearn(other)
            .wait(other)
            .samples(count([1, u32::MAX][draw(2)]))
            .tolerance([Factor::percent(100), Factor::percent(u16::MAX)][draw(2)])
            .queue([0, u32::MAX][draw(2)]);
        let mut adaptive = Adaptive::new(config, now);
        let mut places = Concurrency::new(
            ConcurrencyConfig::new(count(permits))
                .queue(u32::MAX)
                .wait(other),
        );
        for _ in 0..60 {
            now = [now, now + ms(1), now.back(ms(1)), now + other.get()][draw(4)];
            let outcome = [
                Outcome::Success,
                FAILED,
                Outcome::Overload { retry_after: None },
            ][draw(3)];
            let sample = Sample::new([now.back(ms(5)), now + ms(5), Tick::ZERO][draw(3)], outcome);
            let _ = adaptive.observe(sample.in_flight([0, 1, u32::MAX][draw(3)]), now);
            if draw(2) == 0 {
                adaptive.held_back();
            }
            let limit = adaptive.limit();
            assert!(limit <= config.range().most(), "{limit} of {config:?}");
            match places.admit([Tick::NEVER, Tick::ZERO, now + ms(1)][draw(3)], now) {
                Admission::Waits { ticket, .. } if draw(2) == 0 => {
                    let _ = places.leave(ticket);
                }
                _ => {}
            }
            if draw(3) == 0 {
                let _ = places.release(now);
            }
        }
    }
}

/// An adaptive limit looks at what is under way: calls one after another, however fast, do not move it.
#[tokio::test(start_paused = true)]
async fn failure_19_an_adaptive_limit_does_not_drift_to_its_maximum() {
    for start_at in [1, 5, 20, 200] {
        let config = AdaptiveConfig::new()
            .bounds(Bounds::between(1, 1_000))
            .start(count(start_at));
        let layer = AdaptiveLayer::new("peers", config).classify(Judge);
        let callee = Callee::new(Turn::AnswerAfter(ms(5)));
        let mut service = layer.layer(callee.clone());
        for _ in 0..10_000 {
            assert!(start(&mut service, 1).await.await.is_ok());
        }
        let limit = layer.handle().limit().get();
        assert!(limit <= start_at.max(2), "{limit} for one call at a time");
        // Nor do calls that fail at once, which are fast.
        callee.set(Turn::Fail);
        for _ in 0..1_000 {
            assert!(start(&mut service, 1).await.await.is_err());
            tokio::time::advance(ms(5)).await;
        }
        assert!(layer.handle().limit().get() <= start_at.max(2));
    }
}

/// A paused clock drives every wait there is: hours pass in no time.
#[tokio::test(start_paused = true)]
async fn failure_17_a_paused_clock_drives_everything() {
    let real = Instant::now();
    let hour = Period::secs(3_600);
    let half_open = HalfOpen::default().deadline(hour);
    let config = BreakerConfig::new(Trip::consecutive(1))
        .open_for(hour)
        .half_open(half_open);
    let layer = BreakerLayer::new("peers", config);
    let callee = Callee::new(Turn::Fail);
    let mut service = layer.layer(callee.clone());
    assert!(ask(&service, 1).await.is_err());
    assert_eq!(layer.handle().time_left(), Some(hour.get()));
    tokio::time::sleep(hour.get()).await;
    callee.set(Turn::Hang);
    let hung = start(&mut service, 1).await;
    assert_eq!(layer.handle().state(), State::HalfOpen);
    tokio::time::sleep(hour.get()).await;
    assert!(ask(&service, 1).await.is_err());
    assert_eq!(
        layer.handle().state(),
        State::Open,
        "the probe hung for an hour"
    );
    drop(hung);

    let began = rt::now();
    let timeout = TimeoutLayer::new("peers", hour).layer(callee.clone());
    assert!(ask(&timeout, 1).await.is_err());
    let deadline = DeadlineLayer::new("peers", hour).layer(callee.clone());
    assert!(ask(&deadline, 1).await.is_err());
    callee.set(Turn::Fail);
    let retry = RetryLayer::new("peers", constant(3, hour.get()));
    assert!(ask(&retry.layer(callee.clone()), 1).await.is_err());
    assert_eq!(rt::now().since(began), hour.get() * 4);

    let floor = BudgetConfig::new(Ratio::ZERO).per_second(2).burst(0);
    let retry = RetryLayer::new("peers", constant(3, Duration::ZERO).budget(floor));
    let service = retry.layer(callee);
    for retries in [2, 2, 2] {
        let before = retry.handle().retries();
        let _ = ask(&service, 1).await;
        let _ = ask(&service, 1).await;
        assert_eq!(retry.handle().retries() - before, retries);
        tokio::time::advance(hour.get()).await;
    }
    assert!(
        real.elapsed() < secs(10),
        "{:?} in real time",
        real.elapsed()
    );
}

/// The last value of each gauge.
fn gauges(snapshotter: &Snapshotter) -> Vec<(String, f64)> {
    let all = snapshotter.snapshot().into_vec().into_iter();
    let gauges = all.filter(|(key, ..)| key.kind() == MetricKind::Gauge);
    gauges
        .filter_map(|(key, _, _, value)| match value {
            DebugValue::Gauge(value) => Some((key.key().name().to_owned(), value.into_inner())),
            _ => None,
        })
        .collect()
}

/// Gauges come back to zero; nothing is built while nobody listens; who listens may look and command.
#[tokio::test(start_paused = true)]
async fn failure_18_telling_costs_nothing_and_holds_no_lock() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let listening = metrics::set_default_local_recorder(&recorder);
    let config = BreakerConfig::new(Trip::consecutive(1));
    let layer = BreakerLayer::new("peers", config);
    let keyed = KeyedBreakerLayer::new("peers-keyed", config, 9, |key: &u32| *key);
    // Whoever is told may ask the handle, command it, and change its settings.
    let handle = layer.handle();
    let told = Arc::new(AtomicU32::new(0));
    let (inside, times) = (layer.handle(), Arc::clone(&told));
    handle.listen(move |_| {
        times.fetch_add(1, Ordering::Relaxed);
        drop((
            inside.state(),
            inside.failures(),
            inside.change(),
            format!("{inside:?}"),
        ));
        inside.reload(inside.config());
    });
    let callee = Callee::new(Turn::Fail);
    let (one, many) = (layer.layer(callee.clone()), keyed.layer(callee.clone()));
    for key in 0..3 {
        assert!(ask(&one, key).await.is_err());
        assert!(ask(&many, key).await.is_err());
    }
    let high = gauges(&snapshotter);
    let of = |gauges: &[(String, f64)], name: &str| {
        let gauge = gauges.iter().find(|(gauge, _)| gauge == name);
        gauge.map(|(_, value)| *value)
    };
    assert_eq!(of(&high, "mainstay_breaker_state"), Some(2.0));
    assert_eq!(of(&high, "mainstay_breaker_open_keys"), Some(3.0));
    callee.set(Turn::Answer);
    tokio::time::sleep(secs(5)).await;
    for key in 0..3 {
        assert!(ask(&one, key).await.is_ok());
        assert!(ask(&many, key).await.is_ok());
    }
    let low = gauges(&snapshotter);
    assert_eq!(of(&low, "mainstay_breaker_state"), Some(0.0));
    assert_eq!(
        of(&low, "mainstay_breaker_open_keys"),
        Some(-3.0),
        "a snapshot begins anew"
    );
    assert_eq!(told.load(Ordering::Relaxed), 3, "open, half-open, closed");
    assert_eq!(callee.in_flight(), 0);

    // Places and lines, whatever becomes of the calls.
    let places = ConcurrencyConfig::new(count(2))
        .queue(2)
        .wait(Period::secs(3));
    let places = ConcurrencyLayer::new("peers", places);
    let mut service = places.layer(callee.clone());
    callee.set(Turn::Hang);
    let mut calls = Vec::new();
    for _ in 0..5 {
        let mut call = start(&mut service, 1).await;
        if poll(&mut call).is_pending() {
            calls.push(call);
        }
    }
    assert_eq!(
        (places.handle().in_flight(), places.handle().waiting()),
        (2, 2)
    );
    drop(calls.swap_remove(0));
    tokio::time::sleep(secs(4)).await;
    for call in &mut calls {
        let _ = poll(call);
    }
    drop(calls);
    assert_eq!(
        (places.handle().in_flight(), places.handle().waiting()),
        (0, 0)
    );
    let low = gauges(&snapshotter);
    assert_eq!(of(&low, "mainstay_concurrency_in_flight"), Some(0.0));
    assert_eq!(of(&low, "mainstay_concurrency_waiting"), Some(0.0));
    drop(listening);

    // Once warm, a refusal, a retry that is not made and a fallback allocate nothing where nobody listens.
    let open = BreakerLayer::new("a name that is long enough not to be copied unseen", config);
    let retry = RetryLayer::new("peers", RetryConfig::default());
    let stale = FallbackLayer::value("peers", FallbackConfig::new(Outcomes::NONE.refusals()), 7);
    callee.set(Turn::Fail);
    assert!(ask(&open.layer(callee.clone()), 1).await.is_err());
    let mut service = stale.layer(retry.layer(open.layer(callee)));
    for round in 0..3 {
        let mut call = start(&mut service, 1).await;
        let (allocated, answered) = allocations(|| poll(&mut call));
        assert!(matches!(answered, std::task::Poll::Ready(Ok(7))));
        assert!(round == 0 || allocated == 0, "{allocated} allocations");
    }
}

/// What tonic and reqwest send cannot be cloned; it is sent again all the same, and their answers are understood.
#[tokio::test(start_paused = true)]
async fn failure_20_requests_that_are_not_clone_are_retried() {
    // As a generated tonic client sends it: the callee fails twice in the way that gRPC does, in a 200.
    let seen = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&seen);
    let channel = service_fn(move |request: Request<tonic::body::Body>| {
        let heard = Arc::clone(&heard);
        async move {
            let said = request.into_body().collect().await?.to_bytes();
            let attempt = {
                let mut heard = heard.lock().unwrap();
                heard.push(said);
                heard.len()
            };
            let status = if attempt < 3 { "14" } else { "0" };
            let answer = Response::builder().header("grpc-status", status);
            Ok::<_, BoxError>(answer.body(tonic::body::Body::empty())?)
        }
    });
    let stack = Stack::standard("peers")
        .idempotent()
        .retry(constant(3, ms(10)));
    let message = http_body_util::Full::from("\0\0\0\0\x03abc");
    let request = Request::post("/echo")
        .body(tonic::body::Body::new(message))
        .unwrap();
    let answer = stack.grpc(channel).oneshot(request).await.unwrap();
    assert_eq!(answer.headers()["grpc-status"], "0");
    assert_eq!(*seen.lock().unwrap(), ["\0\0\0\0\x03abc"; 3]);
    assert_eq!(stack.handle().retry().retries(), 2);

    // As reqwest sends it, with its own request, response and error.
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let client = service_fn(move |request: reqwest::Request| {
        let attempt = counted.fetch_add(1, Ordering::Relaxed);
        assert_eq!(
            request.body().and_then(reqwest::Body::as_bytes),
            Some(&b"abc"[..])
        );
        let status = if attempt < 2 { 503 } else { 200 };
        let answer = Response::builder().status(status).body("").unwrap();
        async { Ok::<_, reqwest::Error>(reqwest::Response::from(answer)) }
    });
    let retry = RetryLayer::new("peers", constant(3, ms(10)))
        .classify(mainstay_http::ByStatus)
        .refuse_with(mainstay_http::AsResponse)
        .replay_with(TryClone::new());
    let url = "http://127.0.0.1/".parse().unwrap();
    let mut request = reqwest::Request::new(http::Method::PUT, url);
    *request.body_mut() = Some("abc".into());
    let answer = retry.layer(client).oneshot(request).await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), calls.load(Ordering::Relaxed)),
        (200, 3)
    );

    // The clients themselves fit, as their call sites are.
    fn fits<S: Service<Request<tonic::body::Body>> + Clone>(_: &S) {}
    let channel = tonic::transport::Endpoint::from_static("http://127.0.0.1:1").connect_lazy();
    fits::<grpc::GrpcChannel>(&stack.grpc(channel));
    let client = stack.reqwest(reqwest::Client::new());
    drop(client.put("http://127.0.0.1:1/").body("abc"));
}
